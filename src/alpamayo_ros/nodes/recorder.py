"""Records topics into rosbag2/MCAP folders, the bytes as they came, and keeps the last seconds to be saved.

See docs/RECORDING.md.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription

from alpamayo_ros.bags.errors import BagError
from alpamayo_ros.bags.recording import BagRecording, Message, TopicCatalog
from alpamayo_ros.bags.ring import Ring
from alpamayo_ros.bags.snapshots import Snapshots
from alpamayo_ros.bags.writer import SizeReached
from alpamayo_ros.ros.conversions import text_to_ros
from alpamayo_ros.ros.diagnostics import to_message
from alpamayo_ros.ros.message_types import message_class
from alpamayo_ros.ros.parameters import declare, values
from alpamayo_ros.ros.qos import SubscriptionEventCallbacks, output_qos
from alpamayo_ros.ros.recorded_qos import is_kept_for_latecomers, requested_when_recorded, to_recorded
from alpamayo_ros.ros.recorder_parameters import NEVER_RECORDED, PARAMETERS, recorder_settings
from alpamayo_ros.ros.recorder_status import RecorderReporter
from alpamayo_ros.ros.recorder_triggers import Triggers
from alpamayo_ros.ros.runner import run_node
from alpamayo_ros.types import InvalidInput

try:
    from rclpy.event_handler import UnsupportedEventTypeError
except ImportError:  # Humble
    from rclpy.qos_event import UnsupportedEventTypeError

__all__ = ["NEVER_RECORDED", "PARAMETERS", "RecorderNode", "main"]

DISCOVERY_PERIOD_S = 0.2
REPORT_PERIOD_S = 1.0
MAX_UNTIMED = 1000
"""Messages kept until simulated time begins; of more, the newest."""

TRANSFORMS_KEPT = 100
"""Messages that the ring keeps of a latched topic of transforms: a publisher may send them one by one."""

_TRANSFORMS = "tf2_msgs/msg/TFMessage"


class RecorderNode(Node):
    """Subscribes to topics as they appear and writes what comes.

    Messages are stamped with the node's clock when they arrive (simulated time under `use_sim_time`;
    what comes before the first /clock is stamped with that). A slow disk costs messages, counted by
    topic, never the callbacks' time. A full disk ends the recording with a readable bag and an error.

    Args:
        now_ns: gives the stamps instead of the node's clock.

    Attributes:
        recording: the bag that is written all the time; None where the ring alone is kept.
        ring, snapshots: the last seconds, and what saves them; None without a ring.
        ignored: topic -> why it cannot be recorded.
        lost: topic -> messages that the middleware lost on their way here.

    Raises:
        InvalidInput: for parameters that do not fit together.
        BagError: where the bag cannot be made.
    """

    def __init__(self, *, now_ns: Callable[[], int] | None = None, **node_options: Any) -> None:
        super().__init__("recorder", **node_options)
        try:
            self._set_up(now_ns)
        except BaseException:
            super().destroy_node()  # rclpy keeps a list of nodes, refused ones too
            raise

    def _set_up(self, now_ns: Callable[[], int] | None) -> None:
        from diagnostic_msgs.msg import DiagnosticArray

        declare(self, PARAMETERS)
        self.settings = settings = recorder_settings(values(self, PARAMETERS))
        self._now_ns = now_ns or (lambda: int(self.get_clock().now().nanoseconds))
        self._inputs: dict[str, tuple[Subscription, QoSProfile]] = {}
        self._untimed: deque[tuple[str, bytes]] = deque(maxlen=MAX_UNTIMED)
        self._first_ns: int | None = None
        self._catalog = TopicCatalog()
        self._reporter = RecorderReporter()
        self._reported_s: float | None = None
        self.ignored: dict[str, str] = {}
        self.lost: Counter[str] = Counter()
        self.ring: Ring | None = None
        self.snapshots: Snapshots | None = None
        self.recording: BagRecording | None = None
        if settings.output is not None:
            self.recording = BagRecording(
                settings.output,
                queue_bytes=settings.queue_bytes,
                min_free_bytes=settings.min_free_bytes,
                options=settings.options,
                catalog=self._catalog,
            )
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", output_qos())
        if settings.ring_output is not None:
            self.ring = Ring(settings.ring_s, max_bytes=settings.ring_bytes)
            self.snapshots = Snapshots(
                settings.ring_output,
                self.ring,
                self._catalog,
                queue_bytes=settings.queue_bytes,
                min_free_bytes=settings.min_free_bytes,
                options=settings.options,
            )
            Triggers(self, occasions=settings.save_on, save=self.save)
        # By wall time: simulated time may begin only with what is to be discovered.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timers_of_mine = [
            self.create_timer(DISCOVERY_PERIOD_S, self.discover, clock=steady),
            self.create_timer(REPORT_PERIOD_S, self.report, clock=steady),
        ]
        self.discover()

    @property
    def done(self) -> bool:
        """Whether recording has ended by itself, and /diagnostics has said so for a while.

        With a ring the node stays: that can still be saved once there is space.
        """
        if self.ring is not None or self._reported_s is None:
            return False
        return time.monotonic() - self._reported_s > REPORT_PERIOD_S

    @property
    def error(self) -> BagError | None:
        """Why recording ended early; None if it did not, or is as large as it was to become."""
        error = None if self.recording is None else self.recording.error
        return None if isinstance(error, SizeReached) else error

    @property
    def dropped(self) -> Counter[str]:
        """Topic -> messages that are not in the bag because the disk was too slow or full."""
        return Counter() if self.recording is None else self.recording.dropped

    @property
    def recorded_topics(self) -> set[str]:
        """Topics that are subscribed to."""
        return set(self._inputs)

    def save(self, label: str, after_s: float | None = None) -> Path:
        """Save the ring, and `after_s` more; return the bag's folder.

        Raises:
            BagError: where there is no ring, no time yet, or no space.
        """
        if self.snapshots is None:
            raise BagError("ring: expected one (parameter ring_s), got none")
        now_ns = self._now_ns()
        if now_ns <= 0:
            raise BagError("ring: expected a message, got none: simulated time has not begun")
        after_ns = self.settings.ring_after_ns if after_s is None else round(after_s * 1e9)
        return self.snapshots.trigger(label, stamp_ns=now_ns, after_ns=after_ns)

    def discover(self) -> None:
        """Subscribe to what has appeared since the last time; runs by itself five times a second."""
        if self.snapshots is not None:
            self.snapshots.tick(self._now_ns())
        if self.recording is not None and self.recording.error is not None and self._reported_s is None:
            self._reported_s = time.monotonic()
            self.get_logger().error(f"recording has ended: {self.recording.error}")
            self.report()
        for topic, types in self.get_topic_names_and_types():
            if self.settings.wants(topic) and topic not in self.ignored:
                self._subscribe(topic, types)

    def report(self) -> None:
        """Say on /diagnostics how it goes; runs by itself once a second."""
        now_ns = max(self._now_ns(), 0)
        status = self._reporter.status(
            recording=self.recording,
            ring=self.ring,
            snapshots=self.snapshots,
            ignored=self.ignored,
            lost=self.lost,
            queue_bytes=self.settings.queue_bytes,
            running_s=0.0 if self._first_ns is None else (now_ns - self._first_ns) * 1e-9,
        )
        self._diagnostics.publish(to_message([status], stamp_ns=now_ns))

    def destroy_node(self) -> None:
        """Stop receiving, write what is queued, and close the bags."""
        for subscription, _ in self._inputs.values():
            self.destroy_subscription(subscription)
        self._inputs.clear()
        self._put_untimed(max(self._now_ns(), 0))
        if self.recording is not None:
            self.recording.close()
            dropped = {t: n for t, n in self.recording.dropped.items() if n}
            if dropped:
                self.get_logger().error(
                    f"messages dropped: {dropped}; {self.recording.error or 'the disk was too slow'}"
                )
            written = self.recording.written
            self.get_logger().info(f"recorded {written} messages to {self.recording.path}")
        if self.snapshots is not None:
            saved = self.snapshots
            saved.close()
            if saved.failed:
                self.get_logger().error(f"{saved.failed} bags of the ring not saved: {saved.last_error}")
            self.get_logger().info(f"saved {saved.saved} bags of the ring to {saved.folder}")
        super().destroy_node()

    def _subscribe(self, topic: str, types: list[str]) -> None:
        """Subscribe so that every publisher matches; again, if one has come that does not."""
        publishers = self.get_publishers_info_by_topic(topic)
        if not publishers:
            return  # subscribers alone; their types say nothing of what will be published
        wanted = requested_when_recorded(p.qos_profile for p in publishers)
        if self.ring is not None and any(is_kept_for_latecomers(p.qos_profile) for p in publishers):
            # Depths are not discovered: of others than transforms, each publisher's last message counts.
            self.ring.latch(topic, TRANSFORMS_KEPT if types == [_TRANSFORMS] else len(publishers))
        known = self._inputs.get(topic)
        if known is not None:
            subscription, profile = known
            if profile.reliability == wanted.reliability and profile.durability == wanted.durability:
                return
            self.destroy_subscription(subscription)
        try:
            if len(types) != 1:
                raise BagError(f"expected one type, got {', '.join(types)}")
            kind = message_class(types[0])
            added = self._catalog.add(topic, types[0], qos=[to_recorded(p.qos_profile) for p in publishers])
        except InvalidInput as error:
            self.ignored[topic] = str(error)
            self.get_logger().warning(f"{text_to_ros(topic)} is not recorded: {error}")
            return
        if known is None:
            for bags in (self.recording, self.snapshots):
                if bags is not None:
                    bags.add(added)
        receive = partial(self._receive, topic)
        lost = SubscriptionEventCallbacks(message_lost=partial(self._on_lost, topic))
        try:
            made = self.create_subscription(kind, topic, receive, wanted, raw=True, event_callbacks=lost)
        except UnsupportedEventTypeError:  # a middleware that does not tell
            made = self.create_subscription(kind, topic, receive, wanted, raw=True)
        self._inputs[topic] = (made, wanted)

    def _receive(self, topic: str, data: bytes) -> None:
        stamp_ns = self._now_ns()
        if stamp_ns <= 0:  # simulated time that has not begun
            self._untimed.append((topic, data))
            return
        self._put_untimed(stamp_ns)
        self._put(topic, stamp_ns, data)

    def _on_lost(self, topic: str, event: Any) -> None:
        self.lost[topic] += int(event.total_count_change)

    def _put_untimed(self, stamp_ns: int) -> None:
        for topic, data in self._untimed:
            self._put(topic, stamp_ns, data)
        self._untimed.clear()

    def _put(self, topic: str, stamp_ns: int, data: bytes) -> None:
        if self._first_ns is None:
            self._first_ns = stamp_ns
        if self.recording is not None:
            self.recording.put(topic, stamp_ns, data)
        if self.ring is not None and self.snapshots is not None:
            message = Message(topic, stamp_ns, data)
            self.ring.put(message)
            self.snapshots.put(message)


def main(args: list[str] | None = None) -> int:
    """Record until told to stop."""
    return run_node(RecorderNode, args)


if __name__ == "__main__":
    import sys

    sys.exit(main())
