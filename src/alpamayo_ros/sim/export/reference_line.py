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

_TOLERANCE_M = 0.002
_TOLERANCE_RAD = 5e-4
_LONGEST_M = 60.0
_STRAIGHT_RAD = 2e-4
"""A piece that turns less is a line: an arc's centre would be so far away that readers which calculate in
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
    """Return lines and arcs through points [N >= 2, 2] with headings [N].

    Each piece runs exactly through two of the points, as many points on as it can pass those between
    within 2 mm; headings of successive pieces agree within about 1 mrad.
    """
    pieces: list[Piece] = []
    first, s_m = 0, 0.0
    while first < len(xy) - 1:
        last, piece = first + 1, _piece(xy, yaw_rad, first, first + 1, s_m=s_m)
        while last + 1 < len(xy):
            longer = _piece(xy, yaw_rad, first, last + 1, s_m=s_m)
            if longer.length_m > _LONGEST_M or not _fits(longer, xy, yaw_rad, first, last + 1):
                break
            last, piece = last + 1, longer
        pieces.append(piece)
        first, s_m = last, s_m + piece.length_m
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


def _piece(xy: Float64Array, yaw_rad: Float64Array, first: int, last: int, *, s_m: float) -> Piece:
    """Return the arc from one point to another that turns as much as the headings there."""
    step = xy[last] - xy[first]
    chord_m = float(np.linalg.norm(step))
    turn = float((yaw_rad[last] - yaw_rad[first] + np.pi) % (2 * np.pi) - np.pi)
    direction = float(np.arctan2(step[1], step[0]))
    x, y = xy[first].tolist()
    if abs(turn) < _STRAIGHT_RAD:
        return Piece(s_m, x, y, direction, chord_m, 0.0)
    curvature = 2 * np.sin(turn / 2) / chord_m
    return Piece(s_m, x, y, direction - turn / 2, turn / curvature, curvature)


def _fits(piece: Piece, xy: Float64Array, yaw_rad: Float64Array, first: int, last: int) -> bool:
    between = xy[first : last + 1]
    if piece.curvature_per_m:
        to_centre = np.array([-np.sin(piece.yaw_rad), np.cos(piece.yaw_rad)]) / piece.curvature_per_m
        centre = np.array([piece.x_m, piece.y_m]) + to_centre
        off_m = np.linalg.norm(between - centre, axis=1) - abs(1 / piece.curvature_per_m)
    else:
        off_m = (between - between[0]) @ np.array([-np.sin(piece.yaw_rad), np.cos(piece.yaw_rad)])
    end_yaw = piece.yaw_rad + piece.curvature_per_m * piece.length_m
    bend = np.array([piece.yaw_rad - yaw_rad[first], end_yaw - yaw_rad[last]])
    bend = (bend + np.pi) % (2 * np.pi) - np.pi
    return bool(np.abs(off_m).max() < _TOLERANCE_M and np.abs(bend).max() < _TOLERANCE_RAD)
