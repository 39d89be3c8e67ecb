"""The plan that a perfect pupil would make."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from alpamayo_ros.sim.planners.motion import Motion, make_plan
from alpamayo_ros.training.sample import TrainingSample
from alpamayo_ros.types import WAYPOINT_INTERVAL_S, Plan


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
