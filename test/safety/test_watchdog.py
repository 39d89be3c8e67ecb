"""The watchdog's state machine: when it stops the vehicle, when it does not, and until when."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plan_making import T0_NS
from watchdog_drive import MS, Drive, driving

from alpamayo_ros.safety.watchdog import MODEL, HeardEngagement, WatchdogSettings, WatchdogStop
from alpamayo_ros.types import InvalidInput, Plan

# When.


def test_it_never_acts_before_it_has_heard_an_active_planner():
    drive = Drive()
    drive.run(5000)
    drive.says(engaged=True, active=False)  # somebody else's drive, long ago
    drive.watchdog.lost("the planner's liveliness was lost")
    drive.run(5000)
    assert not drive.stops
    assert drive.watchdog.state(steady_ns=drive.steady_ns).silent_ms is None


def test_silence_is_noticed_after_the_timeout_and_stops_go_out_every_period():
    drive = driving()
    drive.run(3000)
    first_ms, first = drive.stops[0]
    assert 2000 < first_ms <= 2020
    assert {b - a for (a, _), (b, _) in pairwise(drive.stops)} == {100}
    assert first.reason == "the planner is silent (expected a plan within 1000 ms); no plan for 1.0 s"
    assert "no plan for 2.9 s" in drive.stops[-1][1].reason
    assert all(stop.engaged and stop.plan.model == MODEL for _, stop in drive.stops)
    assert first.decided_ns == T0_NS + 1000 * MS
    state = drive.watchdog.state(steady_ns=drive.steady_ns)
    assert (state.acting, state.takeovers, state.stops) == (True, 1, len(drive.stops))


def test_an_active_planner_that_never_sent_a_plan_is_silent_too():
    drive = Drive()
    drive.says(engaged=False, active=True)
    drive.run(980)
    assert not drive.stops
    drive.run(100)
    assert len(drive.stops) == 1


def test_plans_alone_show_that_a_planner_is_active():
    drive = Drive()
    drive.run(500, plans=True, engaged=True)
    drive.run(1100)
    assert drive.stops[0][1].engaged


@pytest.mark.parametrize("engaged", [True, False])
def test_a_lost_planner_is_stopped_for_at_once_if_somebody_relies_on_it(engaged: bool):
    drive = driving(engaged=engaged)
    drive.run(200)
    drive.watchdog.lost("the planner's liveliness was lost")
    drive.run(20)
    assert bool(drive.stops) is engaged
    drive.run(900)
    assert drive.stops[0][1].reason.startswith("the planner's liveliness was lost; no plan for")
    assert drive.stops[0][1].engaged is engaged


def test_a_loss_that_was_none_is_forgotten():
    drive = driving(engaged=False)
    drive.watchdog.lost("the planner's liveliness was lost")
    drive.watchdog.found()
    drive.says(engaged=True, active=True)
    drive.run(500, plans=True, engaged=True)
    drive.watchdog.lost("the planner's publisher has gone")
    drive.plan(engaged=True)
    drive.run(500)
    assert not drive.stops


def test_a_planner_that_is_deactivated_while_engaged_is_a_failure():
    drive = driving()
    drive.says(engaged=True, active=False, reason="deactivated")
    drive.plan(engaged=True)  # on its way when it was deactivated
    drive.run(300)
    assert drive.stops[0][1].reason.startswith(
        "the planner was engaged and is not active any more (deactivated)"
    )
    assert len(drive.stops) >= 3  # they go on


def test_a_planner_that_is_deactivated_while_not_engaged_is_none():
    drive = driving(engaged=False)
    drive.says(engaged=False, active=False, reason="deactivated")
    drive.plan()
    drive.watchdog.lost("the planner's liveliness was lost")
    drive.run(5000)
    assert not drive.stops
    assert not drive.watchdog.state(steady_ns=drive.steady_ns).guarding


def test_what_was_lost_while_it_was_not_active_is_no_loss_when_it_is():
    drive = driving(engaged=False)
    drive.says(engaged=False, active=False, reason="deactivated")
    drive.watchdog.lost("the planner's liveliness was lost")
    drive.run(1000)
    drive.says(engaged=False, active=True, reason="activated")
    drive.says(engaged=True, active=True, reason="engage was called")
    drive.run(500)
    assert not drive.stops


def test_a_driver_who_takes_over_first_may_deactivate():
    drive = driving()
    drive.says(engaged=False, active=True, reason="engage was called")
    drive.plan(engaged=True)  # late
    drive.says(engaged=False, active=False, reason="deactivated")
    drive.run(5000)
    assert not drive.stops


def test_a_planner_that_was_started_anew_did_not_end_well():
    drive = driving()
    drive.says(engaged=False, active=False, anew=True, reason="started")
    drive.run(100)
    assert drive.stops[0][1].reason.startswith("the planner was started anew while it was active")
    assert drive.stops[0][1].engaged


def test_a_planner_whose_first_word_was_not_heard_knows_nothing_of_the_drive_either():
    drive = driving()
    drive.run(1500)
    drive.says(engaged=False, active=True, anew=True, reason="activated")
    drive.run(200)
    assert drive.stops[-1][1].engaged
    drive.plan()
    assert not drive.acting


def test_simulated_time_that_leaps_is_no_silence():
    drive = driving()
    drive.ms += 60_000
    drive.watchdog.begin_silence(steady_ns=drive.steady_ns)
    drive.run(900)
    assert not drive.stops


def test_settings_are_checked():
    with pytest.raises(InvalidInput, match="timeout_ms: expected a number above zero"):
        WatchdogSettings(timeout_ms=0.0)
    with pytest.raises(InvalidInput, match="period_ms"):
        WatchdogSettings(period_ms=float("nan"))


# Until when.


def test_the_stop_goes_on_until_the_restarted_planner_sends_plans():
    drive = driving()
    drive.run(1500)
    drive.says(engaged=False, active=False, anew=True)
    drive.run(1000)
    drive.says(engaged=False, active=True, reason="activated")
    drive.run(200)
    assert drive.acting
    assert all(stop.engaged for _, stop in drive.stops)
    drive.stops.clear()
    drive.plan(valid=False)
    drive.run(900)
    assert not drive.stops
    assert not drive.watchdog.state(steady_ns=drive.steady_ns).engaged
    drive.run(200)  # and guards the new one
    assert drive.stops
    assert not drive.stops[0][1].engaged


def test_a_planner_that_comes_to_life_again_drives_at_once_and_is_still_engaged():
    drive = driving()
    drive.run(1500)
    drive.plan(engaged=True)
    assert not drive.acting
    assert drive.watchdog.state(steady_ns=drive.steady_ns).engaged
    assert drive.watchdog.state(steady_ns=drive.steady_ns).takeovers == 1


def test_plans_that_nobody_has_judged_end_no_stop_that_somebody_relies_on():
    drive = driving()
    drive.run(1500)
    drive.plan(valid=False, drivable=False)
    assert drive.acting
    unengaged = driving(engaged=False)
    unengaged.run(1500)
    unengaged.plan(valid=False, drivable=False)
    assert not unengaged.acting


def test_reactivation_alone_does_not_let_go_of_the_vehicle():
    drive = driving()
    drive.says(engaged=True, active=False, reason="deactivated")
    drive.run(200)
    drive.says(engaged=False, active=True, reason="activated")
    drive.run(200)
    assert drive.stops[-1][1].engaged
    drive.plan()
    assert not drive.acting


def test_a_driver_may_take_over_from_a_planner_that_is_silent_but_answers():
    drive = driving()
    drive.run(1500)
    drive.says(engaged=False, active=True, reason="engage was called")
    drive.run(200)
    assert not drive.stops[-1][1].engaged
    drive.says(engaged=False, active=False, reason="deactivated")
    drive.stops.clear()
    drive.run(2000)
    assert not drive.stops


def test_an_orderly_end_that_is_heard_late_ends_the_stop_of_a_planner_nobody_relied_on():
    drive = driving(engaged=False)
    drive.run(1100)
    assert drive.acting
    drive.says(engaged=False, active=False, reason="cleaned up")
    assert not drive.acting


# Whatever happens.

words = st.tuples(st.booleans(), st.booleans(), st.booleans()).map(
    lambda drawn: HeardEngagement(*drawn[:2], reason="test", anew=drawn[2])
)
plans = st.tuples(st.sampled_from(["VALID", "FALLBACK", "UNCHECKED"]), st.booleans())
events = st.lists(st.one_of(words, plans, st.integers(1, 80), st.sampled_from(["lost", "found", "forget"])))


@given(events)
@settings(max_examples=60, deadline=None)
def test_whatever_happens_an_active_planner_is_never_silent_for_long_without_a_stop(happenings):
    drive = Drive()
    covered_ms, guarded, active = 0, False, None
    for what in happenings:
        if isinstance(what, HeardEngagement):
            drive.watchdog.engagement(what, steady_ns=drive.steady_ns)
            if what.active and not active:
                covered_ms = drive.ms
            active = what.active
            guarded |= what.active
        elif isinstance(what, tuple):
            drive.plan(valid=what[0] == "VALID", drivable=what[0] != "UNCHECKED", engaged=what[1])
            covered_ms, guarded = drive.ms, True
        elif isinstance(what, int):
            before = len(drive.stops)
            drive.run(20 * what)
            covered_ms = drive.stops[-1][0] if len(drive.stops) > before else covered_ms
            if guarded and active is not False:
                assert drive.ms - covered_ms <= 1100
        elif what == "forget":
            drive.watchdog.forget_path()
        else:
            drive.watchdog.lost("it") if what == "lost" else drive.watchdog.found()
    if not guarded:
        assert not drive.stops
    for _, stop in drive.stops:
        check(stop)


def check(stop: WatchdogStop) -> None:
    plan: Plan = stop.plan
    assert np.isfinite(plan.xyz_in_rig_t0).all()
    assert (np.diff(plan.speed_mps[0]) <= 1e-5).all()
    assert (plan.speed_mps >= 0.0).all()
    assert (stop.odom_from_rig is None) == (not stop.odometry_frame)
