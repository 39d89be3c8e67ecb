"""From motion to Plan and back: speed of a history, a Plan of accelerations, headings and heights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from alpamayo_ros.sim.roads import Float64Array
from alpamayo_ros.types import (
    HISTORY_INTERVAL_S,
    NUM_WAYPOINTS,
    WAYPOINT_INTERVAL_S,
    Float32Array,
    Plan,
    StageTimes,
)

_ACCEL_MEAN_STD = (0.03, 0.68)
_CURVATURE_MEAN_STD = (0.0003, 0.026)
"""About what the released checkpoints normalise actions with."""


def speed_from_history(history_xyz_in_rig_t0: Float32Array) -> float:
    """Return the speed in m/s at t0 of a history [16, 3]: its last step's, extrapolated by half a step."""
    steps = np.diff(history_xyz_in_rig_t0[-3:, :2].astype(np.float64), axis=0)
    speeds = np.linalg.norm(steps, axis=1) / HISTORY_INTERVAL_S
    return float(max(0.0, 1.5 * speeds[1] - 0.5 * speeds[0]))


@dataclass(frozen=True, eq=False)
class Motion:
    """How the rig moves over the plan's 64 intervals of 0.1 s, from t0 on.

    Attributes:
        accel_mps2: [64], constant over each interval.
        yaw_rad: [65] heading in the ground plane at the steps; the first is the rig's at t0.
        speed_mps: [65] at the steps.
    """

    accel_mps2: Float64Array
    yaw_rad: Float64Array
    speed_mps: Float64Array

    def positions(self) -> Float64Array:
        """Return [65, 2] m from the origin on, by the trapezoid rule of Alpamayo's action space."""
        velocity = self.speed_mps[:, None] * np.stack([np.cos(self.yaw_rad), np.sin(self.yaw_rad)], axis=-1)
        steps = 0.5 * WAYPOINT_INTERVAL_S * (velocity[1:] + velocity[:-1])
        return np.concatenate([np.zeros((1, 2)), np.cumsum(steps, axis=0)])

    def curvature_per_m(self) -> Float64Array:
        """Return [64]: the turn of each interval over the way in it; zero where the rig stands."""
        way = 0.5 * WAYPOINT_INTERVAL_S * (self.speed_mps[1:] + self.speed_mps[:-1])
        turn = np.diff(self.yaw_rad)
        return np.where(way > 1e-3, turn / np.maximum(way, 1e-3), 0.0)


def make_plan(
    motions: Sequence[Motion],
    *,
    t0_ns: int,
    reasoning: Sequence[str],
    model: str,
    chosen: int = 0,
    height_m: Sequence[Float64Array] | None = None,
    total_ms: float = 0.0,
) -> Plan:
    """Return the Plan of K motions that start in the rig's pose at t0.

    Args:
        motions: K of them; their first yaw is zero (the rig frame's).
        t0_ns: the observation's.
        reasoning: K texts.
        model: what made it.
        chosen: index of the one to drive.
        height_m: K arrays [64], z of the waypoints in the rig frame at t0; zero by default.
        total_ms: wall time that it took.
    """
    count = len(motions)
    xyz = np.zeros((count, NUM_WAYPOINTS, 3))
    for index, motion in enumerate(motions):
        xyz[index, :, :2] = motion.positions()[1:]
        if height_m is not None:
            xyz[index, :, 2] = height_m[index]
    yaw = np.array([motion.yaw_rad[1:] for motion in motions])
    rotations = Rotation.from_euler("z", yaw.reshape(-1, 1)).as_matrix().reshape(count, NUM_WAYPOINTS, 3, 3)
    accel = np.array([motion.accel_mps2 for motion in motions])
    curvature = np.array([motion.curvature_per_m() for motion in motions])
    action = np.stack(
        [
            (accel - _ACCEL_MEAN_STD[0]) / _ACCEL_MEAN_STD[1],
            (curvature - _CURVATURE_MEAN_STD[0]) / _CURVATURE_MEAN_STD[1],
        ],
        axis=-1,
    )
    return Plan(
        t0_ns=t0_ns,
        xyz_in_rig_t0=xyz.astype(np.float32),
        rot_in_rig_t0=rotations.astype(np.float32),
        accel_mps2=accel.astype(np.float32),
        curvature_per_m=curvature.astype(np.float32),
        speed_mps=np.array([motion.speed_mps for motion in motions], np.float32),
        normalised_action=action.astype(np.float32),
        reasoning=tuple(reasoning),
        reasoning_complete=(True,) * count,
        meta_action=("",) * count,
        token_ids=((),) * count,
        sections=(None,) * count,
        chosen=chosen,
        times=StageTimes(total_ms=total_ms),
        model=model,
    )
