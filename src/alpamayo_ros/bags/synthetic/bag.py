"""Write the drive as a bag: cameras, CameraInfo, odometry and /tf_static, as a vehicle would record it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from alpamayo_ros.bags.messages import MessageFactory
from alpamayo_ros.bags.qos import make_qos
from alpamayo_ros.bags.synthetic.camera import SyntheticCamera
from alpamayo_ros.bags.synthetic.course import Course
from alpamayo_ros.bags.synthetic.scene import FINEST_M, Image, Scene, make_scene
from alpamayo_ros.bags.writer import BagWriter
from alpamayo_ros.sensing.camera_info import CameraInfo
from alpamayo_ros.sensing.rig import Rig
from alpamayo_ros.types import InvalidInput

START_NS = 1_700_000_000_000_000_000
ODOMETRY_TOPIC = "/odom"
ODOMETRY_HZ = 50.0
ODOMETRY_FRAME = "odom"
JPEG_QUALITY = 90

Progress = Callable[[int, int], None]
"""Called with (images written, images in all)."""


@dataclass(frozen=True)
class SyntheticDrive:
    """What to write.

    Attributes:
        seconds: length of the drive, 3 ... 120.
        camera_hz: images a second of each camera, 1 ... 60.
        width: of the images, pixels, 64 ... 3840.
        height: of the images, pixels, 36 ... 2160.
        seed: of the surroundings; the same one gives the same bag.

    Raises:
        InvalidInput: for values out of range.
    """

    seconds: float = 12.0
    camera_hz: float = 10.0
    width: int = 1920
    height: int = 1080
    seed: int = 0

    def __post_init__(self) -> None:
        Course(seconds=self.seconds)
        for name, low, high in (
            ("camera_hz", 1, 60),
            ("width", 64, 3840),
            ("height", 36, 2160),
            ("seed", 0, 2**63 - 1),
        ):
            if not low <= getattr(self, name) <= high:
                raise InvalidInput(f"{name}: expected {low} ... {high}, got {getattr(self, name)}")


def write_synthetic_bag(
    path: str | Path, rig: Rig, *, drive: SyntheticDrive | None = None, progress: Progress | None = None
) -> None:
    """Write a bag with the cameras and topics of `rig`, odometry on /odom, and static transforms.

    Messages are recorded at their own stamps. The odometry is exact; the images are of perfect pinhole
    cameras, as their CameraInfo says.

    Args:
        path: folder to make.
        rig: its cameras' roles decide where they stand and how far they see.
        drive: what to write.
        progress: called after each image.

    Raises:
        InvalidInput: where the folder exists, or the disk is full.
    """
    drive = drive or SyntheticDrive()
    course = Course(seconds=drive.seconds)
    cameras = {
        camera.topic: (SyntheticCamera(camera.camera_id, drive.width, drive.height), camera)
        for camera in rig.cameras
    }
    with BagWriter(
        path, custom_data={"source": f"alpamayo_ros synthetic drive, seed {drive.seed}"}
    ) as writer:
        messages = MessageFactory(writer.typestore)
        sensor_qos, latched_qos = [make_qos(depth=10)], [make_qos(depth=1, transient_local=True)]
        writer.add_topic("/tf_static", "tf2_msgs/msg/TFMessage", qos=latched_qos)
        writer.add_topic(ODOMETRY_TOPIC, "nav_msgs/msg/Odometry", qos=sensor_qos)
        for _, config in cameras.values():
            kind = "Image" if config.transport == "raw" else "CompressedImage"
            writer.add_topic(config.topic, f"sensor_msgs/msg/{kind}", qos=sensor_qos)
            if config.info_topic is not None:
                writer.add_topic(config.info_topic, "sensor_msgs/msg/CameraInfo", qos=sensor_qos)
        stand = {camera.frame: camera.rig_from_camera for camera, _ in cameras.values()}
        writer.write_message("/tf_static", START_NS, messages.transforms(START_NS, rig.rig_frame, stand))

        total = len(cameras) * _count(drive.seconds, drive.camera_hz)
        done = 0
        odometry = _ticks(drive.seconds, ODOMETRY_HZ)
        next_odometry = next(odometry, None)
        with ThreadPoolExecutor(max_workers=2) as pool:
            for time_s, images in _rendered(pool, drive, course, cameras):
                while next_odometry is not None and next_odometry <= time_s:
                    _write_odometry(writer, messages, course, rig.rig_frame, next_odometry)
                    next_odometry = next(odometry, None)
                stamp_ns = START_NS + round(time_s * 1e9)
                for topic, image in images.items():
                    camera, config = cameras[topic]
                    data = image.result()
                    if config.info_topic is not None:
                        info = messages.camera_info(stamp_ns, _info_of(camera), frame=camera.frame)
                        writer.write_message(config.info_topic, stamp_ns, info)
                    make = messages.image if config.transport == "raw" else messages.compressed_image
                    writer.write_message(topic, stamp_ns, make(stamp_ns, data, frame=camera.frame))
                    done += 1
                    if progress is not None:
                        progress(done, total)
            while next_odometry is not None:
                _write_odometry(writer, messages, course, rig.rig_frame, next_odometry)
                next_odometry = next(odometry, None)


def _count(seconds: float, rate_hz: float) -> int:
    return int(np.floor(seconds * rate_hz + 1e-9)) + 1


def _ticks(seconds: float, rate_hz: float) -> Iterator[float]:
    return (k / rate_hz for k in range(_count(seconds, rate_hz)))


def _rendered(
    pool: ThreadPoolExecutor, drive: SyntheticDrive, course: Course, cameras: dict[str, Any]
) -> Iterator[tuple[float, dict[str, Future[Any]]]]:
    """Yield (time, topic -> image to come), keeping the pool two steps ahead."""
    finest_m = FINEST_M * min(max(960 / drive.width, 1.0), 8.0)
    scene = make_scene(course, seed=drive.seed, finest_m=finest_m)
    ahead: list[tuple[float, dict[str, Future[Any]]]] = []
    for time_s in _ticks(drive.seconds, drive.camera_hz):
        pose = course.pose(time_s)
        ahead.append(
            (
                time_s,
                {
                    topic: pool.submit(_take, camera, scene, pose, config.transport)
                    for topic, (camera, config) in cameras.items()
                },
            )
        )
        if len(ahead) > 2:
            yield ahead.pop(0)
    yield from ahead


def _take(camera: SyntheticCamera, scene: Scene, pose: Any, transport: str) -> Any:
    """Return what a camera sends: its image as JPEG, or as RGB pixels."""
    image: Image = camera.render(scene, pose)
    if transport == "raw":
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return data


def _write_odometry(
    writer: BagWriter, messages: MessageFactory, course: Course, rig_frame: str, time_s: float
) -> None:
    stamp_ns = START_NS + round(time_s * 1e9)
    pose = course.pose(time_s)
    odom_from_rig = np.eye(4)
    cos, sin = np.cos(pose.yaw_rad), np.sin(pose.yaw_rad)
    odom_from_rig[:2, :2] = [[cos, -sin], [sin, cos]]
    odom_from_rig[:2, 3] = (pose.x_m, pose.y_m)
    odometry = messages.odometry(
        stamp_ns,
        odom_from_rig,
        frame=ODOMETRY_FRAME,
        child=rig_frame,
        linear_mps=(pose.speed_mps, 0.0, 0.0),
        angular_radps=(0.0, 0.0, pose.yaw_rate_radps),
    )
    writer.write_message(ODOMETRY_TOPIC, stamp_ns, odometry)


def _info_of(camera: SyntheticCamera) -> CameraInfo:
    k = camera.intrinsics
    return CameraInfo(
        width=camera.width,
        height=camera.height,
        distortion_model="plumb_bob",
        d=(0.0,) * 5,
        k=tuple(k.ravel()),
        p=tuple(np.concatenate([k, np.zeros((3, 1))], axis=1).ravel()),
    )
