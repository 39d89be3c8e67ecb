"""Bodies on the road, covered by discs, and how a road user follows them along its way.

A body is on the way if one of its discs touches the corridor that the follower's own disc sweeps along
its path.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.sim.roads import Float64Array
from alpamayo_ros.sim.scene import EGO_SIZE_XYZ_M
from alpamayo_ros.sim.scenes.paths import Path

DISCS = 4


GRID_M = 1.0


_CLEARANCE_M = 0.25


@dataclass(frozen=True, eq=False)
class Bodies:
    """Discs of things on the road: centres [D, 2], radii [D], velocity [D, 2], owner [D]."""

    centre: Float64Array
    radius: Float64Array
    velocity: Float64Array
    owner: NDArray[np.int64]


def discs_of(size_xyz_m: tuple[float, float, float]) -> tuple[Float64Array, float]:
    """Return the offsets [DISCS] along the box and the radius of the discs that cover it."""
    radius = size_xyz_m[1] / 2
    reach = max(0.0, size_xyz_m[0] / 2 - radius)
    return np.linspace(-reach, reach, DISCS), radius


EGO_DISCS, EGO_RADIUS_M = discs_of(EGO_SIZE_XYZ_M)


def empty_bodies() -> Bodies:
    """Return no bodies."""
    return Bodies(np.zeros((0, 2)), np.zeros(0), np.zeros((0, 2)), np.zeros(0, np.int64))


def bodies_at(
    poses: Sequence[tuple[float, float, float]], sizes: Sequence[tuple[float, float, float]]
) -> Bodies:
    """Return the discs of boxes that stand still: (x, y, yaw) of each and its size."""
    if not poses:
        return empty_bodies()
    centres, radii, owners = [], [], []
    for i, ((x, y, yaw), size) in enumerate(zip(poses, sizes, strict=True)):
        offsets, radius = discs_of(size)
        centres.append(np.array([x, y]) + offsets[:, None] * np.array([np.cos(yaw), np.sin(yaw)]))
        radii.append(np.full(DISCS, radius))
        owners.append(np.full(DISCS, i))
    centre = np.concatenate(centres)
    return Bodies(centre, np.concatenate(radii), np.zeros_like(centre), np.concatenate(owners))


def first_on_way(
    way_xy: Float64Array, way_yaw: Float64Array, half_width_m: Float64Array, bodies: Bodies
) -> tuple[Float64Array, Float64Array]:
    """Return, for ways sampled every GRID_M, how far each body is along it.

    Args:
        way_xy: [A, W, 2], the ways ahead, each from its owner's centre on.
        way_yaw: [A, W].
        half_width_m: [A].
        bodies: D discs.

    Returns:
        distance [A, D] that the way's owner can go until its disc touches the body's (inf if never), and the
        body's speed along the way there [A, D].
    """
    reach = half_width_m[:, None] + bodies.radius[None, :] + _CLEARANCE_M
    dx = bodies.centre[None, :, None, 0] - way_xy[:, None, :, 0]
    dy = bodies.centre[None, :, None, 1] - way_xy[:, None, :, 1]
    touch = dx * dx + dy * dy < (reach**2)[:, :, None]
    first = touch.argmax(axis=2)
    rows = np.arange(len(way_xy))[:, None]
    columns = np.arange(len(bodies.radius))[None, :]
    hit = touch[rows, columns, first]
    yaw = way_yaw[rows, first]
    cos, sin = np.cos(yaw), np.sin(yaw)
    rest_x, rest_y = dx[rows, columns, first], dy[rows, columns, first]
    along = cos * rest_x + sin * rest_y
    across = cos * rest_y - sin * rest_x
    distance = first * GRID_M + along - np.sqrt(np.maximum(reach**2 - across**2, 0.0))
    speed = cos * bodies.velocity[None, :, 0] + sin * bodies.velocity[None, :, 1]
    # Only who comes straight at one counts as coming; who crosses counts as standing in the way.
    head_on = speed < -0.9 * np.hypot(bodies.velocity[:, 0], bodies.velocity[:, 1])
    speed = np.where(head_on, speed, np.maximum(speed, 0.0))
    return np.where(hit, distance, np.inf), speed


def interaction(
    speed_mps: Float64Array | float,
    gap_m: Float64Array | float,
    lead_mps: Float64Array | float,
    *,
    accel_mps2: float | Float64Array,
    decel_mps2: float | Float64Array,
    headway_s: float | Float64Array,
    standstill_m: float | Float64Array,
) -> Float64Array:
    """Return IDM's acceleration towards a leader, without its free-road term."""
    closing = np.asarray(speed_mps) - lead_mps
    wish = standstill_m + np.maximum(
        0.0, speed_mps * headway_s + speed_mps * closing / (2 * np.sqrt(accel_mps2 * decel_mps2))
    )
    return np.asarray(accel_mps2 * (1 - (wish / np.maximum(gap_m, 0.1)) ** 2))


def speed_profile(path: Path, lateral_mps2: float, decel_mps2: float, top_mps: float) -> Float64Array:
    """Return the speed [N] every GRID_M that keeps to the lateral acceleration and brakes in time for it."""
    count = int(path.length_m / GRID_M) + 1
    _, _, curvature = path.sample(np.arange(count) * GRID_M)
    limit = np.minimum(np.sqrt(lateral_mps2 / np.maximum(np.abs(curvature), 1e-6)), top_mps)
    for i in range(count - 2, -1, -1):
        reach = np.sqrt(limit[i + 1] ** 2 + 2 * decel_mps2 * GRID_M)
        if limit[i] > reach:
            limit[i] = reach
    return limit
