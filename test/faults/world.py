"""A vehicle on a known arc: cameras, odometry and clock on real topics, all of which can be disturbed."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from nav_msgs.msg import Odometry
from planner_harness import Graph
from rclpy.node import Node
from rclpy.qos import QoSProfile, qos_profile_sensor_data
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String

from alpamayo_ros.ros.conversions import stamp_from_ns
from alpamayo_ros.ros.qos import latched_qos

SPEED_MPS, RADIUS_M = 8.0, 250.0
CAMERAS = ("cross_left", "front_wide", "cross_right", "front_tele")
RAW = "front_wide"
RIG = "name: faults\nrig_frame: base_link\ncameras:\n" + "".join(
    f"  - {{role: {name}, topic: {name}, transport: {'raw' if name == RAW else 'compressed'}}}\n"
    for name in CAMERAS
)
WIDTH, HEIGHT = 64, 48
STALL_S = 0.1
PERIOD_S, CLOCK_PERIOD_S = 0.008, 0.016
"""Of the vehicle's thread, and of /clock: every node of the process takes each of its messages in Python, and
four times as many keep the planner from the interpreter for a second and more on a slow machine."""
CAMERA_NS, ODOMETRY_NS = 100_000_000, 20_000_000

Delivery = tuple[float, Any]
"""Seconds to wait, and a message."""
Disturb = Callable[[str, Any], Sequence[Delivery]]
"""Camera's name (or "odometry") and a message that is due -> what is published in its place."""


def as_it_is(name: str, message: Any) -> Sequence[Delivery]:
    return [(0.0, message)]


@dataclass
class Disturbances:
    """What happens to messages between sensor and topic, and to time."""

    cameras: Disturb = as_it_is
    odometry: Disturb = as_it_is
    clock_rate: float = 1.0
    clock_stands: bool = False


class FaultWorld:
    """Drives along and publishes, in a thread of its own, until stopped.

    Args:
        corner: where in the graph; the node is spun by its executor.
        sim_time: publish /clock; else stamps are of the wall clock.
    """

    def __init__(self, corner: Graph, *, sim_time: bool) -> None:
        self.node = node = Node("vehicle", **corner.options)
        corner.executor.add_node(node)
        self.disturb = Disturbances()
        self._sim_time = sim_time
        self._start_ns = time.time_ns()
        self._now_ns = self._start_ns
        self._waiting: list[tuple[float, int, Any, Any]] = []
        self._numbers = itertools.count()
        quick = qos_profile_sensor_data
        self._images = {
            name: node.create_publisher(Image if name == RAW else CompressedImage, name, quick)
            for name in CAMERAS
        }
        self._odometry = node.create_publisher(Odometry, "odometry", quick)
        self._clock = node.create_publisher(Clock, "/clock", QoSProfile(depth=10))
        self._instruction = node.create_publisher(String, "instruction", latched_qos())
        self._pictures = [_picture(index) for index in range(16)]
        self.stalls: list[tuple[float, float]] = []
        """Wall time and seconds of each moment in which this thread was kept from running: a busy machine."""
        self._clock_due_s = 0.0
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="vehicle")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread; the node is left to whoever owns the graph."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(20)

    @property
    def now_ns(self) -> int:
        """The time of the messages."""
        return self._now_ns if self._sim_time else time.time_ns()

    def jump(self, seconds: float) -> None:
        """Set the clock to another time, as a bag that begins again does."""
        with self._lock:
            self._now_ns += round(seconds * 1e9)
            self._due_camera_ns = self._due_odometry_ns = self._now_ns

    def instruct(self, text: str) -> None:
        self._instruction.publish(String(data=text))

    def connected(self) -> bool:
        """Whether somebody listens to every sensor."""
        return all(p.get_subscription_count() for p in (*self._images.values(), self._odometry))

    def true_pose(self, stamp_ns: int) -> tuple[float, float, float]:
        """Return x, y, yaw of the vehicle at a time."""
        yaw = SPEED_MPS / RADIUS_M * (stamp_ns - self._start_ns) / 1e9
        return RADIUS_M * np.sin(yaw), RADIUS_M * (1 - np.cos(yaw)), yaw

    def _run(self) -> None:
        self._due_camera_ns = self._due_odometry_ns = self.now_ns
        before_s = time.monotonic()
        while not self._stop.wait(PERIOD_S):
            now_s = time.monotonic()
            if now_s - before_s > STALL_S:
                self.stalls.append((time.time(), now_s - before_s))
            with self._lock:
                if self._sim_time:
                    self._tick_clock(now_s - before_s)
                before_s = now_s
                self._publish_due(now_s)

    def _tick_clock(self, passed_s: float) -> None:
        if not self.disturb.clock_stands:
            self._now_ns += round(passed_s * self.disturb.clock_rate * 1e9)
        self._clock_due_s -= passed_s
        if self._clock_due_s <= 0:
            self._clock_due_s = CLOCK_PERIOD_S
            self._clock.publish(Clock(clock=stamp_from_ns(self._now_ns)))

    def _publish_due(self, now_s: float) -> None:
        now_ns = self.now_ns
        while self._due_odometry_ns <= now_ns:
            self._send("odometry", self._odometry_at(self._due_odometry_ns), now_s)
            self._due_odometry_ns += ODOMETRY_NS
        while self._due_camera_ns <= now_ns:
            for name in CAMERAS:
                self._send(name, self._image(name, self._due_camera_ns), now_s)
            self._due_camera_ns += CAMERA_NS
        while self._waiting and self._waiting[0][0] <= now_s:
            _, _, publisher, message = heapq.heappop(self._waiting)
            publisher.publish(message)

    def _send(self, name: str, message: Any, now_s: float) -> None:
        is_odometry = name == "odometry"
        publisher = self._odometry if is_odometry else self._images[name]
        change = self.disturb.odometry if is_odometry else self.disturb.cameras
        for delay_s, changed in change(name, message):
            if delay_s <= 0:
                publisher.publish(changed)
            else:
                heapq.heappush(self._waiting, (now_s + delay_s, next(self._numbers), publisher, changed))

    def _odometry_at(self, stamp_ns: int) -> Odometry:
        x, y, yaw = self.true_pose(stamp_ns)
        message = Odometry(child_frame_id="base_link")
        message.header.stamp = stamp_from_ns(stamp_ns)
        message.header.frame_id = "odom"
        message.pose.pose.position.x, message.pose.pose.position.y = x, y
        message.pose.pose.orientation.z = float(np.sin(yaw / 2))
        message.pose.pose.orientation.w = float(np.cos(yaw / 2))
        message.twist.twist.linear.x = SPEED_MPS
        message.twist.twist.angular.z = SPEED_MPS / RADIUS_M
        return message

    def _image(self, name: str, stamp_ns: int) -> Any:
        rgb, jpeg = self._pictures[(stamp_ns // CAMERA_NS) % len(self._pictures)]
        if name == RAW:
            message: Any = Image(height=HEIGHT, width=WIDTH, encoding="rgb8", step=3 * WIDTH)
            message.data.frombytes(rgb)
        else:
            message = CompressedImage(format="jpeg")
            message.data.frombytes(jpeg)
        message.header.stamp = stamp_from_ns(stamp_ns)
        return message


def _picture(index: int) -> tuple[bytes, bytes]:
    """Return a picture of noise as raw RGB and as JPEG."""
    noise = np.random.default_rng(index).integers(60, 200, (HEIGHT, WIDTH, 3), np.uint8)
    ok, jpeg = cv2.imencode(".jpg", noise)
    assert ok
    return noise.tobytes(), bytes(jpeg.tobytes())
