"""Write the drive as a bag: cameras, CameraInfo, odometry and /tf_static, as a vehicle would record it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from alpamayo_ros.bags.qos import make_qos
from alpamayo_ros.bags.synthetic.camera import SyntheticCamera
from alpamayo_ros.bags.synthetic.course import Course
from alpamayo_ros.bags.synthetic.scene import FINEST_M, Image, Scene, make_scene
from alpamayo_ros.bags.writer import BagWriter
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
        messages = _Messages(writer)
        sensor_qos, latched_qos = [make_qos(depth=10)], [make_qos(depth=1, transient_local=True)]
        writer.add_topic("/tf_static", "tf2_msgs/msg/TFMessage", qos=latched_qos)
        writer.add_topic(ODOMETRY_TOPIC, "nav_msgs/msg/Odometry", qos=sensor_qos)
        for _, config in cameras.values():
            kind = "Image" if config.transport == "raw" else "CompressedImage"
            writer.add_topic(config.topic, f"sensor_msgs/msg/{kind}", qos=sensor_qos)
            if config.info_topic is not None:
                writer.add_topic(config.info_topic, "sensor_msgs/msg/CameraInfo", qos=sensor_qos)
        stand = {camera.frame: camera for camera, _ in cameras.values()}
        writer.write_message(
            "/tf_static", START_NS, messages.static_transforms(rig.rig_frame, stand.values())
        )

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
                        writer.write_message(
                            config.info_topic, stamp_ns, messages.camera_info(camera, stamp_ns)
                        )
                    make = messages.image if config.transport == "raw" else messages.compressed_image
                    writer.write_message(topic, stamp_ns, make(camera, stamp_ns, data))
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
    writer: BagWriter, messages: _Messages, course: Course, frame: str, time_s: float
) -> None:
    stamp_ns = START_NS + round(time_s * 1e9)
    writer.write_message(ODOMETRY_TOPIC, stamp_ns, messages.odometry(course, frame, time_s, stamp_ns))


class _Messages:
    """Makes messages of a writer's type store."""

    def __init__(self, writer: BagWriter) -> None:
        self._types: dict[str, Any] = dict(writer.typestore.types)

    def header(self, stamp_ns: int, frame: str) -> Any:
        sec, nanosec = divmod(stamp_ns, 10**9)
        return self._types["std_msgs/msg/Header"](
            stamp=self._types["builtin_interfaces/msg/Time"](sec=sec, nanosec=nanosec), frame_id=frame
        )

    def vector(self, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Any:
        return self._types["geometry_msgs/msg/Vector3"](x=float(x), y=float(y), z=float(z))

    def quaternion(self, rotation: np.ndarray) -> Any:
        from scipy.spatial.transform import Rotation

        x, y, z, w = Rotation.from_matrix(rotation).as_quat()
        return self._types["geometry_msgs/msg/Quaternion"](x=float(x), y=float(y), z=float(z), w=float(w))

    def static_transforms(self, rig_frame: str, cameras: Any) -> Any:
        transforms = [
            self._types["geometry_msgs/msg/TransformStamped"](
                header=self.header(START_NS, rig_frame),
                child_frame_id=camera.frame,
                transform=self._types["geometry_msgs/msg/Transform"](
                    translation=self.vector(*camera.rig_from_camera[:3, 3]),
                    rotation=self.quaternion(camera.rig_from_camera[:3, :3]),
                ),
            )
            for camera in cameras
        ]
        return self._types["tf2_msgs/msg/TFMessage"](transforms=transforms)

    def odometry(self, course: Course, rig_frame: str, time_s: float, stamp_ns: int) -> Any:
        pose = course.pose(time_s)
        cos, sin = np.cos(pose.yaw_rad), np.sin(pose.yaw_rad)
        rotation = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1.0]])
        point = self._types["geometry_msgs/msg/Point"](x=pose.x_m, y=pose.y_m, z=0.0)
        return self._types["nav_msgs/msg/Odometry"](
            header=self.header(stamp_ns, ODOMETRY_FRAME),
            child_frame_id=rig_frame,
            pose=self._types["geometry_msgs/msg/PoseWithCovariance"](
                pose=self._types["geometry_msgs/msg/Pose"](
                    position=point, orientation=self.quaternion(rotation)
                ),
                covariance=np.zeros(36),
            ),
            twist=self._types["geometry_msgs/msg/TwistWithCovariance"](
                twist=self._types["geometry_msgs/msg/Twist"](
                    linear=self.vector(pose.speed_mps), angular=self.vector(z=pose.yaw_rate_radps)
                ),
                covariance=np.zeros(36),
            ),
        )

    def camera_info(self, camera: SyntheticCamera, stamp_ns: int) -> Any:
        k = camera.intrinsics
        return self._types["sensor_msgs/msg/CameraInfo"](
            header=self.header(stamp_ns, camera.frame),
            height=camera.height,
            width=camera.width,
            distortion_model="plumb_bob",
            d=np.zeros(5),
            k=k.ravel(),
            r=np.eye(3).ravel(),
            p=np.concatenate([k, np.zeros((3, 1))], axis=1).ravel(),
            binning_x=0,
            binning_y=0,
            roi=self._types["sensor_msgs/msg/RegionOfInterest"](
                x_offset=0, y_offset=0, height=0, width=0, do_rectify=False
            ),
        )

    def compressed_image(self, camera: SyntheticCamera, stamp_ns: int, data: Any) -> Any:
        return self._types["sensor_msgs/msg/CompressedImage"](
            header=self.header(stamp_ns, camera.frame), format="jpeg", data=data
        )

    def image(self, camera: SyntheticCamera, stamp_ns: int, data: Any) -> Any:
        return self._types["sensor_msgs/msg/Image"](
            header=self.header(stamp_ns, camera.frame),
            height=camera.height,
            width=camera.width,
            encoding="rgb8",
            is_bigendian=0,
            step=camera.width * 3,
            data=data.ravel(),
        )
