"""The parameters of the safety stage, and the SafetySettings that they become."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from alpamayo_ros.ros.parameters import Changes, ParameterSpec
from alpamayo_ros.safety.arbiter import ArbiterSettings
from alpamayo_ros.safety.fallback import StopSettings
from alpamayo_ros.safety.gate import GateSettings
from alpamayo_ros.safety.limits import VehicleLimits
from alpamayo_ros.safety.supervisor import SafetySettings
from alpamayo_ros.types import InvalidInput

_ARBITER = ArbiterSettings()
_SAFETY = SafetySettings()
_FROM_ELSEWHERE = {"max_plan_age_ms"}  # of the gate: the node has one max_plan_age for all
_MOST = 1e6

_LIMITS = {
    "max_speed_mps": "Fastest plan, m/s.",
    "max_accel_mps2": "What the engine can do, m/s².",
    "max_decel_mps2": "What the brakes can do, m/s².",
    "max_lateral_accel_mps2": "What the tyres can do in a curve, m/s².",
    "max_jerk_mps3": "Fastest change of the acceleration, over windows of 0.5 s, m/s³.",
    "max_curvature_per_m": "Tightest curve of the rear axle that the steering can do, 1/m.",
}
_GATE = {
    "v0_tolerance_mps": "How far the speed of history and plan may be from odometry's, m/s.",
    "v0_tolerance_share": "The same as a share of odometry's speed; both are added.",
    "first_waypoint_tolerance_m": "How far the first waypoint may be from where the speed leads by then, m.",
    "max_reverse_m": "Longest way back in a plan, m.",
    "max_kink_rad": "Largest angle between one piece of a path and the next, rad.",
    "max_slip_rad": "Largest angle between heading and direction of travel, rad.",
    "max_plan_lead_ms": "How far t0 may lie in the future, by clocks that differ, ms.",
}
_STOP = {
    "comfort_decel_mps2": "Deceleration of an ordinary stop, m/s².",
    "comfort_jerk_mps3": "Jerk of an ordinary stop, m/s³.",
    "hard_decel_mps2": "Deceleration where the last valid path is too old or there is none, m/s².",
    "hard_jerk_mps3": "Jerk of such a stop, m/s³.",
    "emergency_decel_mps2": "The most, to be no faster than the last valid plan would have been, m/s².",
    "max_path_age_ms": "Age of the last valid plan from which on the stop is harder, ms.",
    "max_offset_m": "Further off the last valid path the stop does not lead back onto it, m.",
    "max_heading_offset_rad": "Turned further off the last valid path the stop does not follow it, rad.",
}


def _group(prefix: str, defaults: Any, texts: Mapping[str, str]) -> tuple[ParameterSpec, ...]:
    names = [field.name for field in fields(defaults) if field.name not in _FROM_ELSEWHERE]
    return tuple(
        ParameterSpec(
            f"{prefix}.{name}",
            getattr(defaults, name),
            texts[name],
            minimum=0.0,
            maximum=_MOST,
            changes=Changes.LIVE,
        )
        for name in names
    )


SAFETY_PARAMETERS: tuple[ParameterSpec, ...] = (
    ParameterSpec(
        "safety_gate",
        True,
        "Judge each plan, and send stops while none is valid; off: plans go out UNCHECKED, for experiments.",
    ),
    ParameterSpec(
        "monitor_rejects",
        False,
        "Refuse a plan that does not do what its reasoning says; otherwise that is reported.",
        changes=Changes.LIVE,
    ),
    ParameterSpec(
        "odometry_twist",
        "auto",
        "Where the measured speed comes from: odometry's twist (required), its poses (ignored), or the twist "
        "once it is not zero (auto).",
        choices=("auto", "required", "ignored"),
    ),
    ParameterSpec(
        "max_odometry_age_ms",
        _SAFETY.max_odometry_age_ms,
        "A stop begins from odometry that is no older; else from where the last plan leads, ms.",
        minimum=1.0,
        maximum=10_000.0,
        changes=Changes.LIVE,
    ),
    ParameterSpec(
        "fallback_after_ms",
        0.0,
        "Age of the last valid plan, from its t0, at which stops begin, ms; 0 is max_plan_age. Longer than "
        "the model takes plus the time between plans.",
        minimum=0.0,
        maximum=60_000.0,
        changes=Changes.LIVE,
    ),
    ParameterSpec(
        "fallback_period_ms",
        100.0,
        "Time between two stops while no plan is valid, ms.",
        minimum=20.0,
        maximum=1000.0,
        changes=Changes.LIVE,
    ),
    ParameterSpec(
        "recover_plans",
        _ARBITER.recover_plans,
        "Valid plans in a row that end a fallback.",
        minimum=1,
        maximum=100,
        changes=Changes.LIVE,
    ),
    ParameterSpec(
        "recover_ms",
        _ARBITER.recover_ms,
        "For how long, at least, they must have been coming, ms.",
        minimum=0.0,
        maximum=60_000.0,
        changes=Changes.LIVE,
    ),
    ParameterSpec(
        "heartbeat_ms",
        500.0,
        "Lease of the liveliness of `plan`: a planner that is silent for longer is dead, ms.",
        minimum=50.0,
        maximum=60_000.0,
    ),
    *_group("limits", VehicleLimits(), _LIMITS),
    *_group("gate", GateSettings(), _GATE),
    *_group("stop", StopSettings(), _STOP),
)
"""The parameters of the safety stage."""


def safety_settings(values: Mapping[str, Any]) -> SafetySettings:
    """Return what a node's parameter values say.

    Raises:
        InvalidInput: for values that cannot be, alone or together.
    """

    def group(prefix: str) -> dict[str, Any]:
        start = f"{prefix}."
        return {name.removeprefix(start): v for name, v in values.items() if name.startswith(start)}

    max_plan_age_ms = 1e3 * values["max_plan_age"]
    hold_ms = values["fallback_after_ms"] or max_plan_age_ms
    if hold_ms > max_plan_age_ms:
        raise InvalidInput(
            f"fallback_after_ms: expected at most max_plan_age ({max_plan_age_ms:g} ms), got {hold_ms:g}"
        )
    return SafetySettings(
        limits=VehicleLimits(**group("limits")),
        gate=GateSettings(**group("gate"), max_plan_age_ms=max_plan_age_ms),
        stop=StopSettings(**group("stop")),
        arbiter=ArbiterSettings(
            hold_ms=hold_ms,
            recover_plans=values["recover_plans"],
            recover_ms=values["recover_ms"],
            max_gap_ms=max(hold_ms, _ARBITER.max_gap_ms),
        ),
        reject_contradictions=values["monitor_rejects"],
        max_odometry_age_ms=values["max_odometry_age_ms"],
    )
