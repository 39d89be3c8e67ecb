"""The visualizer node on real topics: pictures, odometry and plans in, overlays and markers out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from planner_harness import STEP_NS, T0_NS, Graph, World, graph, straight_plan, wait_for
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, CompressedImage
from visualization_msgs.msg import Marker, MarkerArray

from alpamayo_ros.msg import Plan as PlanMsg
from alpamayo_ros.nodes.visualizer import VisualizerNode
from alpamayo_ros.ros.conversions import stamp_to_ns
from alpamayo_ros.ros.plan_conversions import PlanStatus, PublishedPlan, plan_to_msg
from alpamayo_ros.sensing.rigid import compose
from alpamayo_ros.types import InvalidInput
from alpamayo_ros.viz.colours import STATUS_COLOURS

RIG = """
name: two
rig_frame: base_link
cameras:
  - role: front_wide
    topic: front
    transport: raw
    intrinsics: {model: pinhole, width: 64, height: 48, fx: 32.0, fy: 32.0, cx: 31.5, cy: 23.5}
    mount: {xyz_m: [1.5, 0.0, 1.5], body_rpy_deg: [0.0, 0.0, 0.0]}
  - {role: cross_left, topic: left, transport: compressed, info_topic: left_info}
"""


class Looker:
    """Looks at overlays and markers, and sends plans as a planner would."""

    def __init__(self, world: World, corner: Graph) -> None:
        self.world, self.corner = world, corner
        self.overlays: dict[str, list[CompressedImage]] = {}
        self.markers: list[MarkerArray] = []
        self.plan = world.node.create_publisher(PlanMsg, "plan", 10)
        self.left_info = world.node.create_publisher(CameraInfo, "left_info", 10)

    def look(self, name: str, topic: str = "overlay/{}") -> Any:
        heard = self.overlays.setdefault(topic.format(name), [])
        return self.corner.run(
            lambda: self.world.node.create_subscription(
                CompressedImage, topic.format(name), heard.append, 10
            ),
            "a subscription",
        )

    def look_at_markers(self) -> Any:
        return self.corner.run(
            lambda: self.world.node.create_subscription(MarkerArray, "markers", self.markers.append, 10),
            "a subscription",
        )

    def send_plan(self, t0_ns: int, *, speed_mps: float = 5.0, **said: Any) -> None:
        """Send a plan straight ahead from where the world's vehicle is at t0."""
        from types import SimpleNamespace

        x, y, yaw = self.world.pose(t0_ns)
        turn = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
        fields: dict[str, Any] = {
            "rig_frame": "base_link",
            "odometry_frame": "odom",
            "odom_from_rig_t0": compose(turn, (x, y, 0.0)),
            "valid_until_ns": t0_ns + 10**9,
            "status": PlanStatus.VALID,
            **said,
        }
        plan = straight_plan(SimpleNamespace(t0_ns=t0_ns), speed_mps=speed_mps)  # type: ignore[arg-type]
        self.plan.publish(plan_to_msg(PublishedPlan(plan=plan, **fields)))

    def newest(self, name: str = "front_wide") -> np.ndarray:
        """Return the newest overlay, RGB."""
        data = np.frombuffer(bytes(self.overlays[f"overlay/{name}"][-1].data), np.uint8)
        return cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]


@contextmanager
def visualizer(tmp_path: Path, **parameters: Any) -> Iterator[tuple[Looker, VisualizerNode]]:
    rig = tmp_path / "rig.yaml"
    rig.write_text(RIG)
    values = {"rig": str(rig), "use_sim_time": True, "max_rate_hz": 100.0, "reasoning_lines": 1, **parameters}
    with graph(sim_time=True) as (corner, world):
        looker = Looker(world, corner)
        overrides = [Parameter(name, value=value) for name, value in values.items()]
        node = VisualizerNode(parameter_overrides=overrides, **corner.options)
        corner.executor.add_node(node)
        try:
            wait_for(lambda: looker.plan.get_subscription_count(), "the plan's subscription")
            wait_for(lambda: world.odometry.get_subscription_count(), "odometry's subscription")
            yield looker, node
        finally:
            corner.executor.remove_node(node)
            corner.run(node.destroy_node, "the end of the node")


def share(image: np.ndarray, colour: tuple[int, int, int]) -> float:
    """Return the share of a picture's road (without the words) that is nearer to a colour than to green."""
    road = image[26:31, 29:35].reshape(-1, 3).astype(int)
    picture = np.array([0, 230, 0])
    mixed = 0.45 * np.array(colour) + 0.55 * picture
    return float((np.abs(road - mixed).sum(axis=1) < np.abs(road - picture).sum(axis=1)).mean())


def drive(looker: Looker, until: Any, what: str, *, plans: bool = True, **said: Any) -> None:
    def step() -> bool:
        if plans:
            looker.send_plan(looker.world.now_ns, **said)
        return bool(until())

    looker.world.drive(step, what=what)


def test_a_valid_plan_lies_on_the_road_of_its_picture(tmp_path):
    with visualizer(tmp_path) as (looker, node):
        looker.look("front_wide")
        wait_for(lambda: looker.world.front.get_subscription_count(), "the camera's subscription")
        red = STATUS_COLOURS["FALLBACK"]
        heard = looker.overlays["overlay/front_wide"]
        drive(
            looker,
            lambda: len(heard) > 3 and share(looker.newest(), red) > 0.6,
            "red",
            status=PlanStatus.FALLBACK,
        )
        message = heard[-1]
        assert message.format == "rgb8; jpeg compressed bgr8"
        assert (stamp_to_ns(message.header.stamp) - T0_NS) % STEP_NS == 0
        assert node.overlays.statistics[1]["drawn"] >= len(heard)
        assert looker.world.left.get_subscription_count() == 0  # nobody looks at that one


def test_nothing_is_received_or_drawn_for_nobody(tmp_path):
    with visualizer(tmp_path) as (looker, node):
        ticks = iter(range(100))
        drive(looker, lambda: next(ticks) > 15, "some time")
        assert looker.world.front.get_subscription_count() == 0
        assert node.overlays.statistics[1]["received"] == node.overlays.statistics[1]["drawn"] == 0
        assert node.timeline.newest_plan is None
        subscription = looker.look("front_wide")
        wait_for(lambda: looker.world.front.get_subscription_count(), "the camera's subscription")
        drive(looker, lambda: looker.overlays["overlay/front_wide"], "an overlay")
        looker.corner.run(lambda: looker.world.node.destroy_subscription(subscription), "the end")
        wait_for(lambda: not looker.world.front.get_subscription_count(), "the camera left alone")


def test_a_plan_that_has_expired_is_not_shown_as_valid(tmp_path):
    with visualizer(tmp_path) as (looker, node):
        looker.look("front_wide")
        wait_for(lambda: looker.world.front.get_subscription_count(), "the camera's subscription")
        colour = STATUS_COLOURS["FALLBACK"]
        drive(looker, lambda: looker.overlays["overlay/front_wide"] and share(looker.newest(), colour) > 0.6,
              "a plan", status=PlanStatus.FALLBACK)  # fmt: skip
        drawn = node.overlays.statistics[1]["without_plan"]
        drive(looker, lambda: node.overlays.statistics[1]["without_plan"] > drawn + 2, "no plan", plans=False)
        wait_for(lambda: share(looker.newest(), colour) < 0.02, "the corridor's end")


def test_a_camera_without_lens_shows_words_alone_until_camera_info_and_a_transform_come(tmp_path):
    with visualizer(tmp_path) as (looker, node):
        looker.look("cross_left")
        wait_for(lambda: looker.world.left.get_subscription_count(), "the camera's subscription")
        drive(looker, lambda: node.overlays.statistics[0]["drawn"] > 2, "pictures")
        assert "no CameraInfo came on left_info" in node.overlays.statistics[0].problem
        wait_for(
            lambda: "no lens" in looker.world.diagnostics("alpamayo/visualizer").get("message", ""),
            "the problem on /diagnostics",
        )
        info = CameraInfo(width=64, height=48, distortion_model="plumb_bob", d=[0.0] * 5)
        info.k = [32.0, 0.0, 31.5, 0.0, 32.0, 23.5, 0.0, 0.0, 1.0]
        wait_for(lambda: looker.left_info.get_subscription_count(), "the lens' subscription")
        looker.left_info.publish(info)
        drive(looker, lambda: "no place" in node.overlays.statistics[0].problem, "a lens")


def test_markers_are_sent_where_nobody_else_does(tmp_path):
    with visualizer(tmp_path) as (looker, _):
        looker.look_at_markers()
        drive(looker, lambda: looker.markers, "markers")
        assert {"path", "ribbon", "footprints", "reasoning"} <= {m.ns for m in looker.markers[0].markers}
        assert looker.markers[0].markers[0].lifetime.sec == 1
        other = looker.world.node.create_publisher(MarkerArray, "markers", 10)
        wait_for(lambda: looker.world.node.count_publishers("markers") == 2, "another publisher")
        ticks = iter(range(100))
        drive(looker, lambda: next(ticks) > 3, "some plans")
        heard = len(looker.markers)
        drive(looker, lambda: next(ticks) > 12, "more plans")
        assert len(looker.markers) == heard
        looker.world.node.destroy_publisher(other)


def test_when_time_goes_back_everything_is_forgotten_and_markers_vanish(tmp_path):
    with visualizer(tmp_path) as (looker, node):
        looker.look_at_markers()
        looker.look("front_wide")
        wait_for(lambda: looker.world.front.get_subscription_count(), "the camera's subscription")
        drive(looker, lambda: looker.markers and looker.overlays["overlay/front_wide"], "a plan shown")
        looker.world.tick(T0_NS - 50 * STEP_NS)
        wait_for(
            lambda: any(m.action == Marker.DELETEALL for a in looker.markers for m in a.markers),
            "the markers' end",
        )
        before = len(looker.overlays["overlay/front_wide"])
        drive(looker, lambda: len(looker.overlays["overlay/front_wide"]) > before + 2, "overlays again")
        newest = node.timeline.newest_plan
        assert newest is not None and newest.plan.t0_ns <= looker.world.now_ns < T0_NS


def test_pictures_that_come_too_fast_or_broken_are_counted(tmp_path):
    with visualizer(tmp_path, max_rate_hz=2.0) as (looker, node):
        looker.look("cross_left")
        wait_for(lambda: looker.world.left.get_subscription_count(), "the camera's subscription")
        statistics = node.overlays.statistics[0]
        drive(looker, lambda: statistics["received"] > 10, "pictures")
        assert 0 < statistics["drawn"] + statistics["skipped"] <= statistics["received"]
        assert statistics["skipped"] >= 6
        looker.world.tick(looker.world.now_ns + 10**9)
        looker.world.publish_left(looker.world.now_ns + 2 * 10**9, b"no picture")
        wait_for(lambda: statistics["refused"] == 1, "a refusal")
        assert "JPEG" in statistics.problem


def test_image_transport_s_name_has_the_same_picture(tmp_path):
    with visualizer(tmp_path) as (looker, _):
        looker.look("front_wide", "overlay/{}/compressed")
        wait_for(lambda: looker.world.front.get_subscription_count(), "the camera's subscription")
        drive(looker, lambda: looker.overlays["overlay/front_wide/compressed"], "an overlay")


def test_plans_and_odometry_that_cannot_be_are_refused_and_told(tmp_path):
    with visualizer(tmp_path) as (looker, node):
        looker.look("front_wide")
        wait_for(lambda: looker.world.front.get_subscription_count(), "the camera's subscription")
        wait_for(lambda: node._cameras, "a viewer")
        looker.plan.publish(PlanMsg())
        wait_for(lambda: node.plans["refused"] == 1, "a plan refused")
        looker.world.child_frame = "nowhere"
        looker.world.tick()
        wait_for(lambda: node.odometry["refused"], "odometry refused")
        assert "got child_frame_id 'nowhere'" in node.odometry.problem
        wait_for(
            lambda: (
                "a plan was refused" in looker.world.diagnostics("alpamayo/visualizer").get("message", "")
            ),
            "the problem on /diagnostics",
        )


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("max_rate_hz", 0.0, "max_rate_hz"),
        ("jpeg_quality", 101, "jpeg_quality"),
        ("markers", "sometimes", "markers: expected one of auto, always, never, got 'sometimes'"),
        ("vehicle_rear_overhang_m", 9.0, "footprint: expected positive length and width and an overhang"),
        ("rig", "nowhere", "rig: expected a file or one of the named rigs"),
    ],
)
def test_parameters_that_cannot_be_are_refused(name: str, value: Any, says: str):
    with graph(sim_time=False) as (corner, _), pytest.raises(InvalidInput, match=says):
        VisualizerNode(parameter_overrides=[Parameter(name, value=value)], **corner.options)
