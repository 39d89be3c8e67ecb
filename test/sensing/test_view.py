"""A camera's view of the ground: single points, and a ribbon along a line."""

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


def test_a_ribbon_is_as_wide_as_said_and_leaves_the_image_at_its_lower_edge() -> None:
    line = np.stack([np.arange(0.0, 41.0), np.zeros(41), np.zeros(41)], axis=1)
    outline = forward_view().ribbon(line, ribbon_width_m=2.0, width=400)
    far = outline[np.argsort(outline[:, 1])[:2]]
    # 40 m ahead 1 m is 10 px at full size, the ground lies 15 px under the horizon; half of it at half size.
    assert sorted(far[:, 0]) == pytest.approx([195.0, 205.0], abs=0.1)
    assert far[:, 1] == pytest.approx(107.5, abs=0.1)
    assert outline[:, 1].max() > 199.5


def test_a_ribbon_behind_the_camera_is_nothing() -> None:
    line = np.array([[-1.0, 0, 0], [-20.0, 0, 0]])
    assert forward_view().ribbon(line, ribbon_width_m=2.0, width=800).shape == (0, 2)


def test_points_behind_or_beside_the_image_are_left_out() -> None:
    pixels = forward_view().pixels(np.array([[10.0, 0, 1.5], [-10.0, 0, 1.5], [1.0, 30, 1.5]]), width=800)
    assert pixels == pytest.approx(np.array([[400.0, 200.0]]))
