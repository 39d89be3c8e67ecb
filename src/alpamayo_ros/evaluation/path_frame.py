"""Along and across: errors in the frame of the path that was driven.

A plan that follows the road but brakes too early is wrong along the path; one that leaves its lane is wrong
across it. Both are measured from the driven path itself, so a bend does not turn one into the other.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.evaluation.displacement import HORIZONS_S, waypoints_until
from alpamayo_ros.evaluation.track import Future
from alpamayo_ros.types import Float32Array

Float64Array = NDArray[np.float64]

_STEP_M = 0.5
"""Points of the path are at least so far apart: odometry of a standing vehicle has no direction."""


class DrivenPath:
    """The driven path as a line that goes on straight at both ends.

    Args:
        xy_in_rig_t0: [M, 2] m in their order, from the rig at t0 (the origin, heading along x) on.
    """

    def __init__(self, xy_in_rig_t0: Float64Array) -> None:
        kept = [np.zeros(2)]
        for point in xy_in_rig_t0:
            if np.linalg.norm(point - kept[-1]) >= _STEP_M:
                kept.append(np.asarray(point, np.float64))
        if len(kept) == 1:
            kept.append(np.array([_STEP_M, 0.0]))  # it stands: along is where it looks
        self._points = np.array(kept)
        delta = np.diff(self._points, axis=0)
        self._length = np.linalg.norm(delta, axis=1)
        self._along = delta / self._length[:, None]
        self._arc = np.concatenate([[0.0], np.cumsum(self._length)])

    def place(self, xy_in_rig_t0: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Return way along the path [P] and offset to its left [P], in m, of points [P, 2].

        A point is placed by the nearest piece of the path.
        """
        away = xy_in_rig_t0[:, None] - self._points[None, :-1]
        along = (away * self._along).sum(axis=-1)
        low, high = np.zeros(len(self._length)), self._length.copy()
        low[0], high[-1] = -np.inf, np.inf
        share = np.clip(along, low, high)
        foot = self._points[:-1] + share[..., None] * self._along
        off = xy_in_rig_t0[:, None] - foot
        piece = np.argmin(np.linalg.norm(off, axis=-1), axis=1)
        row = np.arange(len(piece))
        left = self._along[piece, 0] * off[row, piece, 1] - self._along[piece, 1] * off[row, piece, 0]
        # At a corner the offset is the distance to the corner itself, whatever the piece's direction.
        offset = np.copysign(np.linalg.norm(off[row, piece], axis=1), left)
        return np.asarray(self._arc[piece] + share[row, piece]), offset


def path_errors(
    xyz_in_rig_t0: Float32Array,
    rot_in_rig_t0: Float32Array,
    driven: Future,
    *,
    way_xyz_in_rig_t0: Float64Array,
) -> dict[str, float | None]:
    """Return longitudinal, lateral and heading errors of one candidate at each horizon the drive reaches.

    Args:
        xyz_in_rig_t0: [64, 3] m.
        rot_in_rig_t0: [64, 3, 3].
        driven: what was driven instead.
        way_xyz_in_rig_t0: [M, 3] m, the driven path, which may go on behind the last waypoint: who is too
            fast is to be measured along the road, not along its tangent.

    Returns:
        longitudinal_m@T: positive for too far ahead; lateral_m@T: positive to the left of the path;
        heading_deg@T: positive to the left of the heading that was driven. None where the drive is shorter.
    """
    path = DrivenPath(way_xyz_in_rig_t0[:, :2])
    result: dict[str, float | None] = {}
    for horizon_s in HORIZONS_S:
        count, name = waypoints_until(horizon_s), f"@{horizon_s:g}s"
        if len(driven) < count:
            result |= {key + name: None for key in ("longitudinal_m", "lateral_m", "heading_deg")}
            continue
        both = np.stack([xyz_in_rig_t0[count - 1, :2], driven.xyz_in_rig_t0[count - 1, :2]])
        along, left = path.place(both.astype(np.float64))
        turn = driven.rot_in_rig_t0[count - 1].astype(np.float64).T @ rot_in_rig_t0[count - 1]
        result[f"longitudinal_m{name}"] = float(along[0] - along[1])
        result[f"lateral_m{name}"] = float(left[0] - left[1])
        result[f"heading_deg{name}"] = float(np.degrees(np.arctan2(turn[1, 0], turn[0, 0])))
    return result
