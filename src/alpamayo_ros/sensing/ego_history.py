"""The vehicle's own motion: poses as they arrive, and the history that the model sees.

Velocity is not an input of Alpamayo: it is estimated from these poses, so a history that jitters, jumps
or belongs to another body frame bends the whole plan. Hence poses are interpolated, never extrapolated,
and never over a long gap.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from alpamayo_ros.sensing.rigid import Matrix4, compose, require_rigid
from alpamayo_ros.sensing.stamped_buffer import Added, StampedBuffer
from alpamayo_ros.sensing.timing import (
    HISTORY_OFFSETS_NS,
    NS_PER_MS,
    NS_PER_S,
    TimingConfig,
    require_stamp,
)
from alpamayo_ros.types import Float32Array


@dataclass(frozen=True)
class History:
    """What the model sees of the motion up to t0.

    Attributes:
        xyz_in_rig_t0: float32 [16, 3] m, at t0 - 1.5 s ... t0.
        rot_in_rig_t0: float32 [16, 3, 3].
        rig_pose_in_odom_at_t0: float64 [4, 4].
    """

    xyz_in_rig_t0: Float32Array
    rot_in_rig_t0: Float32Array
    rig_pose_in_odom_at_t0: Matrix4


@dataclass(frozen=True)
class NotStarted:
    """The history would begin before the first odometry message."""

    have_s: float


@dataclass(frozen=True)
class NotArrived:
    """Odometry does not reach t0 yet."""

    behind_ms: float


@dataclass(frozen=True)
class Unusable:
    """The history cannot be had. `reason` is a slug, `problem` says what was expected and what was there."""

    reason: str
    problem: str


class EgoHistory:
    """Poses of the rig in the odometry frame, and their interpolation. Not thread-safe."""

    def __init__(self, timing: TimingConfig | None = None) -> None:
        self._timing = timing or TimingConfig()
        self.buffer: StampedBuffer[Matrix4] = StampedBuffer(
            round(self._timing.odometry_buffer_ms * NS_PER_MS)
        )

    def clear(self) -> None:
        """Forget all poses."""
        self.buffer.clear()

    def add(self, stamp_ns: int, rig_pose_in_odom: Matrix4) -> Added:
        """Add a pose; raises InvalidInput for a stamp that is not positive or a matrix that is not rigid."""
        stamp_ns = require_stamp("odometry stamp", stamp_ns)
        return self.buffer.add(stamp_ns, require_rigid("odometry pose", rig_pose_in_odom))

    def lacks(self, t0_ns: int) -> NotStarted | NotArrived | Unusable | None:
        """Return why there is no history up to t0 (yet), None if the poses for it are there."""
        first, newest = self.buffer.first_ns, self.buffer.newest_ns
        if first is None or newest is None or t0_ns + HISTORY_OFFSETS_NS[0] < first:
            return NotStarted(have_s=0.0 if first is None else max(0, t0_ns - first) / NS_PER_S)
        gap = self._find_gap(t0_ns)
        if gap is None and newest < t0_ns:
            return NotArrived(behind_ms=(t0_ns - newest) / NS_PER_MS)
        return gap

    def at(self, t0_ns: int) -> History | NotStarted | NotArrived | Unusable:
        """Return the history up to t0, or why there is none."""
        lack = self.lacks(t0_ns)
        if lack is not None:
            return lack
        poses = self._interpolate(np.asarray(HISTORY_OFFSETS_NS, dtype=np.int64) + t0_ns)
        speed_mps = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1) / _step_s()
        fastest = int(np.argmax(speed_mps))
        if speed_mps[fastest] > self._timing.max_speed_mps:
            return Unusable(
                "odometry_jump",
                f"odometry: expected motion below {self._timing.max_speed_mps:g} m/s, got a jump of "
                f"{speed_mps[fastest] * _step_s():.1f} m within {_step_s():g} s, "
                f"{-HISTORY_OFFSETS_NS[fastest + 1] / NS_PER_S:.1f} s before t0",
            )
        return _relative_to_last(poses)

    def pose_at(self, stamp_ns: int) -> Matrix4 | None:
        """Return the rig's pose [4, 4] in the odometry frame, None where it is not between two near poses."""
        before, after = self.buffer.around(stamp_ns)
        if before is None or after is None or after - before > self._timing.odometry_max_gap_ms * NS_PER_MS:
            return None
        return np.asarray(self._interpolate(np.array([stamp_ns], dtype=np.int64))[0])

    def sources(self, t0_ns: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return stamps [N] and poses [N, 4, 4] of the rig that the history up to t0 is interpolated from.

        Those of them that have left the buffer, or never came, are missing.
        """
        around = {s for offset_ns in HISTORY_OFFSETS_NS for s in self.buffer.around(t0_ns + offset_ns)}
        stamps = sorted(stamp for stamp in around if stamp is not None)
        poses = [self.buffer.at(stamp) for stamp in stamps]
        return np.array(stamps, dtype=np.int64), np.array(poses, dtype=np.float64).reshape(-1, 4, 4)

    def _find_gap(self, t0_ns: int) -> Unusable | None:
        max_gap_ns = self._timing.odometry_max_gap_ms * NS_PER_MS
        for offset_ns in HISTORY_OFFSETS_NS:
            before, after = self.buffer.around(t0_ns + offset_ns)
            if before is None:
                return Unusable(
                    "frames_behind_odometry",
                    f"odometry: expected poses from t0 {offset_ns / NS_PER_S:+.1f} s on, got a buffer that "
                    f"begins at t0 {((after or t0_ns) - t0_ns) / NS_PER_S:+.2f} s: the frames come too late",
                )
            if after is not None and after - before > max_gap_ns:
                return Unusable(
                    "odometry_gap",
                    f"odometry: expected no gap over {self._timing.odometry_max_gap_ms:g} ms, got one of "
                    f"{(after - before) / NS_PER_MS:.0f} ms from t0 {(before - t0_ns) / NS_PER_S:+.2f} s to "
                    f"t0 {(after - t0_ns) / NS_PER_S:+.2f} s",
                )
        return None

    def _interpolate(self, instants_ns: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return poses [N, 4, 4] at instants that the buffer covers: position linear, rotation by slerp."""
        pairs = [self.buffer.around(int(instant)) for instant in instants_ns]
        before_ns = np.array([before for before, _ in pairs], dtype=np.int64)
        after_ns = np.array([after for _, after in pairs], dtype=np.int64)
        before = np.stack([self.buffer.at(int(stamp)) for stamp in before_ns])
        after = np.stack([self.buffer.at(int(stamp)) for stamp in after_ns])
        span_ns = np.maximum(after_ns - before_ns, 1)
        fraction = ((instants_ns - before_ns) / span_ns)[:, None]
        poses = np.tile(np.eye(4), (len(instants_ns), 1, 1))
        poses[:, :3, 3] = (1 - fraction) * before[:, :3, 3] + fraction * after[:, :3, 3]
        start = Rotation.from_matrix(before[:, :3, :3])
        turn = (start.inv() * Rotation.from_matrix(after[:, :3, :3])).as_rotvec()
        poses[:, :3, :3] = (start * Rotation.from_rotvec(fraction * turn)).as_matrix()
        return poses


def _step_s() -> float:
    return (HISTORY_OFFSETS_NS[1] - HISTORY_OFFSETS_NS[0]) / NS_PER_S


def _relative_to_last(poses: NDArray[np.float64]) -> History:
    """Return poses [16, 4, 4] in the odometry frame as a history in the frame of the last."""
    last_rot, last_xyz = poses[-1, :3, :3], poses[-1, :3, 3]
    xyz = (poses[:, :3, 3] - last_xyz) @ last_rot
    rot = last_rot.T @ poses[:, :3, :3]
    xyz[-1], rot[-1] = 0.0, np.eye(3)  # exactly, not up to rounding
    return History(
        xyz_in_rig_t0=xyz.astype(np.float32),
        rot_in_rig_t0=rot.astype(np.float32),
        rig_pose_in_odom_at_t0=compose(last_rot, last_xyz),
    )
