"""A ribbon on the ground along a line, and the outline under which a camera sees it.

What cuts it off, in this order:

- the horizon: the ground is seen from above alone, so that a piece whose upper side faces away from the
  camera (behind a crest, or under a camera that hangs below it) is left out;
- the image plane: of a lens that sees less than 90 degrees to its axis, nothing behind the plane through
  the camera is kept, by cutting the ribbon's edge exactly there;
- the lens' own limit: what lies beyond the widest angle of the image (plus a margin) is moved onto that
  angle, straight towards the axis. Within the image nothing changes, and no pixel is ever beyond what the
  lens maps, nor far away from the image.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.sensing.camera_models import CameraModel
from alpamayo_ros.sensing.rigid import invert
from alpamayo_ros.sensing.view import View
from alpamayo_ros.types import InvalidInput

Points = NDArray[np.float64]

_NEAR_M = 0.05
_MARGIN_RAD = np.deg2rad(4.0)
_WIDE_RAD = np.deg2rad(80.0)
"""Of lenses that see this far no plane is cut off: it would be seen."""
_STEP_NEAR_M, _STEP_FAR_M = 0.25, 1.5
_NEAR_REACH_M = 12.0
_PIECE_RAD = 0.3
_MOST_PIECES = 64
_MOST_SECTIONS = 600
_SHORTEST_M = 0.5
_LENS_STEPS = 1801
_BORDER_POINTS = 24


@lru_cache(maxsize=128)
def fitted(model: CameraModel, width: int, height: int) -> CameraModel:
    """Return the model for a picture of a size: itself, or scaled where the picture was."""
    return model if (model.width, model.height) == (width, height) else model.scaled_to(width, height)


@lru_cache(maxsize=128)
def sight_rad(model: CameraModel) -> float:
    """Return the widest angle to the axis at which anything is drawn: the image's, plus a margin.

    It is never beyond what the lens maps at all.
    """
    u, v = (
        np.linspace(-0.5, model.width - 0.5, _BORDER_POINTS),
        np.linspace(-0.5, model.height - 0.5, _BORDER_POINTS),
    )
    border = [
        np.stack([x, y], axis=1)
        for x, y in (
            (u, np.full_like(u, v[0])),
            (u, np.full_like(u, v[-1])),
            (np.full_like(v, u[0]), v),
            (np.full_like(v, u[-1]), v),
        )
    ]
    rays, valid = model.unproject(np.concatenate(border))
    lens = _lens_limit_rad(model)
    if not valid.all():
        return lens
    widest = float(np.arccos(np.clip(rays[:, 2], -1.0, 1.0)).max())
    return min(widest + _MARGIN_RAD, lens)


def _lens_limit_rad(model: CameraModel) -> float:
    """Return up to which angle a lens maps all directions."""
    angles = np.linspace(0.0, np.pi, _LENS_STEPS, endpoint=False)
    mapped = np.ones(len(angles), bool)
    for turn in np.linspace(0.0, 2 * np.pi, 8, endpoint=False):
        rays = np.stack(
            [np.sin(angles) * np.cos(turn), np.sin(angles) * np.sin(turn), np.cos(angles)], axis=1
        )
        mapped &= np.isfinite(model.project(rays)[0]).all(axis=1)
    ends = np.flatnonzero(~mapped)
    last = len(angles) - 1 if not len(ends) else max(int(ends[0]) - 1, 0)
    return float(angles[last])


def resampled(line: Points, *, reach_m: float = _NEAR_REACH_M) -> Points:
    """Return a line [N, 3] in steps that are short enough for a lens to bend it, [M, 3]; the corners stay.

    Steps are 0.25 m up to `reach_m` from the rig's origin and 1.5 m beyond.
    """
    lengths = np.linalg.norm(np.diff(line, axis=0), axis=1)
    near = np.minimum(np.linalg.norm(line[:-1, :2], axis=1), np.linalg.norm(line[1:, :2], axis=1)) < reach_m
    pieces = np.ceil(lengths / np.where(near, _STEP_NEAR_M, _STEP_FAR_M)).astype(int)
    pieces = np.maximum(pieces, 1)
    if pieces.sum() > _MOST_SECTIONS:  # a line of a kilometre is shown, more coarsely
        pieces = np.maximum(pieces * _MOST_SECTIONS // int(pieces.sum()), 1)
    return _subdivided(line, pieces)


def _subdivided(line: Points, pieces: NDArray[np.int64]) -> Points:
    """Return a polyline [N, D] with each of its N - 1 edges cut into `pieces` [N - 1]."""
    start = np.repeat(np.arange(len(pieces)), pieces)
    number = np.arange(len(start)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    share = (number / pieces[start])[:, None]
    inner = line[start] + share * (line[start + 1] - line[start])
    return np.concatenate([inner, line[-1:]])


def edges(line: Points, *, width_m: float) -> tuple[Points, Points]:
    """Return the left and the right edge [N, 3] of a ribbon along a line [N, 3], level across it."""
    along = np.gradient(line[:, :2], axis=0)
    length = np.linalg.norm(along, axis=1, keepdims=True)
    # Where the line stands still (or turns back on the spot) the direction before it goes on.
    known = np.flatnonzero(length[:, 0] > 1e-6)
    if not len(known):
        along, length = np.tile([1.0, 0.0], (len(line), 1)), np.ones((len(line), 1))
    else:
        source = known[np.clip(np.searchsorted(known, np.arange(len(line)), side="right") - 1, 0, None)]
        along, length = along[source], length[source]
    along = along / length
    left = np.stack([-along[:, 1], along[:, 0], np.zeros(len(along))], axis=1)
    return line + 0.5 * width_m * left, line - 0.5 * width_m * left


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


def outlines(
    view: View, line_in_rig: NDArray[np.floating], *, width_m: float, size: tuple[int, int]
) -> list[Points]:
    """Return the outlines, in pixels, of a ribbon that lies on the ground along a line.

    Args:
        view: the camera.
        line_in_rig: [N, 3] in the rig frame at the time of the picture, m; points that are not finite are
            left out.
        width_m: how wide the ribbon is, level across the line.
        size: width and height of the picture, px.

    Returns:
        Polygons [M, 2] whose inside is the ribbon; they reach a little beyond the image, so that filling
        cuts them off at its border. None where nothing is seen.

    Raises:
        InvalidInput: for another shape, or a width that is not positive.
    """
    if not width_m > 0:
        raise InvalidInput(f"width_m: expected a positive number, got {width_m}")
    line = clean_line(line_in_rig)
    if not len(line):
        return []
    line = resampled(line)
    left, right = edges(line, width_m=width_m)
    model = fitted(view.model, *size)
    found = []
    for first, last in _runs(view, line, left):
        part = np.concatenate([left[first:last], right[first:last][::-1]])
        outline = project_polygon(view, part, model=model)
        if len(outline):
            found.append(outline)
    return found


def _runs(view: View, line: Points, left: Points) -> list[tuple[int, int]]:
    """Return the stretches [first, last) of a ribbon whose upper side faces the camera.

    A stretch ends, too, where the line has turned by a right angle since it began, so that a path which
    comes back over itself is not cancelled by itself.
    """
    along = np.diff(line, axis=0)
    normal = np.cross(along, (left - line)[:-1])
    middle = 0.5 * (line[:-1] + line[1:])
    faces = np.einsum("ij,ij->i", normal, view.rig_from_camera[:3, 3] - middle) > 0
    changes = np.flatnonzero(np.diff(faces, prepend=False, append=False))
    runs = []
    for start, stop in zip(changes[::2].tolist(), changes[1::2].tolist(), strict=True):
        while start < stop:
            turned = np.flatnonzero(along[start:stop, :2] @ along[start, :2] < 0)
            end = start + int(turned[0]) if len(turned) else stop
            runs.append((start, end + 1))
            start = end
    return runs


def project_polygon(view: View, polygon_in_rig: Points, *, model: CameraModel) -> Points:
    """Return a polygon [N, 3] of the rig frame in pixels [M, 2], cut off as this module says; M may be 0.

    Args:
        view: the camera; only its pose is used.
        polygon_in_rig: corners in order, m; at most some metres apart, flat or nearly so.
        model: the lens for the picture's size.
    """
    camera_from_rig = invert(view.rig_from_camera)
    polygon = polygon_in_rig @ camera_from_rig[:3, :3].T + camera_from_rig[:3, 3]
    sight = sight_rad(model)
    if sight < _WIDE_RAD:
        polygon = cut_at_plane(polygon, near_m=_NEAR_M)
    else:
        # What is straight behind a lens has no direction in the image.
        angle = np.arctan2(np.hypot(polygon[:, 0], polygon[:, 1]), polygon[:, 2])
        polygon = polygon[angle < 0.5 * (sight + np.pi)]
    if len(polygon) < 3:
        return np.zeros((0, 2))
    polygon = _in_small_steps(polygon)
    radius = np.hypot(polygon[:, 0], polygon[:, 1])
    beyond = np.arctan2(radius, polygon[:, 2]) > sight
    if beyond.all() and not _encircles_axis(polygon):
        return np.zeros((0, 2))
    if beyond.any():
        direction = polygon[beyond, :2] / radius[beyond, None]
        polygon[beyond, :2] = np.sin(sight) * direction
        polygon[beyond, 2] = np.cos(sight)
    pixels, _ = model.project(polygon)
    return pixels[np.isfinite(pixels).all(axis=1)]


def _in_small_steps(polygon: Points) -> Points:
    """Return a polygon [N, 3] in the camera frame with edges that are short as the camera sees them.

    So the part that is moved to the lens' limit follows it, and does not cut across the image.
    """
    closed = np.concatenate([polygon, polygon[:1]])
    step = np.diff(closed, axis=0)
    square = np.einsum("ij,ij->i", step, step)
    nearest = np.clip(-np.einsum("ij,ij->i", closed[:-1], step) / np.maximum(square, 1e-12), 0.0, 1.0)
    distance = np.linalg.norm(closed[:-1] + nearest[:, None] * step, axis=1)
    pieces = np.ceil(np.sqrt(square) / (_PIECE_RAD * np.maximum(distance, _NEAR_M))).astype(int)
    return _subdivided(closed, np.clip(pieces, 1, _MOST_PIECES))[:-1]


def _encircles_axis(polygon: Points) -> bool:
    azimuth = np.arctan2(polygon[:, 1], polygon[:, 0])
    turn = np.diff(azimuth, append=azimuth[:1])
    return bool(abs(float(np.sum((turn + np.pi) % (2 * np.pi) - np.pi))) > np.pi)


def project_points(
    view: View, points_in_rig: Points, *, model: CameraModel
) -> tuple[Points, NDArray[np.bool_]]:
    """Return pixels [N, 2] of points [N, 3] in the rig frame, m, and which of them the camera may see.

    A point may lie a little beside the image; one that is behind the camera, or beyond what its image shows
    by more than the margin, has NaN.
    """
    camera_from_rig = invert(view.rig_from_camera)
    points = points_in_rig @ camera_from_rig[:3, :3].T + camera_from_rig[:3, 3]
    angle = np.arctan2(np.hypot(points[:, 0], points[:, 1]), points[:, 2])
    pixels, _ = model.project(points)
    seen = (angle <= sight_rad(model)) & np.isfinite(pixels).all(axis=1)
    pixels[~seen] = np.nan
    return pixels, seen


def cut_at_plane(polygon_in_camera: Points, *, near_m: float) -> Points:
    """Return the part of a polygon [N, 3] with z of at least `near_m`, by Sutherland and Hodgman, [M, 3]."""
    depth = polygon_in_camera[:, 2] - near_m
    inside = depth >= 0
    if inside.all():
        return polygon_in_camera
    if not inside.any():
        return np.zeros((0, 3))
    following = np.roll(polygon_in_camera, -1, axis=0)
    crosses = inside != np.roll(inside, -1)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = depth / (depth - np.roll(depth, -1))
    met = polygon_in_camera + np.where(crosses, share, 0.0)[:, None] * (following - polygon_in_camera)
    both = np.stack([polygon_in_camera, met], axis=1).reshape(-1, 3)
    return both[np.stack([inside, crosses], axis=1).reshape(-1)]
