"""The parameters of the visualizer node, and the VisualizerSettings that they become."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from alpamayo_ros.ros.parameters import Changes, ParameterSpec
from alpamayo_ros.ros.planner_parameters import TABLE as PLANNER
from alpamayo_ros.sensing.rig import Rig, load_rig
from alpamayo_ros.viz.footprint import Footprint
from alpamayo_ros.viz.overlay import OverlayStyle

MARKERS_IF_ALONE, MARKERS_ALWAYS, MARKERS_NEVER = "auto", "always", "never"

PARAMETERS: tuple[ParameterSpec, ...] = (
    ParameterSpec(
        "rig",
        "default",
        "Cameras and odometry: the planner's rig file, or the name of one in config/rigs.",
        changes=Changes.START,
    ),
    ParameterSpec(
        "rig_frame",
        "",
        "Frame of the plans, as the planner's; empty takes the rig file's.",
        changes=Changes.START,
    ),
    ParameterSpec(
        "max_rate_hz",
        10.0,
        "Overlays a second of each camera at most, by the pictures' stamps; the others are not decoded.",
        minimum=0.1,
        maximum=120.0,
        changes=Changes.START,
    ),
    ParameterSpec(
        "max_width",
        960,
        "Width of an overlay at most, px: larger pictures are drawn smaller. 0 keeps their size.",
        minimum=0,
        maximum=8192,
        changes=Changes.START,
    ),
    ParameterSpec(
        "jpeg_quality",
        80,
        "Quality of the overlays' JPEG.",
        minimum=1,
        maximum=100,
        changes=Changes.START,
    ),
    ParameterSpec(
        "odometry_wait_ms",
        150.0,
        "How long a picture waits for odometry of its time, ms; then it is shown without a plan.",
        minimum=0.0,
        maximum=2000.0,
        changes=Changes.START,
    ),
    ParameterSpec(
        "history_s",
        3.0,
        "How far back the driven track is drawn, s.",
        minimum=0.0,
        maximum=60.0,
        changes=Changes.START,
    ),
    ParameterSpec(
        "candidates", True, "Draw the plan's other candidates into the overlays, too.", changes=Changes.START
    ),
    ParameterSpec(
        "reasoning_lines",
        3,
        "Lines of reasoning in an overlay at most.",
        minimum=1,
        maximum=20,
        changes=Changes.START,
    ),
    ParameterSpec(
        "markers",
        MARKERS_IF_ALONE,
        "Publish `markers` of each plan: where nobody else does (auto: the planner does), always, or never.",
        choices=(MARKERS_IF_ALONE, MARKERS_ALWAYS, MARKERS_NEVER),
        changes=Changes.START,
    ),
    *(
        replace(PLANNER[name], changes=Changes.START)
        for name in ("vehicle_length_m", "vehicle_width_m", "vehicle_rear_overhang_m")
    ),
)
"""All parameters of the visualizer node beside those that ROS itself declares."""


@dataclass(frozen=True, eq=False)
class VisualizerSettings:
    """What the parameters say; see their descriptions."""

    rig: Rig
    max_rate_hz: float
    max_width: int
    jpeg_quality: int
    odometry_wait_ms: float
    history_s: float
    markers: str
    footprint: Footprint
    style: OverlayStyle


def visualizer_settings(values: Mapping[str, Any]) -> VisualizerSettings:
    """Return what the node's parameter values say.

    Raises:
        InvalidInput: for a rig that cannot be loaded, or a vehicle that cannot be.
    """
    rig = load_rig(values["rig"])
    if values["rig_frame"]:
        rig = replace(rig, rig_frame=values["rig_frame"])
    footprint = Footprint(
        length_m=values["vehicle_length_m"],
        width_m=values["vehicle_width_m"],
        rear_overhang_m=values["vehicle_rear_overhang_m"],
    )
    taken = ("max_rate_hz", "max_width", "jpeg_quality", "odometry_wait_ms", "history_s", "markers")
    return VisualizerSettings(
        rig=rig,
        footprint=footprint,
        style=OverlayStyle(
            vehicle_width_m=footprint.width_m,
            reasoning_lines=values["reasoning_lines"],
            candidate_opacity=OverlayStyle.candidate_opacity if values["candidates"] else 0.0,
        ),
        **{name: values[name] for name in taken},
    )
