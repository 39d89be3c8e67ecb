"""How a candidate moves, in the few numbers that words can be held against."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from alpamayo_ros.types import WAYPOINT_INTERVAL_S, Float32Array

_STRAIGHT_AGAIN_RAD = 0.12
_SWERVE_RAD = 0.5
_SOON_STEPS = round(3.0 / WAYPOINT_INTERVAL_S)
_OFF_LINE_M = 0.3


@dataclass(frozen=True)
class Course:
    """The motion of one candidate over its 6.4 s.

    Attributes:
        start_mps, soon_mps, end_mps: speed at first, after 3 s and at last (means over 0.5 s). A text is
            about the next seconds: what comes behind them is the plan's, not the text's.
        slowest_mps, fastest_mps: of all.
        soon_m, length_m: way after 3 s, and of the whole path.
        heading_rad: at the end, positive to the left of the heading at t0, not wrapped.
        left_m, right_m: how far the path gets to either side of the line straight ahead, zero or more; None
            for a path that does not run straight on in the end: there the road's bend and a move within it
            cannot be told apart.
        first_side: to which side the path leaves that line first, by 0.3 m: +1 left, -1 right, 0 neither.
        turned_rad: how far the vehicle has turned in the 1.5 s before t0, positive to the left.
    """

    start_mps: float
    soon_mps: float
    end_mps: float
    slowest_mps: float
    fastest_mps: float
    soon_m: float
    length_m: float
    heading_rad: float
    left_m: float | None
    right_m: float | None
    first_side: int
    turned_rad: float


def course_of(
    xyz_in_rig_t0: Float32Array, rot_in_rig_t0: Float32Array, *, history_rot_in_rig_t0: Float32Array
) -> Course:
    """Return the course of one candidate.

    Args:
        xyz_in_rig_t0: [64, 3] m, finite.
        rot_in_rig_t0: [64, 3, 3].
        history_rot_in_rig_t0: [16, 3, 3], the observation's.
    """
    xy = np.concatenate([np.zeros((1, 2)), xyz_in_rig_t0[:, :2].astype(np.float64)])
    step = np.diff(xy, axis=0)
    length = np.linalg.norm(step, axis=1)
    speed = length / WAYPOINT_INTERVAL_S
    smooth = np.convolve(speed, np.full(5, 0.2), mode="valid")
    yaw = np.arctan2(rot_in_rig_t0[:, 1, 0], rot_in_rig_t0[:, 0, 0]).astype(np.float64)
    yaw = np.unwrap(np.concatenate([[0.0], yaw]))
    straight = abs(yaw[-1]) < _STRAIGHT_AGAIN_RAD and np.abs(yaw).max() < _SWERVE_RAD
    off_line = np.flatnonzero(np.abs(xy[:, 1]) > _OFF_LINE_M)
    return Course(
        start_mps=float(speed[0]),
        soon_mps=float(smooth[_SOON_STEPS - 2]),
        end_mps=float(smooth[-1]),
        slowest_mps=float(smooth.min()),
        fastest_mps=float(smooth.max()),
        soon_m=float(length[:_SOON_STEPS].sum()),
        length_m=float(length.sum()),
        heading_rad=float(yaw[-1]),
        left_m=float(max(0.0, xy[:, 1].max())) if straight else None,
        right_m=float(max(0.0, -xy[:, 1].min())) if straight else None,
        first_side=int(np.sign(xy[off_line[0], 1])) if len(off_line) else 0,
        turned_rad=-float(np.arctan2(history_rot_in_rig_t0[0, 1, 0], history_rot_in_rig_t0[0, 0, 0])),
    )
