"""Trajectories from now on, as AlpaSim's controller takes them: a plan's samples, and constant speed."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.sensing.rigid import Matrix4
from alpamayo_ros.sim.driver.fitness import is_motion
from alpamayo_ros.sim.roads import Float64Array
from alpamayo_ros.sim.scene import STEP_US
from alpamayo_ros.sim.state import EgoState
from alpamayo_ros.sim.trajectories import Trajectory, rest_of_samples, samples_in_local
from alpamayo_ros.types import NUM_WAYPOINTS, Plan

_STANDING_MPS = 0.05


@dataclass(frozen=True, eq=False)
class MadePlan:
    """A plan, where it was made, and with which navigation text.

    Attributes:
        plan: any of its samples may be no motion.
        local_from_rig_t0: where the rig was at its t0.
        instruction: "" for none.
        motions: bool [K], which samples are motions.
        indices: theirs, rising.
        local_from_rig: float64 [len(indices), 65, 4, 4], their poses from t0 on, 0.1 s apart.
    """

    plan: Plan
    local_from_rig_t0: Matrix4
    instruction: str
    motions: NDArray[np.bool_] = field(init=False)
    indices: tuple[int, ...] = field(init=False)
    local_from_rig: Float64Array = field(init=False, repr=False)

    def __post_init__(self) -> None:
        xyz, rot = self.plan.xyz_in_rig_t0, self.plan.rot_in_rig_t0
        motions = is_motion(self.plan)
        poses = samples_in_local(xyz[motions], rot[motions], self.local_from_rig_t0)
        object.__setattr__(self, "motions", motions)
        object.__setattr__(self, "indices", tuple(np.flatnonzero(motions).tolist()))
        object.__setattr__(self, "local_from_rig", poses)

    @property
    def t0_us(self) -> int:
        """Stamp of where it begins."""
        return self.plan.t0_ns // 1000

    def age_s(self, now_us: int) -> float:
        """Return how long ago its t0 was."""
        return (now_us - self.t0_us) / 1e6

    def samples(self, ego: EgoState) -> tuple[Trajectory, ...]:
        """Return the samples of `indices` from now on, each beginning where the rig is.

        Raises:
            InvalidInput: if the plan is over, or is of the future.
        """
        stamps_us, poses = rest_of_samples(
            self.t0_us, self.local_from_rig, now_us=ego.time_us, local_from_rig_now=ego.local_from_rig
        )
        return tuple((stamps_us, each) for each in poses)

    def trajectory(self, ego: EgoState) -> Trajectory:
        """Return the chosen sample, one of `indices`, from now on; raises InvalidInput as `samples` does."""
        return self.samples(ego)[self.indices.index(self.plan.chosen)]

    def path_xyz(self) -> Float64Array:
        """Return the path [65, 3] in local of the chosen sample, one of `indices`, from t0 on."""
        return self.local_from_rig[self.indices.index(self.plan.chosen), :, :3, 3]


def straight_on(ego: EgoState) -> Trajectory:
    """Return constant speed along the heading for 6.4 s; who stands, or rolls back, stands."""
    times_s = np.arange(NUM_WAYPOINTS + 1) * STEP_US / 1e6
    speed_mps = ego.speed_mps if ego.speed_mps > _STANDING_MPS else 0.0
    poses = np.tile(ego.local_from_rig, (len(times_s), 1, 1))
    poses[:, :3, 3] += np.outer(speed_mps * times_s, ego.local_from_rig[:3, 0])
    return ego.time_us + STEP_US * np.arange(len(times_s), dtype=np.int64), poses
