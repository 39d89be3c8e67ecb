"""A short recording of what the viewers look at, made message by message; and a viewer that remembers."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from alpamayo_ros.bags.qos import make_qos
from alpamayo_ros.bags.writer import BagWriter
from alpamayo_ros.view.source import Topic

T0_NS = 1_700_000_000 * 10**9
STEP_NS = 100_000_000
SPEED_MPS = 5.0


def jpeg(level: int, *, width: int = 64, height: int = 36) -> bytes:
    ok, data = cv2.imencode(".jpg", np.full((height, width, 3), level, np.uint8))
    assert ok
    return bytes(data.tobytes())


class Messages:
    """Makes messages of a type store."""

    def __init__(self, store: Any) -> None:
        self._types = store.types

    def __call__(self, type_name: str, **fields: Any) -> Any:
        return self._types[type_name](**fields)

    def stamp(self, stamp_ns: int) -> Any:
        seconds, nanoseconds = divmod(stamp_ns, 10**9)
        return self("builtin_interfaces/msg/Time", sec=seconds, nanosec=nanoseconds)

    def header(self, stamp_ns: int, frame: str = "base_link") -> Any:
        return self("std_msgs/msg/Header", stamp=self.stamp(stamp_ns), frame_id=frame)

    def pose(self, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Any:
        point = self("geometry_msgs/msg/Point", x=x, y=y, z=z)
        turn = self("geometry_msgs/msg/Quaternion", x=0.0, y=0.0, z=0.0, w=1.0)
        return self("geometry_msgs/msg/Pose", position=point, orientation=turn)

    def image(self, stamp_ns: int, data: bytes, *, name: str = "jpeg") -> Any:
        pixels = np.frombuffer(data, np.uint8)
        return self("sensor_msgs/msg/CompressedImage", header=self.header(stamp_ns), format=name, data=pixels)

    def odometry(self, stamp_ns: int) -> Any:
        x = SPEED_MPS * (stamp_ns - T0_NS) / 1e9
        zero = self("geometry_msgs/msg/Vector3", x=0.0, y=0.0, z=0.0)
        ahead = self("geometry_msgs/msg/Vector3", x=SPEED_MPS, y=0.0, z=0.0)
        twist = self("geometry_msgs/msg/Twist", linear=ahead, angular=zero)
        none = np.zeros(36)
        return self(
            "nav_msgs/msg/Odometry",
            header=self.header(stamp_ns, "odom"),
            child_frame_id="base_link",
            pose=self("geometry_msgs/msg/PoseWithCovariance", pose=self.pose(x), covariance=none),
            twist=self("geometry_msgs/msg/TwistWithCovariance", twist=twist, covariance=none),
        )

    def transform(self, child: str, *, xyz: tuple[float, float, float] = (0.0, 0.0, 1.5)) -> Any:
        """Return /tf_static of a camera that looks ahead."""
        move = self("geometry_msgs/msg/Vector3", x=xyz[0], y=xyz[1], z=xyz[2])
        turn = self("geometry_msgs/msg/Quaternion", x=-0.5, y=0.5, z=-0.5, w=0.5)
        stamped = self(
            "geometry_msgs/msg/TransformStamped",
            header=self.header(T0_NS),
            child_frame_id=child,
            transform=self("geometry_msgs/msg/Transform", translation=move, rotation=turn),
        )
        return self("tf2_msgs/msg/TFMessage", transforms=[stamped])

    def camera_info(self, stamp_ns: int, frame: str, *, width: int = 64, height: int = 36) -> Any:
        focal = float(width)
        k = np.array([focal, 0, width / 2, 0, focal, height / 2, 0, 0, 1.0])
        p = np.array([focal, 0, width / 2, 0, 0, focal, height / 2, 0, 0, 0, 1.0, 0])
        roi = self(
            "sensor_msgs/msg/RegionOfInterest",
            x_offset=0,
            y_offset=0,
            height=0,
            width=0,
            do_rectify=False,
        )
        return self(
            "sensor_msgs/msg/CameraInfo",
            header=self.header(stamp_ns, frame),
            height=height,
            width=width,
            distortion_model="plumb_bob",
            d=np.zeros(5),
            k=k,
            r=np.eye(3).ravel(),
            p=p,
            binning_x=0,
            binning_y=0,
            roi=roi,
        )

    def plan(self, stamp_ns: int, *, reasoning: str = "Keep the lane.", status: int = 2) -> Any:
        """Return a plan straight ahead with two candidates."""
        ticks = [divmod(100_000_000 * (i + 1), 10**9) for i in range(64)]
        candidates = [
            self(
                "alpamayo_ros/msg/PlanCandidate",
                waypoints=[
                    self(
                        "alpamayo_ros/msg/PlanWaypoint",
                        pose=self.pose(0.1 * SPEED_MPS * (i + 1), 0.02 * k * i),
                        time_from_start=self("builtin_interfaces/msg/Duration", sec=s, nanosec=ns),
                        velocity_mps=SPEED_MPS,
                        acceleration_mps2=0.0,
                        curvature_per_m=0.0,
                    )
                    for i, (s, ns) in enumerate(ticks)
                ],
                initial_velocity_mps=SPEED_MPS,
                normalised_action=np.zeros(128, np.float32),
                reasoning=reasoning,
                reasoning_complete=True,
                reasoning_observation="",
                reasoning_reasoning="",
                reasoning_action="",
                reasoning_prediction="",
                meta_action="keep lane",
                token_ids=np.array([1, 2], np.int32),
            )
            for k in range(2)
        ]
        times = self(
            "alpamayo_ros/msg/StageTimes",
            preprocess_ms=1.0,
            vision_ms=10.0,
            prefill_ms=20.0,
            reasoning_ms=30.0,
            denoise_ms=15.0,
            total_ms=80.0,
            tokens=7,
        )
        x = SPEED_MPS * (stamp_ns - T0_NS) / 1e9
        return self(
            "alpamayo_ros/msg/Plan",
            header=self.header(stamp_ns),
            odometry_frame_id="odom",
            rig_pose=self.pose(x),
            status=status,
            status_reason="" if status == 2 else "no plan came",
            engaged=True,
            decided=self.stamp(stamp_ns),
            checks=[],
            monitor=1,
            monitor_reason="",
            candidates=candidates,
            chosen=1,
            reasoning=reasoning,
            meta_action="keep lane",
            valid_until=self.stamp(stamp_ns + 10**9),
            instruction="Turn left.",
            model="made up",
            seed=3,
            times=times,
        )

    def diagnostics(self, stamp_ns: int, *, level: int = 0, message: str = "ok") -> Any:
        pair = self("diagnostic_msgs/msg/KeyValue", key="rate_hz", value="10.0")
        status = self(
            "diagnostic_msgs/msg/DiagnosticStatus",
            level=level,
            name="alpamayo/inference",
            message=message,
            hardware_id="alpamayo_ros",
            values=[pair],
        )
        return self("diagnostic_msgs/msg/DiagnosticArray", header=self.header(stamp_ns, ""), status=[status])

    def line_marker(self, points: list[tuple[float, float]]) -> Any:
        zero = self("geometry_msgs/msg/Vector3", x=0.3, y=0.0, z=0.0)
        return self(
            "visualization_msgs/msg/Marker",
            header=self.header(T0_NS, "odom"),
            ns="edges",
            id=0,
            type=5,
            action=0,
            pose=self.pose(),
            scale=zero,
            color=self("std_msgs/msg/ColorRGBA", r=1.0, g=1.0, b=1.0, a=1.0),
            lifetime=self("builtin_interfaces/msg/Duration", sec=0, nanosec=0),
            frame_locked=False,
            points=[self("geometry_msgs/msg/Point", x=x, y=y, z=0.0) for x, y in points],
            colors=[],
            texture_resource="",
            texture=self.image(T0_NS, b""),
            uv_coordinates=[],
            text="",
            mesh_resource="",
            mesh_file=self("visualization_msgs/msg/MeshFile", filename="", data=np.zeros(0, np.uint8)),
            mesh_use_embedded_materials=False,
        )


CAMERAS = ("cross_left", "front_wide", "cross_right", "front_tele")


def write_bag(path: Path, *, seconds: float = 2.0, overlays: bool = True, ns: str = "/alpamayo") -> Path:
    """Write plans, odometry, cameras or overlays, a map and diagnostics at 10 Hz."""
    with BagWriter(path) as bag:
        make = Messages(bag.typestore)
        plain, latched = [make_qos(reliable=True)], [make_qos(reliable=True, transient_local=True)]
        bag.add_topic("/tf_static", "tf2_msgs/msg/TFMessage", qos=latched)
        bag.add_topic(f"{ns}/sim/map", "visualization_msgs/msg/MarkerArray", qos=latched)
        for name, kind in (("plan", "alpamayo_ros/msg/Plan"), ("odometry", "nav_msgs/msg/Odometry")):
            bag.add_topic(f"{ns}/{name}", kind, qos=plain)
        bag.add_topic("/diagnostics", "diagnostic_msgs/msg/DiagnosticArray", qos=plain)
        for camera in CAMERAS:
            topic = f"{ns}/overlay/{camera}" if overlays else f"{ns}/camera/{camera}/image/compressed"
            bag.add_topic(topic, "sensor_msgs/msg/CompressedImage", qos=plain)
            if not overlays:
                info = f"{ns}/camera/{camera}/camera_info"
                bag.add_topic(info, "sensor_msgs/msg/CameraInfo", qos=plain)
        for camera in CAMERAS:
            bag.write_message("/tf_static", T0_NS, make.transform(f"{camera}_frame"))
        line = make.line_marker([(0.0, 2.0), (50.0, 2.0)])
        markers = make("visualization_msgs/msg/MarkerArray", markers=[line])
        bag.write_message(f"{ns}/sim/map", T0_NS, markers)
        for step in range(round(seconds * 10) + 1):
            now_ns = T0_NS + step * STEP_NS
            bag.write_message(f"{ns}/odometry", now_ns, make.odometry(now_ns))
            for camera in CAMERAS:
                if not overlays:
                    info = make.camera_info(now_ns, f"{camera}_frame")
                    bag.write_message(f"{ns}/camera/{camera}/camera_info", now_ns, info)
                topic = f"{ns}/overlay/{camera}" if overlays else f"{ns}/camera/{camera}/image/compressed"
                bag.write_message(topic, now_ns, make.image(now_ns, jpeg(5 * step)))
            plan = make.plan(now_ns, reasoning=f"Reason {step // 5}.")
            bag.write_message(f"{ns}/plan", now_ns + 1_000_000, plan)
            bag.write_message("/diagnostics", now_ns, make.diagnostics(now_ns))
    return path


class Remembering:
    """A viewer that remembers what it is told, in order."""

    def __init__(self) -> None:
        self.topics: dict[str, Topic] = {}
        self.told: list[tuple[str, int, bytes]] = []
        self.times_ns: list[int] = []
        self.jumps: list[int] = []

    def topics_changed(self, topics: Mapping[str, Topic]) -> None:
        self.topics = dict(topics)

    def message(self, topic: str, stamp_ns: int, data: bytes) -> None:
        self.told.append((topic, stamp_ns, data))

    def time_is(self, stamp_ns: int) -> None:
        self.times_ns.append(stamp_ns)

    def jumped(self) -> None:
        self.jumps.append(len(self.told))

    def stamps_ns(self, topic: str) -> list[int]:
        return [stamp for name, stamp, _ in list(self.told) if name == topic]


def until(condition: Callable[[], Any], what: str, *, timeout_s: float = 20.0) -> Any:
    """Wait until something is true; return what it is."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"{what} did not happen in {timeout_s} s"
        time.sleep(0.02)
