"""Samples of a recorded drive: what was seen through the stack's own sensing, and where the vehicle went.

Any rosbag2 will do whose cameras and odometry a rig file names. The future is odometry's; there is no
reasoning.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.bags.reader import BagReader
from alpamayo_ros.evaluation.drive import BagDrive
from alpamayo_ros.evaluation.track import DriveTrack
from alpamayo_ros.sensing.rig import Rig
from alpamayo_ros.training.episode import Episode, EpisodeHead, FrameStore, Moment, Split
from alpamayo_ros.training.episode_file import IndexEntry, write_episode
from alpamayo_ros.training.sample import ReasoningSource
from alpamayo_ros.training.shards import open_writer
from alpamayo_ros.training.simulate import PictureSettings, resize_frame
from alpamayo_ros.types import NUM_FRAMES, InvalidInput, Observation

EPISODE_SAMPLES = 600
"""A minute's samples make an episode: memory is to be bounded, however long the bag."""


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
        prepare = partial(resize_frame, height=pictures.height, width=pictures.width)
        drive = BagDrive(bag, rig, prepare)
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
