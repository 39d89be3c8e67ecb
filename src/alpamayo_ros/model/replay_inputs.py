"""Noise and tokens that a caller brings along instead of having them drawn, checked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from alpamayo_ros.model.engine import StopRule, TokenIds
from alpamayo_ros.types import NUM_WAYPOINTS, Float32Array, InvalidInput, require_array, require_finite

ACTION_SHAPE = (NUM_WAYPOINTS, 2)


def checked_noise(noise: Float32Array | Tensor, num_samples: int) -> Tensor:
    """Return the flow's initial noise as a tensor of its own, float32 [K, 64, 2].

    Raises:
        InvalidInput: for another shape or dtype, or a value that is not finite.
    """
    array = noise.detach().cpu().numpy() if isinstance(noise, Tensor) else noise
    require_array("noise", array, (num_samples, *ACTION_SHAPE), np.float32)
    require_finite("noise", array)
    return torch.from_numpy(array.copy())


def checked_tokens(
    forced: Sequence[Sequence[int]],
    num_samples: int,
    *,
    vocab_size: int,
    end_ids: frozenset[int],
    start_id: int,
) -> tuple[TokenIds, ...]:
    """Return recorded generated ids, one sequence a sample.

    `end_ids` and `start_id` (<|traj_future_start|>) say where a sample ends.

    Raises:
        InvalidInput: for another number of sequences, an empty one, an id out of range, or tokens behind
            the sample's end.
    """
    if len(forced) != num_samples:
        raise InvalidInput(f"forced_tokens: expected {num_samples} sequences, got {len(forced)}")
    sequences = tuple(tuple(int(i) for i in ids) for ids in forced)
    for k, ids in enumerate(sequences):
        bad = [i for i in ids if not 0 <= i < vocab_size]
        if not ids or bad:
            given = f"{bad[0]}" if bad else "none"
            raise InvalidInput(f"forced_tokens[{k}]: expected ids in 0 ... {vocab_size - 1}, got {given}")
        stop = StopRule(len(ids), end_ids, start_id)
        ended = next(n for n in range(1, len(ids) + 1) if stop.ended(ids[:n]))
        if ended < len(ids):
            raise InvalidInput(
                f"forced_tokens[{k}]: expected no more than {ended} tokens, where the sample ends, "
                f"got {len(ids)}"
            )
    return sequences
