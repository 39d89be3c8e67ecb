"""Foxglove's layout shows what is there: stock panels, topics of the running graph, fields of their types."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import sensorsim_fakes
from planner_harness import ScriptedPlanner, straight_plan, wait_for
from rclpy.parameter import Parameter
from sim_harness import CAMERAS, corner_of_the_graph, destroyed, driving, finished, renderer

from alpamayo_ros.bags.typestore import base_typestore
from alpamayo_ros.nodes.visualizer import VisualizerNode

LAYOUT = Path(__file__).resolve().parents[2] / "config" / "foxglove" / "alpamayo.json"
FOXGLOVE = json.loads(LAYOUT.read_text(encoding="utf-8"))
START = "/alpamayo/"
STOCK = {"3D", "Image", "RawMessages", "Plot", "DiagnosticSummary"}
"""Of the panels that come with Foxglove, those that the layout uses."""


def leaves(part: Any) -> list[str]:
    return [part] if isinstance(part, str) else [*leaves(part["first"]), *leaves(part["second"])]


def panels(kind: str) -> list[dict[str, Any]]:
    return [config for name, config in FOXGLOVE["configById"].items() if name.partition("!")[0] == kind]


def paths() -> list[str]:
    """Return the message paths, TOPIC.FIELD.FIELD, that panels show."""
    found = [panel["topicPath"] for panel in panels("RawMessages")]
    return found + [line["value"] for panel in panels("Plot") for line in panel["paths"]]


def test_its_panels_are_foxglove_s_own_and_those_that_are_laid_out():
    assert {name.partition("!")[0] for name in FOXGLOVE["configById"]} == STOCK
    assert sorted(leaves(FOXGLOVE["layout"])) == sorted(FOXGLOVE["configById"])


def test_it_shows_path_markers_overlays_reasoning_latency_and_diagnostics():
    (space,) = panels("3D")
    shown = {topic for topic, config in space["topics"].items() if config["visible"]}
    assert {START + "path", START + "markers"} <= shown and space["followTf"] == "base_link"
    images = [panel["imageMode"]["imageTopic"] for panel in panels("Image")]
    assert images == [f"{START}overlay/{camera}" for camera in CAMERAS]
    assert START + "reasoning.data" in paths() and START + "plan.times.total_ms" in paths()
    assert [panel["topicToRender"] for panel in panels("DiagnosticSummary")] == ["/diagnostics"]


def test_every_topic_is_there_and_has_the_fields_that_are_shown():
    planner = ScriptedPlanner()
    planner.plan_of = lambda observation: straight_plan(observation, speed_mps=10.0)
    drives = [sensorsim_fakes.drive_message(seconds=3.0)]
    with (
        corner_of_the_graph() as (graph, heard),
        renderer(drives=drives) as told,
        driving(graph, told.address, planner=planner, scenarios="all") as bridge,
        ExitStack() as stack,
    ):
        overrides = [Parameter("rig", value="sim"), Parameter("use_sim_time", value=True)]
        visualizer = VisualizerNode(parameter_overrides=overrides, **graph.options)
        stack.enter_context(destroyed(graph, [visualizer]))
        finished(bridge)
        wait_for(lambda: heard.received["plan"], "plans")
        node = next(node for node in graph.executor.get_nodes() if node.get_name() == "listener")
        there = {
            name.removeprefix(f"/{graph.name}/"): types[0]
            for name, types in node.get_topic_names_and_types()
            if node.get_publishers_info_by_topic(name)
        }
    store = base_typestore()
    expected = {"markers": "visualization_msgs/msg/MarkerArray", "path": "nav_msgs/msg/Path"}
    for topic in [t for panel in panels("3D") for t in panel["topics"]]:
        name = topic.removeprefix(START)
        assert there[name] == expected.get(name, there[name])
    for panel in panels("Image"):
        name = panel["imageMode"]["imageTopic"].removeprefix(START)
        assert there[name] == "sensor_msgs/msg/CompressedImage"
    for path in paths():
        topic, *fields = path.removeprefix(START).split(".")
        kind = there[topic]
        for field in fields:
            kinds = dict(store.fielddefs[kind][1])
            assert field in kinds, f"{path}: {kind} has no {field}"
            kind = str(kinds[field][1]) if isinstance(kinds[field][1], str) else ""
    assert there["diagnostics"] == "diagnostic_msgs/msg/DiagnosticArray"
    (space,) = panels("3D")
    assert space["layers"]["grid"]["frameId"] == "odom"
