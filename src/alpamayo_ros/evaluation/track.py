"""A drive as odometry tells it: where the rig was, and was to be, at any time that odometry covers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.sensing.ego_history import EgoHistory, History
from alpamayo_ros.sensing.rigid import Matrix4, invert
from alpamayo_ros.sensing.timing import HISTORY_OFFSETS_NS, NS_PER_MS, TimingConfig
from alpamayo_ros.sim.trajectories import interpolate_poses
from alpamayo_ros.types import NUM_WAYPOINTS, WAYPOINT_INTERVAL_S, InvalidInput

ENDS = "the drive ends before its future does"
GAP = "a gap of odometry in its future"
JUMP = "a jump of odometry in its future"
_JUMP_SLACK_M = 0.5
WAYPOINT_OFFSETS_NS = np.arange(1, NUM_WAYPOINTS + 1, dtype=np.int64) * round(WAYPOINT_INTERVAL_S * 1e9)
"""Instants of a plan's waypoints relative to t0."""


@dataclass(frozen=True, eq=False)
class Future:
    """Where the vehicle went after t0, as far as it is known.

    Attributes:
        xyz_in_rig_t0: float32 [N, 3] m, N <= 64, at t0 + 0.1 s, 0.2 s, ...
        rot_in_rig_t0: float32 [N, 3, 3].
        why_cut: why it is shorter than 6.4 s; "" if it is not.
    """

    xyz_in_rig_t0: NDArray[np.float32]
    rot_in_rig_t0: NDArray[np.float32]
    why_cut: str = ""

    def __len__(self) -> int:
        return len(self.xyz_in_rig_t0)


class DriveTrack:
    """The whole drive by the rig's poses.

    Args:
        stamps_ns: int64 [N], rising.
        odom_from_rig: [N, 4, 4].
        timing: what odometry is interpolated over, and how fast a vehicle is at most.
    """

    def __init__(
        self, stamps_ns: NDArray[np.int64], odom_from_rig: NDArray[np.float64], *, timing: TimingConfig
    ) -> None:
        self.stamps_ns, self.odom_from_rig, self._timing = stamps_ns, odom_from_rig, timing

    def future(
        self, t0_ns: int, odom_from_rig_t0: Matrix4
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]] | str:
        """Return xyz [64, 3] m and rotations [64, 3, 3] in the rig frame at t0 of the poses to come.

        They are interpolated, never extrapolated. Where they cannot be had, a text says why.
        """
        known = self.known_future(t0_ns, odom_from_rig_t0)
        return known.why_cut or (known.xyz_in_rig_t0, known.rot_in_rig_t0)

    def known_future(self, t0_ns: int, odom_from_rig_t0: Matrix4) -> Future:
        """Return as much of the 6.4 s after t0 as odometry tells without a gap or a jump.

        Poses are interpolated (position linear, rotation by slerp), never extrapolated; a t0 outside of the
        drive has no future at all.
        """
        stamps, at_ns = self.stamps_ns, t0_ns + WAYPOINT_OFFSETS_NS
        if not len(stamps) or t0_ns < stamps[0] or t0_ns >= stamps[-1]:
            return _future(np.zeros((0, 4, 4)), ENDS)
        first = int(np.searchsorted(stamps, t0_ns, side="right")) - 1
        last = min(int(np.searchsorted(stamps, at_ns[-1], side="left")), len(stamps) - 1)
        why = "" if at_ns[-1] <= stamps[-1] else ENDS
        gaps_ns = np.diff(stamps[first : last + 1])
        moves_m = np.linalg.norm(np.diff(self.odom_from_rig[first : last + 1, :3, 3], axis=0), axis=1)
        is_gap = gaps_ns > self._timing.odometry_max_gap_ms * NS_PER_MS
        is_jump = moves_m > self._timing.max_speed_mps * gaps_ns * 1e-9 + _JUMP_SLACK_M
        broken = np.flatnonzero(is_gap | is_jump)
        if len(broken):
            why = GAP if is_gap[broken[0]] else JUMP
            last = first + int(broken[0])
        at_ns = at_ns[at_ns <= stamps[last]]
        if not len(at_ns):
            return _future(np.zeros((0, 4, 4)), why)
        # In µs from t0: that suits the interpolation, and is finer than any odometry.
        part = slice(first, last + 1)
        poses = interpolate_poses(
            (stamps[part] - t0_ns) // 1000, self.odom_from_rig[part], (at_ns - t0_ns) // 1000
        )
        return _future(invert(odom_from_rig_t0) @ poses, why)

    def way_after(self, t0_ns: int, odom_from_rig_t0: Matrix4, *, until_ns: int) -> NDArray[np.float64]:
        """Return the measured positions [M, 3] m after t0 up to a time, in the rig frame at t0.

        They end with the first gap or jump. For a path to measure along; they are not 0.1 s apart.
        """
        first, last = np.searchsorted(self.stamps_ns, [t0_ns, until_ns], side="right")
        stamps = self.stamps_ns[first:last]
        xyz = self.odom_from_rig[first:last, :3, 3]
        gaps_ns = np.diff(stamps)
        moves_m = np.linalg.norm(np.diff(xyz, axis=0), axis=1)
        broken = (gaps_ns > self._timing.odometry_max_gap_ms * NS_PER_MS) | (
            moves_m > self._timing.max_speed_mps * gaps_ns * 1e-9 + _JUMP_SLACK_M
        )
        if broken.any():
            xyz = xyz[: int(np.argmax(broken)) + 1]
        rig_from_odom = invert(odom_from_rig_t0)
        return np.asarray(xyz @ rig_from_odom[:3, :3].T + rig_from_odom[:3, 3])

    def history(self, t0_ns: int) -> History:
        """Return the 1.6 s up to t0 as the stack's own sensing makes them of these poses.

        Raises:
            InvalidInput: where odometry does not cover them, or has a gap or a jump there.
        """
        ego = EgoHistory(self._timing)
        begin_ns = t0_ns + HISTORY_OFFSETS_NS[0]
        first = max(int(np.searchsorted(self.stamps_ns, begin_ns, side="right")) - 1, 0)
        last = int(np.searchsorted(self.stamps_ns, t0_ns, side="left"))
        for index in range(first, min(last, len(self.stamps_ns) - 1) + 1):
            ego.add(int(self.stamps_ns[index]), self.odom_from_rig[index])
        found = ego.at(t0_ns)
        if isinstance(found, History):
            return found
        raise InvalidInput(f"history of {t0_ns} ns: expected odometry of 1.5 s before it, got {found}")


def _future(rig_t0_from_rig: NDArray[np.float64], why_cut: str) -> Future:
    xyz, rot = rig_t0_from_rig[:, :3, 3], rig_t0_from_rig[:, :3, :3]
    return Future(xyz.astype(np.float32), rot.astype(np.float32), why_cut)
