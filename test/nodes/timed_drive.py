"""A drive on an arc whose every pose is known, and a planner that takes its time on it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from planner_harness import (
    STEP_NS,
    ScriptedPlanner,
    straight_plan,
)
from scipy.spatial.transform import Rotation

from alpamayo_ros.nodes.planner import PlannerNode
from alpamayo_ros.types import Observation, Plan

SPEED_MPS = 12.0
RADIUS_M = 60.0
DELAY_NS = 300_000_000
ON_THE_ARC_M = 0.02
PLANS = 4
AFTER_IMAGES_NS = 7_000_000

Floats = NDArray[np.float64]


class Drive:
    """A known drive: arcs to the left and to the right for some seconds each, the steering turned in between.

    Integrated once on a grid of 1 ms, on which straight chords are off by less than a micrometre.
    """

    def __init__(self, start_ns: int, *, seconds: float = 120.0, x_m=312.5, y_m=-128.25, yaw=2.2) -> None:
        self._start_ns = start_ns - 5 * 10**9
        times_s = np.arange(round(seconds * 1000) + 1) / 1000
        curvature_per_m = np.clip(3 * np.sin(2 * np.pi * times_s / 12), -1, 1) / RADIUS_M
        yaws = yaw + _integral(SPEED_MPS * curvature_per_m)
        self._times_s = times_s
        self._curvature_per_m = curvature_per_m
        self._x_y_yaw = np.stack(
            [x_m + _integral(SPEED_MPS * np.cos(yaws)), y_m + _integral(SPEED_MPS * np.sin(yaws)), yaws]
        )

    def pose(self, stamp_ns: int) -> tuple[float, float, float]:
        """Return x, y (m) and yaw in the odometry frame."""
        x, y, yaw = self._interpolated([stamp_ns], *self._x_y_yaw)
        return float(x[0]), float(y[0]), float(yaw[0])

    def poses(self, stamps_ns: Sequence[int]) -> Floats:
        """Return the poses as matrices, [N, 4, 4]."""
        x, y, yaw = self._interpolated(stamps_ns, *self._x_y_yaw)
        poses = np.tile(np.eye(4), (len(yaw), 1, 1))
        poses[:, :3, :3] = Rotation.from_rotvec(np.outer(yaw, (0, 0, 1))).as_matrix()
        poses[:, 0, 3], poses[:, 1, 3] = x, y
        return poses

    def pose_in_odom(self, stamp_ns: int) -> Floats:
        """Return one pose as a matrix."""
        return self.poses([stamp_ns])[0]

    def plan(self, observation: Observation) -> Plan:
        """Return the drive from t0 on, as a planner that makes no mistake would."""
        stamps_ns = [observation.t0_ns + STEP_NS * i for i in range(1, 65)]
        poses = np.linalg.inv(self.pose_in_odom(observation.t0_ns)) @ self.poses(stamps_ns)
        (curvature,) = self._interpolated(stamps_ns, self._curvature_per_m)
        return straight_plan(
            observation,
            speed_mps=SPEED_MPS,
            xyz_in_rig_t0=poses[None, :, :3, 3].astype(np.float32),
            rot_in_rig_t0=poses[None, :, :3, :3].astype(np.float32),
            curvature_per_m=curvature[None].astype(np.float32),
            reasoning=("",),
        )

    def _interpolated(self, stamps_ns: Sequence[int], *rows: Floats) -> list[Floats]:
        since_s = [(stamp_ns - self._start_ns) / 1e9 for stamp_ns in stamps_ns]
        assert min(since_s) >= 0 and max(since_s) <= self._times_s[-1], "outside of the drive"
        return [np.interp(since_s, self._times_s, row) for row in rows]


def _integral(rate: Floats) -> Floats:
    """Return the running integral over the grid of 1 ms, by trapezoids."""
    return np.concatenate([[0.0], np.cumsum((rate[1:] + rate[:-1]) / 2)]) / 1000


class SlowPlanner(ScriptedPlanner):
    """Knows the drive, and thinks for 300 ms of the node's time about each plan."""

    def __init__(self, drive: Drive) -> None:
        super().__init__()
        self.drive = drive
        self.plan_of = drive.plan
        self._now_ns: Callable[[], int] = time.time_ns
        self._hurried = False

    @contextmanager
    def thinking_in(self, node: PlannerNode) -> Iterator[None]:
        """Think in a node's time until the block ends; then the clock may stand still."""
        self._now_ns = lambda: node.get_clock().now().nanoseconds
        try:
            yield
        finally:
            self._hurried = True

    def plan(self, observation: Observation) -> Plan:
        """Return the rest of the drive."""
        plan = super().plan(observation)
        begun_ns, deadline_s = self._now_ns(), time.monotonic() + 20
        # A bag that begins again takes the clock back.
        while begun_ns <= self._now_ns() < begun_ns + DELAY_NS and not self._hurried:
            assert time.monotonic() < deadline_s, "the node's clock stands"
            time.sleep(0.002)
        return plan
