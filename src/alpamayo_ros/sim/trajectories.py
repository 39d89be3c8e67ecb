"""Trajectories between planner and vehicle: a plan in local, the reference from now on, a stop.

A trajectory is int64 stamps [P] in µs, rising, and float64 poses [P, 4, 4] of the rig in local; its first
pose is where the rig is at its first stamp.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from alpamayo_ros.sim.roads import Float64Array
from alpamayo_ros.sim.scene import STEP_US
from alpamayo_ros.sim.state import EgoState
from alpamayo_ros.types import (
    NUM_WAYPOINTS,
    Float32Array,
    InvalidInput,
    Plan,
    require_array,
    require_finite,
    require_rotation,
)

Trajectory: TypeAlias = tuple[NDArray[np.int64], Float64Array]

STOP_DECELERATION_MPS2 = 2.5
"""Of a stop for want of a plan: firm, and well inside what the comfort score allows."""
_DIRECTION_M = 0.01
"""A step shorter than this has no direction."""
_MIN_HORIZON_US = 2_000_000
"""AlpaSim's controller weighs a plan from 1.0 to 2.0 s ahead."""


def require_trajectory(
    name: str, stamps_us: NDArray[np.int64], local_from_rig: Float64Array, *, now_us: int
) -> None:
    """Raise InvalidInput for a trajectory that the controller cannot follow from `now_us` on.

    Asked for: int64 stamps [P] that rise from now_us over at least 2 s, finite poses [P, 4, 4] of rotations.
    """
    require_array(f"{name}: stamps_us", stamps_us, (None,), np.int64)
    require_array(f"{name}: local_from_rig", local_from_rig, (len(stamps_us), 4, 4), np.float64)
    require_finite(f"{name}: local_from_rig", local_from_rig)
    if len(stamps_us) < 2 or np.any(np.diff(stamps_us) <= 0):
        raise InvalidInput(f"{name}: expected at least two rising stamps, got {stamps_us[:5].tolist()} ...")
    if stamps_us[0] != now_us:
        raise InvalidInput(f"{name}: expected the first stamp to be now, {now_us} us, got {stamps_us[0]}")
    if stamps_us[-1] < now_us + _MIN_HORIZON_US:
        horizon_s = (stamps_us[-1] - now_us) / 1e6
        raise InvalidInput(f"{name}: expected a horizon of at least 2 s, got {horizon_s:.2f} s")
    require_rotation(f"{name}: local_from_rig", local_from_rig[:, :3, :3])


def interpolate_poses(
    stamps_us: NDArray[np.int64], poses: Float64Array, at_us: NDArray[np.int64]
) -> Float64Array:
    """Return poses [N, 4, 4] at `at_us` [N]: linear in position, slerp in rotation, the ends held."""
    at = np.clip(np.asarray(at_us, np.int64), stamps_us[0], stamps_us[-1])
    after = np.clip(np.searchsorted(stamps_us, at, side="right"), 1, len(stamps_us) - 1)
    share = (at - stamps_us[after - 1]) / (stamps_us[after] - stamps_us[after - 1])
    result = np.tile(np.eye(4), (len(at), 1, 1))
    first, second = poses[after - 1], poses[after]
    result[:, :3, 3] = (1 - share)[:, None] * first[:, :3, 3] + share[:, None] * second[:, :3, 3]
    start = Rotation.from_matrix(first[:, :3, :3])
    turn = (start.inv() * Rotation.from_matrix(second[:, :3, :3])).as_rotvec()
    result[:, :3, :3] = (start * Rotation.from_rotvec(share[:, None] * turn)).as_matrix()
    return result


def headings_along(xy: Float64Array, start: Float64Array) -> Float64Array:
    """Return yaw [K, T] of paths that are known by their places alone.

    Args:
        xy: [K, T, 2] m, where the rig gets.
        start: its x, y and yaw before the first of them.
    """
    begin = np.broadcast_to(np.asarray(start[:2]), (len(xy), 1, 2))
    steps = np.diff(np.concatenate([begin, xy], axis=1), axis=1)
    moves = np.linalg.norm(steps, axis=-1) > _DIRECTION_M
    yaw = np.arctan2(steps[..., 1], steps[..., 0])
    # Who stands keeps the heading of before: take it from the last step that moved, else from the start.
    last = np.maximum.accumulate(np.where(moves, np.arange(xy.shape[1]), -1), axis=1)
    held = np.take_along_axis(yaw, np.maximum(last, 0), axis=1)
    return np.where(last < 0, start[2], held)


def candidates_in_local(plan: Plan, local_from_rig_t0: Float64Array) -> Float64Array:
    """Return all samples' waypoints as xyz [K, 64, 3] in local."""
    xyz = plan.xyz_in_rig_t0.astype(np.float64)
    return np.asarray(xyz @ local_from_rig_t0[:3, :3].T + local_from_rig_t0[:3, 3])


def plan_in_local(
    plan: Plan,
    local_from_rig_t0: Float64Array,
    *,
    now_us: int | None = None,
    local_from_rig_now: Float64Array | None = None,
) -> Trajectory:
    """Return the plan's chosen sample as a trajectory: the rig's pose, then the waypoints still to come.

    Args:
        plan: made at its t0.
        local_from_rig_t0: pose of the rig at t0.
        now_us: where the trajectory begins, for a plan made for an older t0; t0 by default. What of the plan
            is past by then is left out.
        local_from_rig_now: pose of the rig at now_us; by default the plan's own, interpolated.

    Raises:
        InvalidInput: for a plan that is not finite, that is of the future, or that is over.
    """
    xyz, rotation = plan.xyz_in_rig_t0[plan.chosen], plan.rot_in_rig_t0[plan.chosen]
    require_finite("plan: xyz_in_rig_t0", xyz)
    require_finite("plan: rot_in_rig_t0", rotation)
    require_rotation("plan: rot_in_rig_t0", rotation)
    poses = samples_in_local(xyz[None], rotation[None], local_from_rig_t0)
    t0_us = plan.t0_ns // 1000
    stamps_us, ahead = rest_of_samples(
        t0_us, poses, now_us=t0_us if now_us is None else now_us, local_from_rig_now=local_from_rig_now
    )
    return stamps_us, ahead[0]


def samples_in_local(
    xyz_in_rig_t0: Float32Array, rot_in_rig_t0: Float32Array, local_from_rig_t0: Float64Array
) -> Float64Array:
    """Return samples' poses [K, 65, 4, 4] in local, that at t0 first.

    Args:
        xyz_in_rig_t0: [K, 64, 3] m, finite.
        rot_in_rig_t0: [K, 64, 3, 3], rotations up to float32's rounding.
        local_from_rig_t0: pose of the rig at t0.
    """
    count = len(xyz_in_rig_t0)
    poses = np.tile(np.eye(4), (count, NUM_WAYPOINTS + 1, 1, 1))
    poses[:, 1:, :3, 3] = xyz_in_rig_t0
    rotations = Rotation.from_matrix(rot_in_rig_t0.reshape(-1, 3, 3).astype(np.float64))
    poses[:, 1:, :3, :3] = rotations.as_matrix().reshape(count, NUM_WAYPOINTS, 3, 3)
    return np.asarray(local_from_rig_t0 @ poses)


def rest_of_samples(
    t0_us: int, poses: Float64Array, *, now_us: int, local_from_rig_now: Float64Array | None = None
) -> tuple[NDArray[np.int64], Float64Array]:
    """Return what of samples is still to come: stamps [P] from now_us on and poses [K, P, 4, 4].

    Args:
        t0_us: stamp of their first pose.
        poses: [K, 65, 4, 4], 0.1 s apart.
        now_us: where they are to begin.
        local_from_rig_now: their first pose; by default each one's own, interpolated.

    Raises:
        InvalidInput: for samples of the future, or that are over.
    """
    stamps_us = t0_us + STEP_US * np.arange(NUM_WAYPOINTS + 1, dtype=np.int64)
    if not t0_us <= now_us < stamps_us[-1]:
        raise InvalidInput(
            f"plan: expected t0 in the last {NUM_WAYPOINTS * STEP_US / 1e6:.1f} s before now, {now_us} us, "
            f"got t0 {t0_us} us"
        )
    if local_from_rig_now is not None:
        start = np.broadcast_to(local_from_rig_now, (len(poses), 1, 4, 4))
    elif now_us > t0_us:
        start = np.stack([interpolate_poses(stamps_us, each, np.array([now_us])) for each in poses])
    else:
        start = poses[:, :1]
    ahead = stamps_us > now_us
    return (
        np.concatenate([np.array([now_us], np.int64), stamps_us[ahead]]),
        np.concatenate([start, poses[:, ahead]], axis=1),
    )


def stop_trajectory(ego: EgoState, path_xyz: Float64Array | None) -> Trajectory:
    """Return a comfortable stop: the last plan's path at a falling speed, then a stand, 6.4 s in all.

    Args:
        ego: where the vehicle is now.
        path_xyz: the path [N, 3] in local of the plan that it drove until now (what lies behind the ego is
            ignored), or None: straight ahead.
    """
    times_s = np.arange(NUM_WAYPOINTS + 1) * STEP_US / 1e6
    speed = max(0.0, ego.speed_mps)
    until_stand_s = np.minimum(times_s, speed / STOP_DECELERATION_MPS2)
    along_m = speed * until_stand_s - 0.5 * STOP_DECELERATION_MPS2 * until_stand_s**2
    path = _path_from(ego, path_xyz, length_m=float(along_m[-1]) + 5.0)
    steps = np.linalg.norm(np.diff(path[:, :2], axis=0), axis=1)
    arc = np.concatenate([[0.0], np.cumsum(steps)])
    xyz = np.stack([np.interp(along_m, arc, path[:, i]) for i in range(3)], axis=-1)
    segment = np.clip(np.searchsorted(arc, along_m, side="right") - 1, 0, len(steps) - 1)
    delta = path[segment + 1] - path[segment]
    yaw = np.arctan2(delta[:, 1], delta[:, 0])
    poses = np.tile(ego.local_from_rig, (len(times_s), 1, 1))
    turns = Rotation.from_euler("z", (yaw - ego.yaw_rad)[:, None]).as_matrix()
    poses[1:, :3, :3] = (turns @ ego.local_from_rig[:3, :3])[1:]
    poses[1:, :3, 3] = xyz[1:]
    return ego.time_us + STEP_US * np.arange(len(times_s), dtype=np.int64), poses


def _path_from(ego: EgoState, path_xyz: Float64Array | None, *, length_m: float) -> Float64Array:
    """Return the path [N >= 2, 3] from the ego on: what of `path_xyz` is ahead, extended straight."""
    start, forward = ego.local_from_rig[:3, 3], ego.local_from_rig[:3, 0]
    points = [start]
    if path_xyz is not None and len(path_xyz):
        nearest = int(np.argmin(np.linalg.norm(path_xyz[:, :2] - start[:2], axis=1)))
        for point in path_xyz[nearest:]:
            step = point - points[-1]
            # Waypoints of a vehicle that creeps lie closer together than their direction is good for.
            if np.linalg.norm(step[:2]) > 0.5 and float(step @ forward) > 0.0:
                points.append(point)
                forward = step / np.linalg.norm(step)
    points.append(points[-1] + length_m * forward)
    return np.array(points)
