"""Polygons in space as a camera sees them, many at once: cut off where the camera ends.

- The image plane: of a lens that sees less than 80 degrees to its axis, nothing behind the plane through the
  camera is kept; of a wider one nothing about straight behind it. The polygon is cut exactly there.
- The lens' own limit: what lies beyond the widest angle of the image (plus a margin) is moved onto that
  angle, straight towards the axis. Within the image nothing changes, and no pixel is ever beyond what the
  lens maps, nor far away from the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.sensing.camera_models import CameraModel
from alpamayo_ros.sensing.rigid import invert
from alpamayo_ros.sensing.view import View
from alpamayo_ros.viz.lens_sight import Points, angle_to_axis, sight_rad

_NEAR_M = 0.05
_WIDE_RAD = np.deg2rad(80.0)
"""Of lenses that see this far no plane is cut off: it would be seen."""
_PIECE_RAD = 0.1
"""A straight edge of a thousand pixels a radian, bent by the lens, is met within half a pixel."""
_PIECE_BEYOND_RAD = 0.3
_MOST_PIECES = 64


@dataclass(frozen=True, eq=False)
class Polygons:
    """Polygons one after the other: corners [N, 3], and to which polygon each belongs [N], rising from 0."""

    corners: Points
    owner: NDArray[np.int64]

    @classmethod
    def of(cls, polygons: Sequence[Points]) -> Polygons:
        """Return polygons [N, 3] as one object; raises ValueError for none."""
        return cls(
            np.concatenate(polygons), np.repeat(np.arange(len(polygons)), [len(each) for each in polygons])
        )

    def following(self) -> NDArray[np.int64]:
        """Return the index [N] of each corner's next one, round each polygon."""
        index = np.arange(1, len(self.owner) + 1)
        last = np.flatnonzero(np.diff(self.owner, append=-1))
        index[last] = np.concatenate([[0], last[:-1] + 1])
        return index

    def kept(self, which: NDArray[np.bool_]) -> Polygons:
        """Return the polygons without some of their corners."""
        return Polygons(self.corners[which], self.owner[which])


def project_polygons(view: View, polygons: Polygons, *, model: CameraModel) -> dict[int, Points]:
    """Return polygons of the rig frame in pixels [M, 2], by number; those that are not seen are left out.

    They reach a little beyond the image, so that filling cuts them off at its border.

    Args:
        view: the camera; only its pose is used.
        polygons: corners in m, flat or nearly so.
        model: the lens for the picture's size.
    """
    camera_from_rig = invert(view.rig_from_camera)
    corners = polygons.corners @ camera_from_rig[:3, :3].T + camera_from_rig[:3, 3]
    polygons = Polygons(corners, polygons.owner)
    sight = sight_rad(model)
    if sight < _WIDE_RAD:
        polygons = cut_at_plane(polygons, near_m=_NEAR_M)
    else:
        # What is straight behind a lens has no direction in the image.
        behind_rad = 0.5 * (sight + np.pi)
        behind = angle_to_axis(corners) > behind_rad
        if behind.any():
            polygons, behind = with_crossings(polygons, behind, behind_rad)
            polygons = polygons.kept(~behind)
    if not len(polygons.corners):
        return {}
    polygons = polygons.kept(np.bincount(polygons.owner)[polygons.owner] > 2)
    if not len(polygons.corners):
        return {}
    polygons = _worth_drawing(in_small_steps(polygons, sight), sight)
    corners, owner = polygons.corners, polygons.owner
    if not len(corners):
        return {}
    beyond = angle_to_axis(corners) > sight
    if beyond.any():
        polygons, beyond = with_crossings(polygons, beyond, sight)
        corners, owner = polygons.corners, polygons.owner
        outer = corners[beyond, :2]
        corners[beyond, :2] = np.sin(sight) * outer / np.linalg.norm(outer, axis=1, keepdims=True)
        corners[beyond, 2] = np.cos(sight)
    pixels, _ = model.project(corners)
    known = np.isfinite(pixels).all(axis=1)
    pixels, owner = pixels[known], owner[known]
    parts = np.split(pixels, np.flatnonzero(np.diff(owner)) + 1)
    names = owner[np.concatenate([[0], np.flatnonzero(np.diff(owner)) + 1])] if len(owner) else owner
    return {int(name): part for name, part in zip(names, parts, strict=False) if len(part) > 2}


def cut_at_plane(polygons: Polygons, *, near_m: float) -> Polygons:
    """Return the parts of polygons with z of at least `near_m`, after Sutherland and Hodgman."""
    depth = polygons.corners[:, 2] - near_m
    inside = depth >= 0
    if inside.all():
        return polygons
    if not inside.any():
        return polygons.kept(inside)
    following = polygons.following()
    crosses = inside != inside[following]
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(crosses, depth / (depth - depth[following]), 0.0)
    met = polygons.corners + share[:, None] * (polygons.corners[following] - polygons.corners)
    kept = np.stack([inside, crosses], axis=1).reshape(-1)
    both = np.stack([polygons.corners, met], axis=1).reshape(-1, 3)
    return Polygons(both[kept], np.repeat(polygons.owner, 2)[kept])


def in_small_steps(polygons: Polygons, sight: float) -> Polygons:
    """Return polygons in the camera frame with edges that are short as the camera sees them.

    So a lens bends them, and the part that is moved to the lens' limit follows it and does not cut across the
    image; there longer ones do.
    """
    start, following = polygons.corners, polygons.following()
    step = start[following] - start
    beyond = angle_to_axis(start) > sight
    piece_rad = np.where(beyond & beyond[following], _PIECE_BEYOND_RAD, _PIECE_RAD)
    square = np.einsum("ij,ij->i", step, step)
    nearest = np.clip(-np.einsum("ij,ij->i", start, step) / np.maximum(square, 1e-12), 0.0, 1.0)
    place = start + nearest[:, None] * step
    distance = np.sqrt(np.einsum("ij,ij->i", place, place))
    pieces = np.ceil(np.sqrt(square) / (piece_rad * np.maximum(distance, _NEAR_M)))
    pieces = np.clip(pieces, 1, _MOST_PIECES).astype(np.int64)
    if pieces.max() == 1:
        return polygons
    edge = np.repeat(np.arange(len(start)), pieces)
    number = np.arange(len(edge)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    share = number / pieces[edge]
    return Polygons(start[edge] + share[:, None] * step[edge], polygons.owner[edge])


def with_crossings(
    polygons: Polygons, beyond: NDArray[np.bool_], sight: float
) -> tuple[Polygons, NDArray[np.bool_]]:
    """Return polygons with a corner more where an edge crosses the cone of an angle, and their `beyond`.

    So an edge is straight up to the lens' limit. On the cone |xy| cos = z sin: quadratic along an edge.
    """
    following = polygons.following()
    crosses = np.flatnonzero(beyond != beyond[following])
    start = polygons.corners[crosses]
    step = polygons.corners[following[crosses]] - start
    weight = np.array([np.cos(sight) ** 2, np.cos(sight) ** 2, -(np.sin(sight) ** 2)])
    a, b, c = (step * step) @ weight, (start * step) @ weight, (start * start) @ weight
    root = np.sqrt(np.maximum(b * b - a * c, 0.0))
    # Whichever is stable: q has no difference of nearly equal numbers. One of the two lies on the edge.
    q = -(b + np.where(b < 0, -root, root))
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = np.nan_to_num(np.stack([q / a, c / q]), nan=-1.0, posinf=-1.0, neginf=-1.0)
    places = start + shares[..., None] * step
    error = np.abs(np.arctan2(np.hypot(places[..., 0], places[..., 1]), places[..., 2]) - sight)
    error[(shares < 0) | (shares > 1)] = np.inf
    met = places[np.argmin(error, axis=0), np.arange(len(crosses))]
    lost = ~np.isfinite(error.min(axis=0))  # an edge that only grazes the cone, to rounding
    met[lost] = start[lost]
    at = crosses + 1
    return (
        Polygons(
            np.insert(polygons.corners, at, met, axis=0),
            np.insert(polygons.owner, at, polygons.owner[crosses]),
        ),
        np.insert(beyond, at, False),
    )


def _worth_drawing(polygons: Polygons, sight: float) -> Polygons:
    """Leave out the polygons that are beyond the lens' sight as a whole, unless they go around all of it."""
    beyond = angle_to_axis(polygons.corners) > sight
    seen = np.bincount(polygons.owner, weights=~beyond) > 0
    if not seen.all():
        azimuth = np.arctan2(polygons.corners[:, 1], polygons.corners[:, 0])
        turn = azimuth[polygons.following()] - azimuth
        turn = (turn + np.pi) % (2 * np.pi) - np.pi
        seen |= np.abs(np.bincount(polygons.owner, weights=turn)) > np.pi
    return polygons.kept(seen[polygons.owner])
