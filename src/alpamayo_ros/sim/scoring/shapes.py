"""Shapes of road users in the ground plane, as AlpaSim's evaluator cuts them.

A box is scaled by 0.98 in length and width about its centre, and its corners are rounded by a quarter of the
shorter scaled side. Everything is two-dimensional; poses are x, y, yaw of the box's centre.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import shapely
import shapely.affinity
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from alpamayo_ros.sim.roads import Float64Array
from alpamayo_ros.types import InvalidInput

SHRINK = 0.98
CORNER_RADIUS_PER_SIDE = 0.25
"""Radius of the corners as a share of the shorter side after shrinking."""

GeometryArray = NDArray[np.object_]


@dataclass(frozen=True, eq=False)
class BoxShape:
    """The shape of one size of box, its centre at the origin, facing along x.

    Attributes:
        length_m, width_m: of the box before shrinking.
        outline: float64 [N, 2], closed.
        front, rear: the parts of the shape within a corner's radius of the scaled box's front and rear edge.
        reach_m: no point of the shape is farther from the centre.
    """

    length_m: float
    width_m: float
    outline: Float64Array
    front: BaseGeometry
    rear: BaseGeometry
    reach_m: float

    def at(self, x_m: float, y_m: float, yaw_rad: float) -> shapely.Polygon:
        """Return the shape at a pose."""
        return shapely.Polygon(_moved(self.outline, np.array([[x_m, y_m, yaw_rad]]))[0])

    def along(self, poses: Float64Array) -> GeometryArray:
        """Return the shapes [N] at poses [N, 3]; None where a pose is not finite (an absent actor)."""
        shapes = np.full(len(poses), None, dtype=object)
        there = np.isfinite(poses).all(axis=1)
        if there.any():
            shapes[there] = shapely.polygons(_moved(self.outline, poses[there]))
        return shapes

    def front_at(self, x_m: float, y_m: float, yaw_rad: float) -> BaseGeometry:
        """Return the front part at a pose."""
        return _placed(self.front, x_m, y_m, yaw_rad)

    def rear_at(self, x_m: float, y_m: float, yaw_rad: float) -> BaseGeometry:
        """Return the rear part at a pose."""
        return _placed(self.rear, x_m, y_m, yaw_rad)


@lru_cache(maxsize=256)
def box_shape(length_m: float, width_m: float) -> BoxShape:
    """Return the shape of a box; raises InvalidInput for a size that is not positive."""
    if not (length_m > 0 and width_m > 0 and math.isfinite(length_m + width_m)):
        raise InvalidInput(f"box: expected a positive length and width, got {length_m} m, {width_m} m")
    half_length, half_width = length_m * SHRINK / 2.0, width_m * SHRINK / 2.0
    radius = CORNER_RADIUS_PER_SIDE * 2.0 * min(half_length, half_width)
    box = shapely.box(-half_length, -half_width, half_length, half_width)
    shape = box.buffer(-radius).buffer(radius)
    front_edge = shapely.LineString([(half_length, -half_width), (half_length, half_width)])
    rear_edge = shapely.LineString([(-half_length, -half_width), (-half_length, half_width)])
    outline = shapely.get_coordinates(shape)
    return BoxShape(
        length_m=length_m,
        width_m=width_m,
        outline=outline,
        front=front_edge.buffer(radius).intersection(shape),
        rear=rear_edge.buffer(radius).intersection(shape),
        reach_m=float(np.linalg.norm(outline, axis=1).max()),
    )


def planar_poses(local_from_box: Float64Array) -> Float64Array:
    """Return x, y, yaw [..., 3] of poses [..., 4, 4]."""
    yaw = np.arctan2(local_from_box[..., 1, 0], local_from_box[..., 0, 0])
    return np.concatenate([local_from_box[..., :2, 3], yaw[..., None]], axis=-1)


def _moved(outline: Float64Array, poses: Float64Array) -> Float64Array:
    """Return the outline [P, N, 2] at poses [P, 3]."""
    cosine, sine = np.cos(poses[:, 2, None]), np.sin(poses[:, 2, None])
    x = poses[:, 0, None] + cosine * outline[:, 0] - sine * outline[:, 1]
    y = poses[:, 1, None] + sine * outline[:, 0] + cosine * outline[:, 1]
    return np.stack([x, y], axis=-1)


def _placed(geometry: BaseGeometry, x_m: float, y_m: float, yaw_rad: float) -> BaseGeometry:
    cosine, sine = math.cos(yaw_rad), math.sin(yaw_rad)
    return shapely.affinity.affine_transform(geometry, (cosine, -sine, sine, cosine, x_m, y_m))
