"""Shadows under what moves, and what glows in the dark: lamps, head and tail lamps, signals."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.sensing.rigid import Matrix4
from alpamayo_ros.sim.render.scenery import LIGHT_SIZE_M
from alpamayo_ros.sim.render.vehicles import LAMP_HEIGHTS
from alpamayo_ros.sim.roads import Float64Array
from alpamayo_ros.sim.scene import ActorKind, Environment, Scene

DECAL_FLOATS, GLOW_FLOATS = 12, 8
_DECAL_SIGHT_M = 90.0
_POOL_SIGHT_M = 70.0

_SHADOW_SOFTNESS: dict[str, float] = {"pedestrian": 0.9, "cyclist": 0.8, "cone": 0.9}
_SIGNAL_RGB = {"red": (1.0, 0.08, 0.05), "yellow": (1.0, 0.62, 0.08), "green": (0.1, 1.0, 0.45)}
_LAMP_RGB, _HEAD_RGB, _TAIL_RGB = (1.0, 0.80, 0.50), (1.0, 0.97, 0.88), (1.0, 0.08, 0.05)


@dataclass(frozen=True, eq=False)
class Body:
    """One actor at an instant, for its shadow and lamps; `lit`: it has lamps that may shine."""

    kind: ActorKind
    mesh: str
    size_m: tuple[float, float, float]
    local_from_box: Matrix4
    lit: bool = True
    braking: bool = False


@dataclass(frozen=True, eq=False)
class Source:
    """Something that shines: place in local, reach of its glow, colour, strength, direction (None: all)."""

    xyz_m: Float64Array
    radius_m: float
    rgb: tuple[float, float, float]
    strength: float
    towards: Float64Array | None = None


def sharpness(environment: Environment, *, full: float) -> float:
    """Return how dark the sun's shadows are, 0 ... 1; darkest from a strength of `full` on.

    They fade where the sun is low: its light comes through much air, and shadows would reach across the road.
    """
    height = -environment.sun_direction[2] / float(np.linalg.norm(environment.sun_direction))
    return min(environment.sun_strength / full, 1.0) * float(np.clip((height - 0.1) / 0.3, 0.0, 1.0))


def shadow_decals(
    bodies: Iterable[Body], environment: Environment, camera_xyz: Float64Array
) -> NDArray[np.float32]:
    """Return decals [N, 12] (see overlay_shaders.DECAL_VERTEX): the dark under actors, and their shadows."""
    rows = []
    sun = np.array(environment.sun_direction)
    cast = sun[:2] / max(-sun[2], 0.3)
    sharp = sharpness(environment, full=0.6)
    for body in bodies:
        at = body.local_from_box[:3, 3]
        offset = at[:2] - camera_xyz[:2]
        if offset @ offset > _DECAL_SIGHT_M**2:
            continue
        length, width, height = body.size_m
        ahead = body.local_from_box[:2, 0] / max(float(np.linalg.norm(body.local_from_box[:2, 0])), 1e-6)
        soft = _SHADOW_SOFTNESS.get(body.kind, 0.35)
        shape = 0.56 if body.kind in ("pedestrian", "cone") else 0.54
        rows.append((*offset, *ahead, length * shape, width * (shape + 0.04), soft, 0, 0, 0, 0, 0.72))
        if sharp > 0.1:
            shift = cast * height * 0.5
            reach = float(np.abs(ahead @ cast)) * height * 0.5
            aside = float(np.abs(np.array([-ahead[1], ahead[0]]) @ cast)) * height * 0.5
            rows.append(
                (*(offset + shift), *ahead, length * 0.5 + reach, width * 0.5 + aside, max(soft, 0.45), 0,
                 0, 0, 0, 0.5 * sharp)
            )  # fmt: skip
    return np.array(rows, np.float32).reshape(-1, DECAL_FLOATS)


def scene_sources(scene: Scene) -> list[Source]:
    """Return the street lamps of a scene as sources."""
    sources = []
    for prop in scene.props:
        if prop.kind != "lamp":
            continue
        reach = 0.24 * prop.size_xyz_m[2] * 0.77
        x, y = prop.x_m + reach * np.cos(prop.yaw_rad), prop.y_m + reach * np.sin(prop.yaw_rad)
        z = float(scene.terrain.height_m(np.array([x, y]))) + prop.size_xyz_m[2] * 0.97
        sources.append(Source(np.array([x, y, z]), 1.1, _LAMP_RGB, 0.9))
    return sources


def signal_sources(scene: Scene, time_us: int, *, dark: bool) -> list[Source]:
    """Return the lit lamps of traffic lights."""
    sources = []
    strength, reach = (0.85, 0.60) if dark else (0.75, 0.42)
    for light in scene.road.lights if scene.road is not None else ():
        colour = light.colour_at((time_us - scene.start_us) * 1e-6)
        up = {"red": 0.31, "yellow": 0.0, "green": -0.31}[colour] * LIGHT_SIZE_M[2]
        for x, y, z, yaw in light.heads:
            out = np.array([np.cos(yaw), np.sin(yaw), 0.0])
            sources.append(
                Source(np.array([x, y, z + up]) + 0.34 * out, reach, _SIGNAL_RGB[colour], strength, out)
            )
    return sources


def body_sources(bodies: Iterable[Body], *, dark: bool) -> list[Source]:
    """Return head and tail lamps of vehicles; by day only the brake lamps of those that brake."""
    sources = []
    for body in bodies:
        if not body.lit or body.kind not in ("car", "van", "truck") or not (dark or body.braking):
            continue
        tail = (1.0 if body.braking else 0.6, 0.5 if body.braking else 0.36) if dark else (0.7, 0.34)
        lamps = [(-1, _TAIL_RGB, *tail)]
        if dark:
            lamps.append((1, _HEAD_RGB, 1.0, 0.75))
        pose, (length, width, height) = body.local_from_box, body.size_m
        head, rear = LAMP_HEIGHTS[body.mesh]
        for side in (-1, 1):
            for x, rgb, strength, radius in lamps:
                level = ((head if x > 0 else rear) - 0.5) * height
                at = pose[:3, 3] + pose[:3, :3] @ np.array([x * length * 0.51, side * width * 0.37, level])
                sources.append(Source(at, radius, rgb, strength, pose[:3, 0] * x))
    return sources


def glow_rows(
    sources: Iterable[Source], camera_from_local: Matrix4, camera_xyz: Float64Array
) -> NDArray[np.float32]:
    """Return glows [N, 8] (see overlay_shaders.GLOW_VERTEX) of the sources that shine at the camera."""
    rows = []
    for source in sources:
        to_camera = camera_xyz - source.xyz_m
        distance = float(np.linalg.norm(to_camera))
        if not 0.5 < distance < 250.0:
            continue
        facing = 1.0
        if source.towards is not None:
            facing = float(source.towards @ to_camera) / distance
            facing = max(facing, 0.0) ** 0.7
        if facing * source.strength < 0.02:
            continue
        at = camera_from_local[:3, :3] @ source.xyz_m + camera_from_local[:3, 3]
        rows.append((*at, source.radius_m * (0.6 + 0.4 * facing), *source.rgb, source.strength * facing))
    return np.array(rows, np.float32).reshape(-1, GLOW_FLOATS)


def pool_decals(
    lamps: Iterable[Source],
    bodies: Iterable[Body],
    *,
    sources: Iterable[Source],
    scene: Scene,
    camera_xyz: Float64Array,
) -> NDArray[np.float32]:
    """Return additive decals [N, 12]: light under lamps and before cars, and reflections on a wet road."""
    rows = []
    dim = 0.75 if scene.environment.wetness > 0 else 1.0
    for lamp in lamps:
        offset = lamp.xyz_m[:2] - camera_xyz[:2]
        if offset @ offset < _POOL_SIGHT_M**2:
            rows.append((*offset, 1, 0, 8.5, 8.5, 1.0, 0, *lamp.rgb, 0.26 * dim))
    for body in bodies:
        if not body.lit or body.kind not in ("car", "van", "truck"):
            continue
        ahead = body.local_from_box[:2, 0] / max(float(np.linalg.norm(body.local_from_box[:2, 0])), 1e-6)
        offset = body.local_from_box[:2, 3] - camera_xyz[:2] + ahead * (body.size_m[0] / 2 + 5.5)
        if offset @ offset < _POOL_SIGHT_M**2:
            rows.append((*offset, *ahead, 6.5, 2.3, 1.0, 0, *_HEAD_RGB, 0.26 * dim))
    if scene.environment.wetness > 0:
        for source in sources:
            rows += _reflection(source, scene, camera_xyz)
    return np.array(rows, np.float32).reshape(-1, DECAL_FLOATS)


def _reflection(source: Source, scene: Scene, camera_xyz: Float64Array) -> list[tuple[float, ...]]:
    """Return the smear that a source draws on a wet road, about where a mirror would show it."""
    away = source.xyz_m[:2] - camera_xyz[:2]
    distance = float(np.linalg.norm(away))
    if not 2.0 < distance < _POOL_SIGHT_M:
        return []
    facing = 1.0
    if source.towards is not None:
        facing = max(float(-source.towards[:2] @ away) / distance, 0.0)
        if facing < 0.1:
            return []
    ground = float(scene.terrain.height_m(source.xyz_m[:2]))
    high, eye = max(source.xyz_m[2] - ground, 0.2), max(camera_xyz[2] - ground, 0.3)
    share = eye / (eye + high)
    axis = away / distance
    middle = away * share
    half = min(0.42 * distance * min(share, 1 - share) * 2, 9.0)
    strength = 0.5 * scene.environment.wetness * source.strength * facing
    return [(*middle, *axis, half, 0.22 + 0.010 * distance, 1.0, 0, *source.rgb, strength)]


def rain_streaks(time_us: int, wetness: float, *, aspect: float) -> NDArray[np.float32]:
    """Return line ends [2 N, 3] (ndc x, y, strength) of falling rain, different from frame to frame."""
    rng = np.random.default_rng([43, time_us // 1000])
    count = round(130 * wetness)
    start = rng.uniform(-1.05, 1.05, (count, 2))
    fall = rng.uniform(0.05, 0.14, count)
    end = start + np.stack([fall * rng.uniform(-0.05, 0.12, count) / aspect, fall], axis=1)
    strength = rng.uniform(0.06, 0.2, count)
    lines = np.concatenate([start, (0.2 * strength)[:, None], end, strength[:, None]], axis=1)
    return lines.reshape(-1, 3).astype(np.float32)
