"""Which samples to train on, and how often: the same number of each kind, whatever there is most of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.types import InvalidInput

DEFAULT_BY = ("family", "recovery")


def balanced_weights(
    tags: Sequence[Mapping[str, str]], *, by: Sequence[str] = DEFAULT_BY, most_often: float = 20.0
) -> NDArray[np.float64]:
    """Return the chance [N] of each sample to be drawn next; they add up to 1.

    Every tag of `by` is balanced by itself: a sample's weight is the product over them of 1 / (how many
    samples have its value). With one tag each value then comes up equally often. With several that holds as
    far as they do not depend on each other; weights by combination would repeat a rare combination's few
    samples for ever.

    Args:
        tags: of each sample; a tag that one lacks counts as the value "".
        by: names of tags.
        most_often: no sample is drawn more than this many times as often as in an even draw.

    Raises:
        InvalidInput: for no samples, a tag that none of them has, or most_often below 1.
    """
    if not tags:
        raise InvalidInput("tags: expected at least one sample, got none")
    if most_often < 1:
        raise InvalidInput(f"most_often: expected at least 1, got {most_often}")
    weights = np.ones(len(tags))
    for name in by:
        values = [each.get(name, "") for each in tags]
        counts = Counter(values)
        if set(counts) == {""}:
            known = ", ".join(sorted({key for each in tags for key in each})) or "none"
            raise InvalidInput(f"by: expected tags that samples have ({known}), got {name!r}")
        weights *= [1.0 / counts[value] for value in values]
    return _capped(weights / weights.sum(), most_often / len(tags))


def _capped(weights: NDArray[np.float64], limit: float) -> NDArray[np.float64]:
    """Return weights of sum 1, none over a limit of at least 1 / N; what is cut off goes to the others."""
    capped = np.zeros(len(weights), bool)
    while True:
        over = ~capped & (weights > limit * (1 + 1e-9))
        if not over.any():
            return weights
        capped |= over
        weights = np.where(capped, limit, weights)
        rest = 1.0 - limit * capped.sum()
        if (~capped).any():
            weights[~capped] *= rest / weights[~capped].sum()


def balanced_order(
    tags: Sequence[Mapping[str, str]],
    *,
    count: int,
    seed: int,
    by: Sequence[str] = DEFAULT_BY,
    most_often: float = 20.0,
) -> NDArray[np.int64]:
    """Return `count` indices of samples in the order in which to train on them; the same for the same seed.

    Drawn systematically, not one by one: each sample comes up its expected number of times, rounded up or
    down.

    Args:
        tags: as in balanced_weights.
        count: how many.
        seed: of rounding and order.
        by: as in balanced_weights.
        most_often: as in balanced_weights.

    Raises:
        InvalidInput: as balanced_weights does, and for a count below 1.
    """
    if count < 1:
        raise InvalidInput(f"count: expected at least 1, got {count}")
    rng = np.random.default_rng(seed)
    # Shuffled first, lest neighbours of one drive be rounded in step.
    shuffled = rng.permutation(len(tags))
    ends = np.cumsum(balanced_weights(tags, by=by, most_often=most_often)[shuffled])
    places = (np.arange(count) + rng.random()) / count * ends[-1]
    drawn = shuffled[np.searchsorted(ends[:-1], places, side="right")]
    return np.asarray(rng.permutation(drawn), np.int64)
