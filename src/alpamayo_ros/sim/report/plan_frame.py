"""Where things lie in a drawing from above.

A *plan frame* is local x and y, moved and turned, so that a long road fits a wide picture and a vehicle can
be shown heading up. One unit is one metre.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from alpamayo_ros.sim.roads import Float64Array
from alpamayo_ros.sim.state import EgoState


@dataclass(frozen=True, eq=False)
class PlanFrame:
    """Where a drawing's origin lies in local, and by how much local is turned for it (counter-clockwise)."""

    origin_xy_m: tuple[float, float] = (0.0, 0.0)
    turn_rad: float = 0.0

    def points(self, xy: Float64Array) -> Float64Array:
        """Return local points [..., 2 or more] in the plan frame, [..., 2]."""
        c, s = np.cos(self.turn_rad), np.sin(self.turn_rad)
        return np.asarray((np.asarray(xy)[..., :2] - self.origin_xy_m) @ np.array([[c, s], [-s, c]]))

    @classmethod
    def along(cls, line: Float64Array) -> PlanFrame:
        """Return the frame in which a polyline [N, 2 or more] runs from left to right, as far as it can."""
        xy = np.asarray(line)[:, :2]
        centre = (xy.min(axis=0) + xy.max(axis=0)) / 2
        _, values, axes = np.linalg.svd(xy - xy.mean(axis=0), full_matrices=False)
        main = axes[0] if values[0] > 1e-6 else np.array([1.0, 0.0])
        if float((xy[-1] - xy[0]) @ main) < 0:
            main = -main
        return cls((float(centre[0]), float(centre[1])), -float(np.arctan2(main[1], main[0])))

    @classmethod
    def heading_up(cls, ego: EgoState) -> PlanFrame:
        """Return the frame with the ego's rear axle at its origin, its heading upwards."""
        return cls((float(ego.xy_m[0]), float(ego.xy_m[1])), float(np.pi / 2 - ego.yaw_rad))


def box_outline(local_from_box: Float64Array, size_xyz_m: Sequence[float]) -> Float64Array:
    """Return the outline [5, 2] in local of a body from above, pointed at its front."""
    half_length, half_width = size_xyz_m[0] / 2, size_xyz_m[1] / 2
    shoulder = half_length - min(0.25 * size_xyz_m[0], 0.6 * half_width)
    outline = np.array(
        [
            (half_length, 0.0),
            (shoulder, half_width),
            (-half_length, half_width),
            (-half_length, -half_width),
            (shoulder, -half_width),
        ]
    )
    return np.asarray(outline @ local_from_box[:2, :2].T + local_from_box[:2, 3])
