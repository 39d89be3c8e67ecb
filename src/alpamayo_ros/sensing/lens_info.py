"""What sensor_msgs/CameraInfo can say of a camera model: the way back from camera_info.py."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.sensing.camera_info import CameraInfo
from alpamayo_ros.sensing.camera_models import CameraModel, Fisheye, FTheta, Pinhole
from alpamayo_ros.types import InvalidInput

MAX_FIT_ERROR_PX = 0.5
_SAMPLES = 200
_GRID = 24


def camera_info_of_model(model: CameraModel) -> CameraInfo:
    """Return the CameraInfo of a camera model, for images of the model's size.

    ROS has no f-theta. Its `equidistant` (Kannala and Brandt: theta (1 + k1 theta^2 + ... + k4 theta^8)) is
    the same family of lenses: an ideal f-theta, whose radius is proportional to the angle, is one with all
    k zero; any other polynomial is fitted by least squares over the image's angles.

    Raises:
        InvalidInput: for an f-theta that no equidistant model meets within half a pixel all over the image
            (a sheared one, say).
    """
    if isinstance(model, Pinhole):
        name = "plumb_bob" if len(model.distortion) <= 5 else "rational_polynomial"
        coefficients = model.distortion if len(model.distortion) != 4 else (*model.distortion, 0.0)
        return _info(model, name, coefficients or (0.0,) * 5)
    if isinstance(model, FTheta):
        model = _equidistant(model)
    assert isinstance(model, Fisheye)
    return _info(model, "equidistant", model.distortion)


def _info(model: Pinhole | Fisheye, name: str, coefficients: tuple[float, ...]) -> CameraInfo:
    fx, fy, cx, cy = model.fx, model.fy, model.cx, model.cy
    return CameraInfo(
        width=model.width,
        height=model.height,
        distortion_model=name,
        d=tuple(coefficients),
        k=(fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0),
        p=(fx, 0.0, cx, 0.0, 0.0, fy, cy, 0.0, 0.0, 0.0, 1.0, 0.0),
    )


def _equidistant(model: FTheta) -> Fisheye:
    """Return the equidistant model nearest to an f-theta; see camera_info_of_model."""
    pixels, rays = _seen(model)
    radius = np.linalg.norm(rays[:, :2], axis=1)
    angles = np.linspace(0.0, float(np.arctan2(radius, rays[:, 2]).max()), _SAMPLES + 1)[1:]
    along_y = np.stack([np.zeros_like(angles), np.sin(angles), np.cos(angles)], axis=1)
    # Straight below the principal point lies r (d, 1): the second coordinate is the radius alone.
    distance = model.project(along_y)[0][:, 1] - model.cy
    usable = np.isfinite(distance)
    powers = angles[usable, None] ** np.array([1, 3, 5, 7, 9])
    scale = powers.max(axis=0)
    solution = np.linalg.lstsq(powers / scale, distance[usable], rcond=None)[0] / scale
    focal = float(solution[0])
    coefficients = tuple(_tidy(float(k) / focal) for k in solution[1:])
    fitted = Fisheye(
        width=model.width,
        height=model.height,
        fx=focal * model.linear_cde[0],
        fy=focal,
        cx=model.cx,
        cy=model.cy,
        distortion=coefficients,
    )
    error_px = np.linalg.norm(fitted.project(rays)[0] - pixels, axis=1)
    worst = float(np.nanmax(error_px)) if np.isfinite(error_px).all() else np.inf
    if worst > MAX_FIT_ERROR_PX:
        raise InvalidInput(
            f"camera info: expected an f-theta lens that an equidistant model meets within "
            f"{MAX_FIT_ERROR_PX:g} pixels, got one that it misses by {worst:.2f}"
        )
    return fitted


def _seen(model: FTheta) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return a grid of pixels [N, 2] up to the image's corners, and their rays [N, 3]."""
    u, v = np.meshgrid(np.linspace(0, model.width - 1, _GRID), np.linspace(0, model.height - 1, _GRID))
    pixels = np.stack([u.ravel(), v.ravel()], axis=1)
    rays, valid = model.unproject(pixels)
    return pixels[valid], rays[valid]


def _tidy(coefficient: float) -> float:
    """Return 0 for what is only the solver's rounding."""
    return 0.0 if abs(coefficient) < 1e-9 else coefficient
