"""Routes, answers without a plan, and poses with their speed, as messages; parameters as settings."""

from __future__ import annotations

import math

import numpy as np
import pytest

from alpamayo_ros.ros.diagnostics import Level
from alpamayo_ros.ros.driver_messages import EgoTrack, published_plan, route_to_msg, trajectory_as_plan
from alpamayo_ros.ros.driver_parameters import DriverOptions, cameras_of, defaults
from alpamayo_ros.ros.driver_status import Troubles, driver_status
from alpamayo_ros.ros.plan_conversions import PlanStatus, plan_from_msg, plan_to_msg
from alpamayo_ros.sensing.rigid import compose
from alpamayo_ros.sim.driver.answers import straight_on
from alpamayo_ros.sim.driver.events import DriveOutcome
from alpamayo_ros.sim.driver.navigation import guide
from alpamayo_ros.sim.driver.statistics import DriverStatistics
from alpamayo_ros.sim.protocol.egodriver_messages import Egomotion, Route
from alpamayo_ros.sim.state import EgoState
from alpamayo_ros.sim.trajectories import stop_trajectory
from alpamayo_ros.types import InvalidInput

NOW_US = 1_700_000_000_000_000


def turned(yaw: float, x: float, y: float) -> np.ndarray:
    c, s = np.cos(yaw), np.sin(yaw)
    return compose(np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]]), [x, y, 0.3])


EGO = EgoState(NOW_US, turned(2.0, 100.0, -40.0), velocity_in_rig_mps=(6.0, 0.0))


def route(count: int, *, turn: bool = False) -> Route:
    points = np.zeros((count, 3))
    along = 4.0 * np.arange(count)
    points[:, 0] = np.minimum(along, 40.0) if turn else along
    points[:, 1] = -np.maximum(along - 40.0, 0.0) if turn else 0.0
    return Route(NOW_US, points)


@pytest.mark.parametrize("count", [0, 1, 7, 20, 30])
@pytest.mark.parametrize("turn", [False, True])
def test_a_route_of_any_length_is_a_message_without_nan(count, turn):
    msg = route_to_msg(NOW_US, guide(route(count, turn=turn)), rig_frame="s/base_link")
    assert len(msg.waypoints) == len(msg.waypoint_valid) == max(20, count)
    assert sum(msg.waypoint_valid) == count and all(msg.waypoint_valid[:count])
    assert all(math.isfinite(v) for p in msg.waypoints for v in (p.x, p.y, p.z))
    assert math.isfinite(msg.distance_m)
    turns = turn and count >= 20
    expected = msg.MANEUVER_RIGHT if turns else msg.MANEUVER_NONE if count < 2 else msg.MANEUVER_STRAIGHT
    assert msg.maneuver == expected
    assert msg.distance_valid is turns
    assert msg.instruction_valid is bool(msg.instruction) is (count >= 2)


@pytest.mark.parametrize("standing", [False, True])
def test_a_trajectory_without_a_plan_is_a_plan_along_it(standing):
    ego = EgoState(NOW_US, EGO.local_from_rig) if standing else EGO
    for source, trajectory in (("warm_up", straight_on(ego)), ("stop", stop_trajectory(ego, None))):
        outcome = DriveOutcome(
            now_us=NOW_US,
            source=source,
            reason="because",
            trajectory=trajectory,
            local_from_rig_now=ego.local_from_rig,
        )
        published = published_plan(outcome, rig_frame="r", local_frame="l", max_age_s=1.0)
        assert (published.status, published.status_reason) == (PlanStatus.FALLBACK, f"{source}: because")
        again = plan_from_msg(plan_to_msg(published))
        xyz = again.plan.xyz_in_rig_t0[0].astype(np.float64)
        local = xyz @ ego.local_from_rig[:3, :3].T + ego.local_from_rig[:3, 3]
        np.testing.assert_allclose(local, trajectory[1][1:, :3, 3], atol=1e-4)
        np.testing.assert_allclose(again.plan.speed_mps[0, 0], ego.speed_mps, atol=0.3)
        assert again.valid_until_ns == NOW_US * 1000 + 10**9


def test_a_curve_s_curvature_is_that_of_its_circle():
    angles = 0.05 * np.arange(65)
    radius = 20.0
    poses = np.stack([turned(a, radius * np.sin(a), radius * (1 - np.cos(a))) for a in angles])
    stamps_us = NOW_US + 100_000 * np.arange(65)
    outcome = DriveOutcome(
        now_us=NOW_US, source="stop", reason="", trajectory=(stamps_us, poses), local_from_rig_now=poses[0]
    )
    plan = trajectory_as_plan(outcome)
    np.testing.assert_allclose(plan.curvature_per_m[0], 1 / radius, rtol=1e-3)
    np.testing.assert_allclose(plan.speed_mps[0], 0.05 * radius / 0.1, rtol=1e-3)


def test_poses_come_once_each_with_the_velocity_that_they_show():
    track, speed, yaw_rate = EgoTrack(), 8.0, 0.2
    radius = speed / yaw_rate

    def motion(*steps: int) -> Egomotion:
        angles = [yaw_rate * 0.1 * step for step in steps]
        poses = [turned(a + 1.0, 0, 0) @ turned(0, 0, 0) for a in angles]
        for pose, angle in zip(poses, angles, strict=True):
            start = turned(1.0, 0, 0)[:3, :3]
            pose[:3, 3] = start @ [radius * np.sin(angle), radius * (1 - np.cos(angle)), 0.0]
        return Egomotion(np.array([NOW_US + 100_000 * s for s in steps], np.int64), np.stack(poses))

    states = track.add(motion(0, 1, 2, 3))
    assert [state.time_us for state in states] == [NOW_US + 100_000 * s for s in range(4)]
    assert states[0].velocity_in_rig_mps == (0.0, 0.0)
    (newest,) = track.add(motion(2, 3, 4))
    assert newest.speed_mps == pytest.approx(speed, abs=0.01)
    assert newest.yaw_rate_radps == pytest.approx(yaw_rate, abs=1e-6)
    assert abs(newest.velocity_in_rig_mps[1]) < 0.2
    assert track.add(motion(1, 4)) == []


def test_parameters_become_what_a_driver_is_made_of():
    values = {
        **defaults(),
        "planner": "constant",
        "seed": 5,
        "num_samples": 6,
        "cameras": "front = front_wide",
    }
    options = DriverOptions.from_values(values)
    assert (options.driver.seed, options.sampling.num_samples) == (5, 6)
    assert options.driver.camera_ids()["front"] == 1
    assert "camera_front_wide_120fov" not in options.driver.camera_ids()
    assert options.tls() is None
    assert DriverOptions.from_values({**defaults(), "through_topics": True}).driver.max_sessions == 1


def test_a_trouble_is_a_warning_for_a_while_and_no_longer():
    statistics, troubles = DriverStatistics(), Troubles(reports=3)

    def level() -> Level:
        counts = statistics.snapshot()
        return driver_status(
            phase="driving",
            address="",
            counts=counts,
            troubled=troubles.look(counts),
            mirror=None,
            error=None,
        ).level

    assert level() == Level.OK
    statistics.refused("image", "a bad one")
    assert [level() for _ in range(5)] == [Level.WARN] * 3 + [Level.OK] * 2
    statistics.drove("stop", total_ms=1.0, inference_ms=0.0, problem="stop: nothing to drive by")
    assert level() == Level.WARN


@pytest.mark.parametrize("text", ["front", "=front_wide", "a=b", "a=front_wide,a=front_tele"])
def test_cameras_that_cannot_be_are_refused(text):
    with pytest.raises(InvalidInput, match="cameras: expected"):
        cameras_of(text)
