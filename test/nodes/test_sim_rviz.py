"""The RViz layout shows what is there: stock plugins only, topics of the running graph, QoS that match."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sensorsim_fakes
import yaml
from planner_harness import ScriptedPlanner, straight_plan, wait_for
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy
from sim_harness import corner_of_the_graph, driving, finished, renderer

LAYOUT = Path(__file__).resolve().parents[2] / "config" / "rviz" / "sim.rviz"
TYPES = {
    "MarkerArray": "visualization_msgs/msg/MarkerArray",
    "Path": "nav_msgs/msg/Path",
    "Odometry": "nav_msgs/msg/Odometry",
    "Image": "sensor_msgs/msg/CompressedImage",
}
WITHOUT_TOPIC = {"Grid", "TF"}
STOCK = {
    *(f"rviz_default_plugins/{name}" for name in (*TYPES, *WITHOUT_TOPIC)),
    *(f"rviz_default_plugins/{name}" for name in ("MoveCamera", "Measure", "ThirdPersonFollower")),
    *(f"rviz_common/{name}" for name in ("Displays", "Views", "Time")),
}
"""Of what comes with RViz 2, what the layout uses."""


@pytest.fixture(scope="module")
def layout() -> dict[str, Any]:
    return yaml.safe_load(LAYOUT.read_text(encoding="utf-8"))


def classes(part: Any) -> list[str]:
    if isinstance(part, dict):
        own = [part["Class"]] if part.get("Class") else []
        return own + [name for value in part.values() for name in classes(value)]
    return [name for value in part for name in classes(value)] if isinstance(part, list) else []


def displays(layout: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {display["Name"]: display for display in layout["Visualization Manager"]["Displays"]}


def test_it_needs_no_plugins_but_rviz_s_own(layout):
    assert set(classes(layout)) <= STOCK
    kinds = [display["Class"].partition("/")[2] for display in displays(layout).values()]
    assert {"Grid", "TF", "MarkerArray", "Path", "Image"} <= set(kinds)
    assert kinds.count("Image") == 4


def test_its_frames_are_those_of_the_simulation(layout):
    manager = layout["Visualization Manager"]
    assert manager["Global Options"]["Fixed Frame"] == "odom"
    assert manager["Views"]["Current"]["Target Frame"] == "base_link"
    assert displays(layout)["Grid"]["Reference Frame"] == "odom"


def test_every_topic_is_there_with_its_type_and_qos(layout):
    planner = ScriptedPlanner()
    planner.plan_of = lambda observation: straight_plan(observation, speed_mps=10.0)
    drives = [sensorsim_fakes.drive_message(seconds=3.0)]
    with (
        corner_of_the_graph() as (graph, heard),
        renderer(drives=drives) as told,
        driving(graph, told.address, planner=planner, scenarios="all") as bridge,
    ):
        finished(bridge)
        wait_for(lambda: heard.received["plan"], "plans")
        node = next(node for node in graph.executor.get_nodes() if node.get_name() == "listener")
        for name, display in displays(layout).items():
            kind = display["Class"].partition("/")[2]
            if kind in WITHOUT_TOPIC:
                continue
            topic = display["Topic"]
            assert not topic["Value"].startswith("/"), f"{name}: expected a relative topic"
            full = f"{node.get_namespace()}/{topic['Value']}"
            publishers = node.get_publishers_info_by_topic(full)
            publishers = [p for p in publishers if p.node_name in ("sim_bridge", "planner")]
            assert publishers, f"{name}: nobody publishes {full}"
            for publisher in publishers:
                assert publisher.topic_type == TYPES[kind], name
                offered = publisher.qos_profile
                if topic["Durability Policy"] == "Transient Local":
                    assert offered.durability == DurabilityPolicy.TRANSIENT_LOCAL, name
                if topic["Reliability Policy"] == "Reliable":
                    assert offered.reliability == ReliabilityPolicy.RELIABLE, name
        shown = {m.ns for array in heard.received["actors"] for m in array.markers}
        assert "ego" in shown
