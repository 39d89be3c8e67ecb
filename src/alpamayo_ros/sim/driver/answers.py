"""Trajectories from now on, as AlpaSim's controller takes them: a plan's samples, and constant speed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from alpamayo_ros.sensing.rigid import Matrix4
from alpamayo_ros.sim.roads import Float64Array
from alpamayo_ros.sim.scene import STEP_US
from alpamayo_ros.sim.state import EgoState
from alpamayo_ros.sim.trajectories import Trajectory, plan_in_local
from alpamayo_ros.types import NUM_WAYPOINTS, InvalidInput, Plan

_STANDING_MPS = 0.05


@dataclass(frozen=True, eq=False)
class MadePlan:
    """A plan, where it was made, and with which navigation text."""

    plan: Plan
    local_from_rig_t0: Matrix4
    instruction: str

    def age_s(self, now_us: int) -> float:
        """Return how long ago its t0 was."""
        return (now_us * 1000 - self.plan.t0_ns) / 1e9

    def trajectory(self, ego: EgoState) -> Trajectory:
        """Return its chosen sample from now on, beginning where the rig is.

        Raises:
            InvalidInput: if it is not finite, is over, or is of the future.
        """
        return self._sample(self.plan.chosen, ego)

    def samples(self, ego: EgoState) -> dict[int, Trajectory]:
        """Return all samples from now on, by index; those left out that are not finite or no motion."""
        found: dict[int, Trajectory] = {}
        for index in range(self.plan.num_samples):
            try:
                found[index] = self._sample(index, ego)
            except InvalidInput:
                continue
        return found

    def path_xyz(self) -> Float64Array:
        """Return the chosen sample's path [65, 3] in local, from t0 on."""
        own = self.plan.xyz_in_rig_t0[self.plan.chosen].astype(np.float64)
        path = np.concatenate([np.zeros((1, 3)), own])
        return np.asarray(path @ self.local_from_rig_t0[:3, :3].T + self.local_from_rig_t0[:3, 3])

    def _sample(self, index: int, ego: EgoState) -> Trajectory:
        return plan_in_local(
            replace(self.plan, chosen=index),
            self.local_from_rig_t0,
            now_us=ego.time_us,
            local_from_rig_now=ego.local_from_rig,
        )


def straight_on(ego: EgoState) -> Trajectory:
    """Return constant speed along the heading for 6.4 s; who stands, or rolls back, stands."""
    times_s = np.arange(NUM_WAYPOINTS + 1) * STEP_US / 1e6
    speed_mps = ego.speed_mps if ego.speed_mps > _STANDING_MPS else 0.0
    poses = np.tile(ego.local_from_rig, (len(times_s), 1, 1))
    poses[:, :3, 3] += np.outer(speed_mps * times_s, ego.local_from_rig[:3, 0])
    return ego.time_us + STEP_US * np.arange(len(times_s), dtype=np.int64), poses
