"""Plan messages as what a timeline of pictures takes; from rclpy or from a bag alike."""

from __future__ import annotations

from alpamayo_ros.ros.plan_conversions import PublishedPlan
from alpamayo_ros.viz.timeline import TimedPlan


def timed_plan(published: PublishedPlan) -> TimedPlan:
    """Return a plan as it is drawn."""
    return TimedPlan(
        plan=published.plan,
        status=published.status.name,
        reason=published.status_reason,
        valid_until_ns=published.valid_until_ns,
        odom_from_rig_t0=published.odom_from_rig_t0 if published.odometry_frame else None,
        odometry_frame=published.odometry_frame.removeprefix("/"),
        instruction=published.instruction,
        latency_ms=published.plan.times.total_ms or None,
    )
