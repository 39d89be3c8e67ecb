"""Which samples a report looks at."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from episode_factory import data_set, episode
from hypothesis import given
from hypothesis import strategies as st

from alpamayo_ros.training.dataset import EpisodeSamples
from alpamayo_ros.training.report.draw import consecutive, draw_rows, draw_samples
from alpamayo_ros.types import InvalidInput


@given(st.lists(st.integers(1, 30), min_size=1, max_size=12), st.integers(1, 200), st.integers(0, 9))
def test_rows_are_even_over_episodes_and_spread_within(lengths: list[int], count: int, seed: int) -> None:
    rows = draw_rows(lengths, count, seed=seed)
    assert rows == draw_rows(lengths, count, seed=seed)
    assert rows == sorted(set(rows)) and len(rows) == min(count, sum(lengths))
    assert all(0 <= row < lengths[number] for number, row in rows)
    shares = Counter(number for number, _ in rows)
    given_all = [shares[number] == length for number, length in enumerate(lengths)]
    rest = [shares[number] for number, all_given in enumerate(given_all) if not all_given]
    # Who gave less than it has gave as much as the others, and no other gave more.
    assert not rest or (max(rest) - min(rest) <= 1 and max(shares.values()) <= max(rest) + 1)
    for number, share in shares.items():
        mine = [row for owner, row in rows if owner == number]
        assert [row * share // lengths[number] for row in mine] == pytest.approx(range(share), abs=1)


def test_samples_know_their_scenes(tmp_path: Path) -> None:
    data_set(tmp_path, [episode(185), episode(185, variant=1), episode(186, ticks=3), episode(100)])
    samples = EpisodeSamples(tmp_path, split="validation")
    drawn = draw_samples(samples, 6, seed=1)
    assert [each.scene_id for each in drawn] == ["straight-185"] * 4 + ["straight-186"] * 2
    for each in drawn:
        assert samples[each.index].sample_id.startswith(each.scene_id)
    assert len(draw_samples(samples, 1000, seed=1)) == len(samples) == 13


def test_ticks_follow_each_other(tmp_path: Path) -> None:
    data_set(tmp_path, [episode(185), episode(186)])
    samples = EpisodeSamples(tmp_path, split="validation")
    names = [samples[each.index].sample_id for each in consecutive(samples, 7, seed=0)]
    first, second = ("185", "186") if "185" in names[0] else ("186", "185")
    assert names == [
        *(f"straight-{first}.0/{tick}" for tick in range(5)),
        *(f"straight-{second}.0/{tick}" for tick in range(2)),
    ]
    assert len(consecutive(samples, 99, seed=0)) == 10


def test_no_samples_are_refused(tmp_path: Path) -> None:
    samples = EpisodeSamples(data_set(tmp_path, [episode(185)]), split="validation")
    with pytest.raises(InvalidInput, match="samples: expected at least 1, got 0"):
        draw_samples(samples, 0, seed=0)
    with pytest.raises(InvalidInput, match="samples: expected at least 1, got 0"):
        consecutive(samples, 0, seed=0)
