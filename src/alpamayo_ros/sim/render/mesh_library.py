"""All meshes in one vertex and one index buffer, each cut as finely as its distance asks for.

A straight edge between two projected vertices leaves the curve that a wide-angle lens makes of it by at most
phi^2 / 8 * bend_px pixels, phi being the angle that the edge spans (see lens.GpuLens). So for each mesh there
are levels with ever shorter edges, and `MeshLibrary.choose` takes the coarsest that stays within what its
kind allows: a quarter of a pixel for boxes, more for leaves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.sim.render import islands, people, scenery, vehicles
from alpamayo_ros.sim.render.mesh import VERTEX_DTYPE, Mesh
from alpamayo_ros.sim.roads import Float64Array

_LOOSE_PX = 2.5
_WALLS_PX = 1.0
"""Nobody measures houses; a plinth near by, cut to half a pixel, has more triangles than all cars."""
_LEVELS = 6
_FINEST_TRIANGLES = 3_500


@dataclass(frozen=True)
class MeshKind:
    """One kind of mesh.

    Attributes:
        name: what it is.
        details: its makers, most detailed first.
        detail_px: radius in pixels above which each detail is drawn (the last is 0).
        size_m: nominal size, in which edges are measured.
        textured: drawn with pictures.
        curve_px: how far an edge may be from where the lens has it.
        finest: triangles that no level exceeds, however near it is.
    """

    name: str
    details: tuple[Callable[[], Mesh], ...]
    detail_px: tuple[float, ...]
    size_m: tuple[float, float, float]
    textured: bool = False
    curve_px: float = 0.5
    finest: int = _FINEST_TRIANGLES


def _details(make: Callable[..., Mesh], details: tuple[int, ...]) -> tuple[Callable[[], Mesh], ...]:
    """Return makers of each detail."""
    return tuple(partial(make, detail=detail) for detail in details)


def _vehicle(name: str, profile: vehicles._Profile) -> MeshKind:
    return MeshKind(
        name,
        _details(partial(vehicles.car, profile), (2, 1, 0)),
        (40.0, 16.0, 0.0),
        profile.size_m,
    )


def _kinds() -> tuple[MeshKind, ...]:
    walkers = tuple(
        MeshKind(
            f"pedestrian{phase}",
            _details(partial(people.pedestrian, phase), (1, 0)),
            (14.0, 0.0),
            people.PEDESTRIAN_SIZE,
        )
        for phase in range(people.WALK_PHASES)
    )
    trees = tuple(
        MeshKind(
            f"tree{seed}",
            _details(partial(scenery.leafy_tree, seed), (2, 1, 0)),
            (70.0, 26.0, 0.0),
            (4.0, 4.0, 8.0),
            curve_px=_LOOSE_PX,
        )
        for seed in range(3)
    )
    plates = tuple(
        MeshKind(f"sign_{shape}", (partial(scenery.sign_plate, shape),), (0.0,), (0.1, 0.8, 0.8), True)
        for shape in scenery.SIGN_SHAPES
    )
    backs = tuple(
        MeshKind(f"back_{shape}", (partial(scenery.sign_back, shape),), (0.0,), (0.1, 0.8, 0.8))
        for shape in scenery.SIGN_SHAPES
    )
    return (
        _vehicle("hatchback", vehicles.HATCHBACK),
        _vehicle("saloon", vehicles.SALOON),
        _vehicle("suv", vehicles.SUV),
        _vehicle("van", vehicles.VAN),
        _vehicle("minibus", vehicles.MINIBUS),
        MeshKind("truck", _details(vehicles.truck, (2, 1, 0)), (40.0, 14.0, 0.0),
                 vehicles.TRUCK_SIZE),
        *walkers,
        MeshKind("cyclist", _details(people.cyclist, (1, 0)), (18.0, 0.0),
                 people.CYCLIST_SIZE),
        MeshKind("cone", _details(scenery.cone, (1, 0)), (6.0, 0.0), (0.4, 0.4, 0.75)),
        *trees,
        MeshKind("conifer", _details(scenery.conifer, (1, 0)), (14.0, 0.0),
                 (3.0, 3.0, 8.0), curve_px=_LOOSE_PX),
        MeshKind("bush", _details(scenery.bush, (1, 0)), (16.0, 0.0), (1.2, 1.2, 1.0),
                 curve_px=_LOOSE_PX),
        MeshKind("post", (scenery.post,), (0.0,), (0.12, 0.12, 6.0)),
        MeshKind("lamp_post", (scenery.lamp_post,), (0.0,), (2.0, 0.5, 7.5)),
        MeshKind("barrier", (scenery.barrier,), (0.0,), (0.5, 2.0, 1.0)),
        MeshKind("traffic_light", (scenery.traffic_light,), (0.0,), scenery.LIGHT_SIZE_M),
        # A cube, so that it is cut finely enough along any of its sides, whatever its shape will be.
        MeshKind("box", (scenery.unit_box,), (0.0,), (1.0, 1.0, 1.0), curve_px=0.25, finest=12_500),
        MeshKind("block", (scenery.unit_box,), (0.0,), (4.0, 2.0, 2.0), curve_px=_WALLS_PX),
        MeshKind("building", (scenery.building,), (0.0,), (16.0, 12.0, 12.0), True, curve_px=_WALLS_PX),
        MeshKind("roof_rim", (scenery.roof_rim,), (0.0,), (16.0, 12.0, 0.8), curve_px=_WALLS_PX),
        MeshKind("gable_roof", (scenery.gable_roof,), (0.0,), (16.0, 12.0, 3.0), curve_px=_WALLS_PX),
        MeshKind("mound", (islands.mound,), (0.0,), islands.MOUND_SIZE_M),
        *plates,
        *backs,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class MeshLibrary:
    """Every mesh at every level.

    Attributes:
        vertices: VERTEX_DTYPE [V], indices: int32 [I].
        kinds: index of each mesh by name.
        textured: bool [K], which are drawn with pictures.
        levels: [K, D, L, 2], first index and count of each detail and level.
        detail_px: [K, D], radius in pixels from which on each detail is drawn; infinite where there is none.
        edge: [K, D, L], longest edge of each as a share of the mesh's longest side.
        curve_px: [K], see MeshKind.
    """

    vertices: NDArray[np.void]
    indices: NDArray[np.int32]
    kinds: dict[str, int]
    textured: NDArray[np.bool_]
    levels: NDArray[np.int64]
    detail_px: Float64Array
    edge: Float64Array
    curve_px: Float64Array

    def choose(
        self,
        kind: NDArray[np.int64],
        *,
        side_m: Float64Array,
        near_m: Float64Array,
        radius_px: Float64Array,
        bend_px: float,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return detail and level [N] for instances: longest side, nearest distance, radius in the image.

        `bend_px` is the lens' (see lens.GpuLens).
        """
        detail = np.argmax(radius_px[:, None] >= self.detail_px[kind], axis=1)
        widest_rad = np.sqrt(8 * self.curve_px[kind] / max(bend_px, 1e-3))
        allowed = widest_rad * near_m / side_m
        fine = self.edge[kind, detail] <= allowed[:, None]
        level = np.where(fine.any(axis=1), np.argmax(fine, axis=1), self.edge.shape[2] - 1)
        return detail, level


def build_library() -> MeshLibrary:
    """Make all meshes and their levels."""
    kinds = _kinds()
    details = max(len(kind.details) for kind in kinds)
    levels = np.zeros((len(kinds), details, _LEVELS, 2), np.int64)
    detail_px = np.full((len(kinds), details), np.inf)
    edge = np.zeros((len(kinds), details, _LEVELS))
    vertices: list[NDArray[np.void]] = []
    indices: list[NDArray[np.int32]] = []
    vertex_count = index_count = 0
    for k, kind in enumerate(kinds):
        longest = max(kind.size_m)
        for d, make in enumerate(kind.details):
            detail_px[k, d] = kind.detail_px[d]
            mesh = make()
            for level in range(_LEVELS):
                if level and len(mesh.triangles) * 2 <= kind.finest:
                    finer = mesh.subdivided(_longest_edge(mesh, kind.size_m) / 2, kind.size_m)
                    if len(finer.triangles) <= kind.finest:
                        mesh = finer
                    else:
                        levels[k, d, level], edge[k, d, level] = (
                            levels[k, d, level - 1],
                            edge[k, d, level - 1],
                        )
                        continue
                levels[k, d, level] = index_count, mesh.triangles.size
                edge[k, d, level] = _longest_edge(mesh, kind.size_m) / longest
                vertices.append(mesh.vertices)
                indices.append(mesh.triangles.ravel() + vertex_count)
                vertex_count += len(mesh.vertices)
                index_count += mesh.triangles.size
        for d in range(len(kind.details), details):
            levels[k, d], edge[k, d] = levels[k, d - 1], edge[k, d - 1]
    return MeshLibrary(
        vertices=np.concatenate(vertices).astype(VERTEX_DTYPE),
        indices=np.concatenate(indices).astype(np.int32),
        kinds={kind.name: index for index, kind in enumerate(kinds)},
        textured=np.array([kind.textured for kind in kinds]),
        levels=levels,
        detail_px=detail_px,
        edge=edge,
        curve_px=np.array([kind.curve_px for kind in kinds]),
    )


def _longest_edge(mesh: Mesh, size_m: tuple[float, float, float]) -> float:
    corners = mesh.vertices["position"][mesh.triangles] * np.asarray(size_m, np.float32)
    return float(np.linalg.norm(corners - np.roll(corners, -1, axis=1), axis=2).max())
