"""What the tests of the whole model share: loaded models, and observations to give them."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np

from alpamayo_ros.model import Alpamayo
from alpamayo_ros.types import CAMERA_NAMES, Observation

_STAMPS_NS = np.arange(4) * 100_000_000


@functools.cache
def load_alpamayo(checkpoint: Path, backbone: Path | None = None, dtype: str = "float32") -> Alpamayo:
    """Load a checkpoint once for all tests."""
    return Alpamayo.from_pretrained(checkpoint, backbone, device="cpu", dtype=dtype, progress=False)


def golden_observation(
    golden: Any, tag: str = "plain", cameras: tuple[int, ...] | None = None
) -> Observation:
    """Return a reference set's inputs with a tag's instruction; `cameras` picks some of its camera ids."""
    ids = tuple(golden["camera_indices"].tolist())
    kept = [i for i, camera in enumerate(ids) if cameras is None or camera in cameras]
    xyz, rot = golden.history
    return Observation(
        t0_ns=300_000_000,
        camera_ids=tuple(ids[i] for i in kept),
        frames=golden["frames"].numpy()[kept],
        frame_stamps_ns=np.tile(_STAMPS_NS, (len(kept), 1)),
        history_xyz_in_rig_t0=xyz.numpy(),
        history_rot_in_rig_t0=rot.numpy(),
        instruction=golden.instruction(tag),
    )


def make_observation(
    seed: int = 0, *, cameras: tuple[int, ...] = (0, 1, 2, 6), instruction: str | None = None
) -> Observation:
    """Return noise images, of another size for every camera, and a history at some speed and turn."""
    rng = np.random.default_rng(seed)
    sizes = [(int(rng.integers(40, 120)), int(rng.integers(60, 200))) for _ in CAMERA_NAMES]
    frames = tuple(rng.integers(0, 256, (4, 3, *sizes[i]), dtype=np.uint8) for i in cameras)
    time_s = np.arange(-15, 1) * 0.1
    yaw = rng.uniform(-0.2, 0.2) * time_s
    speed = rng.uniform(0, 15)
    xyz = np.stack([speed * time_s, 0.5 * speed * yaw * time_s, 0 * time_s], axis=-1)
    rot = np.zeros((16, 3, 3))
    rot[:, 0, 0] = rot[:, 1, 1] = np.cos(yaw)
    rot[:, 1, 0], rot[:, 0, 1], rot[:, 2, 2] = np.sin(yaw), -np.sin(yaw), 1
    return Observation(
        t0_ns=300_000_000,
        camera_ids=cameras,
        frames=frames,
        frame_stamps_ns=np.tile(_STAMPS_NS, (len(cameras), 1)),
        history_xyz_in_rig_t0=xyz.astype(np.float32),
        history_rot_in_rig_t0=rot.astype(np.float32),
        instruction=instruction,
    )


def drive(ticks: int, *, seed: int = 1, instruction: str | None = None) -> list[Observation]:
    """Return observations 0.1 s apart: three of four frames are those of the one before."""
    first = make_observation(seed, instruction=instruction)
    rng = np.random.default_rng(seed)
    more = [rng.integers(0, 256, (ticks, *f.shape[1:]), dtype=np.uint8) for f in first.frames]
    films = [np.concatenate(pair) for pair in zip(first.frames, more, strict=True)]
    return [
        dataclasses.replace(
            first,
            t0_ns=first.t0_ns + tick * 100_000_000,
            frames=tuple(film[tick : tick + 4].copy() for film in films),
            frame_stamps_ns=first.frame_stamps_ns + tick * 100_000_000,
        )
        for tick in range(ticks)
    ]
