"""Samples of a recorded drive: what was seen through the stack's own sensing, and where the vehicle went.

Any rosbag2 will do whose cameras and odometry a rig file names. The future is odometry's; there is no
reasoning.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.bags.errors import BagError
from alpamayo_ros.bags.reader import BagReader, RawMessage
from alpamayo_ros.bags.views import camera_info_of, fixed_transform, recorded_parents
from alpamayo_ros.sensing.assembly import ObservationAssembler
from alpamayo_ros.sensing.camera_info import model_from_camera_info
from alpamayo_ros.sensing.frame_pipeline import FramePipeline
from alpamayo_ros.sensing.rig import Rig
from alpamayo_ros.sensing.rigid import Matrix4, from_quaternion, invert
from alpamayo_ros.sensing.timing import NS_PER_MS, ObservationRefused, TimingConfig
from alpamayo_ros.sim.trajectories import interpolate_poses
from alpamayo_ros.training.episode import Episode, EpisodeHead, FrameStore, Moment, Split
from alpamayo_ros.training.episode_file import IndexEntry, write_episode
from alpamayo_ros.training.sample import ReasoningSource
from alpamayo_ros.training.shards import open_writer
from alpamayo_ros.training.simulate import PictureSettings, resize_frame
from alpamayo_ros.types import NUM_FRAMES, NUM_WAYPOINTS, WAYPOINT_INTERVAL_S, InvalidInput, Observation

INSTRUCTION_TOPIC = "/alpamayo/instruction"
EPISODE_SAMPLES = 600
"""A minute's samples make an episode: memory is to be bounded, however long the bag."""

_LEAST_APART_NS = 95 * NS_PER_MS
"""Samples are 0.1 s apart, however fast the cameras; a little less, for frames jitter."""


@dataclass(frozen=True)
class BagSamples:
    """What became of a bag.

    Attributes:
        entries: the episodes that were written.
        already: how many were there before.
        left_out: how many samples, or messages, by reason.
    """

    entries: tuple[IndexEntry, ...]
    already: int
    left_out: Mapping[str, int]


class DriveTrack:
    """The whole drive as odometry tells it, by the rig's poses.

    Args:
        stamps_ns: int64 [N], rising.
        odom_from_rig: [N, 4, 4].
        timing: what odometry is interpolated over, and how fast a vehicle is at most.
    """

    def __init__(
        self, stamps_ns: NDArray[np.int64], odom_from_rig: NDArray[np.float64], *, timing: TimingConfig
    ) -> None:
        self._stamps_ns, self._poses, self._timing = stamps_ns, odom_from_rig, timing

    def future(
        self, t0_ns: int, odom_from_rig_t0: Matrix4
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]] | str:
        """Return xyz [64, 3] m and rotations [64, 3, 3] in the rig frame at t0 of the poses to come.

        They are interpolated, never extrapolated. Where they cannot be had, a text says why.
        """
        steps_ns = np.arange(1, NUM_WAYPOINTS + 1, dtype=np.int64) * round(WAYPOINT_INTERVAL_S * 1e9)
        at_ns = t0_ns + steps_ns
        stamps = self._stamps_ns
        if not len(stamps) or at_ns[-1] > stamps[-1] or t0_ns < stamps[0]:
            return "the drive ends before its future does"
        first = int(np.searchsorted(stamps, t0_ns, side="right")) - 1
        last = int(np.searchsorted(stamps, at_ns[-1], side="left"))
        gaps_ns = np.diff(stamps[first : last + 1])
        if np.any(gaps_ns > self._timing.odometry_max_gap_ms * NS_PER_MS):
            return "a gap of odometry in its future"
        moves_m = np.linalg.norm(np.diff(self._poses[first : last + 1, :3, 3], axis=0), axis=1)
        if np.any(moves_m > self._timing.max_speed_mps * gaps_ns * 1e-9 + 0.5):
            return "a jump of odometry in its future"
        part = slice(first, last + 1)
        # In µs from t0: that suits the interpolation, and is finer than any odometry.
        poses = interpolate_poses((stamps[part] - t0_ns) // 1000, self._poses[part], steps_ns // 1000)
        poses = invert(odom_from_rig_t0) @ poses
        return poses[:, :3, 3].astype(np.float32), poses[:, :3, :3].astype(np.float32)


class BagDrive:
    """Reads one bag through the stack's sensing.

    Args:
        bag: open for reading.
        rig: names its cameras and its odometry.
        pictures: the size that frames get.
        timing: the timing contract.

    Raises:
        BagError: for a bag that lacks one of the rig's topics.
    """

    def __init__(
        self, bag: BagReader, rig: Rig, pictures: PictureSettings, *, timing: TimingConfig | None = None
    ) -> None:
        wanted = [*(camera.topic for camera in rig.cameras), rig.odometry_topic]
        missing = [topic for topic in wanted if topic not in bag.topics]
        if missing:
            raise BagError(
                f"bag {bag.path}: expected the rig's topics, got no {', '.join(missing)}; "
                f"it has {', '.join(sorted(bag.topics))}"
            )
        self._bag, self._rig = bag, rig
        self._timing = timing or TimingConfig()
        self._parents = recorded_parents(bag)

        def prepare(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
            return resize_frame(frame, height=pictures.height, width=pictures.width)

        self._pipelines = {camera.topic: FramePipeline(camera, prepare) for camera in rig.cameras}
        self._take_lenses()

    def track(self, left_out: Counter[str]) -> DriveTrack:
        """Return the whole drive.

        Args:
            left_out: counts messages that are no pose (a quaternion of zeros, say).

        Raises:
            BagError: for odometry of a frame that nobody placed on the rig.
        """
        assembler = self._assembler()
        poses: dict[int, Matrix4] = {}
        for message in self._bag.messages([self._rig.odometry_topic]):
            try:
                stamp_ns, pose, child = self._odometry(self._bag.decode(message))
            except InvalidInput:
                left_out["odometry that is no pose"] += 1
                continue
            self._place(assembler, child)
            try:
                child_from_rig = assembler.child_from_rig(stamp_ns, child)
            except ObservationRefused as refused:
                raise BagError(f"bag {self._bag.path}: {refused}") from refused
            poses.setdefault(stamp_ns, pose if child_from_rig is None else pose @ child_from_rig)
        stamps = np.array(sorted(poses), np.int64)
        matrices = np.array([poses[int(stamp)] for stamp in stamps]).reshape(-1, 4, 4)
        return DriveTrack(stamps, matrices, timing=self._timing)

    def observations(
        self, *, left_out: Counter[str], progress: Callable[[int, int], None] = lambda done, total: None
    ) -> Iterator[Observation]:
        """Yield observations 0.1 s apart, as the planner's sensing would have assembled them.

        Args:
            left_out: counts what the timing contract refuses, by its reason, and images that cannot be read.
            progress: told how many messages are read, of how many.

        Raises:
            BagError: where the recording's clock goes back, or the bag is damaged.
        """
        assembler = self._assembler()
        cameras = {camera.topic: camera for camera in self._rig.cameras}
        topics = [*cameras, self._rig.odometry_topic]
        if INSTRUCTION_TOPIC in self._bag.topics:
            topics.append(INSTRUCTION_TOPIC)
        total = sum(self._bag.topics[topic].count for topic in topics)
        last_ns = 0
        for number, message in enumerate(self._bag.messages(topics), 1):
            content = self._bag.decode(message)
            if message.topic == INSTRUCTION_TOPIC:
                assembler.set_instruction(str(content.data))
            elif message.topic == self._rig.odometry_topic:
                with suppress(InvalidInput):  # counted by track
                    stamp_ns, pose, child = self._odometry(content)
                    self._place(assembler, child)
                    assembler.add_odometry(stamp_ns, pose, child_frame=child)
            else:
                camera = cameras[message.topic]
                try:
                    frame = self._frame(message, content)
                    assembler.add_frame(camera.camera_id, _stamp_ns(content.header), frame)
                except InvalidInput:
                    left_out[f"an image of {camera.name} that cannot be read"] += 1
            if assembler.backward_jumps:
                raise BagError(f"bag {self._bag.path}: expected stamps that go on, got some that go back")
            for observation in self._taken(assembler, message.stamp_ns, left_out):
                if observation.t0_ns - last_ns >= _LEAST_APART_NS:
                    last_ns = observation.t0_ns
                    yield observation
            progress(number, total)

    def _taken(
        self, assembler: ObservationAssembler, now_ns: int, left_out: Counter[str]
    ) -> Iterator[Observation]:
        while True:
            try:
                observation = assembler.take(now_ns)
            except ObservationRefused as refused:
                left_out[refused.reason] += 1
                continue
            if observation is None:
                return
            yield observation

    def _assembler(self) -> ObservationAssembler:
        return ObservationAssembler(self._rig, self._timing)

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

    def _place(self, assembler: ObservationAssembler, child: str) -> None:
        """Tell the assembler what /tf_static says of a body frame."""
        rig_from_child = fixed_transform(self._parents, self._rig.rig_frame, child)
        if rig_from_child is not None:
            assembler.set_rig_from_child(child, rig_from_child)

    def _odometry(self, content: Any) -> tuple[int, Matrix4, str]:
        p, q = content.pose.pose.position, content.pose.pose.orientation
        pose = from_quaternion((p.x, p.y, p.z), (q.x, q.y, q.z, q.w))
        return _stamp_ns(content.header), pose, str(content.child_frame_id).strip().removeprefix("/")

    def _frame(self, message: RawMessage, content: Any) -> NDArray[np.uint8]:
        pipeline = self._pipelines[message.topic]
        if pipeline.camera.transport == "compressed":
            return pipeline.process_compressed(bytes(content.data), format=content.format).frame
        return pipeline.process_image(
            bytes(content.data),
            encoding=content.encoding,
            height=content.height,
            width=content.width,
            step=content.step,
            is_bigendian=bool(content.is_bigendian),
        ).frame


def add_bag(
    path: Path,
    rig: Rig,
    *,
    out: Path,
    pictures: PictureSettings,
    split: Split = "train",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> BagSamples:
    """Write a bag's samples into a data set, and return what became of it. What is there already stays.

    Args:
        path: the bag.
        rig: names its topics.
        out: the data set's folder.
        pictures: how frames are stored; its cameras are to be the rig's.
        split: what the samples are for; a bag has no seed to tell.
        progress: told how many messages are read, of how many.

    Raises:
        BagError: for a bag that cannot be read, or does not have what the rig names.
        InvalidInput: for a data set of other settings, or cameras that are not the rig's.
    """
    if pictures.camera_ids != rig.camera_ids:
        raise InvalidInput(f"cameras: expected the rig's, {rig.camera_ids}, got {pictures.camera_ids}")
    left_out: Counter[str] = Counter()
    entries: list[IndexEntry] = []
    already = 0
    with BagReader(path) as bag:
        drive = BagDrive(bag, rig, pictures)
        name = f"{re.sub(r'[^A-Za-z0-9_-]+', '_', path.resolve().stem) or 'bag'}-{bag.start_ns}"
        track = drive.track(left_out)
        with open_writer(out, pictures.stored_settings()) as writer:
            samples = _samples(drive.observations(left_out=left_out, progress=progress), track, left_out)
            for episode in _episodes(samples, name, path.name, pictures, split):
                known = writer.done.get(episode.head.episode_id)
                if known is not None and known.split != split:
                    raise InvalidInput(
                        f"{known.episode_id}: split: expected {known.split} as before, got {split}"
                    )
                if not writer.lacks(episode.head.episode_id):
                    already += 1
                else:
                    entry = write_episode(out, episode)
                    writer.add(entry)
                    entries.append(entry)
    return BagSamples(tuple(entries), already, dict(left_out))


def _samples(
    observations: Iterator[Observation], track: DriveTrack, left_out: Counter[str]
) -> Iterator[tuple[Observation, NDArray[np.float32], NDArray[np.float32]]]:
    """Yield observations that have a future, with it."""
    for observation in observations:
        future = track.future(observation.t0_ns, observation.rig_pose_in_odom_at_t0)
        if isinstance(future, str):
            left_out[future] += 1
            continue
        yield observation, *future


def _episodes(
    samples: Iterator[tuple[Observation, NDArray[np.float32], NDArray[np.float32]]],
    name: str,
    bag: str,
    pictures: PictureSettings,
    split: Split,
) -> Iterator[Episode]:
    """Yield episodes of at most EPISODE_SAMPLES; ticks count on from one to the next."""
    ids = pictures.camera_ids
    store, made = FrameStore(ids), list[tuple[Moment, NDArray[np.int64]]]()
    number = 0

    def close() -> Episode:
        head = EpisodeHead(
            episode_id=f"{name}-{number:03d}",
            origin="bag",
            scene_id=bag,
            family="bag",
            seed=None,
            split=split,
            camera_ids=ids,
            notes={
                "stored at": f"{pictures.width}x{pictures.height}",
                "stored as": pictures.codec.description,
            },
        )
        return store.close(head, made)

    for tick, (observation, xyz, rot) in enumerate(samples):
        for row, camera_id in enumerate(ids):
            frames = observation.frames_of(camera_id)
            for frame, stamp_ns in zip(frames, observation.frame_stamps_ns[row].tolist(), strict=True):
                if not store.has(camera_id, stamp_ns):
                    store.add(camera_id, stamp_ns, pictures.codec.encode(frame))
        moment = Moment(
            tick=tick,
            t0_ns=observation.t0_ns,
            frame_index=np.tile(np.arange(NUM_FRAMES, dtype=np.int32), (len(ids), 1)),
            history_xyz_in_rig_t0=observation.history_xyz_in_rig_t0,
            history_rot_in_rig_t0=observation.history_rot_in_rig_t0,
            odom_from_rig_t0=observation.rig_pose_in_odom_at_t0,
            future_xyz_in_rig_t0=xyz,
            future_rot_in_rig_t0=rot,
            instruction=observation.instruction or "",
            source=ReasoningSource.NONE,
            tags={"recovery": "none"},
        )
        made.append((moment, observation.frame_stamps_ns))
        if len(made) == EPISODE_SAMPLES:
            yield close()
            store, made = FrameStore(ids), []
            number += 1
    if made:
        yield close()


def _stamp_ns(header: Any) -> int:
    return int(header.stamp.sec) * 10**9 + int(header.stamp.nanosec)
