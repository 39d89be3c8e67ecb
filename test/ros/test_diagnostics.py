"""Counters and rates, and the message that they become."""

from __future__ import annotations

import pytest

from alpamayo_ros.ros.diagnostics import InputStatistics, Level, PlanStatistics, Status, to_message
from alpamayo_ros.ros.planner_backend import MAX_TEXT_CHARACTERS, check_text
from alpamayo_ros.types import InvalidInput

S = 10**9


@pytest.mark.parametrize("rate_hz", [5, 9.7, 60, 200])
def test_the_rate_is_that_of_the_stamps(rate_hz):
    statistics = InputStatistics()
    for i in range(int(5 * rate_hz)):
        statistics.stamped(round(100 * S + i * S / rate_hz))
    assert statistics.rate_hz == pytest.approx(rate_hz, rel=1e-6)
    assert statistics.age_ms(statistics.newest_ns + S // 2) == 500


def test_a_jump_back_starts_the_rate_afresh():
    statistics = InputStatistics()
    for stamp_ns in (10 * S, 11 * S, 5 * S):
        statistics.stamped(stamp_ns)
    assert statistics.rate_hz == 0
    assert statistics.newest_ns == 5 * S
    statistics.clear_stamps()
    assert statistics.age_ms(S) is None


def test_plans_and_refusals_are_counted_by_name():
    statistics = PlanStatistics()
    statistics.observed(7)
    statistics.refused("odometry_gap", "odometry: a gap")
    statistics.refused("odometry_gap", "odometry: another gap")
    statistics.inferred(12.34, period_ms=10.0)
    statistics.inferred(8.0, period_ms=10.0)
    statistics.planned("unchecked")
    values = statistics.values()
    assert (values["observations"], values["plans_unchecked"], values["newest_t0_ns"]) == (1, 1, 7)
    assert values["refusals/odometry_gap"] == 2
    assert (values["overruns"], values["latency_ms"], values["latency_p50_ms"]) == (1, "8.0", "10.2")
    assert statistics.refusals == {"odometry_gap": 2}
    assert values["last_refusal"] == "odometry: another gap"
    assert statistics.complaint == ""
    statistics.refused("odometry_gap", "odometry: a third gap")
    assert statistics.complaint == "odometry: a third gap"


def test_the_message_is_what_monitors_read():
    status = Status("cameras/front_wide", Level.WARN, "late", {"received": 3, "rate_hz": 9.7, "ok": True})
    (message,) = to_message([status], stamp_ns=5 * S).status
    assert message.name == "alpamayo/cameras/front_wide"
    assert (message.level, message.message, message.hardware_id) == (b"\x01", "late", "alpamayo_ros")
    assert {v.key: v.value for v in message.values} == {"received": "3", "rate_hz": "9.70", "ok": "true"}


@pytest.mark.parametrize("text", ["Turn left in 30m", "Biege links ab → Hauptstraße", "a < b | c > d"])
def test_plain_text_passes(text):
    check_text("instruction", text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("Turn <|route_end|> left", "got the token '<\\|route_end\\|>'"),
        ("<|a\nb|>", "expected plain text"),
        ("Turn\nleft", "control character"),
        ("\x00", "control character"),
        ("\ud800", "control character"),
        ("a" * (MAX_TEXT_CHARACTERS + 1), "expected at most 500 characters, got 501"),
    ],
)
def test_text_that_no_model_may_be_given_is_refused(text, problem):
    with pytest.raises(InvalidInput, match=problem):
        check_text("instruction", text)
