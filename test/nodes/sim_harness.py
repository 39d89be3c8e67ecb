"""A simulation bridge on real topics, over a renderer that does as it is told, and all that it publishes."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import sensorsim_fakes
from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import Odometry
from planner_harness import Graph, graph, wait_for
from rcl_interfaces.msg import Log
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import MarkerArray

from alpamayo_ros.msg import Plan as PlanMsg
from alpamayo_ros.nodes.planner import PlannerNode
from alpamayo_ros.nodes.sim_bridge import SimBridgeNode, simulation_nodes
from alpamayo_ros.ros.conversions import pose_to_matrix, stamp_to_ns, transform_to_matrix
from alpamayo_ros.sim.cameras import default_cameras
from alpamayo_ros.sim.scene import FORCE_GT_US, STEP_US

CAMERAS = ("cross_left", "front_wide", "cross_right", "front_tele")
SIZE = {"image_width": 96, "image_height": 64}

# name: message, topic, whether it is transient local
_TOPICS: dict[str, tuple[Any, str, bool]] = {
    "clock": (Clock, "/clock", False),
    "odometry": (Odometry, "odometry", False),
    "tf": (TFMessage, "/tf", False),
    "tf_static": (TFMessage, "/tf_static", True),
    "instruction": (String, "instruction", True),
    "plan": (PlanMsg, "plan", False),
    "actors": (MarkerArray, "sim/actors", False),
    "map": (MarkerArray, "sim/map", True),
    "diagnostics": (DiagnosticArray, "/diagnostics", False),
    **{f"{name}/image": (CompressedImage, f"camera/{name}/image/compressed", False) for name in CAMERAS},
    **{f"{name}/info": (CameraInfo, f"camera/{name}/camera_info", False) for name in CAMERAS},
}


class Listener:
    """Everything that is said in one corner of the graph, by name of the topic."""

    def __init__(self, node: Node) -> None:
        self.received: dict[str, list[Any]] = defaultdict(list)
        for name, (message, topic, latched) in _TOPICS.items():
            durability = DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE
            qos = QoSProfile(depth=1000, durability=durability)
            node.create_subscription(message, topic, self.received[name].append, qos)
        self._namespace = node.get_namespace().strip("/").replace("/", ".")
        node.create_subscription(Log, "/rosout", self.received["rosout"].append, 1000)

    def stamps_ns(self, name: str) -> list[int]:
        return [stamp_to_ns(message.header.stamp) for message in self.received[name]]

    def said(self, text: str) -> list[str]:
        """Return what the nodes of this corner have logged that holds `text`."""
        logs = [log for log in self.received["rosout"] if log.name.startswith(self._namespace)]
        return [log.msg for log in logs if text in log.msg]

    @property
    def simulation(self) -> dict[str, str]:
        """The newest status of the bridge."""
        for array in reversed(self.received["diagnostics"]):
            for status in array.status:
                if status.name == "alpamayo/simulation":
                    values = {v.key: v.value for v in status.values}
                    return {**values, "level": str(ord(status.level)), "message": status.message}
        return {}


@contextmanager
def renderer(
    told: sensorsim_fakes.ScriptedRenderer | None = None, *, tls: Any = None, **attributes: Any
) -> Iterator[Any]:
    """Serve a renderer that is told what to do; `address` is where."""
    told = told or sensorsim_fakes.ScriptedRenderer()
    for name, value in attributes.items():
        setattr(told, name, value)
    running = sensorsim_fakes.start(told, tls=tls)
    told.address = f"127.0.0.1:{running.port}"  # type: ignore[attr-defined]
    try:
        yield told
    finally:
        running.stop(0.0)


@contextmanager
def destroyed(corner: Graph, nodes: Sequence[Any]) -> Iterator[None]:
    """Run nodes until the block ends."""
    for node in nodes:
        corner.executor.add_node(node)
    try:
        yield
    finally:
        for node in nodes:
            corner.executor.remove_node(node)

        def destroy() -> None:
            for node in reversed(nodes):
                node.destroy_node()

        corner.run(destroy, "the end of the nodes")


@contextmanager
def corner_of_the_graph() -> Iterator[tuple[Graph, Listener]]:
    """Spin a corner with somebody in it who listens."""
    with graph(sim_time=False) as (corner, _):
        node = Node("listener", **corner.options)
        listener = Listener(node)
        with destroyed(corner, [node]):
            yield corner, listener


@contextmanager
def driving(
    corner: Graph, address: str, *, planner: Any = None, hosted: str = "constant", **parameters: Any
) -> Iterator[SimBridgeNode]:
    """Run a bridge, with a planner that it hosts, or beside a planner node that thinks with `planner`."""
    values = {"renderer": address, "planner": "" if planner else hosted, **SIZE, **parameters}
    overrides = [Parameter(name, value=value) for name, value in values.items()]
    with ExitStack() as stack:
        nodes = simulation_nodes(parameter_overrides=overrides, **corner.options)
        if planner is not None:
            # The scripted renderer shows the same picture for ever.
            given = {"rig": "sim", "use_sim_time": True, "autostart": True, "refuse_blind_cameras": False}
            nodes.append(
                PlannerNode(
                    planner=planner,
                    parameter_overrides=[Parameter(name, value=value) for name, value in given.items()],
                    **corner.options,
                )
            )
        stack.enter_context(destroyed(corner, nodes))
        bridge = nodes[0]
        bridge.start()
        yield bridge


def finished(bridge: SimBridgeNode, *, timeout_s: float = 60.0) -> float:
    """Wait until all rollouts are over; returns how long that took."""
    began_s = time.monotonic()
    wait_for(lambda: bridge.done, "the end of the rollouts", timeout_s=timeout_s)
    return time.monotonic() - began_s


def short_drive(seconds: float = 4.0, **options: Any) -> list[Any]:
    return [sensorsim_fakes.drive_message(seconds=seconds, **options)]


def vehicle_topics_agree(heard: Listener, record: Any) -> None:
    """Check that what the vehicle said is the rollout, each thing at the time of its step."""
    steps_ns = [state.time_us * 1000 for state in record.ego]
    clock = [stamp_to_ns(message.clock) for message in heard.received["clock"]]
    assert clock == [steps_ns[0], *steps_ns]  # its start is said once before the first step
    assert heard.stamps_ns("odometry") == clock
    for message, state in zip(heard.received["odometry"][1:], record.ego, strict=True):
        assert (message.header.frame_id, message.child_frame_id) == ("odom", "base_link")
        np.testing.assert_allclose(pose_to_matrix(message.pose.pose), state.local_from_rig, atol=1e-9)
        assert message.twist.twist.linear.x == state.speed_mps
    for message, odometry in zip(heard.received["tf"], heard.received["odometry"], strict=True):
        (transform,) = message.transforms
        assert transform.header == odometry.header
        assert transform.child_frame_id == "base_link"
        np.testing.assert_allclose(
            transform_to_matrix(transform.transform), pose_to_matrix(odometry.pose.pose), atol=1e-12
        )
    mounts = {t.child_frame_id: t for t in heard.received["tf_static"][-1].transforms}
    for camera in default_cameras():
        name = next((n for n in CAMERAS if n in camera.logical_id and "rear" not in camera.logical_id), None)
        if name is None:
            continue
        mount = mounts[f"{name}_optical_frame"]
        assert mount.header.frame_id == "base_link"
        np.testing.assert_allclose(transform_to_matrix(mount.transform), camera.rig_from_camera, atol=1e-6)
        images, infos = heard.received[f"{name}/image"], heard.received[f"{name}/info"]
        assert heard.stamps_ns(f"{name}/image") == heard.stamps_ns(f"{name}/info") == steps_ns[:-1]
        assert {m.format for m in images} == {"jpeg"}
        assert {m.header.frame_id for m in [*images, *infos]} == {f"{name}_optical_frame"}
        assert {(m.width, m.height) for m in infos} == {(96, 64)}
    planned = set(heard.stamps_ns("plan"))
    assert planned >= {drive.time_us * 1000 for drive in record.drives[FORCE_GT_US // STEP_US :]}
    assert planned <= set(steps_ns)
