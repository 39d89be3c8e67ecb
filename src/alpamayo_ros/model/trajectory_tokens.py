"""The future as tokens: normalised actions cut into bins (upstream's DiscreteTrajectoryTokenizer).

Stage 1 of training predicts these; the flow that drives works on the actions themselves.
"""

from __future__ import annotations

import torch
from torch import Tensor

from alpamayo_ros.model.action_space import Trajectory, UnicycleActionSpace
from alpamayo_ros.model.config import ACTION_DIMS, FutureTokenizerConfig
from alpamayo_ros.types import InvalidInput


class FutureTokenizer:
    """Futures to bins and back; a bin's token id is AlpamayoTokenizer.traj_token_start + bin.

    Args:
        config: the bins, and the tokenizer's own action space (its constants are never rounded: upstream
            doesn't keep it in the network).
    """

    def __init__(self, config: FutureTokenizerConfig) -> None:
        self.config = config
        self.action_space = UnicycleActionSpace(config.action_space)
        self.num_tokens = ACTION_DIMS * config.action_space.num_waypoints

    def encode(
        self, history_xyz: Tensor, history_rot: Tensor, *, future_xyz: Tensor, future_rot: Tensor
    ) -> Tensor:
        """Return the bins int64 [..., 2N] of futures [..., N, 3] m, [..., N, 3, 3] in the rig frame at t0.

        Raises:
            InvalidInput: as UnicycleActionSpace.to_action.
        """
        action = self.action_space.to_action(
            history_xyz, history_rot, future_xyz=future_xyz, future_rot=future_rot
        )
        return self.encode_action(action)

    def encode_action(self, action: Tensor) -> Tensor:
        """Return the bins int64 [..., 2N] of normalised actions [..., N, 2]: waypoint by waypoint a, κ."""
        if tuple(action.shape[-2:]) != (self.num_tokens // ACTION_DIMS, ACTION_DIMS):
            wanted = f"[..., {self.num_tokens // ACTION_DIMS}, {ACTION_DIMS}]"
            raise InvalidInput(f"action: expected shape {wanted}, got {list(action.shape)}")
        if not torch.isfinite(action).all():
            raise InvalidInput("action: expected finite values, got a NaN or an infinity")
        low, high = self._bounds(action)
        last_bin = self.config.num_bins - 1
        bins = ((action - low) / (high - low) * last_bin).round().clamp(0, last_bin)
        return bins.to(torch.int64).flatten(-2)

    def decode_action(self, bins: Tensor, *, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return the normalised actions [..., N, 2] at the bins' centres.

        Raises:
            InvalidInput: on another shape, floats, or a bin out of range.
        """
        if bins.is_floating_point() or bins.shape[-1:] != (self.num_tokens,):
            given = f"{bins.dtype} {list(bins.shape)}"
            raise InvalidInput(f"bins: expected integers of shape [..., {self.num_tokens}], got {given}")
        last_bin = self.config.num_bins - 1
        if bins.numel() and not 0 <= int(bins.min()) <= int(bins.max()) <= last_bin:
            raise InvalidInput(
                f"bins: expected 0 ... {last_bin}, got {int(bins.min())} ... {int(bins.max())}"
            )
        action = bins.unflatten(-1, (-1, ACTION_DIMS)).to(dtype) / last_bin
        low, high = self._bounds(action)
        return action * (high - low) + low

    def decode(self, bins: Tensor, history_xyz: Tensor, *, history_rot: Tensor) -> Trajectory:
        """Return the trajectory of bins [..., 2N] behind a history [..., T, 3] m, [..., T, 3, 3]."""
        action = self.decode_action(bins, dtype=history_xyz.dtype)
        return self.action_space.to_trajectory(action.to(history_xyz.device), history_xyz, history_rot)

    def _bounds(self, like: Tensor) -> tuple[Tensor, Tensor]:
        return like.new_tensor(self.config.dims_min), like.new_tensor(self.config.dims_max)
