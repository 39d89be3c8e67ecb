"""How far to the side a camera's picture shows anything, and single points in it."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.sensing.camera_models import CameraModel
from alpamayo_ros.sensing.rigid import invert
from alpamayo_ros.sensing.view import View

Points = NDArray[np.float64]

_MARGIN_RAD = np.deg2rad(4.0)
_LENS_STEPS = 1801
_LENS_DIRECTIONS = 8
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
    u = np.linspace(-0.5, model.width - 0.5, _BORDER_POINTS)
    v = np.linspace(-0.5, model.height - 0.5, _BORDER_POINTS)
    border = [np.stack([u, np.full_like(u, end)], axis=1) for end in (v[0], v[-1])]
    border += [np.stack([np.full_like(v, end), v], axis=1) for end in (u[0], u[-1])]
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
    for turn in np.linspace(0.0, 2 * np.pi, _LENS_DIRECTIONS, endpoint=False):
        across = np.sin(angles)
        rays = np.stack([across * np.cos(turn), across * np.sin(turn), np.cos(angles)], axis=1)
        mapped &= np.isfinite(model.project(rays)[0]).all(axis=1)
    ends = np.flatnonzero(~mapped)
    last = max(int(ends[0]) - 1, 0) if len(ends) else len(angles) - 1
    return float(angles[last])


def angle_to_axis(points_in_camera: Points) -> NDArray[np.float64]:
    """Return the angles [N] between points [N, 3] and the optical axis, rad."""
    return np.asarray(
        np.arctan2(np.hypot(points_in_camera[:, 0], points_in_camera[:, 1]), points_in_camera[:, 2])
    )


def project_points(
    view: View, points_in_rig: Points, *, model: CameraModel
) -> tuple[Points, NDArray[np.bool_]]:
    """Return pixels [N, 2] of points [N, 3] in the rig frame, m, and which of them the camera may see.

    A point may lie a little beside the image; one that is behind the camera, or beyond what its image shows
    by more than the margin, has NaN.
    """
    camera_from_rig = invert(view.rig_from_camera)
    points = points_in_rig @ camera_from_rig[:3, :3].T + camera_from_rig[:3, 3]
    pixels, _ = model.project(points)
    seen = (angle_to_axis(points) <= sight_rad(model)) & np.isfinite(pixels).all(axis=1)
    pixels[~seen] = np.nan
    return pixels, seen
