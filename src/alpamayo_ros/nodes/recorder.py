"""Records topics into a rosbag2/MCAP folder: the bytes as they came, with the publishers' QoS."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription

from alpamayo_ros.bags.errors import BagError
from alpamayo_ros.bags.recording import QUEUE_BYTES, BagRecording
from alpamayo_ros.bags.writer import MIN_FREE_BYTES
from alpamayo_ros.ros.message_types import message_class
from alpamayo_ros.ros.parameters import Changes, ParameterSpec, declare, values
from alpamayo_ros.ros.recorded_qos import requested_when_recorded, to_recorded
from alpamayo_ros.ros.runner import run_node
from alpamayo_ros.types import InvalidInput

NEVER_RECORDED = ("/clock", "/parameter_events")
"""A bag that holds /clock would fight with its player's own."""

DISCOVERY_PERIOD_S = 0.2
MAX_UNTIMED = 1000
"""Messages kept until simulated time begins; of more, the newest."""

_MIB = 2**20

PARAMETERS: tuple[ParameterSpec, ...] = (
    ParameterSpec("output", "", "Folder to make for the bag.", changes=Changes.START),
    ParameterSpec("topics", ("",), "Topics to record; empty for all.", changes=Changes.START),
    ParameterSpec("exclude", NEVER_RECORDED, "Topics not to record.", changes=Changes.START),
    ParameterSpec(
        "queue_mib",
        QUEUE_BYTES // _MIB,
        "Limit on messages that wait for the disk, MiB.",
        minimum=1,
        maximum=1_000_000,
        changes=Changes.START,
    ),
    ParameterSpec(
        "min_free_mib",
        MIN_FREE_BYTES // _MIB,
        "Disk space at which recording stops, MiB.",
        minimum=0,
        maximum=100_000_000,
        changes=Changes.START,
    ),
)
"""Parameters of the recorder."""


class RecorderNode(Node):
    """Subscribes to topics as they appear and writes what comes.

    Messages are stamped with the node's clock when they arrive (simulated time under `use_sim_time`;
    what comes before the first /clock is stamped with that). A slow disk costs messages, counted by
    topic, never the callbacks' time. A full disk ends the recording with a readable bag and an error.

    Args:
        now_ns: gives the stamps instead of the node's clock.

    Raises:
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
        declare(self, PARAMETERS)
        given = values(self, PARAMETERS)
        if not given["output"]:
            raise InvalidInput("output: expected a folder to make in parameter 'output', got nothing")
        self._topics = {t for t in given["topics"] if t}
        self._exclude = set(given["exclude"])
        self._now_ns = now_ns or (lambda: int(self.get_clock().now().nanoseconds))
        self._inputs: dict[str, tuple[Subscription, QoSProfile]] = {}
        self._untimed: deque[tuple[str, bytes]] = deque(maxlen=MAX_UNTIMED)
        self.ignored: dict[str, str] = {}
        """Topic -> why it cannot be recorded."""
        self.recording = BagRecording(
            given["output"],
            queue_bytes=given["queue_mib"] * _MIB,
            min_free_bytes=given["min_free_mib"] * _MIB,
        )
        self._error_reported = False
        # By wall time: simulated time may begin only with what is to be discovered.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = self.create_timer(DISCOVERY_PERIOD_S, self.discover, clock=steady)
        self.discover()

    @property
    def done(self) -> bool:
        """Whether recording has ended by an error (see `error`)."""
        return self.recording.error is not None

    @property
    def error(self) -> BagError | None:
        """Why recording ended early, or None."""
        return self.recording.error

    @property
    def recorded_topics(self) -> set[str]:
        """Topics that are subscribed to."""
        return set(self._inputs)

    def discover(self) -> None:
        """Subscribe to what has appeared since the last time; runs by itself five times a second."""
        if self.recording.error is not None and not self._error_reported:
            self._error_reported = True
            self.get_logger().error(f"recording has ended: {self.recording.error}")
        for topic, types in self.get_topic_names_and_types():
            if self._is_wanted(topic):
                self._subscribe(topic, types)

    def destroy_node(self) -> None:
        """Stop receiving, write what is queued, and close the bag."""
        for subscription, _ in self._inputs.values():
            self.destroy_subscription(subscription)
        self._inputs.clear()
        self._put_untimed(max(self._now_ns(), 0))
        self.recording.close()
        dropped = {t: n for t, n in self.recording.dropped.items() if n}
        if dropped:
            self.get_logger().error(
                f"messages dropped: {dropped}; {self.recording.error or 'the disk was too slow'}"
            )
        self.get_logger().info(f"recorded {self.recording.written} messages to {self.recording.path}")
        super().destroy_node()

    def _is_wanted(self, topic: str) -> bool:
        return (
            topic not in self._exclude
            and topic not in self.ignored
            and (not self._topics or topic in self._topics)
        )

    def _subscribe(self, topic: str, types: list[str]) -> None:
        """Subscribe so that every publisher matches; again, if one has come that does not."""
        publishers = self.get_publishers_info_by_topic(topic)
        if not publishers:
            return  # subscribers alone; their types say nothing of what will be published
        wanted = requested_when_recorded(p.qos_profile for p in publishers)
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
            self.recording.add_topic(topic, types[0], qos=[to_recorded(p.qos_profile) for p in publishers])
        except InvalidInput as error:
            self.ignored[topic] = str(error)
            self.get_logger().warning(f"{topic} is not recorded: {error}")
            return
        receive = partial(self._receive, topic)
        self._inputs[topic] = (self.create_subscription(kind, topic, receive, wanted, raw=True), wanted)

    def _receive(self, topic: str, data: bytes) -> None:
        stamp_ns = self._now_ns()
        if stamp_ns <= 0:  # simulated time that has not begun
            self._untimed.append((topic, data))
            return
        self._put_untimed(stamp_ns)
        self.recording.put(topic, stamp_ns, data)

    def _put_untimed(self, stamp_ns: int) -> None:
        for topic, data in self._untimed:
            self.recording.put(topic, stamp_ns, data)
        self._untimed.clear()


def main(args: list[str] | None = None) -> int:
    """Record until told to stop."""
    return run_node(RecorderNode, args)


if __name__ == "__main__":
    import sys

    sys.exit(main())
