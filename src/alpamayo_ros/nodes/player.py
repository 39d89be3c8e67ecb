"""Plays a bag onto real topics: the recorded bytes as they are, with the recorded QoS, and /clock."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable
from typing import Any

from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import GetState
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy
from rosgraph_msgs.msg import Clock

from alpamayo_ros.bags.errors import BagError
from alpamayo_ros.bags.playback import MAX_RATE, MIN_RATE, Timeline
from alpamayo_ros.bags.reader import BagReader, BagTopic, RawMessage
from alpamayo_ros.bags.typestore import installed_hash
from alpamayo_ros.ros.message_types import message_class
from alpamayo_ros.ros.parameters import Changes, ParameterSpec, declare, values
from alpamayo_ros.ros.recorded_qos import offered_when_played
from alpamayo_ros.ros.runner import run_node
from alpamayo_ros.types import InvalidInput

NEVER_PLAYED = ("/clock", "/rosout", "/parameter_events")
"""Topics that describe the graph that was recorded, not the drive; /clock is the player's own."""

LATE_WARNING_S = 0.5
_LONGEST_WAIT_S = 0.05

PARAMETERS: tuple[ParameterSpec, ...] = (
    ParameterSpec(
        "bag", "", "Folder or file of the recording (rosbag2, MCAP or sqlite3).", changes=Changes.START
    ),
    ParameterSpec(
        "rate", 1.0, "Bag seconds a wall second.", minimum=MIN_RATE, maximum=MAX_RATE, changes=Changes.START
    ),
    ParameterSpec("loop", False, "Start again at the end; time then jumps back.", changes=Changes.START),
    ParameterSpec(
        "start_offset_s", 0.0, "Seconds of the bag to skip.", minimum=0.0, maximum=1e9, changes=Changes.START
    ),
    ParameterSpec("topics", ("",), "Topics to play; empty for all.", changes=Changes.START),
    ParameterSpec("exclude", NEVER_PLAYED, "Topics not to play.", changes=Changes.START),
    ParameterSpec(
        "clock_hz",
        100.0,
        "Messages on /clock a wall second; 0 for no /clock.",
        minimum=0.0,
        maximum=10_000.0,
        changes=Changes.START,
    ),
    ParameterSpec(
        "wait_for_subscribers",
        ("",),
        "Topics that must have a subscriber before playing starts.",
        changes=Changes.START,
    ),
    ParameterSpec(
        "wait_for_active",
        ("",),
        "Lifecycle nodes that must be active before playing starts.",
        changes=Changes.START,
    ),
    ParameterSpec(
        "wait_timeout_s",
        0.0,
        "Seconds to wait for both before giving up; 0 for as long as it takes.",
        minimum=0.0,
        maximum=1e6,
        changes=Changes.START,
    ),
    ParameterSpec(
        "hold_s",
        1.0,
        "Seconds that /clock runs on after the last message, for answers still to come.",
        minimum=0.0,
        maximum=1e9,
        changes=Changes.START,
    ),
)
"""Parameters of the player."""


class PlayerNode(Node):
    """Publishes a bag's messages at the pace of their stamps.

    Playing starts with play() and waits for its listeners, as the parameters say. A latched topic's
    messages from before `start_offset_s` are published first: they are still the state at that time.

    Raises:
        BagError: for a bag that cannot be read, or that cannot give what `wait_for_subscribers` names.
    """

    def __init__(self, **node_options: Any) -> None:
        super().__init__("player", **node_options)
        try:
            self._set_up()
        except BaseException:
            super().destroy_node()  # rclpy keeps a list of nodes, refused ones too
            raise

    def _set_up(self) -> None:
        declare(self, PARAMETERS)
        given = values(self, PARAMETERS)
        rate: float = given["rate"]
        self._loop: bool = given["loop"]
        self._wait_timeout_s: float = given["wait_timeout_s"]
        self._hold_s: float = given["hold_s"]
        self._awaited = [t for t in given["wait_for_subscribers"] if t]
        self._await_active = [n for n in given["wait_for_active"] if n]
        if not given["bag"]:
            raise InvalidInput("bag: expected the path of a recording in parameter 'bag', got nothing")
        self.reader = BagReader(given["bag"])
        try:
            self._prepare([t for t in given["topics"] if t], given["exclude"], given["start_offset_s"])
        except BaseException:
            self.reader.close()
            raise
        self.timeline = Timeline(self.start_ns, rate=rate)
        self.published: Counter[str] = Counter()
        self.latest_s = 0.0
        """How many wall seconds the tardiest message was published after it was due."""
        self.playing = threading.Event()
        self.finished = threading.Event()
        """Set when the last message is out; /clock may still run (see `hold_s`)."""
        self.ended = threading.Event()
        self.error: Exception | None = None
        clock_hz: float = given["clock_hz"]
        self._clock_publisher = self.create_publisher(Clock, "/clock", 10) if clock_hz else None
        self._clock_period_ns = round(1e9 * rate / clock_hz) if clock_hz else 0
        self._next_clock_ns = self.start_ns
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="player", daemon=True)

    @property
    def topics(self) -> set[str]:
        """Topics that are played, /clock aside."""
        return set(self._publishers_by_topic)

    @property
    def done(self) -> bool:
        """Whether there is nothing left to do (the bag is played, or playing failed)."""
        return self.ended.is_set()

    def play(self) -> None:
        """Start playing in a thread of its own; the node must be spun meanwhile."""
        self._thread.start()

    def stop(self) -> None:
        """Stop playing and the clock; returns when no more messages come."""
        self._stop.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()

    def destroy_node(self) -> None:
        """Stop, close the bag, and take the publishers off the graph."""
        self.stop()
        self.reader.close()
        super().destroy_node()

    def _prepare(self, topics: list[str], exclude: Iterable[str], offset_s: float) -> None:
        reader = self.reader
        if not reader.message_count:
            raise BagError(f"bag {reader.path}: expected messages, got none")
        self.start_ns = reader.start_ns + round(offset_s * 1e9)
        self.end_ns = reader.end_ns
        if self.start_ns > self.end_ns:
            raise InvalidInput(
                f"start_offset_s: expected at most the bag's {reader.duration_s:.2f} s, got {offset_s}"
            )
        reader.require_topics([*topics, *self._awaited], why="topics that were asked for")
        chosen = [
            topic
            for name, topic in reader.topics.items()
            if topic.count and name not in exclude and (not topics or name in topics)
        ]
        self._publishers_by_topic: dict[str, Publisher] = {}
        self.skipped: dict[str, str] = {}
        for topic in chosen:
            reason = _playable(topic)
            if reason:
                self.skipped[topic.name] = reason
                self.get_logger().warning(f"{topic.name} is not played: {reason}")
                continue
            qos = offered_when_played(topic.qos, topic=topic.name, count=topic.count)
            self._publishers_by_topic[topic.name] = self.create_publisher(
                message_class(topic.type_name), topic.name, qos
            )
        lost = [f"{name}: {self.skipped[name]}" for name in self._awaited if name in self.skipped]
        lost += [f"{name}: it is excluded" for name in self._awaited if name in exclude]
        if lost:
            raise BagError(f"bag {reader.path}: expected topics that can be played, got {'; '.join(lost)}")

    def _run(self) -> None:
        try:
            if self._wait():
                self._play()
        except Exception as error:  # handed to the main thread: see `error`
            self.error = error
            self.get_logger().error(f"{error}")
        self.finished.set()
        self.ended.set()

    def _wait(self) -> bool:
        """Wait for listeners; False if told to stop meanwhile."""
        waited_s, reported_s = 0.0, 0.0
        while not self._stop.is_set():
            missing = [
                f"a subscriber of {name}"
                for name in self._awaited
                if not self._publishers_by_topic[name].get_subscription_count()
            ]
            missing += [f"{name} to be active" for name in self._await_active if not self._is_active(name)]
            if not missing:
                return True
            if self._wait_timeout_s and waited_s > self._wait_timeout_s:
                raise InvalidInput(
                    f"player: expected {', '.join(missing)} within {self._wait_timeout_s:g} s, got nothing"
                )
            if waited_s - reported_s >= 5.0:
                reported_s = waited_s
                self.get_logger().info(f"waiting for {', '.join(missing)}")
            self._stop.wait(0.1)
            waited_s += 0.1
        return False

    def _is_active(self, name: str) -> bool:
        client = self.create_client(GetState, f"{name}/get_state")
        try:
            if not client.wait_for_service(timeout_sec=0.5):
                return False
            answered = threading.Event()
            future = client.call_async(GetState.Request())
            future.add_done_callback(lambda _: answered.set())
            if not answered.wait(2.0):
                return False
            response = future.result()
            return response is not None and response.current_state.id == State.PRIMARY_STATE_ACTIVE
        finally:
            self.destroy_client(client)

    def _play(self) -> None:
        latched = [name for name, p in self._publishers_by_topic.items() if _is_latched(p)]
        self.get_logger().info(
            f"playing {self.reader.path}: {(self.end_ns - self.start_ns) * 1e-9:.1f} s, "
            f"{len(self._publishers_by_topic)} topics, rate {self.timeline.rate:g}"
        )
        self.playing.set()
        while not self._stop.is_set():
            self.timeline.start(self.start_ns)
            self._next_clock_ns = self.start_ns
            self._publish_clock_until(self.start_ns)
            for message in self.reader.messages(latched, stop_ns=self.start_ns):
                self._publish(message)
            for message in self.reader.messages(self._publishers_by_topic, start_ns=self.start_ns):
                if not self._sleep_until(message.stamp_ns):
                    return
                self._publish(message)
            if not self._loop:
                break
        self.finished.set()
        if self.latest_s > LATE_WARNING_S:
            self.get_logger().warning(
                f"messages were up to {self.latest_s:.2f} s late: this machine is too slow "
                f"for rate {self.timeline.rate:g}"
            )
        self._sleep_until(self.end_ns + round(self._hold_s * 1e9 * self.timeline.rate))

    def _publish(self, message: RawMessage) -> None:
        self._publishers_by_topic[message.topic].publish(message.data)
        self.published[message.topic] += 1

    def _sleep_until(self, bag_ns: int) -> bool:
        """Wait until bag time `bag_ns`, keeping /clock running; False if told to stop."""
        while not self._stop.is_set():
            self._publish_clock_until(min(bag_ns, self.timeline.now_ns()))
            due_ns = min(bag_ns, self._next_clock_ns) if self._clock_publisher else bag_ns
            wait_s = self.timeline.wait_s(due_ns)
            if wait_s > 0:
                self._stop.wait(min(wait_s, _LONGEST_WAIT_S))  # the rate may change meanwhile
            elif due_ns == bag_ns:
                self.latest_s = max(self.latest_s, -wait_s)
                return True
        return False

    def _publish_clock_until(self, bag_ns: int) -> None:
        """Publish the time if a tick is due; ticks that were missed are not made up for."""
        if self._clock_publisher is None or bag_ns < self._next_clock_ns:
            return
        message = Clock()
        message.clock.sec, message.clock.nanosec = divmod(bag_ns, 10**9)
        self._clock_publisher.publish(message)
        self._next_clock_ns = bag_ns + self._clock_period_ns


def _playable(topic: BagTopic) -> str:
    """Return why a topic's recorded bytes cannot be published here, "" where they can."""
    try:
        message_class(topic.type_name)
    except InvalidInput as error:
        return str(error)
    installed = installed_hash(topic.type_name)
    if installed and topic.rihs01 and installed != topic.rihs01:
        return f"{topic.type_name}: expected the installed definition {installed}, got one of {topic.rihs01}"
    return ""


def _is_latched(publisher: Publisher) -> bool:
    return bool(publisher.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL)


def main(args: list[str] | None = None) -> int:
    """Play the bag of parameter `bag`, then exit."""

    def start(node: PlayerNode) -> None:
        node.play()

    return run_node(PlayerNode, args, start=start)


if __name__ == "__main__":
    import sys

    sys.exit(main())
