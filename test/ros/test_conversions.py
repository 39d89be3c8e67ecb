"""Times, poses, odometry and the path in the odometry frame."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nav_msgs.msg import Odometry
from scipy.spatial.transform import Rotation

from alpamayo_ros.ros.conversions import (
    odometry_from_msg,
    path_to_msg,
    pose_from_matrix,
    pose_to_matrix,
    stamp_from_ns,
    stamp_to_ns,
    text_to_ros,
)
from alpamayo_ros.types import InvalidInput


def rigid(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.random(random_state=rng).as_matrix()
    matrix[:3, 3] = rng.normal(0, 1000, 3)
    return matrix


@given(st.integers(0, 2**31 * 10**9 - 1))
def test_stamps_go_both_ways(stamp_ns):
    assert stamp_to_ns(stamp_from_ns(stamp_ns)) == stamp_ns


@pytest.mark.parametrize("stamp_ns", [-1, 2**31 * 10**9])
def test_a_stamp_that_ros_cannot_hold_is_refused(stamp_ns):
    with pytest.raises(InvalidInput, match=r"stamp: expected 0 .* got"):
        stamp_from_ns(stamp_ns)


@given(st.integers(0, 2**32 - 1))
def test_poses_go_both_ways(seed):
    np.testing.assert_allclose(pose_to_matrix(pose_from_matrix(rigid(seed))), rigid(seed), atol=1e-12, rtol=0)


def test_a_matrix_that_is_no_pose_is_refused():
    with pytest.raises(InvalidInput, match="pose: expected rotation matrices"):
        pose_from_matrix(np.diag([1.0, 2.0, 1.0, 1.0]))


def test_plain_text_is_left_alone():
    for text in ("Nudge left.", "Überholen → links", ""):
        assert text_to_ros(text) == text


@pytest.fixture
def odometry() -> Odometry:
    msg = Odometry()
    msg.header.stamp.sec = 5
    msg.header.frame_id = "odom"
    msg.child_frame_id = "imu"
    msg.pose.pose.position.x = 3.0
    msg.pose.pose.orientation.w = 1.0
    return msg


def test_odometry_is_read(odometry):
    sample = odometry_from_msg(odometry)
    assert (sample.stamp_ns, sample.frame, sample.child_frame) == (5 * 10**9, "odom", "imu")
    np.testing.assert_array_equal(sample.odom_from_child[:3, 3], [3, 0, 0])


def test_a_quaternion_that_is_a_little_off_is_normalised(odometry):
    odometry.pose.pose.orientation.w = 1.005
    np.testing.assert_allclose(odometry_from_msg(odometry).odom_from_child[:3, :3], np.eye(3), atol=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: setattr(m.pose.pose.orientation, "w", 0.0), "orientation|unit length"),
        (lambda m: setattr(m.pose.pose.orientation, "w", 1.5), "unit length"),
        (
            lambda m: setattr(m.pose.pose.orientation, "z", float("nan")),
            "quaternion: expected finite values, got nan",
        ),
        (
            lambda m: setattr(m.pose.pose.position, "y", float("inf")),
            "translation: expected finite values, got inf",
        ),
        (lambda m: setattr(m.header.stamp, "sec", 0), "odometry stamp: expected a time after 0, got 0"),
        (lambda m: setattr(m.header, "frame_id", ""), "header.frame_id: expected"),
        (lambda m: setattr(m, "child_frame_id", ""), "child_frame_id: expected"),
    ],
)
def test_bad_odometry_is_refused(odometry, change, message):
    change(odometry)
    with pytest.raises(InvalidInput, match=message):
        odometry_from_msg(odometry)


@given(seed=st.integers(0, 1000), age_ms=st.integers(-100, 7000))
def test_the_path_is_the_plan_moved_by_the_pose_at_t0(seed, age_ms):
    from plan_factory import build_plan

    plan = build_plan(seed)
    pose = rigid(seed)
    now_ns = plan.t0_ns + age_ms * 1_000_000
    path = path_to_msg(plan, pose, odometry_frame="odom", now_ns=now_ns)
    assert stamp_to_ns(path.header.stamp) == plan.t0_ns
    assert path.header.frame_id == "odom"
    stamps = [stamp_to_ns(p.header.stamp) for p in path.poses]
    wanted = [plan.t0_ns + i * 100_000_000 for i in range(1, 65)]
    assert stamps == [s for s in wanted if s >= now_ns]
    first = 64 - len(stamps)
    for i, stamped in enumerate(path.poses, start=first):
        assert stamped.header.frame_id == "odom"
        waypoint = np.eye(4)
        waypoint[:3, :3] = plan.rot_in_rig_t0[plan.chosen, i]
        waypoint[:3, 3] = plan.xyz_in_rig_t0[plan.chosen, i]
        np.testing.assert_allclose(pose_to_matrix(stamped.pose), pose @ waypoint, atol=1e-6)
