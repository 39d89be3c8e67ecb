"""How the vehicle moves now: speed, yaw rate and acceleration of the rig, from odometry's twist or its poses.

The safety gate compares this with what the model's history implies, and a stop begins from it. So it is kept
apart from the history: a twist comes from wheel ticks or an INS, the history from poses.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from alpamayo_ros.sensing.rigid import Matrix4
from alpamayo_ros.sensing.stamped_buffer import Added, StampedBuffer
from alpamayo_ros.sensing.timing import NS_PER_MS, NS_PER_S
from alpamayo_ros.types import InvalidInput, require_array, require_finite

Float64Array = NDArray[np.float64]

_POSE_WINDOW_NS = 100 * NS_PER_MS
"""Over how much time poses are told apart: less is noise, more is late."""
_ACCEL_WINDOW_NS = 300 * NS_PER_MS
_MIN_SPAN_NS = 10 * NS_PER_MS


class TwistUse(Enum):
    """Whether odometry's twist is read.

    nav_msgs/Odometry has no flag for "no twist here": a source that fills in none leaves zeros. AUTO believes
    the twist once any number in it was not zero; before that, motion comes from the poses.
    """

    AUTO = "auto"
    REQUIRED = "required"
    IGNORED = "ignored"


@dataclass(frozen=True, eq=False)
class Twist:
    """Velocity of a body frame, in that frame, as nav_msgs/Odometry gives it.

    Attributes:
        linear_mps: float64 [3].
        angular_radps: float64 [3].

    Raises:
        InvalidInput: for another shape or dtype, or a number that is not finite.
    """

    linear_mps: Float64Array
    angular_radps: Float64Array

    def __post_init__(self) -> None:
        for name in ("linear_mps", "angular_radps"):
            require_array(f"twist {name}", getattr(self, name), (3,), np.float64)
            require_finite(f"twist {name}", getattr(self, name))

    @property
    def is_zero(self) -> bool:
        """Whether every number is zero: standing, or not filled in."""
        return not (self.linear_mps.any() or self.angular_radps.any())

    def at_rig(self, child_from_rig: Matrix4 | None) -> Twist:
        """Return the velocity of the rig frame in the rig frame, v_rig = R^T (v + w x p).

        Args:
            child_from_rig: [4, 4], pose of the rig in the body frame; None where they are one.
        """
        if child_from_rig is None:
            return self
        rotation, position = child_from_rig[:3, :3], child_from_rig[:3, 3]
        linear = self.linear_mps + np.cross(self.angular_radps, position)
        return Twist(rotation.T @ linear, rotation.T @ self.angular_radps)


@dataclass(frozen=True, eq=False)
class Motion:
    """Where the rig is and how it moves.

    Attributes:
        stamp_ns: when.
        odom_from_rig: float64 [4, 4].
        speed_mps: along the rig's x axis; negative is backwards.
        yaw_rate_radps: positive to the left.
        accel_mps2: of the speed, over the 0.3 s before; 0 where that is not known yet.
        measured: whether speed and yaw rate come from a twist; else from poses.
    """

    stamp_ns: int
    odom_from_rig: Matrix4
    speed_mps: float
    yaw_rate_radps: float
    accel_mps2: float
    measured: bool


@dataclass(frozen=True, eq=False)
class _Sample:
    odom_from_rig: Matrix4
    twist: Twist | None


class EgoMotion:
    """The rig's motion over the last seconds. Not thread-safe.

    Args:
        twist: whether odometry's twist is read.
        span_ms: how long samples are kept; as long as observations may lie back.
        max_gap_ms: a longer gap is not interpolated over.
    """

    def __init__(
        self, *, twist: TwistUse = TwistUse.AUTO, span_ms: float = 4000.0, max_gap_ms: float = 250.0
    ) -> None:
        self._use = twist
        self._max_gap_ns = round(max_gap_ms * NS_PER_MS)
        self._buffer: StampedBuffer[_Sample] = StampedBuffer(round(span_ms * NS_PER_MS))
        self._twist_seen = twist is TwistUse.REQUIRED

    @property
    def wants_twist(self) -> bool:
        """Whether a twist is to be given with each pose."""
        return self._use is not TwistUse.IGNORED

    @property
    def reads_twist(self) -> bool:
        """Whether speeds come from the twist."""
        return self._twist_seen

    def clear(self) -> None:
        """Forget every sample; whether the source fills in its twist stays known."""
        self._buffer.clear()

    def add(self, stamp_ns: int, odom_from_rig: Matrix4, twist_of_rig: Twist | None) -> Added:
        """Add a pose [4, 4] of the rig and its twist in the rig frame; in any order of stamps.

        Raises:
            InvalidInput: where a twist is required and there is none.
        """
        if self._use is TwistUse.IGNORED:
            twist_of_rig = None
        elif twist_of_rig is None and self._use is TwistUse.REQUIRED:
            raise InvalidInput("odometry twist: expected one in each message, got none")
        if twist_of_rig is not None and not twist_of_rig.is_zero:
            self._twist_seen = True
        return self._buffer.add(stamp_ns, _Sample(odom_from_rig, twist_of_rig))

    def newest(self) -> Motion | None:
        """Return the motion at the newest sample, None before there is one."""
        newest_ns = self._buffer.newest_ns
        return None if newest_ns is None else self.at(newest_ns)

    def at(self, instant_ns: int) -> Motion | None:
        """Return the motion at an instant, interpolated; None where samples do not surround it closely."""
        before, after = self._buffer.around(instant_ns)
        if before is None or after is None or after - before > self._max_gap_ns:
            return None
        speed, yaw_rate, measured = self._motion(instant_ns, before, after)
        return Motion(
            instant_ns,
            self._pose(instant_ns, before, after),
            speed,
            yaw_rate,
            self._acceleration(instant_ns, speed),
            measured,
        )

    def _motion(self, instant_ns: int, before: int, after: int) -> tuple[float, float, bool]:
        first, second = self._buffer.at(before).twist, self._buffer.at(after).twist
        if self._twist_seen and first is not None and second is not None:
            share = (instant_ns - before) / max(after - before, 1)
            speed = (1 - share) * first.linear_mps[0] + share * second.linear_mps[0]
            yaw_rate = (1 - share) * first.angular_radps[2] + share * second.angular_radps[2]
            return float(speed), float(yaw_rate), True
        return (*self._from_poses(instant_ns), False)

    def _from_poses(self, instant_ns: int) -> tuple[float, float]:
        """Return speed and yaw rate over the 0.1 s around an instant, or as much of it as there is."""
        near = self._buffer.within(instant_ns, _POSE_WINDOW_NS)
        inner = self._buffer.within(instant_ns, _POSE_WINDOW_NS // 2)
        if len(inner) >= 2 and inner[-1] - inner[0] >= _POSE_WINDOW_NS // 2:
            near = inner
        if len(near) < 2 or near[-1] - near[0] < _MIN_SPAN_NS:
            before = [stamp for stamp in self._buffer.stamps if stamp <= instant_ns][-2:]
            near = before if len(before) == 2 and before[1] - before[0] <= self._max_gap_ns else []
        if not near:
            return 0.0, 0.0
        start, end = self._buffer.at(near[0]).odom_from_rig, self._buffer.at(near[-1]).odom_from_rig
        span_s = (near[-1] - near[0]) / NS_PER_S
        turn = Rotation.from_matrix(start[:3, :3].T @ end[:3, :3]).as_rotvec()
        middle = Rotation.from_matrix(start[:3, :3]) * Rotation.from_rotvec(0.5 * turn)
        way = middle.inv().apply(end[:3, 3] - start[:3, 3])
        return float(way[0] / span_s), float(turn[2] / span_s)

    def _pose(self, instant_ns: int, before: int, after: int) -> Matrix4:
        start, end = self._buffer.at(before).odom_from_rig, self._buffer.at(after).odom_from_rig
        if before == after:
            return start
        share = (instant_ns - before) / (after - before)
        turn = Rotation.from_matrix(start[:3, :3].T @ end[:3, :3]).as_rotvec()
        pose = np.eye(4)
        pose[:3, :3] = start[:3, :3] @ Rotation.from_rotvec(share * turn).as_matrix()
        pose[:3, 3] = (1 - share) * start[:3, 3] + share * end[:3, 3]
        return pose

    def _acceleration(self, instant_ns: int, speed_mps: float) -> float:
        earlier_ns = instant_ns - _ACCEL_WINDOW_NS
        before, after = self._buffer.around(earlier_ns)
        if before is None or after is None or after - before > self._max_gap_ns:
            return 0.0
        earlier_mps, _, _ = self._motion(earlier_ns, before, after)
        return (speed_mps - earlier_mps) * NS_PER_S / _ACCEL_WINDOW_NS
