"""Triangle meshes with painted faces, and the shapes that they are put together from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.sim.render.shaders import MATERIALS
from alpamayo_ros.sim.roads import Float64Array

Colour = tuple[float, float, float]

VERTEX_DTYPE = np.dtype(
    [("position", "<f4", 3), ("normal", "<f4", 3), ("paint", "u1", 4), ("texcoord", "<f4", 2)]
)


@dataclass(frozen=True, eq=False)
class Mesh:
    """Vertices (VERTEX_DTYPE [V]) and triangles (int32 [T, 3])."""

    vertices: NDArray[np.void]
    triangles: NDArray[np.int32]

    def normalised(self, size: Sequence[float], centre: Sequence[float]) -> Mesh:
        """Return the mesh with the box of `size` about `centre` brought to the unit cube about zero."""
        vertices = self.vertices.copy()
        vertices["position"] = (vertices["position"] - np.asarray(centre)) / np.asarray(size)
        normal = vertices["normal"] * np.asarray(size)
        vertices["normal"] = normal / np.linalg.norm(normal, axis=1, keepdims=True)
        return Mesh(vertices, self.triangles)

    def subdivided(self, max_edge_m: float, scale: Sequence[float] = (1.0, 1.0, 1.0)) -> Mesh:
        """Return the mesh with every edge at most `max_edge_m` long, measured after scaling by `scale`.

        Edges are halved by their own length alone, so triangles that share one stay joined.
        """
        vertices, triangles = self.vertices, self.triangles
        factor = np.asarray(scale, np.float32)
        for _ in range(16):
            a = vertices["position"][triangles] * factor
            edges = np.linalg.norm(a - np.roll(a, -1, axis=1), axis=2)
            split = edges > max_edge_m * 1.0001
            if not split.any():
                break
            vertices, triangles = _split(vertices, triangles, split)
        return Mesh(vertices, triangles)


def _split(
    vertices: NDArray[np.void], triangles: NDArray[np.int32], split: NDArray[np.bool_]
) -> tuple[NDArray[np.void], NDArray[np.int32]]:
    """Halve the marked edges [T, 3] (0-1, 1-2, 2-0) of triangles."""
    starts, ends = triangles, np.roll(triangles, -1, axis=1)
    # One number an edge: NumPy sorts those several times as fast as pairs.
    keys = np.minimum(starts, ends).astype(np.int64) * len(vertices) + np.maximum(starts, ends)
    wanted, inverse = np.unique(keys[split], return_inverse=True)
    middle = np.zeros(len(wanted), vertices.dtype)
    a, b = vertices[wanted // len(vertices)], vertices[wanted % len(vertices)]
    for name in ("position", "texcoord"):
        middle[name] = (a[name] + b[name]) / 2
    normal = a["normal"] + b["normal"]
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    middle["normal"] = np.where(length > 1e-6, normal / np.maximum(length, 1e-6), a["normal"])
    paint = (a["paint"].astype(np.uint16) + b["paint"]) // 2
    paint[:, 3] = a["paint"][:, 3]
    middle["paint"] = paint
    index = np.full(triangles.shape, -1, np.int64)
    index[split] = len(vertices) + inverse.ravel()
    out: list[NDArray[np.int64]] = []
    count = split.sum(axis=1)
    out.append(triangles[count == 0].astype(np.int64))
    for corner in range(3):
        # Turn every case so that one pattern of each kind remains.
        t = np.roll(triangles, -corner, axis=1).astype(np.int64)
        m = np.roll(index, -corner, axis=1)
        s = np.roll(split, -corner, axis=1)
        one = (count == 1) & s[:, 0]
        p, q, r, mp = t[one, 0], t[one, 1], t[one, 2], m[one, 0]
        out += [np.stack([p, mp, r], 1), np.stack([mp, q, r], 1)]
        two = (count == 2) & ~s[:, 2]
        p, q, r, mp, mq = t[two, 0], t[two, 1], t[two, 2], m[two, 0], m[two, 1]
        out += [np.stack([mp, q, mq], 1), np.stack([p, mp, mq], 1), np.stack([p, mq, r], 1)]
    t, m = triangles[count == 3].astype(np.int64), index[count == 3]
    p, q, r, mp, mq, mr = t[:, 0], t[:, 1], t[:, 2], m[:, 0], m[:, 1], m[:, 2]
    out += [np.stack(c, 1) for c in ((p, mp, mr), (mp, q, mq), (mr, mq, r), (mp, mq, mr))]
    return np.concatenate([vertices, middle]), np.concatenate(out).astype(np.int32)


class MeshBuilder:
    """Collects painted polygons; x forward, y left, z up, metres. Colours are encoded (as seen), 0 … 1."""

    def __init__(self) -> None:
        self._vertices: list[NDArray[np.void]] = []
        self._triangles: list[NDArray[np.int32]] = []
        self._count = 0

    def build(self) -> Mesh:
        """Return what has been collected."""
        return Mesh(np.concatenate(self._vertices), np.concatenate(self._triangles))

    def polygon(
        self,
        points: Sequence[Sequence[float]] | Float64Array,
        colour: Colour | Sequence[Colour],
        *,
        material: str = "fixed",
        normals: Float64Array | None = None,
        texcoords: Sequence[Sequence[float]] | Float64Array | None = None,
    ) -> None:
        """Add a convex polygon [N, 3], counter-clockwise from outside; one colour, or one a corner."""
        at = np.asarray(points, np.float64)
        if normals is None:
            normal = np.zeros(3)
            for i in range(len(at)):
                normal += np.cross(at[i], at[(i + 1) % len(at)])
            length = np.linalg.norm(normal)
            if length < 1e-12:
                return
            normals = np.broadcast_to(normal / length, at.shape)
        new = np.zeros(len(at), VERTEX_DTYPE)
        new["position"], new["normal"] = at, normals
        new["paint"][:, :3] = np.clip(np.round(np.asarray(colour) * 255), 0, 255)
        new["paint"][:, 3] = MATERIALS.index(material)
        if texcoords is not None:
            new["texcoord"] = texcoords
        fan = np.arange(1, len(at) - 1)
        self._triangles.append((np.stack([0 * fan, fan, fan + 1], 1) + self._count).astype(np.int32))
        self._vertices.append(new)
        self._count += len(at)

    def box(
        self,
        centre: Sequence[float],
        size: Sequence[float],
        colour: Colour,
        *,
        material: str = "fixed",
        textured: bool = False,
        skip: str = "",
    ) -> None:
        """Add an axis-aligned box; `skip` names faces to leave out, of "+x -x +y -y +z -z"."""
        c, h = np.asarray(centre, np.float64), np.asarray(size, np.float64) / 2
        for axis in range(3):
            for sign in (1, -1):
                if f"{'+' if sign > 0 else '-'}{'xyz'[axis]}" in skip.split():
                    continue
                b, d = (axis + 1) % 3, (axis + 2) % 3
                corners = np.zeros((4, 3))
                corners[:, axis] = sign
                corners[:, b] = np.array([-1, 1, 1, -1]) * sign
                corners[:, d] = [-1, -1, 1, 1]
                points = c + corners * h
                uv = None
                if textured:
                    flat = corners[:, 1 if axis == 0 else 0] * (1 if axis != 1 else -1) * sign
                    uv = np.stack([(flat + 1) / 2, (1 - corners[:, 2]) / 2], axis=1)
                self.polygon(points, colour, material=material, texcoords=uv)

    def tube(
        self,
        start: Sequence[float],
        end: Sequence[float],
        radii: tuple[float, float],
        colour: Colour,
        *,
        sides: int = 8,
        material: str = "fixed",
        caps: bool = True,
    ) -> None:
        """Add a (tapered) cylinder between two points, shaded as round."""
        a, b = np.asarray(start, np.float64), np.asarray(end, np.float64)
        axis = (b - a) / np.linalg.norm(b - a)
        side = np.cross(axis, [0.0, 0.0, 1.0] if abs(axis[2]) < 0.9 else [1.0, 0.0, 0.0])
        side /= np.linalg.norm(side)
        other = np.cross(axis, side)
        angles = np.linspace(0, 2 * np.pi, sides + 1)
        ring = np.cos(angles)[:, None] * side + np.sin(angles)[:, None] * other
        low, high = a + ring * radii[0], b + ring * radii[1]
        for i in range(sides):
            self.polygon(
                [low[i], low[i + 1], high[i + 1], high[i]],
                colour,
                material=material,
                normals=np.stack([ring[i], ring[i + 1], ring[i + 1], ring[i]]),
            )
        if caps:
            self.polygon(high[:-1], colour, material=material)
            self.polygon(low[:-1][::-1], colour, material=material)

    def blob(
        self,
        centre: Sequence[float],
        radii: Sequence[float],
        colour: Colour,
        *,
        rows: int = 4,
        columns: int = 7,
        material: str = "fixed",
        rough: float = 0.0,
        rng: np.random.Generator | None = None,
        shade: float = 0.0,
    ) -> None:
        """Add an ellipsoid; `rough` displaces its points, `shade` darkens its underside."""
        c, r = np.asarray(centre, np.float64), np.asarray(radii, np.float64)
        tilt = np.linspace(-np.pi / 2, np.pi / 2, rows + 1)
        turn = np.linspace(0, 2 * np.pi, columns + 1)
        unit = np.stack(
            [
                np.cos(tilt)[:, None] * np.cos(turn),
                np.cos(tilt)[:, None] * np.sin(turn),
                np.sin(tilt)[:, None] + 0 * turn,
            ],
            axis=2,
        )
        swell = np.ones(unit.shape[:2])
        if rng is not None and rough > 0:
            swell = 1 + rng.uniform(-rough, rough, swell.shape)
            swell[:, -1] = swell[:, 0]
            swell[0], swell[-1] = swell[0, 0], swell[-1, 0]
        points = c + unit * swell[..., None] * r
        normals = unit / r
        normals /= np.linalg.norm(normals, axis=2, keepdims=True)
        light = 1 - shade * (1 - unit[..., 2]) / 2
        paint = np.asarray(colour) * light[..., None]
        for i in range(rows):
            for j in range(columns):
                corners = [(i, j), (i, j + 1), (i + 1, j + 1), (i + 1, j)]
                if i == 0:
                    corners = corners[1:]
                elif i == rows - 1:
                    corners = corners[:3]
                rows_, columns_ = zip(*corners, strict=True)
                self.polygon(
                    points[rows_, columns_],
                    [tuple(p) for p in paint[rows_, columns_]],
                    material=material,
                    normals=normals[rows_, columns_],
                )

    def strip(
        self,
        sections: Float64Array,
        colour: Colour,
        *,
        material: str = "fixed",
        closed: bool = False,
        colours: Sequence[Colour] | None = None,
        materials: Sequence[str] | None = None,
    ) -> None:
        """Add the faces between successive cross-sections [S, P, 3].

        The points of a section go clockwise as seen from before the first section (for a body along x: left
        side, top, right side); colours and materials may differ from face to face across.
        """
        count = sections.shape[1]
        for s in range(len(sections) - 1):
            for p in range(count if closed else count - 1):
                q = (p + 1) % count
                self.polygon(
                    [sections[s, p], sections[s, q], sections[s + 1, q], sections[s + 1, p]],
                    colours[p] if colours is not None else colour,
                    material=materials[p] if materials is not None else material,
                )
