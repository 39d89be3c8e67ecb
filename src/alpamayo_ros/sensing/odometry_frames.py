"""Brings odometry of any body frame to the rig frame, Alpamayo's rear axle."""

from __future__ import annotations

from alpamayo_ros.sensing.rig import Rig
from alpamayo_ros.sensing.rigid import Matrix4, invert, require_rigid
from alpamayo_ros.sensing.timing import ObservationRefused


class OdometryFrames:
    """Where the body frames that odometry speaks of sit on the rig. Not thread-safe.

    The rig frame itself needs no entry. Of the others the rig file's go before TF's.
    """

    def __init__(self, rig: Rig) -> None:
        self._rig_frame = _plain(rig.rig_frame)
        self._child_from_rig_by_file = {
            _plain(frame): invert(pose) for frame, pose in rig.rig_from_child.items()
        }
        self._child_from_rig_by_tf: dict[str, Matrix4] = {}

    def set_from_tf(self, frame: str, rig_from_child: Matrix4) -> None:
        """Set the pose of a body frame in the rig frame as TF gives it; InvalidInput if it is not rigid."""
        pose = require_rigid(f"rig_from_child of {frame}", rig_from_child)
        self._child_from_rig_by_tf[_plain(frame)] = invert(pose)

    def rig_pose(self, stamp_ns: int, pose_of_child_in_odom: Matrix4, child_frame: str) -> Matrix4:
        """Return the rig's pose in the odometry frame.

        The whole pose is composed: a lever arm turns with roll and pitch too.

        Raises:
            ObservationRefused: if nothing says where `child_frame` sits.
        """
        child_from_rig = self.child_from_rig(stamp_ns, child_frame)
        return pose_of_child_in_odom if child_from_rig is None else pose_of_child_in_odom @ child_from_rig

    def child_from_rig(self, stamp_ns: int, child_frame: str) -> Matrix4 | None:
        """Return the rig's pose in a body frame, None where that is the rig frame itself.

        Raises:
            ObservationRefused: if nothing says where `child_frame` sits.
        """
        child = _plain(child_frame)
        if child == self._rig_frame:
            return None
        for known in (self._child_from_rig_by_file, self._child_from_rig_by_tf):
            if child in known:
                return known[child]
        frames = sorted({self._rig_frame, *self._child_from_rig_by_file, *self._child_from_rig_by_tf})
        raise ObservationRefused(
            f"odometry_frame/{child or 'unnamed'}",
            f"odometry: expected poses of one of the body frames {', '.join(frames)}, got child_frame_id "
            f"{child_frame!r}: give its pose in {self._rig_frame} by static TF or in the rig file "
            "(odometry.body_frames)",
            t0_ns=stamp_ns,
        )


def _plain(frame: str) -> str:
    """Return a frame's name without the leading slash that ROS 1 tools still write."""
    return frame.strip().lstrip("/")
