"""What the simulated vehicle says of itself, as ROS messages."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from alpamayo_ros.ros.conversions import pose_to_matrix, stamp_to_ns, transform_to_matrix
from alpamayo_ros.ros.sim_messages import (
    camera_info_msg,
    clock_msg,
    image_format,
    image_msg,
    odometry_msg,
    optical_frame,
    static_transforms,
    transform_of_odometry,
)
from alpamayo_ros.sensing.lens_info import camera_info_of_model
from alpamayo_ros.sim.cameras import default_cameras
from alpamayo_ros.sim.state import EgoState

NOW_US = 1_700_000_001_234_567


@pytest.fixture
def ego() -> EgoState:
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_euler("ZYX", (2.0, -0.1, 0.05)).as_matrix()
    pose[:3, 3] = 12.5, -3.25, 1.0
    return EgoState(NOW_US, pose, velocity_in_rig_mps=(8.5, -0.25), yaw_rate_radps=0.125)


def test_odometry_is_the_pose_in_odom_and_the_velocity_in_the_rig(ego):
    msg = odometry_msg(ego, child_frame="base_link")
    assert (msg.header.frame_id, msg.child_frame_id) == ("odom", "base_link")
    assert stamp_to_ns(msg.header.stamp) == NOW_US * 1000
    np.testing.assert_allclose(pose_to_matrix(msg.pose.pose), ego.local_from_rig, atol=1e-12)
    twist = msg.twist.twist
    assert (twist.linear.x, twist.linear.y, twist.angular.z) == (8.5, -0.25, 0.125)


def test_the_transform_is_the_odometry(ego):
    (transform,) = transform_of_odometry(odometry_msg(ego, child_frame="base_link")).transforms
    assert (transform.header.frame_id, transform.child_frame_id) == ("odom", "base_link")
    assert stamp_to_ns(transform.header.stamp) == NOW_US * 1000
    np.testing.assert_allclose(transform_to_matrix(transform.transform), ego.local_from_rig, atol=1e-12)


def test_cameras_are_optical_frames_in_the_rig():
    cameras = default_cameras()
    poses = {optical_frame(camera.logical_id): camera.rig_from_camera for camera in cameras}
    msg = static_transforms("base_link", poses, time_us=NOW_US)
    assert [t.child_frame_id for t in msg.transforms] == [f"{c.logical_id}_optical_frame" for c in cameras]
    for transform, camera in zip(msg.transforms, cameras, strict=True):
        assert transform.header.frame_id == "base_link"
        np.testing.assert_allclose(
            transform_to_matrix(transform.transform), camera.rig_from_camera, atol=1e-12
        )
    front = transform_to_matrix(msg.transforms[1].transform)
    np.testing.assert_allclose(front[:3, 2], (1, 0, 0), atol=1e-12)  # it looks along the rig's x


def test_the_clock_is_the_simulation_s():
    assert stamp_to_ns(clock_msg(NOW_US).clock) == NOW_US * 1000


@pytest.mark.parametrize(
    ("start", "name"), [(b"\xff\xd8\xff\xe0", "jpeg"), (b"\x89PNG\r\n", "png"), (b"GIF89a", ""), (b"", "")]
)
def test_images_are_handed_on_as_they_are(start, name):
    data = start + bytes(range(256))
    assert image_format(data) == name
    msg = image_msg(data, time_us=NOW_US, frame="front_wide_optical_frame")
    assert (msg.format, bytes(msg.data)) == (name, data)
    assert msg.header.frame_id == "front_wide_optical_frame"
    assert stamp_to_ns(msg.header.stamp) == NOW_US * 1000


def test_camera_info_is_of_the_image_s_size():
    model = default_cameras()[1].model.scaled_to(576, 320)
    msg = camera_info_msg(camera_info_of_model(model), frame="here")
    assert (msg.width, msg.height, msg.distortion_model) == (576, 320, "equidistant")
    assert msg.header.frame_id == "here"
    pixels, valid = model.project(np.array([[0.0, 0.0, 1.0]]))
    assert valid.all()
    np.testing.assert_allclose((msg.k[2], msg.k[5]), pixels[0], atol=1e-6)
