"""The ground as a mesh about the camera's foot: rings that grow with distance, cut into sectors.

Its heights are the vertex shader's business. Blocks of it that a camera cannot see are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.sim.roads import Float64Array, Terrain

_FIRST_M, _LAST_M, _GROWTH = 0.4, 2500.0, 1.1
_SECTORS, _SECTORS_A_BLOCK, _RINGS_A_BLOCK = 96, 4, 6


@dataclass(frozen=True, eq=False)
class TerrainMesh:
    """Vertices float32 [V, 2] (offset from the camera's foot, m), indices int32, and blocks of it.

    Attributes:
        blocks: int64 [B, 2], first index and count.
        block_xy: float64 [B, 2], centre of each block; block_radius_m: [B], its reach in the plane.
    """

    vertices: NDArray[np.float32]
    indices: NDArray[np.int32]
    blocks: NDArray[np.int64]
    block_xy: Float64Array
    block_radius_m: Float64Array

    def block_spheres(self, terrain: Terrain, camera_xyz: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Return centres [B, 3] in local and radii [B] of spheres about the blocks."""
        centres = terrain.on_ground(self.block_xy + camera_xyz[:2])
        steepest = sum(
            abs(wave.amplitude_m) * float(np.hypot(wave.kx_per_m, wave.ky_per_m)) for wave in terrain.waves
        )
        return centres, self.block_radius_m * float(np.hypot(1.0, steepest)) + 0.1


def terrain_mesh() -> TerrainMesh:
    """Make the mesh."""
    rings = int(np.ceil(np.log(_LAST_M / _FIRST_M) / np.log(_GROWTH) / _RINGS_A_BLOCK)) * _RINGS_A_BLOCK + 1
    radius = _FIRST_M * _GROWTH ** np.arange(rings)
    angle = np.arange(_SECTORS) * 2 * np.pi / _SECTORS
    unit = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    vertices = (radius[:, None, None] * unit).reshape(-1, 2)
    indices, blocks, centres, reaches = [], [], [], []
    first = 0
    for ring in range(0, rings - 1, _RINGS_A_BLOCK):
        for sector in range(0, _SECTORS, _SECTORS_A_BLOCK):
            r, s = np.meshgrid(
                np.arange(ring, ring + _RINGS_A_BLOCK),
                np.arange(sector, sector + _SECTORS_A_BLOCK),
                indexing="ij",
            )
            a, b = r * _SECTORS + s, r * _SECTORS + (s + 1) % _SECTORS
            c, d = a + _SECTORS, b + _SECTORS
            triangles = np.stack([a, c, b, b, c, d], axis=-1).reshape(-1)
            corners = vertices[np.unique(triangles)]
            centre = (corners.min(axis=0) + corners.max(axis=0)) / 2
            indices.append(triangles)
            blocks.append((first, triangles.size))
            centres.append(centre)
            reaches.append(np.linalg.norm(corners - centre, axis=1).max())
            first += triangles.size
    return TerrainMesh(
        vertices=vertices.astype(np.float32),
        indices=np.concatenate(indices).astype(np.int32),
        blocks=np.array(blocks),
        block_xy=np.array(centres),
        block_radius_m=np.array(reaches),
    )
