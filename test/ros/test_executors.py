"""The executor that our processes spin with, and what other threads have it do.

With the default here; test/nodes/test_events_executor.py runs this file on the events executor, too.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import rclpy
from rclpy.context import Context
from rclpy.executors import Executor, SingleThreadedExecutor
from std_msgs.msg import String

from alpamayo_ros.ros.executors import EXECUTOR_VARIABLE, WakeableNode, new_executor
from alpamayo_ros.ros.qos import LatchedSubscription, latched_qos
from alpamayo_ros.types import InvalidInput


class Waiting(WakeableNode):
    """Keeps what other threads put down until it is woken."""

    def __init__(self, context: Context) -> None:
        super().__init__("waiting", context=context)
        self.put: list[int] = []
        self.done: list[int] = []
        self.threads: set[int] = set()

    def ask(self, number: int) -> None:
        self.put.append(number)
        self.wake()

    def woken(self) -> None:
        self.threads.add(threading.get_ident())
        while self.put:
            self.done.append(self.put.pop(0))


@pytest.fixture
def context(monkeypatch: pytest.MonkeyPatch) -> Iterator[Context]:
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    context = Context()
    rclpy.init(args=[], context=context)
    yield context
    context.try_shutdown()


def spin(executor: Executor, until: Callable[[], bool], timeout_s: float = 10.0) -> None:
    end_s = time.monotonic() + timeout_s
    while not until():
        assert time.monotonic() < end_s
        executor.spin_once(timeout_sec=0.1)


def test_what_threads_ask_for_is_done_on_the_executor(context: Context) -> None:
    executor = new_executor(context)
    node = Waiting(context)
    executor.add_node(node)

    def ask(first: int) -> None:
        for number in range(first, first + 100):
            node.ask(number)

    threads = [threading.Thread(target=ask, args=(100 * i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    spin(executor, lambda: len(node.done) == 400)
    for thread in threads:
        thread.join()
    assert sorted(node.done) == list(range(400))
    assert [n for n in node.done if n < 100] == list(range(100))
    assert node.threads == {threading.get_ident()}
    executor.remove_node(node)
    node.destroy_node()


def test_it_wakes_an_executor_that_waits(context: Context) -> None:
    executor = new_executor(context)
    node = Waiting(context)
    executor.add_node(node)
    spin(executor, lambda: bool(node.threads))  # the first look, when the node gets its executor
    threading.Timer(0.2, node.ask, (1,)).start()
    start_s = time.monotonic()
    while not node.done and time.monotonic() - start_s < 20.0:
        executor.spin_once(timeout_sec=20.0)
    assert node.done == [1]
    assert time.monotonic() - start_s < 10.0
    executor.remove_node(node)
    node.destroy_node()


def test_what_was_asked_for_before_there_was_an_executor_is_not_lost(context: Context) -> None:
    node = Waiting(context)
    node.ask(1)
    executor = new_executor(context)
    executor.add_node(node)
    spin(executor, lambda: node.done == [1])
    executor.remove_node(node)
    other = new_executor(context)
    node.ask(2)  # nobody spins the first one any more
    other.add_node(node)
    spin(other, lambda: node.done == [1, 2])
    other.remove_node(node)
    node.destroy_node()


def test_a_node_that_is_gone_may_be_asked(context: Context) -> None:
    executor = new_executor(context)
    node = Waiting(context)
    executor.add_node(node)
    spin(executor, lambda: bool(node.threads))
    executor.remove_node(node)
    node.destroy_node()
    node.ask(1)  # a thread that has not heard of it yet
    executor.spin_once(timeout_sec=0.1)


def test_what_is_latched_comes_once(context: Context) -> None:
    executor = new_executor(context)
    node = rclpy.create_node("listener", context=context)
    executor.add_node(node)
    publisher = node.create_publisher(String, "said", latched_qos(depth=1))
    publisher.publish(String(data="before"))
    heard: list[str] = []
    latched = LatchedSubscription(node, String, "said", callback=lambda message: heard.append(message.data))
    spin(executor, lambda: bool(heard) and publisher.get_subscription_count() == 2)
    publisher.publish(String(data="after"))
    spin(executor, lambda: "after" in heard)
    for _ in range(5):
        executor.spin_once(timeout_sec=0.05)
    assert heard == ["before", "after"]
    latched.destroy()
    executor.remove_node(node)
    node.destroy_node()


def test_the_default_is_the_single_threaded_one(context: Context) -> None:
    for environment in ({}, {EXECUTOR_VARIABLE: ""}, {EXECUTOR_VARIABLE: "single"}):
        assert isinstance(new_executor(context, environment), SingleThreadedExecutor)


def test_another_executor_is_refused(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidInput, match="ALPAMAYO_EXECUTOR: expected single or events, got 'fast'"):
        new_executor(context, {EXECUTOR_VARIABLE: "fast"})
    # An older rclpy: its absence is simulated, as the module cannot be taken away.
    monkeypatch.setitem(sys.modules, "rclpy.experimental", None)
    with pytest.raises(InvalidInput, match="expected an rclpy with an events executor"):
        new_executor(context, {EXECUTOR_VARIABLE: "events"})
