"""Rollouts and original data as one training set, each with its share of the draws."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.training.balance import balanced_weights
from alpamayo_ros.training.dataset import EpisodeSamples
from alpamayo_ros.training.joined import JoinedSamples
from alpamayo_ros.types import InvalidInput


def mixed_samples(
    original: EpisodeSamples, rollouts: Sequence[EpisodeSamples], *, mix: float, balance: Sequence[str] = ()
) -> tuple[JoinedSamples, NDArray[np.float64]]:
    """Return original data and rollouts as one source, and how often each sample is drawn.

    Args:
        original: what the policy was cloned from.
        rollouts: of all iterations so far: as in DAgger what was learned of earlier policies' states is kept.
        mix: share of the draws that are from rollouts, in (0, 1].
        balance: tags over which each of the two parts is drawn evenly (balance.balanced_weights).

    Returns:
        The source, and weights float64 [its length] that add up to 1.

    Raises:
        InvalidInput: for no rollouts, a share out of its range, or a tag that a part lacks.
    """
    if not rollouts:
        raise InvalidInput("rollouts: expected at least one data set, got none")
    if not 0 < mix <= 1:
        raise InvalidInput(f"mix: expected a share in (0, 1], got {mix}")
    parts = ((1 - mix, [original]), (mix, list(rollouts)))
    weights = [share * _weights(sources, balance) for share, sources in parts]
    return JoinedSamples([original, *rollouts]), np.concatenate(weights)


def _weights(sources: Sequence[EpisodeSamples], balance: Sequence[str]) -> NDArray[np.float64]:
    """Return weights of sum 1 of the samples of some sources."""
    if not balance:
        count = sum(len(source) for source in sources)
        return np.full(count, 1.0 / count)
    tags = [each for source in sources for each in source.all_tags()]
    return balanced_weights(tags, by=balance)
