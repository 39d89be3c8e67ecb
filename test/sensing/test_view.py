"""Where a camera shows points around the vehicle."""

from __future__ import annotations

import numpy as np
import pytest

from alpamayo_ros.sensing.camera_models import Pinhole
from alpamayo_ros.sensing.view import View


def forward_view() -> View:
    """A camera 1.5 m above the rig's origin that looks ahead: 400 px focal length, 800 x 400."""
    pose = np.eye(4)
    pose[:3, :3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]
    pose[2, 3] = 1.5
    return View(Pinhole(width=800, height=400, fx=400, fy=400, cx=400, cy=200), pose)


def test_points_behind_or_beside_the_image_are_left_out() -> None:
    pixels = forward_view().pixels(np.array([[10.0, 0, 1.5], [-10.0, 0, 1.5], [1.0, 30, 1.5]]), width=800)
    assert pixels == pytest.approx(np.array([[400.0, 200.0]]))
