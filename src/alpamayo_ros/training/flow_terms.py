"""What counts how much in the flow's loss."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import huber_loss

from alpamayo_ros.training.sequence import Batch
from alpamayo_ros.training.targets import ActionStatistics
from alpamayo_ros.types import HISTORY_INTERVAL_S, NUM_WAYPOINTS, WAYPOINT_INTERVAL_S, InvalidInput

_ALPAMAYO = ActionStatistics()
ACTION_STD = (_ALPAMAYO.accel_std_mps2, _ALPAMAYO.curvature_std_per_m)
"""Alpamayo's own units of actions: m/s², 1/m."""

_NEAR_S = 1.5
_MOST_WEIGHT = 16.0
_SPEED_POSES = 3
_LEAST_MPS = 4.0
_TOLERATED_M, _TOLERATED_MPS2 = 0.2, 0.15


@dataclass(frozen=True)
class FlowTerms:
    """What the flow's loss is the mean of.

    The weights of its squares are of the condition and of the waypoint, never of time or noise: the velocity
    with the smallest loss, and so the flow that is learned, is the same for all of them. Displacements count
    linearly beyond what is tolerated, so where the plan is in doubt they draw it from the mean towards the
    median.

    Attributes:
        draws: times and noises a sample. The backbone, which costs most, runs once for all of them.
        lateral_speed_mps: see `curvature_weights`; 0 counts all alike.
        near_weight: how much an error of the first action counts against one far ahead; see `near_weights`.
        displacement_weight: of `displacement_loss`, beside the actions' own; 0 leaves it out.
        action_std: units of the actions, m/s² and 1/m.

    Raises:
        InvalidInput: for less than one draw, a negative speed or weight, a near weight or unit that is not
            positive.
    """

    draws: int = 1
    lateral_speed_mps: float = 0.0
    near_weight: float = 1.0
    displacement_weight: float = 0.0
    action_std: tuple[float, float] = ACTION_STD

    def __post_init__(self) -> None:
        if self.draws < 1:
            raise InvalidInput(f"draws: expected at least 1, got {self.draws}")
        for name in ("lateral_speed_mps", "displacement_weight"):
            if not getattr(self, name) >= 0:
                raise InvalidInput(f"{name}: expected zero or more, got {getattr(self, name)}")
        if not self.near_weight > 0:
            raise InvalidInput(f"near_weight: expected a positive number, got {self.near_weight}")
        if not min(self.action_std) > 0:
            raise InvalidInput(f"action_std: expected positive numbers, got {list(self.action_std)}")

    def of_errors(self, errors: Tensor, *, speed_mps: Tensor, remaining: Tensor) -> Tensor:
        """Return float32 [R], the loss of each row of errors.

        Args:
            errors: float32 [R, 64, 2], of the velocity, in units of actions.
            speed_mps: float32 [R], at t0.
            remaining: float32 [R], the time that is left to the flow, 1 from noise alone: the plan that a
                velocity leads to is off by so much of its error.
        """
        near = near_weights(near_weight=self.near_weight).to(errors.device)
        lateral = curvature_weights(speed_mps, lateral_speed_mps=self.lateral_speed_mps)[:, None]
        squared = errors.square()
        loss = (near * (squared[..., 0] + lateral * squared[..., 1])).mean(dim=1) / 2
        if not self.displacement_weight:
            return loss
        off = displacement_loss(
            errors * remaining[:, None, None], speed_mps=speed_mps, action_std=self.action_std
        )
        return loss + self.displacement_weight * off


def initial_speed_mps(batch: Batch) -> Tensor:
    """Return float32 [B], how fast each sample's history ends."""
    way = batch.history_xyz[:, -1, :2] - batch.history_xyz[:, -1 - _SPEED_POSES, :2]
    return way.norm(dim=-1) / (_SPEED_POSES * HISTORY_INTERVAL_S)


def curvature_weights(speed_mps: Tensor, *, lateral_speed_mps: float) -> Tensor:
    """Return float32 [R], how much an error of curvature counts at a sample's speed: (v / this)^4, 1 to 16.

    A curvature k is a lateral acceleration of v^2 k. To bring a vehicle that does 17 m/s one metre back to
    its lane in 3 s takes 0.002 / m, a tenth of the unit in which curvatures are learned (their spread, which
    tight turns make): a mean error hardly sees it, and who drives so drifts out of the lane. The speed is the
    history's: what is weighed are conditions. 0 is a weight of 1 for all.
    """
    if not lateral_speed_mps:
        return torch.ones_like(speed_mps)
    return (speed_mps / lateral_speed_mps).pow(4).clamp(1.0, _MOST_WEIGHT)


def displacement_loss(errors: Tensor, *, speed_mps: Tensor, action_std: tuple[float, float]) -> Tensor:
    """Return float32 [R]: how far off errors of actions lead, along and across, against what is tolerated.

    Where a vehicle gets is its actions summed twice, so errors that change their sign from one waypoint to
    the next hardly count, and steady ones, which leave the lane, count most. Small errors add up so, at the
    speed v of t0: across v^2 times the curvature's, along the acceleration's. Tolerated are 0.2 m at once and
    0.15 m more for each second squared; a Huber loss of the two.

    Args:
        errors: float32 [R, 64, 2], in units of actions.
        speed_mps: float32 [R], taken for 4 m/s at least: who stands is to know, too, where it will turn.
        action_std: the units, m/s² and 1/m.
    """
    accel_mps2 = errors[..., 0] * action_std[0]
    lateral_mps2 = errors[..., 1] * action_std[1] * speed_mps.clamp_min(_LEAST_MPS).square()[:, None]
    rates = torch.stack((accel_mps2, lateral_mps2), dim=-1)
    off_m = rates.cumsum(dim=1).cumsum(dim=1) * WAYPOINT_INTERVAL_S**2
    ahead_s = torch.arange(1, NUM_WAYPOINTS + 1, device=errors.device) * WAYPOINT_INTERVAL_S
    shares = off_m / (_TOLERATED_M + _TOLERATED_MPS2 * ahead_s.square())[:, None]
    return huber_loss(shares, torch.zeros_like(shares), reduction="none").mean(dim=(1, 2))


def near_weights(*, near_weight: float) -> Tensor:
    """Return float32 [64], how much an error of each action counts, with a mean of 1.

    Plans are made anew ten times a second, so the first second or two of each is what is driven, and an error
    in it moves all that comes behind. The first action counts about `near_weight` times as much as the last,
    by an exponential of 1.5 s; 1 counts all alike.
    """
    ahead_s = torch.arange(NUM_WAYPOINTS) * WAYPOINT_INTERVAL_S
    weights = 1.0 + (near_weight - 1.0) * torch.exp(-ahead_s / _NEAR_S)
    return weights / weights.mean()
