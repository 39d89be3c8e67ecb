"""Ribbons on the ground along lines, and the outlines under which a camera sees them.

The ground is seen from above alone: a piece of a ribbon whose upper side faces away from the camera (behind
the crest of a hill, or over a camera that hangs below it) is beyond the camera's horizon and left out. What
else cuts a ribbon off is said in polygons.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.sensing.view import View
from alpamayo_ros.types import InvalidInput
from alpamayo_ros.viz.lens_sight import Points, fitted
from alpamayo_ros.viz.polygons import Polygons, project_polygons

_STEP_NEAR_M, _STEP_FAR_M = 0.25, 1.5
_NEAR_REACH_M = 12.0
_MOST_SECTIONS = 600
_SHORTEST_M = 0.5


def clean_line(line_in_rig: NDArray[np.floating]) -> Points:
    """Return a line's finite points without repeated ones, float64 [N, 3]; N is 0 where it has no length.

    Raises:
        InvalidInput: for another shape than [N, 3].
    """
    line = np.asarray(line_in_rig, np.float64)
    if line.ndim != 2 or line.shape[1] != 3:
        raise InvalidInput(f"line_in_rig: expected shape [N, 3], got {list(line.shape)}")
    line = line[np.isfinite(line).all(axis=1)]
    if len(line) > 1:
        apart = np.linalg.norm(np.diff(line, axis=0), axis=1) > 1e-4
        line = line[np.concatenate([[True], apart])]
    if len(line) < 2 or float(np.linalg.norm(np.ptp(line, axis=0))) < _SHORTEST_M:
        return np.zeros((0, 3))
    return line


def resampled(line: Points, *, coarse: float = 1.0) -> Points:
    """Return a line [N, 3] in steps that are short enough for a lens to bend it, [M, 3]; the corners stay.

    Steps are 0.25 m up to 12 m from the frame's origin and 1.5 m beyond, times `coarse`; longer ones on a
    line that would have more than 600.
    """
    steps = np.diff(line, axis=0)
    lengths = np.linalg.norm(steps, axis=1)
    distance = np.linalg.norm(line[:, :2], axis=1)
    near = np.minimum(distance[:-1], distance[1:]) < _NEAR_REACH_M
    steps_m = coarse * np.where(near, _STEP_NEAR_M, _STEP_FAR_M)
    pieces = np.maximum(np.ceil(lengths / steps_m).astype(np.int64), 1)
    total = int(pieces.sum())
    if total > _MOST_SECTIONS:
        pieces = np.maximum(pieces * _MOST_SECTIONS // total, 1)
    start = np.repeat(np.arange(len(pieces)), pieces)
    number = np.arange(len(start)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    inner = line[start] + (number / pieces[start])[:, None] * steps[start]
    return np.concatenate([inner, line[-1:]])


def headings(line: Points) -> Points:
    """Return unit vectors [N, 2] along a line [N, 3], in the ground plane.

    Where the line stands still (or turns back on the spot) the direction before it goes on.
    """
    if len(line) < 2:
        return np.tile([1.0, 0.0], (len(line), 1))
    along = np.gradient(line[:, :2], axis=0)
    length = np.linalg.norm(along, axis=1, keepdims=True)
    known = np.flatnonzero(length[:, 0] > 1e-6)
    if not len(known):
        return np.tile([1.0, 0.0], (len(line), 1))
    source = known[np.clip(np.searchsorted(known, np.arange(len(line)), side="right") - 1, 0, None)]
    return np.asarray(along[source] / length[source])


def level_rotations(line: Points) -> NDArray[np.float64]:
    """Return rotations [N, 3, 3] of level frames whose x is along a line [N, 3]."""
    rotation = np.zeros((len(line), 3, 3))
    c, s = headings(line).T
    rotation[:, 0, 0] = rotation[:, 1, 1] = c
    rotation[:, 1, 0], rotation[:, 0, 1] = s, -s
    rotation[:, 2, 2] = 1.0
    return rotation


def edges(line: Points, *, width_m: float) -> tuple[Points, Points]:
    """Return the left and the right edge [N, 3] of a ribbon along a line [N, 3], level across it."""
    along = headings(line)
    left = np.stack([-along[:, 1], along[:, 0], np.zeros(len(along))], axis=1)
    return line + 0.5 * width_m * left, line - 0.5 * width_m * left


@dataclass(frozen=True, eq=False)
class Ribbons:
    """Ribbons that lie on the ground along lines; made once, seen by any number of cameras.

    Attributes:
        left, right: edges [N, 3] of each, m, in short steps.
    """

    left: tuple[Points, ...]
    right: tuple[Points, ...]

    @classmethod
    def along(
        cls, lines_in_rig: Sequence[NDArray[np.floating]], *, width_m: float, coarse: float = 1.0
    ) -> Ribbons:
        """Return ribbons along lines [N, 3] in m; points that are not finite are left out.

        A line of less than half a metre has none. `coarse` is as of resampled(), for thin ribbons.

        Raises:
            InvalidInput: for another shape, or a width that is not positive.
        """
        if not width_m > 0:
            raise InvalidInput(f"width_m: expected a positive number, got {width_m}")
        lines = [line for line in map(clean_line, lines_in_rig) if len(line)]
        both = [edges(resampled(line, coarse=coarse), width_m=width_m) for line in lines]
        return cls(tuple(left for left, _ in both), tuple(right for _, right in both))

    @classmethod
    def together(cls, parts: Sequence[Ribbons]) -> Ribbons:
        """Return all ribbons of several, numbered on: what is projected at once costs less."""
        return cls(
            tuple(left for part in parts for left in part.left),
            tuple(right for part in parts for right in part.right),
        )

    def __len__(self) -> int:
        return len(self.left)

    @cached_property
    def _cells(self) -> tuple[Points, Points, NDArray[np.int64]]:
        """Middles and upward normals [C, 3] of the pieces of all ribbons, and where each ribbon's begin."""
        middles, normals = [], []
        for left, right in zip(self.left, self.right, strict=True):
            line = 0.5 * (left + right)
            middles.append(0.5 * (line[:-1] + line[1:]))
            normals.append(np.cross(np.diff(line, axis=0), (left - line)[:-1]))
        begins = np.cumsum([0, *(len(each) for each in middles)])
        return np.concatenate(middles), np.concatenate(normals), begins

    @cached_property
    def _turns(self) -> tuple[tuple[int, ...], ...]:
        """Where each ribbon has turned by a right angle since it began, or since it last had.

        It is cut there, so that a path which comes back over itself does not cancel itself.
        """
        found = []
        for left, right in zip(self.left, self.right, strict=True):
            along = np.diff(0.5 * (left + right), axis=0)[:, :2]
            cuts, start = [], 0
            while True:
                turned = np.flatnonzero(along[start:] @ along[start] < 0)
                if not len(turned):
                    break
                start += int(turned[0])
                cuts.append(start)
            found.append(tuple(cuts))
        return tuple(found)

    @cached_property
    def _whole(self) -> tuple[Polygons, tuple[int, ...]]:
        return self._polygons(
            [
                (number, first, last + 1)
                for number, cuts in enumerate(self._turns)
                for first, last in pairwise((0, *cuts, len(self.left[number]) - 1))
            ]
        )

    def _polygons(self, runs: Sequence[tuple[int, int, int]]) -> tuple[Polygons, tuple[int, ...]]:
        """Return stretches (ribbon, first, last) as polygons, and each one's ribbon."""
        polygons = [
            np.concatenate([self.left[number][first:last], self.right[number][first:last][::-1]])
            for number, first, last in runs
        ]
        return Polygons.of(polygons), tuple(number for number, _, _ in runs)

    def outlines(self, view: View, *, size: tuple[int, int]) -> list[Points]:
        """Return numbered_outlines() of all ribbons."""
        return [outline for _, outline in self.numbered_outlines(view, size=size)]

    def numbered_outlines(self, view: View, *, size: tuple[int, int]) -> list[tuple[int, Points]]:
        """Return the ribbons' outlines as a camera sees them, in pixels, with the number of the ribbon.

        Args:
            view: the camera, its pose in the frame of the lines.
            size: width and height of the picture, px.

        Returns:
            Polygons [M, 2] whose inside is the ribbon; they reach a little beyond the image, so that filling
            cuts them off at its border. None where nothing is seen.
        """
        if not self.left:
            return []
        middles, normals, begins = self._cells
        faces = np.einsum("ij,ij->i", normals, view.rig_from_camera[:3, 3] - middles) > 0
        if faces.all():
            polygons, numbers = self._whole
        else:
            runs = [
                (number, first, last)
                for number, begin in enumerate(begins[:-1].tolist())
                for first, last in _runs(faces[begin : begins[number + 1]], self._turns[number])
            ]
            if not runs:
                return []
            polygons, numbers = self._polygons(runs)
        found = project_polygons(view, polygons, model=fitted(view.model, *size))
        return [(numbers[index], outline) for index, outline in found.items()]


def _runs(faces: NDArray[np.bool_], cuts: tuple[int, ...]) -> list[tuple[int, int]]:
    """Return the stretches of sections [first, last) between which all pieces face the camera."""
    changes = np.flatnonzero(np.diff(faces, prepend=False, append=False)).tolist()
    runs = []
    for start, stop in zip(changes[::2], changes[1::2], strict=True):
        bounds = [start, *(cut for cut in cuts if start < cut < stop), stop]
        runs += [(first, last + 1) for first, last in pairwise(bounds)]
    return runs
