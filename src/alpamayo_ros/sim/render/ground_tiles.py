"""The ground as pictures: square tiles of encoded albedo, drawn once a scene where its roads are.

The shader finds a pixel's place on the ground, its tile through a small map of pages, and its colour there.
The first tiles are plain grass, for everywhere else. Alpha says how much of the sun arrives (shadows of
scenery).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.sim.render.lights import sharpness
from alpamayo_ros.sim.roads import Crosswalk, Float64Array, Marking, RoadNetwork
from alpamayo_ros.sim.scene import Prop, Scene

TILE_M = 20.0
TILE_PX = 256
BORDER_PX = 8
"""Each tile shows this much of its neighbours, so that filtering finds there what it would find next door."""
INNER_PX = TILE_PX - 2 * BORDER_PX
TEXEL_M = TILE_M / INNER_PX
MAX_TILES = 1024
GRASS_TILES = 1

_MARGIN_M = 3.0
_PAD_PX = 4
_SHIFT = 4  # fractional bits of OpenCV's polygon corners
_KERB_M = 0.16

_ASPHALT = (82, 83, 86)
_SURFACES: dict[str, tuple[int, int, int]] = {
    "road": _ASPHALT,
    "sidewalk": (150, 146, 140),
    "island": (104, 122, 74),
    "parking": (96, 95, 96),
    "dirt": (136, 116, 90),
}
_WHITE, _YELLOW, _KERB = (226, 226, 222), (222, 172, 52), (170, 168, 163)
_GRASS = (106, 120, 68)


@dataclass(frozen=True, eq=False)
class GroundTiles:
    """Tiles uint8 [L, 256, 256, 4], and the page map: float32 [Y, X] of layers, from tile `origin` on."""

    tiles: NDArray[np.uint8]
    pages: NDArray[np.float32]
    origin: tuple[int, int]


@dataclass(frozen=True, eq=False)
class _Shape:
    """A polygon [N, 2] of one colour, or a soft shadow (colour None)."""

    polygon: Float64Array
    colour: tuple[int, int, int] | None
    grain: str = "paint"
    strength: float = 1.0


def bake_ground(scene: Scene) -> GroundTiles:
    """Draw the ground of a scene."""
    grains = {name: _grain(name) for name in ("grass", *_SURFACES, "paint")}
    grass = _plain(_GRASS, grains["grass"])
    layers = [_with_alpha(grass)]
    shapes = list(_shapes(scene))
    if not shapes:
        return GroundTiles(np.stack(layers), np.zeros((3, 3), np.float32), (-1, -1))
    owners: dict[tuple[int, int], list[int]] = {}
    for index, shape in enumerate(shapes):
        margin = _MARGIN_M if shape.colour is not None and shape.grain != "paint" else 1.0
        low = np.floor((shape.polygon.min(axis=0) - margin) / TILE_M).astype(int)
        high = np.floor((shape.polygon.max(axis=0) + margin) / TILE_M).astype(int)
        for tile_y in range(low[1], high[1] + 1):
            for tile_x in range(low[0], high[0] + 1):
                owners.setdefault((tile_x, tile_y), []).append(index)
    drawn: dict[tuple[int, int], NDArray[np.uint8]] = {}
    for tile in sorted(owners, key=lambda t: (t[1], t[0])):
        image = _draw(tile, [shapes[i] for i in owners[tile]], grass, grains)
        if image is not None:
            drawn[tile] = image
    if len(drawn) > MAX_TILES - GRASS_TILES:
        kept = _nearest(list(drawn), scene.reference.local_from_rig[:, :2, 3], MAX_TILES - GRASS_TILES)
        drawn = {tile: drawn[tile] for tile in kept}
    if not drawn:
        return GroundTiles(np.stack(layers), np.zeros((3, 3), np.float32), (-1, -1))
    places = np.array(list(drawn))
    low, high = places.min(axis=0) - 1, places.max(axis=0) + 1
    pages = np.zeros((high[1] - low[1] + 1, high[0] - low[0] + 1), np.float32)
    for (tile_x, tile_y), image in drawn.items():
        pages[tile_y - low[1], tile_x - low[0]] = len(layers)
        layers.append(image)
    return GroundTiles(np.stack(layers), pages, (int(low[0]), int(low[1])))


def _nearest(tiles: list[tuple[int, int]], xy: Float64Array, count: int) -> list[tuple[int, int]]:
    centres = (np.array(tiles) + 0.5) * TILE_M
    distance = np.linalg.norm(centres[:, None] - xy[None, ::5], axis=2).min(axis=1)
    return [tiles[i] for i in np.sort(np.argsort(distance, kind="stable")[:count])]


# ------------------------------------------------------------------------------------------------- drawing


def _draw(
    tile: tuple[int, int],
    shapes: list[_Shape],
    grass: NDArray[np.float32],
    grains: dict[str, NDArray[np.float32]],
) -> NDArray[np.uint8] | None:
    """Draw one tile; None if nothing covers any of it."""
    origin = np.array(tile) * TILE_M
    image = grass.copy()
    light = np.full((TILE_PX, TILE_PX), 255, np.uint8)
    touched = False
    # OpenCV does not finish smooth edges at an image's border, so it is given a wider one.
    mask = np.zeros((TILE_PX + 2 * _PAD_PX, TILE_PX + 2 * _PAD_PX), np.uint8)
    for shape in shapes:
        corners = (shape.polygon - origin) / TEXEL_M - 0.5 + BORDER_PX
        low, high = (
            np.floor(corners.min(axis=0)).astype(int) - 1,
            np.ceil(corners.max(axis=0)).astype(int) + 2,
        )
        x0, y0 = np.maximum(low, 0)
        x1, y1 = np.minimum(high, TILE_PX)
        if x1 <= x0 or y1 <= y0:
            continue
        mask[:] = 0
        view = mask[_PAD_PX + y0 : _PAD_PX + y1, _PAD_PX + x0 : _PAD_PX + x1]
        # Far corners are cut off: OpenCV's fixed-point numbers have their limits.
        points = np.round((np.clip(corners, -4e4, 4e4) + _PAD_PX) * (1 << _SHIFT)).astype(np.int32)
        cv2.fillPoly(mask, [points], 255, cv2.LINE_AA, _SHIFT)
        if not view.any():
            continue
        touched = True
        if shape.colour is None:
            shade = np.round(view * shape.strength).astype(np.uint8)
            light[y0:y1, x0:x1] = np.minimum(light[y0:y1, x0:x1], 255 - shade)
            continue
        cover = view[..., None] * np.float32(shape.strength / 255.0)
        grain = grains[shape.grain][y0:y1, x0:x1, None]
        target = image[y0:y1, x0:x1]
        target += cover * (np.array(shape.colour, np.float32) * grain - target)
    if not touched:
        return None
    light = cv2.GaussianBlur(light, (0, 0), 2.5) if light.min() < 255 else light
    return _with_alpha(image, light)


def _with_alpha(image: NDArray[np.float32], light: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
    out = np.full((TILE_PX, TILE_PX, 4), 255, np.uint8)
    out[..., :3] = np.clip(image + 0.5, 0, 255)
    if light is not None:
        out[..., 3] = light
    return out


def _plain(colour: tuple[int, int, int], grain: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.array(colour, np.float32) * grain[..., None]


def _grain(name: str) -> NDArray[np.float32]:
    """Return a factor [256, 256] about 1 that repeats from tile to tile without a seam."""
    fine, coarse = {
        "grass": (0.10, 0.05), "island": (0.10, 0.10), "road": (0.045, 0.035), "parking": (0.05, 0.04),
        "sidewalk": (0.04, 0.03), "dirt": (0.09, 0.10), "paint": (0.03, 0.05),
    }[name]  # fmt: skip
    rng = np.random.default_rng([41, *name.encode()])
    noise = rng.standard_normal((INNER_PX, INNER_PX)).astype(np.float32)
    smooth = _wrapped_blur(rng.standard_normal((INNER_PX, INNER_PX)).astype(np.float32), 9.0)
    grain = 1 + fine * _wrapped_blur(noise, 0.7) + coarse * smooth
    if name == "sidewalk":  # slabs
        grain[::16] *= 0.86
        grain[:, ::16] *= 0.86
    return np.pad(grain, BORDER_PX, mode="wrap").astype(np.float32)


def _wrapped_blur(noise: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    pad = int(4 * sigma) + 1
    wide = cv2.GaussianBlur(np.pad(noise, pad, mode="wrap"), (0, 0), sigma)[pad:-pad, pad:-pad]
    return np.asarray(np.clip(wide / wide.std(), -2.5, 2.5), np.float32)


def noise_picture() -> NDArray[np.uint8]:
    """Return RGBA noise uint8 [256, 256, 4] without seams: fine, wide, mixed, clouds."""
    rng = np.random.default_rng([42, 0])
    channels = []
    for sigmas in ((1.0,), (10.0, 24.0), (3.0, 12.0), (6.0, 14.0, 30.0)):
        total = sum(_wrapped_blur(rng.standard_normal((256, 256)).astype(np.float32), s) for s in sigmas)
        total = np.asarray(total) / np.std(total)
        channels.append(np.clip(128 + 52 * total, 0, 255))
    return np.stack(channels, axis=2).astype(np.uint8)


# -------------------------------------------------------------------------------------------------- shapes


def _shapes(scene: Scene) -> Iterator[_Shape]:
    """Yield what lies on the ground, lowest first."""
    road = scene.road
    if road is not None:
        yield from _surface_shapes(road)
        for edge in road.edges:
            for piece in ribbon(edge[:, :2], _KERB_M):
                yield _Shape(piece, _KERB, "paint")
        for lane in road.lanes:
            # Tyres have darkened two tracks of every lane.
            yield from _wear(lane.left[:, :2], lane.right[:, :2])
        for marking in road.markings:
            colour = _WHITE if marking.colour == "white" else _YELLOW
            for piece in marking_pieces(marking):
                yield _Shape(piece, colour, "paint", 0.94)
        for crosswalk in road.crosswalks:
            for stripe in crosswalk_stripes(crosswalk):
                yield _Shape(stripe, _WHITE, "paint", 0.94)
    for prop in scene.props:
        yield from _prop_shadows(prop, scene)


def _surface_shapes(road: RoadNetwork) -> Iterator[_Shape]:
    if road.surfaces:
        for surface in road.surfaces:
            yield _Shape(np.asarray(surface.polygon)[:, :2], _SURFACES[surface.kind], surface.kind)
        return
    for lane in road.lanes:
        for piece in _between(lane.left[:, :2], lane.right[:, :2]):
            yield _Shape(piece, _ASPHALT, "road")


def _between(left: Float64Array, right: Float64Array, step: int = 8) -> Iterator[Float64Array]:
    """Yield the area between two polylines of equal length, in pieces."""
    for start in range(0, len(left) - 1, step):
        stop = min(start + step, len(left) - 1)
        yield np.concatenate([left[start : stop + 1], right[start : stop + 1][::-1]])


def _wear(left: Float64Array, right: Float64Array) -> Iterator[_Shape]:
    for share in (0.24, 0.76):
        for width in (0.11, 0.06):
            a = left + (right - left) * (share - width)
            b = left + (right - left) * (share + width)
            for piece in _between(a, b, step=16):
                yield _Shape(piece, (70, 71, 74), "road", 0.22)


def ribbon(points: Float64Array, width_m: float, *, piece_m: float = 12.0) -> Iterator[Float64Array]:
    """Yield a polyline [N, 2] as polygons of a width, none much longer than `piece_m`."""
    keep = np.concatenate([[True], np.linalg.norm(np.diff(points, axis=0), axis=1) > 1e-6])
    points = points[keep]
    if len(points) < 2:
        return
    steps = np.diff(points, axis=0)
    tangents = steps / np.linalg.norm(steps, axis=1, keepdims=True)
    bisector = np.concatenate([tangents[:1], tangents[:-1] + tangents[1:], tangents[-1:]])
    length = np.linalg.norm(bisector, axis=1, keepdims=True)
    bisector = bisector / np.maximum(length, 1e-6)
    # At a corner the border is farther away than half the width, but not without end.
    stretch = 1 / np.maximum(np.sum(bisector * np.concatenate([tangents[:1], tangents]), axis=1), 0.5)
    offset = np.stack([-bisector[:, 1], bisector[:, 0]], axis=1) * (width_m / 2 * stretch)[:, None]
    along = np.concatenate([[0], np.cumsum(np.linalg.norm(steps, axis=1))])
    start = 0
    while start < len(points) - 1:
        stop = max(int(np.searchsorted(along, along[start] + piece_m, side="right")) - 1, start + 1)
        a, b = (
            points[start : stop + 1] + offset[start : stop + 1],
            points[start : stop + 1] - offset[start : stop + 1],
        )
        yield np.concatenate([a, b[::-1]])
        start = stop


def marking_pieces(marking: Marking) -> Iterator[Float64Array]:
    """Yield the painted polygons [N, 2] of a marking: all of a solid one, the dashes of a dashed one."""
    points = marking.points[:, :2]
    if marking.style == "solid":
        yield from ribbon(points, marking.width_m)
        return
    along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    period = marking.dash_m + marking.gap_m
    for begin in np.arange(0.0, along[-1], period):
        end = min(begin + marking.dash_m, along[-1])
        if end - begin < 0.05:
            continue
        inner = along[(along > begin) & (along < end)]
        at = np.concatenate([[begin], inner, [end]])
        dash = np.stack([np.interp(at, along, points[:, k]) for k in range(2)], axis=1)
        yield from ribbon(dash, marking.width_m)


def crosswalk_stripes(crosswalk: Crosswalk, stripe_m: float = 0.5) -> Iterator[Float64Array]:
    """Yield the stripes of a zebra crossing, parallel to the road, clipped by its polygon."""
    from shapely.geometry import Polygon, box

    c, s = np.cos(crosswalk.yaw_rad), np.sin(crosswalk.yaw_rad)
    turn = np.array([[c, -s], [s, c]])
    corners = np.asarray(crosswalk.polygon)[:, :2] @ turn  # x along the road, y across
    outline = Polygon(corners).buffer(0)
    low, high = corners.min(axis=0), corners.max(axis=0)
    for y in np.arange(low[1] + stripe_m / 2, high[1] - 0.1, 2 * stripe_m):
        stripe = outline.intersection(box(low[0], y, high[0], y + stripe_m))
        if stripe.geom_type == "Polygon" and not stripe.is_empty:
            yield np.asarray(stripe.exterior.coords)[:-1] @ turn.T


def _prop_shadows(prop: Prop, scene: Scene) -> Iterator[_Shape]:
    """Yield the shadow that the sun casts of a prop, and the dark of its foot."""
    length, depth, height = prop.size_xyz_m
    at = np.array([prop.x_m, prop.y_m])
    c, s = np.cos(prop.yaw_rad), np.sin(prop.yaw_rad)
    axes = np.array([[c, s], [-s, c]])
    sun = np.array(scene.environment.sun_direction)
    sharp = sharpness(scene.environment, full=0.5)
    cast = sun[:2] / max(-sun[2], 0.25)
    if prop.kind == "building":
        corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * (length / 2, depth / 2) @ axes
        foot = at + corners * 1.02
        far = foot + cast * min(height, 14.0)
        hull = cv2.convexHull(np.concatenate([foot, far]).astype(np.float32))[:, 0].astype(np.float64)
        yield _Shape(hull, None, strength=0.85 * sharp)
    elif prop.kind in ("tree", "bush"):
        angles = np.linspace(0, 2 * np.pi, 14, endpoint=False)
        disc = np.stack([np.cos(angles), np.sin(angles)], axis=1) * length / 2 * 0.85
        middle = cast * height * (0.62 if prop.kind == "tree" else 0.3)
        middle *= min(1.0, 12.0 / max(float(np.linalg.norm(middle)), 1e-6))
        yield _Shape(at + middle + disc, None, strength=0.72 * sharp)
        yield _Shape(at + disc * 0.35, None, strength=0.5)
    elif prop.kind in ("lamp", "pole"):
        reach = float(np.linalg.norm(cast)) * height
        end = at + cast * height * min(1.0, 14.0 / max(reach, 1e-6))
        if np.linalg.norm(end - at) > 0.3:
            for piece in ribbon(np.stack([at, end]), 0.16):
                yield _Shape(piece, None, strength=0.6 * sharp)
