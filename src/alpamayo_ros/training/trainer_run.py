"""A run's folder: where it started, and a subfolder for each stage that has been trained.

    RUN/run.json                                     start checkpoint, backbone, dtype
    RUN/stage1/{state.pt, best.safetensors, settings.json, metrics.jsonl}
    RUN/stage2/…

Stage 2 starts from the start checkpoint with stage 1's best weights in it, if stage 1 is there.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from alpamayo_ros.model.loading import DTYPES
from alpamayo_ros.training import lora
from alpamayo_ros.training.settings import STAGES
from alpamayo_ros.training.trainer_model import TrainableModel, add_adapters
from alpamayo_ros.training.trainer_state import (
    BEST_FILE,
    load_best,
    load_settings,
    write_atomically,
)
from alpamayo_ros.types import InvalidInput

RUN_FILE = "run.json"


@dataclass(frozen=True)
class RunStart:
    """Where a run starts.

    Attributes:
        checkpoint: a folder, relative to the run's own or absolute, or a hub id.
        backbone: likewise; None takes the checkpoint's own.
        dtype: "float32" or "bfloat16", what the start's weights are held in and its constants rounded to.
    """

    checkpoint: str
    backbone: str | None = None
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise InvalidInput(f"dtype: expected one of {', '.join(DTYPES)}, got {self.dtype}")


@dataclass(frozen=True)
class RunFolder:
    """A run on disk."""

    path: Path
    start: RunStart

    @classmethod
    def create(cls, path: Path, start: RunStart) -> RunFolder:
        """Begin a run, or go on with the one that is there if it has the same start.

        Raises:
            InvalidInput: for a run of another start.
        """
        if (path / RUN_FILE).exists():
            found = cls.open(path)
            if found.start != start:
                raise InvalidInput(f"{path}: expected a run from {start}, got one from {found.start}")
            return found
        path.mkdir(parents=True, exist_ok=True)
        text = json.dumps(asdict(start), indent=1) + "\n"
        write_atomically(path / RUN_FILE, lambda beside: beside.write_text(text, encoding="utf-8"))
        return cls(path, start)

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Open a run.

        Raises:
            InvalidInput: for a folder that holds none.
        """
        file = path / RUN_FILE
        try:
            content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            return cls(path, RunStart(**content))
        except (OSError, ValueError, TypeError) as error:
            raise InvalidInput(f"{file}: expected what `alpamayo train sft` writes, got: {error}") from error

    def stage(self, stage: int) -> Path:
        """Return the folder of a stage."""
        return self.path / f"stage{stage}"

    def trained_stages(self) -> tuple[int, ...]:
        """Return the stages that have weights to export."""
        return tuple(stage for stage in STAGES if (self.stage(stage) / BEST_FILE).exists())

    def load(
        self, *, device: torch.device, stages: tuple[int, ...], progress: bool = False
    ) -> TrainableModel:
        """Load the start with the best weights of some stages in it; adapters are merged.

        Raises:
            InvalidInput: for a stage that hasn't been trained.
            CheckpointError: for a start that cannot be loaded.
        """
        start, backbone = self.start.checkpoint, self.start.backbone
        model = TrainableModel.load(
            self._found(start),
            None if backbone is None else self._found(backbone),
            device=device,
            dtype=DTYPES[self.start.dtype],
            progress=progress,
        )
        for stage in stages:
            settings = load_settings(self.stage(stage))
            add_adapters(model.network, settings)
            load_best(self.stage(stage), model.network)
            lora.merge(model.network)
        return model

    def _found(self, name: str) -> str:
        """Return a folder of the run, so that it may be moved, or the name as it is."""
        inside = self.path / name
        return str(inside) if inside.is_dir() else name
