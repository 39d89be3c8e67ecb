"""Open a checkpoint: config, tokenizer and a network without memory, checked against each other; load it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from alpamayo_ros.model.action_space import UnicycleActionSpace
from alpamayo_ros.model.checkpoint import (
    StoredCheckpoint,
    check_tensors,
    fill_network,
    resolve_backbone,
    resolve_checkpoint,
)
from alpamayo_ros.model.config import ModelConfig
from alpamayo_ros.model.network import AlpamayoNetwork, backbone_config, expert_config
from alpamayo_ros.model.tokenizer import AlpamayoTokenizer
from alpamayo_ros.types import InvalidInput

RANDOM_MARK = "alpamayo_ros"
"""Key of config.json under which random_checkpoint.py says that weights are random."""

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, eq=False)
class OpenedCheckpoint:
    """A checkpoint whose parts fit together.

    Attributes:
        name: as it was asked for, a hub id or the folder's own name.
        folder, backbone_folder: where it is.
        config, tokenizer: read.
        stored: the tensors in its files, none read yet.
        network: on the meta device until `load`.
    """

    name: str
    folder: Path
    backbone_folder: Path
    config: ModelConfig
    tokenizer: AlpamayoTokenizer
    stored: StoredCheckpoint
    network: AlpamayoNetwork

    @property
    def random_seed(self) -> int | None:
        """Seed of a checkpoint whose weights are random, None for a trained one."""
        mark = self.config.raw.get(RANDOM_MARK)
        if isinstance(mark, Mapping) and mark.get("random_weights"):
            return int(mark.get("seed", 0))
        return None

    def load(
        self, *, device: torch.device, dtype: torch.dtype, progress: bool = False
    ) -> UnicycleActionSpace:
        """Fill `network` on `device` in `dtype`; return the action space in the checkpoint's constants.

        In bfloat16 the Fourier frequencies and the actions' means and stds are rounded to it, stored or not,
        as upstream's are.
        """
        self.network.initialise_computed_buffers(device)
        fill_network(self.network, self.stored, device=device, dtype=dtype, progress=progress)
        stored: dict[str, Any] = dict(self.stored.action_space_buffers())
        space = dataclasses.replace(self.config.action_space, **stored)
        return UnicycleActionSpace(space, rounded_to=dtype)


def open_checkpoint(checkpoint: str | Path, backbone: str | Path | None = None) -> OpenedCheckpoint:
    """Read and check everything but the weights.

    Args:
        checkpoint: a folder or a hub id.
        backbone: a folder or a hub id; None takes config.json's `vlm_name_or_path`, tried relative to the
            checkpoint, then as a hub id.

    Raises:
        CheckpointError: for whatever is missing, truncated, unknown or does not fit.
        CheckpointUnavailable: for a hub that does not answer.
    """
    folder = resolve_checkpoint(checkpoint)
    config = ModelConfig.from_file(folder)
    stored = StoredCheckpoint.open(folder)
    backbone_folder = resolve_backbone(backbone, default=config.vlm_name_or_path, checkpoint_folder=folder)
    tokenizer = AlpamayoTokenizer.load(backbone_folder, config)
    shape = backbone_config(str(backbone_folder), vocab_size=len(tokenizer))
    network = meta_network(shape, config)
    check_tensors(stored, network)
    name = folder.resolve().name if Path(checkpoint).expanduser().is_dir() else str(checkpoint)
    return OpenedCheckpoint(name, folder, backbone_folder, config, tokenizer, stored, network)


def meta_network(backbone: Any, config: ModelConfig) -> AlpamayoNetwork:
    """Return the network of a backbone's and a checkpoint's config, without memory."""
    expert = expert_config(backbone.text_config, dict(config.expert_cfg))
    with torch.device("meta"):
        return AlpamayoNetwork(backbone, expert, config.action_in_proj)


def require_device(device: str | torch.device) -> torch.device:
    """Return the device by name, "auto" being CUDA where there is one.

    Raises:
        InvalidInput: for an unknown device, or a CUDA one that is not there.
    """
    available = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "auto":
        return torch.device("cuda" if available else "cpu")
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise InvalidInput(f"device: expected auto, cpu, cuda or cuda:N, got {device}") from error
    if found.type not in ("cpu", "cuda"):
        raise InvalidInput(f"device: expected auto, cpu, cuda or cuda:N, got {device}")
    if found.type == "cuda" and (found.index or 0) >= available:
        raise InvalidInput(
            f'device: expected a CUDA GPU, got {device} while torch sees {available}; "cpu" needs none'
        )
    return found


def require_dtype(dtype: str | torch.dtype, device: torch.device) -> torch.dtype:
    """Return the dtype by name, "auto" being bfloat16 on CUDA and float32 on a CPU."""
    if dtype == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    found = DTYPES.get(str(dtype).removeprefix("torch."))
    if found is None:
        raise InvalidInput(f"dtype: expected auto, {', '.join(DTYPES)}, got {dtype}")
    return found
