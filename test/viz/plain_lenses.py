"""Lenses written a second time, point by point, and what a picture of a painted ground must look like."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from alpamayo_ros.sensing.rigid import compose
from alpamayo_ros.sensing.view import View

BODY_FROM_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
Rays = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From columns and rows [...] to rays [..., 3] in the optical frame."""


def turned(yaw_deg: float, pitch_deg: float, roll_deg: float) -> np.ndarray:
    """Return Rz(yaw) Ry(pitch) Rx(roll); a positive pitch looks down."""
    a, b, c = (math.radians(v) for v in (yaw_deg, pitch_deg, roll_deg))
    rz = np.array([[math.cos(a), -math.sin(a), 0], [math.sin(a), math.cos(a), 0], [0, 0, 1]])
    ry = np.array([[math.cos(b), 0, math.sin(b)], [0, 1, 0], [-math.sin(b), 0, math.cos(b)]])
    rx = np.array([[1, 0, 0], [0, math.cos(c), -math.sin(c)], [0, math.sin(c), math.cos(c)]])
    return rz @ ry @ rx


def mounted(model, xyz_m=(1.8, 0.0, 1.5), *, yaw_deg=0.0, pitch_deg=0.0, roll_deg=0.0) -> View:
    """Return a camera on the rig."""
    return View(model, compose(turned(yaw_deg, pitch_deg, roll_deg) @ BODY_FROM_OPTICAL, xyz_m))


def arc(curvature_per_m: float, length_m: float, *, offset_m: float = 0.0, points: int = 400) -> np.ndarray:
    """Return points [N, 3] on a circle through the origin along x, moved to its left by `offset_m`."""
    s = np.linspace(0.0, length_m, points)
    angle = curvature_per_m * s
    if abs(curvature_per_m) < 1e-9:
        xy = np.stack([s, np.zeros_like(s)], axis=1)
    else:
        xy = np.stack([np.sin(angle), 1 - np.cos(angle)], axis=1) / curvature_per_m
    xy = xy + offset_m * np.stack([-np.sin(angle), np.cos(angle)], axis=1)
    return np.concatenate([xy, np.zeros((points, 1))], axis=1)


def depth_within_arc(
    x: np.ndarray, y: np.ndarray, curvature_per_m: float, *, length_m: float, half_m: float
) -> np.ndarray:
    """Return how far, m, places on the ground lie within the strip along an arc; negative is outside."""
    if abs(curvature_per_m) < 1e-9:
        along, across = x, y
    else:
        radius = 1 / curvature_per_m
        side = math.copysign(1, radius)
        along = np.arctan2(x, (radius - y) * side) * abs(radius)
        across = radius - np.hypot(x, y - radius) * side
    return np.minimum(np.minimum(along, length_m - along), half_m - np.abs(across))


def ideal_pinhole_rays(width: int, height: int, focal_px: float) -> Rays:
    """Return the rays of a pinhole without distortion, centred."""

    def rays(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        x, y = (u - (width - 1) / 2) / focal_px, (v - (height - 1) / 2) / focal_px
        return np.stack([x, y, np.ones_like(x)], axis=-1)

    return rays


def ideal_f_theta_rays(width: int, height: int, px_a_rad: float) -> Rays:
    """Return the rays of a lens whose radius is the angle times a constant, centred; NaN beyond."""

    def rays(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        x, y = u - (width - 1) / 2, v - (height - 1) / 2
        radius = np.hypot(x, y)
        angle = np.where(radius / px_a_rad < math.pi, radius / px_a_rad, np.nan)
        share = np.sin(angle) / np.maximum(radius, 1e-12)
        return np.stack([share * x, share * y, np.cos(angle)], axis=-1)

    return rays
