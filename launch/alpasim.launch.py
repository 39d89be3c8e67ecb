"""AlpaSim's driver: Alpamayo behind a port that AlpaSim's runtime calls, its sessions mirrored into ROS.

ros2 launch alpamayo_ros alpasim.launch.py checkpoint:=nvidia/Alpamayo-1.5-10B host:=0.0.0.0 rviz:=true
ros2 launch alpamayo_ros alpasim.launch.py checkpoint:=nvidia/Alpamayo-1.5-10B drivers:=4
Several drivers have a GPU each (cuda:0, cuda:1, ...), a port each from `port` on, and a namespace each, with
/clock, /tf, /tf_static and /diagnostics in it. Ends when all drivers have.
"""

from __future__ import annotations

from typing import Any

from launch.actions import (
    DeclareLaunchArgument,
    OpaqueFunction,
    RegisterEventHandler,
    SetEnvironmentVariable,
    Shutdown,
)
from launch.event_handlers import OnProcessExit
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from alpamayo_ros.ros.driver_graph import driver_places, planner_parameters
from alpamayo_ros.ros.runner import apply_shared_memory_profile, profile_variable, shared_file
from alpamayo_ros.ros.visualize_launch import rviz_node, visualizer_node
from launch import LaunchContext, LaunchDescription

# Given on the command line they win over the parameter file; empty, they leave it alone.
BRIDGE_TEXTS = ("planner", "host", "rig", "cameras", "navigation", "debug_info")
MODEL_TEXTS = ("checkpoint", "backbone")


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments and start drivers, planner, recorder and RViz."""
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "checkpoint",
                default_value="",
                description="Alpamayo's checkpoint: a folder or a hub id; empty takes params_file's.",
            ),
            DeclareLaunchArgument(
                "backbone",
                default_value="",
                description="Backbone's config and tokenizer, folder or hub id; empty: the checkpoint's.",
            ),
            DeclareLaunchArgument(
                "planner",
                default_value="",
                description="Who plans: constant for constant velocity; empty is Alpamayo.",
            ),
            DeclareLaunchArgument(
                "device",
                default_value="",
                description="Where the model runs: cpu, cuda, cuda:1 or auto; empty: one GPU a driver if "
                "there are several drivers, else params_file's.",
            ),
            DeclareLaunchArgument(
                "drivers", default_value="1", description="How many run, with a port and a GPU each."
            ),
            DeclareLaunchArgument(
                "host",
                default_value="",
                description="Address to listen at, 0.0.0.0 for every network's; empty: params_file's.",
            ),
            DeclareLaunchArgument("port", default_value="6789", description="Port of the first driver."),
            DeclareLaunchArgument(
                "rig", default_value="", description="Rig file, or a name in config/rigs; empty is sim."
            ),
            DeclareLaunchArgument(
                "cameras",
                default_value="",
                description="LOGICAL_ID=ROLE by comma, for cameras with other names than AlpaSim's usual.",
            ),
            DeclareLaunchArgument(
                "navigation",
                default_value="",
                description="Whether routes become navigation text: auto, on or off; empty: params_file's.",
            ),
            DeclareLaunchArgument(
                "debug_info",
                default_value="",
                description="Form of the debug info: json or pickle; empty: params_file's.",
            ),
            DeclareLaunchArgument(
                "num_samples",
                default_value="0",
                description="Trajectories drawn a plan; 0 takes the parameter file's.",
            ),
            DeclareLaunchArgument(
                "through_topics",
                default_value="false",
                description="Drive one session at a time through the node graph, by a planner node.",
            ),
            DeclareLaunchArgument(
                "record",
                default_value="",
                description="Folder to record all topics to as a bag; empty records none.",
            ),
            DeclareLaunchArgument(
                "rviz", default_value="false", description="Start RViz with our layout: true or false."
            ),
            DeclareLaunchArgument(
                "visualize",
                default_value="false",
                description="Start the visualizer, which draws plans into camera pictures: true or false.",
            ),
            DeclareLaunchArgument(
                "params_file",
                default_value=str(shared_file("config/alpasim.yaml")),
                description="Parameters of the drivers as YAML.",
            ),
            DeclareLaunchArgument(
                "planner_params_file",
                default_value=str(shared_file("config/planner.yaml")),
                description="Parameters of the planner as YAML, where there is one.",
            ),
            DeclareLaunchArgument(
                "namespace", default_value="alpamayo", description="Namespace of the nodes."
            ),
            DeclareLaunchArgument(
                "log_level", default_value="info", description="debug, info, warn, error or fatal."
            ),
            OpaqueFunction(function=_shared_memory),
            OpaqueFunction(function=_drivers),
            OpaqueFunction(function=_shown),
        ]
    )


def _shared_memory(context: LaunchContext) -> list[Any]:
    """Let Fast DDS carry images through shared memory, unless the user has chosen a profile."""
    profile = apply_shared_memory_profile(dict(context.environment))
    return [] if profile is None else [SetEnvironmentVariable(profile_variable(), str(profile))]


def _text(context: LaunchContext, name: str) -> str:
    return str(LaunchConfiguration(name).perform(context))


def _is_true(context: LaunchContext, name: str) -> bool:
    return _text(context, name).lower() == "true"


def _drivers(context: LaunchContext) -> list[Any]:
    """Return the nodes of every driver; the last driver to end ends the launch."""
    through_topics = _is_true(context, "through_topics")
    count = int(_text(context, "num_samples"))
    samples = {"num_samples": count} if count else {}
    places = driver_places(
        _text(context, "namespace"),
        int(_text(context, "drivers")),
        port=int(_text(context, "port")),
        device=_text(context, "device"),
    )
    actions: list[Any] = []
    running: list[Any] = []
    failed: list[str] = []

    def on_exit(event: Any, context: LaunchContext) -> list[Any]:
        running.pop()
        if event.returncode != 0 and not context.is_shutdown:
            failed.append(f"{event.process_name} ended with exit code {event.returncode}")
        if running:
            return []
        if failed:  # an exception is what gives `ros2 launch` an exit code of its own
            raise RuntimeError("; ".join(failed))
        return [Shutdown(reason="all drivers are over")]

    for place in places:
        common: dict[str, Any] = {
            "namespace": place.corner.namespace,
            "remappings": list(place.corner.remaps.items()),
            "ros_arguments": ["--log-level", LaunchConfiguration("log_level")],
            "output": "screen",
        }
        model = {name: _text(context, name) for name in MODEL_TEXTS} | {"device": place.device}
        texts = {name: _text(context, name) for name in BRIDGE_TEXTS}
        bridge = _bridge(
            {**texts, **({} if through_topics else model)},
            {"port": place.port, "through_topics": through_topics, **samples},
            common,
        )
        running.append(bridge)
        actions += [bridge, RegisterEventHandler(OnProcessExit(target_action=bridge, on_exit=on_exit))]
        if through_topics:
            rig = planner_parameters(texts["rig"] or "sim", namespace=place.corner.namespace)
            actions.append(_planner(model, {**rig, **samples}, common))
        if _text(context, "record"):
            folder = _text(context, "record") + (f"/driver_{place.index}" if place.corner.remaps else "")
            actions.append(_recorder(folder, common))
    return actions


def _typed(texts: dict[str, str]) -> dict[str, Any]:
    """Return those texts that are given; YAML would take some of them for numbers."""
    return {name: ParameterValue(value, value_type=str) for name, value in texts.items() if value}


def _bridge(texts: dict[str, str], values: dict[str, Any], common: dict[str, Any]) -> Node:
    return Node(
        package="alpamayo_ros",
        executable="sim_bridge",
        parameters=[
            LaunchConfiguration("params_file"),
            {"mode": "alpasim", **values, **_typed(texts)},
        ],
        **common,
    )


def _planner(texts: dict[str, str], values: dict[str, Any], common: dict[str, Any]) -> Node:
    return Node(
        package="alpamayo_ros",
        executable="planner",
        name="planner",
        parameters=[LaunchConfiguration("planner_params_file"), {**values, **_typed(texts)}],
        **common,
    )


def _recorder(folder: str, common: dict[str, Any]) -> Node:
    return Node(
        package="alpamayo_ros",
        executable="recorder",
        name="recorder",
        parameters=[{"output": ParameterValue(folder, value_type=str)}],
        **common,
    )


def _shown(context: LaunchContext) -> list[Any]:
    """Return what looks at the session that is watched, in its time, of the first driver."""
    corner = driver_places(_text(context, "namespace"), int(_text(context, "drivers")))[0].corner
    clock = "/clock" if _is_true(context, "through_topics") else f"{corner.namespace}/watched/clock"
    common: dict[str, Any] = {"remaps": {**corner.remaps, "/clock": clock}, "use_sim_time": True}
    nodes: list[Any] = []
    if _is_true(context, "visualize"):
        nodes.append(
            visualizer_node(
                namespace=f"{corner.namespace}/watched",
                rig=_text(context, "rig") or "sim",
                rig_frame="watched/base_link",
                log_level=_text(context, "log_level"),
                **common,
            )
        )
    if _is_true(context, "rviz"):
        nodes.append(rviz_node("alpasim", namespace=corner.namespace, **common))
    return nodes
