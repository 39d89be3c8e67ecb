"""What of a scene a camera sees, how finely it is drawn, and in which order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.sensing.rigid import Matrix4
from alpamayo_ros.sim.render.instances import Instances
from alpamayo_ros.sim.render.lens import RADIAL_SAMPLES, GpuLens
from alpamayo_ros.sim.render.mesh_library import MeshLibrary
from alpamayo_ros.sim.roads import Float64Array

INSTANCE_FLOATS = 22
_DISTORTION_MARGIN = 1.6
_ANGLES = np.linspace(0.0, np.pi, RADIAL_SAMPLES)
MIN_RADIUS_PX = 0.7
"""Smaller things are not drawn."""


@dataclass(frozen=True, eq=False)
class DrawList:
    """What to draw of one camera's view.

    Attributes:
        instances: float32 [N, 22], rows of camera_from_model, tint, flags, tint2, id, extra.
        plain, textured: uint32 [C, 5], commands of glMultiDrawElementsIndirect, nearest first.
    """

    instances: NDArray[np.float32]
    plain: NDArray[np.uint32]
    textured: NDArray[np.uint32]


def footprint_px(
    lens: GpuLens, centres: Float64Array, radius_m: Float64Array
) -> tuple[Float64Array, NDArray[np.bool_]]:
    """Return the radius [N] in pixels of spheres [N, 3] in the optical frame, and which may be seen."""
    flat = np.hypot(centres[:, 0], centres[:, 1])
    distance = np.sqrt(flat * flat + centres[:, 2] ** 2)
    theta = np.arctan2(flat, centres[:, 2])
    inside = distance <= radius_m
    spread = np.arcsin(np.minimum(radius_m / np.maximum(distance, 1e-6), 1.0))
    spread[inside] = np.pi
    in_view = theta - spread < lens.max_angle_rad
    limit = lens.angles_rad[0]
    r0, r_low, r_high = (
        _radius_px(lens, np.clip(angle, 0.0, limit)) for angle in (theta, theta - spread, theta + spread)
    )
    around = np.where(theta > spread, np.sin(spread) / np.maximum(np.sin(np.maximum(theta, 1e-6)), 1e-6), 1.0)
    around = np.where(theta > np.pi / 2, np.maximum(around, np.sin(spread)), around)
    radius_px = np.maximum(np.maximum(r_high - r0, r0 - r_low), r_high * np.minimum(around, 1.0))
    direction = centres[:, :2] / np.maximum(flat, 1e-9)[:, None]
    linear = lens.linear / lens.plane_scale
    pixel = (direction * r0[:, None]) @ linear.T + lens.centre_px
    stretch = lens.plane_stretch
    if any(lens.distortion):
        angle = np.minimum(theta, limit)
        rays = np.concatenate([direction * np.sin(angle)[:, None], np.cos(angle)[:, None]], axis=1)
        projected, _ = lens.model.project(rays)
        mapped = np.isfinite(projected).all(axis=1)
        pixel[mapped] = projected[mapped]
        stretch *= _DISTORTION_MARGIN
    reach = radius_px * stretch + 1.0
    width, height = lens.size
    in_view &= (pixel[:, 0] > -reach) & (pixel[:, 0] < width + reach)
    in_view &= (pixel[:, 1] > -reach) & (pixel[:, 1] < height + reach)
    return radius_px, in_view | inside


def _radius_px(lens: GpuLens, theta: Float64Array) -> Float64Array:
    """Return the radius in the image at angles to the axis, distortion of a pinhole left out."""
    if lens.kind == 0:
        return np.asarray(np.interp(theta, _ANGLES, lens.radius) * lens.plane_scale)
    return np.asarray(np.tan(theta) * lens.plane_scale)


def near_distance_m(camera_from_model: Float64Array) -> Float64Array:
    """Return the distance [N] from the camera to boxes, the unit cubes of camera_from_model [N, 4, 4]."""
    axes, at = camera_from_model[:, :3, :3], camera_from_model[:, :3, 3]
    length2 = np.sum(axes * axes, axis=1)
    inside = np.clip(-np.einsum("nij,ni->nj", axes, at) / length2, -0.5, 0.5)
    return np.asarray(np.linalg.norm(at + np.einsum("nij,nj->ni", axes, inside), axis=1))


def draw_list(
    instances: Instances, *, camera_from_local: Matrix4, lens: GpuLens, library: MeshLibrary, sight_m: float
) -> DrawList:
    """Return what a camera sees of `instances`, up to `sight_m` away."""
    rotation, shift = camera_from_local[:3, :3], camera_from_local[:3, 3]
    centres = instances.local_from_model[:, :3, 3] @ rotation.T + shift
    radius_px, seen = footprint_px(lens, centres, instances.radius_m)
    seen &= (radius_px >= MIN_RADIUS_PX) & (np.linalg.norm(centres, axis=1) - instances.radius_m < sight_m)
    chosen = np.flatnonzero(seen)
    camera_from_model = np.empty((len(chosen), 4, 4))
    camera_from_model[:, :3, :3] = rotation @ instances.local_from_model[chosen, :3, :3]
    camera_from_model[:, :3, 3] = centres[chosen]
    near_m = near_distance_m(camera_from_model)
    kind = instances.kind[chosen]
    detail, level = library.choose(
        kind,
        side_m=instances.side_m[chosen],
        near_m=near_m,
        radius_px=radius_px[chosen],
        bend_px=lens.bend_px,
    )
    # Instances of one mesh at one level are one command; commands go by their nearest instance.
    shape = library.levels.shape
    group = (kind * shape[1] + detail) * shape[2] + level
    order = np.lexsort((near_m, group))
    chosen, group, near_m = chosen[order], group[order], near_m[order]
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    counts = np.diff(np.append(starts, len(group)))
    commands = np.zeros((len(starts), 5), np.uint32)
    ranges = library.levels.reshape(-1, 2)[group[starts]]
    commands[:, 0], commands[:, 1] = ranges[:, 1], counts
    commands[:, 2], commands[:, 4] = ranges[:, 0], starts
    textured = library.textured[group[starts] // (shape[1] * shape[2])]
    nearest = np.argsort(near_m[starts], kind="stable")
    textured = textured[nearest]
    commands = commands[nearest]
    packed = np.empty((len(chosen), INSTANCE_FLOATS), np.float32)
    packed[:, :12] = camera_from_model[order, :3].reshape(-1, 12)
    packed[:, 12:15], packed[:, 15] = instances.tint[chosen], instances.flags[chosen]
    packed[:, 16:19], packed[:, 19] = instances.tint2[chosen], instances.identity[chosen]
    packed[:, 20:] = instances.extra[chosen]
    return DrawList(packed, commands[~textured], commands[textured])
