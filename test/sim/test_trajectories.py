"""Plans, stops and references as trajectories."""

from __future__ import annotations

import numpy as np
import pytest

from alpamayo_ros.sim.planners.motion import Motion, make_plan
from alpamayo_ros.sim.roads import Terrain
from alpamayo_ros.sim.scene import STEP_US
from alpamayo_ros.sim.state import EgoState
from alpamayo_ros.sim.trajectories import (
    STOP_DECELERATION_MPS2,
    candidates_in_local,
    headings_along,
    interpolate_poses,
    plan_in_local,
    require_trajectory,
    stop_trajectory,
)
from alpamayo_ros.types import NUM_WAYPOINTS, InvalidInput, Plan

T0_US = 1_700_000_000_000_000


def _plan(speed_mps: float = 10.0, *, turn_radps: float = 0.0, count: int = 1) -> Plan:
    motion = Motion(
        accel_mps2=np.zeros(NUM_WAYPOINTS),
        yaw_rad=turn_radps * 0.1 * np.arange(NUM_WAYPOINTS + 1),
        speed_mps=np.full(NUM_WAYPOINTS + 1, speed_mps),
    )
    return make_plan([motion] * count, t0_ns=T0_US * 1000, reasoning=["so"] * count, model="test")


def _ego(speed_mps: float, *, x_m: float = 0.0, yaw_rad: float = 0.0) -> EgoState:
    return EgoState(T0_US, Terrain().pose_on_ground(x_m, 0.0, yaw_rad), (speed_mps, 0.0))


def test_plan_begins_at_the_rig_and_goes_on_at_its_waypoints() -> None:
    pose = Terrain().pose_on_ground(100.0, 50.0, np.pi / 2)
    stamps_us, poses = plan_in_local(_plan(), pose)
    assert stamps_us.tolist() == [T0_US + i * STEP_US for i in range(65)]
    np.testing.assert_allclose(poses[0], pose)
    np.testing.assert_allclose(poses[-1, :2, 3], [100.0, 50.0 + 64.0], atol=1e-4)
    np.testing.assert_allclose(poses[:, :3, :3], np.broadcast_to(pose[:3, :3], (65, 3, 3)), atol=1e-6)
    require_trajectory("plan", stamps_us, poses, now_us=T0_US)


def test_candidates_are_the_waypoints_in_local() -> None:
    pose = Terrain().pose_on_ground(100.0, 50.0, np.pi / 2)
    candidates = candidates_in_local(_plan(count=3), pose)
    assert candidates.shape == (3, 64, 3)
    np.testing.assert_allclose(candidates[2, 0], [100.0, 51.0, 0.0], atol=1e-5)


def test_older_plan_is_resampled_to_begin_now() -> None:
    pose = Terrain().pose_on_ground(0.0, 0.0, 0.0)
    now_us = T0_US + 250_000
    stamps_us, poses = plan_in_local(_plan(), pose, now_us=now_us)
    assert stamps_us[0] == now_us and stamps_us[1] == T0_US + 300_000
    np.testing.assert_allclose(poses[0, 0, 3], 2.5, atol=1e-5)
    here = Terrain().pose_on_ground(2.4, 0.3, 0.02)
    _, anchored = plan_in_local(_plan(), pose, now_us=now_us, local_from_rig_now=here)
    np.testing.assert_allclose(anchored[0], here)
    np.testing.assert_allclose(anchored[1:], poses[1:])


@pytest.mark.parametrize("late_us", [-STEP_US, 64 * STEP_US])
def test_plan_of_the_future_or_one_that_is_over_is_refused(late_us: int) -> None:
    with pytest.raises(InvalidInput, match=r"expected t0 in the last 6.4 s"):
        plan_in_local(_plan(), np.eye(4), now_us=T0_US + late_us)


def test_plan_that_is_not_finite_is_refused() -> None:
    plan = _plan()
    plan.xyz_in_rig_t0[0, 3, 1] = np.nan
    with pytest.raises(InvalidInput, match=r"xyz_in_rig_t0: expected finite values"):
        plan_in_local(plan, np.eye(4))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda s, p: (s + 1, p), "expected the first stamp to be now"),
        (lambda s, p: (s[:15], p[:15]), "expected a horizon of at least 2 s, got 1.40 s"),
        (lambda s, p: (np.concatenate([s[:1], s[:-1]]), p), "rising stamps"),
        (lambda s, p: (s, p * 2), "expected rotation matrices"),
        (lambda s, p: (s[:1], p[:1]), "at least two rising stamps"),
    ],
)
def test_trajectories_that_cannot_be_followed_are_refused(spoil, message) -> None:
    stamps_us, poses = plan_in_local(_plan(), np.eye(4))
    with pytest.raises(InvalidInput, match=message):
        require_trajectory("drive", *spoil(stamps_us, poses), now_us=T0_US)


def test_interpolated_poses_turn_and_move_evenly_and_hold_the_ends() -> None:
    stamps_us = np.array([0, 100], np.int64)
    poses = np.stack([Terrain().pose_on_ground(0, 0, 0.0), Terrain().pose_on_ground(2.0, 1.0, 0.4)])
    middle, before, after = interpolate_poses(stamps_us, poses, np.array([50, -10, 500]))
    np.testing.assert_allclose(middle[:2, 3], [1.0, 0.5])
    np.testing.assert_allclose(np.arctan2(middle[1, 0], middle[0, 0]), 0.2)
    np.testing.assert_allclose(before, poses[0])
    np.testing.assert_allclose(after, poses[1])


def test_stop_brakes_evenly_to_a_stand_along_the_last_path() -> None:
    path = np.stack([np.arange(60.0), np.zeros(60), np.zeros(60)], axis=-1)
    path[30:, 1] = 0.2 * (np.arange(30) + 1)
    ego = _ego(12.0, x_m=20.3)
    stamps_us, poses = stop_trajectory(ego, path)
    require_trajectory("stop", stamps_us, poses, now_us=T0_US)
    np.testing.assert_allclose(poses[0], ego.local_from_rig)
    way = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(poses[:, :2, 3], axis=0), axis=1))])
    speed = np.diff(way) / 0.1
    assert speed[0] == pytest.approx(12.0 - 0.05 * STOP_DECELERATION_MPS2, abs=0.05)
    assert np.all(np.diff(speed) < 1e-9) and speed[-1] == 0.0
    assert way[-1] == pytest.approx(12.0**2 / 2 / STOP_DECELERATION_MPS2, abs=0.1)
    assert poses[-1, 1, 3] > 2.0, "it follows the bend of the path"


def test_stop_without_a_path_goes_straight_and_a_standing_ego_stays() -> None:
    _, poses = stop_trajectory(_ego(5.0, yaw_rad=0.5), None)
    heading = np.arctan2(poses[-1, 1, 3], poses[-1, 0, 3])
    assert heading == pytest.approx(0.5)
    _, standing = stop_trajectory(_ego(0.0), None)
    np.testing.assert_allclose(standing, np.broadcast_to(np.eye(4), standing.shape), atol=1e-12)


def test_headings_along_places_are_their_directions_and_who_stands_keeps_his() -> None:
    xy = np.array(
        [[[1.0, 0.0], [2.0, 1.0], [2.0, 1.0], [2.0, 2.0]], [[0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]]]
    )
    yaw = headings_along(xy, np.array([0.0, 0.0, 0.3]))
    np.testing.assert_allclose(yaw, [[0.0, np.pi / 4, np.pi / 4, np.pi / 2], [0.3] * 4])
    assert headings_along(np.zeros((0, 64, 2)), np.zeros(3)).shape == (0, 64)
