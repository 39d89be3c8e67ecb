"""The pinhole camera with the distortion of Brown and Conrady."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from alpamayo_ros.sensing.camera_geometry import (
    BoolArray,
    Float64Array,
    as_points,
    check_number,
    check_size,
    inside_image,
)
from alpamayo_ros.sensing.polynomials import first_stationary_point, invert_monotonic
from alpamayo_ros.types import InvalidInput

_AXIS_EPS = 1e-12
_CONVERGED = 1e-9


@dataclass(frozen=True)
class Pinhole:
    """A pinhole camera with OpenCV's distortion, ROS' plumb_bob and rational_polynomial.

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
        check_size(self.width, self.height)
        for name in ("fx", "fy"):
            check_number(name, getattr(self, name), positive=True)
        for name in ("cx", "cy"):
            check_number(name, getattr(self, name))
        if len(self.distortion) not in (0, 4, 5, 8, 12):
            raise InvalidInput(
                f"distortion: expected 0, 4, 5, 8 or 12 coefficients (k1 k2 p1 p2 k3 k4 k5 k6 s1 s2 s3 s4), "
                f"got {len(self.distortion)}"
            )
        for index, value in enumerate(self.distortion):
            check_number(f"distortion[{index}]", value)
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
        points = as_points("points_in_camera", points_in_camera, 3)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            x, y = points[:, 0] / points[:, 2], points[:, 1] / points[:, 2]
            mapped = (points[:, 2] > 0) & (np.hypot(x, y) < self._max_radius)
            xd, yd = self._distort(x, y)
        pixels = np.stack([self.fx * xd + self.cx, self.fy * yd + self.cy], axis=1)
        pixels[~mapped] = np.nan
        return pixels, mapped & inside_image(pixels, self.width, self.height)

    def unproject(self, pixels: Float64Array) -> tuple[Float64Array, BoolArray]:
        """See CameraModel.unproject; the distortion is inverted by Newton's method."""
        pixels = as_points("pixels", pixels, 2)
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
            self,
            width=width,
            height=height,
            fx=self.fx * sx,
            fy=self.fy * sy,
            cx=self.cx * sx,
            cy=self.cy * sy,
        )
