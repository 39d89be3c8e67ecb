"""A driver's node on real topics, somebody who calls it as AlpaSim does, and somebody who looks."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import Odometry, Path
from planner_harness import Graph, wait_for
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage
from sim_harness import CAMERAS, destroyed
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import MarkerArray

from alpamayo_ros.msg import Plan as PlanMsg
from alpamayo_ros.msg import Route as RouteMsg
from alpamayo_ros.nodes.sim_bridge import simulation_nodes
from alpamayo_ros.sensing.rigid import compose
from alpamayo_ros.sim.cameras import LOGICAL_IDS, default_cameras
from alpamayo_ros.sim.protocol.channel import Connection
from alpamayo_ros.sim.protocol.convert import camera_spec
from alpamayo_ros.sim.protocol.egodriver import EGODRIVER, EgodriverClient
from alpamayo_ros.sim.protocol.egodriver_messages import (
    CameraFrame,
    DriveAnswer,
    DriveSession,
    Egomotion,
    Route,
)
from alpamayo_ros.sim.protocol.sensorsim import AvailableCamera

STEP_US = 100_000
START_US = 1_700_000_000_000_000
SPEED_MPS, YAW_RATE_RADPS = 8.0, 0.1
CAMERA_IDS = (0, 1, 2, 6)
_TOPICS: dict[str, tuple[Any, bool]] = {
    "odometry": (Odometry, False),
    "clock": (Clock, False),
    "path": (Path, False),
    "plan": (PlanMsg, False),
    "debug/rejected_plan": (PlanMsg, False),
    "reasoning": (String, False),
    "markers": (MarkerArray, False),
    "route": (RouteMsg, True),
    **{f"camera/{name}/image/compressed": (CompressedImage, False) for name in CAMERAS},
    **{f"camera/{name}/camera_info": (CameraInfo, False) for name in CAMERAS},
}


class Looker(Node):
    """Receives all of the topics under some prefixes, /tf and the diagnostics, by topic."""

    def __init__(self, *prefixes: str, **kwargs: Any) -> None:
        super().__init__("looker", **kwargs)
        self.received: dict[str, list[Any]] = defaultdict(list)
        for prefix in prefixes:
            for topic, (message, latched) in _TOPICS.items():
                self._listen(message, f"{prefix}/{topic}", latched)
        self._listen(TFMessage, "/tf", False)
        self._listen(TFMessage, "/tf_static", True)
        self._listen(DiagnosticArray, "/diagnostics", False)

    def _listen(self, message: Any, topic: str, latched: bool) -> None:
        durability = DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE
        qos = QoSProfile(depth=1000, durability=durability)
        self.create_subscription(message, topic, self.received[topic].append, qos)

    def topics_of(self, prefix: str) -> list[str]:
        """Return the topics under a prefix in this node's namespace that somebody publishes."""
        start = f"{self.get_namespace()}/{prefix}/"
        names = [name for name, _ in self.get_topic_names_and_types() if name.startswith(start)]
        return [name for name in names if self.count_publishers(name)]

    def status(self, name: str) -> dict[str, str]:
        """Return the newest values of one status, with its level and message."""
        for array in reversed(self.received["/diagnostics"]):
            for status in array.status:
                if status.name == f"alpamayo/{name}":
                    values = {v.key: v.value for v in status.values}
                    return {**values, "level": str(ord(status.level)), "message": status.message}
        return {}


class Caller:
    """One session as AlpaSim calls it: four small cameras around a vehicle on a circle to the left."""

    def __init__(self, client: EgodriverClient, session_uuid: str = "", *, start_us: int = START_US) -> None:
        self.client, self.start_us = client, start_us
        self.uuid = session_uuid or str(uuid.uuid4())
        cameras = {
            camera.logical_id: AvailableCamera(
                camera.logical_id, camera_spec(camera.model, camera.logical_id), camera.rig_from_camera
            )
            for camera in default_cameras()
        }
        client.start_session(DriveSession(self.uuid, 7, "a-scene", cameras))
        self.now_us = start_us + 15 * STEP_US
        self._told_us = start_us - STEP_US
        self.jpeg: bytes | None = None

    @property
    def prefix(self) -> str:
        return f"session_{self.uuid[:8]}"

    def pose(self, time_us: int) -> Any:
        angle = YAW_RATE_RADPS * (time_us - self.start_us) / 1e6
        radius, c, s = SPEED_MPS / YAW_RATE_RADPS, np.cos(angle), np.sin(angle)
        return compose(
            np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]]), [radius * s, radius * (1 - c), 0]
        )

    def picture(self, time_us: int) -> bytes:
        """Return the picture of a time, `jpeg` where that is given. A camera on the move sees it change."""
        if self.jpeg is not None:
            return self.jpeg
        grey = 60 + 5 * ((time_us - self.start_us) // STEP_US % 20)
        ok, jpeg = cv2.imencode(".jpg", np.full((54, 96, 3), grey, np.uint8))
        assert ok
        return bytes(jpeg.tobytes())

    def step(self, *, cameras: tuple[int, ...] = CAMERA_IDS) -> DriveAnswer:
        """Tell all of a step, ask for a trajectory, and move on."""
        now_us = self.now_us
        stamps = list(range(self._told_us + STEP_US, now_us + 1, STEP_US))
        self._told_us, self.now_us = now_us, now_us + STEP_US
        points = np.zeros((20, 3))
        points[:, 0] = np.minimum(4.0 * np.arange(20), 40.0)
        points[:, 1] = np.maximum(4.0 * np.arange(20) - 40.0, 0.0)
        return self.client.step(
            self.uuid,
            now_us,
            frames=[
                CameraFrame(LOGICAL_IDS[i], now_us - 30_000, now_us, self.picture(now_us)) for i in cameras
            ],
            egomotion=Egomotion(np.array(stamps, np.int64), np.stack([self.pose(t) for t in stamps])),
            route=Route(now_us, points),
            query_us=now_us + STEP_US,
        )

    def steps(self, count: int) -> list[DriveAnswer]:
        return [self.step() for _ in range(count)]

    def close(self) -> None:
        self.client.close_session(self.uuid)


@contextmanager
def called(corner: Graph, *others: Any, **parameters: Any) -> Iterator[tuple[Any, EgodriverClient]]:
    """Run a driver's node with constant velocity, and beside it further nodes; yields it and a client."""
    values = {"mode": "alpasim", "planner": "constant", "port": 0, **parameters}
    overrides = [Parameter(name, value=value) for name, value in values.items()]
    nodes = simulation_nodes(parameter_overrides=overrides, **corner.options)
    with destroyed(corner, [*nodes, *others]):
        nodes[0].start()
        wait_for(lambda: nodes[0].address or nodes[0].error, "the port", timeout_s=60)
        assert nodes[0].error is None
        with Connection(nodes[0].address, service=EGODRIVER) as connection:
            client = EgodriverClient(connection)
            try:
                yield nodes[0], client
            finally:
                client.close()
