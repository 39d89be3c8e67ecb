"""What counts how much in the flow's loss."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from alpamayo_ros.training.sequence import Batch
from alpamayo_ros.types import HISTORY_INTERVAL_S, NUM_WAYPOINTS, WAYPOINT_INTERVAL_S, InvalidInput

_NEAR_S = 1.5
_MOST_WEIGHT = 16.0
_SPEED_POSES = 3


@dataclass(frozen=True)
class FlowTerms:
    """What the flow's loss is the mean of.

    Its weights are of the condition and of the waypoint, never of time or noise: the velocity with the
    smallest loss, and so the flow that is learned, is the same for all of them.

    Attributes:
        draws: times and noises a sample. The backbone, which costs most, runs once for all of them.
        lateral_speed_mps: see `curvature_weights`; 0 counts all alike.
        near_weight: how much an error of the first action counts against one far ahead; see `near_weights`.

    Raises:
        InvalidInput: for less than one draw, a negative speed, a weight that is not positive.
    """

    draws: int = 1
    lateral_speed_mps: float = 0.0
    near_weight: float = 1.0

    def __post_init__(self) -> None:
        if self.draws < 1:
            raise InvalidInput(f"draws: expected at least 1, got {self.draws}")
        if not self.lateral_speed_mps >= 0:
            raise InvalidInput(f"lateral_speed_mps: expected zero or more, got {self.lateral_speed_mps}")
        if not self.near_weight > 0:
            raise InvalidInput(f"near_weight: expected a positive number, got {self.near_weight}")


def curvature_weights(batch: Batch, *, lateral_speed_mps: float) -> Tensor:
    """Return float32 [B], how much an error of curvature counts at a sample's speed: (v / this)^4, 1 to 16.

    A curvature k is a lateral acceleration of v^2 k. To bring a vehicle that does 17 m/s one metre back to
    its lane in 3 s takes 0.002 / m, a tenth of the unit in which curvatures are learned (their spread, which
    tight turns make): a mean error hardly sees it, and who drives so drifts out of the lane. The speed is the
    history's: what is weighed are conditions. 0 is a weight of 1 for all.
    """
    if not lateral_speed_mps:
        return torch.ones(len(batch))
    way = batch.history_xyz[:, -1, :2] - batch.history_xyz[:, -1 - _SPEED_POSES, :2]
    speed_mps = way.norm(dim=-1) / (_SPEED_POSES * HISTORY_INTERVAL_S)
    return (speed_mps / lateral_speed_mps).pow(4).clamp(1.0, _MOST_WEIGHT)


def near_weights(*, near_weight: float) -> Tensor:
    """Return float32 [64], how much an error of each action counts, with a mean of 1.

    Plans are made anew ten times a second, so the first second or two of each is what is driven, and an error
    in it moves all that comes behind. The first action counts about `near_weight` times as much as the last,
    by an exponential of 1.5 s; 1 counts all alike.
    """
    ahead_s = torch.arange(NUM_WAYPOINTS) * WAYPOINT_INTERVAL_S
    weights = 1.0 + (near_weight - 1.0) * torch.exp(-ahead_s / _NEAR_S)
    return weights / weights.mean()
