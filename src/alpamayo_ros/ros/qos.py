"""Quality of service of every topic, and subscriptions to latched topics that take volatile publishers too.

Sensors are best effort with a small queue (a late image is worth nothing), outputs reliable and volatile.
`plan` also offers a deadline of two periods and a liveliness that the planner asserts itself, by which a
reader notices one that has fallen silent or hangs, and a lifespan, so that no reader that was away is handed
a plan that is too old to drive.
"""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    LivelinessPolicy,
    QoSPolicyKind,
    QoSProfile,
    ReliabilityPolicy,
)
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription

try:
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks

MessageT = TypeVar("MessageT")

SENSOR_DEPTH = 5


def sensor_qos(*, depth: int = SENSOR_DEPTH) -> QoSProfile:
    """Return the default of camera and odometry subscriptions; it matches reliable publishers too."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.VOLATILE,
    )


def output_qos(*, depth: int = 10) -> QoSProfile:
    """Return the profile of what we publish: reliable, volatile."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.VOLATILE,
    )


def plan_qos(*, period_ms: float, max_plan_age_ns: int, heartbeat_ms: float) -> QoSProfile:
    """Return the profile of `plan`: deadline two periods, lifespan the age at which a plan expires.

    Its publisher must assert its liveliness once within `heartbeat_ms`.
    """
    profile = output_qos(depth=1)
    profile.liveliness = LivelinessPolicy.MANUAL_BY_TOPIC
    profile.liveliness_lease_duration = Duration(nanoseconds=round(heartbeat_ms * 1e6))
    profile.deadline = Duration(nanoseconds=round(2 * period_ms * 1e6))
    profile.lifespan = Duration(nanoseconds=max_plan_age_ns)
    return profile


def latched_qos(*, depth: int = 1) -> QoSProfile:
    """Return the profile of topics whose last message is for late joiners: `instruction`, /tf_static."""
    profile = output_qos(depth=depth)
    profile.durability = DurabilityPolicy.TRANSIENT_LOCAL
    return profile


def overridable() -> QoSOverridingOptions:
    """Return options that declare `qos_overrides.<topic>.<subscription|publisher>.*` parameters."""
    return QoSOverridingOptions(
        policy_kinds=(
            QoSPolicyKind.HISTORY,
            QoSPolicyKind.DEPTH,
            QoSPolicyKind.RELIABILITY,
            QoSPolicyKind.DURABILITY,
        )
    )


def no_publisher_events() -> PublisherEventCallbacks:
    """Return callbacks of a publisher that has none, not even rclpy's own warnings of QoS that do not match.

    Each event of each publisher makes every round of the executor dearer. Subscriptions still warn.
    """
    return PublisherEventCallbacks(use_default_callbacks=False)


def on_missed_deadline(callback: Callable[[int], None]) -> PublisherEventCallbacks:
    """Return a publisher's event callbacks: `callback` gets how many deadlines it has newly missed."""
    return PublisherEventCallbacks(deadline=lambda event: callback(int(event.total_count_change)))


class LatchedSubscription:
    """Receives a latched topic from transient local *and* volatile publishers, each message once.

    DDS does not match a transient local subscription with a volatile publisher, which is what
    `ros2 topic pub` and bag players are unless told otherwise. So there are two subscriptions: one
    transient local, which also gets what was sent before we came, and one volatile. A message that
    came by both is recognised by its source timestamp.
    """

    def __init__(
        self,
        node: Node,
        msg_type: type[MessageT],
        topic: str,
        *,
        callback: Callable[[MessageT], None],
        depth: int = 1,
    ) -> None:
        self._node = node
        self._callback = callback
        self._seen_stamps_ns: deque[int] = deque(maxlen=max(16, 2 * depth))
        volatile = output_qos(depth=depth)
        self._subscriptions: list[Subscription] = [
            node.create_subscription(
                msg_type,
                topic,
                _with_info(self._receive),
                profile,
                # The mismatch of the first with volatile publishers is expected: no warning.
                event_callbacks=SubscriptionEventCallbacks(use_default_callbacks=False),
            )
            for profile in (latched_qos(depth=depth), volatile)
        ]

    def _receive(self, msg: Any, info: Any) -> None:
        stamp_ns = int(info["source_timestamp"])
        if stamp_ns in self._seen_stamps_ns:
            return
        self._seen_stamps_ns.append(stamp_ns)
        self._callback(msg)

    def destroy(self) -> None:
        """Stop receiving."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions.clear()


def _with_info(receive: Callable[[Any, Any], None]) -> Callable[..., None]:
    """Return a callback that gets message and info as two arguments from any executor.

    rclpy tells by the signature that it wants both; its events executor (9.1) then passes them as one tuple.
    """

    def callback(*received: Any) -> None:
        message, info = received if len(received) == 2 else received[0]
        receive(message, info)

    callback.__signature__ = inspect.signature(receive)  # type: ignore[attr-defined]
    return callback
