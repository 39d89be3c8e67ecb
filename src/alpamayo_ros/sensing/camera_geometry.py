"""What every camera model has in common: how a point in the optical frame comes to a pixel, and back.

Optical frames follow REP-103 (x right, y down, z forward). Whole-number pixel coordinates are pixel
centres. Angles are in rad, theta is the angle to the optical axis.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.sensing.polynomials import first_stationary_point
from alpamayo_ros.types import InvalidInput

Float64Array = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

_AXIS_EPS = 1e-12


@runtime_checkable
class CameraModel(Protocol):
    """A lens and a sensor of `width` x `height` pixels; immutable, so that what follows from it is kept."""

    def __hash__(self) -> int: ...

    @property
    def width(self) -> int:
        """Width of the image in pixels."""
        ...

    @property
    def height(self) -> int:
        """Height of the image in pixels."""
        ...

    def project(self, points_in_camera: Float64Array) -> tuple[Float64Array, BoolArray]:
        """Return pixels [N, 2] (u, v) of points [N, 3] in m, and which of them the image shows.

        Pixels that lie outside the image are given all the same; what the lens does not map at all is NaN.
        """
        ...

    def unproject(self, pixels: Float64Array) -> tuple[Float64Array, BoolArray]:
        """Return unit rays [N, 3] in the optical frame of pixels [N, 2], and which have one (else NaN)."""
        ...

    def scaled_to(self, width: int, height: int) -> CameraModel:
        """Return the model for the same image at another size.

        Focal lengths and the principal point scale by the ratio of the sizes, as in image_pipeline's
        CameraInfo and in AlpaSim's f-theta intrinsics; so cropped images need intrinsics of their own.
        """
        ...


def check_number(name: str, value: float, *, positive: bool = False) -> None:
    """Raise InvalidInput unless a number is finite, and positive if asked for."""
    if not np.isfinite(value) or (positive and value <= 0):
        kind = "a positive number" if positive else "a finite number"
        raise InvalidInput(f"{name}: expected {kind}, got {value}")


def check_size(width: int, height: int) -> None:
    """Raise InvalidInput unless an image's size is positive and whole."""
    for name, value in (("width", width), ("height", height)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value <= 0:
            raise InvalidInput(f"{name}: expected a positive whole number, got {value!r}")


def inside_image(pixels: Float64Array, width: int, height: int) -> BoolArray:
    """Which pixels lie on the image, whose outer pixels reach half a pixel beyond their centres."""
    with np.errstate(invalid="ignore"):
        inside = (pixels > -0.5) & (pixels < np.array([width - 0.5, height - 0.5]))
    return np.asarray(inside.all(axis=1))


def as_points(name: str, array: object, columns: int) -> Float64Array:
    """Return an array as float64 [N, columns]; raises InvalidInput for another shape."""
    points = np.asarray(array, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != columns:
        raise InvalidInput(f"{name}: expected shape [N, {columns}], got {list(points.shape)}")
    return points


def polar(points: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Return unit directions in the image plane [N, 2] (0 on the axis) and angles to the axis [N].

    The angle is NaN where there is no direction: straight behind, and at the camera's centre.
    """
    radius = np.linalg.norm(points[:, :2], axis=1)
    direction = np.zeros((len(points), 2))
    np.divide(points[:, :2], radius[:, None], out=direction, where=radius[:, None] > 0)
    theta = np.arctan2(radius, points[:, 2])
    return direction, np.where((radius > 0) | (points[:, 2] > 0), theta, np.nan)


def rays_from_polar(plane: Float64Array, theta: Float64Array) -> tuple[Float64Array, BoolArray]:
    """Return unit rays of directions in the image plane [N, 2] and angles [N] (NaN = none)."""
    radius = np.linalg.norm(plane, axis=1, keepdims=True)
    direction = np.divide(plane, radius, out=np.zeros_like(plane), where=radius > _AXIS_EPS)
    rays = np.concatenate([np.sin(theta)[:, None] * direction, np.cos(theta)[:, None]], axis=1)
    valid = np.isfinite(rays).all(axis=1)
    rays[~valid] = np.nan
    return rays, valid


def angle_limit(polynomial: tuple[float, ...], max_angle_rad: float) -> float:
    """Return where a lens ends: at its largest angle (0 = none), where its polynomial turns, or behind."""
    check_number("max_angle_rad", max_angle_rad)
    if max_angle_rad < 0:
        raise InvalidInput(f"max_angle_rad: expected zero (no limit) or more, got {max_angle_rad}")
    limit = min(np.pi, first_stationary_point(polynomial))
    return min(limit, max_angle_rad) if max_angle_rad > 0 else limit


def horizontal_fov_rad(model: CameraModel) -> float:
    """Return the angle between the left and right edge of the image along its middle row.

    Where the lens does not reach the edges (a circular fisheye) the outermost pixels that have a ray count.
    """
    columns = np.linspace(-0.5, model.width - 0.5, 257)
    row = (model.height - 1) / 2
    rays, valid = model.unproject(np.stack([columns, np.full_like(columns, row)], axis=1))
    if not valid.any():
        return 0.0
    azimuth = np.unwrap(np.arctan2(rays[valid, 0], rays[valid, 2]))
    return float(azimuth[-1] - azimuth[0])
