"""Subscriptions of the watchdog node: what the planner says, and the vehicle's motion."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import LivelinessPolicy, QoSProfile
from rclpy.subscription import Subscription

from alpamayo_ros.ros.conversions import odometry_from_msg
from alpamayo_ros.ros.diagnostics import InputStatistics
from alpamayo_ros.ros.engagement import STARTED
from alpamayo_ros.ros.plan_conversions import PlanStatus, plan_from_msg, require_publishable
from alpamayo_ros.ros.qos import (
    LatchedSubscription,
    SubscriptionEventCallbacks,
    latched_qos,
    output_qos,
    overridable,
    sensor_qos,
)
from alpamayo_ros.ros.static_transforms import StaticTransforms
from alpamayo_ros.safety.fallback import VehicleState
from alpamayo_ros.safety.watchdog import MODEL, HeardEngagement, HeardPlan, Watchdog
from alpamayo_ros.sensing.ego_motion import EgoMotion, TwistUse
from alpamayo_ros.sensing.odometry_frames import OdometryFrames
from alpamayo_ros.sensing.rig import Rig
from alpamayo_ros.types import InvalidInput

WARN_PERIOD_S = 5.0
DISCOVERY_PERIOD_S = 0.2
ODOMETRY_DEPTH = 50
ENGAGEMENT_DEPTH = 10

_INFINITE_NS = (2**31 - 1) * 10**9
_BACKWARD_NS = 250_000_000
"""An odometry stamp further back than this is a clock that jumped, as for the planner."""


class PlannerVoice:
    """Hears the planner: its plans, its engagement, whether it lives.

    DDS matches a reader only with writers that offer at least the deadline and the liveliness that it
    requests. So the subscription to `plan` requests none until a planner is there, and then just what that
    one offers.

    Args:
        node: the watchdog.
        watchdog: is told.
        steady_ns: its clock for silence.

    Attributes:
        statistics: counts of plans that were received and rejected, and of deadlines and liveliness lost.
        allowed_silence_ms: for how long a planner may be silent by the deadline and the lifespan that it
            offers; None if it offers none, or if there is no planner.
        publishers: how many other nodes publish on `plan`.
        odometry_frame: the frame that plans are in; "" before there was one.
    """

    def __init__(self, node: Node, watchdog: Watchdog, *, steady_ns: Callable[[], int]) -> None:
        from alpamayo_ros.msg import Engagement

        self.statistics = InputStatistics()
        self.allowed_silence_ms: float | None = None
        self.publishers = 0
        self.odometry_frame = ""
        self._speaker: Any = None  # who said the last word on `engaged`
        self._node = node
        self._watchdog = watchdog
        self._steady_ns = steady_ns
        self._requested = output_qos()
        self._plans = self._subscribe()
        node.create_subscription(
            Engagement, "engaged", self._on_engagement, latched_qos(depth=ENGAGEMENT_DEPTH)
        )
        node.create_timer(DISCOVERY_PERIOD_S, self.discover, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def discover(self) -> None:
        """See who publishes plans; runs by itself five times a second."""
        me = (self._node.get_name(), self._node.get_namespace())
        offered = [
            info.qos_profile
            for info in self._node.get_publishers_info_by_topic("plan")
            if (info.node_name, info.node_namespace) != me
        ]
        if self.publishers and not offered:
            self._watchdog.lost("the planner's publisher has gone")
        elif offered and not self.publishers:
            self._watchdog.found()
        self.publishers = len(offered)
        if not offered:
            return
        requested = requested_as_offered(offered)
        # It sends a plan within each deadline, and a stop when its last plan has expired.
        allowed_ns = max(max(_nanoseconds(p.deadline), _nanoseconds(p.lifespan)) for p in offered)
        self.allowed_silence_ms = allowed_ns / 1e6 if allowed_ns < _INFINITE_NS else None
        if _promises(requested) != _promises(self._requested):
            self._requested = requested
            self._node.destroy_subscription(self._plans)
            self._plans = self._subscribe()

    def _subscribe(self) -> Subscription:
        from alpamayo_ros.msg import Plan

        return self._node.create_subscription(
            Plan,
            "plan",
            self._on_plan,
            self._requested,
            event_callbacks=SubscriptionEventCallbacks(
                deadline=self._on_deadline,
                liveliness=self._on_liveliness,
                incompatible_qos=self._on_incompatible,
            ),
        )

    def _on_plan(self, msg: Any) -> None:
        if msg.model == MODEL:  # our own
            return
        self.statistics.count("received")
        try:
            heard = heard_plan(msg)
            self._watchdog.plan(heard, steady_ns=self._steady_ns())
        except InvalidInput as error:
            self.statistics.count("rejected")
            self.statistics.problem = str(error)
            self._node.get_logger().warning(f"plan refused: {error}", throttle_duration_sec=WARN_PERIOD_S)
            return
        self.statistics.problem = ""
        self.odometry_frame = heard.odometry_frame or self.odometry_frame

    def _on_engagement(self, msg: Any, info: Any) -> None:
        # A planner's first word may have been replaced by its next before the two had found each other. Older
        # releases of rclpy do not say who speaks: then that word is all there is to tell planners by.
        speaker = info.get("publisher_gid")
        other = self._speaker is not None and speaker != self._speaker
        self._speaker = speaker
        said = HeardEngagement(
            engaged=bool(msg.engaged),
            active=bool(msg.active),
            reason=msg.reason,
            anew=other or msg.reason == STARTED,
        )
        self._watchdog.engagement(said, steady_ns=self._steady_ns())

    def _on_deadline(self, event: Any) -> None:
        self.statistics.count("deadlines_missed", max(0, int(event.total_count_change)))

    def _on_incompatible(self, event: Any) -> None:
        """Take note of a planner that offers less than the one before; `discover` soon asks for less."""
        self.statistics.count("incompatible", max(0, int(event.total_count_change)))

    def _on_liveliness(self, event: Any) -> None:
        # The watchdog's own publisher counts as alive while it acts, which hides nothing: then only a plan
        # of the planner's ends the stop.
        if event.alive_count > 0:
            self._watchdog.found()
        elif event.alive_count_change < 0:
            self.statistics.count("liveliness_lost")
            self._watchdog.lost("the planner's liveliness was lost")


class VehicleMotion:
    """Hears odometry, of whatever body frame, and says how the rig moves.

    Args:
        node: the watchdog.
        watchdog: is told.
        rig: names the odometry's topic and its frames.
        twist: whether odometry's twist is read.
        planner_frame: says which odometry frame the plans are in, "" where nobody knows.
        jumped: called when stamps went back, before the watchdog is told of the new state.

    Attributes:
        statistics: counts of messages that were received and rejected, and the newest stamp.
    """

    def __init__(
        self,
        node: Node,
        watchdog: Watchdog,
        *,
        rig: Rig,
        twist: TwistUse,
        planner_frame: Callable[[], str],
        jumped: Callable[[], None],
    ) -> None:
        from nav_msgs.msg import Odometry
        from tf2_msgs.msg import TFMessage

        self.statistics = InputStatistics()
        self._node = node
        self._watchdog = watchdog
        self._rig = rig
        self._planner_frame = planner_frame
        self._jumped = jumped
        self._frames = OdometryFrames(rig)
        self._transforms = StaticTransforms()
        self._motion = EgoMotion(twist=twist, span_ms=1000.0)
        self._frame = ""
        node.create_subscription(
            Odometry,
            rig.odometry_topic,
            self._on_odometry,
            sensor_qos(depth=ODOMETRY_DEPTH),
            qos_overriding_options=overridable(),
        )
        self._latched = LatchedSubscription(
            node, TFMessage, "/tf_static", callback=self._on_static_transforms, depth=100
        )

    def clear(self) -> None:
        """Forget the motion: the clock went back."""
        self._motion.clear()
        self.statistics.clear_stamps()

    def _on_odometry(self, msg: Any) -> None:
        self.statistics.count("received")
        try:
            state = self._state_after(msg)
        except InvalidInput as error:
            self.statistics.count("rejected")
            self.statistics.problem = str(error)
            self._node.get_logger().warning(f"odometry refused: {error}", throttle_duration_sec=WARN_PERIOD_S)
            return
        self.statistics.problem = ""
        if state is not None:
            self.statistics.stamped(state.stamp_ns)
            self._watchdog.odometry(state, self._frame)

    def _state_after(self, msg: Any) -> VehicleState | None:
        """Return the newest state, None where the message is older than that."""
        sample = odometry_from_msg(msg, with_twist=self._motion.wants_twist)
        child_from_rig = self._frames.child_from_rig(sample.stamp_ns, sample.child_frame)
        expected = self._planner_frame() or self._frame or sample.frame
        if sample.frame != expected:
            raise InvalidInput(
                f"odometry header.frame_id: expected {expected!r} as in the plans, got {sample.frame!r}"
            )
        if sample.frame != self._frame:
            self._frame = sample.frame
            self.clear()  # its poses have nothing to do with those before
        newest_ns = self.statistics.newest_ns
        if newest_ns is not None and sample.stamp_ns < newest_ns - _BACKWARD_NS:
            self._jumped()
        pose = sample.odom_from_child if child_from_rig is None else sample.odom_from_child @ child_from_rig
        twist = None if sample.twist is None else sample.twist.at_rig(child_from_rig)
        self._motion.add(sample.stamp_ns, pose, twist)
        motion = self._motion.newest()
        if motion is None or motion.stamp_ns != sample.stamp_ns:
            return None
        return VehicleState(
            motion.stamp_ns,
            motion.odom_from_rig,
            motion.speed_mps,
            accel_mps2=motion.accel_mps2,
            yaw_rate_radps=motion.yaw_rate_radps,
        )

    def _on_static_transforms(self, msg: Any) -> None:
        def refused(error: InvalidInput) -> None:
            self._node.get_logger().warning(f"/tf_static: {error}", throttle_duration_sec=WARN_PERIOD_S)

        self._transforms.add_message(msg, refused=refused)
        for frame in self._transforms.frames:
            rig_from_child = self._transforms.lookup(self._rig.rig_frame, frame)
            if rig_from_child is not None:
                self._frames.set_from_tf(frame, rig_from_child)


def heard_plan(msg: Any) -> HeardPlan:
    """Return what a Plan message says to the watchdog.

    Raises:
        InvalidInput: for a message that is no plan that could be driven or shown: wrong shapes, numbers that
            are not finite, an unknown status, or one that is for the record alone.
    """
    published = plan_from_msg(msg)
    require_publishable(published.plan)
    if published.status not in (PlanStatus.UNCHECKED, PlanStatus.VALID, PlanStatus.FALLBACK):
        raise InvalidInput(
            f"plan status: expected UNCHECKED, VALID or FALLBACK on `plan`, got {published.status.name}"
        )
    return HeardPlan(
        plan=published.plan,
        odom_from_rig_t0=published.odom_from_rig_t0,
        odometry_frame=published.odometry_frame,
        valid=published.status is PlanStatus.VALID,
        drivable=published.status is not PlanStatus.UNCHECKED,
        engaged=published.engaged,
        decided_ns=published.decided_ns,
    )


def requested_as_offered(offered: Sequence[QoSProfile]) -> QoSProfile:
    """Return the profile that requests the deadline and the liveliness that every publisher offers."""
    profile = output_qos()
    deadline_ns = max(_nanoseconds(p.deadline) for p in offered)
    if deadline_ns < _INFINITE_NS:
        profile.deadline = Duration(nanoseconds=deadline_ns)
    lease_ns = max(_nanoseconds(p.liveliness_lease_duration) for p in offered)
    if lease_ns < _INFINITE_NS:
        manual = all(p.liveliness == LivelinessPolicy.MANUAL_BY_TOPIC for p in offered)
        profile.liveliness = LivelinessPolicy.MANUAL_BY_TOPIC if manual else LivelinessPolicy.AUTOMATIC
        profile.liveliness_lease_duration = Duration(nanoseconds=lease_ns)
    return profile


def _nanoseconds(duration: Duration) -> int:
    """Return a duration of a QoS profile; DDS spells "infinite" in several ways, zero among them."""
    return duration.nanoseconds or _INFINITE_NS


def _promises(profile: QoSProfile) -> tuple[object, ...]:
    return (profile.deadline, profile.liveliness, profile.liveliness_lease_duration)
