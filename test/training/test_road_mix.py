"""Rollouts and original data in one training set."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from episode_factory import data_set, episode

from alpamayo_ros.training.dataset import EpisodeSamples
from alpamayo_ros.training.road_mix import mixed_samples
from alpamayo_ros.types import InvalidInput


def samples(folder: Path, *seeds: int, ticks: int = 5, family: str = "straight") -> EpisodeSamples:
    made = [episode(seed, ticks=ticks, family=family) for seed in seeds]
    return EpisodeSamples(data_set(folder, made), split="train")


@pytest.fixture
def parts(tmp_path: Path) -> tuple[EpisodeSamples, list[EpisodeSamples]]:
    original = samples(tmp_path / "data", 100, 101, 102)
    first = samples(tmp_path / "first", 103, ticks=3)
    second = samples(tmp_path / "second", 104, ticks=4, family="curve")
    return original, [first, second]


@pytest.mark.parametrize("mix", [0.1, 0.5, 1.0])
def test_rollouts_have_their_share_however_few_they_are(
    parts: tuple[EpisodeSamples, list[EpisodeSamples]], mix: float
) -> None:
    original, rollouts = parts
    joined, weights = mixed_samples(original, rollouts, mix=mix)
    assert weights.shape == (len(joined),) and weights.sum() == pytest.approx(1.0)
    assert weights[len(original) :].sum() == pytest.approx(mix)
    # All iterations' alike.
    assert np.ptp(weights[len(original) :]) == pytest.approx(0.0)


def test_each_part_is_balanced_by_itself(parts: tuple[EpisodeSamples, list[EpisodeSamples]]) -> None:
    original, rollouts = parts
    joined, weights = mixed_samples(original, rollouts, mix=0.4, balance=("family",))
    shares: Counter[str] = Counter()
    for index in range(len(original), len(joined)):
        shares[joined[index].tags["family"]] += weights[index]
    assert shares["straight"] == pytest.approx(0.2) and shares["curve"] == pytest.approx(0.2)


def test_what_cannot_be_mixed_is_refused(parts: tuple[EpisodeSamples, list[EpisodeSamples]]) -> None:
    original, rollouts = parts
    for mix in (0.0, 1.1, float("nan")):
        with pytest.raises(InvalidInput, match="mix: expected a share"):
            mixed_samples(original, rollouts, mix=mix)
    with pytest.raises(InvalidInput, match="rollouts: expected at least one"):
        mixed_samples(original, [], mix=0.5)
    with pytest.raises(InvalidInput, match="by: expected tags that samples have"):
        mixed_samples(original, rollouts, mix=0.5, balance=("weather",))
