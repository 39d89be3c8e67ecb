"""Valid plan or fallback: quick to fall back, slow to come back, never wavering."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpamayo_ros.safety.arbiter import NO_PLAN_YET, Arbiter, ArbiterSettings, Mode
from alpamayo_ros.types import InvalidInput

MS = 1_000_000
START = 1_700_000_000_000 * MS


def running(count: int = 3, settings: ArbiterSettings | None = None) -> tuple[Arbiter, int]:
    """Return an arbiter after valid plans every 100 ms, each 80 ms old, and the time."""
    arbiter, now = Arbiter(settings), START
    for step in range(count):
        now = START + step * 100 * MS
        arbiter.valid(now, t0_ns=now - 80 * MS)
    return arbiter, now


@pytest.mark.parametrize("start", [0, START], ids=["simulated time", "wall time"])
def test_it_begins_with_the_fallback_and_the_first_valid_plan_ends_it(start: int) -> None:
    arbiter = Arbiter()
    assert arbiter.tick(start).reason == NO_PLAN_YET
    assert arbiter.refused(start, "kink").mode is Mode.FALLBACK
    assert arbiter.valid(start + 100 * MS, t0_ns=start).mode is Mode.VALID


@pytest.mark.parametrize("start", [0, START], ids=["simulated time", "wall time"])
def test_more_may_be_asked_for_to_begin_with(start: int) -> None:
    arbiter = Arbiter(ArbiterSettings(start_plans=3))
    assert arbiter.tick(start).mode is Mode.FALLBACK
    assert arbiter.state.reason == NO_PLAN_YET
    modes = []
    for step in range(4):
        now = start + step * 100 * MS
        modes.append(arbiter.valid(now, t0_ns=now - 80 * MS).mode)
    assert modes == [Mode.FALLBACK, Mode.FALLBACK, Mode.VALID, Mode.VALID]
    assert arbiter.state.since_ns == start + 200 * MS
    assert arbiter.state.reason == ""
    assert arbiter.state.fallbacks == 0


def test_a_plan_that_is_refused_now_and_then_is_no_reason_to_brake() -> None:
    arbiter, now = running()
    for _ in range(10):
        assert arbiter.refused(now + 100 * MS, "kink").mode is Mode.VALID
        now += 200 * MS
        assert arbiter.valid(now, t0_ns=now - 80 * MS).mode is Mode.VALID


def test_when_the_last_valid_plan_gets_old_the_fallback_takes_over_and_says_why() -> None:
    arbiter, now = running()
    arbiter.refused(now + 100 * MS, "kink: expected at most 0.5 rad, got 1.2 rad")
    assert arbiter.tick(now + 420 * MS).mode is Mode.VALID
    state = arbiter.tick(now + 421 * MS)
    assert state.mode is Mode.FALLBACK and state.fallbacks == 1
    assert state.reason == (
        "no valid plan for 501 ms (expected one within 500 ms): kink: expected at most 0.5 rad, got 1.2 rad"
    )
    assert arbiter.tick(now + 900 * MS).since_ns == now + 421 * MS


def test_silence_is_a_reason_too() -> None:
    arbiter, now = running()
    assert arbiter.tick(now + 600 * MS).reason == "no valid plan for 680 ms (expected one within 500 ms)"


def test_a_refusal_starts_the_row_anew() -> None:
    arbiter, now = running()
    arbiter.tick(now + 1000 * MS)
    now += 1000 * MS
    for _ in range(10):
        for _ in range(2):
            now += 100 * MS
            assert arbiter.valid(now, t0_ns=now - 80 * MS).mode is Mode.FALLBACK
        now += 100 * MS
        state = arbiter.refused(now, "curvature")
        assert (state.mode, state.row, state.reason) == (Mode.FALLBACK, 0, "curvature")


def test_plans_that_come_in_a_bunch_do_not_end_a_fallback() -> None:
    arbiter, start = running()
    start += 1000 * MS
    arbiter.tick(start)
    for step in range(10):
        assert arbiter.valid(start + step * MS, t0_ns=start + step * MS).mode is Mode.FALLBACK


def test_a_long_gap_starts_the_row_anew() -> None:
    arbiter, start = running()
    for step in range(2, 10):
        now = start + step * 501 * MS
        arbiter.tick(now)
        assert arbiter.valid(now, t0_ns=now).row == 1


def test_valid_plans_that_are_too_old_when_they_come_do_not_count() -> None:
    arbiter = Arbiter()
    for step in range(10):
        now = START + step * 100 * MS
        state = arbiter.valid(now, t0_ns=now - 600 * MS)
    assert (state.mode, state.row) == (Mode.FALLBACK, 0)
    assert state.reason == "valid plans come 600 ms old (expected at most 500 ms)"


@pytest.mark.parametrize("call", ["tick", "valid", "refused", "t0"])
def test_a_clock_that_is_set_back_is_a_new_drive(call: str) -> None:
    arbiter, now = running()
    earlier = now - 10_000 * MS
    if call == "tick":
        state = arbiter.tick(earlier)
    elif call == "valid":
        state = arbiter.valid(earlier, t0_ns=earlier)
    elif call == "refused":
        state = arbiter.refused(earlier, "bad")
    else:
        state = arbiter.valid(now + 100 * MS, t0_ns=earlier)
    # The first valid plan of a drive drives; a t0 that is old by now does not.
    assert state.mode is (Mode.VALID if call == "valid" else Mode.FALLBACK)
    assert state.row <= 1


@given(
    st.lists(
        st.tuples(st.sampled_from(["valid", "refused", "tick"]), st.integers(0, 400), st.integers(0, 700)),
        max_size=60,
    )
)
def test_whatever_comes_a_valid_mode_has_a_fresh_valid_plan(events: list[tuple[str, int, int]]) -> None:
    """And a fallback, once begun, lasts until as many valid plans as it takes have come."""
    arbiter, now = Arbiter(), START
    settings = arbiter.settings
    newest_t0, since_fallback, before = None, settings.recover_plans - settings.start_plans, Mode.FALLBACK
    for kind, wait_ms, age_ms in events:
        now += wait_ms * MS
        if kind == "valid":
            t0 = max(now - age_ms * MS, newest_t0 or 0)
            state = arbiter.valid(now, t0_ns=t0)
            newest_t0 = t0
            since_fallback += 1
        elif kind == "refused":
            state = arbiter.refused(now, "bad")
        else:
            state = arbiter.tick(now)
        if state.mode is Mode.VALID:
            assert newest_t0 is not None and now - newest_t0 <= settings.hold_ms * MS
            assert since_fallback >= settings.recover_plans
        else:
            assert state.reason
            if before is Mode.VALID:
                since_fallback = 1 if kind == "valid" else 0
        before = state.mode


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("hold_ms", -1, "hold_ms: expected zero or more, got -1"),
        ("recover_ms", float("inf"), "recover_ms: expected a finite number"),
        ("recover_plans", 0, "recover_plans: expected at least 1, got 0"),
        ("recover_plans", 1.5, "recover_plans: expected a whole number, got 1.5"),
    ],
)
def test_settings_that_cannot_work_are_refused(name: str, value: object, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        ArbiterSettings(**{name: value})  # type: ignore[arg-type]
