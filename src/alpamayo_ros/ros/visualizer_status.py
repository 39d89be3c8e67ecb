"""What the visualizer says on /diagnostics: one status."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from alpamayo_ros.ros.diagnostics import InputStatistics, Level, Status
from alpamayo_ros.types import camera_name

NAME = "visualizer"
_COUNTS = ("received", "skipped", "dropped", "refused", "drawn", "without_plan")


def visualizer_status(
    *,
    plans: InputStatistics,
    odometry: InputStatistics,
    cameras: Mapping[int, InputStatistics],
    looked_at: Sequence[int],
    now_ns: int,
) -> Status:
    """Return the visualizer's status: what is drawn for whom, and what is missing for it.

    Args:
        plans: statistics of the plans.
        odometry: statistics of the odometry.
        cameras: statistics of each camera's overlays.
        looked_at: the cameras whose overlays somebody looks at.
        now_ns: the clock of the messages.
    """
    values: dict[str, object] = {
        "looked_at": ", ".join(camera_name(camera_id) for camera_id in looked_at),
        "plans_received": plans["received"],
        "plans_refused": plans["refused"],
        "odometry_received": odometry["received"],
        "odometry_refused": odometry["refused"],
    }
    for name, statistics in (("plan", plans), ("odometry", odometry)):
        age_ms = statistics.age_ms(now_ns)
        values[f"{name}_age_ms"] = "" if age_ms is None else f"{age_ms:.0f}"
    for camera_id, statistics in cameras.items():
        name = camera_name(camera_id)
        values.update({f"{name}_{count}": statistics[count] for count in _COUNTS})
        values[f"{name}_rate_hz"] = f"{statistics.rate_hz:.1f}"
        values[f"{name}_problem"] = statistics.problem
    level, message = _verdict(plans, odometry, cameras, looked_at)
    return Status(NAME, level, message, values)


def _verdict(
    plans: InputStatistics,
    odometry: InputStatistics,
    cameras: Mapping[int, InputStatistics],
    looked_at: Sequence[int],
) -> tuple[Level, str]:
    if plans.problem:
        return Level.WARN, f"a plan was refused: {plans.problem}; is the planner of this version?"
    if odometry.problem:
        return Level.WARN, f"odometry is refused: {odometry.problem}"
    for camera_id in looked_at:
        if cameras[camera_id].problem:
            return Level.WARN, f"overlay of {camera_name(camera_id)}: {cameras[camera_id].problem}"
    if not looked_at:
        return Level.OK, "nobody looks at an overlay"
    silent = [camera_name(i) for i in looked_at if not cameras[i]["received"]]
    if silent:
        return Level.WARN, f"no pictures of {', '.join(silent)}; check the cameras' topics and the rig"
    if not plans["received"]:
        return Level.WARN, "no plan was received yet; is the planner active, and in this namespace?"
    return Level.OK, f"drawing for {len(looked_at)} of {len(cameras)} cameras"
