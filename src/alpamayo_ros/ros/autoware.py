"""The optional `trajectory` output for Autoware, where its messages are installed."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np

from alpamayo_ros.ros.conversions import chosen_in_odom, duration_from_ns, fill_pose, stamp_from_ns
from alpamayo_ros.ros.conversions import waypoint_stamps_ns as stamps_of
from alpamayo_ros.sensing.rigid import Matrix4
from alpamayo_ros.types import InvalidInput, Plan

PACKAGE = "autoware_planning_msgs"


def load_messages() -> ModuleType:
    """Return autoware_planning_msgs.msg; raises InvalidInput with the remedy where it is not installed."""
    try:
        return import_module(f"{PACKAGE}.msg")
    except ImportError as error:
        raise InvalidInput(
            f"publish_trajectory: expected the package {PACKAGE}, got none on this machine ({error}); "
            f"install ros-$ROS_DISTRO-autoware-planning-msgs or source Autoware's workspace"
        ) from error


def trajectory_to_msg(
    plan: Plan, odom_from_rig_t0: Matrix4, *, messages: ModuleType, odometry_frame: str, now_ns: int
) -> Any:
    """Return the chosen candidate as autoware_planning_msgs/Trajectory in the odometry frame.

    Times are from the header's stamp, t0; waypoints before `now_ns` are left out. Wheel angles are left
    at zero: they are the controller's to work out of the path's curvature.
    """
    trajectory = messages.Trajectory()
    trajectory.header.stamp = stamp_from_ns(plan.t0_ns)
    trajectory.header.frame_id = odometry_frame
    xyz, quaternion_xyzw = chosen_in_odom(plan, odom_from_rig_t0)
    speed_mps = plan.speed_mps[plan.chosen, 1:].astype(np.float64)
    # theta' = kappa v of a vehicle whose path has that curvature.
    heading_rate_rps = plan.curvature_per_m[plan.chosen].astype(np.float64) * speed_mps
    rows = zip(
        stamps_of(plan.t0_ns, count=len(xyz)),
        xyz.tolist(),
        quaternion_xyzw.tolist(),
        speed_mps.tolist(),
        plan.accel_mps2[plan.chosen].tolist(),
        heading_rate_rps.tolist(),
        strict=True,
    )
    points = []
    for stamp_ns, position, orientation, velocity, acceleration, heading_rate in rows:
        if stamp_ns < now_ns:
            continue
        point = messages.TrajectoryPoint()
        point.time_from_start = duration_from_ns(stamp_ns - plan.t0_ns)
        fill_pose(point.pose, position, orientation)
        point.longitudinal_velocity_mps = velocity
        point.acceleration_mps2 = acceleration
        point.heading_rate_rps = heading_rate
        points.append(point)
    trajectory.points = points
    return trajectory
