"""Observations and plans of a vehicle that moves like a vehicle, to be spoilt by the tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from alpamayo_ros.sim.planners.motion import Motion, make_plan
from alpamayo_ros.types import NUM_HISTORY_POSES, NUM_WAYPOINTS, Observation, Plan

T0_NS = 1_700_000_000_000_000_000


def make_observation(speed_mps: float, accel_mps2: float = 0.0, t0_ns: int = T0_NS) -> Observation:
    """Return an observation of a vehicle that has driven straight on and is at `speed_mps` at t0."""
    times_s = (np.arange(NUM_HISTORY_POSES) - NUM_HISTORY_POSES + 1) * 0.1
    xyz = np.zeros((NUM_HISTORY_POSES, 3), np.float32)
    xyz[:, 0] = speed_mps * times_s + 0.5 * accel_mps2 * times_s**2
    stamps_ns = t0_ns + np.array([[-300, -200, -100, 0]], np.int64) * 1_000_000
    return Observation(
        t0_ns=t0_ns,
        camera_ids=(1,),
        frames=np.zeros((1, 4, 3, 2, 2), np.uint8),
        frame_stamps_ns=stamps_ns,
        history_xyz_in_rig_t0=xyz,
        history_rot_in_rig_t0=np.tile(np.eye(3, dtype=np.float32), (NUM_HISTORY_POSES, 1, 1)),
    )


def motion_of(speed_mps: float, accel_mps2: Sequence[float], curvature_per_m: Sequence[float]) -> Motion:
    """Return the motion that starts at a speed, with accelerations and curvatures [64]; it never reverses."""
    speed = [speed_mps]
    for accel in accel_mps2:
        speed.append(max(0.0, speed[-1] + 0.1 * float(accel)))
    speeds = np.array(speed)
    way = 0.05 * (speeds[1:] + speeds[:-1])
    yaw = np.concatenate([[0.0], np.cumsum(way * np.asarray(curvature_per_m, np.float64))])
    return Motion(accel_mps2=np.diff(speeds) / 0.1, yaw_rad=yaw, speed_mps=speeds)


def smooth(accel_mps2: float, curvature_per_m: float) -> tuple[np.ndarray, np.ndarray]:
    """Return accelerations and curvatures [64] that come within a second."""
    rise = np.minimum(1.0, np.arange(1, NUM_WAYPOINTS + 1) / 10)
    return accel_mps2 * rise, curvature_per_m * rise


def plan_of(
    motions: Sequence[Motion], reasoning: Sequence[str] | None = None, *, t0_ns: int = T0_NS, chosen: int = 0
) -> Plan:
    """Return the plan of these motions."""
    return make_plan(
        motions, t0_ns=t0_ns, reasoning=reasoning or [""] * len(motions), model="test", chosen=chosen
    )
