"""What the model is to put out for a sample: normalised actions for the flow, and their bins as tokens.

Both come from the same least-squares inversion of the unicycle action space (model/action_space.py), so a
target is what inference integrates back to the waypoints. The two may have constants of their own, as
config.json gives them twice; the flow's are rounded to bfloat16 where the model is loaded so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from alpamayo_ros.model.action_space import UnicycleActionSpace
from alpamayo_ros.model.config import ActionSpaceConfig
from alpamayo_ros.model.trajectory_tokens import FutureTokenizer
from alpamayo_ros.training.sample import SampleSource, TrainingSample
from alpamayo_ros.types import NUM_WAYPOINTS, InvalidInput

_LEAST_STD = 1e-4


@dataclass(frozen=True, eq=False)
class Targets:
    """The targets of one sample.

    Attributes:
        action: float32 [64, 2], normalised (acceleration, curvature); what the flow is to draw.
        bins: int64 [128], the same as bins of the future tokenizer, waypoint by waypoint.
        round_trip_error_m: the largest distance in the plane between the sample's waypoints and those that
            `action` drives. Far from zero where the future isn't a unicycle's motion, or doesn't begin with
            the speed that the history gives.
    """

    action: Tensor
    bins: Tensor
    round_trip_error_m: float

    def __post_init__(self) -> None:
        if self.action.dtype != torch.float32 or tuple(self.action.shape) != (NUM_WAYPOINTS, 2):
            given = f"{self.action.dtype} {list(self.action.shape)}"
            raise InvalidInput(f"action: expected float32 [{NUM_WAYPOINTS}, 2], got {given}")
        if self.bins.dtype != torch.int64 or tuple(self.bins.shape) != (2 * NUM_WAYPOINTS,):
            given = f"{self.bins.dtype} {list(self.bins.shape)}"
            raise InvalidInput(f"bins: expected int64 [{2 * NUM_WAYPOINTS}], got {given}")


class TargetBuilder:
    """Turns samples into targets.

    Args:
        action_space: the one that inference uses (`OpenedCheckpoint.load` returns it).
        future_tokenizer: the checkpoint's.
    """

    def __init__(self, action_space: UnicycleActionSpace, future_tokenizer: FutureTokenizer) -> None:
        self.action_space = action_space
        self.future_tokenizer = future_tokenizer

    def build(self, sample: TrainingSample) -> Targets:
        """Return the targets of `sample`.

        Raises:
            InvalidInput: naming the sample, for a future that the action space cannot fit.
        """
        history_xyz, history_rot, future_xyz, future_rot = _poses(sample)
        try:
            action = self.action_space.to_action(
                history_xyz, history_rot, future_xyz=future_xyz, future_rot=future_rot
            )
            bins = self.future_tokenizer.encode(
                history_xyz, history_rot, future_xyz=future_xyz, future_rot=future_rot
            )
            driven = self.action_space.to_trajectory(action, history_xyz, history_rot).xyz_in_rig_t0
        except InvalidInput as error:
            raise InvalidInput(f"{sample.sample_id}: {error}") from error
        distance_m = (driven[:, :2] - future_xyz[:, :2]).norm(dim=-1)
        return Targets(action, bins, float(distance_m.max()))


@dataclass(frozen=True)
class ActionStatistics:
    """Mean and standard deviation of accelerations, m/s², and curvatures, 1/m; default: Alpamayo's own."""

    accel_mean_mps2: float = 0.029
    accel_std_mps2: float = 0.68
    curvature_mean_per_m: float = 0.00027
    curvature_std_per_m: float = 0.026

    def __post_init__(self) -> None:
        for name in ("accel_std_mps2", "curvature_std_per_m"):
            if not getattr(self, name) > 0:
                raise InvalidInput(f"{name}: expected a positive number, got {getattr(self, name)}")


def action_statistics(source: SampleSource, *, limit: int = 2000) -> ActionStatistics:
    """Measure the actions of up to `limit` samples, evenly picked.

    For a new checkpoint: the flow starts from N(0, 1), and has least to learn where actions have that scale.
    Alpamayo's constants are those of calm human driving; a simulation that brakes hard has others.

    Raises:
        InvalidInput: for a source without samples, or a limit below 1.
    """
    if limit < 1 or len(source) < 1:
        raise InvalidInput(f"samples: expected at least 1, got {min(limit, len(source))}")
    raw = UnicycleActionSpace(
        ActionSpaceConfig(accel_mean=0.0, accel_std=1.0, curvature_mean=0.0, curvature_std=1.0)
    )
    indices = np.unique(np.linspace(0, len(source) - 1, min(limit, len(source))).round().astype(int))
    actions = []
    for index in indices.tolist():
        history_xyz, history_rot, future_xyz, future_rot = _poses(source[index])
        actions.append(raw.to_action(history_xyz, history_rot, future_xyz=future_xyz, future_rot=future_rot))
    values = torch.cat(actions).double()
    mean, std = values.mean(dim=0).tolist(), values.std(dim=0, correction=0).clamp_min(_LEAST_STD).tolist()
    return ActionStatistics(mean[0], std[0], mean[1], std[1])


def _poses(sample: TrainingSample) -> Sequence[Tensor]:
    observation = sample.observation
    return tuple(
        torch.tensor(array)
        for array in (
            observation.history_xyz_in_rig_t0,
            observation.history_rot_in_rig_t0,
            sample.future_xyz_in_rig_t0,
            sample.future_rot_in_rig_t0,
        )
    )
