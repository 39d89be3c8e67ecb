"""What stands along the road: ground seen from above, the sky around, boxes and trees."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.bags.synthetic.course import Course, FloatArray

Image = NDArray[np.uint8]
Colour = tuple[int, int, int]
"""BGR, as OpenCV draws it."""

GRASS: Colour = (62, 112, 92)
HAZE: Colour = (226, 214, 200)
_ASPHALT: Colour = (88, 86, 84)
_PAVEMENT: Colour = (138, 142, 146)
_PAINT: Colour = (226, 232, 234)

FINEST_M = 0.06
_MAX_PIXELS = 48_000_000
_MARGIN_M = 70.0
_SHIFT = 4
_TILE = 1024
_PANORAMA = (4096, 700)
_TREE_KINDS = 4
_WINDOW: Colour = (86, 74, 62)
_TOWARDS_SUN = np.array([-0.55, -0.45, 0.7])


@dataclass(frozen=True)
class Ground:
    """The ground from above as an image pyramid (each level half the size of the one before).

    Attributes:
        levels: BGR images; column along +x, row along -y of the world.
        metres: size of a pixel of each level.
        corner_xy_m: world position of the outer corner of pixel (0, 0).
    """

    levels: tuple[Image, ...]
    metres: tuple[float, ...]
    corner_xy_m: tuple[float, float]

    def world_from_pixel(self, level: int) -> FloatArray:
        """Return the 3x3 map from a level's pixel (column, row, 1; centres at whole numbers) to (x, y, 1)."""
        size = self.metres[level]
        x, y = self.corner_xy_m
        return np.array([[size, 0.0, x + size / 2], [0.0, -size, y - size / 2], [0.0, 0.0, 1.0]])


@dataclass(frozen=True)
class Box:
    """An upright box on the ground or above it: a house, a car's body, a post."""

    xy_m: tuple[float, float]
    yaw_rad: float
    size_m: tuple[float, float, float]
    colour: Colour
    base_m: float = 0.0


@dataclass(frozen=True)
class Tree:
    """A tree, drawn as one of a few sprites that always face the camera."""

    xy_m: tuple[float, float]
    height_m: float
    kind: int


@dataclass(frozen=True)
class Quads:
    """Every flat face of every box, and the houses' windows, as arrays with one entry a quad.

    Attributes:
        corners_m: [N, 4, 3] in the world.
        normals: [N, 3], outward.
        colours: [N, 3] BGR in the sun's light.
        boxes_xy_m: [N, 2], where the quad's box stands.
        ranks: [N], order of drawing within one place: from the ground up, windows after walls.
    """

    corners_m: FloatArray
    normals: FloatArray
    colours: FloatArray
    boxes_xy_m: FloatArray
    ranks: FloatArray


@dataclass(frozen=True)
class Scene:
    """Everything there is to see, none of which moves.

    `sprites` are the kinds of trees, each in several sizes (BGRA, the largest first).
    """

    ground: Ground
    panorama: Image
    sprites: tuple[tuple[Image, ...], ...]
    quads: Quads
    trees: tuple[Tree, ...]


def make_scene(course: Course, *, seed: int, finest_m: float = FINEST_M) -> Scene:
    """Return the surroundings of a course; the same seed gives the same pixels.

    Args:
        course: the road.
        seed: of everything beside it.
        finest_m: size of the ground's pixels; coarser is faster, and enough for small images.
    """
    random = np.random.default_rng(seed)
    boxes, trees = _place(course, random)
    return Scene(
        ground=_draw_ground(course, boxes, trees, random, finest_m),
        panorama=_draw_panorama(random),
        sprites=tuple(_draw_tree(random) for _ in range(_TREE_KINDS)),
        quads=_make_quads(boxes),
        trees=tuple(trees),
    )


def _place(course: Course, random: np.random.Generator) -> tuple[list[Box], list[Tree]]:
    """Put posts, lamps, houses and trees along both sides, and keep them off the road everywhere."""
    road = course.beside(course.lane_width_m / 2)[::10]
    boxes: list[Box] = []
    trees: list[Tree] = []

    def clear(xy: tuple[float, float], radius_m: float) -> bool:
        return float(np.min(np.hypot(*(road - xy).T))) > course.lane_width_m + radius_m

    def spot(arc_m: float, left_m: float) -> tuple[tuple[float, float], float]:
        x, y, yaw = course.at(arc_m)
        left_m += course.lane_width_m / 2  # from the road's middle, not from the driven line
        return (x - left_m * float(np.sin(yaw)), y + left_m * float(np.cos(yaw))), yaw

    first, last = float(course.arc_m[0]), float(course.arc_m[-1])
    for arc_m in np.arange(first, last, 12.0):
        for side in (-1, 1):
            xy, yaw = spot(arc_m, side * (course.lane_width_m + 1.0))
            boxes.append(Box(xy, yaw, (0.12, 0.12, 0.75), (236, 238, 238)))
            boxes.append(Box(xy, yaw, (0.13, 0.13, 0.18), (28, 28, 30), 0.75))
            boxes.append(Box(xy, yaw, (0.12, 0.12, 0.12), (236, 238, 238), 0.93))
    for arc_m in np.arange(first + 9, last, 34.0):
        xy, yaw = spot(arc_m, -(course.lane_width_m + 2.6))
        boxes.append(Box(xy, yaw, (0.16, 0.16, 6.5), (96, 92, 88)))
        boxes.append(
            Box(spot(arc_m, -(course.lane_width_m + 1.6))[0], yaw, (0.3, 2.2, 0.14), (96, 92, 88), 6.5)
        )
    walls: list[Colour] = [
        (150, 178, 206),
        (176, 190, 200),
        (140, 160, 196),
        (196, 200, 196),
        (120, 140, 178),
    ]
    for arc_m in np.arange(first, last, 21.0):
        side = 1 if random.random() < 0.5 else -1
        size = (random.uniform(8, 13), random.uniform(7, 10), random.uniform(4.5, 8.0))
        at, left_m = arc_m + random.uniform(-4, 4), side * (course.lane_width_m + random.uniform(11, 22))
        colour = walls[int(random.integers(len(walls)))]
        xy, yaw = spot(at, left_m)
        if clear(xy, 9.0):
            boxes.append(Box(xy, yaw, size, colour))
            roof = (size[0] + 0.8, size[1] + 0.8, 0.5)
            boxes.append(Box(xy, yaw, roof, (58, 66, 112), size[2]))
    for arc_m in np.arange(first, last, 5.0):
        for side in (-1, 1):
            if random.random() < 0.45:
                continue
            left_m = side * (course.lane_width_m + random.uniform(5, 30))
            xy, _ = spot(arc_m + random.uniform(-2, 2), left_m)
            houses = [b for b in boxes if b.size_m[0] > 5]
            if clear(xy, 3.0) and all(np.hypot(xy[0] - b.xy_m[0], xy[1] - b.xy_m[1]) > 9 for b in houses):
                trees.append(Tree(xy, float(random.uniform(5, 11)), int(random.integers(_TREE_KINDS))))
    return boxes, trees


def _draw_ground(
    course: Course, boxes: list[Box], trees: list[Tree], random: np.random.Generator, finest_m: float
) -> Ground:
    points = course.beside(0.0)
    low, high = points.min(axis=0) - _MARGIN_M, points.max(axis=0) + _MARGIN_M
    span = high - low
    metres = max(finest_m, float(np.sqrt(span[0] * span[1] / _MAX_PIXELS)))
    width, height = (int(np.ceil(s / metres)) for s in span)
    corner = (float(low[0]), float(high[1]))
    lane = course.lane_width_m
    pavement, asphalt, paint = (np.zeros((height, width), np.uint8) for _ in range(3))

    def pixels(xy: FloatArray) -> NDArray[np.int32]:
        columns, rows = (xy[:, 0] - corner[0]) / metres - 0.5, (corner[1] - xy[:, 1]) / metres - 0.5
        return np.round(np.stack([columns, rows], axis=1) * 2**_SHIFT).astype(np.int32)

    def strip(
        mask: NDArray[np.uint8], from_left_m: float, to_left_m: float, arc: slice = slice(None)
    ) -> None:
        """Mark what lies between two parallels of the driven line."""
        left, right = course.beside(from_left_m)[arc], course.beside(to_left_m)[arc]
        step = 40  # quads of 4 m, one by one: the whole strip may wind back over itself
        for i in range(0, len(left) - 1, step):
            quad = np.concatenate([left[i : i + step + 1], right[i : i + step + 1][::-1]])
            cv2.fillPoly(mask, [pixels(quad)], 255, cv2.LINE_8, _SHIFT)

    strip(pavement, lane * 1.5 + 0.55, -lane / 2 - 0.55)
    strip(asphalt, lane * 1.5 + 0.25, -lane / 2 - 0.25)
    for edge in (lane * 1.5 - 0.15, -lane / 2 + 0.15):
        strip(paint, edge + 0.07, edge - 0.07)
    for start_m in np.arange(course.arc_m[0], course.arc_m[-1] - 4.0, 9.0):
        first = int(np.searchsorted(course.arc_m, start_m))
        strip(paint, lane / 2 + 0.08, lane / 2 - 0.08, slice(first, first + 31))
    image = _compose((height, width), (pavement, asphalt, paint), random)
    _cast_shadows(image, boxes, trees, pixels, metres)
    levels, sizes = [image], [metres]
    while len(levels) < 6:
        levels.append(cv2.pyrDown(levels[-1]))
        sizes.append(sizes[-1] * 2)
    return Ground(tuple(levels), tuple(sizes), corner)


def _compose(shape: tuple[int, int], masks: tuple[Image, Image, Image], random: np.random.Generator) -> Image:
    """Lay pavement, asphalt and paint over grass, with soft edges; by rows, since the whole is large."""
    tiles = (
        _speckle(GRASS, random, strength=18, coarse=24),
        _speckle(_PAVEMENT, random, strength=9, coarse=10),
        _speckle(_ASPHALT, random, strength=14, coarse=40),
        _speckle(_PAINT, random, strength=6, coarse=40),
    )
    across = -(-shape[1] // _TILE)
    rows_of_tiles = [np.ascontiguousarray(np.tile(t, (1, across, 1))[:, : shape[1]]) for t in tiles]
    image = np.empty((*shape, 3), np.uint8)
    soft = [cv2.GaussianBlur(mask, (5, 5), 1.0) for mask in masks]
    for top in range(0, shape[0], _TILE):
        part = image[top : top + _TILE]
        part[:] = rows_of_tiles[0][: len(part)]
        for mask, texture in zip(soft, rows_of_tiles[1:], strict=True):
            share = mask[top : top + _TILE]
            columns = np.flatnonzero(share.any(axis=0))
            if len(columns) == 0:
                continue
            where = slice(int(columns[0]), int(columns[-1]) + 1)
            weight = share[:, where].astype(np.float32) / 255
            part[:, where] = cv2.blendLinear(
                np.ascontiguousarray(texture[: len(part), where]),
                np.ascontiguousarray(part[:, where]),
                weight,
                1 - weight,
            )
    return image


def _cast_shadows(image: Image, boxes: list[Box], trees: list[Tree], pixels: object, metres: float) -> None:
    """Darken the ground on one side of what stands on it (the sun is in the south-west)."""
    assert callable(pixels)
    shade = np.full(image.shape[:2], 255, np.uint8)
    for tree in trees:
        centre = pixels(
            np.array([[tree.xy_m[0] + 0.25 * tree.height_m, tree.xy_m[1] + 0.2 * tree.height_m]])
        )[0]
        axes = (round(0.42 * tree.height_m / metres), round(0.26 * tree.height_m / metres))
        column, row = (int(v) >> _SHIFT for v in centre)
        cv2.ellipse(shade, (column, row), axes, -38, 0, 360, 150, -1)
    for box in boxes:
        if box.size_m[0] < 2 or box.base_m > 0:
            continue
        corners = box_corners(box)[:4, :2]
        cast = corners + np.array([0.6, 0.5]) * box.size_m[2]
        hull = cv2.convexHull(np.concatenate([corners, cast]).astype(np.float32))[:, 0]
        cv2.fillConvexPoly(shade, pixels(hull.astype(np.float64)), 140, cv2.LINE_8, _SHIFT)
    shade = cv2.blur(shade, (9, 9))
    for channel in range(3):
        image[..., channel] = cv2.multiply(image[..., channel], shade, scale=1 / 255)


def box_corners(box: Box) -> FloatArray:
    """Return the corners [8, 3] of a box in the world: four at its base, then those above."""
    length, width, height = box.size_m
    flat = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) * (length / 2, width / 2)
    cos, sin = np.cos(box.yaw_rad), np.sin(box.yaw_rad)
    turned = flat @ np.array([[cos, sin], [-sin, cos]]) + box.xy_m
    base = np.concatenate([turned, np.full((4, 1), box.base_m)], axis=1)
    return np.concatenate([base, base + np.array([0.0, 0.0, height])])


def _make_quads(boxes: list[Box]) -> Quads:
    corners: list[FloatArray] = []
    normals: list[FloatArray] = []
    colours: list[FloatArray] = []
    places: list[tuple[float, float]] = []
    ranks: list[float] = []

    def add(quad: FloatArray, normal: FloatArray, colour: Colour, box: Box, rank: float) -> None:
        light = 0.72 + 0.32 * float(np.dot(normal, _TOWARDS_SUN))
        corners.append(quad)
        normals.append(normal)
        colours.append(np.minimum(np.array(colour, np.float64) * light, 255))
        places.append(box.xy_m)
        ranks.append(rank)

    for box in boxes:
        vertices = box_corners(box)
        middle = vertices.mean(axis=0)
        for face in ((0, 1, 5, 4), (1, 2, 6, 5), (2, 3, 7, 6), (3, 0, 4, 7), (4, 5, 6, 7)):
            quad = vertices[list(face)]
            normal = np.cross(quad[1] - quad[0], quad[3] - quad[0])
            normal *= np.sign(np.dot(normal, quad.mean(axis=0) - middle)) / np.linalg.norm(normal)
            add(quad, normal, box.colour, box, box.base_m)
            is_wall = box.size_m[0] > 5 and box.size_m[2] > 2 and face[0] != 4
            for window in _windows(quad) if is_wall else ():
                add(window, normal, _WINDOW, box, box.base_m + 0.01)
    return Quads(np.array(corners), np.array(normals), np.array(colours), np.array(places), np.array(ranks))


def _windows(wall: FloatArray) -> list[FloatArray]:
    """Return two rows of four windows on a wall, given its corners bottom, bottom, top, top."""
    low_a, low_b, high_b, high_a = wall

    def at(across: float, up: float) -> FloatArray:
        low, high = (1 - across) * low_a + across * low_b, (1 - across) * high_a + across * high_b
        return (1 - up) * low + up * high

    return [
        np.array([at(left, low), at(left + 0.105, low), at(left + 0.105, high), at(left, high)])
        for low, high in ((0.14, 0.4), (0.58, 0.84))
        for left in (0.075, 0.325, 0.575, 0.825)
    ]


def _speckle(colour: Colour, random: np.random.Generator, *, strength: int, coarse: int) -> Image:
    """Return a square of one colour with fine and coarse unevenness, by which motion can be seen."""
    fine = random.integers(-strength, strength + 1, (_TILE, _TILE), np.int16)
    rough = random.normal(0.0, 1.0, (_TILE // coarse + 2, _TILE // coarse + 2)).astype(np.float32)
    rough = cv2.resize(rough, (_TILE, _TILE), interpolation=cv2.INTER_CUBIC) * strength
    noise = fine + rough.astype(np.int16)
    return np.clip(np.array(colour, np.int16) + noise[..., None], 0, 255).astype(np.uint8)


def _draw_panorama(random: np.random.Generator) -> Image:
    """Return the sky around: column = azimuth over a full turn, row = elevation from 60 degrees to 0."""
    width, height = _PANORAMA
    elevation = np.linspace(1.0, 0.0, height)[:, None]
    zenith, horizon = np.array([196, 132, 74.0]), np.array(HAZE, np.float64)
    sky = horizon + (zenith - horizon) * (elevation**0.6)[..., None]
    image = np.repeat(sky, width, axis=1).reshape(height, width, 3)
    clouds = np.zeros((height, width), np.float32)
    for octave in range(5):
        cells = (3 * 2**octave, 8 * 2**octave)
        noise = random.normal(0.0, 1.0, cells).astype(np.float32)
        noise = np.concatenate([noise, noise[:, :1]], axis=1)  # a full turn ends where it began
        clouds += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC) * 0.5**octave
    cover = np.clip((clouds - 0.35) * 0.9, 0, 0.85) * np.clip(elevation * 3.5, 0, 1)
    image = image * (1 - cover[..., None]) + 250 * cover[..., None]
    image = np.clip(image, 0, 255).astype(np.uint8)
    azimuth = np.linspace(0, 2 * np.pi, width)
    for distance, colour in ((0, (198, 178, 160)), (1, (160, 152, 132)), (2, (118, 132, 112))):
        waves = sum(
            random.uniform(0.3, 1.0) / k * np.sin(k * azimuth + random.uniform(0, 6.28))
            for k in (3, 5, 9, 17, 31)
        )
        top = height - 1 - np.clip((46 - 13 * distance) + waves * (24 - 6 * distance), 4, None)
        outline = np.stack([np.arange(width), top], axis=1)
        outline = np.concatenate([outline, [[width, height], [0, height]]]).astype(np.int32)
        cv2.fillPoly(image, [outline], colour, cv2.LINE_AA)
    return image


def _draw_tree(random: np.random.Generator) -> tuple[Image, ...]:
    """Return a tree, BGRA [256, 192, 4] and ever smaller: a trunk, and a crown of blobs."""
    sprite = np.zeros((256, 192, 4), np.uint8)
    trunk = np.array([[90, 255], [102, 255], [99, 120], [93, 120]], np.int32)
    cv2.fillConvexPoly(sprite, trunk, (48, 66, 84, 255))
    tint = random.uniform(0.8, 1.15)
    blobs = []
    for _ in range(150):
        angle, radius = random.uniform(0, 2 * np.pi), np.sqrt(random.random())
        x, y = 96 + 66 * radius * np.cos(angle), 92 + 76 * radius * np.sin(angle)
        blobs.append((y + random.uniform(-25, 25), x, y, random.uniform(9, 20)))
    for _, x, y, size in sorted(blobs, reverse=True):
        light = (0.55 + 0.5 * (1 - y / 180)) * tint * random.uniform(0.85, 1.1)
        colour = tuple(float(np.clip(c * light, 0, 255)) for c in (52, 128, 84))
        cv2.circle(sprite, (int(x), int(y)), int(size), (*colour, 255.0), -1, cv2.LINE_AA)
    sizes = [sprite]
    while sizes[-1].shape[0] > 16:
        height, width = sizes[-1].shape[:2]
        sizes.append(cv2.resize(sizes[-1], (width // 2, height // 2), interpolation=cv2.INTER_AREA))
    return tuple(sizes)
