"""What the simulation bridge says of the ego and its cameras: odometry, transforms, clock and images."""

from __future__ import annotations

import array
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from scipy.spatial.transform import Rotation

from alpamayo_ros.ros.conversions import fill_pose, stamp_from_ns
from alpamayo_ros.sensing.camera_info import CameraInfo
from alpamayo_ros.sensing.rigid import Matrix4
from alpamayo_ros.sim.state import EgoState

if TYPE_CHECKING:
    from geometry_msgs.msg import TransformStamped
    from nav_msgs.msg import Odometry
    from rosgraph_msgs.msg import Clock
    from sensor_msgs.msg import CameraInfo as CameraInfoMsg
    from sensor_msgs.msg import CompressedImage
    from tf2_msgs.msg import TFMessage

NS_PER_US = 1000
ODOMETRY_FRAME = "odom"
"""The simulator's local frame: there is no drift, so odometry is the truth."""

_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG"


def optical_frame(camera_name: str) -> str:
    """Return the TF name of a camera's optical frame (x right, y down, z forward)."""
    return f"{camera_name}_optical_frame"


def clock_msg(time_us: int) -> Clock:
    """Return a time as /clock gives it."""
    from rosgraph_msgs.msg import Clock

    return Clock(clock=stamp_from_ns(time_us * NS_PER_US))


def odometry_msg(ego: EgoState, *, child_frame: str, frame: str = ODOMETRY_FRAME) -> Odometry:
    """Return the ego's pose in `frame` and its velocity in its own, as REP-105 has it."""
    from nav_msgs.msg import Odometry

    msg = Odometry(child_frame_id=child_frame)
    msg.header.stamp = stamp_from_ns(ego.time_us * NS_PER_US)
    msg.header.frame_id = frame
    fill_pose(msg.pose.pose, *_position_and_quaternion(ego.local_from_rig))
    twist = msg.twist.twist
    twist.linear.x, twist.linear.y = (float(v) for v in ego.velocity_in_rig_mps)
    twist.angular.z = float(ego.yaw_rate_radps)
    return msg


def transform_of_odometry(msg: Odometry) -> TFMessage:
    """Return the transform that an odometry message stands for."""
    from geometry_msgs.msg import TransformStamped
    from tf2_msgs.msg import TFMessage

    stamped = TransformStamped(header=msg.header, child_frame_id=msg.child_frame_id)
    position = msg.pose.pose.position
    translation = stamped.transform.translation
    translation.x, translation.y, translation.z = position.x, position.y, position.z
    stamped.transform.rotation = msg.pose.pose.orientation
    return TFMessage(transforms=[stamped])


def static_transforms(parent: str, poses: Mapping[str, Matrix4], *, time_us: int) -> TFMessage:
    """Return the poses [4, 4] of frames, by name, in `parent`."""
    from tf2_msgs.msg import TFMessage

    return TFMessage(transforms=[_transform(parent, child, pose, time_us) for child, pose in poses.items()])


def image_msg(data: bytes, *, time_us: int, frame: str) -> CompressedImage:
    """Return an image as the renderer compressed it; the bytes are handed on as they are."""
    from sensor_msgs.msg import CompressedImage

    msg = CompressedImage(format=image_format(data))
    msg.header.stamp = stamp_from_ns(time_us * NS_PER_US)
    msg.header.frame_id = frame
    # An array('B') is taken over whole; any other sequence is checked element by element.
    msg.data = array.array("B", data)
    return msg


def image_format(data: bytes) -> str:
    """Return "jpeg" or "png" by an image's first bytes, "" for anything else."""
    return "jpeg" if data.startswith(_JPEG) else "png" if data.startswith(_PNG) else ""


def camera_info_msg(info: CameraInfo, *, frame: str) -> CameraInfoMsg:
    """Return a camera's lens; its stamp is to be filled in with each image's."""
    from sensor_msgs.msg import CameraInfo as CameraInfoMsg

    msg = CameraInfoMsg(width=info.width, height=info.height, distortion_model=info.distortion_model)
    msg.header.frame_id = frame
    msg.d = [float(v) for v in info.d]
    msg.k = [float(v) for v in info.k]
    msg.r = [float(v) for v in info.r]
    msg.p = [float(v) for v in info.p]
    return msg


def _transform(parent: str, child: str, parent_from_child: Matrix4, time_us: int) -> TransformStamped:
    from geometry_msgs.msg import TransformStamped

    stamped = TransformStamped(child_frame_id=child)
    stamped.header.stamp = stamp_from_ns(time_us * NS_PER_US)
    stamped.header.frame_id = parent
    xyz, quaternion = _position_and_quaternion(parent_from_child)
    t: Any = stamped.transform
    t.translation.x, t.translation.y, t.translation.z = xyz
    t.rotation.x, t.rotation.y, t.rotation.z, t.rotation.w = quaternion
    return stamped


def _position_and_quaternion(pose: Matrix4) -> tuple[list[float], list[float]]:
    return pose[:3, 3].tolist(), Rotation.from_matrix(pose[:3, :3]).as_quat().tolist()
