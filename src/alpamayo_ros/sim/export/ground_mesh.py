"""The ground as a triangle mesh in a .ply, on which AlpaSim's physics sets vehicles down."""

from __future__ import annotations

import numpy as np

from alpamayo_ros.sim.roads import RoadNetwork, Terrain

_SPACING_M = 4.0
"""Between vertices: our hills are at least 140 m long, so that triangles leave them by 1 cm at most."""
_MARGIN_M = 40.0


def ground_mesh_ply(network: RoadNetwork, terrain: Terrain) -> bytes:
    """Return the ground under and about a network, binary, float32 vertices x, y, z in local.

    A grid over the roads' extent and 40 m around; its triangles are counter-clockwise from above.
    """
    points = np.concatenate([lane.centre[:, :2] for lane in network.lanes])
    low, high = points.min(axis=0) - _MARGIN_M, points.max(axis=0) + _MARGIN_M
    columns, rows = (np.ceil((high - low) / _SPACING_M).astype(int) + 1).tolist()
    x = low[0] + _SPACING_M * np.arange(columns)
    y = low[1] + _SPACING_M * np.arange(rows)
    vertices = terrain.on_ground(np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2))
    corner = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).reshape(-1)
    east, north, across = corner + 1, corner + columns, corner + columns + 1
    triangles = np.concatenate(
        [np.stack([corner, east, across], axis=1), np.stack([corner, across, north], axis=1)]
    )
    faces = np.empty(len(triangles), [("count", "u1"), ("corners", "<i4", 3)])
    faces["count"], faces["corners"] = 3, triangles
    header = (
        "ply\nformat binary_little_endian 1.0\n"
        f"element vertex {len(vertices)}\n"
        "property float x\nproperty float y\nproperty float z\n"
        f"element face {len(faces)}\n"
        "property list uchar int vertex_indices\nend_header\n"
    )
    return header.encode() + vertices.astype("<f4").tobytes() + faces.tobytes()
