"""The mirror's thread: nobody waits for it, too much is dropped and counted, failures stay its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
import rclpy
from rclpy.context import Context
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage

from alpamayo_ros.ros.driver_mirror import DriverMirror
from alpamayo_ros.sensing.rig import load_rig
from alpamayo_ros.sim.driver.settings import DriverSettings
from alpamayo_ros.sim.protocol.egodriver_messages import DriveSession


@pytest.fixture
def node() -> Iterator[Node]:
    context = Context()
    rclpy.init(args=[], context=context, domain_id=41)
    node = Node("mirrored", namespace="/mirror_test", context=context)
    yield node
    node.destroy_node()
    context.try_shutdown()


@pytest.fixture
def mirror(node: Node) -> Iterator[DriverMirror]:
    mirror = DriverMirror(node, load_rig("sim"), DriverSettings())
    yield mirror
    mirror.close()


def wait_for(condition) -> None:
    deadline_s = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.005)


def test_what_is_too_much_is_dropped_the_oldest_first_and_counted(mirror):
    blocked, done = threading.Event(), []
    started = threading.Event()
    mirror.put(lambda: (started.set(), blocked.wait(10)))
    assert started.wait(10)
    for number in range(100):
        mirror.put(lambda number=number: done.append(("image", number)), kind="image")
    for number in range(1100):
        mirror.put(lambda number=number: done.append(("other", number)))
    mirror.put(lambda: done.append(("kept", 0)), kind="kept")
    blocked.set()
    wait_for(lambda: ("kept", 0) in done)
    assert [n for kind, n in done if kind == "image"] == list(range(36, 100))
    assert [n for kind, n in done if kind == "other"] == list(range(76, 1100))
    assert mirror.dropped == {"image": 36, "other": 76}


def test_a_failure_is_counted_and_the_next_is_shown(mirror):
    shown = threading.Event()

    def fail() -> None:
        raise RuntimeError("nothing to show")

    mirror.put(fail)
    mirror.put(shown.set)
    assert shown.wait(10)
    assert mirror.failures == 1


def test_pictures_that_nobody_looks_at_are_not_even_kept(node, mirror):
    session = mirror.opened(DriveSession("1a2b3c4d-e665-11f1-b417-02fc00000001", 1, "", {}))
    wait_for(lambda: session.prefix)
    blocked, started = threading.Event(), threading.Event()
    mirror.put(lambda: (started.set(), blocked.wait(10)))
    assert started.wait(10)
    session.frame(1, 1_700_000_000_000_000, b"\xff\xd8\xff")
    assert not mirror.waiting("image")
    node.create_subscription(
        CompressedImage, "session_1a2b3c4d/camera/front_wide/image/compressed", lambda _: None, 1
    )
    wait_for(lambda: session.frame(1, 1_700_000_000_000_000, b"\xff\xd8\xff") or mirror.waiting("image"))
    blocked.set()


def test_its_end_takes_all_topics_off_the_graph_with_sessions_still_open(node):
    mirror = DriverMirror(node, load_rig("sim"), DriverSettings())
    session = mirror.opened(DriveSession("1a2b3c4d-e665-11f1-b417-02fc00000001", 1, "", {}))
    wait_for(lambda: session.prefix)
    mirror.close()
    session.close()
    assert not [
        p.topic_name for p in node.publishers if "session_" in p.topic_name or "watched" in p.topic_name
    ]
