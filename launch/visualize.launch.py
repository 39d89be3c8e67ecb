"""The visualizer beside a stack that runs, and RViz with our layout.

ros2 launch alpamayo_ros visualize.launch.py rig:=rig.yaml
ros2 launch alpamayo_ros visualize.launch.py rig:=sim use_sim_time:=true rviz:=false
"""

from __future__ import annotations

from typing import Any

from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration

from alpamayo_ros.ros.runner import apply_shared_memory_profile, profile_variable
from alpamayo_ros.ros.visualize_launch import is_true, rviz_node, visualizer_node
from launch import LaunchContext, LaunchDescription


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments and start visualizer and RViz."""
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "rig",
                default_value="default",
                description="The planner's rig file, or a name in config/rigs.",
            ),
            DeclareLaunchArgument(
                "rig_frame", default_value="", description="Frame of the plans; empty takes the rig's."
            ),
            DeclareLaunchArgument(
                "rviz", default_value="true", description="Start RViz with our layout: true or false."
            ),
            DeclareLaunchArgument(
                "visualizer",
                default_value="true",
                description="Start the visualizer, which draws the overlays: true or false.",
            ),
            DeclareLaunchArgument(
                "layout",
                default_value="alpamayo",
                description="Layout of RViz: alpamayo, sim or alpasim.",
            ),
            DeclareLaunchArgument(
                "fixed_frame",
                default_value="",
                description="RViz's fixed frame: your odometry's; empty takes the layout's, odom.",
            ),
            DeclareLaunchArgument(
                "namespace", default_value="alpamayo", description="Namespace of the planner."
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
                "log_level", default_value="info", description="debug, info, warn, error or fatal."
            ),
            OpaqueFunction(function=_shared_memory),
            OpaqueFunction(function=_nodes),
        ]
    )


def _shared_memory(context: LaunchContext) -> list[Any]:
    """Let Fast DDS carry images through shared memory, unless the user has chosen a profile."""
    profile = apply_shared_memory_profile(dict(context.environment))
    return [] if profile is None else [SetEnvironmentVariable(profile_variable(), str(profile))]


def _nodes(context: LaunchContext) -> list[Any]:
    def text(name: str) -> str:
        return str(LaunchConfiguration(name).perform(context))

    common: dict[str, Any] = {
        "namespace": LaunchConfiguration("namespace"),
        "use_sim_time": is_true(text("use_sim_time")),
        "remaps": {"odometry": LaunchConfiguration("odometry")},
    }
    nodes: list[Any] = []
    if is_true(text("visualizer")):
        nodes.append(
            visualizer_node(
                rig=text("rig"), rig_frame=text("rig_frame"), log_level=text("log_level"), **common
            )
        )
    if is_true(text("rviz")):
        nodes.append(rviz_node(text("layout"), fixed_frame=text("fixed_frame"), **common))
    return nodes
