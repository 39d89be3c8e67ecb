"""Meshes of scenery and street furniture, each in its unit cube about its box's centre (x forward)."""

from __future__ import annotations

import numpy as np

from alpamayo_ros.sim.render.mesh import Colour, Mesh, MeshBuilder

_WHITE: Colour = (1.0, 1.0, 1.0)
_BARK: Colour = (0.36, 0.29, 0.23)
_STEEL: Colour = (0.52, 0.54, 0.56)
_DARK: Colour = (0.13, 0.14, 0.14)

POLE_RADIUS_M = 0.06
SIGN_SIZE_M = (0.12, 0.8, 2.6)
LIGHT_SIZE_M = (0.40, 0.46, 1.25)


def unit_box(*, textured: bool = False) -> Mesh:
    """Return the unit cube, white and tinted; textured with texture coordinates 0 … 1 on its sides."""
    b = MeshBuilder()
    b.box((0, 0, 0), (1, 1, 1), _WHITE, material="tint", textured=textured)
    return b.build()


def post() -> Mesh:
    """Return an upright cylinder that fills the unit cube, of steel."""
    b = MeshBuilder()
    b.tube((0, 0, -0.5), (0, 0, 0.5), (0.5, 0.5), _WHITE, sides=6, material="tint")
    return b.build()


def building() -> Mesh:
    """Return a block with textured walls and a plain roof."""
    b = MeshBuilder()
    b.box((0, 0, 0), (1, 1, 1), _WHITE, material="tint", textured=True, skip="-z")
    return b.build()


def roof_rim() -> Mesh:
    """Return what lies on a flat roof: a rim and a housing, for plain drawing on top of `building`."""
    b = MeshBuilder()
    b.box((0, 0, -0.25), (1.02, 1.02, 0.5), (0.75, 0.74, 0.72), material="tint")
    b.box((0.1, 0.12, 0.2), (0.22, 0.3, 0.6), (0.62, 0.62, 0.62))
    return b.build()


def gable_roof() -> Mesh:
    """Return a pitched roof over the unit cube's footprint, ridge along x."""
    b = MeshBuilder()
    w, e = 0.54, 0.53
    tile: Colour = (0.56, 0.30, 0.24)
    dark: Colour = (0.50, 0.26, 0.21)
    b.polygon([(-e, -w, -0.5), (e, -w, -0.5), (e, 0, 0.5), (-e, 0, 0.5)], tile)
    b.polygon([(e, w, -0.5), (-e, w, -0.5), (-e, 0, 0.5), (e, 0, 0.5)], dark)
    b.polygon([(0.5, -0.5, -0.5), (0.5, 0.5, -0.5), (0.5, 0, 0.46)], _WHITE, material="tint")
    b.polygon([(-0.5, 0.5, -0.5), (-0.5, -0.5, -0.5), (-0.5, 0, 0.46)], _WHITE, material="tint")
    return b.build()


def leafy_tree(seed: int, *, detail: int) -> Mesh:
    """Return a broad-leaved tree; leaves take the tint."""
    rng = np.random.default_rng([17, seed])
    b = MeshBuilder()
    b.tube((0, 0, -0.5), (0.01, 0, 0.0), (0.045, 0.03), _BARK, sides=6 if detail else 4, caps=False)
    rows, columns = ((5, 9), (4, 6), (3, 5))[2 - detail]
    crowns = [((0, 0, 0.14), (0.44, 0.44, 0.33))]
    if detail:
        for k in range(4 if detail > 1 else 2):
            turn = k * 2 * np.pi / 4 + rng.uniform(0, 1)
            crowns.append(
                (
                    (0.22 * np.cos(turn), 0.22 * np.sin(turn), rng.uniform(0.0, 0.26)),
                    (0.27, 0.27, rng.uniform(0.18, 0.23)),
                )
            )
    for centre, radii in crowns:
        green = rng.uniform(0.9, 1.0)
        b.blob(centre, radii, (green, green, green), rows=rows, columns=columns, material="leaf", rough=0.14,
               rng=rng, shade=0.5)  # fmt: skip
    return b.build()


def conifer(*, detail: int) -> Mesh:
    """Return a conifer of three skirts."""
    rng = np.random.default_rng([18, 0])
    b = MeshBuilder()
    b.tube((0, 0, -0.5), (0, 0, -0.25), (0.04, 0.035), _BARK, sides=5, caps=False)
    sides = 9 if detail else 5
    for low, high, radius, shade in (
        (-0.36, 0.05, 0.48, 0.75),
        (-0.1, 0.3, 0.36, 0.88),
        (0.14, 0.5, 0.24, 1.0),
    ):
        angles = np.linspace(0, 2 * np.pi, sides + 1)
        reach = radius * (1 + rng.uniform(-0.12, 0.12, sides))
        reach = np.append(reach, reach[0])
        ring = np.stack([reach * np.cos(angles), reach * np.sin(angles), 0 * angles + low], axis=1)
        tip = np.array([0, 0, high])
        for i in range(sides):
            out = ring[i] * (1, 1, 0) + (0, 0, 0.35 * radius)
            out2 = ring[i + 1] * (1, 1, 0) + (0, 0, 0.35 * radius)
            normals = np.array([out / np.linalg.norm(out), out2 / np.linalg.norm(out2), [0, 0, 1.0]])
            shades: list[Colour] = [(shade * 0.6,) * 3, (shade * 0.6,) * 3, (shade,) * 3]
            b.polygon(np.stack([ring[i], ring[i + 1], tip]), shades, material="leaf", normals=normals)
        b.polygon(ring[:-1][::-1], (0.3, 0.3, 0.3), material="leaf")
    return b.build()


def bush(*, detail: int) -> Mesh:
    """Return a bush of a few blobs."""
    rng = np.random.default_rng([19, 0])
    b = MeshBuilder()
    rows, columns = (4, 7) if detail else (3, 5)
    for centre, radii in (((0.12, 0, -0.1), (0.38, 0.5, 0.42)), ((-0.2, 0.1, 0.0), (0.3, 0.36, 0.46))):
        b.blob(centre, radii, (0.95, 0.95, 0.95), rows=rows, columns=columns, material="leaf", rough=0.14,
               rng=rng, shade=0.55)  # fmt: skip
    return b.build()


def lamp_post() -> Mesh:
    """Return a street lamp of 1 x 1 x 1 whose arm reaches along +x; scale it by (reach, 0.5, height)."""
    b = MeshBuilder()
    b.tube((-0.45, 0, -0.5), (-0.45, 0, 0.46), (0.05, 0.035), _STEEL, sides=6, caps=False)
    b.tube((-0.45, 0, 0.455), (0.3, 0, 0.485), (0.012, 0.012), _STEEL, sides=5, caps=False)
    b.box((0.32, 0, 0.485), (0.36, 0.34, 0.016), (0.4, 0.41, 0.42))
    b.box((0.32, 0, 0.474), (0.30, 0.26, 0.008), (0.92, 0.9, 0.82), material="lamp")
    return b.build()


def barrier() -> Mesh:
    """Return a red and white barrier across y, on two feet."""
    b = MeshBuilder()
    for k in range(8):
        colour = (0.80, 0.10, 0.09) if k % 2 == 0 else (0.93, 0.93, 0.92)
        y = -0.5 + (k + 0.5) / 8
        b.box((0, y, 0.27), (0.4, 1 / 8, 0.36), colour)
        b.box((0, y, -0.15), (0.3, 1 / 8, 0.2), colour)
    for y in (-0.4, 0.4):
        b.box((0, y, -0.02), (0.3, 0.03, 0.95), _STEEL)
        b.box((0, y, -0.47), (1.0, 0.08, 0.06), _DARK)
    return b.build()


def cone(*, detail: int) -> Mesh:
    """Return a traffic cone: orange, two white bands, a square foot."""
    b = MeshBuilder()
    orange: Colour = (0.95, 0.36, 0.08)
    sides = 12 if detail else 6
    b.box((0, 0, -0.475), (1.0, 1.0, 0.05), (0.85, 0.30, 0.07), skip="-z")
    heights = (-0.45, -0.15, 0.02, 0.16, 0.30, 0.5)
    for low, high, colour in zip(
        heights[:-1],
        heights[1:],
        (orange, (0.95, 0.95, 0.93), orange, (0.95, 0.95, 0.93), orange),
        strict=True,
    ):
        radii = tuple(0.40 - 0.34 * (z + 0.45) / 0.95 for z in (low, high))
        b.tube((0, 0, low), (0, 0, high), (radii[0], radii[1]), colour, sides=sides, caps=high == 0.5)
    return b.build()


def traffic_light() -> Mesh:
    """Return a signal head that shines along +x: a housing, a back board and three lamps under visors."""
    b = MeshBuilder()
    b.box((-0.2, 0, 0), (0.5, 0.74, 0.96), _DARK)
    b.box((-0.32, 0, 0), (0.06, 1.0, 1.0), (0.09, 0.09, 0.1))
    for z, colour, material in (
        (0.31, (0.95, 0.12, 0.10), "red"),
        (0.0, (0.98, 0.72, 0.08), "yellow"),
        (-0.31, (0.08, 0.85, 0.42), "green"),
    ):
        angles = np.linspace(0, 2 * np.pi, 10, endpoint=False)
        disc = np.stack([0 * angles + 0.055, 0.31 * np.cos(angles), z + 0.125 * np.sin(angles)], axis=1)
        b.polygon(disc, colour, material=material)
        b.box((0.22, 0, z + 0.142), (0.4, 0.66, 0.02), _DARK)
    return b.build()


_OCTAGON = tuple((0.5 * np.cos(a) / np.cos(np.pi / 8), 0.5 * np.sin(a) / np.cos(np.pi / 8))
                 for a in np.pi / 8 + np.arange(8) * np.pi / 4)  # fmt: skip
_DISC = tuple((0.5 * np.cos(a), 0.5 * np.sin(a)) for a in np.arange(16) * np.pi / 8)
_TRIANGLE = ((0.5, 0.43), (-0.5, 0.43), (0.0, -0.43))
_DIAMOND = ((0.5, 0.0), (0.0, 0.5), (-0.5, 0.0), (0.0, -0.5))
SIGN_SHAPES: dict[str, tuple[tuple[float, float], ...]] = {
    "octagon": _OCTAGON,
    "disc": _DISC,
    "triangle": _TRIANGLE,
    "diamond": _DIAMOND,
    "board": ((0.5, 0.25), (-0.5, 0.25), (-0.5, -0.25), (0.5, -0.25)),
}
"""Outlines (right, up) of sign plates, as one who reads the sign sees them."""


def sign_plate(shape: str) -> Mesh:
    """Return a sign's plate in the y-z plane, its picture towards +x, its back grey (texture: none)."""
    b = MeshBuilder()
    outline = np.array(SIGN_SHAPES[shape])
    # Who reads it looks along -x, so the sign's right is -y; counter-clockwise for them is so in (right, up).
    front = np.stack([0 * outline[:, 0], outline[:, 0], outline[:, 1]], axis=1)
    b.polygon(front, _WHITE, texcoords=np.stack([0.5 + outline[:, 0], 0.5 - outline[:, 1]], axis=1))
    return b.build()


def sign_back(shape: str) -> Mesh:
    """Return the grey back of a sign's plate."""
    b = MeshBuilder()
    outline = np.array(SIGN_SHAPES[shape])
    points = np.stack([0 * outline[:, 0] - 0.05, outline[:, 0], outline[:, 1]], axis=1)
    b.polygon(points[::-1], (0.55, 0.56, 0.57))
    return b.build()
