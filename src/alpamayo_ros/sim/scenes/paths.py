"""Smooth paths in the plane, sampled evenly: the lines that roads, traffic and the reference drive follow.

Coordinates are local (m, ENU); yaw in rad, counter-clockwise, unwrapped along a path; curvature in 1/m,
positive to the left; lateral offsets are positive to the left.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.sim.roads import Float64Array
from alpamayo_ros.types import InvalidInput

STEP_M = 0.25
"""Distance of samples that a new path aims at."""

Pose = tuple[float, float, float]
"""x, y, yaw."""


@dataclass(frozen=True, eq=False)
class Path:
    """A path sampled every `step_m` of its length.

    Attributes:
        xy: [N >= 2, 2] m.
        yaw: [N] rad, unwrapped.
        curvature: [N] 1/m.
        step_m: arc length from sample to sample.
    """

    xy: Float64Array
    yaw: Float64Array
    curvature: Float64Array
    step_m: float

    def __post_init__(self) -> None:
        if len(self.xy) < 2 or not len(self.xy) == len(self.yaw) == len(self.curvature):
            raise InvalidInput(
                "path: expected two or more samples of xy, yaw and curvature alike, "
                f"got {len(self.xy)}, {len(self.yaw)}, {len(self.curvature)}"
            )
        if not self.step_m > 0:
            raise InvalidInput(f"path: step_m: expected a positive number, got {self.step_m}")

    @property
    def length_m(self) -> float:
        """Arc length from the first sample to the last."""
        return (len(self.xy) - 1) * self.step_m

    @property
    def s_m(self) -> Float64Array:
        """Arc length [N] at the samples."""
        return np.asarray(np.arange(len(self.xy)) * self.step_m, np.float64)

    def sample(self, s_m: NDArray[np.floating]) -> tuple[Float64Array, Float64Array, Float64Array]:
        """Return xy [..., 2], yaw [...] and curvature [...] at arc lengths [...], clamped to the path."""
        at = np.clip(np.asarray(s_m, np.float64) / self.step_m, 0.0, len(self.xy) - 1.0)
        low = np.minimum(at.astype(np.int64), len(self.xy) - 2)
        part = at - low
        xy = self.xy[low] + (self.xy[low + 1] - self.xy[low]) * part[..., None]
        yaw = self.yaw[low] + (self.yaw[low + 1] - self.yaw[low]) * part
        return xy, yaw, self.curvature[low] + (self.curvature[low + 1] - self.curvature[low]) * part

    def pose(self, s_m: float, offset_m: float = 0.0) -> Pose:
        """Return x, y, yaw at one arc length, `offset_m` to the left."""
        # As `sample` does, in plain numbers: traffic asks for one place at a time, ten thousands of times.
        at = min(max(s_m / self.step_m, 0.0), len(self.xy) - 1.0)
        low = min(int(at), len(self.xy) - 2)
        part = at - low
        (x, y), (next_x, next_y) = self.xy[low : low + 2].tolist()
        yaw, next_yaw = self.yaw[low : low + 2].tolist()
        x, y, yaw = x + (next_x - x) * part, y + (next_y - y) * part, yaw + (next_yaw - yaw) * part
        if offset_m:
            x, y = x - offset_m * float(np.sin(yaw)), y + offset_m * float(np.cos(yaw))
        return x, y, yaw

    @property
    def normal(self) -> Float64Array:
        """Unit vectors [N, 2] to the left."""
        return np.stack([-np.sin(self.yaw), np.cos(self.yaw)], axis=-1)

    def beside(self, offset_m: float | Float64Array) -> Float64Array:
        """Return the points [N, 2] beside the samples, `offset_m` (one or [N]) to the left."""
        return self.xy + self.normal * np.broadcast_to(offset_m, (len(self.xy),))[:, None]

    def offset(self, offset_m: float | Float64Array) -> Path:
        """Return the path beside this one; an [N] offset may vary, its slope is taken into account."""
        shift = np.broadcast_to(np.asarray(offset_m, np.float64), (len(self.xy),))
        slope = np.gradient(shift, self.step_m)
        along = 1.0 - self.curvature * shift
        if np.any(along <= 0):
            raise InvalidInput("path: expected an offset less than the radius of its curves")
        yaw = self.yaw + np.arctan2(slope, along)
        return resample(self.beside(shift), yaw)

    def part(self, from_m: float, to_m: float) -> Path:
        """Return the path between two arc lengths."""
        count = max(2, round((to_m - from_m) / STEP_M) + 1)
        xy, yaw, curvature = self.sample(np.linspace(from_m, to_m, count))
        return Path(xy, yaw, curvature, (to_m - from_m) / (count - 1))

    def reverse(self) -> Path:
        """Return the path driven the other way."""
        return Path(self.xy[::-1], self.yaw[::-1] + np.pi, -self.curvature[::-1], self.step_m)

    def project(
        self, xy: Float64Array, from_m: float = 0.0, *, to_m: float | None = None
    ) -> tuple[float, float]:
        """Return arc length and lateral offset of the point [2]'s nearest place between two arc lengths."""
        low = max(0, int(from_m / self.step_m))
        high = len(self.xy) if to_m is None else min(len(self.xy), int(to_m / self.step_m) + 2)
        low = max(0, min(low, high - 2))
        away = xy - self.xy[low:high]
        index = low + int(np.argmin(np.einsum("ij,ij->i", away, away)))
        heading = np.array([np.cos(self.yaw[index]), np.sin(self.yaw[index])])
        rest = xy - self.xy[index]
        s_m = index * self.step_m + float(heading @ rest)
        return min(max(s_m, 0.0), self.length_m), float(heading[0] * rest[1] - heading[1] * rest[0])


def from_curvature(start: Pose, pieces: Sequence[tuple[float, float, float]]) -> Path:
    """Integrate pieces (length in m, curvature at their start and end) into lines, arcs and clothoids."""
    yaw_parts: list[Float64Array] = [np.array([start[2]])]
    mid_parts: list[Float64Array] = []
    curvature_parts: list[Float64Array] = [np.array([pieces[0][1]])]
    step_m = STEP_M
    yaw = start[2]
    for length_m, first, last in pieces:
        count = max(1, round(length_m / step_m))
        s = np.asarray(np.arange(1, count + 1) * step_m, np.float64)
        middle = s - step_m / 2
        slope = (last - first) / (count * step_m)
        yaw_parts.append(yaw + first * s + slope * s * s / 2)
        mid_parts.append(yaw + first * middle + slope * middle * middle / 2)
        curvature_parts.append(np.asarray(first + slope * s, np.float64))
        yaw = float(yaw_parts[-1][-1])
    heading = np.concatenate(mid_parts)
    steps = step_m * np.stack([np.cos(heading), np.sin(heading)], axis=-1)
    xy = np.concatenate([np.zeros((1, 2)), np.cumsum(steps, axis=0)]) + np.array(start[:2])
    return Path(xy, np.concatenate(yaw_parts), np.concatenate(curvature_parts), step_m)


def resample(xy: Float64Array, yaw: Float64Array) -> Path:
    """Return the path through points [N, 2] with headings [N], sampled evenly."""
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(xy, axis=0), axis=-1))])
    count = max(2, round(length[-1] / STEP_M) + 1)
    s = np.linspace(0.0, length[-1], count)
    step_m = float(length[-1]) / (count - 1)
    even = np.stack([np.interp(s, length, xy[:, i]) for i in range(2)], axis=-1)
    heading = np.interp(s, length, np.unwrap(yaw))
    return Path(even, heading, np.gradient(heading, step_m), step_m)


def join(paths: Sequence[Path]) -> Path:
    """Return the path along `paths` one after another; each must begin where the one before ends."""
    for before, after in itertools.pairwise(paths):
        gap_m = float(np.linalg.norm(before.xy[-1] - after.xy[0]))
        if gap_m > 0.05:
            raise InvalidInput(f"path: expected parts that meet, got a gap of {gap_m:.2f} m")
    xy = np.concatenate([paths[0].xy, *(path.xy[1:] for path in paths[1:])])
    yaw = np.concatenate([paths[0].yaw, *(path.yaw[1:] for path in paths[1:])])
    return resample(xy, yaw)


def connect(start: Pose, end: Pose, *, start_curvature: float = 0.0, end_curvature: float = 0.0) -> Path:
    """Return a smooth path from pose to pose: the quintic Hermite curve of least peak curvature.

    Position, heading and curvature agree with those given at both ends; the free speed of the parameter is
    searched over a few values.
    """
    chord_m = float(np.hypot(end[0] - start[0], end[1] - start[1]))
    best: Path | None = None
    for factor in (0.9, 1.1, 1.3, 1.5, 1.7, 1.9):
        path = _quintic(start, end, factor * chord_m, (start_curvature, end_curvature))
        if best is None or np.abs(path.curvature).max() < np.abs(best.curvature).max():
            best = path
    assert best is not None
    return best


def _quintic(start: Pose, end: Pose, speed: float, curvature: tuple[float, float]) -> Path:
    u = np.linspace(0.0, 1.0, 160)[:, None]
    (p0, d0, c0), (p1, d1, c1) = (
        (
            np.array(pose[:2]),
            speed * np.array([np.cos(pose[2]), np.sin(pose[2])]),
            k * speed**2 * np.array([-np.sin(pose[2]), np.cos(pose[2])]),
        )
        for pose, k in zip((start, end), curvature, strict=True)
    )
    h0 = 1 - 10 * u**3 + 15 * u**4 - 6 * u**5
    h1 = u - 6 * u**3 + 8 * u**4 - 3 * u**5
    h2 = (u**2 - 3 * u**3 + 3 * u**4 - u**5) / 2
    h3 = (u**3 - 2 * u**4 + u**5) / 2
    h4 = -4 * u**3 + 7 * u**4 - 3 * u**5
    xy = h0 * p0 + h1 * d0 + h2 * c0 + h3 * c1 + h4 * d1 + (1 - h0) * p1
    d = np.gradient(xy, axis=0, edge_order=2)
    yaw = np.unwrap(np.arctan2(d[:, 1], d[:, 0]))
    turns = round((start[2] - yaw[0]) / (2 * np.pi))
    yaw = yaw + 2 * np.pi * turns
    yaw[0], yaw[-1] = start[2], end[2] + 2 * np.pi * round((yaw[-1] - end[2]) / (2 * np.pi))
    return resample(xy, yaw)


def smooth_step(s_m: Float64Array, from_m: float, to_m: float) -> Float64Array:
    """Return 0 before `from_m`, 1 behind `to_m`, between them a quintic with level, smooth ends."""
    u = np.clip((np.asarray(s_m, np.float64) - from_m) / (to_m - from_m), 0.0, 1.0)
    return u**3 * (10 - 15 * u + 6 * u**2)
