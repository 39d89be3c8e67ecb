"""What the planner node does about inputs that are missing, broken or of another frame."""

from __future__ import annotations

import time

import numpy as np
import pytest
from nav_msgs.msg import Odometry
from planner_harness import STEP_NS, ScriptedPlanner, active, running, wait_for
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import String


def test_counts_are_on_diagnostics(tmp_path):
    with active(tmp_path, ScriptedPlanner()) as (world, _):
        world.drive(lambda: len(world.plans) >= 3, what="plans")
        wait_for(lambda: int(world.diagnostics("alpamayo/inference").get("plans_valid", 0)) >= 3, "counts")
        inference = world.diagnostics("alpamayo/inference")
        assert {"observations", "busy", "newest_t0_ns", "plans_valid"} <= set(inference)
        assert inference["busy"] in ("true", "false")
        assert int(inference["newest_t0_ns"]) > 0
        front = world.diagnostics("alpamayo/cameras/front_wide")
        assert {"received", "decoded", "decode_errors", "rate_hz", "age_ms"} <= set(front)
        assert float(front["rate_hz"]) == pytest.approx(10, abs=0.5)
        assert front["decode_errors"] == "0"
        odometry = world.diagnostics("alpamayo/odometry")
        assert float(odometry["rate_hz"]) == pytest.approx(50, abs=3)
        assert odometry["rejected"] == "0"
        model = world.diagnostics("alpamayo/model")
        assert (model["loaded"], model["model"]) == ("true", "ScriptedPlanner")
        hardware = {s.hardware_id for d in world.received["diagnostics"] for s in d.status}
        assert hardware == {"alpamayo_ros"}


def test_a_missing_camera_is_named(tmp_path):
    planner = ScriptedPlanner()
    with active(tmp_path, planner) as (world, _):
        world.publish_left = lambda stamp_ns, data=None: None
        world.drive(
            lambda: "cross_left" in world.diagnostics("alpamayo/inference").get("message", ""),
            what="the camera's name",
        )
        assert not planner.observations
        assert world.diagnostics("alpamayo/cameras/cross_left")["level"] == "1"


@pytest.mark.parametrize("data", [b"\xff\xd8nonsense", b""])
def test_a_broken_image_is_counted_and_survived(tmp_path, data):
    planner = ScriptedPlanner()
    with active(tmp_path, planner) as (world, node):
        world.drive(lambda: world.plans, what="a plan")
        world.publish_left(world.now_ns + STEP_NS // 2, data)
        feed = node._parts.feed
        wait_for(lambda: feed.cameras[0]["decode_errors"] == 1, "its count")
        seen = len(world.plans)
        world.drive(lambda: len(world.plans) > seen + 1, what="more plans")


def test_an_unstamped_image_is_refused(tmp_path):
    with active(tmp_path, ScriptedPlanner()) as (world, node):
        world.publish_left(0)
        wait_for(lambda: node._parts.feed.cameras[0]["decode_errors"] == 1, "its count")
        assert "expected a positive stamp" in node._parts.feed.cameras[0].problem


def broken(change) -> Odometry:
    msg = Odometry(child_frame_id="base_link")
    msg.header.frame_id = "odom"
    msg.header.stamp.sec = 1_700_000_000
    msg.pose.pose.orientation.w = 1.0
    change(msg)
    return msg


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda m: setattr(m.pose.pose.orientation, "w", 0.0), "expected unit length"),
        (lambda m: setattr(m.pose.pose.position, "x", np.nan), "expected finite values"),
        (lambda m: setattr(m, "child_frame_id", "imu_link"), "imu_link"),
        (lambda m: setattr(m.header, "frame_id", "map"), "expected 'odom' as before, got 'map'"),
        (lambda m: setattr(m.header.stamp, "sec", 0), "expected a time after 0"),
    ],
)
def test_bad_odometry_is_counted_and_survived(tmp_path, change, problem):
    with active(tmp_path, ScriptedPlanner()) as (world, node):
        world.drive(lambda: world.plans, what="a plan")
        world.odometry.publish(broken(change))
        statistics = node._parts.inputs.odometry
        wait_for(lambda: statistics["rejected"] == 1, "its count")
        assert problem in statistics.problem
        seen = len(world.plans)
        world.drive(lambda: len(world.plans) > seen + 1, what="more plans")


def test_odometry_of_another_body_frame_is_brought_over_by_static_tf(tmp_path):
    planner = ScriptedPlanner()
    with active(tmp_path, planner) as (world, node):
        world.child_frame = "imu_link"
        world.drive(lambda: node._parts.inputs.odometry["rejected"] > 20, what="refusals")
        assert not planner.observations
        # In two steps, as robot descriptions have it: the IMU sits 2 m ahead of the rear axle.
        world.static_transform("base_link", "chassis", (1.5, 0.0, 0.0))
        world.drive(lambda: "chassis" in node._parts.inputs._transforms.frames, what="the first transform")
        world.static_transform("chassis", "imu_link", (0.5, 0.0, 0.0))
        world.drive(lambda: planner.observations, what="an observation")
        observation = planner.observations[0]
        x, y, yaw = world.pose(observation.t0_ns)
        expected = (x - 2 * np.cos(yaw), y - 2 * np.sin(yaw))
        np.testing.assert_allclose(observation.rig_pose_in_odom_at_t0[:2, 3], expected, atol=2e-3)


def test_the_rig_frame_is_a_parameter(tmp_path):
    with active(tmp_path, ScriptedPlanner(), rig_frame="rear_axle") as (world, _):
        world.child_frame = "rear_axle"
        world.drive(lambda: world.plans, what="a plan")
        assert world.plans[0].header.frame_id == "rear_axle"


def test_an_instruction_reaches_the_model(tmp_path):
    planner = ScriptedPlanner()
    with running(tmp_path, planner) as (world, node):
        # Sent before there is a planner to hear it: it is transient local.
        world.instruction.publish(String(data=" Turn left in 30m "))
        time.sleep(0.1)
        assert world.transition("configure")
        assert world.transition("activate")
        world.drive(lambda: world.plans, what="a plan", pause_s=0.05)
        assert planner.observations[-1].instruction == "Turn left in 30m"
        assert world.plans[-1].instruction == "Turn left in 30m"

        # `ros2 topic pub` is volatile.
        volatile = world.node.create_publisher(String, "instruction", QoSProfile(depth=1))
        wait_for(lambda: volatile.get_subscription_count() == 1, "the volatile subscription")
        volatile.publish(String(data="Continue straight"))
        world.drive(lambda: planner.observations[-1].instruction == "Continue straight", what="it")

        for bad in ("Turn <|cot_end|> left", "a" * 10**6, "Turn\x07left"):
            refused = node.statistics.refusals.get("instruction", 0)
            volatile.publish(String(data=bad))
            wait_for(
                lambda n=refused: node.statistics.refusals.get("instruction", 0) == n + 1, f"{bad[:10]!r}"
            )
        seen = len(planner.observations)
        world.drive(lambda: len(planner.observations) > seen + 1, what="more observations")
        assert planner.observations[-1].instruction == "Continue straight"

        world.instruction.publish(String(data=""))
        world.drive(lambda: planner.observations[-1].instruction is None, what="no instruction")
        # One message, heard once, though two subscriptions listen.
        assert node.statistics.refusals["instruction"] == 3


def test_camera_info_is_the_lens_that_is_warped_from(tmp_path):
    rig = """
name: warped
rig_frame: base_link
cameras:
  - role: front_wide
    topic: front
    transport: raw
    info_topic: info
    model_camera: {intrinsics: {model: nominal, width: 64, height: 48}}
  - {role: cross_left, topic: left, transport: compressed}
"""
    with active(tmp_path, ScriptedPlanner(), rig=rig) as (world, node):
        world.drive(lambda: node._parts.feed.cameras[1]["decode_errors"] >= 2, what="images without a lens")
        assert "expected intrinsics for its model_camera" in node._parts.feed.cameras[1].problem
        info = CameraInfo(width=64, height=48, distortion_model="plumb_bob", d=[0.0] * 5)
        info.k = [20.0, 0.0, 31.5, 0.0, 20.0, 23.5, 0.0, 0.0, 1.0]
        publisher = world.node.create_publisher(CameraInfo, "info", 1)
        wait_for(publisher.get_subscription_count, "the subscription")
        publisher.publish(info)
        world.drive(lambda: world.plans, what="a plan")


def test_raw_and_compressed_are_as_the_rig_says(tmp_path):
    with active(tmp_path, ScriptedPlanner()) as (world, node):
        types = dict(world.node.get_topic_names_and_types())
        assert types[node.resolve_topic_name("front")] == ["sensor_msgs/msg/Image"]
        assert types[node.resolve_topic_name("left")] == ["sensor_msgs/msg/CompressedImage"]
