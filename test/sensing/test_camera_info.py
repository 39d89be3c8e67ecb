"""CameraInfo's fields to camera models."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from alpamayo_ros.sensing.camera_info import CameraInfo, model_from_camera_info, rectifying_rotation
from alpamayo_ros.sensing.camera_models import Fisheye, Pinhole
from alpamayo_ros.types import InvalidInput

INFO = CameraInfo(
    width=1280,
    height=720,
    distortion_model="plumb_bob",
    d=[-0.28, 0.09, 0.0007, -0.0004, -0.014],
    k=[600.0, 0, 650, 0, 610, 350, 0, 0, 1],
    p=[550.0, 0, 640, -60.0, 0, 550, 360, 0, 0, 0, 1, 0],
)


def test_plumb_bob() -> None:
    model = model_from_camera_info(INFO)
    assert model == Pinhole(
        width=1280, height=720, fx=600.0, fy=610.0, cx=650.0, cy=350.0, distortion=tuple(INFO.d)
    )


@pytest.mark.parametrize("count", [0, 4, 5, 8, 12])
def test_rational_polynomial_with_as_many_coefficients_as_opencv_writes(count: int) -> None:
    d = [0.01 * i for i in range(count)]
    model = model_from_camera_info(replace(INFO, distortion_model="rational_polynomial", d=d))
    assert isinstance(model, Pinhole)
    assert model.distortion == tuple(d)
    padded = model_from_camera_info(
        replace(INFO, distortion_model="rational_polynomial", d=[*d, *[0.0] * (14 - count)])
    )
    assert isinstance(padded, Pinhole)
    assert padded.distortion == tuple(d) + (0.0,) * (12 - count)


@pytest.mark.parametrize("name", ["equidistant", "fisheye"])
def test_equidistant(name: str) -> None:
    model = model_from_camera_info(replace(INFO, distortion_model=name, d=[0.1, 0.01, 0.0, 0.0]))
    assert isinstance(model, Fisheye)
    assert model.distortion == (0.1, 0.01, 0.0, 0.0)


def test_a_simulated_camera_without_a_distortion_model() -> None:
    assert model_from_camera_info(replace(INFO, distortion_model="", d=[])) == Pinhole(
        width=1280, height=720, fx=600.0, fy=610.0, cx=650.0, cy=350.0
    )


def test_rectified_images_are_described_by_p() -> None:
    model = model_from_camera_info(INFO, rectified=True)
    assert model == Pinhole(width=1280, height=720, fx=550.0, fy=550.0, cx=640.0, cy=360.0)


def test_the_rectifying_rotation() -> None:
    rotation = Rotation.from_euler("xyz", [1, 2, 3], degrees=True).as_matrix()
    np.testing.assert_allclose(rectifying_rotation(replace(INFO, r=rotation.ravel().tolist())), rotation)
    np.testing.assert_array_equal(rectifying_rotation(replace(INFO, r=[0.0] * 9)), np.eye(3))
    with pytest.raises(InvalidInput, match="camera info: r: expected rotation"):
        rectifying_rotation(replace(INFO, r=[2.0, 0, 0, 0, 1, 0, 0, 0, 1]))


def test_a_region_of_interest_and_binning_of_the_published_image() -> None:
    """A point keeps its place in the world: full-size pixels, minus the offset, by the binning."""
    published = replace(
        INFO, roi_x_offset=100, roi_y_offset=40, roi_width=800, roi_height=600, binning_x=2, binning_y=4
    )
    model = model_from_camera_info(published)
    assert (model.width, model.height) == (400, 150)
    point = np.array([[0.1, 0.2, 2.0]])
    full = model_from_camera_info(INFO).project(point)[0]
    np.testing.assert_allclose(model.project(point)[0], (full - [100, 40]) / [2, 4], atol=1e-9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"distortion_model": "omni"}, "distortion_model: expected one of plumb_bob, .* got 'omni'"),
        ({"distortion_model": ""}, "distortion_model: .* got ''"),
        ({"k": [0.0] * 9}, "k: expected positive focal lengths, got 0 and 0: is the camera calibrated"),
        ({"k": [1.0] * 8}, "k: expected 9 numbers, got 8"),
        ({"k": [600.0, 0, np.nan, 0, 610, 350, 0, 0, 1]}, "k: expected finite values"),
        ({"k": [600.0, 3, 650, 0, 610, 350, 0, 0, 1]}, "k: expected no skew, got 3"),
        ({"d": [0.1] * 7}, "expected 0, 4, 5, 8 or 12 coefficients .* got 7"),
        ({"d": [np.inf] * 5}, "d: expected finite values"),
        ({"d": [0.0] * 13 + [0.1]}, "d: expected no sensor tilt"),
        ({"distortion_model": "equidistant"}, "expected 4 coefficients .* got 5"),
        ({"width": 0}, "width: expected a positive whole number, got 0"),
    ],
)
def test_refusals(change: dict, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        model_from_camera_info(replace(INFO, **change))


def test_a_rectified_image_needs_p() -> None:
    with pytest.raises(InvalidInput, match="p: expected 12 numbers, got 0"):
        model_from_camera_info(replace(INFO, p=()), rectified=True)
