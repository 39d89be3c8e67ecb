"""Where a vehicle is that follows what was published last: for as long as nobody measures it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from alpamayo_ros.safety.fallback import VehicleState
from alpamayo_ros.sensing.rigid import Matrix4, compose
from alpamayo_ros.types import NUM_WAYPOINTS, WAYPOINT_INTERVAL_S, Plan

_INTERVAL_NS = round(WAYPOINT_INTERVAL_S * 1e9)


@dataclass(frozen=True, eq=False)
class Followed:
    """A plan that a vehicle follows, and the pose [4, 4] of the rig at its t0 in the odometry frame."""

    plan: Plan
    odom_from_rig_t0: Matrix4

    def state_at(self, now_ns: int) -> VehicleState:
        """Return where the plan's chosen candidate is at a time; before t0 its start, after its end there.

        Positions, headings and speeds are interpolated linearly between waypoints.
        """
        plan, k = self.plan, self.plan.chosen
        steps = float(np.clip((now_ns - plan.t0_ns) / _INTERVAL_NS, 0.0, NUM_WAYPOINTS))
        index = min(int(steps), NUM_WAYPOINTS - 1)
        share = steps - index
        xyz = np.concatenate([np.zeros((1, 3)), plan.xyz_in_rig_t0[k].astype(np.float64)])
        forward = np.concatenate([[[1.0, 0.0, 0.0]], plan.rot_in_rig_t0[k, :, :, 0].astype(np.float64)])
        yaw = np.unwrap(np.arctan2(forward[:, 1], forward[:, 0]))[index : index + 2]
        speed = plan.speed_mps[k].astype(np.float64)[index : index + 2]
        here_yaw = (1 - share) * yaw[0] + share * yaw[1]
        cos, sin = np.cos(here_yaw), np.sin(here_yaw)
        rotation = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
        here = compose(rotation, (1 - share) * xyz[index] + share * xyz[index + 1])
        ended = steps >= NUM_WAYPOINTS
        return VehicleState(
            stamp_ns=now_ns,
            odom_from_rig=self.odom_from_rig_t0 @ here,
            speed_mps=float((1 - share) * speed[0] + share * speed[1]),
            accel_mps2=0.0 if ended else float((speed[1] - speed[0]) / WAYPOINT_INTERVAL_S),
            yaw_rate_radps=0.0 if ended else float((yaw[1] - yaw[0]) / WAYPOINT_INTERVAL_S),
        )
