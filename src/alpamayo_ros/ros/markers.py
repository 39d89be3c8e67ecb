"""RViz and Foxglove markers of a plan: chosen path, candidates, footprint, text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.ros.conversions import (
    chosen_in_odom,
    duration_from_ns,
    pose_from_matrix,
    stamp_from_ns,
    text_to_ros,
)
from alpamayo_ros.ros.plan_conversions import PlanStatus
from alpamayo_ros.sensing.rigid import Matrix4
from alpamayo_ros.types import Plan
from alpamayo_ros.viz.footprint import Footprint

if TYPE_CHECKING:
    from std_msgs.msg import ColorRGBA
    from visualization_msgs.msg import Marker, MarkerArray

_PATH_WIDTH_M = 0.35
_CANDIDATE_WIDTH_M = 0.08
_TEXT_HEIGHT_M = 0.8
_TEXT_ABOVE_M = 3.0
_FAST_MPS = 15.0
_STATUS_RGB = {
    PlanStatus.FALLBACK: np.array([0.95, 0.15, 0.1]),
    PlanStatus.REJECTED: np.array([0.6, 0.2, 0.2]),
    PlanStatus.UNCHECKED: np.array([0.65, 0.65, 0.65]),
}
_SLOW_RGB, _FAST_RGB = np.array([1.0, 0.55, 0.0]), np.array([0.1, 0.8, 0.3])


def plan_to_markers(
    plan: Plan,
    odom_from_rig_t0: Matrix4,
    *,
    odometry_frame: str,
    footprint: Footprint,
    lifetime_ns: int,
    status: PlanStatus = PlanStatus.VALID,
    reason: str = "",
) -> MarkerArray:
    """Return the markers of a plan in the odometry frame; they vanish by themselves after `lifetime_ns`.

    The chosen path of a valid plan is coloured by speed (orange slow, green at 15 m/s); that of a stop is
    red, that of a plan that nobody has checked grey. The candidates are thin lines, the footprint is where
    the vehicle stood at t0, and the text is the chosen candidate's reasoning, or why the vehicle stops.
    """
    from geometry_msgs.msg import Pose
    from visualization_msgs.msg import Marker, MarkerArray

    def marker(namespace: str, number: int, kind: int, pose: Pose | None = None) -> Marker:
        result = Marker(ns=namespace, id=number, type=kind, action=Marker.ADD)
        result.header.frame_id = odometry_frame
        result.header.stamp = stamp_from_ns(plan.t0_ns)
        result.lifetime = duration_from_ns(lifetime_ns)
        if pose is not None:
            result.pose = pose
        else:
            result.pose.orientation.w = 1.0
        return result

    rig_pose = pose_from_matrix(odom_from_rig_t0)
    array = MarkerArray()
    for k in range(plan.num_samples):
        if k == plan.chosen:
            continue
        line = marker("candidates", k, Marker.LINE_STRIP, rig_pose)
        line.scale.x = _CANDIDATE_WIDTH_M
        line.color = _colour(np.array([0.6, 0.7, 0.9]), alpha=0.5)
        line.points = _points(plan.xyz_in_rig_t0[k].astype(np.float64))
        array.markers.append(line)

    xyz, _ = chosen_in_odom(plan, odom_from_rig_t0)
    path = marker("path", 0, Marker.LINE_STRIP)
    path.scale.x = _PATH_WIDTH_M
    path.points = _points(xyz)
    colour = _STATUS_RGB.get(status)
    if colour is None:
        path.colors = [_speed_colour(v) for v in plan.speed_mps[plan.chosen, 1:].tolist()]
    path.color = _colour(_FAST_RGB if colour is None else colour)
    array.markers.append(path)

    outline = marker("footprint", 0, Marker.LINE_STRIP, rig_pose)
    outline.scale.x = _CANDIDATE_WIDTH_M
    outline.color = _colour(np.array([1.0, 1.0, 1.0]))
    outline.points = _points(footprint.corners_in_rig())
    array.markers.append(outline)

    above = odom_from_rig_t0.copy()
    above[2, 3] += _TEXT_ABOVE_M
    text = marker("reasoning", 0, Marker.TEXT_VIEW_FACING, pose_from_matrix(above))
    text.scale.z = _TEXT_HEIGHT_M
    text.color = _colour(np.array([1.0, 1.0, 1.0]) if colour is None else colour)
    stops = status is PlanStatus.FALLBACK
    text.text = text_to_ros(f"Stopping: {reason}" if stops else plan.reasoning[plan.chosen])
    array.markers.append(text)
    return array


def _points(xyz: NDArray[np.float64]) -> list:
    from geometry_msgs.msg import Point

    return [Point(x=x, y=y, z=z) for x, y, z in xyz.tolist()]


def _colour(rgb: NDArray[np.float64], *, alpha: float = 1.0) -> ColorRGBA:
    from std_msgs.msg import ColorRGBA

    r, g, b = rgb.tolist()
    return ColorRGBA(r=r, g=g, b=b, a=alpha)


def _speed_colour(speed_mps: float) -> ColorRGBA:
    share = min(max(speed_mps / _FAST_MPS, 0.0), 1.0)
    return _colour(_SLOW_RGB + share * (_FAST_RGB - _SLOW_RGB))
