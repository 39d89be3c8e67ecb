"""Write a clip as a rosbag2 (cameras, CameraInfo, odometry, transforms, reasoning) and its rig file."""

from __future__ import annotations

import heapq
import os
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.bags.errors import BagError
from alpamayo_ros.bags.messages import MessageFactory
from alpamayo_ros.bags.qos import make_qos
from alpamayo_ros.bags.writer import BagWriter
from alpamayo_ros.datasets.errors import DatasetError
from alpamayo_ros.datasets.physical_ai.clip import Clip, ClipCamera
from alpamayo_ros.datasets.physical_ai.names import CLIP_ZERO_NS, REPOSITORY, stamp_ns
from alpamayo_ros.datasets.physical_ai.video import decoded_frames, nearest_to_ticks
from alpamayo_ros.sensing.camera_info import CameraInfo
from alpamayo_ros.sensing.lens_info import camera_info_of_model
from alpamayo_ros.sensing.rig import CameraConfig, Rig
from alpamayo_ros.sensing.rig_writer import write_rig_file
from alpamayo_ros.types import InvalidInput, camera_name

ODOMETRY_TOPIC = "/odom"
ODOMETRY_FRAME = "odom"
RIG_FRAME = "base_link"
REASONING_TOPIC = "/dataset/reasoning"
RIG_FILE = "rig.yaml"
"""Where the rig file goes within the bag's folder, unless it is wanted elsewhere."""

_ENCODERS = max(2, min(8, os.cpu_count() or 2))
_AHEAD = 24
"""Messages in the making: the pictures among them are what memory holds, some 6 MB each at full size."""

Message: TypeAlias = tuple[str, Any]
"""A topic and what is written to it."""

Making: TypeAlias = tuple[int, Callable[[], list[Message]]]
"""A time on the clip's clock, and what makes the messages of that moment."""


@dataclass(frozen=True)
class BagSettings:
    """How a clip is written.

    Attributes:
        rate_hz: pictures a second of each camera, 1 ... 30; None: all that there are (30 a second).
        jpeg_quality: 1 ... 100; 95 is what AlpaSim asks of its renderer, too.

    Raises:
        InvalidInput: for values out of range.
    """

    rate_hz: float | None = None
    jpeg_quality: int = 95

    def __post_init__(self) -> None:
        if self.rate_hz is not None and not 1 <= self.rate_hz <= 30:
            raise InvalidInput(f"rate_hz: expected 1 ... 30, got {self.rate_hz:g}")
        if not 1 <= self.jpeg_quality <= 100:
            raise InvalidInput(f"jpeg_quality: expected 1 ... 100, got {self.jpeg_quality}")


@dataclass(frozen=True)
class WrittenBag:
    """What was written: the bag, its rig file, pictures by camera, and what a reader should be told."""

    bag: Path
    rig_file: Path
    pictures: dict[str, int]
    poses: int
    reasoning: int
    remarks: tuple[str, ...] = field(default=())


def rig_of(clip: Clip) -> Rig:
    """Return the rig of a clip: its own lenses and mounts, and the topics that write_bag gives its cameras.

    The data set's rig frame is Alpamayo's: rear axle's centre on the ground, x forward, y left, z up.
    """
    return Rig(
        name=f"physical_ai_av_{clip.clip_id}",
        cameras=tuple(
            CameraConfig(
                camera_id=camera.camera_id,
                topic=f"/camera/{camera_name(camera.camera_id)}/image/compressed",
                info_topic=f"/camera/{camera_name(camera.camera_id)}/camera_info",
                intrinsics=camera.lens,
                rig_from_camera=camera.rig_from_camera,
            )
            for camera in clip.cameras
        ),
        rig_frame=RIG_FRAME,
        odometry_topic=ODOMETRY_TOPIC,
    )


def write_bag(
    clip: Clip,
    path: Path,
    *,
    rig_file: Path | None = None,
    settings: BagSettings | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> WrittenBag:
    """Write a clip as a bag, which is at `path` when it is whole and not before.

    Args:
        clip: what to write.
        path: folder to make.
        rig_file: file to write the rig to; RIG_FILE in the bag's folder if None.
        settings: how pictures are written.
        progress: told how many pictures are written, of how many.

    Raises:
        BagError: where the folder exists or cannot be made, or the disk is full.
        DatasetError: for a video that cannot be decoded, or is not of its lens' size.
        InvalidInput: where the rig file exists.
    """
    settings = settings or BagSettings()
    if path.exists():
        raise BagError(f"bag {path}: expected a new folder, got one that exists; nothing is overwritten")
    if rig_file is not None and rig_file.exists():
        raise InvalidInput(f"rig file {rig_file}: expected a new file, got one that exists")
    rig = rig_of(clip)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise BagError(f"bag {path}: expected a folder that can be made, got {error}") from error
    try:
        made = beside / path.name
        writing = _Writing(clip, rig, settings)
        writing.write(made, progress)
        write_rig_file(rig, rig_file or made / RIG_FILE, notes=_notes(clip))
        made.rename(path)
    except OSError as error:
        raise BagError(f"bag {path}: expected a folder that can be written, got {error}") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return WrittenBag(
        bag=path,
        rig_file=rig_file or path / RIG_FILE,
        pictures={camera.name: writing.pictures[camera.topic] for camera in rig.cameras},
        poses=len(clip.egomotion.stamps_us),
        reasoning=len(clip.reasoning),
        remarks=writing.remarks,
    )


class _Writing:
    """One clip on its way into one bag."""

    def __init__(self, clip: Clip, rig: Rig, settings: BagSettings) -> None:
        self._clip, self._rig, self._settings = clip, rig, settings
        self._infos, self.remarks = _camera_infos(clip)
        # By the clock of the camera that observations are timed by, so that every tick has one of its own.
        origin_us = next(int(c.stamps_us[0]) for c in clip.cameras if c.camera_id == rig.reference_camera_id)
        self._keep = {
            camera.camera_id: nearest_to_ticks(camera.stamps_us, settings.rate_hz, origin_us=origin_us)
            for camera in clip.cameras
        }
        self.pictures = {camera.topic: 0 for camera in rig.cameras}

    def write(self, path: Path, progress: Callable[[int, int], None]) -> None:
        """Write all messages in the order of their stamps; pictures are coded a little ahead of that."""
        total = sum(int(kept.sum()) for kept in self._keep.values())
        making: deque[tuple[int, Future[list[Message]]]] = deque()
        with (
            BagWriter(path, custom_data=_custom_data(self._clip, self._settings)) as writer,
            ThreadPoolExecutor(max_workers=_ENCODERS) as pool,
        ):
            messages = MessageFactory(writer.typestore)
            self._add_topics(writer)
            self._write_mounts(writer, messages)

            def write_oldest() -> None:
                time_us, made = making.popleft()
                for topic, message in made.result():
                    writer.write_message(topic, stamp_ns(time_us), message)
                    if topic in self.pictures:
                        self.pictures[topic] += 1
                        progress(sum(self.pictures.values()), total)

            for time_us, make in self._timeline(messages):
                making.append((time_us, pool.submit(make)))
                if len(making) > _AHEAD:
                    write_oldest()
            while making:
                write_oldest()

    def _add_topics(self, writer: BagWriter) -> None:
        sensor, latched = [make_qos(depth=10)], [make_qos(depth=1, transient_local=True)]
        writer.add_topic("/tf_static", "tf2_msgs/msg/TFMessage", qos=latched)
        writer.add_topic("/tf", "tf2_msgs/msg/TFMessage", qos=[make_qos(depth=100)])
        writer.add_topic(ODOMETRY_TOPIC, "nav_msgs/msg/Odometry", qos=sensor)
        for camera in self._rig.cameras:
            writer.add_topic(camera.topic, "sensor_msgs/msg/CompressedImage", qos=sensor)
            if camera.camera_id in self._infos and camera.info_topic is not None:
                writer.add_topic(camera.info_topic, "sensor_msgs/msg/CameraInfo", qos=sensor)
        if self._clip.reasoning:
            writer.add_topic(REASONING_TOPIC, "std_msgs/msg/String", qos=sensor)

    def _write_mounts(self, writer: BagWriter, messages: MessageFactory) -> None:
        starts_us = [self._clip.egomotion.stamps_us[0], *(c.stamps_us[0] for c in self._clip.cameras)]
        at_ns = stamp_ns(int(min(starts_us)))
        mounts = {_frame(camera): camera.rig_from_camera for camera in self._clip.cameras}
        writer.write_message("/tf_static", at_ns, messages.transforms(at_ns, RIG_FRAME, mounts))

    def _timeline(self, messages: MessageFactory) -> Iterator[Making]:
        streams = [self._poses(messages), self._reasoning(messages)]
        streams += [self._pictures(camera, messages) for camera in self._clip.cameras]
        return heapq.merge(*streams, key=lambda item: item[0])

    def _poses(self, messages: MessageFactory) -> Iterator[Making]:
        """Yield the vehicle's poses as they are, odometry and /tf; who wants others interpolates."""
        egomotion = self._clip.egomotion
        linear, angular = egomotion.velocity_in_rig_mps, egomotion.turning_in_rig_radps

        def make(time_us: int, i: int) -> list[Message]:
            at_ns, pose = stamp_ns(time_us), egomotion.anchor_from_rig[i]
            odometry = messages.odometry(
                at_ns,
                pose,
                frame=ODOMETRY_FRAME,
                child=RIG_FRAME,
                linear_mps=linear[i],
                angular_radps=angular[i],
            )
            moving = messages.transforms(at_ns, ODOMETRY_FRAME, {RIG_FRAME: pose})
            return [(ODOMETRY_TOPIC, odometry), ("/tf", moving)]

        for i, time_us in enumerate(egomotion.stamps_us.tolist()):
            yield time_us, partial(make, time_us, i)

    def _reasoning(self, messages: MessageFactory) -> Iterator[Making]:
        def make(text: str) -> list[Message]:
            return [(REASONING_TOPIC, messages.string(text))]

        for event in self._clip.reasoning:
            yield event.time_us, partial(make, event.text)

    def _pictures(self, camera: ClipCamera, messages: MessageFactory) -> Iterator[Making]:
        config, lens = self._rig.camera(camera.camera_id), camera.lens
        info, quality = self._infos.get(camera.camera_id), self._settings.jpeg_quality

        def make(time_us: int, rgb: NDArray[np.uint8]) -> list[Message]:
            bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
            _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
            at_ns, frame = stamp_ns(time_us), _frame(camera)
            picture = messages.compressed_image(at_ns, data.ravel(), frame=frame)
            if info is None or config.info_topic is None:
                return [(config.topic, picture)]
            return [
                (config.info_topic, messages.camera_info(at_ns, info, frame=frame)),
                (config.topic, picture),
            ]

        kept = self._keep[camera.camera_id]
        try:
            for index, rgb in decoded_frames(camera.video, count=len(camera.stamps_us), wanted=kept):
                if rgb.shape[:2] != (lens.height, lens.width):
                    raise DatasetError(
                        f"video: expected pictures of the calibration's {lens.width}x{lens.height}, got "
                        f"{rgb.shape[1]}x{rgb.shape[0]}"
                    )
                time_us = int(camera.stamps_us[index])
                yield time_us, partial(make, time_us, rgb)
        except DatasetError as error:
            raise DatasetError(f"clip {self._clip.clip_id}: camera {config.name}: {error}") from error


def _camera_infos(clip: Clip) -> tuple[dict[int, CameraInfo], tuple[str, ...]]:
    """Return each camera's CameraInfo, and remarks on those whose lens CameraInfo cannot say."""
    infos: dict[int, CameraInfo] = {}
    remarks = []
    for camera in clip.cameras:
        try:
            infos[camera.camera_id] = camera_info_of_model(camera.lens)
        except InvalidInput as error:
            name = camera_name(camera.camera_id)
            remarks.append(f"{name} has no CameraInfo, its lens is in the rig file alone: {error}")
    return infos, tuple(remarks)


def _frame(camera: ClipCamera) -> str:
    return f"camera_{camera_name(camera.camera_id)}"


def _custom_data(clip: Clip, settings: BagSettings) -> dict[str, str]:
    return {
        "source": REPOSITORY,
        "clip_id": clip.clip_id,
        "revision": clip.revision,
        "clip_zero_ns": str(CLIP_ZERO_NS),
        "pictures": f"JPEG quality {settings.jpeg_quality}, "
        + (f"thinned to {settings.rate_hz:g} Hz" if settings.rate_hz is not None else "all"),
        **{f"clip_{name}": value for name, value in clip.facts.items()},
    }


def _notes(clip: Clip) -> tuple[str, ...]:
    return (
        f"Lenses and mounts of clip {clip.clip_id} of {REPOSITORY}, revision {clip.revision}.",
        "They differ from vehicle to vehicle: this file is for this clip's bag alone.",
    )
