"""Decoded ROS messages as what the web page is sent: small, plain, in JSON's types.

Messages are rosbags' or rclpy's: both have the same attributes. Lengths are in metres, speeds in m/s, angles
in radians, rounded to what a screen can show.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.bags.run import PlanRecord
from alpamayo_ros.viz.colours import STATUS_COLOURS

Json: TypeAlias = dict[str, Any]

STAGES = ("preprocess", "vision", "prefill", "reasoning", "denoise")
MAX_MARKER_POINTS = 20_000
"""Of one marker; a map of a whole town is thinned."""

_CANDIDATE_STEP = 2
_LEVELS = ("ok", "warn", "error", "stale")
# visualization_msgs/Marker
_ADD, _DELETE_ALL = 0, 3
_CUBE, _LINE_STRIP, _LINE_LIST, _SPHERE_LIST = 1, 4, 5, 7


def stamp_ns(stamp: Any) -> int:
    """Return a builtin_interfaces/Time in ns."""
    return int(stamp.sec) * 10**9 + int(stamp.nanosec)


def yaw_of(quaternion: Any) -> float:
    """Return the heading of a geometry_msgs/Quaternion, rad (ZYX Euler angles)."""
    q = quaternion
    return float(np.arctan2(2 * (q.w * q.z + q.x * q.y), 1 - 2 * (q.y * q.y + q.z * q.z)))


def shown_status(plan: PlanRecord) -> str:
    """Return a plan's status in capitals; UNKNOWN for one of a later version of the message."""
    status = plan.status.upper()
    return status if status in STATUS_COLOURS else "UNKNOWN"


def plan_json(plan: PlanRecord, *, engaged: bool) -> Json:
    """Return a plan for the view from above; points are in the rig frame at t0."""
    pose = plan.odom_from_rig_t0
    others = [k for k in range(len(plan.xyz_in_rig_t0)) if k != plan.chosen]
    status = shown_status(plan)
    return {
        "kind": "plan",
        "t0": plan.t0_ns / 1e9,
        "status": status,
        "colour": _rgb(STATUS_COLOURS[status]),
        "reason": plan.status_reason,
        "engaged": engaged,
        "pose": _numbers([pose[0, 3], pose[1, 3], np.arctan2(pose[1, 0], pose[0, 0])], 3),
        "path": _points(plan.xyz_in_rig_t0[plan.chosen]),
        "speed": _numbers(plan.speed_mps[plan.chosen], 2),
        "candidates": [_points(plan.xyz_in_rig_t0[k, ::_CANDIDATE_STEP]) for k in others],
        "instruction": plan.instruction,
        "model": plan.model,
    }


def thought_json(plan: PlanRecord, *, meta_action: str) -> Json:
    """Return what a plan says and how long it took, an entry of ticker and latency strip."""
    return {
        "kind": "thought",
        "t0": plan.t0_ns / 1e9,
        "status": shown_status(plan),
        "text": plan.reasoning,
        "meta": meta_action,
        "reason": plan.status_reason or plan.contradiction,
        "contradicts": bool(plan.contradiction),
        "total_ms": round(plan.stages_ms["total"], 1),
        "stages_ms": [round(plan.stages_ms[stage], 1) for stage in STAGES],
        "tokens": plan.tokens,
    }


def pose_json(odometry: Any) -> Json:
    """Return where the vehicle is, of nav_msgs/Odometry."""
    place = odometry.pose.pose
    return {
        "kind": "pose",
        "t": stamp_ns(odometry.header.stamp) / 1e9,
        "x": round(float(place.position.x), 3),
        "y": round(float(place.position.y), 3),
        "yaw": round(yaw_of(place.orientation), 4),
        "speed": round(float(odometry.twist.twist.linear.x), 2),
    }


def markers_json(kind: str, markers: Any) -> Json:
    """Return lines, boxes and dots of a visualization_msgs/MarkerArray, in its own frame, seen from above.

    What is neither of these three (texts, meshes, arrows) is left out: the page draws them itself, or not.
    """
    found: Json = {"kind": kind, "lines": [], "boxes": [], "dots": [], "clear": False}
    for marker in markers.markers:
        if marker.action == _DELETE_ALL:
            found["clear"] = True
        if marker.action != _ADD:
            continue
        colour, frame = _rgba(marker.color), _planar(marker.pose)
        if marker.type in (_LINE_LIST, _LINE_STRIP) and len(marker.points) > 1:
            xy = _moved(np.array([(p.x, p.y) for p in marker.points]), frame)
            if marker.type == _LINE_STRIP:
                xy = np.repeat(xy, 2, axis=0)[1:-1]
            pairs = xy[: len(xy) // 2 * 2].reshape(-1, 4)
            pairs = pairs[:: max(1, -(-2 * len(pairs) // MAX_MARKER_POINTS))]
            found["lines"].append(
                {
                    "name": marker.ns,
                    "colour": colour,
                    "width": round(float(marker.scale.x), 2),
                    "pairs": _numbers(pairs.ravel(), 2),
                }
            )
        elif marker.type == _CUBE:
            size = [round(float(marker.scale.x), 2), round(float(marker.scale.y), 2)]
            found["boxes"].append(
                {"name": marker.ns, "colour": colour, "pose": _numbers(frame, 3), "size": size}
            )
        elif marker.type == _SPHERE_LIST and len(marker.points):
            xy = _moved(np.array([(p.x, p.y) for p in marker.points]), frame)
            found["dots"].append(
                {"name": marker.ns, "colour": colour, "at": [_numbers(point, 2) for point in xy]}
            )
    return found


def diagnostics_json(statuses: Mapping[str, Any]) -> Json:
    """Return the newest diagnostic_msgs/DiagnosticStatus of every name, worst first."""
    rows = []
    for name, status in statuses.items():
        level = _level(status.level)
        values = {str(pair.key): str(pair.value) for pair in status.values}
        rows.append({"name": name, "level": level, "message": str(status.message), "values": values})
    order = {level: number for number, level in enumerate(("error", "stale", "warn", "ok"))}
    return {"kind": "diagnostics", "rows": sorted(rows, key=lambda row: (order[row["level"]], row["name"]))}


def _level(level: Any) -> str:
    """Return the word of a level; rclpy has bytes, rosbags a number."""
    number = level[0] if isinstance(level, bytes) else int(level)
    return _LEVELS[number] if number < len(_LEVELS) else "stale"


def _planar(pose: Any) -> NDArray[np.float64]:
    return np.array([pose.position.x, pose.position.y, yaw_of(pose.orientation)])


def _moved(xy: NDArray[np.float64], frame: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return points [N, 2] of a planar frame (x, y, yaw) in the one around it."""
    c, s = np.cos(frame[2]), np.sin(frame[2])
    return np.asarray(xy @ np.array([[c, s], [-s, c]]) + frame[:2])


def _points(xyz: NDArray[np.floating]) -> list[list[float]]:
    return [_numbers(point, 2) for point in xyz[:, :2]]


def _numbers(values: Any, digits: int) -> list[float]:
    """Return finite numbers; JSON knows no others, so the rest become 0."""
    array = np.nan_to_num(np.asarray(values, np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    return [float(v) for v in np.round(array, digits)]


def _rgb(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _rgba(colour: Any) -> str:
    r, g, b = (round(255 * min(max(float(v), 0.0), 1.0)) for v in (colour.r, colour.g, colour.b))
    return f"rgba({r},{g},{b},{min(max(float(colour.a), 0.0), 1.0):.2f})"
