"""The watchdog's state machine: when it stops the vehicle, when it does not, and how it stops."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plan_making import T0_NS, motion_of, plan_of, smooth

from alpamayo_ros.safety.fallback import StopSettings, VehicleState, stop_plan
from alpamayo_ros.safety.prediction import Followed
from alpamayo_ros.safety.watchdog import (
    MODEL,
    HeardEngagement,
    HeardPlan,
    Watchdog,
    WatchdogSettings,
    WatchdogStop,
)
from alpamayo_ros.types import InvalidInput, Plan

MS = 1_000_000
SPEED = 10.0
PLAN = plan_of([motion_of(SPEED, *smooth(0.0, 0.02))])
POSE = np.eye(4)


class Drive:
    """A vehicle at 10 m/s on a bend, a planner that sends plans, and a watchdog that is asked every 20 ms."""

    def __init__(self, **options: float) -> None:
        self.watchdog = Watchdog(WatchdogSettings(**options))  # type: ignore[arg-type]
        self.ms = 0
        self.stops: list[tuple[int, WatchdogStop]] = []
        self.odometry = True
        self.path = Followed(PLAN, POSE)
        self.last_pose = POSE

    @property
    def steady_ns(self) -> int:
        return 5_000_000_000_000 + self.ms * MS

    @property
    def now_ns(self) -> int:
        return T0_NS + self.ms * MS

    @property
    def acting(self) -> bool:
        return self.watchdog.state(steady_ns=self.steady_ns).acting

    def says(self, *, engaged: bool, active: bool, anew: bool = False, reason: str = "test") -> None:
        said = HeardEngagement(engaged=engaged, active=active, reason=reason, anew=anew)
        self.watchdog.engagement(said, steady_ns=self.steady_ns)

    def plan(self, *, valid: bool = True, drivable: bool = True, engaged: bool = False) -> None:
        here = self.path.state_at(self.now_ns)
        plan = replace(PLAN, t0_ns=self.now_ns)
        self.last_pose = here.odom_from_rig
        heard = HeardPlan(plan, here.odom_from_rig, "odom", valid, drivable, engaged, decided_ns=self.now_ns)
        self.watchdog.plan(heard, steady_ns=self.steady_ns)

    def run(self, ms: int, *, plans: bool = False, engaged: bool = False) -> None:
        """Let time pass, with odometry every 20 ms and, if so, a plan every 100 ms."""
        for _ in range(ms // 20):
            self.ms += 20
            if self.odometry:
                self.watchdog.odometry(self.path.state_at(self.now_ns), "odom")
            if plans and self.ms % 100 == 0:
                self.plan(engaged=engaged)
            stop = self.watchdog.stop(now_ns=self.now_ns, steady_ns=self.steady_ns)
            if stop is not None:
                self.stops.append((self.ms, stop))


def driving(*, engaged: bool = True, **options: float) -> Drive:
    drive = Drive(**options)
    drive.says(engaged=False, active=False, anew=True)
    drive.says(engaged=False, active=True)
    drive.run(500, plans=True)
    if engaged:
        drive.says(engaged=True, active=True)
    drive.run(500, plans=True, engaged=engaged)
    assert not drive.stops
    return drive


def in_odom(plan: Plan, pose: np.ndarray) -> np.ndarray:
    xyz = np.concatenate([np.zeros((1, 3)), plan.xyz_in_rig_t0[0].astype(np.float64)])
    return xyz @ pose[:3, :3].T + pose[:3, 3]


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


# How.


def test_the_stop_slows_down_along_the_last_path():
    drive = driving()
    drive.watchdog.lost("the planner's liveliness was lost")
    drive.run(20)
    _, stop = drive.stops[0]
    assert stop.plan.t0_ns == drive.now_ns
    assert stop.odometry_frame == "odom"
    assert stop.plan.speed_mps[0, 0] == pytest.approx(SPEED, abs=0.01)
    assert stop.plan.speed_mps[0, -1] == pytest.approx(0.0, abs=0.01)
    assert (np.diff(stop.plan.speed_mps[0]) <= 1e-5).all()
    path = in_odom(PLAN, drive.last_pose)
    dense = np.concatenate([np.linspace(a, b, 20) for a, b in pairwise(path)])
    assert stop.odom_from_rig is not None
    way = in_odom(stop.plan, stop.odom_from_rig)
    assert np.linalg.norm(way[:, None] - dense[None], axis=-1).min(axis=1).max() < 0.05
    assert abs(way[-1, 1]) > 1.0  # and the path bends
    assert stop.plan.accel_mps2.min() > -2.6


def test_without_odometry_the_stop_goes_on_where_it_leads():
    drive = driving()
    drive.watchdog.lost("the planner's liveliness was lost")
    drive.run(100)
    drive.odometry = False
    drive.run(6900)
    stops = [stop for _, stop in drive.stops]
    assert "odometry is" in stops[-1].reason
    assert "the stop begins where the last plan leads" in stops[-1].reason
    speeds = np.array([stop.plan.speed_mps[0, 0] for stop in stops])
    assert speeds[-1] == 0.0
    assert (np.diff(speeds) < 1e-3).all()
    # Together they are one stop: each begins where the one before leads at that time.
    for before, after in pairwise(stops[5:]):
        assert before.odom_from_rig is not None
        lead = Followed(before.plan, before.odom_from_rig).state_at(after.plan.t0_ns)
        assert after.odom_from_rig is not None
        assert np.allclose(lead.odom_from_rig, after.odom_from_rig, atol=1e-6)
        assert lead.speed_mps == pytest.approx(after.plan.speed_mps[0, 0], abs=1e-5)


def test_where_nothing_is_known_the_stop_is_to_stand():
    drive = Drive()
    drive.odometry = False
    drive.says(engaged=True, active=True)
    drive.run(1100)
    _, stop = drive.stops[0]
    assert stop.odom_from_rig is None
    assert stop.odometry_frame == ""
    assert not stop.plan.xyz_in_rig_t0.any()
    assert not stop.plan.speed_mps.any()
    assert stop.reason.endswith("no odometry: the stop is to stand")


def test_odometry_alone_is_stopped_along_the_arc_that_it_drives_on():
    drive = Drive()
    drive.says(engaged=True, active=True)
    drive.run(1100)
    _, stop = drive.stops[0]
    assert stop.plan.xyz_in_rig_t0[0, -1, 1] > 1.0
    assert stop.plan.accel_mps2.min() == pytest.approx(-4.5, abs=0.1)  # hard: there is no path


def test_a_path_in_another_odometry_frame_is_none():
    drive = driving()
    drive.watchdog.lost("the planner's liveliness was lost")
    drive.ms += 20
    state = drive.path.state_at(drive.now_ns)
    drive.watchdog.odometry(state, "map")
    stop = drive.watchdog.stop(now_ns=drive.now_ns, steady_ns=drive.steady_ns)
    assert stop is not None
    assert stop.odometry_frame == "map"
    expected = stop_plan(state, None)
    assert np.allclose(stop.plan.xyz_in_rig_t0, expected.xyz_in_rig_t0)


def test_a_clock_that_went_back_takes_the_path_and_leaves_the_rest():
    drive = driving()
    drive.watchdog.forget_path()
    state = replace(drive.path.state_at(drive.now_ns), stamp_ns=T0_NS - 10**12)
    drive.watchdog.odometry(state, "odom")
    drive.watchdog.lost("the planner's liveliness was lost")
    stop = drive.watchdog.stop(now_ns=T0_NS - 10**12, steady_ns=drive.steady_ns)
    assert stop is not None
    assert stop.engaged
    assert np.allclose(stop.plan.xyz_in_rig_t0, stop_plan(state, None).xyz_in_rig_t0)


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


def test_how_to_stop_is_a_setting():
    drive = driving()
    gentle = StopSettings(comfort_decel_mps2=1.0)
    drive.watchdog.settings = replace(drive.watchdog.settings, stop=gentle)
    drive.watchdog.lost("the planner's liveliness was lost")
    drive.run(20)
    assert drive.stops[0][1].plan.accel_mps2.min() > -1.1


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


def test_state_of_a_vehicle_is_needed_only_once():
    """A state that grew old is where the vehicle was seen last: better than to guess that it stands."""
    drive = Drive()
    drive.watchdog.odometry(VehicleState(T0_NS, POSE, 8.0), "odom")
    drive.says(engaged=True, active=True)
    drive.odometry = False
    drive.run(1100)
    _, stop = drive.stops[0]
    assert stop.plan.speed_mps[0, 0] == pytest.approx(8.0)
    assert stop.reason.endswith("the stop begins where the vehicle was seen last")
