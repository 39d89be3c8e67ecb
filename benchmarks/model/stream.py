"""Observations of consecutive ticks: three of four frames are those of the tick before."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from alpamayo_ros.types import Observation, UInt8Array

CAMERAS = (0, 1, 2, 6)
_PERIOD_NS = 100_000_000


def frame(camera: int, number: int, *, height: int, width: int) -> UInt8Array:
    """Return picture `number` of a camera, uint8 [3, H, W]: waves that move a little from one to the next."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) / height
    colours = [
        127 + 90 * np.sin(7 * x + (3 + colour) * y + camera + 0.05 * number) * np.cos(5 * y - 0.03 * number)
        for colour in range(3)
    ]
    grain = np.random.default_rng([camera, number]).integers(-4, 5, (3, height, width))
    return np.clip(np.stack(colours) + grain, 0, 255).astype(np.uint8)


def drive(ticks: int, *, height: int, width: int) -> Iterator[Observation]:
    """Yield one observation a tick of a vehicle that speeds up on a gentle curve."""
    films = [
        [frame(camera, number, height=height, width=width) for number in range(ticks + 3)]
        for camera in CAMERAS
    ]
    for tick in range(ticks):
        stamps_ns = (np.arange(4) + tick + 20) * _PERIOD_NS
        time_s = np.arange(-15, 1) * 0.1
        speed = 6 + 0.05 * tick
        yaw = 0.04 * time_s
        xyz = np.stack([speed * time_s, 0.5 * speed * yaw * time_s, 0 * time_s], axis=-1)
        rot = np.tile(np.eye(3), (16, 1, 1))
        rot[:, 0, 0] = rot[:, 1, 1] = np.cos(yaw)
        rot[:, 1, 0], rot[:, 0, 1] = np.sin(yaw), -np.sin(yaw)
        yield Observation(
            t0_ns=int(stamps_ns[-1]),
            camera_ids=CAMERAS,
            frames=tuple(np.stack(film[tick : tick + 4]) for film in films),
            frame_stamps_ns=np.tile(stamps_ns, (len(CAMERAS), 1)),
            history_xyz_in_rig_t0=xyz.astype(np.float32),
            history_rot_in_rig_t0=rot.astype(np.float32),
        )
