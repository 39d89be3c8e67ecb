"""Episodes of drawn pictures, without a simulation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from alpamayo_ros.training.episode import Episode, EpisodeHead, FrameCodec, FrameStore, Moment, split_of
from alpamayo_ros.training.episode_file import write_episode
from alpamayo_ros.training.sample import ReasoningSource
from alpamayo_ros.training.shards import open_writer

STEP_NS = 100_000_000
CAMERAS = (1, 6)


def picture(camera_id: int, tick: int, *, height: int = 24, width: int = 40) -> np.ndarray:
    """A smooth picture that no other camera or tick has."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 5 + tick, y * 8 + camera_id * 10, x * 2 + y * 3 + tick]).astype(np.uint8)


def history(speed_mps: float = 5.0) -> tuple[np.ndarray, np.ndarray]:
    """Straight on, with a little roll, so that the rotations are not all the identity."""
    xyz = np.zeros((16, 3), np.float32)
    xyz[:, 0] = speed_mps * 0.1 * np.arange(-15, 1)
    rot = Rotation.from_euler("x", 0.01 * np.arange(-15, 1)[:, None]).as_matrix().astype(np.float32)
    return xyz, rot


def moment(tick: int, **changes: object) -> Moment:
    xyz, rot = history()
    future = np.zeros((64, 3), np.float32)
    future[:, 0] = 0.5 * np.arange(1, 65)
    pose = np.eye(4)
    pose[0, 3] = 0.5 * tick
    values: dict[str, object] = {
        "tick": tick,
        "t0_ns": (tick + 20) * STEP_NS,
        "frame_index": np.tile(np.arange(4, dtype=np.int32), (len(CAMERAS), 1)),
        "history_xyz_in_rig_t0": xyz,
        "history_rot_in_rig_t0": rot,
        "odom_from_rig_t0": pose,
        "future_xyz_in_rig_t0": future,
        "future_rot_in_rig_t0": Rotation.from_euler("z", 0.002 * np.arange(1, 65)[:, None])
        .as_matrix()
        .astype(np.float32),
        "instruction": "Turn left in 30m" if tick % 2 else "",
        "reasoning": f"Keep lane, {tick % 3} cars ahead.",
        "meta_action": "keep",
        "source": ReasoningSource.AUTOMATIC,
        "tags": {"recovery": "none" if tick < 3 else "recovering", "component": "free"},
    }
    return Moment(**{**values, **changes})  # type: ignore[arg-type]


def episode(seed: int = 100, *, ticks: int = 5, family: str = "straight", variant: int = 0) -> Episode:
    codec, store = FrameCodec("png"), FrameStore(CAMERAS)
    made = []
    for tick in range(ticks):
        stamps = np.tile((tick + 20 + np.arange(-3, 1, dtype=np.int64)) * STEP_NS, (len(CAMERAS), 1))
        for camera_id in CAMERAS:
            for stamp in stamps[0]:
                frame = picture(camera_id, int(stamp) // STEP_NS - 20)
                store.add(camera_id, int(stamp), codec.encode(frame))
        made.append((moment(tick), stamps))
    head = EpisodeHead(
        f"{family}-{seed}.{variant}",
        "simulation",
        f"{family}-{seed}",
        family,
        seed,
        split_of(seed),
        CAMERAS,
        {"end": "goal"},
    )
    return store.close(head, made)


def data_set(folder: Path, episodes: list[Episode], **settings: object) -> Path:
    with open_writer(folder, settings) as writer:
        for each in episodes:
            writer.add(write_episode(folder, each))
    return folder
