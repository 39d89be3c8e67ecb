"""Planners that see the history alone: what any policy is compared with."""

from __future__ import annotations

import numpy as np

from alpamayo_ros.sim.planners.motion import Motion, make_plan, speed_from_history
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
