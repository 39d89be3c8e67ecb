"""The recorder on real topics, and its end by signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
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
from rosbags.interfaces import QosDurability, QosReliability
from rosgraph_msgs.msg import Clock
from std_msgs.msg import Bool, String

from alpamayo_ros.bags.errors import BagError
from alpamayo_ros.bags.reader import BagReader
from alpamayo_ros.bags.writer import DiskFull
from alpamayo_ros.nodes.recorder import RecorderNode
from alpamayo_ros.ros.executors import new_executor
from alpamayo_ros.types import InvalidInput


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


def make_recorder(executor: Executor, output: Path | str, **parameters: Any) -> RecorderNode:
    now_ns = parameters.pop("now_ns", None)
    overrides = [Parameter(k, value=v) for k, v in {"output": str(output), **parameters}.items()]
    recorder = RecorderNode(now_ns=now_ns, context=executor.context, parameter_overrides=overrides)
    executor.add_node(recorder)
    return recorder


def make_talker(executor: Executor) -> Node:
    node = Node("talker", context=executor.context)
    executor.add_node(node)
    return node


def spin(executor: Executor, until: Callable[[], bool], timeout_s: float = 15.0) -> None:
    end = time.monotonic() + timeout_s
    while not until():
        assert time.monotonic() < end, "timed out"
        executor.spin_once(timeout_sec=0.05)


def finish(executor: Executor, recorder: RecorderNode) -> None:
    executor.remove_node(recorder)
    recorder.destroy_node()


def test_topics_are_recorded_as_they_appear(executor: Executor, tmp_path: Path) -> None:
    recorder = make_recorder(executor, tmp_path / "bag", exclude=["/secret", "/clock", "/parameter_events"])
    talker = make_talker(executor)
    latched = talker.create_publisher(
        Bool, "/latched", QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    )
    latched.publish(Bool(data=True))  # before the recorder knows it
    lossy = talker.create_publisher(
        String, "/lossy", QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
    )
    secret = talker.create_publisher(String, "/secret", 10)
    spin(executor, lambda: {"/latched", "/lossy"} <= recorder.recorded_topics)
    spin(
        executor, lambda: lossy.get_subscription_count() == 1 and recorder.recording.received["/latched"] == 1
    )
    before_ns = time.time_ns()
    for i in range(20):
        lossy.publish(String(data=f"text {i}"))
        secret.publish(String(data="no"))
        executor.spin_once(timeout_sec=0.01)
    spin(executor, lambda: recorder.recording.received["/lossy"] == 20)
    finish(executor, recorder)
    with BagReader(tmp_path / "bag") as bag:
        assert "/secret" not in bag.topics
        assert [bag.decode(m).data for m in bag.messages(["/lossy"])] == [f"text {i}" for i in range(20)]
        assert next(bag.messages(["/lossy"])).stamp_ns == pytest.approx(before_ns, abs=2e9)
        assert bag.topics["/lossy"].qos[0].reliability == QosReliability.BEST_EFFORT
        assert bag.topics["/latched"].qos[0].durability == QosDurability.TRANSIENT_LOCAL
        assert bag.topics["/latched"].count == 1


def test_a_publisher_that_does_not_match_is_heard_too(executor: Executor, tmp_path: Path) -> None:
    recorder = make_recorder(executor, tmp_path / "bag", topics=["/text"])
    reliable = make_talker(executor).create_publisher(String, "/text", 10)
    spin(executor, lambda: reliable.get_subscription_count() == 1)
    other = Node("other", context=executor.context)
    executor.add_node(other)
    lossy = other.create_publisher(
        String, "/text", QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
    )
    spin(executor, lambda: lossy.get_subscription_count() == 1)
    lossy.publish(String(data="heard"))
    spin(executor, lambda: recorder.recording.received["/text"] == 1)


def test_what_comes_before_simulated_time_gets_its_first_stamp(executor: Executor, tmp_path: Path) -> None:
    recorder = make_recorder(executor, tmp_path / "bag", use_sim_time=True)
    talker = make_talker(executor)
    text = talker.create_publisher(String, "/text", 10)
    clock = talker.create_publisher(Clock, "/clock", 10)
    spin(executor, lambda: text.get_subscription_count() == 1 and clock.get_subscription_count() >= 1)
    text.publish(String(data="early"))
    spin(executor, lambda: len(recorder._untimed) > 0)
    message = Clock()
    message.clock.sec = 77

    def timed() -> bool:
        clock.publish(message)
        return recorder.get_clock().now().nanoseconds == 77 * 10**9

    spin(executor, timed)
    text.publish(String(data="later"))
    spin(executor, lambda: recorder.recording.received["/text"] == 2)
    finish(executor, recorder)
    with BagReader(tmp_path / "bag") as bag:
        assert {m.stamp_ns for m in bag.messages(["/text"])} == {77 * 10**9}
        assert "/clock" not in bag.topics


def test_a_full_disk_ends_the_recording(
    executor: Executor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = make_recorder(executor, tmp_path / "bag", topics=["/text"])
    text = make_talker(executor).create_publisher(String, "/text", 10)
    spin(executor, lambda: text.get_subscription_count() == 1)

    def full(*_: object, **__: object) -> None:
        raise DiskFull("bag: no space")

    monkeypatch.setattr("alpamayo_ros.bags.writer.BagWriter.write", full)
    text.publish(String(data="lost"))
    spin(executor, lambda: recorder.done)
    assert isinstance(recorder.error, DiskFull)
    finish(executor, recorder)
    with BagReader(tmp_path / "bag") as bag:
        assert bag.message_count == 0


def test_bad_parameters_are_refused(executor: Executor, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="output: expected a folder"):
        make_recorder(executor, "")
    (tmp_path / "bag").mkdir()
    with pytest.raises(BagError, match="nothing is overwritten"):
        make_recorder(executor, tmp_path / "bag")
    with pytest.raises(InvalidInput, match="queue_mib"):
        make_recorder(executor, tmp_path / "new", queue_mib=0)


@pytest.mark.parametrize(
    "signals", [["SIGINT"], ["SIGINT", "SIGINT"], ["SIGTERM"], ["SIGINT", "SIGTERM", "SIGINT"]]
)
def test_signals_end_it_with_a_readable_bag(executor: Executor, tmp_path: Path, signals: list[str]) -> None:
    text = make_talker(executor).create_publisher(String, "/text", 10)
    command = [
        sys.executable,
        "-m",
        "alpamayo_ros.nodes.recorder",
        "--ros-args",
        "-p",
        f"output:={tmp_path / 'bag'}",
    ]
    with subprocess.Popen(command, env=dict(os.environ), stderr=subprocess.PIPE, text=True) as process:
        try:
            spin(executor, lambda: text.get_subscription_count() == 1)
            for _ in range(50):
                text.publish(String(data="x" * 1000))
            spin(executor, lambda: (tmp_path / "bag").exists())
            time.sleep(0.5)
            for name in signals:
                process.send_signal(getattr(signal, name))
            _, errors = process.communicate(timeout=20)
        finally:
            process.kill()
    assert process.returncode == 0, errors
    with BagReader(tmp_path / "bag") as bag:
        assert bag.topics["/text"].count == 50
