"""Write a trained network in the released layout, so that `Alpamayo.from_pretrained` and upstream load it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from alpamayo_ros.model.checkpoint import CONFIG_FILE
from alpamayo_ros.model.config import ALPAMAYO_R1
from alpamayo_ros.model.loading import RANDOM_MARK, OpenedCheckpoint
from alpamayo_ros.model.plan_options import recommended_options, write_recommended
from alpamayo_ros.training.lora import LoraLinear
from alpamayo_ros.types import InvalidInput, PlanOptions

BACKBONE_FOLDER = "backbone"
_WEIGHTS_FILE = "model.safetensors"
_LM_HEAD = "vlm.lm_head.weight"
_BACKBONE_SUFFIXES = frozenset({".json", ".txt", ".jinja", ".model"})


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        folder: the checkpoint.
        num_parameters: stored values.
        num_bytes: of all files together, the backbone's too.
    """

    folder: Path
    num_parameters: int
    num_bytes: int


def export_checkpoint(
    opened: OpenedCheckpoint,
    folder: Path,
    *,
    dtype: torch.dtype,
    training: Mapping[str, Any] | None = None,
    plan_options: PlanOptions | None = None,
) -> Exported:
    """Write config.json, model.safetensors and `backbone/` (config and tokenizer) into a new folder.

    Args:
        opened: a loaded checkpoint, trained, its adapters merged.
        folder: created; must not hold a checkpoint.
        dtype: of the stored weights. Loaded in float32, weights stored in bfloat16 have its precision.
        training: how it came about, kept in config.json under {"alpamayo_ros": {"training": …}}; what the
            start's config says there is kept in it as "before".
        plan_options: how its plans are best drawn, for plan_options.json; None: as of the start.

    Raises:
        InvalidInput: for a folder that holds a checkpoint, or adapters that aren't merged.
    """
    from safetensors.torch import save_file

    if (folder / CONFIG_FILE).exists():
        raise InvalidInput(f"{folder}: expected a new folder, got one that holds a {CONFIG_FILE}")
    network = opened.network
    if any(isinstance(module, LoraLinear) for module in network.modules()):
        raise InvalidInput("export: expected merged adapters, got a network with adapters beside its layers")
    tensors: dict[str, Tensor] = {
        name: value.detach().to("cpu", dtype).contiguous()
        for name, value in network.named_parameters()
        if not (network.tied and name == _LM_HEAD)
    }
    if opened.config.generation == ALPAMAYO_R1:  # 1.5's checkpoints store neither
        buffers = {name: b for name, b in network.named_buffers() if name.startswith("action_in_proj.")}
        tensors |= {name: value.detach().cpu().clone() for name, value in buffers.items()}
        constants = opened.stored.action_space_buffers()
        tensors |= {f"action_space.{name}": torch.tensor(value) for name, value in constants.items()}

    backbone = folder / BACKBONE_FOLDER
    backbone.mkdir(parents=True, exist_ok=True)
    for path in sorted(opened.backbone_folder.iterdir()):
        if path.is_file() and path.suffix in _BACKBONE_SUFFIXES and "index" not in path.name:
            shutil.copyfile(path, backbone / path.name)
    save_file(tensors, folder / _WEIGHTS_FILE, metadata={"format": "pt"})
    raw = {key: value for key, value in opened.config.raw.items() if key != RANDOM_MARK}
    raw["vlm_name_or_path"] = BACKBONE_FOLDER
    before = opened.config.raw.get(RANDOM_MARK, {}).get("training")
    if training is not None:
        raw[RANDOM_MARK] = {"training": dict(training) | ({} if before is None else {"before": before})}
    elif before is not None:
        raw[RANDOM_MARK] = {"training": before}
    recommended = recommended_options(opened.folder) if plan_options is None else plan_options
    if recommended != PlanOptions():
        write_recommended(folder, recommended)
    # Last: a folder with it is whole.
    (folder / CONFIG_FILE).write_text(json.dumps(raw, indent=1) + "\n", encoding="utf-8")
    files = [path for path in folder.rglob("*") if path.is_file()]
    return Exported(
        folder=folder,
        num_parameters=sum(tensor.numel() for tensor in tensors.values()),
        num_bytes=sum(path.stat().st_size for path in files),
    )
