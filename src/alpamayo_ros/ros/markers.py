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
from alpamayo_ros.viz.colours import STATUS_COLOURS, speed_colours
from alpamayo_ros.viz.footprint import Footprint
from alpamayo_ros.viz.ribbon import edges

if TYPE_CHECKING:
    from std_msgs.msg import ColorRGBA
    from visualization_msgs.msg import Marker, MarkerArray

_PATH_WIDTH_M = 0.35
_CANDIDATE_WIDTH_M = 0.08
_TEXT_HEIGHT_M = 0.8
_TEXT_ABOVE_M = 3.0
_RIBBON_ALPHA = 0.45
_WHOLE_SECONDS = slice(9, None, 10)


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

    The chosen path of a valid plan is coloured by speed (viz.colours), line and ribbon of the vehicle's width
    alike; that of a stop is red, that of a plan that nobody has checked blue. The candidates are thin lines,
    the footprint is where the vehicle stood at t0, the footprints where it will be at each whole second, and
    the text is the chosen candidate's reasoning, or why the vehicle stops.
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
    status_rgb = np.array(STATUS_COLOURS[status.name]) / 255
    by_speed = status is PlanStatus.VALID
    speed_rgb = speed_colours(plan.speed_mps[plan.chosen, 1:]) / 255
    path = marker("path", 0, Marker.LINE_STRIP)
    path.scale.x = _PATH_WIDTH_M
    path.points = _points(xyz)
    path.color = _colour(status_rgb)
    if by_speed:
        path.colors = [_colour(rgb) for rgb in speed_rgb]
    array.markers.append(path)

    ribbon = marker("ribbon", 0, Marker.TRIANGLE_LIST)
    ribbon.scale.x = ribbon.scale.y = ribbon.scale.z = 1.0
    ribbon.color = _colour(status_rgb, alpha=_RIBBON_ALPHA)
    ribbon.points = _points(_triangles(*edges(xyz, width_m=footprint.width_m)))
    if by_speed:
        # Each piece between two waypoints has the colour of its end: two triangles, six corners.
        ribbon.colors = [c for rgb in speed_rgb[1:] for c in [_colour(rgb, alpha=_RIBBON_ALPHA)] * 6]
    array.markers.append(ribbon)

    places = footprint.corners_at(
        plan.xyz_in_rig_t0[plan.chosen, _WHOLE_SECONDS].astype(np.float64),
        plan.rot_in_rig_t0[plan.chosen, _WHOLE_SECONDS].astype(np.float64),
    )
    along = marker("footprints", 0, Marker.LINE_LIST, rig_pose)
    along.scale.x = _CANDIDATE_WIDTH_M
    along.color = _colour(status_rgb, alpha=0.8)
    along.points = _points(np.stack([places[:, :-1], places[:, 1:]], axis=2).reshape(-1, 3))
    array.markers.append(along)

    outline = marker("footprint", 0, Marker.LINE_STRIP, rig_pose)
    outline.scale.x = _CANDIDATE_WIDTH_M
    outline.color = _colour(np.array([1.0, 1.0, 1.0]))
    outline.points = _points(footprint.corners_in_rig())
    array.markers.append(outline)

    above = odom_from_rig_t0.copy()
    above[2, 3] += _TEXT_ABOVE_M
    text = marker("reasoning", 0, Marker.TEXT_VIEW_FACING, pose_from_matrix(above))
    text.scale.z = _TEXT_HEIGHT_M
    text.color = _colour(np.array([1.0, 1.0, 1.0]) if by_speed else status_rgb)
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


def _triangles(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the corners [6 (N - 1), 3] of the triangles between two edges [N, 3], seen from above."""
    quads = [left[:-1], right[:-1], right[1:], left[:-1], right[1:], left[1:]]
    return np.stack(quads, axis=1).reshape(-1, 3)


def delete_all() -> MarkerArray:
    """Return the message that takes all markers of its topic off the screens."""
    from visualization_msgs.msg import Marker, MarkerArray

    return MarkerArray(markers=[Marker(action=Marker.DELETEALL)])
