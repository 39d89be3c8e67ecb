"""The ground's mesh, read as the PLY that it says it is."""

from __future__ import annotations

import numpy as np
import pytest

from alpamayo_ros.sim.export.ground_mesh import ground_mesh_ply
from alpamayo_ros.sim.scenes import make_scene


def _read(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    header, body = content.split(b"end_header\n", 1)
    lines = header.decode().splitlines()
    assert lines[:2] == ["ply", "format binary_little_endian 1.0"]
    counts = {line.split()[1]: int(line.split()[2]) for line in lines if line.startswith("element")}
    assert [line for line in lines if line.startswith("property")] == [
        "property float x",
        "property float y",
        "property float z",
        "property list uchar int vertex_indices",
    ]
    split = 12 * counts["vertex"]
    vertices = np.frombuffer(body[:split], "<f4").reshape(-1, 3)
    faces = np.frombuffer(body[split:], np.dtype([("count", "u1"), ("corners", "<i4", 3)]))
    assert len(faces) == counts["face"] and np.all(faces["count"] == 3)
    return vertices.astype(np.float64), faces["corners"]


@pytest.mark.parametrize("scene_id", ["hills-3", "roundabout-16"])
def test_mesh_is_the_ground_under_all_roads(scene_id):
    scene = make_scene(scene_id)
    vertices, faces = _read(ground_mesh_ply(scene.road, scene.terrain))
    assert set(np.unique(faces)) == set(range(len(vertices)))
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    up = np.cross(b - a, c - a)
    assert np.all(up[:, 2] > 0)
    extent = np.ptp(vertices, axis=0)
    assert up[:, 2].sum() / 2 == pytest.approx(extent[0] * extent[1], rel=1e-4)
    edges = np.concatenate(scene.road.edges)[:, :2]
    assert np.all(edges > vertices[:, :2].min(axis=0)) and np.all(edges < vertices[:, :2].max(axis=0))
    middle = (a + b + c) / 3
    assert np.abs(middle[:, 2] - scene.terrain.height_m(middle[:, :2])).max() < 0.02
    long_side = (b + c) / 2
    assert np.abs(long_side[:, 2] - scene.terrain.height_m(long_side[:, :2])).max() < 0.02
