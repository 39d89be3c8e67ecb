"""A planner node on real topics, a world that feeds it, and a planner whose thoughts the test chooses."""

from __future__ import annotations

import gc
import itertools
import os
import struct
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import TransformStamped
from lifecycle_msgs.srv import ChangeState, GetState
from nav_msgs.msg import Odometry
from nav_msgs.msg import Path as PathMsg
from rclpy.context import Context
from rclpy.executors import Executor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from rosgraph_msgs.msg import Clock
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage
from waiting import stacks, wait_for

from alpamayo_ros.msg import Plan as PlanMsg
from alpamayo_ros.nodes.planner import PlannerNode
from alpamayo_ros.ros.conversions import stamp_to_ns
from alpamayo_ros.ros.executors import new_executor
from alpamayo_ros.ros.plan_conversions import plan_from_msg
from alpamayo_ros.ros.qos import sensor_qos
from alpamayo_ros.srv import Ask
from alpamayo_ros.types import Observation, Plan

os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
DOMAIN_ID = 41
T0_NS = 1_700_000_000 * 10**9
STEP_NS = 100_000_000
_numbers = itertools.count()

RIG = """
name: two
rig_frame: base_link
cameras:
  - {role: front_wide, topic: front, transport: raw}
  - {role: cross_left, topic: left, transport: compressed}
"""


def straight_plan(observation: Observation, *, speed_mps: float = 5.0, **changes: Any) -> Plan:
    """Return a plan straight ahead at constant speed."""
    xyz = np.zeros((1, 64, 3), np.float32)
    xyz[0, :, 0] = speed_mps * 0.1 * np.arange(1, 65)
    fields: dict[str, Any] = {
        "t0_ns": observation.t0_ns,
        "xyz_in_rig_t0": xyz,
        "rot_in_rig_t0": np.tile(np.eye(3, dtype=np.float32), (1, 64, 1, 1)),
        "accel_mps2": np.zeros((1, 64), np.float32),
        "curvature_per_m": np.zeros((1, 64), np.float32),
        "speed_mps": np.full((1, 65), speed_mps, np.float32),
        "normalised_action": np.zeros((1, 64, 2), np.float32),
        "reasoning": ("Keep the lane.",),
        "reasoning_complete": (True,),
        "meta_action": ("",),
        "token_ids": ((1, 2, 3),),
        "sections": (None,),
        "model": "straight",
    }
    return Plan(**{**fields, **changes})


class ScriptedPlanner:
    """Plans straight ahead, unless told otherwise; remembers what it was shown."""

    def __init__(self) -> None:
        self.observations: list[Observation] = []
        self.plan_of: Callable[[Observation], Plan] = straight_plan
        self.gate: threading.Event | None = None
        self.closed = 0

    def plan(self, observation: Observation) -> Plan:
        self.observations.append(observation)
        if self.gate is not None:
            assert self.gate.wait(20)
        return self.plan_of(observation)

    def close(self) -> None:
        self.closed += 1


class World:
    """Publishes two cameras, odometry on a circle and /clock; listens to everything that the planner says."""

    def __init__(self, node: Node, *, sim_time: bool) -> None:
        self.node = node
        self.now_ns = T0_NS if sim_time else 0
        self._sim_time = sim_time
        self.child_frame = "base_link"
        self.odometry_frame = "odom"
        self.front = node.create_publisher(Image, "front", qos_profile_sensor_data)
        self.left = node.create_publisher(CompressedImage, "left", qos_profile_sensor_data)
        self.odometry = node.create_publisher(Odometry, "odometry", qos_profile_sensor_data)
        self.clock = node.create_publisher(Clock, "/clock", 10)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.tf_static = node.create_publisher(TFMessage, "/tf_static", latched)
        self.instruction = node.create_publisher(String, "instruction", latched)
        self.received: dict[str, list[Any]] = defaultdict(list)
        self.arrived_ns: list[int] = []
        for name, message in (("plan", PlanMsg), ("path", PathMsg), ("reasoning", String)):
            node.create_subscription(message, name, self.received[name].append, 10)
        node.create_subscription(DiagnosticArray, "/diagnostics", self.received["diagnostics"].append, 10)
        self.change_state = node.create_client(ChangeState, "planner/change_state")
        self.get_state = node.create_client(GetState, "planner/get_state")
        self.ask = node.create_client(Ask, "ask")
        # How far the graph is, seen from here: who hears the last odometry has left no older message behind.
        self._sent_ns = self._heard_ns = 0
        node.create_subscription(Odometry, "odometry", self._hear, sensor_qos(depth=50), raw=True)
        # Green and red, never quite the same twice: a picture that stands still is a broken camera's.
        self._jpegs = itertools.cycle([jpeg_of((0, 0, level)) for level in range(206, 256, 7)])
        self._greens = itertools.cycle(range(206, 256, 7))

    @property
    def plans(self) -> list[PlanMsg]:
        """The plans that the planner made."""
        return [msg for msg in self.received["plan"] if msg.status != PlanMsg.STATUS_FALLBACK]

    @property
    def stops(self) -> list[PlanMsg]:
        """The stops that were sent while there was no plan to follow."""
        return [msg for msg in self.received["plan"] if msg.status == PlanMsg.STATUS_FALLBACK]

    @property
    def paths(self) -> list[PathMsg]:
        """The paths of the plans that the planner made: a stop of the same t0 ends elsewhere."""
        ends = []
        for published in map(plan_from_msg, self.plans):
            pose, end = published.odom_from_rig_t0, published.plan.xyz_in_rig_t0[published.plan.chosen, -1]
            ends.append((published.plan.t0_ns, pose[:3, :3] @ end + pose[:3, 3]))

        def is_of_a_plan(path: PathMsg) -> bool:
            t0_ns, last = stamp_to_ns(path.header.stamp), path.poses[-1].pose.position
            return any(t0_ns == t0 and np.allclose((last.x, last.y, last.z), end) for t0, end in ends)

        return [path for path in self.received["path"] if path.poses and is_of_a_plan(path)]

    def pose(self, stamp_ns: int) -> tuple[float, float, float]:
        """Return x, y, yaw of a vehicle at 5 m/s on a circle of 50 m radius."""
        yaw = 0.1 * (stamp_ns - T0_NS) / 1e9
        return 50 * np.sin(yaw), 50 * (1 - np.cos(yaw)), yaw

    def tick(self, stamp_ns: int | None = None) -> int:
        """Move on by 0.1 s (or to a stamp) and publish clock, five odometry messages, then both cameras.

        Not before the last tick's messages have been taken: a slow machine is not to be overrun. One whose
        graph does not spin is not waited for any longer than half a second.
        """
        end_s = time.monotonic() + 0.5
        while self._heard_ns != self._sent_ns and time.monotonic() < end_s:
            time.sleep(0.002)
        if stamp_ns is None:
            stamp_ns = self.now_ns + STEP_NS if self._sim_time else time.time_ns()
        self.now_ns = stamp_ns
        if self._sim_time:
            clock = Clock()
            _stamp(clock.clock, stamp_ns)
            self.clock.publish(clock)
        for i in range(4, -1, -1):
            self.publish_odometry(stamp_ns - i * STEP_NS // 5)
        self.publish_cameras(stamp_ns)
        return stamp_ns

    def publish_odometry(self, stamp_ns: int) -> None:
        x, y, yaw = self.pose(stamp_ns)
        msg = Odometry(child_frame_id=self.child_frame)
        _stamp(msg.header.stamp, stamp_ns)
        msg.header.frame_id = self.odometry_frame
        msg.pose.pose.position.x, msg.pose.pose.position.y = x, y
        q = Rotation.from_euler("z", yaw).as_quat()
        msg.pose.pose.orientation.z, msg.pose.pose.orientation.w = float(q[2]), float(q[3])
        self._sent_ns = stamp_ns
        self.odometry.publish(msg)

    def _hear(self, odometry: bytes) -> None:
        seconds, nanoseconds = struct.unpack_from("<iI", odometry, 4)  # behind the header of CDR
        self._heard_ns = seconds * 10**9 + nanoseconds

    def publish_cameras(self, stamp_ns: int) -> None:
        self.publish_left(stamp_ns)
        image = Image(height=48, width=64, encoding="rgb8", step=192)
        _stamp(image.header.stamp, stamp_ns)
        level = next(self._greens)
        image.data.frombytes(np.tile(np.array([0, level, 0], np.uint8), (48, 64, 1)).tobytes())
        self.front.publish(image)

    def publish_left(self, stamp_ns: int, data: bytes | None = None) -> None:
        compressed = CompressedImage(format="jpeg")
        _stamp(compressed.header.stamp, stamp_ns)
        compressed.data.frombytes(next(self._jpegs) if data is None else data)
        self.left.publish(compressed)

    def drive(
        self, until: Callable[[], Any], *, what: str, pause_s: float = 0.03, timeout_s: float = 20
    ) -> None:
        """Tick until something is true."""
        deadline = time.monotonic() + timeout_s
        while not until():
            assert time.monotonic() < deadline, f"{what} did not happen in {timeout_s} s"
            self.tick()
            time.sleep(pause_s)

    def static_transform(self, parent: str, child: str, xyz: tuple[float, float, float]) -> None:
        stamped = TransformStamped(child_frame_id=child)
        stamped.header.frame_id = parent
        t = stamped.transform
        t.translation.x, t.translation.y, t.translation.z = xyz
        t.rotation.w = 1.0
        self.tf_static.publish(TFMessage(transforms=[stamped]))

    def call(self, client: Any, request: Any, *, timeout_s: float = 20) -> Any:
        assert client.wait_for_service(timeout_s)
        future = client.call_async(request)
        wait_for(future.done, "an answer of the service", timeout_s=timeout_s)
        return future.result()

    def transition(self, label: str) -> bool:
        request = ChangeState.Request()
        request.transition.id = {
            "configure": 1, "cleanup": 2, "activate": 3, "deactivate": 4,
            "unconfigured_shutdown": 5, "inactive_shutdown": 6, "active_shutdown": 7,
        }[label]  # fmt: skip
        return bool(self.call(self.change_state, request).success)

    def state(self) -> str:
        return str(self.call(self.get_state, GetState.Request()).current_state.label)

    def diagnostics(self, name: str) -> dict[str, str]:
        """Return the values of the newest status of that name, its level and message among them."""
        for array in reversed(self.received["diagnostics"]):
            for status in array.status:
                if status.name == name:
                    values = {v.key: v.value for v in status.values}
                    return {**values, "level": str(ord(status.level)), "message": status.message}
        return {}


def jpeg_of(bgr: tuple[int, int, int]) -> bytes:
    ok, jpeg = cv2.imencode(".jpg", np.full((48, 64, 3), bgr, np.uint8))
    assert ok
    return bytes(jpeg.tobytes())


@dataclass
class Graph:
    """A corner of the ROS graph for one test: nobody else's clock, diagnostics or transforms get in.

    Attributes:
        failures: what a callback raised; it ended the thread that spins.
    """

    name: str
    context: Context
    executor: Executor
    failures: list[BaseException] = field(default_factory=list)

    @property
    def remaps(self) -> list[str]:
        """The topics with absolute names, as `FROM:=TO`."""
        return [f"{topic}:=/{self.name}{topic}" for topic in ("/clock", "/diagnostics", "/tf", "/tf_static")]

    def run(self, function: Callable[[], Any], what: str) -> Any:
        """Run what touches a node that spins (a transition, its end) where its callbacks run; wait for it.

        From another thread it would take publishers and timers away under a callback that uses them, which
        raises there, and ends the spinning.
        """
        done = self.executor.create_task(function)
        try:
            wait_for(lambda: done.done() or self.failures, what)
        except AssertionError as error:
            raise AssertionError(f"{error}; the threads:\n{stacks()}") from None
        if not done.done():
            raise AssertionError(f"{what}: nothing spins any more") from self.failures[0]
        return done.result()

    @property
    def options(self) -> dict[str, Any]:
        """Keyword arguments for a Node."""
        arguments = ["--ros-args", *itertools.chain.from_iterable(("-r", r) for r in self.remaps)]
        return {
            "context": self.context,
            "namespace": f"/{self.name}",
            "cli_args": arguments,
            "use_global_arguments": False,
        }


@contextmanager
def graph(*, sim_time: bool) -> Iterator[tuple[Graph, World]]:
    """Spin a world's node in a thread until the block ends; add further nodes to the graph's executor.

    What rclpy leaves of a lifecycle node is destroyed by Python's collector, in whichever thread it runs, and
    has hung there: so it is collected here, where nothing spins. Nor is anything collected meanwhile: the
    hundred thousands of messages that a world remembers would stop every thread for a second, and more.
    """
    gc.collect()
    gc.disable()
    context = Context()
    rclpy.init(args=[], context=context, domain_id=DOMAIN_ID)
    corner = Graph(f"t{os.getpid()}_{next(_numbers)}", context, new_executor(context))
    helper = Node("world", **corner.options)
    corner.executor.add_node(helper)

    def spin() -> None:
        try:
            while not stop.is_set():
                corner.executor.spin_once(timeout_sec=0.05)
        except BaseException as error:
            corner.failures.append(error)

    stop = threading.Event()
    thread = threading.Thread(target=spin)
    thread.start()
    try:
        yield corner, World(helper, sim_time=sim_time)
    finally:
        stop.set()
        thread.join(20)
        corner.executor.shutdown()
        helper.destroy_node()
        gc.enable()
        gc.collect()
        context.try_shutdown()
    assert not corner.failures, corner.failures


@contextmanager
def running(
    tmp_path: Path,
    planner: Any = None,
    *,
    sim_time: bool = True,
    rig: str = RIG,
    load: Any = None,
    **parameters: Any,
) -> Iterator[tuple[World, PlannerNode]]:
    """Run a planner node and its world in one process until the block ends."""
    rig_file = tmp_path / "rig.yaml"
    rig_file.write_text(rig)
    values = {"rig": str(rig_file), "use_sim_time": sim_time, **parameters}
    overrides = [Parameter(k, value=v) for k, v in values.items()]
    with ExitStack() as stack:
        corner, world = stack.enter_context(graph(sim_time=sim_time))
        node = PlannerNode(planner=planner, load=load, parameter_overrides=overrides, **corner.options)
        stack.enter_context(destroyed_in_time(node, corner))
        corner.executor.add_node(node)
        yield world, node


@contextmanager
def destroyed_in_time(node: PlannerNode, corner: Graph) -> Iterator[None]:
    """Destroy a node at the end, on the executor's side of things: no callback may be running."""
    try:
        yield
    finally:
        corner.executor.remove_node(node)
        corner.run(node.destroy_node, "the end of the node")


@contextmanager
def active(tmp_path: Path, planner: Any, **options: Any) -> Iterator[tuple[World, PlannerNode]]:
    """Run a planner node that has been configured and activated, and is matched with the world's topics."""
    with running(tmp_path, planner, **options) as (world, node):
        assert world.transition("configure")
        assert world.transition("activate")
        connected(world)
        yield world, node


def connected(world: World) -> None:
    """Wait until the world's publishers are matched with the node's subscriptions."""
    publishers = (world.front, world.left, world.odometry)
    wait_for(lambda: all(p.get_subscription_count() for p in publishers), "subscriptions of the node")
    wait_for(lambda: world.node.count_publishers("plan") == 1, "the plan's publisher")


def _stamp(stamp: Any, stamp_ns: int) -> None:
    stamp.sec, stamp.nanosec = divmod(stamp_ns, 10**9)
