"""The simulated vehicle's cameras."""

from __future__ import annotations

import numpy as np
import pytest

from alpamayo_ros.sensing.camera_models import horizontal_fov_rad
from alpamayo_ros.sensing.rig import ROLE_FOV_DEG
from alpamayo_ros.sim.cameras import LOGICAL_IDS, camera_id_of, default_cameras
from alpamayo_ros.types import InvalidInput


def test_cameras_are_alpamayos_seven_under_alpasims_names():
    cameras = default_cameras()
    assert [camera.camera_id for camera in cameras] == list(range(7))
    assert cameras[1].logical_id == "camera_front_wide_120fov"
    assert cameras[6].logical_id == "camera_front_tele_30fov"
    for camera in cameras:
        assert camera_id_of(camera.logical_id) == camera.camera_id
        assert (camera.model.width, camera.model.height) == (1920, 1080)
        fov_deg = np.rad2deg(horizontal_fov_rad(camera.model))
        assert fov_deg == pytest.approx(ROLE_FOV_DEG[camera.camera_id], rel=0.01)
    assert len(set(LOGICAL_IDS)) == 7


@pytest.mark.parametrize(
    ("camera_id", "point_in_rig"),
    [(0, (3, 5, 1)), (1, (20, 0, 1)), (2, (3, -5, 1)), (3, (-4, 7, 1)), (4, (-30, 0, 1)), (5, (-4, -7, 1))],
)
def test_each_camera_looks_its_way(camera_id, point_in_rig):
    camera = default_cameras()[camera_id]
    in_camera = np.linalg.inv(camera.rig_from_camera) @ np.array([*point_in_rig, 1.0])
    pixels, seen = camera.model.project(in_camera[None, :3])
    assert seen.all()
    higher = np.linalg.inv(camera.rig_from_camera) @ np.array([*point_in_rig[:2], point_in_rig[2] + 0.5, 1.0])
    assert camera.model.project(higher[None, :3])[0][0, 1] < pixels[0, 1]


def test_an_unknown_logical_id_is_refused_by_name():
    with pytest.raises(InvalidInput, match="camera_roof"):
        camera_id_of("camera_roof")
