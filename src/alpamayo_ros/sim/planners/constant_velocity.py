"""The floor: straight ahead at the present speed, whatever is there."""

from __future__ import annotations

import numpy as np

from alpamayo_ros.sim.planners.motion import Motion, make_plan, speed_from_history
from alpamayo_ros.types import NUM_WAYPOINTS, Observation, Plan

REASONING = "Keep going straight at the current speed."


class ConstantVelocityPlanner:
    """Keeps speed and heading; looks at nothing else."""

    def plan(self, observation: Observation) -> Plan:
        """Return one straight candidate at the speed of the history."""
        speed = speed_from_history(observation.history_xyz_in_rig_t0)
        motion = Motion(
            accel_mps2=np.zeros(NUM_WAYPOINTS),
            yaw_rad=np.zeros(NUM_WAYPOINTS + 1),
            speed_mps=np.full(NUM_WAYPOINTS + 1, speed),
        )
        return make_plan([motion], t0_ns=observation.t0_ns, reasoning=[REASONING], model="constant velocity")
