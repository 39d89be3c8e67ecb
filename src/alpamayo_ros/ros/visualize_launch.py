"""What the launch files have in common: the visualizer node, and RViz with one of our layouts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from alpamayo_ros.ros.runner import shared_file


def is_true(text: str) -> bool:
    """Return whether the text of a launch argument says so."""
    return text.strip().lower() == "true"


def visualizer_node(
    *,
    namespace: Any,
    rig: str,
    use_sim_time: bool,
    rig_frame: str = "",
    remaps: Mapping[str, Any] | None = None,
    parameters: Mapping[str, Any] | None = None,
    log_level: Any = "info",
) -> Node:
    """Return the visualizer; an empty rig or frame leaves what its parameters say."""
    texts = {"rig": rig, "rig_frame": rig_frame}
    given = {name: ParameterValue(text, value_type=str) for name, text in texts.items() if text}
    return Node(
        package="alpamayo_ros",
        executable="visualizer",
        name="visualizer",
        namespace=namespace,
        parameters=[{"use_sim_time": use_sim_time, **given, **(parameters or {})}],
        remappings=list((remaps or {}).items()),
        ros_arguments=["--log-level", log_level],
        output="screen",
    )


def rviz_node(
    layout: str,
    *,
    namespace: Any,
    use_sim_time: bool,
    remaps: Mapping[str, Any] | None = None,
    fixed_frame: str = "",
) -> Node:
    """Return RViz with a layout of config/rviz, whose topics are relative to the namespace.

    An empty fixed frame leaves the layout's.
    """
    frame = ["-f", fixed_frame] if fixed_frame else []
    return Node(
        package="rviz2",
        executable="rviz2",
        namespace=namespace,
        remappings=list((remaps or {}).items()),
        arguments=["-d", str(shared_file(f"config/rviz/{layout}.rviz")), *frame],
        parameters=[{"use_sim_time": use_sim_time}],
        output="log",
    )
