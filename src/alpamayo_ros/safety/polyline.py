"""A path as the vehicle sees it: where on it the vehicle is, and how to get back onto it smoothly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float64Array = NDArray[np.float64]

_MIN_STEP_M = 0.05
_MIN_BLEND_M = 5.0
_TANGENT_M = 0.5
"""Over how much of the path to either side a heading is taken."""


@dataclass(frozen=True, eq=False)
class Polyline:
    """A path in the rig frame, and the vehicle (at the origin, heading along x) beside it.

    Attributes:
        points: float64 [M, 3] m, at least 5 cm apart.
        arc_m: [M], way along the path to each.
        along_of_points: [N], the same for every point that the path was made of.
        along_m: way along the path to the point nearest to the vehicle.
        offset_m: of the vehicle to the path's left.
        heading_offset_rad: of the vehicle's heading to the left of the path's.
    """

    points: Float64Array
    arc_m: Float64Array
    along_of_points: Float64Array
    along_m: float
    offset_m: float
    heading_offset_rad: float

    @classmethod
    def of(cls, xyz_in_rig: Float64Array) -> Polyline | None:
        """Return the path through points [N, 3]; None if they all are one."""
        kept, along = [0], [0.0]
        arc = [0.0]
        for index in range(1, len(xyz_in_rig)):
            step = float(np.linalg.norm(xyz_in_rig[index, :2] - xyz_in_rig[kept[-1], :2]))
            if step >= _MIN_STEP_M:
                kept.append(index)
                arc.append(arc[-1] + step)
            along.append(arc[-1])
        if len(kept) < 2:
            return None
        points, arc_m = xyz_in_rig[kept], np.array(arc)
        start, delta = points[:-1, :2], np.diff(points[:, :2], axis=0)
        length = np.diff(arc_m)
        share = np.clip(-(start * delta).sum(axis=1) / length**2, 0.0, 1.0)
        share[-1] = max(0.0, -float(start[-1] @ delta[-1]) / length[-1] ** 2)  # it goes on straight
        foot = start + share[:, None] * delta
        nearest = int(np.argmin(np.linalg.norm(foot, axis=1)))
        line = cls(
            points, arc_m, np.array(along), float(arc_m[nearest] + share[nearest] * length[nearest]), 0, 0
        )
        yaw = float(line._yaw(np.array([line.along_m]))[0])
        offset = float(np.sin(yaw) * foot[nearest, 0] - np.cos(yaw) * foot[nearest, 1])
        heading = float((-yaw + np.pi) % (2 * np.pi) - np.pi)
        return cls(points, arc_m, line.along_of_points, line.along_m, offset, heading)

    def at(self, along_m: Float64Array) -> Float64Array:
        """Return points [P, 3] at ways along the path, which goes on straight at both ends."""
        index = np.clip(np.searchsorted(self.arc_m, along_m, side="right") - 1, 0, len(self.arc_m) - 2)
        share = (along_m - self.arc_m[index]) / (self.arc_m[index + 1] - self.arc_m[index])
        return np.asarray(self.points[index] + share[:, None] * (self.points[index + 1] - self.points[index]))

    def _yaw(self, along_m: Float64Array) -> Float64Array:
        chord = self.at(along_m + _TANGENT_M) - self.at(along_m - _TANGENT_M)
        return np.unwrap(np.arctan2(chord[:, 1], chord[:, 0]))

    def from_vehicle(self, ways_m: Float64Array, *, speed_mps: float) -> tuple[Float64Array, Float64Array]:
        """Return points [P, 3] and headings [P] of a way from the vehicle onto the path and along it.

        The offset to the path goes to zero by a cubic that begins with the vehicle's heading, over a stretch
        that keeps its curvature below about 0.2 1/m and its lateral acceleration below about 2 m/s².

        Args:
            ways_m: [P] from the vehicle on, rising, the first zero.
            speed_mps: of the vehicle.
        """
        offset, slope = self.offset_m, np.tan(self.heading_offset_rad)
        blend_m = max(
            _MIN_BLEND_M,
            2.0 * speed_mps,
            (60.0 * abs(offset)) ** 0.5,
            40.0 * abs(slope),
            speed_mps * (6.0 * abs(offset)) ** 0.5,
            4.0 * speed_mps**2 * abs(slope),
        )

        def from_path(ways: Float64Array) -> Float64Array:
            t = np.clip(ways / blend_m, 0.0, 1.0)
            aside = offset * (1 + 2 * t) * (1 - t) ** 2 + slope * blend_m * t * (1 - t) ** 2
            yaw = self._yaw(self.along_m + ways)
            left = np.stack([-np.sin(yaw), np.cos(yaw), np.zeros_like(yaw)], axis=-1)
            return self.at(self.along_m + ways) + aside[:, None] * left

        rest = from_path(np.zeros(1))  # in height, and what rounds off a bend leaves along the path

        def blended(ways: Float64Array) -> Float64Array:
            t = np.clip(ways / blend_m, 0.0, 1.0)[:, None]
            return from_path(ways) - rest * (1 + 2 * t) * (1 - t) ** 2

        ahead, behind = blended(ways_m + 0.05), blended(np.maximum(ways_m - 0.05, 0.0))
        points, chord = blended(ways_m), ahead - behind
        yaw = np.unwrap(np.arctan2(chord[:, 1], chord[:, 0]))
        points[0], yaw[0] = 0.0, 0.0
        return points, yaw
