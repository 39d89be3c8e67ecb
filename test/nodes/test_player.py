"""The player on real topics: bytes, QoS, order, clock, waiting, what it refuses."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import rclpy
from rclpy.executors import Executor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosbags.interfaces import QosLiveliness, QosTime
from rosgraph_msgs.msg import Clock
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage

from alpamayo_ros.bags.errors import BagError
from alpamayo_ros.bags.qos import make_qos
from alpamayo_ros.bags.typestore import Definition
from alpamayo_ros.bags.writer import BagWriter
from alpamayo_ros.nodes.player import PlayerNode
from alpamayo_ros.ros.executors import new_executor
from alpamayo_ros.ros.recorded_qos import offered_when_played, requested_when_recorded, to_recorded
from alpamayo_ros.types import InvalidInput

START_NS = 1_000_000_000_000
STRING, TF = "std_msgs/msg/String", "tf2_msgs/msg/TFMessage"


@pytest.fixture
def executor(monkeypatch: pytest.MonkeyPatch) -> Iterator[Executor]:
    monkeypatch.setenv("ROS_DOMAIN_ID", "42")
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    context = rclpy.Context()
    rclpy.init(context=context)
    executor = new_executor(context)
    yield executor
    for node in list(executor.get_nodes()):
        node.destroy_node()
    executor.shutdown()
    rclpy.try_shutdown(context=context)


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    """Ten texts, 50 ms apart, and two latched transforms at the start, recorded best effort and reliable."""
    with BagWriter(tmp_path / "bag") as writer:
        types = writer.typestore.types
        latched = [make_qos(depth=1, transient_local=True)]
        writer.add_topic("/tf_static", TF, qos=latched)
        writer.add_topic("/text", STRING, qos=[make_qos(reliable=False)])
        writer.add_topic("/clock", STRING)
        for _ in range(2):
            writer.write_message("/tf_static", START_NS, types[TF](transforms=[]))
        for i in range(10):
            writer.write_message("/text", START_NS + i * 50_000_000, types[STRING](data=f"{i}"))
        writer.write_message("/clock", START_NS, types[STRING](data="of the recording"))
    return tmp_path / "bag"


def make_player(executor: Executor, bag: Path | str, **parameters: Any) -> PlayerNode:
    values = {"bag": str(bag), "hold_s": 0.2, **parameters}
    overrides = [Parameter(name, value=value) for name, value in values.items()]
    player = PlayerNode(context=executor.context, parameter_overrides=overrides)
    executor.add_node(player)
    return player


class Listener:
    def __init__(self, executor: Executor) -> None:
        self.node = Node("listener", context=executor.context)
        executor.add_node(self.node)
        self.got: list[tuple[str, Any, float]] = []

    def listen(self, kind: Any, topic: str, **qos: Any) -> None:
        profile = QoSProfile(**{"depth": 100, "reliability": ReliabilityPolicy.BEST_EFFORT, **qos})

        def receive(message: Any) -> None:
            self.got.append((topic, message, time.monotonic()))

        self.node.create_subscription(kind, topic, receive, profile)

    def of(self, topic: str) -> list[Any]:
        return [message for name, message, _ in self.got if name == topic]


def spin(executor: Executor, until: Callable[[], bool], timeout_s: float = 15.0) -> None:
    end = time.monotonic() + timeout_s
    while not until():
        assert time.monotonic() < end, "timed out"
        executor.spin_once(timeout_sec=0.05)


def test_messages_come_in_order_at_the_rate_with_a_clock(executor: Executor, bag: Path) -> None:
    player = make_player(executor, bag, rate=2.0, wait_for_subscribers=["/text"])
    listener = Listener(executor)
    player.play()
    spin(executor, lambda: player.timeline.now_ns() >= START_NS and not player.playing.is_set(), 2.0)
    assert not player.playing.is_set()  # nobody listens to /text yet
    listener.listen(Clock, "/clock")
    listener.listen(String, "/text")
    spin(executor, lambda: player.done)
    spin(executor, lambda: len(listener.of("/text")) == 10)
    assert [m.data for m in listener.of("/text")] == [str(i) for i in range(10)]
    arrived = [t for topic, _, t in listener.got if topic == "/text"]
    assert arrived[-1] - arrived[0] == pytest.approx(0.225, abs=0.12)  # 0.45 s of bag at rate 2
    clocks = [m.clock.sec * 10**9 + m.clock.nanosec for m in listener.of("/clock")]
    assert clocks == sorted(clocks)
    assert clocks[-1] >= START_NS + 450_000_000 + 200_000_000  # it has run on
    assert player.published == {"/tf_static": 2, "/text": 10}
    assert player.error is None


def test_latched_topics_reach_late_listeners_in_full(executor: Executor, bag: Path) -> None:
    player = make_player(executor, bag, hold_s=30.0, start_offset_s=0.3)
    player.play()
    spin(executor, player.finished.is_set)
    listener = Listener(executor)
    listener.listen(
        TFMessage,
        "/tf_static",
        reliability=ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL,
    )
    spin(executor, lambda: len(listener.of("/tf_static")) == 2)
    assert player.published == {"/tf_static": 2, "/text": 4}  # offset: 0.30, 0.35, 0.40, 0.45
    assert not player.done
    player.stop()
    assert player.done


def test_looping_starts_again_and_stops_when_told(executor: Executor, bag: Path) -> None:
    player = make_player(executor, bag, loop=True, rate=10.0)
    player.play()
    spin(executor, lambda: player.published["/text"] >= 25)
    player.stop()
    assert player.error is None


def test_what_cannot_be_played_is_said(executor: Executor, bag: Path, tmp_path: Path) -> None:
    with BagWriter(tmp_path / "odd") as writer:
        writer.add_topic("/text", STRING, definition=Definition("string other\n", "RIHS01_" + "0" * 64))
        writer.add_topic("/thing", "nobody_msgs/msg/Thing", definition=Definition("int8 x\n", "RIHS01_1"))
        for topic in ("/text", "/thing"):
            writer.write(topic, START_NS, b"\x00\x01\x00\x00\x01\x00\x00\x00\x00")
    player = make_player(executor, tmp_path / "odd")
    assert player.topics == set()
    assert "expected the installed definition" in player.skipped["/text"]
    assert "expected an installed one, got nobody_msgs/msg/Thing" in player.skipped["/thing"]
    with pytest.raises(BagError, match="expected topics that can be played"):
        make_player(executor, tmp_path / "odd", wait_for_subscribers=["/thing"])
    with pytest.raises(BagError, match="it is excluded"):
        make_player(executor, bag, wait_for_subscribers=["/clock"])


@pytest.mark.parametrize(
    ("parameters", "error", "expected"),
    [
        ({"start_offset_s": 9.0}, InvalidInput, "start_offset_s: expected at most the bag's 0.45 s"),
        ({"rate": 0.0}, InvalidInput, "rate"),
        ({"topics": ["/nothing"]}, BagError, "got no messages on /nothing"),
    ],
)
def test_bad_parameters_are_refused(
    executor: Executor, bag: Path, parameters: dict[str, Any], error: type, expected: str
) -> None:
    with pytest.raises(error, match=expected):
        make_player(executor, bag, **parameters)


def test_an_empty_or_missing_bag_is_refused(executor: Executor, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="bag: expected the path"):
        make_player(executor, "")
    with pytest.raises(BagError, match="no such file or folder"):
        make_player(executor, tmp_path / "nowhere")
    BagWriter(tmp_path / "empty").close()
    with pytest.raises(BagError, match="expected messages, got none"):
        make_player(executor, tmp_path / "empty")


def test_waiting_has_an_end(executor: Executor, bag: Path) -> None:
    player = make_player(
        executor, bag, wait_for_subscribers=["/text"], wait_for_active=["planner"], wait_timeout_s=0.5
    )
    player.play()
    spin(executor, lambda: player.done)
    assert "a subscriber of /text, planner to be active within 0.5 s" in str(player.error)
    assert not player.playing.is_set()


def test_qos_is_kept_both_ways() -> None:
    best_effort, reliable = make_qos(reliable=False), make_qos()
    assert (
        offered_when_played([reliable, best_effort], topic="/x", count=1).reliability
        == ReliabilityPolicy.BEST_EFFORT
    )
    assert offered_when_played([], topic="/tf_static", count=7).durability == DurabilityPolicy.TRANSIENT_LOCAL
    assert offered_when_played([], topic="/tf_static", count=7).depth == 7
    assert offered_when_played([], topic="/x", count=7).durability == DurabilityPolicy.VOLATILE
    latched = offered_when_played([make_qos(transient_local=True)], topic="/x", count=3)
    assert (latched.durability, latched.depth) == (DurabilityPolicy.TRANSIENT_LOCAL, 3)
    recorded = to_recorded(latched)
    assert recorded._replace(depth=10, liveliness=QosLiveliness.AUTOMATIC) == make_qos(transient_local=True)
    wanted = requested_when_recorded([latched, offered_when_played([reliable], topic="/x", count=1)])
    assert (wanted.reliability, wanted.durability) == (ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE)
    timed = reliable._replace(deadline=QosTime(0, 200_000_000))
    assert offered_when_played([timed], topic="/x", count=1).deadline.nanoseconds == 200_000_000
    assert offered_when_played([timed, reliable], topic="/x", count=1).deadline.nanoseconds != 200_000_000
