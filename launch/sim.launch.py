"""Closed loop in simulation: bridge (with the embedded renderer, unless another is named) and planner.

ros2 launch alpamayo_ros sim.launch.py scenarios:=cut_in-8 checkpoint:=nvidia/Alpamayo-1.5-10B out:=out/sim
ros2 launch alpamayo_ros sim.launch.py planner:=expert rviz:=true
Ends with the last rollout, with exit code 1 if one failed. Several rollouts at once (rollouts:=2) have a
namespace each, and /clock, /tf, /tf_static and /diagnostics in it. Where tools insist on the usual names,
start one launch a ROS_DOMAIN_ID instead.
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

from alpamayo_ros.ros.runner import apply_shared_memory_profile, profile_variable, shared_file
from alpamayo_ros.ros.sim_graph import corners
from alpamayo_ros.ros.visualize_launch import is_true, rviz_node, visualizer_node
from launch import LaunchContext, LaunchDescription

# Given on the command line they win over the parameter file; empty, they leave it alone.
BRIDGE_TEXTS = ("scenarios", "planner", "renderer", "world", "usdz", "rig", "out")
PLANNER_TEXTS = ("checkpoint", "backbone", "device")


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments and start bridge, planner, recorder and RViz."""
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "scenarios",
                default_value="",
                description="Seeds, A-B ranges, ids FAMILY-SEED or families, by comma; empty: params_file's.",
            ),
            DeclareLaunchArgument(
                "planner",
                default_value="",
                description="Who plans: expert or constant; empty starts a planner node with `checkpoint`.",
            ),
            DeclareLaunchArgument(
                "checkpoint",
                default_value="",
                description="Alpamayo's checkpoint: a folder or a hub id; empty takes planner_params_file's.",
            ),
            DeclareLaunchArgument(
                "backbone",
                default_value="",
                description="Backbone's config and tokenizer, folder or hub id; empty: the checkpoint's.",
            ),
            DeclareLaunchArgument(
                "device",
                default_value="",
                description="Where the model runs: cpu, cuda, cuda:1 or auto; empty: planner_params_file's.",
            ),
            DeclareLaunchArgument(
                "rollouts", default_value="1", description="How many run at once, a namespace each."
            ),
            DeclareLaunchArgument(
                "renderer",
                default_value="",
                description="HOST:PORT of a SensorsimService; empty starts the embedded renderer.",
            ),
            DeclareLaunchArgument(
                "world",
                default_value="",
                description="Whence map and traffic: auto, procedural or recorded; empty: params_file's.",
            ),
            DeclareLaunchArgument(
                "usdz", default_value="", description="The recorded scene's .usdz, whose tracks are replayed."
            ),
            DeclareLaunchArgument(
                "rig",
                default_value="sim",
                description="Rig file, or a name in config/rigs, of bridge and planner.",
            ),
            DeclareLaunchArgument(
                "out",
                default_value="",
                description="Folder for rollout.asl and score.json; empty keeps nothing.",
            ),
            DeclareLaunchArgument(
                "realtime_factor",
                default_value="0.0",
                description="Simulated seconds a wall second at most; 0 is as fast as lock-step goes.",
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
                default_value=str(shared_file("config/sim.yaml")),
                description="Parameters of the bridge as YAML.",
            ),
            DeclareLaunchArgument(
                "planner_params_file",
                default_value=str(shared_file("config/planner.yaml")),
                description="Parameters of the planner as YAML.",
            ),
            DeclareLaunchArgument(
                "namespace", default_value="alpamayo", description="Namespace of the nodes."
            ),
            DeclareLaunchArgument(
                "log_level", default_value="info", description="debug, info, warn, error or fatal."
            ),
            OpaqueFunction(function=_shared_memory),
            OpaqueFunction(function=_rollouts),
            OpaqueFunction(function=_shown),
        ]
    )


def _shared_memory(context: LaunchContext) -> list[Any]:
    """Let Fast DDS carry images through shared memory, unless the user has chosen a profile."""
    profile = apply_shared_memory_profile(dict(context.environment))
    return [] if profile is None else [SetEnvironmentVariable(profile_variable(), str(profile))]


def _rollouts(context: LaunchContext) -> list[Any]:
    """Return the nodes of every rollout; the last bridge to end ends the launch."""

    def text(name: str) -> str:
        return str(LaunchConfiguration(name).perform(context))

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
        return [Shutdown(reason="all rollouts are over")]

    for index, corner in enumerate(corners(text("namespace"), int(text("rollouts")))):
        common: dict[str, Any] = {
            "namespace": corner.namespace,
            "remappings": list(corner.remaps.items()),
            "ros_arguments": ["--log-level", LaunchConfiguration("log_level")],
            "output": "screen",
        }
        texts = {name: text(name) for name in BRIDGE_TEXTS}
        if texts["out"] and corner.remaps:
            texts["out"] += f"/r{index}"
        bridge = _bridge(texts, index, common)
        running.append(bridge)
        actions += [
            bridge,
            RegisterEventHandler(OnProcessExit(target_action=bridge, on_exit=on_exit)),
        ]
        if not text("planner"):
            actions.append(_planner({name: text(name) for name in PLANNER_TEXTS}, common))
        if text("record"):
            folder = f"{text('record')}/r{index}" if corner.remaps else text("record")
            actions.append(_recorder(folder, common))
    return actions


def _bridge(texts: dict[str, str], index: int, common: dict[str, Any]) -> Node:
    parameters: dict[str, Any] = {
        name: ParameterValue(value, value_type=str) for name, value in texts.items() if value
    }
    parameters["rollout_index"] = index
    parameters["realtime_factor"] = ParameterValue(LaunchConfiguration("realtime_factor"), value_type=float)
    # Without `name`, which would rename every node of the process: a hosted planner keeps its own.
    return Node(
        package="alpamayo_ros",
        executable="sim_bridge",
        parameters=[LaunchConfiguration("params_file"), parameters],
        **common,
    )


def _planner(texts: dict[str, str], common: dict[str, Any]) -> Node:
    parameters: dict[str, Any] = {
        name: ParameterValue(value, value_type=str) for name, value in texts.items() if value
    }
    parameters["rig"] = ParameterValue(LaunchConfiguration("rig"), value_type=str)
    parameters["use_sim_time"] = True
    parameters["autostart"] = True
    return Node(
        package="alpamayo_ros",
        executable="planner",
        name="planner",
        parameters=[LaunchConfiguration("planner_params_file"), parameters],
        **common,
    )


def _recorder(folder: str, common: dict[str, Any]) -> Node:
    return Node(
        package="alpamayo_ros",
        executable="recorder",
        name="recorder",
        parameters=[{"output": ParameterValue(folder, value_type=str), "use_sim_time": True}],
        **common,
    )


def _shown(context: LaunchContext) -> list[Any]:
    """Return the visualizer and RViz, where they are asked for, looking at the first rollout."""

    def text(name: str) -> str:
        return str(LaunchConfiguration(name).perform(context))

    corner = corners(text("namespace"), int(text("rollouts")))[0]
    common: dict[str, Any] = {"namespace": corner.namespace, "remaps": corner.remaps, "use_sim_time": True}
    nodes: list[Any] = []
    if is_true(text("visualize")):
        nodes.append(visualizer_node(rig=text("rig"), log_level=text("log_level"), **common))
    if is_true(text("rviz")):
        nodes.append(rviz_node("sim", **common))
    return nodes
