"""Where the edges of a corridor appear, against OpenCV's projections and an f-theta written here."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from plain_lenses import arc, mounted

from alpamayo_ros.sensing.camera_models import Fisheye, FTheta, Pinhole
from alpamayo_ros.viz.ribbon import Ribbons

WIDTH, HEIGHT = 576, 320
HALF_M = 0.95

PINHOLE = Pinhole(
    width=WIDTH,
    height=HEIGHT,
    fx=330.0,
    fy=325.0,
    cx=290.0,
    cy=156.0,
    distortion=(-0.28, 0.07, 0.0007, -0.0004, 0.001),
)
FISHEYE = Fisheye(
    width=WIDTH,
    height=HEIGHT,
    fx=210.0,
    fy=212.0,
    cx=286.0,
    cy=161.0,
    distortion=(-0.02, 0.006, -0.004, 0.0006),
)
F_THETA = FTheta(
    width=WIDTH,
    height=HEIGHT,
    cx=287.0,
    cy=160.0,
    angle_to_pixeldist=(0.0, 262.0, 4.0, -9.0, 1.5),
    linear_cde=(1.002, 0.001, -0.002),
)


def opencv_pinhole(points: np.ndarray) -> np.ndarray:
    matrix = np.array([[PINHOLE.fx, 0, PINHOLE.cx], [0, PINHOLE.fy, PINHOLE.cy], [0, 0, 1]])
    pixels, _ = cv2.projectPoints(points, np.zeros(3), np.zeros(3), matrix, np.array(PINHOLE.distortion))
    return pixels[:, 0]


def opencv_fisheye(points: np.ndarray) -> np.ndarray:
    matrix = np.array([[FISHEYE.fx, 0, FISHEYE.cx], [0, FISHEYE.fy, FISHEYE.cy], [0, 0, 1]])
    pixels, _ = cv2.fisheye.projectPoints(
        points[:, None], np.zeros(3), np.zeros(3), matrix, np.array(FISHEYE.distortion)
    )
    return pixels[:, 0]


def plain_f_theta(points: np.ndarray) -> np.ndarray:
    pixels = []
    c, d, e = F_THETA.linear_cde
    for x, y, z in points.tolist():
        radius = math.sqrt(x * x + y * y)
        angle = math.acos(z / math.sqrt(x * x + y * y + z * z))
        distance = sum(a * angle**power for power, a in enumerate(F_THETA.angle_to_pixeldist))
        x, y = x / radius * distance, y / radius * distance
        pixels.append((c * x + d * y + F_THETA.cx, e * x + y + F_THETA.cy))
    return np.array(pixels)


LENSES = {
    "pinhole with distortion": (PINHOLE, opencv_pinhole),
    "fisheye": (FISHEYE, opencv_fisheye),
    "f-theta": (F_THETA, plain_f_theta),
}
MOUNTS = {
    "front": {},
    "front, tilted": {"pitch_deg": 8.0, "roll_deg": -3.0, "yaw_deg": 4.0},
    "left": {"xyz_m": (1.8, 0.9, 1.4), "yaw_deg": 55.0},
    "right": {"xyz_m": (1.8, -0.9, 1.4), "yaw_deg": -50.0},
}


@pytest.mark.parametrize("mount", MOUNTS)
@pytest.mark.parametrize("lens", LENSES)
@pytest.mark.parametrize("curvature_per_m", [0.0, 0.03, -0.05, 0.12])
def test_edges_are_where_an_independent_projection_has_them(
    lens: str, mount: str, curvature_per_m: float
) -> None:
    model, project = LENSES[lens]
    view = mounted(model, **MOUNTS[mount])
    length_m = min(45.0, 2.5 / max(abs(curvature_per_m), 1e-9))  # no path that meets itself again
    line = arc(curvature_per_m, length_m, points=65)
    outlines = Ribbons.along([line], width_m=2 * HALF_M).outlines(view, size=(WIDTH, HEIGHT))
    assert len(outlines) <= 2  # a right angle of turn begins another one
    compared = 0
    for side in (HALF_M, -HALF_M):
        edge = arc(curvature_per_m, length_m, offset_m=side, points=1500)
        in_camera = (edge - view.rig_from_camera[:3, 3]) @ view.rig_from_camera[:3, :3]
        before = in_camera[:, 2] > 0.3  # OpenCV mirrors what lies behind
        if not before.any():
            continue
        pixels = project(in_camera[before])
        # The distortion of a pinhole folds far points back into the image: those are not there.
        ahead = np.hypot(in_camera[before, 0], in_camera[before, 1]) / in_camera[before, 2] < 1.3
        ahead |= model is not PINHOLE
        shown = (pixels >= 0).all(axis=1) & (pixels <= (WIDTH - 1, HEIGHT - 1)).all(axis=1) & ahead
        for pixel in pixels[shown][::7]:
            distance = min(
                abs(cv2.pointPolygonTest(outline.astype(np.float32), tuple(map(float, pixel)), True))
                for outline in outlines
            )
            assert distance < 1.0, f"{pixel} is {distance:.2f} px from the outline"
            compared += 1
    if mount.startswith("front") and abs(curvature_per_m) < 0.1:
        assert compared > 50


def test_a_picture_of_another_size_is_painted_as_its_camera_was_scaled() -> None:
    view = mounted(F_THETA)
    ribbons = Ribbons.along([arc(0.02, 30.0, points=65)], width_m=2.0)
    (full,) = ribbons.outlines(view, size=(WIDTH, HEIGHT))
    (half,) = ribbons.outlines(view, size=(WIDTH // 2, HEIGHT // 2))
    shown = (full >= 0).all(axis=1) & (full <= (WIDTH, HEIGHT)).all(axis=1)
    for pixel in full[shown] / 2:
        assert abs(cv2.pointPolygonTest(half.astype(np.float32), tuple(map(float, pixel)), True)) < 0.1
