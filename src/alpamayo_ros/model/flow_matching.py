"""Flow matching: from noise to actions along a learned velocity field.

Lipman et al., "Flow Matching for Generative Modeling" (arXiv 2210.02747); guidance as equation 6 of Zheng
et al., "Guided Flows" (arXiv 2311.13443); times of training as π₀ (arXiv 2410.24164, appendix B) draws
them, towards noise. Time runs from noise (t = 0) to data (t = 1); the state and t stay float32 whatever the
network computes in.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from alpamayo_ros.types import InvalidInput

Velocity: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""(x [B, ...], t [B, 1, ...]) -> dx/dt like x."""
StepVelocity: TypeAlias = Callable[[Tensor, int], Tensor]
"""(x [B, ...], number of the step from 0) -> dx/dt like x."""

_TIME_BETA = 1.5
_TIME_MAX = 0.999


@dataclass(frozen=True, eq=False)
class TrainingPair:
    """What one step of training sees: `velocity` is to come out at `x_t` [B, ...] and `t` [B, 1, ...]."""

    x_t: Tensor
    t: Tensor
    velocity: Tensor


@dataclass(frozen=True)
class FlowMatching:
    """Euler integration in uniform steps.

    Attributes:
        num_steps: steps from noise to data.
    """

    num_steps: int = 10

    def __post_init__(self) -> None:
        if self.num_steps < 1:
            raise InvalidInput(f"num_steps: expected at least 1, got {self.num_steps}")

    def integrate(
        self,
        velocity: Velocity,
        x0: Tensor,
        *,
        unguided_velocity: Velocity | None = None,
        guidance_weight: float | None = None,
    ) -> Tensor:
        """Return x at t = 1 for noise `x0` [B, ...]; see `states` for the arguments."""
        return self.states(
            velocity, x0, unguided_velocity=unguided_velocity, guidance_weight=guidance_weight
        )[-1]

    def states(
        self,
        velocity: Velocity,
        x0: Tensor,
        *,
        unguided_velocity: Velocity | None = None,
        guidance_weight: float | None = None,
    ) -> list[Tensor]:
        """Return x at every step, num_steps + 1 tensors like `x0`.

        Args:
            velocity: the network, called num_steps times.
            x0: float32 noise [B, ...].
            unguided_velocity: the network without the condition; it is called beside `velocity`.
            guidance_weight: w of v = (1 − w)·unguided + w·guided; given if `unguided_velocity` is.

        Raises:
            InvalidInput: if one of the two for guidance is missing, or `x0` is not float32 (float64).
        """
        times = self.times(x0)
        ones = x0.new_ones(len(x0), *[1] * (x0.ndim - 1))

        def at(each: Velocity) -> StepVelocity:
            return lambda x, step: each(x, times[step] * ones)

        return self.states_by_step(
            at(velocity),
            x0,
            unguided_velocity=None if unguided_velocity is None else at(unguided_velocity),
            guidance_weight=guidance_weight,
        )

    def times(self, x0: Tensor) -> Tensor:
        """Return when each step starts, and 1: [num_steps + 1] in the dtype of `x0` and beside it."""
        return torch.linspace(0.0, 1.0, self.num_steps + 1, device=x0.device, dtype=x0.dtype)

    def states_by_step(
        self,
        velocity: StepVelocity,
        x0: Tensor,
        *,
        unguided_velocity: StepVelocity | None = None,
        guidance_weight: float | None = None,
    ) -> list[Tensor]:
        """Return what `states` does, of velocities that are told a step's number in place of its time.

        For those that have made beforehand what depends on the time alone.
        """
        if (unguided_velocity is None) != (guidance_weight is None):
            given = "a weight alone" if unguided_velocity is None else "an unguided velocity alone"
            raise InvalidInput(
                f"guidance: expected a weight and an unguided velocity, or neither, got {given}"
            )
        if x0.dtype not in (torch.float32, torch.float64):
            raise InvalidInput(f"x0: expected float32 (or float64), got {x0.dtype}")
        states = [x0]
        for step, (start, end) in enumerate(itertools.pairwise(self.times(x0))):
            x = states[-1]
            v = velocity(x, step).to(x.dtype)
            if unguided_velocity is not None and guidance_weight is not None:
                unguided = unguided_velocity(x, step).to(x.dtype)
                v = (1 - guidance_weight) * unguided + guidance_weight * v
            states.append(x + (end - start) * v)
        return states

    def training_pair(
        self, data: Tensor, *, noise: Tensor | None = None, generator: torch.Generator | None = None
    ) -> TrainingPair:
        """Draw a time per row of `data` [B, ...] and mix in noise: x_t = t·data + (1 − t)·noise.

        t = 0.999·(1 − s) with s ~ Beta(1.5, 1), drawn by inverting its distribution function s^1.5; the
        velocity to learn is data − noise. `noise` is drawn from N(0, I) unless given.

        Raises:
            InvalidInput: if `noise` has another shape than `data`.
        """
        if noise is None:
            noise = torch.randn(data.shape, generator=generator, device=data.device, dtype=data.dtype)
        if noise.shape != data.shape:
            raise InvalidInput(f"noise: expected shape {list(data.shape)}, got {list(noise.shape)}")
        uniform = torch.rand(len(data), generator=generator, device=data.device, dtype=data.dtype)
        t = (_TIME_MAX * (1 - uniform ** (1 / _TIME_BETA))).reshape(-1, *[1] * (data.ndim - 1))
        return TrainingPair(x_t=t * data + (1 - t) * noise, t=t, velocity=data - noise)

    def training_loss(
        self,
        velocity: Velocity,
        data: Tensor,
        *,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return the velocity's mean squared error at random times; arguments as `training_pair`."""
        pair = self.training_pair(data, noise=noise, generator=generator)
        error = velocity(pair.x_t, pair.t).to(data.dtype) - pair.velocity
        return error.square().mean()
