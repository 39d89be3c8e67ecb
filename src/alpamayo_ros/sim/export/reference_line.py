"""Polylines as OpenDRIVE reference lines: straight lines and arcs, and cubics of s along them.

Only `line` and `arc` are used, which every reader of OpenDRIVE knows (AlpaSim's knows no other).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from alpamayo_ros.sim.roads import Float64Array
from alpamayo_ros.types import InvalidInput

_TOLERANCE_M = 0.001
_TOLERANCE_RAD = 5e-5
_LONGEST_M = 60.0
_STRAIGHT_PER_M = 5e-6
"""A piece that bends less is a line: an arc's centre would be so far away that readers which calculate in
float32 lose centimetres."""


@dataclass(frozen=True)
class Piece:
    """A line (curvature 0) or an arc: where it starts and how long it is.

    Attributes:
        s_m: of its start along the reference line.
        x_m, y_m, yaw_rad: its start, in local.
        length_m: positive.
        curvature_per_m: positive to the left.
    """

    s_m: float
    x_m: float
    y_m: float
    yaw_rad: float
    length_m: float
    curvature_per_m: float

    def __post_init__(self) -> None:
        if not self.length_m > 0:
            raise InvalidInput(f"reference line: length_m: expected a positive number, got {self.length_m}")

    def sample(self, along_m: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Return xy [N, 2] m and yaw [N] rad at distances [N] from the piece's start."""
        half = self.curvature_per_m * along_m / 2
        chord = along_m * np.sinc(half / np.pi)
        angle = self.yaw_rad + half
        xy = np.stack([self.x_m + chord * np.cos(angle), self.y_m + chord * np.sin(angle)], axis=-1)
        return xy, self.yaw_rad + 2 * half


@dataclass(frozen=True)
class ReferenceLine:
    """Pieces end to end."""

    pieces: tuple[Piece, ...]

    @property
    def length_m(self) -> float:
        """Length of all pieces."""
        last = self.pieces[-1]
        return last.s_m + last.length_m

    def sample(self, s_m: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Return xy [N, 2] m and yaw [N] rad at [N] distances along the line."""
        starts = np.array([piece.s_m for piece in self.pieces])
        owner = np.clip(np.searchsorted(starts, s_m, side="right") - 1, 0, len(starts) - 1)
        xy, yaw = np.empty((len(s_m), 2)), np.empty(len(s_m))
        for index in np.unique(owner):
            mine = owner == index
            xy[mine], yaw[mine] = self.pieces[index].sample(s_m[mine] - starts[index])
        return xy, yaw

    def stations(self, spacing_m: float) -> Float64Array:
        """Return distances [N >= 2] from start to end, at most `spacing_m` apart."""
        return np.linspace(0.0, self.length_m, max(2, int(np.ceil(self.length_m / spacing_m)) + 1))


def fit_arcs(xy: Float64Array, yaw_rad: Float64Array) -> ReferenceLine:
    """Return lines and arcs along points [N >= 2, 2] with headings [N], without corners.

    Each piece begins where the last ended, in its very heading: at a corner, lanes beside the line would
    step back. One arc, or else two (a biarc), reach as many points on as they can pass within 1 mm.
    """
    pieces: list[Piece] = []
    start = _Pose(float(xy[0, 0]), float(xy[0, 1]), float(yaw_rad[0]))
    first, s_m = 0, 0.0
    while first < len(xy) - 1:
        last = first + 1
        found = _biarc(start, xy[last], float(yaw_rad[last]), s_m)
        for end in range(last, len(xy)):
            if np.linalg.norm(xy[end] - xy[first]) > _LONGEST_M:
                break
            for way in (_arc, _biarc):
                longer = way(start, xy[end], float(yaw_rad[end]), s_m)
                if _fits(longer, xy[first : end + 1], float(yaw_rad[end])):
                    last, found = end, longer
                    break
            else:
                break
        pieces.extend(found)
        start, s_m = _end(found[-1]), found[-1].s_m + found[-1].length_m
        first = last
    return ReferenceLine(tuple(pieces))


def fit_lines(xy: Float64Array) -> ReferenceLine:
    """Return straight lines through all points [N >= 2, 2]; the line may have corners."""
    steps = np.diff(xy, axis=0)
    lengths = np.linalg.norm(steps, axis=1)
    starts = np.concatenate([[0.0], np.cumsum(lengths)])
    return ReferenceLine(
        tuple(
            Piece(float(s), float(x), float(y), float(np.arctan2(dy, dx)), float(length), 0.0)
            for s, (x, y), (dx, dy), length in zip(starts[:-1], xy[:-1], steps, lengths, strict=True)
        )
    )


def cubics(
    line: ReferenceLine, spacing_m: float, profile: Callable[[Float64Array, Float64Array], Float64Array]
) -> list[tuple[float, float, float, float, float]]:
    """Return (s, a, b, c, d): value a + b ds + c ds² + d ds³ from each s on, of a smooth profile.

    Args:
        line: along which.
        spacing_m: at most so long is each cubic.
        profile: of xy [N, 2] and yaw [N]: value and slope along the yaw [N, 2].
    """
    bounds = [0.0]
    for piece in line.pieces:
        count = int(np.ceil(piece.length_m / spacing_m))
        bounds.extend((piece.s_m + piece.length_m * np.arange(1, count + 1) / count).tolist())
    result = []
    for start, end in pairwise(bounds):
        # Just inside: at a corner, the slope is that of the piece that begins there or ends there.
        inset = 1e-6 * (end - start)
        (v0, m0), (v1, m1) = profile(*line.sample(np.array([start + inset, end - inset]))).tolist()
        h = end - start
        c = (3 * (v1 - v0) / h - 2 * m0 - m1) / h
        d = (2 * (v0 - v1) / h + m0 + m1) / h**2
        result.append((start, v0, m0, c, d))
    return result


@dataclass(frozen=True)
class _Pose:
    x_m: float
    y_m: float
    yaw_rad: float


def _end(piece: Piece) -> _Pose:
    xy, yaw = piece.sample(np.array([piece.length_m]))
    return _Pose(float(xy[0, 0]), float(xy[0, 1]), float(yaw[0]))


def _arc(start: _Pose, target: Float64Array, yaw_rad: float, s_m: float) -> tuple[Piece, ...]:
    """Return the arc from a pose to a point, whatever its heading there; a line goes as far as beside it."""
    chord = target - np.array([start.x_m, start.y_m])
    chord_m = float(np.linalg.norm(chord))
    half = _wrapped(float(np.arctan2(chord[1], chord[0])) - start.yaw_rad)
    curvature = 2 * float(np.sin(half)) / chord_m
    if abs(curvature) < _STRAIGHT_PER_M:
        length_m = chord_m * float(np.cos(half))
        return (Piece(s_m, start.x_m, start.y_m, start.yaw_rad, length_m, 0.0),)
    return (Piece(s_m, start.x_m, start.y_m, start.yaw_rad, 2 * half / curvature, curvature),)


def _biarc(start: _Pose, target: Float64Array, yaw_rad: float, s_m: float) -> tuple[Piece, ...]:
    """Return two arcs from a pose to another, in one heading where they meet (Bolton 1975, d1 = d2)."""
    v = target - np.array([start.x_m, start.y_m])
    t0 = np.array([np.cos(start.yaw_rad), np.sin(start.yaw_rad)])
    t1 = np.array([np.cos(yaw_rad), np.sin(yaw_rad)])
    # d: from either end along its tangent to the corner of its arc's control polygon,
    # |v - d (t0 + t1)| = 2 d. In this form it is stable for tangents that are almost alike.
    along = float(v @ (t0 + t1))
    bend = 2 * (1 - float(t0 @ t1))
    d = float(v @ v) / (along + float(np.sqrt(along**2 + bend * float(v @ v))))
    middle = (np.array([start.x_m, start.y_m]) + d * t0 + target - d * t1) / 2
    (one,) = _arc(start, middle, yaw_rad, s_m)
    (two,) = _arc(_end(one), target, yaw_rad, s_m + one.length_m)
    return one, two


def _fits(pieces: tuple[Piece, ...], between: Float64Array, yaw_rad: float) -> bool:
    off_m = np.abs(_beside(pieces[0], between))
    if len(pieces) == 2:
        second = pieces[1]
        ahead = np.array([np.cos(second.yaw_rad), np.sin(second.yaw_rad)])
        beyond = (between - np.array([second.x_m, second.y_m])) @ ahead > 0
        off_m = np.where(beyond, np.abs(_beside(second, between)), off_m)
    turned = _wrapped(_end(pieces[-1]).yaw_rad - yaw_rad)
    return bool(off_m.max() < _TOLERANCE_M and abs(turned) < _TOLERANCE_RAD)


def _beside(piece: Piece, xy: Float64Array) -> Float64Array:
    """Return how far points [N, 2] lie from a piece's line or circle [N]."""
    offset = xy - np.array([piece.x_m, piece.y_m])
    left = np.array([-np.sin(piece.yaw_rad), np.cos(piece.yaw_rad)])
    if not piece.curvature_per_m:
        return np.asarray(offset @ left)
    radius = 1 / piece.curvature_per_m
    return np.asarray(np.linalg.norm(offset - radius * left, axis=1) - abs(radius))


def _wrapped(angle_rad: float) -> float:
    return float((angle_rad + np.pi) % (2 * np.pi) - np.pi)
