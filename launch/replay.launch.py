"""A bag through the planner: player, planner, and a recorder if asked for; ends with the bag.

ros2 launch alpamayo_ros replay.launch.py bag:=drive checkpoint:=nvidia/Alpamayo-1.5-10B out:=recording
`alpamayo replay` does the same in one command, and sums the run up.
"""

from __future__ import annotations

from typing import Any

from launch.actions import (
    DeclareLaunchArgument,
    IncludeLaunchDescription,
    OpaqueFunction,
    RegisterEventHandler,
    Shutdown,
)
from launch.event_handlers import OnProcessExit
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution, ThisLaunchFileDir
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from alpamayo_ros.ros.runner import shared_file
from launch import LaunchContext, LaunchDescription

# Declared here too, so that `ros2 launch … --show-args` lists them first; vehicle.launch.py uses them.
PASSED_ON = (
    ("rig", "default", "Rig file, or a name in config/rigs."),
    ("checkpoint", "", "Alpamayo's checkpoint: a folder or a hub id; empty takes params_file's."),
    ("backbone", "", "Backbone's config and tokenizer, folder or hub id; empty takes the checkpoint's."),
    ("device", "", "Where the model runs: cpu, cuda, cuda:1 or auto; empty takes params_file's."),
    ("namespace", "alpamayo", "Namespace of the nodes."),
    ("odometry", "/odom", "The bag's nav_msgs/Odometry, for rigs that name it `odometry`."),
    ("use_sim_time", "true", "Take the time from the bag: true or false."),
    ("rviz", "false", "Start RViz with our layout: true or false."),
    ("visualize", "false", "Start the visualizer, which draws plans into camera pictures: true or false."),
    ("log_level", "info", "debug, info, warn, error or fatal."),
)


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments, include the planner, add player and recorder."""
    names = [name for name, _, _ in PASSED_ON] + ["params_file"]
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "bag", description="Recording to play: rosbag2 folder, .mcap or .db3 file."
            ),
            DeclareLaunchArgument("rate", default_value="1.0", description="Bag seconds a wall second."),
            DeclareLaunchArgument(
                "loop", default_value="false", description="Start again at the end: true or false."
            ),
            DeclareLaunchArgument(
                "start_offset", default_value="0.0", description="Seconds of the bag to skip."
            ),
            DeclareLaunchArgument(
                "hold", default_value="3.0", description="Seconds that /clock runs on for the last plans."
            ),
            DeclareLaunchArgument(
                "out",
                default_value="",
                description="Folder to record inputs and outputs to; empty records nothing.",
            ),
            *(
                DeclareLaunchArgument(n, default_value=default, description=text)
                for n, default, text in PASSED_ON
            ),
            DeclareLaunchArgument(
                "params_file",
                default_value=str(shared_file("config/planner.yaml")),
                description="Parameters of the planner as YAML.",
            ),
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(
                    PathJoinSubstitution([ThisLaunchFileDir(), "vehicle.launch.py"])
                ),
                # Nobody drives by a replay, so there is nothing to stop.
                launch_arguments=[
                    *((name, LaunchConfiguration(name)) for name in names),
                    ("watchdog", "false"),
                ],
            ),
            OpaqueFunction(function=_recorder),
            OpaqueFunction(function=_player),
        ]
    )


def _player(context: LaunchContext) -> list[Any]:
    def number(name: str) -> ParameterValue:
        return ParameterValue(LaunchConfiguration(name), value_type=float)

    player = Node(
        package="alpamayo_ros",
        executable="player",
        name="player",
        namespace=LaunchConfiguration("namespace"),
        parameters=[
            {
                "bag": ParameterValue(LaunchConfiguration("bag"), value_type=str),
                "rate": number("rate"),
                "start_offset_s": number("start_offset"),
                "hold_s": number("hold"),
                "loop": ParameterValue(LaunchConfiguration("loop"), value_type=bool),
                "wait_for_active": ["planner"],
            }
        ],
        ros_arguments=["--log-level", LaunchConfiguration("log_level")],
        output="screen",
    )
    ends = OnProcessExit(target_action=player, on_exit=[Shutdown(reason="the bag has been played")])
    return [player, RegisterEventHandler(ends)]


def _recorder(context: LaunchContext) -> list[Any]:
    if not LaunchConfiguration("out").perform(context):
        return []
    return [
        Node(
            package="alpamayo_ros",
            executable="recorder",
            name="recorder",
            namespace=LaunchConfiguration("namespace"),
            parameters=[
                {
                    "output": ParameterValue(LaunchConfiguration("out"), value_type=str),
                    "use_sim_time": ParameterValue(LaunchConfiguration("use_sim_time"), value_type=bool),
                }
            ],
            ros_arguments=["--log-level", LaunchConfiguration("log_level")],
            output="screen",
        )
    ]
