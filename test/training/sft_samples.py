"""Synthetic samples for the trainer's tests: each has its own picture, motion and reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from alpamayo_ros.training.sample import ReasoningSource, TrainingSample
from alpamayo_ros.types import Observation

CAMERAS = (0, 1, 2, 6)
HEIGHT, WIDTH = 96, 160
REASONS = (
    ("Keep the lane since the road ahead is clear.", "keep speed, keep lane"),
    ("Stop behind the lead car that is braking.", "brake, keep lane"),
    ("Nudge to the left around the cones.", "keep speed, nudge left"),
    ("Yield to the pedestrian crossing from the right.", "brake, keep lane"),
    ("Turn right to follow the route.", "slow down, turn right"),
    ("Slow down for the curve to the left.", "slow down, keep lane"),
    ("Wait since the light is red.", "stop, keep lane"),
    ("Speed up to the limit after the crossing.", "speed up, keep lane"),
)


@dataclass(frozen=True)
class Samples:
    """A SampleSource of a tuple."""

    items: tuple[TrainingSample, ...]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> TrainingSample:
        return self.items[index]


def poses(
    speed_mps: float, accel_mps2: float, curvature_per_m: float, times_s: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Positions [T, 3] and rotations [T, 3, 3] on a circle, at constant acceleration until it stands."""
    stop_s = speed_mps / -accel_mps2 if accel_mps2 < 0 else np.inf
    t = np.minimum(times_s, stop_s)
    way = speed_mps * t + 0.5 * accel_mps2 * t**2
    yaw = curvature_per_m * way
    if abs(curvature_per_m) < 1e-9:
        x, y = way, 0 * way
    else:
        x, y = np.sin(yaw) / curvature_per_m, (1 - np.cos(yaw)) / curvature_per_m
    rot = np.zeros((len(t), 3, 3), np.float32)
    rot[:, 0, 0] = rot[:, 1, 1] = np.cos(yaw)
    rot[:, 1, 0], rot[:, 0, 1], rot[:, 2, 2] = np.sin(yaw), -np.sin(yaw), 1
    return np.stack([x, y, 0 * x], axis=-1).astype(np.float32), rot


def make_sample(
    index: int, *, instruction: str | None = None, reasoned: bool = True, cameras: Sequence[int] = CAMERAS
) -> TrainingSample:
    """Sample number `index`: its picture is a pattern drawn from the number, and so are motion and reason."""
    rng = np.random.default_rng([7, index])
    coarse = rng.integers(0, 256, (len(cameras), 4, 3, HEIGHT // 16, WIDTH // 16), dtype=np.uint8)
    frames = coarse.repeat(16, axis=-2).repeat(16, axis=-1)
    speed, accel = float(rng.uniform(4, 12)), float(rng.uniform(-1, 0.8))
    curvature = float(rng.uniform(-0.03, 0.03))
    history_s = np.arange(-15, 1) * 0.1
    history_xyz, history_rot = poses(speed, 0.0, curvature, history_s)
    future_xyz, future_rot = poses(speed, accel, curvature, np.arange(1, 65) * 0.1)
    reason, meta = REASONS[index % len(REASONS)]
    return TrainingSample(
        sample_id=f"synthetic/{index}",
        observation=Observation(
            t0_ns=10**9,
            camera_ids=tuple(cameras),
            frames=frames,
            frame_stamps_ns=np.tile(np.arange(4, dtype=np.int64) * 10**8, (len(cameras), 1)),
            history_xyz_in_rig_t0=history_xyz,
            history_rot_in_rig_t0=history_rot,
            instruction=instruction,
        ),
        future_xyz_in_rig_t0=future_xyz,
        future_rot_in_rig_t0=future_rot,
        reasoning=reason if reasoned else "",
        meta_action=meta if reasoned else "",
        source=ReasoningSource.AUTOMATIC if reasoned else ReasoningSource.NONE,
    )


def samples(count: int, *, first: int = 0) -> Samples:
    """`count` samples, one in two with an instruction."""
    return Samples(
        tuple(
            make_sample(index, instruction="Turn right in 30m" if index % 2 else None)
            for index in range(first, first + count)
        )
    )
