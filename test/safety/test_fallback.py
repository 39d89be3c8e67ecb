"""The fallback: a stop that a vehicle can drive, on the last valid path, and no faster than that was."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plan_making import T0_NS, make_observation, motion_of, plan_of, smooth
from scipy.spatial.transform import Rotation

from alpamayo_ros.safety.fallback import StopSettings, ValidPath, VehicleState, stop_plan
from alpamayo_ros.safety.gate import PlanGate
from alpamayo_ros.sensing.rigid import compose, invert
from alpamayo_ros.types import InvalidInput, Plan

ANYWHERE = compose(Rotation.from_euler("xyz", [0.02, -0.05, 2.5]).as_matrix(), [1200.0, -340.0, 15.0])


def drive(speed: float, accel: float = 0.0, bend: float = 0.0) -> Plan:
    return plan_of([motion_of(speed, *smooth(accel, bend))])


def state_on(
    plan: Plan, step: int, *, aside_m: float = 0.0, askew_rad: float = 0.0, late_ms: float = 0.0
) -> VehicleState:
    """Return a vehicle that has followed a plan for some steps of 0.1 s, and is a little off it."""
    pose = np.eye(4)
    if step:
        pose[:3, 3], pose[:3, :3] = plan.xyz_in_rig_t0[0, step - 1], plan.rot_in_rig_t0[0, step - 1]
    off = compose(Rotation.from_euler("z", askew_rad).as_matrix(), [0.0, aside_m, 0.0])
    odom = ANYWHERE @ pose @ off
    odom[:3, :3] = Rotation.from_matrix(odom[:3, :3]).as_matrix()
    stamp_ns = plan.t0_ns + step * 100_000_000 + int(late_ms * 1e6)
    return VehicleState(stamp_ns, odom, float(plan.speed_mps[0, step]))


def in_odom(plan: Plan, state: VehicleState) -> np.ndarray:
    xyz = np.concatenate([np.zeros((1, 3)), plan.xyz_in_rig_t0[0]])
    return xyz @ state.odom_from_rig[:3, :3].T + state.odom_from_rig[:3, 3]


def distance_to(points: np.ndarray, path: np.ndarray) -> np.ndarray:
    """Return how far points [P, 3] are from a path [N, 3] of short pieces."""
    dense = np.concatenate([np.linspace(a, b, 20) for a, b in pairwise(path)])
    return np.linalg.norm(points[:, None] - dense[None], axis=-1).min(axis=1)


def bends(speed: float, share: float) -> float:
    return share * min(0.15, 3.0 / max(speed, 1.0) ** 2)


drives = st.tuples(st.floats(0.0, 30.0), st.floats(-3.0, 1.0), st.floats(-1.0, 1.0)).map(
    lambda drawn: drive(drawn[0], drawn[1], bends(drawn[0] + 6.4 * max(0.0, drawn[1]), drawn[2]))
)


@given(drives, st.integers(0, 15), st.floats(-0.5, 0.5), st.floats(-0.1, 0.1))
def test_a_stop_can_be_driven_from_where_the_vehicle_is(
    plan: Plan, step: int, aside_m: float, askew_rad: float
) -> None:
    state = state_on(plan, step, aside_m=aside_m, askew_rad=askew_rad)
    stop = stop_plan(state, ValidPath.of(plan, ANYWHERE))
    assert stop.t0_ns == state.stamp_ns and stop.num_samples == 1
    speed = stop.speed_mps[0]
    assert speed[0] == pytest.approx(state.speed_mps, abs=1e-4)
    assert (np.diff(speed) <= 1e-5).all() and (speed >= 0).all()
    assert -stop.accel_mps2.min() <= 7.5 + 1e-3
    decision = PlanGate().judge(
        stop,
        make_observation(state.speed_mps, t0_ns=state.stamp_ns),
        odometry_speed_mps=state.speed_mps,
        now_ns=state.stamp_ns,
    )
    assert decision.passed, decision.reason
    if state.speed_mps < 10:
        assert speed[-1] == 0.0
    assert stop.xyz_in_rig_t0[0, :, 0].min() >= -1e-3


@given(drives, st.integers(0, 15))
def test_a_stop_stays_on_the_last_valid_path(plan: Plan, step: int) -> None:
    state = state_on(plan, step)
    path = ValidPath.of(plan, ANYWHERE)
    points = in_odom(stop_plan(state, path), state)
    reach = np.linalg.norm(points - points[0], axis=1)
    inside = reach < np.linalg.norm(path.xyz_in_odom[-1] - points[0])
    assert distance_to(points[inside], path.xyz_in_odom).max(initial=0.0) < 0.1


@given(drives, st.integers(0, 15))
def test_a_stop_is_never_faster_than_the_last_plan_was_at_the_same_place(plan: Plan, step: int) -> None:
    stop = stop_plan(state_on(plan, step), ValidPath.of(plan, ANYWHERE))

    def way(a_plan: Plan) -> np.ndarray:
        steps = np.diff(np.concatenate([np.zeros((1, 3)), a_plan.xyz_in_rig_t0[0]]), axis=0)
        return np.concatenate([[0.0], np.cumsum(np.linalg.norm(steps, axis=1))])

    planned, stopping = way(plan) - way(plan)[step], way(stop)
    known = stopping < planned[-1]
    allowed = np.interp(stopping[known], planned[step:], plan.speed_mps[0, step:])
    assert (stop.speed_mps[0][known] <= 1.06 * allowed + 0.25).all()
    if plan.speed_mps[0, -1] == 0.0:  # it would have stood there, so does the stop
        assert stopping[-1] <= planned[-1] + 0.1


def test_an_ordinary_stop_is_gentle_and_one_for_want_of_a_path_is_hard() -> None:
    plan = drive(12.0)
    path = ValidPath.of(plan, ANYWHERE)
    fresh = stop_plan(state_on(plan, 5), path)
    assert -fresh.accel_mps2.min() == pytest.approx(2.5, abs=0.01)
    jerk = np.abs(np.diff(fresh.accel_mps2[0])) / 0.1
    assert jerk.max() < 4.0
    old = stop_plan(state_on(plan, 5, late_ms=1501), path)
    without = stop_plan(state_on(plan, 5), None)
    for hard in (old, without):
        assert -hard.accel_mps2.min() == pytest.approx(4.5, abs=0.01)
        assert hard.xyz_in_rig_t0[0, -1, 0] < 0.75 * fresh.xyz_in_rig_t0[0, -1, 0]
    just_fresh = stop_plan(state_on(plan, 5, late_ms=1500), path)
    assert -just_fresh.accel_mps2.min() == pytest.approx(2.5, abs=0.01)


@given(st.booleans(), st.floats(-0.3, 0.05), st.floats(-2.0, 2.0))
def test_a_vehicle_that_stands_stays(has_path: bool, speed: float, accel: float) -> None:
    plan = drive(0.0, 1.0)
    state = replace(state_on(plan, 0), speed_mps=speed, accel_mps2=accel)
    stop = stop_plan(state, ValidPath.of(plan, ANYWHERE) if has_path else None)
    assert np.abs(stop.xyz_in_rig_t0).max() < 0.01
    np.testing.assert_allclose(stop.rot_in_rig_t0[0], np.tile(np.eye(3), (64, 1, 1)), atol=0.01)
    assert stop.speed_mps[0, -1] == 0.0


def test_a_path_that_is_one_point_is_no_path() -> None:
    plan = drive(0.0)
    state = replace(state_on(plan, 0), speed_mps=5.0)
    stop = stop_plan(state, ValidPath.of(plan, ANYWHERE))
    assert np.abs(stop.xyz_in_rig_t0[0, :, 1]).max() < 1e-6
    assert 2.0 < stop.xyz_in_rig_t0[0, -1, 0] < 8.0


@pytest.mark.parametrize(("aside_m", "askew_rad"), [(1.6, 0.0), (-3.0, 0.0), (0.0, 0.6), (0.0, 3.0)])
def test_far_off_the_path_it_stops_on_the_arc_that_it_drives(aside_m: float, askew_rad: float) -> None:
    plan = drive(10.0)
    state = state_on(plan, 3, aside_m=aside_m, askew_rad=askew_rad)
    path = ValidPath.of(plan, ANYWHERE)
    straight = stop_plan(state, path)
    assert np.abs(straight.xyz_in_rig_t0[0, :, 1:]).max() < 1e-6
    assert straight.xyz_in_rig_t0[0, -1, 0] > 15.0
    arc = stop_plan(replace(state, yaw_rate_radps=0.5), path)
    x, y = arc.xyz_in_rig_t0[0, -1, :2]
    assert np.hypot(x, y - 20.0) == pytest.approx(20.0, abs=1e-3)  # radius v / yaw rate
    np.testing.assert_allclose(arc.curvature_per_m[0, :10], 0.05, atol=1e-4)


@settings(max_examples=10)
@given(st.floats(0.5, 30.0), st.floats(-1.0, 1.0))
def test_made_anew_in_every_period_it_comes_to_a_stand_and_never_goes_back(speed: float, bend: float) -> None:
    """The vehicle follows each stop for 0.1 s, then there is the next one."""
    plan = drive(speed, 0.0, bends(speed, bend))
    path, state = ValidPath.of(plan, ANYWHERE), state_on(plan, 0)
    travelled = 0.0
    for _ in range(180):
        stop = stop_plan(state, path)
        step = np.eye(4)
        step[:3, 3], step[:3, :3] = stop.xyz_in_rig_t0[0, 0], stop.rot_in_rig_t0[0, 0]
        assert step[0, 3] >= -1e-4
        travelled += float(step[0, 3])
        odom = state.odom_from_rig @ step
        odom[:3, :3] = Rotation.from_matrix(odom[:3, :3]).as_matrix()
        state = VehicleState(
            state.stamp_ns + 100_000_000, odom, float(stop.speed_mps[0, 1]), float(stop.accel_mps2[0, 0])
        )
        if state.speed_mps == 0.0:
            break
    assert state.speed_mps == 0.0
    assert travelled <= speed**2 / (2 * 2.5) + 1.2 * speed + 1.0
    final = (invert(ANYWHERE) @ state.odom_from_rig)[:3, 3]
    inside = np.linalg.norm(final) < np.linalg.norm(plan.xyz_in_rig_t0[0, -1])
    if inside:
        local = np.concatenate([np.zeros((1, 3)), plan.xyz_in_rig_t0[0]])
        assert distance_to(final[None], local)[0] < 0.3


def test_what_cannot_be_is_refused() -> None:
    plan = drive(10.0)
    path, state = ValidPath.of(plan, ANYWHERE), state_on(plan, 0)
    with pytest.raises(InvalidInput, match=f"state: expected a stamp from {T0_NS} ns on, got"):
        stop_plan(replace(state, stamp_ns=T0_NS - 1), path)
    with pytest.raises(InvalidInput, match="speed_mps: expected a finite number, got nan"):
        replace(state, speed_mps=float("nan"))
    with pytest.raises(InvalidInput, match="odom_from_rig"):
        replace(state, odom_from_rig=np.ones((4, 4)))
    with pytest.raises(InvalidInput, match="expected two points or more, got 1"):
        ValidPath(T0_NS, np.zeros((1, 3)), np.zeros(1))
    with pytest.raises(InvalidInput, match=r"speed_mps: expected shape \[65\], got \[3\]"):
        replace(path, speed_mps=np.zeros(3))
    with pytest.raises(InvalidInput, match="expected finite values"):
        replace(path, xyz_in_odom=np.full((65, 3), np.nan))
    with pytest.raises(InvalidInput, match="comfort_decel_mps2: expected a number above zero, got 0"):
        StopSettings(comfort_decel_mps2=0)
    with pytest.raises(
        InvalidInput, match=r"expected comfort_decel_mps2 <= hard_decel_mps2 <= emerg.* got 5, 4"
    ):
        StopSettings(comfort_decel_mps2=5.0)
