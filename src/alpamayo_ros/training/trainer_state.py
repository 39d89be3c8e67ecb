"""What a run needs to go on exactly where it stopped, and the weights that it is about."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from alpamayo_ros.training.settings import TrainSettings
from alpamayo_ros.training.tensor_files import order_metadata_of
from alpamayo_ros.types import InvalidInput

STATE_FILE = "state.pt"
BEST_FILE = "best.safetensors"
SETTINGS_FILE = "settings.json"


@dataclass(frozen=True, eq=False)
class TrainState:
    """A run between two steps.

    The samples' order, times and noise follow from (seed, step), so the step is the position in the data;
    torch's own generator is kept for whatever else should draw.

    Attributes:
        step: steps done.
        weights: what is trained, by name.
        averages, average_updates: their moving average.
        optimizer: its state_dict.
        best_loss, best_step: smallest held-out loss, and when; infinite and 0 before the first evaluation.
        without_gain: evaluations since.
        stopped_early: whether patience has run out.
        num_samples: of the training set: another set has another order.
        order: digest of the samples' order.
        random_state: torch's generator.
        settings: the run's, as a dict.
    """

    step: int
    weights: Mapping[str, Tensor]
    averages: Mapping[str, Tensor]
    average_updates: int
    optimizer: Mapping[str, Any]
    best_loss: float
    best_step: int
    without_gain: int
    stopped_early: bool
    num_samples: int
    order: str
    random_state: Tensor
    settings: Mapping[str, Any]

    def save(self, folder: Path) -> None:
        """Write it into `folder` as a whole or not at all."""
        content = dict(vars(self))
        write_atomically(folder / STATE_FILE, lambda path: torch.save(content, path))

    @classmethod
    def load(cls, folder: Path) -> TrainState | None:
        """Read what `save` wrote, onto the CPU; None where nothing was.

        Raises:
            InvalidInput: for a file that is no such state.
        """
        path = folder / STATE_FILE
        if not path.exists():
            return None
        try:
            return cls(**torch.load(path, map_location="cpu", weights_only=True))
        except Exception as error:  # whatever unpickling raises: there is no common class
            reason = str(error).strip().splitlines()
            raise InvalidInput(
                f"{path}: expected a run's state, got {reason[0] if reason else type(error).__name__}"
            ) from error


def save_best(folder: Path, weights: Mapping[str, Tensor], *, step: int, loss: float | None) -> None:
    """Write the weights to export, with the step and the held-out loss (None without held-out samples)."""
    from safetensors.torch import save_file

    tensors = {name: value.detach().to("cpu").contiguous() for name, value in weights.items()}
    metadata = {"step": str(step), "held_out_loss": "" if loss is None else repr(loss)}

    def write(path: Path) -> None:
        save_file(tensors, path, metadata=metadata)
        order_metadata_of(path)

    write_atomically(folder / BEST_FILE, write)


def load_best(folder: Path, network: nn.Module) -> None:
    """Put the weights of `save_best` into a network that has those parameters (adapters too).

    Raises:
        InvalidInput: where there are none, or they don't fit.
    """
    from safetensors.torch import load_file

    path = folder / BEST_FILE
    if not path.exists():
        raise InvalidInput(f"{folder}: expected {BEST_FILE} of a stage that has been trained, got none")
    parameters = dict(network.named_parameters())
    for name, value in load_file(path).items():
        target = parameters.get(name)
        if target is None or target.shape != value.shape:
            have = "none" if target is None else str(list(target.shape))
            raise InvalidInput(
                f"{path}: expected parameters of the network, got {name} {list(value.shape)} for {have}"
            )
        with torch.no_grad():
            target.copy_(value)


def save_settings(folder: Path, settings: TrainSettings) -> None:
    """Write a stage's settings beside its weights."""
    text = json.dumps(settings.as_dict(), indent=1) + "\n"
    write_atomically(folder / SETTINGS_FILE, lambda path: path.write_text(text, encoding="utf-8"))


def load_settings(folder: Path) -> TrainSettings:
    """Read what `save_settings` wrote.

    Raises:
        InvalidInput: where there is none, or it isn't one.
    """
    path = folder / SETTINGS_FILE
    try:
        return TrainSettings.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise InvalidInput(f"{path}: expected the settings of a stage, got: {error}") from error


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` write a file beside `path`, then put it in its place: no reader sees a half."""
    beside = path.with_name(f".{path.name}.part")
    write(beside)
    with beside.open("rb+") as file:
        os.fsync(file.fileno())
    beside.replace(path)
