"""The parameters of the watchdog node, and the WatchdogSettings that they become."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from alpamayo_ros.ros.parameters import Changes, ParameterSpec
from alpamayo_ros.ros.planner_parameters import TABLE as PLANNER
from alpamayo_ros.safety.fallback import StopSettings
from alpamayo_ros.safety.watchdog import WatchdogSettings

_SETTINGS = WatchdogSettings()

PARAMETERS: tuple[ParameterSpec, ...] = (
    ParameterSpec(
        "rig",
        "default",
        "Where the odometry is: the planner's rig file, or the name of one in config/rigs.",
        changes=Changes.START,
    ),
    ParameterSpec(
        "rig_frame",
        "",
        "Frame of the stops, as the planner's; empty takes the rig file's.",
        changes=Changes.START,
    ),
    ParameterSpec(
        "timeout_ms",
        _SETTINGS.timeout_ms,
        "Longest silence of an active planner, ms; at least its max_plan_age and two of its plan_period_ms.",
        minimum=50.0,
        maximum=60_000.0,
        changes=Changes.LIVE,
    ),
    ParameterSpec(
        "period_ms",
        _SETTINGS.period_ms,
        "Time between two stops while the watchdog acts, ms.",
        minimum=20.0,
        maximum=1000.0,
        changes=Changes.START,
    ),
    ParameterSpec(
        "heartbeat_ms",
        PLANNER["heartbeat_ms"].default,
        "Lease of the liveliness that the watchdog offers on `plan`, as the planner's, ms.",
        minimum=50.0,
        maximum=60_000.0,
        changes=Changes.START,
    ),
    ParameterSpec(
        "max_plan_age",
        PLANNER["max_plan_age"].default,
        "Age after its t0 at which a stop must no longer be driven, as the planner's, s.",
        minimum=0.01,
        maximum=60.0,
        changes=Changes.START,
    ),
    ParameterSpec(
        "max_odometry_age_ms",
        _SETTINGS.max_odometry_age_ms,
        "A stop begins from odometry that is no older; else from where the last plan leads, ms.",
        minimum=1.0,
        maximum=10_000.0,
        changes=Changes.LIVE,
    ),
    ParameterSpec(
        "odometry_twist",
        "auto",
        "Where the measured speed comes from, as the planner's: odometry's twist (required), its poses "
        "(ignored), or the twist once it is not zero (auto).",
        choices=("auto", "required", "ignored"),
        changes=Changes.START,
    ),
    *(spec for name, spec in PLANNER.items() if name.startswith("stop.")),
)
"""All parameters of the watchdog node beside those that ROS itself declares; `stop.*` are the planner's."""


def watchdog_settings(values: Mapping[str, Any]) -> WatchdogSettings:
    """Return what the node's parameter values say; raises InvalidInput for values that cannot be."""
    stop = {name.removeprefix("stop."): value for name, value in values.items() if name.startswith("stop.")}
    return WatchdogSettings(
        timeout_ms=values["timeout_ms"],
        period_ms=values["period_ms"],
        max_odometry_age_ms=values["max_odometry_age_ms"],
        stop=StopSettings(**stop),
    )
