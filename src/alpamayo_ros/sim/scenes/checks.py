"""What a scene's reference drive and traffic must keep to; a scene that fails is made again otherwise."""

from __future__ import annotations

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from alpamayo_ros.sim.roads import Float64Array
from alpamayo_ros.sim.scene import EGO_BOX_IN_RIG_M, EGO_SIZE_XYZ_M, Scene

EGO_CLEARANCE_M = 0.3
"""Least distance of the reference drive's box from every other box."""
MAX_ACCEL = 3.9
MAX_LATERAL_ACCEL = 3.0
MAX_JERK = 8.0
MAX_YAW_RATE = 0.9
_STEP_S = 0.1


def problems_of(scene: Scene, drivable: BaseGeometry) -> list[str]:
    """Return what is wrong with a scene, in words; nothing if it is fit for use."""
    ego = planar(scene.reference.local_from_rig)
    ego[:, :2] += EGO_BOX_IN_RIG_M[0] * np.stack([np.cos(ego[:, 2]), np.sin(ego[:, 2])], axis=-1)
    return [
        *_ego_collisions(scene, ego),
        *_actor_collisions(scene),
        *_off_road(ego, drivable),
        *_discomfort(scene),
    ]


def planar(poses: Float64Array) -> Float64Array:
    """Return x, y, yaw [N, 3] of poses [N, 4, 4]."""
    return np.stack([poses[:, 0, 3], poses[:, 1, 3], np.arctan2(poses[:, 1, 0], poses[:, 0, 0])], axis=-1)


def corners(xy_yaw: Float64Array, size_xyz_m: tuple[float, float, float]) -> Float64Array:
    """Return the corners [N, 4, 2] of boxes at x, y, yaw [N, 3]."""
    half = np.array(size_xyz_m[:2]) / 2
    unit = np.array([[1, 1], [1, -1], [-1, -1], [-1, 1]]) * half
    cos, sin = np.cos(xy_yaw[:, 2])[:, None], np.sin(xy_yaw[:, 2])[:, None]
    x = cos * unit[:, 0] - sin * unit[:, 1]
    y = sin * unit[:, 0] + cos * unit[:, 1]
    return np.stack([x, y], axis=-1) + xy_yaw[:, None, :2]


def _tracks(scene: Scene, steps: int) -> dict[str, Float64Array]:
    """Return x, y, yaw [steps, 3] of every actor."""
    result = {}
    for actor_id, spec in scene.actors.items():
        poses = planar(spec.track.local_from_box)
        result[actor_id] = poses if len(poses) == steps else np.repeat(poses[:1], steps, axis=0)
    return result


def _distance(
    a: Float64Array,
    a_size: tuple[float, float, float],
    b: Float64Array,
    b_size: tuple[float, float, float],
    within_m: float,
) -> tuple[float, int]:
    """Return the least distance of two boxes' tracks [N, 3] and its step; inf if never `within_m`."""
    reach = (np.hypot(*a_size[:2]) + np.hypot(*b_size[:2])) / 2 + within_m
    near = np.flatnonzero(np.hypot(a[:, 0] - b[:, 0], a[:, 1] - b[:, 1]) < reach)
    if not len(near):
        return np.inf, -1
    first = shapely.polygons(corners(a[near], a_size))
    second = shapely.polygons(corners(b[near], b_size))
    distance = shapely.distance(first, second)
    index = int(np.argmin(distance))
    return float(distance[index]), int(near[index])


def _ego_collisions(scene: Scene, ego: Float64Array) -> list[str]:
    found = []
    for actor_id, track in _tracks(scene, len(ego)).items():
        size = scene.actors[actor_id].size_xyz_m
        distance, step = _distance(ego, EGO_SIZE_XYZ_M, track, size, EGO_CLEARANCE_M)
        if distance < EGO_CLEARANCE_M:
            found.append(f"ego {distance:.2f} m from {actor_id} at step {step}")
    return found


def _actor_collisions(scene: Scene) -> list[str]:
    steps = len(scene.reference.stamps_us)
    tracks = _tracks(scene, steps)
    moving = [name for name in tracks if not scene.actors[name].is_static]
    found = []
    for i, name in enumerate(moving):
        for other in [*moving[i + 1 :], *(o for o in tracks if scene.actors[o].is_static)]:
            sizes = scene.actors[name].size_xyz_m, scene.actors[other].size_xyz_m
            distance, step = _distance(tracks[name], sizes[0], tracks[other], sizes[1], 0.05)
            if distance <= 0.05:
                found.append(f"{name} {distance:.2f} m from {other} at step {step}")
    return found


def _off_road(ego: Float64Array, drivable: BaseGeometry) -> list[str]:
    boxes = shapely.polygons(corners(ego, EGO_SIZE_XYZ_M))
    shapely.prepare(drivable)
    outside = np.flatnonzero(~shapely.contains(drivable, boxes))
    return [f"ego off the road at step {outside[0]}"] if len(outside) else []


def _discomfort(scene: Scene) -> list[str]:
    drive = scene.reference
    accel = np.diff(drive.speed_mps) / _STEP_S
    yaw = np.unwrap(planar(drive.local_from_rig)[:, 2])
    rate = np.diff(yaw) / _STEP_S
    lateral = rate * (drive.speed_mps[1:] + drive.speed_mps[:-1]) / 2
    measured = (
        ("acceleration", accel, MAX_ACCEL),
        ("lateral acceleration", lateral, MAX_LATERAL_ACCEL),
        ("jerk", np.diff(accel) / _STEP_S, MAX_JERK),
        ("yaw rate", rate, MAX_YAW_RATE),
    )
    return [
        f"{name} {np.abs(values).max():.2f} over {limit} at step {int(np.abs(values).argmax())}"
        for name, values, limit in measured
        if np.abs(values).max() > limit
    ]
