"""Basic conversions between ROS messages and numpy: times, poses, texts, odometry and the planned path.

Poses are 4 x 4 float64 matrices `a_from_b` with p_a = T @ p_b (REP-103 axes, metres). Messages are
read by their attributes alone, so one that rosbags deserialised is as good as one from rclpy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from alpamayo_ros.sensing.ego_motion import Twist
from alpamayo_ros.sensing.rigid import Matrix4, from_quaternion, require_rigid
from alpamayo_ros.types import (
    WAYPOINT_INTERVAL_S,
    InvalidInput,
    Plan,
)

if TYPE_CHECKING:
    from builtin_interfaces.msg import Duration as DurationMsg
    from builtin_interfaces.msg import Time as TimeMsg
    from geometry_msgs.msg import Pose as PoseMsg
    from geometry_msgs.msg import Transform as TransformMsg
    from geometry_msgs.msg import Twist as TwistMsg
    from nav_msgs.msg import Odometry as OdometryMsg
    from nav_msgs.msg import Path as PathMsg

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000
WAYPOINT_INTERVAL_NS = round(WAYPOINT_INTERVAL_S * NS_PER_S)

_MAX_SECONDS = 2**31 - 1
_QUATERNION_NORM_TOLERANCE = 0.01


@dataclass(frozen=True, eq=False)
class OdometrySample:
    """One pose of a body frame in the odometry frame, as nav_msgs/Odometry gives it.

    Attributes:
        stamp_ns: when the body was there.
        frame: the odometry frame (header.frame_id).
        child_frame: the body frame (child_frame_id).
        odom_from_child: float64 [4, 4], m.
        twist: velocity of the body frame in that frame; None where it was not asked for.
    """

    stamp_ns: int
    frame: str
    child_frame: str
    odom_from_child: Matrix4
    twist: Twist | None = None


def stamp_to_ns(stamp: TimeMsg) -> int:
    """Return a builtin_interfaces/Time (or Duration) in ns."""
    return int(stamp.sec) * NS_PER_S + int(stamp.nanosec)


def stamp_from_ns(stamp_ns: int) -> TimeMsg:
    """Return ns since the epoch as builtin_interfaces/Time; raises InvalidInput beyond its range."""
    from builtin_interfaces.msg import Time

    if not 0 <= stamp_ns // NS_PER_S <= _MAX_SECONDS:
        raise InvalidInput(f"stamp: expected 0 ... {_MAX_SECONDS} s since the epoch, got {stamp_ns} ns")
    return Time(sec=int(stamp_ns // NS_PER_S), nanosec=int(stamp_ns % NS_PER_S))


def duration_from_ns(duration_ns: int) -> DurationMsg:
    """Return ns as builtin_interfaces/Duration."""
    from builtin_interfaces.msg import Duration

    return Duration(sec=int(duration_ns // NS_PER_S), nanosec=int(duration_ns % NS_PER_S))


def text_to_ros(text: str) -> str:
    """Return `text` as a ROS string can carry it: a NUL would end it and a lone surrogate has no UTF-8.

    Both become U+FFFD; any other text is left as it is.
    """
    if text.isascii() and "\0" not in text:
        return text
    return "".join("\ufffd" if c == "\0" or "\ud800" <= c <= "\udfff" else c for c in text)


def pose_to_matrix(pose: PoseMsg, *, name: str = "pose") -> Matrix4:
    """Return a geometry_msgs/Pose as a matrix; raises InvalidInput if it is not finite or not a rotation."""
    return _to_matrix(pose.position, pose.orientation, name)


def transform_to_matrix(transform: TransformMsg, *, name: str = "transform") -> Matrix4:
    """Return a geometry_msgs/Transform as a matrix; raises InvalidInput as pose_to_matrix does."""
    return _to_matrix(transform.translation, transform.rotation, name)


def _to_matrix(translation: Any, rotation: Any, name: str) -> Matrix4:
    xyz = (translation.x, translation.y, translation.z)
    try:
        return from_quaternion(xyz, (rotation.x, rotation.y, rotation.z, rotation.w))
    except InvalidInput as error:
        raise InvalidInput(f"{name} {error}") from error


def pose_from_matrix(matrix: Matrix4) -> PoseMsg:
    """Return float64 [4, 4] as geometry_msgs/Pose; raises InvalidInput if it is no rigid transform."""
    from geometry_msgs.msg import Pose

    matrix = require_rigid("pose", matrix)
    pose = Pose()
    fill_pose(pose, matrix[:3, 3].tolist(), Rotation.from_matrix(matrix[:3, :3]).as_quat().tolist())
    return pose


def fill_pose(pose: PoseMsg, xyz: list[float], quaternion_xyzw: list[float]) -> None:
    """Write a position in m and a unit quaternion (x, y, z, w) into a geometry_msgs/Pose."""
    pose.position.x, pose.position.y, pose.position.z = xyz
    orientation = pose.orientation
    orientation.x, orientation.y, orientation.z, orientation.w = quaternion_xyzw


def odometry_from_msg(msg: OdometryMsg, *, with_twist: bool = False) -> OdometrySample:
    """Return what sensing needs of a nav_msgs/Odometry.

    Args:
        msg: the message.
        with_twist: whether its twist is read. The model does not need it, it estimates speed from the poses
            themselves; the safety gate compares the two.

    Raises:
        InvalidInput: for a message without stamp or frames, a position or a twist that is not finite or an
            orientation that is not a unit quaternion.
    """
    stamp_ns = stamp_to_ns(msg.header.stamp)
    if stamp_ns <= 0:
        raise InvalidInput(f"odometry stamp: expected a time after 0, got {stamp_ns} ns")
    if not msg.header.frame_id:
        raise InvalidInput("odometry header.frame_id: expected the odometry frame's name, got ''")
    if not msg.child_frame_id:
        raise InvalidInput("odometry child_frame_id: expected the body frame's name, got ''")
    return OdometrySample(
        stamp_ns=stamp_ns,
        frame=msg.header.frame_id,
        child_frame=msg.child_frame_id,
        odom_from_child=pose_to_matrix(msg.pose.pose, name="odometry pose"),
        twist=_twist_from_msg(msg.twist.twist) if with_twist else None,
    )


def _twist_from_msg(msg: TwistMsg) -> Twist:
    linear, angular = msg.linear, msg.angular
    try:
        return Twist(
            np.array([linear.x, linear.y, linear.z], np.float64),
            np.array([angular.x, angular.y, angular.z], np.float64),
        )
    except InvalidInput as error:
        raise InvalidInput(f"odometry {error}; if it has none, set odometry_twist:=ignored") from error


def waypoint_stamps_ns(t0_ns: int, *, count: int) -> list[int]:
    """Return the times of the first `count` waypoints, t0 + (i + 1) * 0.1 s."""
    return [t0_ns + (i + 1) * WAYPOINT_INTERVAL_NS for i in range(count)]


def chosen_in_odom(plan: Plan, odom_from_rig_t0: Matrix4) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the chosen candidate in the odometry frame: xyz [64, 3] m and quaternions (x, y, z, w) [64, 4].

    The pose is the one *at t0*: with the pose at publishing time the plan would be moved along by what
    the vehicle drove meanwhile.
    """
    rotation, translation = odom_from_rig_t0[:3, :3], odom_from_rig_t0[:3, 3]
    xyz = plan.xyz_in_rig_t0[plan.chosen].astype(np.float64) @ rotation.T + translation
    turned = rotation @ plan.rot_in_rig_t0[plan.chosen].astype(np.float64)
    return xyz, Rotation.from_matrix(turned).as_quat()


def path_to_msg(plan: Plan, odom_from_rig_t0: Matrix4, *, odometry_frame: str, now_ns: int) -> PathMsg:
    """Return the chosen candidate as a nav_msgs/Path in the odometry frame.

    Each pose is stamped with the time at which the vehicle should be there; those before `now_ns` are
    left out. The header's stamp is t0.
    """
    from geometry_msgs.msg import PoseStamped
    from nav_msgs.msg import Path

    path = Path()
    path.header.stamp = stamp_from_ns(plan.t0_ns)
    path.header.frame_id = odometry_frame
    xyz, quaternion_xyzw = chosen_in_odom(plan, odom_from_rig_t0)
    stamps_ns = waypoint_stamps_ns(plan.t0_ns, count=len(xyz))
    for stamp_ns, position, orientation in zip(
        stamps_ns, xyz.tolist(), quaternion_xyzw.tolist(), strict=True
    ):
        if stamp_ns < now_ns:
            continue
        stamped = PoseStamped()
        stamped.header.stamp = stamp_from_ns(stamp_ns)
        stamped.header.frame_id = odometry_frame
        fill_pose(stamped.pose, position, orientation)
        path.poses.append(stamped)
    return path
