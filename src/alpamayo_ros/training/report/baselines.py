"""What a policy is compared with: planners that see the history alone, and the labels themselves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from alpamayo_ros.sim.planners.motion import Motion, make_plan, speed_from_history
from alpamayo_ros.training.sample import TrainingSample
from alpamayo_ros.types import (
    HISTORY_INTERVAL_S,
    NUM_WAYPOINTS,
    WAYPOINT_INTERVAL_S,
    Float32Array,
    Observation,
    Plan,
)

_YAW_STEPS = 3
REASONING = "Keep turning at the present rate and speed."


class ConstantTurnPlanner:
    """Keeps speed and yaw rate, as they were in the last 0.3 s; looks at nothing else."""

    def plan(self, observation: Observation) -> Plan:
        """Return one candidate on a circle, or straight on."""
        rate = yaw_rate_from_history(observation.history_rot_in_rig_t0)
        motion = Motion(
            accel_mps2=np.zeros(NUM_WAYPOINTS),
            yaw_rad=rate * WAYPOINT_INTERVAL_S * np.arange(NUM_WAYPOINTS + 1, dtype=np.float64),
            speed_mps=np.full(NUM_WAYPOINTS + 1, speed_from_history(observation.history_xyz_in_rig_t0)),
        )
        return make_plan([motion], t0_ns=observation.t0_ns, reasoning=[REASONING], model="constant turn rate")


def yaw_rate_from_history(history_rot_in_rig_t0: Float32Array) -> float:
    """Return the mean yaw rate in rad/s of the last 0.3 s of a history [16, 3, 3], positive to the left."""
    before = history_rot_in_rig_t0[-1 - _YAW_STEPS].astype(np.float64)
    return -float(np.arctan2(before[1, 0], before[0, 0])) / (_YAW_STEPS * HISTORY_INTERVAL_S)


def plan_of_labels(sample: TrainingSample) -> Plan:
    """Return the plan that a perfect pupil would make: the sample's own future, reason and meta action.

    Its speeds and accelerations are those of its waypoints' distances.
    """
    xy = np.concatenate([np.zeros((1, 2)), sample.future_xyz_in_rig_t0[:, :2].astype(np.float64)])
    step_mps = np.linalg.norm(np.diff(xy, axis=0), axis=1) / WAYPOINT_INTERVAL_S
    speed = np.concatenate([step_mps[:1], step_mps])
    rotation = sample.future_rot_in_rig_t0.astype(np.float64)
    yaw = np.arctan2(rotation[:, 1, 0], rotation[:, 0, 0])
    motion = Motion(
        accel_mps2=np.diff(speed) / WAYPOINT_INTERVAL_S,
        yaw_rad=np.unwrap(np.concatenate([np.zeros(1), yaw])),
        speed_mps=speed,
    )
    made = make_plan(
        [motion], t0_ns=sample.observation.t0_ns, reasoning=[sample.reasoning], model="the labels"
    )
    return replace(
        made,
        xyz_in_rig_t0=sample.future_xyz_in_rig_t0[None],
        rot_in_rig_t0=sample.future_rot_in_rig_t0[None],
        meta_action=(sample.meta_action,),
    )
