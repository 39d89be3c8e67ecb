"""RViz' layout of the visualizer shows what is there: stock plugins, topics of a running graph, their QoS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sensorsim_fakes
import yaml
from planner_harness import ScriptedPlanner, straight_plan, wait_for
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy
from sim_harness import corner_of_the_graph, driving, finished, renderer
from test_sim_rviz import STOCK, TYPES, WITHOUT_TOPIC, classes, displays

from alpamayo_ros.nodes.visualizer import VisualizerNode

LAYOUT = Path(__file__).resolve().parents[2] / "config" / "rviz" / "alpamayo.rviz"


@pytest.fixture(scope="module")
def layout() -> dict[str, Any]:
    return yaml.safe_load(LAYOUT.read_text(encoding="utf-8"))


def test_it_needs_no_plugins_but_rviz_s_own(layout):
    assert set(classes(layout)) <= STOCK
    kinds = [display["Class"].partition("/")[2] for display in displays(layout).values()]
    assert {"Grid", "TF", "MarkerArray", "Path", "Odometry", "Image"} == set(kinds)
    assert kinds.count("Image") == 4
    assert layout["Visualization Manager"]["Global Options"]["Fixed Frame"] == "odom"


def test_every_topic_is_there_with_its_type_and_qos_and_the_overlays_are_drawn(layout):
    planner = ScriptedPlanner()
    planner.plan_of = lambda observation: straight_plan(observation, speed_mps=10.0)
    drives = [sensorsim_fakes.drive_message(seconds=3.0)]
    with corner_of_the_graph() as (graph, heard):
        node = VisualizerNode(
            parameter_overrides=[Parameter("rig", value="sim"), Parameter("use_sim_time", value=True)],
            **graph.options,
        )
        graph.executor.add_node(node)
        listener = next(each for each in graph.executor.get_nodes() if each.get_name() == "listener")
        overlays: list[Any] = []

        def look() -> None:
            from sensor_msgs.msg import CompressedImage

            topic = "overlay/front_wide/compressed"
            listener.create_subscription(CompressedImage, topic, overlays.append, 10)

        graph.run(look, "a subscription")
        try:
            with (
                renderer(drives=drives) as told,
                driving(graph, told.address, planner=planner, scenarios="all") as bridge,
            ):
                finished(bridge)
                wait_for(lambda: heard.received["plan"], "plans")
                wait_for(lambda: overlays, "an overlay")
                check_topics(layout, listener)
        finally:
            graph.executor.remove_node(node)
            graph.run(node.destroy_node, "the end of the node")


def check_topics(layout: dict[str, Any], listener: Any) -> None:
    for name, display in displays(layout).items():
        kind = display["Class"].partition("/")[2]
        if kind in WITHOUT_TOPIC:
            continue
        topic = display["Topic"]
        assert not topic["Value"].startswith("/"), f"{name}: expected a relative topic"
        publishers = listener.get_publishers_info_by_topic(f"{listener.get_namespace()}/{topic['Value']}")
        assert publishers, f"{name}: nobody publishes {topic['Value']}"
        if kind == "Image":  # of which RViz finds the transport by the last part of the name
            assert topic["Value"].endswith("/compressed")
            assert {publisher.node_name for publisher in publishers} == {"visualizer"}
        for publisher in publishers:
            assert publisher.topic_type == TYPES[kind], name
            assert topic["Durability Policy"] == "Volatile"
            assert publisher.qos_profile.durability == DurabilityPolicy.VOLATILE, name
            if topic["Reliability Policy"] == "Reliable":
                assert publisher.qos_profile.reliability == ReliabilityPolicy.RELIABLE, name
