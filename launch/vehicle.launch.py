"""The planner on a vehicle, configured and activated, and the watchdog that stops it if the planner dies.

ros2 launch alpamayo_ros vehicle.launch.py checkpoint:=nvidia/Alpamayo-1.5-10B rig:=rig.yaml vehicle:=shuttle
record:=true records the drive, ring:=30 saves the last 30 s at a disengagement: see docs/RECORDING.md.
"""

from __future__ import annotations

from typing import Any

from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from alpamayo_ros.ros.runner import apply_shared_memory_profile, profile_variable, shared_file
from alpamayo_ros.ros.vehicle_file import find_vehicle_file
from alpamayo_ros.ros.visualize_launch import is_true, rviz_node, visualizer_node
from launch import LaunchContext, LaunchDescription

# Given on the command line they win over the parameter file; empty, they leave it alone.
PLANNER_PARAMETERS = ("rig", "checkpoint", "backbone", "device")
RECORDED = "drive_%Y%m%dT%H%M%SZ"


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments and start planner, watchdog and recorder."""
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "rig",
                default_value="",
                description="Rig file, or a name in config/rigs; empty takes params_file's.",
            ),
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
                "device",
                default_value="",
                description="Where the model runs: cpu, cuda, cuda:1 or auto; empty takes params_file's.",
            ),
            DeclareLaunchArgument(
                "params_file",
                default_value=str(shared_file("config/planner.yaml")),
                description="Parameters of the planner as YAML.",
            ),
            DeclareLaunchArgument(
                "vehicle",
                default_value="",
                description="What it can do and how it stops: a file, or a name in config/vehicles.",
            ),
            DeclareLaunchArgument(
                "watchdog",
                default_value="true",
                description="Start the watchdog, which stops the vehicle if the planner dies: true or false.",
            ),
            DeclareLaunchArgument(
                "watchdog_params_file",
                default_value=str(shared_file("config/watchdog.yaml")),
                description="Parameters of the watchdog as YAML.",
            ),
            DeclareLaunchArgument(
                "record",
                default_value="",
                description="Folder to record all topics to, strftime's fields allowed; true for drive_TIME "
                "in the working folder; empty records none.",
            ),
            DeclareLaunchArgument(
                "ring",
                default_value="0.0",
                description="Seconds kept in memory, saved at a disengagement or by save_recording; 0: none.",
            ),
            DeclareLaunchArgument(
                "ring_output",
                default_value="",
                description="Folder for what is saved of the ring; empty for one beside `record`, or ./ring.",
            ),
            DeclareLaunchArgument(
                "namespace", default_value="alpamayo", description="Namespace of the nodes."
            ),
            DeclareLaunchArgument(
                "odometry",
                default_value="odometry",
                description="Topic of nav_msgs/Odometry, for rigs that name it `odometry`.",
            ),
            DeclareLaunchArgument(
                "use_sim_time", default_value="false", description="Take the time from /clock: true or false."
            ),
            DeclareLaunchArgument(
                "autostart",
                default_value="true",
                description="true configures and activates the planner; false leaves it to others.",
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
                "log_level", default_value="info", description="debug, info, warn, error or fatal."
            ),
            OpaqueFunction(function=_shared_memory),
            OpaqueFunction(function=_planner),
            OpaqueFunction(function=_watchdog),
            OpaqueFunction(function=_recorder),
            OpaqueFunction(function=_shown),
        ]
    )


def _shared_memory(context: LaunchContext) -> list[Any]:
    """Let Fast DDS carry images through shared memory, unless the user has chosen a profile."""
    profile = apply_shared_memory_profile(dict(context.environment))
    return [] if profile is None else [SetEnvironmentVariable(profile_variable(), str(profile))]


def _files(context: LaunchContext, params_file: str) -> list[Any]:
    """Return the parameter files of a node, the vehicle's after its own: the last one wins."""
    vehicle = LaunchConfiguration("vehicle").perform(context)
    files: list[Any] = [LaunchConfiguration(params_file)]
    return [*files, str(find_vehicle_file(vehicle))] if vehicle else files


def _planner(context: LaunchContext) -> list[Any]:
    given = {name: LaunchConfiguration(name).perform(context) for name in PLANNER_PARAMETERS}
    parameters: dict[str, Any] = {
        name: ParameterValue(value, value_type=str) for name, value in given.items() if value
    }
    for name in ("use_sim_time", "autostart"):
        parameters[name] = ParameterValue(LaunchConfiguration(name), value_type=bool)
    return [
        Node(
            package="alpamayo_ros",
            executable="planner",
            name="planner",
            namespace=LaunchConfiguration("namespace"),
            parameters=[*_files(context, "params_file"), parameters],
            remappings=[("odometry", LaunchConfiguration("odometry"))],
            ros_arguments=["--log-level", LaunchConfiguration("log_level")],
            output="screen",
        )
    ]


def _watchdog(context: LaunchContext) -> list[Any]:
    if LaunchConfiguration("watchdog").perform(context).lower() != "true":
        return []
    parameters: dict[str, Any] = {
        "use_sim_time": ParameterValue(LaunchConfiguration("use_sim_time"), value_type=bool)
    }
    if LaunchConfiguration("rig").perform(context):
        parameters["rig"] = ParameterValue(LaunchConfiguration("rig"), value_type=str)
    return [
        Node(
            package="alpamayo_ros",
            executable="watchdog",
            name="watchdog",
            namespace=LaunchConfiguration("namespace"),
            parameters=[*_files(context, "watchdog_params_file"), parameters],
            remappings=[("odometry", LaunchConfiguration("odometry"))],
            ros_arguments=["--log-level", LaunchConfiguration("log_level")],
            respawn=True,
            respawn_delay=1.0,
            output="screen",
        )
    ]


def _recorder(context: LaunchContext) -> list[Any]:
    record, ring, ring_output = (
        str(LaunchConfiguration(name).perform(context)) for name in ("record", "ring", "ring_output")
    )
    record = {"true": RECORDED, "false": ""}.get(record.lower(), record)
    if not record and not float(ring) > 0:
        return []
    return [
        Node(
            package="alpamayo_ros",
            executable="recorder",
            name="recorder",
            namespace=LaunchConfiguration("namespace"),
            parameters=[
                {
                    "output": ParameterValue(record or "ring", value_type=str),
                    "continuous": bool(record),
                    "split_s": 300.0,
                    "ring_s": float(ring),
                    "ring_output": ParameterValue(ring_output, value_type=str),
                    "use_sim_time": ParameterValue(LaunchConfiguration("use_sim_time"), value_type=bool),
                }
            ],
            ros_arguments=["--log-level", LaunchConfiguration("log_level")],
            output="screen",
        )
    ]


def _shown(context: LaunchContext) -> list[Any]:
    """Return the visualizer and RViz, where they are asked for."""

    def text(name: str) -> str:
        return str(LaunchConfiguration(name).perform(context))

    common: dict[str, Any] = {
        "namespace": text("namespace"),
        "use_sim_time": is_true(text("use_sim_time")),
        "remaps": {"odometry": text("odometry")},
    }
    nodes: list[Any] = []
    if is_true(text("visualize")):
        nodes.append(visualizer_node(rig=text("rig"), log_level=text("log_level"), **common))
    if is_true(text("rviz")):
        nodes.append(rviz_node("alpamayo", **common))
    return nodes
