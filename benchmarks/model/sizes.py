"""Sizes that are measured, and models of them with random weights, made where they compute."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from alpamayo_ros.model.action_space import UnicycleActionSpace
from alpamayo_ros.model.config import ALPAMAYO_1_5
from alpamayo_ros.model.loading import OpenedCheckpoint, meta_network, open_checkpoint
from alpamayo_ros.model.network import AlpamayoNetwork, backbone_config
from alpamayo_ros.model.random_checkpoint import (
    BACKBONE_FOLDER,
    SIZES,
    CheckpointSize,
    draw_weights,
    write_random_description,
)
from alpamayo_ros.model.tokenizer import AlpamayoTokenizer


@dataclass(frozen=True)
class Measured:
    """A size, its images' height and width, and rows of the vocabulary (None: the tokenizer's)."""

    size: CheckpointSize
    height: int
    width: int
    vocabulary: int | None = None


def _size(**changes: Any) -> CheckpointSize:
    common = {"traj_vocab": 4000, "future_bins": 3000, "history_bins": 1000, "action_hidden": 512}
    return CheckpointSize(**{**common, **changes})


MEASURED = {
    "tiny": Measured(SIZES["tiny"], 64, 96),
    "4M": Measured(
        _size(
            layers=4, hidden=192, mlp=448, heads=6, kv_heads=2, head_dim=32,
            vision_hidden=128, vision_mlp=320, vision_depth=3, vision_heads=4, deepstack=(1,),
            expert_hidden=128, expert_mlp=320, action_hidden=128,
            traj_vocab=2000, future_bins=1000, min_pixels=3840, max_pixels=18000,
        ), 96, 160,
    ),
    "300M": Measured(
        _size(
            layers=12, hidden=1024, mlp=3072, heads=8, kv_heads=2, head_dim=128,
            vision_hidden=768, vision_mlp=3072, vision_depth=12, vision_heads=12, deepstack=(3, 6, 9),
            expert_hidden=512, expert_mlp=1728, min_pixels=65536, max_pixels=196608,
        ), 320, 576,
    ),
    "10B": Measured(
        _size(
            layers=36, hidden=4096, mlp=12288, heads=32, kv_heads=8, head_dim=128,
            vision_hidden=1152, vision_mlp=4304, vision_depth=27, vision_heads=16, deepstack=(8, 16, 24),
            expert_hidden=2048, expert_mlp=6912, min_pixels=65536, max_pixels=196608,
        ), 320, 576, vocabulary=155_697,
    ),
}  # fmt: skip
"""`4M` is the small member of the family, `10B` has the released model's shapes."""


def meta_model(measured: Measured, *, seed: int = 0) -> tuple[OpenedCheckpoint, AlpamayoNetwork]:
    """Return what `Alpamayo` wraps, without memory for its weights, and its network."""
    folder = Path(tempfile.mkdtemp(prefix="alpamayo-benchmark-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    config, _ = write_random_description(folder, measured.size, generation=ALPAMAYO_1_5, seed=seed)
    backbone = folder / BACKBONE_FOLDER
    tokenizer = AlpamayoTokenizer.load(backbone, config)
    rows = measured.vocabulary or len(tokenizer)
    network = meta_network(backbone_config(str(backbone), vocab_size=rows), config)
    nothing: Any = None  # no file holds these weights
    return OpenedCheckpoint("random", folder, backbone, config, tokenizer, nothing, network), network


def random_model(
    measured: Measured, *, device: torch.device, dtype: torch.dtype, seed: int = 0
) -> tuple[OpenedCheckpoint, UnicycleActionSpace]:
    """Return what `Alpamayo` wraps, of random weights drawn on `device`; nothing large touches a disk."""
    opened, network = meta_model(measured, seed=seed)
    network.to(dtype)
    network.to_empty(device=device)
    network.initialise_computed_buffers(device)
    network.requires_grad_(False)
    draw_weights(network, opened.tokenizer, seed=seed)
    return opened, UnicycleActionSpace(opened.config.action_space, rounded_to=dtype)


def stored_model(
    checkpoint: str, *, device: torch.device, dtype: torch.dtype
) -> tuple[OpenedCheckpoint, UnicycleActionSpace]:
    """Return what `Alpamayo` wraps, of a checkpoint's folder or hub id."""
    opened = open_checkpoint(checkpoint)
    return opened, opened.load(device=device, dtype=dtype)
