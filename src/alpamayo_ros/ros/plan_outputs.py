"""The topics on which a plan goes out."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from rclpy.lifecycle import LifecycleNode, LifecyclePublisher

from alpamayo_ros.msg import Plan as PlanMsg
from alpamayo_ros.msg import StageTimesStamped
from alpamayo_ros.ros import autoware
from alpamayo_ros.ros.conversions import path_to_msg, text_to_ros
from alpamayo_ros.ros.markers import plan_to_markers
from alpamayo_ros.ros.plan_conversions import PlanStatus, PublishedPlan
from alpamayo_ros.ros.planner_parameters import PlannerSettings
from alpamayo_ros.ros.qos import no_publisher_events, on_missed_deadline, output_qos, overridable, plan_qos
from alpamayo_ros.viz.footprint import Footprint


class PlanOutputs:
    """Lifecycle publishers of `plan` and what shows it, and of what is published for the record.

    Beside `plan`: `path`, `reasoning`, `markers` and, if asked for, `trajectory`. For the record:
    `debug/rejected_plan` and `~/debug/stage_times`.

    Args:
        node: a lifecycle node; what is published while it is not active goes nowhere.
        settings: ages, periods and the footprint.
        missed: called with the number of plan deadlines that were newly missed.

    Raises:
        InvalidInput: if `trajectory` is asked for and Autoware's messages are not installed.
    """

    def __init__(
        self, node: LifecycleNode, settings: PlannerSettings, *, missed: Callable[[int], None]
    ) -> None:
        from nav_msgs.msg import Path
        from std_msgs.msg import String
        from visualization_msgs.msg import MarkerArray

        self._node = node
        self._settings = settings
        self._footprint = footprint(settings)
        self._autoware: ModuleType | None = autoware.load_messages() if settings.publish_trajectory else None
        self._publishers: list[LifecyclePublisher] = []

        def add(message: Any, topic: str, **options: Any) -> LifecyclePublisher:
            options = {"qos_profile": output_qos(), **options}
            options.setdefault("event_callbacks", no_publisher_events())
            publisher = node.create_lifecycle_publisher(
                message, topic, qos_overriding_options=overridable(), **options
            )
            self._publishers.append(publisher)
            return publisher

        profile = plan_qos(
            period_ms=settings.plan_period_ms,
            max_plan_age_ns=settings.max_plan_age_ns,
            heartbeat_ms=settings.heartbeat_ms,
        )
        self._plan = add(PlanMsg, "plan", qos_profile=profile, event_callbacks=on_missed_deadline(missed))
        self._path = add(Path, "path")
        self._reasoning = add(String, "reasoning")
        self._markers = add(MarkerArray, "markers")
        self._trajectory = add(self._autoware.Trajectory, "trajectory") if self._autoware else None
        self._rejected = add(PlanMsg, "debug/rejected_plan")
        self._stage_times = add(StageTimesStamped, "~/debug/stage_times")

    def publish(self, message: PlanMsg | bytes, published: PublishedPlan, *, now_ns: int) -> None:
        """Publish what may be driven on every topic; path and markers only where somebody looks at them.

        `message` may have been serialised before, where no time may go by between a check and the topic.
        A stop of a vehicle whose place nobody knows has no odometry frame: it goes out on `plan` alone.
        """
        from std_msgs.msg import String

        plan = published.plan
        self._plan.publish(message)
        if published.status is not PlanStatus.FALLBACK:
            self._reasoning.publish(String(data=text_to_ros(plan.reasoning[plan.chosen])))
        if published.odometry_frame:
            self._show(published, now_ns)

    def _show(self, published: PublishedPlan, now_ns: int) -> None:
        plan, pose, frame = published.plan, published.odom_from_rig_t0, published.odometry_frame
        if self._path.get_subscription_count():
            self._path.publish(path_to_msg(plan, pose, odometry_frame=frame, now_ns=now_ns))
        if self._markers.get_subscription_count():
            markers = plan_to_markers(
                plan,
                pose,
                odometry_frame=frame,
                footprint=self._footprint,
                lifetime_ns=self._settings.max_plan_age_ns,
                status=published.status,
                reason=published.status_reason,
            )
            self._markers.publish(markers)
        if self._trajectory is not None and self._autoware is not None:
            trajectory = autoware.trajectory_to_msg(
                plan, pose, messages=self._autoware, odometry_frame=frame, now_ns=now_ns
            )
            self._trajectory.publish(trajectory)

    def record_rejected(self, message: PlanMsg) -> None:
        """Publish a plan that was refused, for the record."""
        self._rejected.publish(message)

    def record_times(self, message: StageTimesStamped) -> None:
        """Publish where the time of a plan went."""
        self._stage_times.publish(message)

    def assert_liveliness(self) -> None:
        """Say that the planner lives."""
        self._plan.assert_liveliness()

    def destroy(self) -> None:
        """Take the topics off the graph."""
        for publisher in self._publishers:
            self._node.destroy_lifecycle_publisher(publisher)
        self._publishers.clear()


def footprint(settings: PlannerSettings) -> Footprint:
    """Return the vehicle's outline; raises InvalidInput for one that cannot be."""
    return Footprint(
        length_m=settings.vehicle_length_m,
        width_m=settings.vehicle_width_m,
        rear_overhang_m=settings.vehicle_rear_overhang_m,
    )
