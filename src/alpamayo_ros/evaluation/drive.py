"""A recorded drive through the stack's own sensing: its observations, and where the vehicle went.

Any rosbag2 will do whose cameras and odometry a rig file names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np

from alpamayo_ros.bags.errors import BagError
from alpamayo_ros.bags.reader import BagReader
from alpamayo_ros.bags.run import ODOMETRY_TYPE
from alpamayo_ros.bags.views import Parents, camera_info_of, fixed_transform, frame_of, recorded_parents
from alpamayo_ros.evaluation.track import DriveTrack
from alpamayo_ros.sensing.assembly import ObservationAssembler
from alpamayo_ros.sensing.camera_info import model_from_camera_info
from alpamayo_ros.sensing.frame_pipeline import FramePipeline
from alpamayo_ros.sensing.rig import Rig
from alpamayo_ros.sensing.rigid import Matrix4, from_quaternion
from alpamayo_ros.sensing.timing import NS_PER_MS, ObservationRefused, TimingConfig
from alpamayo_ros.types import InvalidInput, Observation, PrepareFrame

INSTRUCTION_TOPIC = "/alpamayo/instruction"
NAMESPACE = "/alpamayo"

LEAST_APART_NS = 95 * NS_PER_MS
"""Samples are 0.1 s apart, however fast the cameras; a little less, for frames jitter."""
_IMAGE_TYPES = {"raw": "sensor_msgs/msg/Image", "compressed": "sensor_msgs/msg/CompressedImage"}
_LEAD_NS = 3000 * NS_PER_MS
"""So long before the first observation that is wanted images are decoded: a history and all waits."""


class BagDrive:
    """Reads one bag through the stack's sensing.

    Args:
        bag: open for reading.
        rig: names its cameras and its odometry.
        prepare: what is done with each frame, uint8 [3, H, W] to uint8 [3, h, w]; None leaves its size.
        timing: the timing contract.

    Raises:
        BagError: for a bag that lacks one of the rig's topics.
    """

    def __init__(
        self,
        bag: BagReader,
        rig: Rig,
        prepare: PrepareFrame | None = None,
        *,
        timing: TimingConfig | None = None,
    ) -> None:
        wanted = [*(camera.topic for camera in rig.cameras), rig.odometry_topic]
        missing = [topic for topic in wanted if topic not in bag.topics or not bag.topics[topic].count]
        if missing:
            raise BagError(
                f"bag {bag.path}: expected the rig's topics, got no {', '.join(missing)}; "
                f"it has {', '.join(sorted(bag.topics))}"
            )
        for camera in rig.cameras:
            expected, found = _IMAGE_TYPES[camera.transport], bag.topics[camera.topic].type_name
            if found != expected:
                raise BagError(f"bag {bag.path}: expected {expected} on {camera.topic}, got {found}")
        self._bag, self._rig = bag, rig
        self._timing = timing or TimingConfig()
        self._parents = recorded_parents(bag)
        self._pipelines = {camera.topic: FramePipeline(camera, prepare) for camera in rig.cameras}
        self._take_lenses()

    def track(self, left_out: Counter[str]) -> DriveTrack:
        """Return the whole drive (see read_track)."""
        return read_track(self._bag, self._rig, left_out=left_out, timing=self._timing)

    def observations(
        self,
        *,
        left_out: Counter[str],
        progress: Callable[[int, int], None] = lambda done, total: None,
        after_ns: int = 0,
        until_ns: int | None = None,
        least_apart_ns: int = LEAST_APART_NS,
    ) -> Iterator[Observation]:
        """Yield observations as the planner's sensing would have assembled them, in their order.

        Args:
            left_out: counts what the timing contract refuses, by its reason, and images that cannot be read.
            progress: told how many messages are read, of how many.
            after_ns: only those of a later t0 are yielded and counted; images long before are not decoded.
            until_ns: the last t0 to yield; None for all.
            least_apart_ns: between one t0 and the next.

        Raises:
            BagError: where the recording's clock goes back, or the bag is damaged.
        """
        assembler = ObservationAssembler(self._rig, self._timing)
        cameras = {camera.topic: camera for camera in self._rig.cameras}
        topics = [*cameras, self._rig.odometry_topic]
        if INSTRUCTION_TOPIC in self._bag.topics:
            topics.append(INSTRUCTION_TOPIC)
        total = sum(self._bag.topics[topic].count for topic in topics)
        last_ns = 0
        for number, message in enumerate(self._bag.messages(topics), 1):
            content = self._bag.decode(message)
            if message.topic in cameras and stamp_of(content.header) < after_ns - _LEAD_NS:
                continue
            if message.topic == INSTRUCTION_TOPIC:
                assembler.set_instruction(str(content.data))
            elif message.topic == self._rig.odometry_topic:
                with suppress(InvalidInput):  # counted by track
                    stamp_ns, pose, child = _odometry(content)
                    _place(assembler, self._rig, self._parents, child)
                    assembler.add_odometry(stamp_ns, pose, child_frame=child)
            else:
                camera = cameras[message.topic]
                stamp_ns = stamp_of(content.header)
                try:
                    assembler.add_frame(
                        camera.camera_id, stamp_ns, frame_of(content, self._pipelines[message.topic])
                    )
                except InvalidInput:
                    if stamp_ns > after_ns:
                        left_out[f"an image of {camera.name} that cannot be read"] += 1
            if assembler.backward_jumps:
                raise BagError(f"bag {self._bag.path}: expected stamps that go on, got some that go back")
            for observation in _taken(assembler, message.stamp_ns, left_out, after_ns):
                if until_ns is not None and observation.t0_ns > until_ns:
                    progress(total, total)
                    return
                if observation.t0_ns > after_ns and observation.t0_ns - last_ns >= least_apart_ns:
                    last_ns = observation.t0_ns
                    yield observation
            progress(number, total)

    def _take_lenses(self) -> None:
        for camera in self._rig.cameras:
            if camera.model_camera is None or camera.intrinsics is not None or camera.info_topic is None:
                continue
            first = next(self._bag.messages([camera.info_topic]), None)
            if first is None:
                wanted = f"CameraInfo of {camera.name} on {camera.info_topic}"
                raise BagError(f"bag {self._bag.path}: expected {wanted}, got none")
            info = camera_info_of(self._bag.decode(first))
            self._pipelines[camera.topic].set_intrinsics(
                model_from_camera_info(info, rectified=camera.rectified)
            )


def read_track(
    bag: BagReader, rig: Rig, *, left_out: Counter[str], timing: TimingConfig | None = None
) -> DriveTrack:
    """Return a bag's whole drive; of the rig only its odometry and frames are asked for.

    Args:
        bag: open for reading.
        rig: names odometry's topic, and where its body frames sit.
        left_out: counts messages that are no pose (a quaternion of zeros, say).
        timing: the timing contract.

    Raises:
        BagError: for odometry of a frame that nobody placed on the rig.
    """
    timing = timing or TimingConfig()
    assembler, parents = ObservationAssembler(rig, timing), recorded_parents(bag)
    poses: dict[int, Matrix4] = {}
    for message in bag.messages([rig.odometry_topic]):
        try:
            stamp_ns, pose, child = _odometry(bag.decode(message))
        except BagError:
            raise
        except InvalidInput:
            left_out["odometry that is no pose"] += 1
            continue
        _place(assembler, rig, parents, child)
        try:
            child_from_rig = assembler.child_from_rig(stamp_ns, child)
        except ObservationRefused as refused:
            raise BagError(f"bag {bag.path}: {refused}") from refused
        poses.setdefault(stamp_ns, pose if child_from_rig is None else pose @ child_from_rig)
    stamps = np.array(sorted(poses), np.int64)
    matrices = np.array([poses[int(stamp)] for stamp in stamps]).reshape(-1, 4, 4)
    return DriveTrack(stamps, matrices, timing=timing)


def rig_in_bag(bag: BagReader, rig: Rig, *, odometry: str | None = None) -> Rig:
    """Return the rig by the topics of a bag: absolute ones, as our nodes record them.

    Args:
        bag: open for reading.
        rig: its relative topics are in our nodes' namespace.
        odometry: the topic of odometry; by default the rig's, else the bag's only one.

    Raises:
        BagError: where the bag has no such odometry, several and none is the rig's, or of another type.
    """
    absolute = _absolute(odometry or rig.odometry_topic)
    found = [t.name for t in bag.topics.values() if t.type_name == ODOMETRY_TYPE and t.count]
    if absolute not in found and odometry is None and len(found) == 1:
        absolute = found[0]
    if absolute not in found:
        known = bag.topics.get(absolute)
        if known is not None and known.count:
            raise BagError(f"bag {bag.path}: expected {ODOMETRY_TYPE} on {absolute}, got {known.type_name}")
        have = f"that on {', '.join(found)}; choose one with --odometry" if found else "none at all"
        raise BagError(f"bag {bag.path}: expected odometry on {absolute}, got {have}")
    cameras = tuple(
        replace(
            camera,
            topic=_absolute(camera.topic),
            info_topic=None if camera.info_topic is None else _absolute(camera.info_topic),
        )
        for camera in rig.cameras
    )
    return replace(rig, odometry_topic=absolute, cameras=cameras)


def _absolute(topic: str) -> str:
    return topic if topic.startswith("/") else f"{NAMESPACE}/{topic}"


def stamp_of(header: Any) -> int:
    """Return a recorded header's stamp in ns."""
    return int(header.stamp.sec) * 10**9 + int(header.stamp.nanosec)


def _taken(
    assembler: ObservationAssembler, now_ns: int, left_out: Counter[str], after_ns: int
) -> Iterator[Observation]:
    while True:
        try:
            observation = assembler.take(now_ns)
        except ObservationRefused as refused:
            if refused.t0_ns > after_ns:
                left_out[refused.reason] += 1
            continue
        if observation is None:
            return
        yield observation


def _place(assembler: ObservationAssembler, rig: Rig, parents: Parents, child: str) -> None:
    """Tell the assembler what /tf_static says of a body frame."""
    rig_from_child = fixed_transform(parents, rig.rig_frame, child)
    if rig_from_child is not None:
        assembler.set_rig_from_child(child, rig_from_child)


def _odometry(content: Any) -> tuple[int, Matrix4, str]:
    p, q = content.pose.pose.position, content.pose.pose.orientation
    pose = from_quaternion((p.x, p.y, p.z), (q.x, q.y, q.z, q.w))
    return stamp_of(content.header), pose, str(content.child_frame_id).strip().removeprefix("/")
