"""How the watchdog stops the vehicle: from where, along what, how hard."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from plan_making import T0_NS
from watchdog_drive import PLAN, POSE, SPEED, Drive, driving

from alpamayo_ros.safety.fallback import StopSettings, VehicleState, stop_plan
from alpamayo_ros.safety.prediction import Followed
from alpamayo_ros.types import Plan


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


def test_how_to_stop_is_a_setting():
    drive = driving()
    gentle = StopSettings(comfort_decel_mps2=1.0)
    drive.watchdog.settings = replace(drive.watchdog.settings, stop=gentle)
    drive.watchdog.lost("the planner's liveliness was lost")
    drive.run(20)
    assert drive.stops[0][1].plan.accel_mps2.min() > -1.1


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


def in_odom(plan: Plan, pose: np.ndarray) -> np.ndarray:
    xyz = np.concatenate([np.zeros((1, 3)), plan.xyz_in_rig_t0[0].astype(np.float64)])
    return xyz @ pose[:3, :3].T + pose[:3, 3]
