"""Camera models: how a point in the camera's optical frame comes to a pixel, and back.

Optical frames follow REP-103 (x right, y down, z forward). Whole-number pixel coordinates are pixel
centres. Angles are in rad, theta is the angle to the optical axis.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.sensing.polynomials import first_stationary_point, invert_monotonic
from alpamayo_ros.types import InvalidInput

Float64Array = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

_AXIS_EPS = 1e-12
_CONVERGED = 1e-9


@runtime_checkable
class CameraModel(Protocol):
    """A lens and a sensor of `width` x `height` pixels."""

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
        """Return unit rays [N, 3] in the optical frame of pixels [N, 2], and where there is one (else NaN)."""
        ...

    def scaled_to(self, width: int, height: int) -> CameraModel:
        """Return the model for the same image at another size.

        Focal lengths and the principal point scale by the ratio of the sizes, as in image_pipeline's
        CameraInfo and in AlpaSim's f-theta intrinsics; so cropped images need intrinsics of their own.
        """
        ...


def _check(name: str, value: float, *, positive: bool = False) -> None:
    if not np.isfinite(value) or (positive and value <= 0):
        kind = "a positive number" if positive else "a finite number"
        raise InvalidInput(f"{name}: expected {kind}, got {value}")


def _check_size(width: int, height: int) -> None:
    for name, value in (("width", width), ("height", height)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value <= 0:
            raise InvalidInput(f"{name}: expected a positive whole number, got {value!r}")


def _inside(pixels: Float64Array, width: int, height: int) -> BoolArray:
    """Which pixels lie on the image, whose outer pixels reach half a pixel beyond their centres."""
    with np.errstate(invalid="ignore"):
        inside = (pixels > -0.5) & (pixels < np.array([width - 0.5, height - 0.5]))
    return np.asarray(inside.all(axis=1))


def _as_points(name: str, array: object, columns: int) -> Float64Array:
    points = np.asarray(array, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != columns:
        raise InvalidInput(f"{name}: expected shape [N, {columns}], got {list(points.shape)}")
    return points


@dataclass(frozen=True)
class Pinhole:
    """A pinhole camera with the distortion of Brown and Conrady, OpenCV's and ROS' plumb_bob and rational_polynomial.

    Attributes:
        width, height: image size in pixels.
        fx, fy, cx, cy: focal lengths and principal point in pixels.
        distortion: k1, k2, p1, p2[, k3[, k4, k5, k6[, s1, s2, s3, s4]]] as in OpenCV's calibration
            module; missing ones are zero.

    Raises:
        InvalidInput: for non-finite or non-positive numbers, or another number of coefficients.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    distortion: tuple[float, ...] = ()
    _max_radius: float = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_size(self.width, self.height)
        for name in ("fx", "fy"):
            _check(name, getattr(self, name), positive=True)
        for name in ("cx", "cy"):
            _check(name, getattr(self, name))
        if len(self.distortion) not in (0, 4, 5, 8, 12):
            raise InvalidInput(
                f"distortion: expected 0, 4, 5, 8 or 12 coefficients (k1 k2 p1 p2 k3 k4 k5 k6 s1 s2 s3 s4), "
                f"got {len(self.distortion)}"
            )
        for index, value in enumerate(self.distortion):
            _check(f"distortion[{index}]", value)
        object.__setattr__(self, "distortion", tuple(float(d) for d in self.distortion))
        # Behind the radius where the distortion turns back, far points would appear inside the image again.
        numerator, denominator = self._radial()
        object.__setattr__(self, "_max_radius", first_stationary_point(numerator, denominator))

    def _coefficients(self) -> tuple[float, ...]:
        return self.distortion + (0.0,) * (12 - len(self.distortion))

    def _radial(self) -> tuple[list[float], list[float]]:
        """Return the distorted radius as a ratio of two polynomials in the radius, lowest power first."""
        k1, k2, _, _, k3, k4, k5, k6 = self._coefficients()[:8]
        return [0, 1, 0, k1, 0, k2, 0, k3], [1, 0, k4, 0, k5, 0, k6]

    def _distort(self, x: Float64Array, y: Float64Array) -> tuple[Float64Array, Float64Array]:
        k1, k2, p1, p2, k3, k4, k5, k6, s1, s2, s3, s4 = self._coefficients()
        r2 = x * x + y * y
        radial = (1 + r2 * (k1 + r2 * (k2 + r2 * k3))) / (1 + r2 * (k4 + r2 * (k5 + r2 * k6)))
        xd = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x) + s1 * r2 + s2 * r2 * r2
        yd = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y + s3 * r2 + s4 * r2 * r2
        return xd, yd

    def project(self, points_in_camera: Float64Array) -> tuple[Float64Array, BoolArray]:
        """See CameraModel.project."""
        points = _as_points("points_in_camera", points_in_camera, 3)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            x, y = points[:, 0] / points[:, 2], points[:, 1] / points[:, 2]
            mapped = (points[:, 2] > 0) & (np.hypot(x, y) < self._max_radius)
            xd, yd = self._distort(x, y)
        pixels = np.stack([self.fx * xd + self.cx, self.fy * yd + self.cy], axis=1)
        pixels[~mapped] = np.nan
        return pixels, mapped & _inside(pixels, self.width, self.height)

    def unproject(self, pixels: Float64Array) -> tuple[Float64Array, BoolArray]:
        """See CameraModel.unproject; the distortion is inverted by Newton's method."""
        pixels = _as_points("pixels", pixels, 2)
        xd, yd = (pixels[:, 0] - self.cx) / self.fx, (pixels[:, 1] - self.cy) / self.fy
        x, y = xd, yd
        valid = np.isfinite(xd) & np.isfinite(yd)
        if any(self.distortion):
            x, y, converged = self._undistort(xd, yd)
            valid &= converged
        rays = np.stack([x, y, np.ones_like(x)], axis=1)
        rays /= np.linalg.norm(rays, axis=1, keepdims=True)
        rays[~valid] = np.nan
        return rays, valid

    def _undistort(self, xd: Float64Array, yd: Float64Array) -> tuple[Float64Array, Float64Array, BoolArray]:
        numerator, denominator = self._radial()
        radius_d = np.hypot(xd, yd)
        radius = invert_monotonic(numerator, radius_d, upper=self._max_radius, denominator=denominator)
        start = np.divide(radius, radius_d, out=np.ones_like(radius), where=radius_d > _AXIS_EPS)
        start = np.where(np.isfinite(start), start, 1.0)
        x, y = xd * start, yd * start
        step = 1e-6
        _, _, p1, p2, _, _, _, _, *prism = self._coefficients()
        rounds = 12 if any((p1, p2, *prism)) else 0  # purely radial distortion is inverted already
        with np.errstate(all="ignore"):
            for _ in range(rounds):
                fx, fy = self._distort(x, y)
                ex, ey = fx - xd, fy - yd
                error = np.hypot(ex, ey)
                if not (error[np.isfinite(error)] > _CONVERGED).any():
                    break
                ax, ay = self._distort(x + step, y)
                bx, by = self._distort(x, y + step)
                a, c = (ax - fx) / step, (ay - fy) / step
                b, d = (bx - fx) / step, (by - fy) / step
                determinant = a * d - b * c
                x = x - (d * ex - b * ey) / determinant
                y = y - (a * ey - c * ex) / determinant
            fx, fy = self._distort(x, y)
            converged = (np.hypot(fx - xd, fy - yd) < 1e-7) & (np.hypot(x, y) < self._max_radius)
        return x, y, converged

    def scaled_to(self, width: int, height: int) -> Pinhole:
        """See CameraModel.scaled_to."""
        sx, sy = width / self.width, height / self.height
        return replace(
            self, width=width, height=height, fx=self.fx * sx, fy=self.fy * sy, cx=self.cx * sx, cy=self.cy * sy
        )


@dataclass(frozen=True)
class Fisheye:
    """The fisheye of Kannala and Brandt with four coefficients, OpenCV's cv::fisheye and ROS' equidistant.

    theta_d = theta (1 + k1 theta^2 + k2 theta^4 + k3 theta^6 + k4 theta^8), u = fx theta_d x / |xy| + cx. Angles beyond
    90 degrees are mapped too (OpenCV's own projection divides by z and cannot), up to max_angle_rad or
    to where the polynomial turns back.

    Raises:
        InvalidInput: for non-finite or non-positive numbers, or a number of coefficients other than 4.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    distortion: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0)
    max_angle_rad: float = 0.0
    _polynomial: tuple[float, ...] = field(init=False, repr=False, compare=False)
    _limit_rad: float = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_size(self.width, self.height)
        for name in ("fx", "fy"):
            _check(name, getattr(self, name), positive=True)
        for name in ("cx", "cy"):
            _check(name, getattr(self, name))
        if len(self.distortion) != 4:
            raise InvalidInput(f"distortion: expected 4 coefficients (k1 k2 k3 k4), got {len(self.distortion)}")
        for index, value in enumerate(self.distortion):
            _check(f"distortion[{index}]", value)
        object.__setattr__(self, "distortion", tuple(float(d) for d in self.distortion))
        k1, k2, k3, k4 = self.distortion
        object.__setattr__(self, "_polynomial", (0.0, 1.0, 0.0, k1, 0.0, k2, 0.0, k3, 0.0, k4))
        object.__setattr__(self, "_limit_rad", _angle_limit(self._polynomial, self.max_angle_rad))

    def project(self, points_in_camera: Float64Array) -> tuple[Float64Array, BoolArray]:
        """See CameraModel.project."""
        points = _as_points("points_in_camera", points_in_camera, 3)
        direction, theta = _polar(points)
        radius = np.polynomial.polynomial.polyval(theta, self._polynomial)
        pixels = radius[:, None] * direction * (self.fx, self.fy) + (self.cx, self.cy)
        mapped = (theta <= self._limit_rad) & (np.abs(points).max(axis=1, initial=0) > 0)
        pixels[~mapped] = np.nan
        return pixels, mapped & _inside(pixels, self.width, self.height)

    def unproject(self, pixels: Float64Array) -> tuple[Float64Array, BoolArray]:
        """See CameraModel.unproject."""
        pixels = _as_points("pixels", pixels, 2)
        plane = (pixels - (self.cx, self.cy)) / (self.fx, self.fy)
        theta = invert_monotonic(self._polynomial, np.linalg.norm(plane, axis=1), upper=self._limit_rad)
        return _rays(plane, theta)

    def scaled_to(self, width: int, height: int) -> Fisheye:
        """See CameraModel.scaled_to."""
        sx, sy = width / self.width, height / self.height
        return replace(
            self, width=width, height=height, fx=self.fx * sx, fy=self.fy * sy, cx=self.cx * sx, cy=self.cy * sy
        )


@dataclass(frozen=True)
class FTheta:
    """NVIDIA's f-theta camera, as AlpaSim's sensorsim protocol describes it.

    theta = atan2(|xy|, z), r = sum of angle_to_pixeldist[i] theta^i, and
    (u, v) = [[c, d], [e, 1]] (x, y) / |xy| r + (cx, cy).

    Attributes:
        width, height: image size in pixels; cx, cy: principal point in pixels.
        angle_to_pixeldist, pixeldist_to_angle: polynomials, lowest power first. Only one is exact, the
            other an approximation of its inverse and not needed here: that one is inverted numerically.
        reference: which of the two is exact, "angle_to_pixeldist" or "pixeldist_to_angle".
        linear_cde: c, d, e; a shear and stretch of the image plane.
        max_angle_rad: nothing is mapped beyond this angle; 0 means no limit of its own.

    Raises:
        InvalidInput: for non-finite numbers, a missing or falling exact polynomial, or a singular c, d, e.
    """

    width: int
    height: int
    cx: float
    cy: float
    angle_to_pixeldist: tuple[float, ...] = ()
    pixeldist_to_angle: tuple[float, ...] = ()
    reference: str = "angle_to_pixeldist"
    linear_cde: tuple[float, float, float] = (1.0, 0.0, 0.0)
    max_angle_rad: float = 0.0
    _limit_rad: float = field(init=False, repr=False, compare=False)
    _limit_px: float = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_size(self.width, self.height)
        for name in ("cx", "cy", "max_angle_rad"):
            _check(name, getattr(self, name))
        if self.reference not in ("angle_to_pixeldist", "pixeldist_to_angle"):
            raise InvalidInput(
                f"reference: expected angle_to_pixeldist or pixeldist_to_angle, got {self.reference!r}"
            )
        for name in ("angle_to_pixeldist", "pixeldist_to_angle", "linear_cde"):
            values = tuple(float(v) for v in getattr(self, name))
            for index, value in enumerate(values):
                _check(f"{name}[{index}]", value)
            object.__setattr__(self, name, values)
        if len(self.linear_cde) != 3:
            raise InvalidInput(f"linear_cde: expected c, d, e, got {len(self.linear_cde)} numbers")
        exact = self._exact
        if len(exact) < 2 or exact[1] <= 0 or abs(exact[0]) > 1e-9:
            raise InvalidInput(
                f"{self.reference}: expected a polynomial (lowest power first) that begins with 0 and then rises, "
                f"got {list(exact)}"
            )
        c, d, e = self.linear_cde
        if abs(c - d * e) < 1e-6:
            raise InvalidInput(f"linear_cde: expected [[c, d], [e, 1]] that can be inverted, got c, d, e = {c, d, e}")
        self._set_limits()

    @property
    def _exact(self) -> tuple[float, ...]:
        return self.angle_to_pixeldist if self.reference == "angle_to_pixeldist" else self.pixeldist_to_angle

    def _set_limits(self) -> None:
        if self.reference == "angle_to_pixeldist":
            limit_rad, limit_px = _angle_limit(self._exact, self.max_angle_rad), np.inf
        else:
            limit_px = first_stationary_point(self._exact)
            turn_rad = float(np.polynomial.polynomial.polyval(limit_px, self._exact)) if np.isfinite(limit_px) else np.pi
            limit_rad = min(turn_rad, np.pi, self.max_angle_rad if self.max_angle_rad > 0 else np.pi)
        object.__setattr__(self, "_limit_rad", limit_rad)
        object.__setattr__(self, "_limit_px", limit_px)

    @property
    def _linear(self) -> Float64Array:
        c, d, e = self.linear_cde
        return np.array([[c, d], [e, 1.0]])

    def project(self, points_in_camera: Float64Array) -> tuple[Float64Array, BoolArray]:
        """See CameraModel.project."""
        points = _as_points("points_in_camera", points_in_camera, 3)
        direction, theta = _polar(points)
        if self.reference == "angle_to_pixeldist":
            radius = np.polynomial.polynomial.polyval(theta, self._exact)
        else:
            radius = invert_monotonic(self._exact, theta, upper=self._limit_px)
        pixels = (radius[:, None] * direction) @ self._linear.T + (self.cx, self.cy)
        mapped = (theta <= self._limit_rad) & np.isfinite(radius) & (np.abs(points).max(axis=1, initial=0) > 0)
        pixels[~mapped] = np.nan
        return pixels, mapped & _inside(pixels, self.width, self.height)

    def unproject(self, pixels: Float64Array) -> tuple[Float64Array, BoolArray]:
        """See CameraModel.unproject."""
        pixels = _as_points("pixels", pixels, 2)
        plane = (pixels - (self.cx, self.cy)) @ np.linalg.inv(self._linear).T
        radius = np.linalg.norm(plane, axis=1)
        if self.reference == "angle_to_pixeldist":
            theta = invert_monotonic(self._exact, radius, upper=self._limit_rad)
        else:
            theta = np.polynomial.polynomial.polyval(radius, self._exact)
            theta = np.where((radius < self._limit_px) & (theta <= self._limit_rad), theta, np.nan)
        return _rays(plane, theta)

    def scaled_to(self, width: int, height: int) -> FTheta:
        """See CameraModel.scaled_to: the polynomial scales by the height's ratio, c and d make up the width's."""
        sx, sy = width / self.width, height / self.height
        c, d, e = self.linear_cde
        return replace(
            self,
            width=width,
            height=height,
            cx=self.cx * sx,
            cy=self.cy * sy,
            angle_to_pixeldist=tuple(a * sy for a in self.angle_to_pixeldist),
            pixeldist_to_angle=tuple(a / sy**i for i, a in enumerate(self.pixeldist_to_angle)),
            linear_cde=(c * sx / sy, d * sx / sy, e),
        )


def _polar(points: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Return the unit directions in the image plane [N, 2] (0 on the axis) and the angles to the axis [N]."""
    radius = np.linalg.norm(points[:, :2], axis=1)
    direction = np.divide(points[:, :2], radius[:, None], out=np.zeros((len(points), 2)), where=radius[:, None] > 0)
    return direction, np.arctan2(radius, points[:, 2])


def _rays(plane: Float64Array, theta: Float64Array) -> tuple[Float64Array, BoolArray]:
    """Return unit rays of directions in the image plane [N, 2] and angles [N] (NaN = none)."""
    radius = np.linalg.norm(plane, axis=1, keepdims=True)
    direction = np.divide(plane, radius, out=np.zeros_like(plane), where=radius > _AXIS_EPS)
    rays = np.concatenate([np.sin(theta)[:, None] * direction, np.cos(theta)[:, None]], axis=1)
    valid = np.isfinite(rays).all(axis=1)
    rays[~valid] = np.nan
    return rays, valid


def _angle_limit(polynomial: tuple[float, ...], max_angle_rad: float) -> float:
    _check("max_angle_rad", max_angle_rad)
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
