"""AdamW's groups, the learning rate's course, and the moving average of the weights."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from alpamayo_ros.types import InvalidInput


def learning_rate(step: int, *, peak: float, warmup: int, steps: int, floor: float = 0.1) -> float:
    """Return the rate of a step (from 0): linear up over `warmup` steps, then a cosine to `floor`·peak.

    A function of the step alone, so that a resumed run has nothing to restore.
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    done = min(1.0, (step - warmup) / max(1, steps - warmup))
    return peak * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * done)))


def adamw(
    parameters: Mapping[str, nn.Parameter], *, weight_decay: float, betas: tuple[float, float]
) -> torch.optim.AdamW:
    """Return AdamW with decay on matrices alone: not on biases, norms and embeddings.

    The rate is 0 until the trainer sets the step's.
    """
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for name, parameter in parameters.items():
        is_matrix = parameter.ndim >= 2 and "embed" not in name and "lm_head" not in name
        (decayed if is_matrix else plain).append(parameter)
    groups: list[dict[str, Any]] = [{"params": decayed, "weight_decay": weight_decay}]
    groups.append({"params": plain, "weight_decay": 0.0})
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=0.0, betas=betas, eps=1e-8)


class MovingAverage:
    """Exponential moving average of parameters, float32.

    The decay grows as (1 + n) / (10 + n) to `decay`, so that the first average isn't the start's weights.

    Args:
        parameters: what is averaged, by name.
        decay: 0 follows the parameters exactly.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], *, decay: float) -> None:
        if not 0 <= decay < 1:
            raise InvalidInput(f"ema_decay: expected a number in [0, 1), got {decay}")
        self._parameters = dict(parameters)
        self._decay = decay
        self.values = {
            name: parameter.detach().float().clone() for name, parameter in self._parameters.items()
        }
        self.updates = 0

    @torch.no_grad()
    def update(self) -> None:
        """Take in the parameters as they are now."""
        decay = min(self._decay, (1 + self.updates) / (10 + self.updates)) if self._decay else 0.0
        for name, parameter in self._parameters.items():
            self.values[name].lerp_(parameter.detach().float(), 1 - decay)
        self.updates += 1

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the averages in the parameters' place, for a while."""
        kept = {name: parameter.detach().clone() for name, parameter in self._parameters.items()}
        self._fill(self.values)
        try:
            yield
        finally:
            self._fill(kept)

    def load(self, values: Mapping[str, Tensor], *, updates: int) -> None:
        """Go on from saved averages."""
        for name, value in values.items():
            self.values[name].copy_(value)
        self.updates = updates

    @torch.no_grad()
    def _fill(self, values: Mapping[str, Tensor]) -> None:
        for name, parameter in self._parameters.items():
            parameter.copy_(values[name])
