"""A training step on a CPU, attention as plain products against PyTorch's fused kernel, one after the other.

python -m benchmarks.training [--checkpoint pisco] [--batch-size 8] [--rounds 5] [--threads N]

The joint stage in bfloat16 (autocast), the pictures' features known already; random pictures, everyone drives
straight on. Prints samples a second of each, their ratio, and both losses.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import dataclass

import numpy as np
import torch

from alpamayo_ros.model.shipped import or_shipped
from alpamayo_ros.training.grouped_attention import attend_in_groups
from alpamayo_ros.training.joint import joint_loss
from alpamayo_ros.training.losses import SpanWeights
from alpamayo_ros.training.sample import ReasoningSource, TrainingSample
from alpamayo_ros.training.sequence import collate
from alpamayo_ros.training.sequence_images import ImageEncoder
from alpamayo_ros.training.settings import JOINT, TrainSettings
from alpamayo_ros.training.trainer_model import TrainableModel
from alpamayo_ros.types import NUM_FRAMES, NUM_HISTORY_POSES, NUM_WAYPOINTS, Float32Array, Observation

_CAMERAS = (0, 1, 2, 6)
_WORDS = SpanWeights(reasoning=3.0, meta_action=3.0, trajectory=0.0)
_SETTINGS = TrainSettings(  # without autocast, which would choose the attention
    stage=JOINT, train_vision=False, vision_cache_bytes=2**30, displacement_weight=1.0
)


def sample(index: int) -> TrainingSample:
    """Return a sample of random pictures that drives straight on at 10 m/s, in the rig frame at t0."""
    rng = np.random.default_rng(index)
    stamps_ns = np.tile(np.arange(NUM_FRAMES, dtype=np.int64) * 100_000_000, (len(_CAMERAS), 1))
    observation = Observation(
        t0_ns=int(stamps_ns.max()),
        camera_ids=_CAMERAS,
        frames=rng.integers(0, 255, (len(_CAMERAS), NUM_FRAMES, 3, 96, 160), dtype=np.uint8),
        frame_stamps_ns=stamps_ns,
        history_xyz_in_rig_t0=_straight(1 - NUM_HISTORY_POSES, NUM_HISTORY_POSES),
        history_rot_in_rig_t0=np.tile(np.eye(3, dtype=np.float32), (NUM_HISTORY_POSES, 1, 1)),
        rig_pose_in_odom_at_t0=np.eye(4),
    )
    return TrainingSample(
        sample_id=f"straight/{index}",
        observation=observation,
        future_xyz_in_rig_t0=_straight(1, NUM_WAYPOINTS),
        future_rot_in_rig_t0=np.tile(np.eye(3, dtype=np.float32), (NUM_WAYPOINTS, 1, 1)),
        reasoning="Keep the current speed because the lane ahead is clear.",
        source=ReasoningSource.AUTOMATIC,
    )


def _straight(first: int, count: int) -> Float32Array:
    xyz = np.zeros((count, 3), np.float32)
    xyz[:, 0] = np.arange(first, first + count)
    return xyz


@dataclass
class Step:
    """One model's step, always on the same batch."""

    model: TrainableModel
    batch_size: int

    def __post_init__(self) -> None:
        self.parameters = self.model.prepare(_SETTINGS)
        sequences = [self.model.builder.build(sample(index)) for index in range(self.batch_size)]
        self.batch = collate(sequences, image_pad_id=self.model.image_pad_id)
        self.images = ImageEncoder(self.model.network, self.model.images, cache_bytes=2**30)
        self.terms = _SETTINGS.flow_terms(action_std=self.model.action_space.std)

    def take(self) -> float:
        """Compute loss and gradient; return the loss."""
        with torch.autocast("cpu", dtype=torch.bfloat16):
            parts = joint_loss(
                self.model.network,
                self.batch,
                images=self.images,
                weights=_WORDS,
                flow_weight=2.0,
                generator=torch.Generator().manual_seed(0),
                terms=self.terms,
            )
        parts.total.backward()
        for parameter in self.parameters.values():
            parameter.grad = None
        return float(parts.total.detach())


def main() -> None:
    """Measure both, interleaved, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", default="pisco")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    steps: dict[str, Step] = {}
    for name in ("fused kernel", "plain products"):
        checkpoint = or_shipped(arguments.checkpoint)
        model = TrainableModel.load(checkpoint, device=torch.device("cpu"), dtype=torch.float32)
        steps[name] = Step(model, arguments.batch_size)
    attend_in_groups(steps["plain products"].model.network)
    losses = {name: step.take() for name, step in steps.items()}
    took_s: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(arguments.rounds):
        for name, step in steps.items():
            begun_s = time.perf_counter()
            step.take()
            took_s[name].append(time.perf_counter() - begun_s)
    medians_s = {name: statistics.median(each) for name, each in took_s.items()}
    for name, median_s in medians_s.items():
        print(f"{name:<16} {arguments.batch_size / median_s:6.2f} samples/s, loss {losses[name]:.4f}")
    print(f"ratio            {medians_s['fused kernel'] / medians_s['plain products']:6.2f}")


if __name__ == "__main__":
    main()
