"""The reference drive as the rollout uses it: the ego's state along it, and whether its end is passed."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray

from alpamayo_ros.sim.roads import Float64Array
from alpamayo_ros.sim.scene import EGO_BOX_IN_RIG_M, STEP_US, Scene
from alpamayo_ros.sim.state import EgoState
from alpamayo_ros.sim.trajectories import interpolate_poses
from alpamayo_ros.sim.vehicle import VehicleParameters

WHEELBASE_M = VehicleParameters().wheelbase_m
_SHORTEST_M = 5.0
"""AlpaSim scores no progress on a shorter recording, so none has a goal."""
_GOAL_REACH_M = 4.0
"""AlpaSim takes a rollout that is farther from the recording for lost."""


class ReferenceCourse:
    """The reference drive of one scene, interpolated, and held at its ends."""

    def __init__(self, scene: Scene) -> None:
        self._reference = scene.reference
        centres = self._reference.local_from_rig @ np.array([*EGO_BOX_IN_RIG_M, 1.0])
        self._end_xy = centres[-1, :2]
        self._line = shapely.LineString(centres[:, :2])

    @property
    def length_m(self) -> float:
        """Length of what the box's centre drives."""
        return float(self._line.length)

    def poses_at(self, stamps_us: NDArray[np.int64]) -> Float64Array:
        """Return the rig's poses [N, 4, 4] at stamps [N]; beyond an end the pose there."""
        return interpolate_poses(self._reference.stamps_us, self._reference.local_from_rig, stamps_us)

    def state_at(self, time_us: int) -> EgoState:
        """Return the ego's state at a time; rates and accelerations are central differences over 0.2 s."""
        around = np.array([time_us - STEP_US, time_us, time_us + STEP_US], np.int64)
        inside = np.clip(around, self._reference.stamps_us[0], self._reference.stamps_us[-1])
        poses = self.poses_at(around)
        speeds = np.interp(inside, self._reference.stamps_us, self._reference.speed_mps)
        span_s = max(int(inside[2] - inside[0]), 1) / 1e6
        yaws = np.unwrap(np.arctan2(poses[:, 1, 0], poses[:, 0, 0]))
        speed, yaw_rate = float(speeds[1]), float(yaws[2] - yaws[0]) / span_s
        accel = float(speeds[2] - speeds[0]) / span_s
        return EgoState(
            time_us=time_us,
            local_from_rig=poses[1],
            velocity_in_rig_mps=(speed, 0.0),
            yaw_rate_radps=yaw_rate,
            accel_in_rig_mps2=(accel, speed * yaw_rate),
            steer_rad=float(np.arctan2(WHEELBASE_M * yaw_rate, max(speed, 0.5))),
        )

    def progress_m(self, ego: EgoState) -> float:
        """Return how far along the reference the ego's box centre is, as AlpaSim measures it."""
        return float(self._line.project(shapely.Point(ego.local_from_box[:2, 3])))

    def is_passed(self, ego: EgoState) -> bool:
        """Return whether the ego is at the reference's end or beyond; never so of one under 5 m."""
        if self.length_m < _SHORTEST_M:
            return False
        centre = ego.local_from_box[:2, 3]
        near = float(np.linalg.norm(centre - self._end_xy)) <= _GOAL_REACH_M
        return near and self.progress_m(ego) >= self.length_m - 1e-6
