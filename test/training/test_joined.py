"""Several data sets as one source of samples."""

from __future__ import annotations

from pathlib import Path

import pytest
from episode_factory import data_set, episode

from alpamayo_ros.training.dataset import EpisodeSamples
from alpamayo_ros.training.episode_file import DataSetError
from alpamayo_ros.training.joined import JoinedSamples, open_joined
from alpamayo_ros.types import InvalidInput

VALIDATION_SEED = 185


def folder_of(folder: Path, *seeds: int, ticks: int = 3) -> Path:
    return data_set(folder, [episode(seed, ticks=ticks) for seed in seeds])


def test_samples_come_one_data_set_after_the_other(tmp_path: Path) -> None:
    folders = [folder_of(tmp_path / "a", 100, 101), folder_of(tmp_path / "b", 102, ticks=4)]
    joined = open_joined(folders, split="train")
    sources = [EpisodeSamples(folder, split="train") for folder in folders]
    wanted = [source[i].sample_id for source in sources for i in range(len(source))]
    assert [joined[i].sample_id for i in range(len(joined))] == wanted
    assert len(list(joined.all_tags())) == len(joined)
    assert len(list(joined.pictures())) == sum(len(list(source.pictures())) for source in sources)
    for beyond in (-1, len(joined)):
        with pytest.raises(IndexError, match=f"sample {beyond} of {len(joined)}"):
            joined[beyond]


def test_one_of_them_may_lack_a_split(tmp_path: Path) -> None:
    folders = [folder_of(tmp_path / "a", 100), folder_of(tmp_path / "b", 101, VALIDATION_SEED)]
    assert len(open_joined(folders, split="validation")) == 3
    with pytest.raises(DataSetError, match="expected samples of split validation"):
        open_joined(folders[:1], split="validation")


def test_an_episode_in_two_of_them_is_refused(tmp_path: Path) -> None:
    folders = [folder_of(tmp_path / "a", 100), folder_of(tmp_path / "b", 100)]
    with pytest.raises(DataSetError, match=r"expected episodes that no other data set has, got .*100"):
        open_joined(folders, split="train")


def test_what_is_no_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataSetError):
        open_joined([folder_of(tmp_path / "a", 100), tmp_path / "nothing"], split="train")
    with pytest.raises(InvalidInput, match="data: expected at least one folder"):
        open_joined([], split="train")
    with pytest.raises(InvalidInput, match="sources: expected at least one"):
        JoinedSamples([])
