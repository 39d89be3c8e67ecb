"""Round islands of roundabouts as raised ground, so that a driver sees from afar what to go round."""

from __future__ import annotations

import numpy as np

from alpamayo_ros.sim.render.mesh import Colour, Mesh, MeshBuilder
from alpamayo_ros.sim.roads import Float64Array
from alpamayo_ros.sim.scene import Scene

MOUND_SIZE_M = (24.0, 24.0, 1.2)
BOARD_M = 1.5
BOARD_TOP_M = 1.3
_ROUND = 0.8
_LEAST_RADIUS_M, _APRON_M = 4.0, 1.1
_BOARD_STEP_M = 12.0


def round_islands(scene: Scene) -> list[tuple[float, float, float]]:
    """Return x, y and radius in m of the islands that are about round; others stay flat."""
    found = []
    for surface in scene.road.surfaces if scene.road is not None else ():
        if surface.kind != "island":
            continue
        ring = np.asarray(surface.polygon)[:, :2]
        centre = (ring.min(axis=0) + ring.max(axis=0)) / 2
        reach = np.linalg.norm(ring - centre, axis=1)
        if reach.min() >= _ROUND * reach.max() and reach.min() >= _LEAST_RADIUS_M:
            found.append((float(centre[0]), float(centre[1]), float(reach.min())))
    return found


def mound_size_m(radius_m: float) -> tuple[float, float, float]:
    """Return length, width and height of the mound of an island: a strip along the kerb stays flat."""
    wide = 2 * (radius_m - _APRON_M)
    return wide, wide, min(0.08 * wide, MOUND_SIZE_M[2])


def boards(radius_m: float) -> Float64Array:
    """Return the bearings [N] in rad at which boards with chevrons stand about an island, facing outwards."""
    count = max(4, round(2 * np.pi * radius_m / _BOARD_STEP_M))
    return np.asarray(np.arange(count) * 2 * np.pi / count)


def mound() -> Mesh:
    """Return a low dome of grass in the unit cube, patchy like the ground."""
    rng = np.random.default_rng([23, 0])
    b = MeshBuilder()
    rings, sides = 7, 28
    share = np.linspace(1.0, 0.0, rings + 1)
    turn = np.linspace(0, 2 * np.pi, sides + 1)
    # A cosine: level at the top and where it meets the ground.
    height = -0.5 + 0.5 * (1 + np.cos(np.pi * share))
    slope = 0.5 * np.pi * np.sin(np.pi * share)
    points = np.stack(
        [
            0.5 * share[:, None] * np.cos(turn),
            0.5 * share[:, None] * np.sin(turn),
            height[:, None] + 0 * turn,
        ],
        axis=2,
    )
    normals = np.stack(
        [
            2 * slope[:, None] * np.cos(turn),
            2 * slope[:, None] * np.sin(turn),
            np.ones((rings + 1, sides + 1)),
        ],
        axis=2,
    )
    normals /= np.linalg.norm(normals, axis=2, keepdims=True)
    shade = rng.uniform(0.86, 1.08, (rings + 1, sides + 1))
    shade[:, -1] = shade[:, 0]
    shade[-1] = 1.0
    grass = np.array([0.40, 0.49, 0.24])
    for i in range(rings):
        for j in range(sides):
            at = ([i, i, i + 1, i + 1], [j, j + 1, j + 1, j])
            if i == rings - 1:
                at = ([i, i, i + 1], [j, j + 1, j])
            colours: list[Colour] = [(float(r), float(g), float(z)) for r, g, z in grass * shade[at][:, None]]
            b.polygon(points[at], colours, normals=normals[at])
    return b.build()
