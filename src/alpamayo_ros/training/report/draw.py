"""Which samples a report looks at: as many of each episode, spread over it, the same ones each time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from alpamayo_ros.training.dataset import EpisodeSamples
from alpamayo_ros.types import InvalidInput


@dataclass(frozen=True)
class Drawn:
    """A sample of a data set: its index there, and the scene whose samples belong together."""

    index: int
    scene_id: str


def draw_rows(lengths: Sequence[int], count: int, *, seed: int) -> list[tuple[int, int]]:
    """Return (episode, row) pairs, `count` of them or all that there are, in order.

    Each episode gives as many as the others, or all that it has; one more is asked of episodes drawn by
    lot where it does not come out even. An episode of n is cut into n equal parts, and one row is drawn in
    each.

    Args:
        lengths: of the episodes.
        count: at least one.
        seed: of the lots.

    Raises:
        InvalidInput: for a count under one.
    """
    if count < 1:
        raise InvalidInput(f"samples: expected at least 1, got {count}")
    rng = np.random.default_rng(seed)
    shares = np.zeros(len(lengths), dtype=int)
    room = np.asarray(lengths, dtype=int)
    left = min(count, int(room.sum()))
    while left:
        open_ones = np.flatnonzero(shares < room)
        if left < len(open_ones):
            open_ones = rng.permutation(open_ones)[:left]
        each = max(1, left // len(open_ones))
        for episode in open_ones.tolist():
            more = min(each, int(room[episode] - shares[episode]), left)
            shares[episode] += more
            left -= more
    rows: list[tuple[int, int]] = []
    for episode, (length, share) in enumerate(zip(lengths, shares.tolist(), strict=True)):
        ends = np.arange(share + 1) * length // max(share, 1)
        rows += [(episode, int(rng.integers(ends[i], ends[i + 1]))) for i in range(share)]
    return rows


def draw_samples(samples: EpisodeSamples, count: int, *, seed: int) -> tuple[Drawn, ...]:
    """Return the samples of a data set that a report looks at (see draw_rows)."""
    starts = episode_starts(samples)
    rows = draw_rows([entry.samples for entry in samples.entries], count, seed=seed)
    return tuple(Drawn(starts[episode] + row, samples.entries[episode].scene_id) for episode, row in rows)


def consecutive(samples: EpisodeSamples, count: int, *, seed: int) -> tuple[Drawn, ...]:
    """Return `count` samples that follow each other as in a drive, of as few episodes as it takes."""
    if count < 1:
        raise InvalidInput(f"samples: expected at least 1, got {count}")
    starts = episode_starts(samples)
    found: list[Drawn] = []
    for episode in np.random.default_rng(seed).permutation(len(starts)):
        entry = samples.entries[int(episode)]
        rows = range(min(entry.samples, count - len(found)))
        found += [Drawn(starts[int(episode)] + row, entry.scene_id) for row in rows]
    return tuple(found)


def episode_starts(samples: EpisodeSamples) -> list[int]:
    """Return the index of each episode's first sample."""
    lengths = [entry.samples for entry in samples.entries]
    return [int(start) for start in np.cumsum([0, *lengths])[:-1]]
