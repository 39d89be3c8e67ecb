"""Wide-angle cameras whose image radius is a polynomial of the angle to the axis: fisheye and f-theta."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from alpamayo_ros.sensing.camera_geometry import (
    BoolArray,
    Float64Array,
    angle_limit,
    as_points,
    check_number,
    check_size,
    inside_image,
    polar,
    rays_from_polar,
)
from alpamayo_ros.sensing.polynomials import first_stationary_point, invert_monotonic
from alpamayo_ros.types import InvalidInput


@dataclass(frozen=True)
class Fisheye:
    """The fisheye of Kannala and Brandt with four coefficients, OpenCV's cv::fisheye and ROS' equidistant.

    theta_d = theta (1 + k1 theta^2 + k2 theta^4 + k3 theta^6 + k4 theta^8), u = fx theta_d x / |xy| + cx.
    Angles beyond 90 degrees are mapped too (OpenCV's own projection divides by z and cannot), up to
    max_angle_rad or to where the polynomial turns back.

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
        check_size(self.width, self.height)
        for name in ("fx", "fy"):
            check_number(name, getattr(self, name), positive=True)
        for name in ("cx", "cy"):
            check_number(name, getattr(self, name))
        if len(self.distortion) != 4:
            raise InvalidInput(
                f"distortion: expected 4 coefficients (k1 k2 k3 k4), got {len(self.distortion)}"
            )
        for index, value in enumerate(self.distortion):
            check_number(f"distortion[{index}]", value)
        object.__setattr__(self, "distortion", tuple(float(d) for d in self.distortion))
        k1, k2, k3, k4 = self.distortion
        object.__setattr__(self, "_polynomial", (0.0, 1.0, 0.0, k1, 0.0, k2, 0.0, k3, 0.0, k4))
        object.__setattr__(self, "_limit_rad", angle_limit(self._polynomial, self.max_angle_rad))

    def project(self, points_in_camera: Float64Array) -> tuple[Float64Array, BoolArray]:
        """See CameraModel.project."""
        points = as_points("points_in_camera", points_in_camera, 3)
        direction, theta = polar(points)
        radius = np.polynomial.polynomial.polyval(theta, self._polynomial)
        pixels = radius[:, None] * direction * (self.fx, self.fy) + (self.cx, self.cy)
        mapped = theta <= self._limit_rad
        pixels[~mapped] = np.nan
        return pixels, mapped & inside_image(pixels, self.width, self.height)

    def unproject(self, pixels: Float64Array) -> tuple[Float64Array, BoolArray]:
        """See CameraModel.unproject."""
        pixels = as_points("pixels", pixels, 2)
        plane = (pixels - (self.cx, self.cy)) / (self.fx, self.fy)
        theta = invert_monotonic(self._polynomial, np.linalg.norm(plane, axis=1), upper=self._limit_rad)
        return rays_from_polar(plane, theta)

    def scaled_to(self, width: int, height: int) -> Fisheye:
        """See CameraModel.scaled_to."""
        sx, sy = width / self.width, height / self.height
        return replace(
            self,
            width=width,
            height=height,
            fx=self.fx * sx,
            fy=self.fy * sy,
            cx=self.cx * sx,
            cy=self.cy * sy,
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
        check_size(self.width, self.height)
        for name in ("cx", "cy", "max_angle_rad"):
            check_number(name, getattr(self, name))
        if self.reference not in ("angle_to_pixeldist", "pixeldist_to_angle"):
            raise InvalidInput(
                f"reference: expected angle_to_pixeldist or pixeldist_to_angle, got {self.reference!r}"
            )
        for name in ("angle_to_pixeldist", "pixeldist_to_angle", "linear_cde"):
            values = tuple(float(v) for v in getattr(self, name))
            for index, value in enumerate(values):
                check_number(f"{name}[{index}]", value)
            object.__setattr__(self, name, values)
        if len(self.linear_cde) != 3:
            raise InvalidInput(f"linear_cde: expected c, d, e, got {len(self.linear_cde)} numbers")
        exact = self._exact
        if len(exact) < 2 or exact[1] <= 0 or abs(exact[0]) > 1e-9:
            raise InvalidInput(
                f"{self.reference}: expected a polynomial (lowest power first) that begins with 0 and then "
                f"rises, got {list(exact)}"
            )
        c, d, e = self.linear_cde
        if abs(c - d * e) < 1e-6:
            raise InvalidInput(
                f"linear_cde: expected [[c, d], [e, 1]] that can be inverted, got c, d, e = {c, d, e}"
            )
        self._set_limits()

    @property
    def _exact(self) -> tuple[float, ...]:
        return self.angle_to_pixeldist if self.reference == "angle_to_pixeldist" else self.pixeldist_to_angle

    def _set_limits(self) -> None:
        if self.reference == "angle_to_pixeldist":
            limit_rad, limit_px = angle_limit(self._exact, self.max_angle_rad), np.inf
        else:
            limit_px = first_stationary_point(self._exact)
            turn_rad = (
                float(np.polynomial.polynomial.polyval(limit_px, self._exact))
                if np.isfinite(limit_px)
                else np.pi
            )
            limit_rad = min(turn_rad, np.pi, self.max_angle_rad if self.max_angle_rad > 0 else np.pi)
        object.__setattr__(self, "_limit_rad", limit_rad)
        object.__setattr__(self, "_limit_px", limit_px)

    @property
    def _linear(self) -> Float64Array:
        c, d, e = self.linear_cde
        return np.array([[c, d], [e, 1.0]])

    def project(self, points_in_camera: Float64Array) -> tuple[Float64Array, BoolArray]:
        """See CameraModel.project."""
        points = as_points("points_in_camera", points_in_camera, 3)
        direction, theta = polar(points)
        if self.reference == "angle_to_pixeldist":
            radius = np.polynomial.polynomial.polyval(theta, self._exact)
        else:
            radius = invert_monotonic(self._exact, theta, upper=self._limit_px)
        pixels = (radius[:, None] * direction) @ self._linear.T + (self.cx, self.cy)
        mapped = (theta <= self._limit_rad) & np.isfinite(radius)
        pixels[~mapped] = np.nan
        return pixels, mapped & inside_image(pixels, self.width, self.height)

    def unproject(self, pixels: Float64Array) -> tuple[Float64Array, BoolArray]:
        """See CameraModel.unproject."""
        pixels = as_points("pixels", pixels, 2)
        plane = (pixels - (self.cx, self.cy)) @ np.linalg.inv(self._linear).T
        radius = np.linalg.norm(plane, axis=1)
        if self.reference == "angle_to_pixeldist":
            theta = invert_monotonic(self._exact, radius, upper=self._limit_rad)
        else:
            theta = np.polynomial.polynomial.polyval(radius, self._exact)
            theta = np.where((radius < self._limit_px) & (theta <= self._limit_rad), theta, np.nan)
        return rays_from_polar(plane, theta)

    def scaled_to(self, width: int, height: int) -> FTheta:
        """See CameraModel.scaled_to: the polynomial scales with the height, c and d make up the width."""
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
