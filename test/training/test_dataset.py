"""A data set's samples by index: the same whoever asks, and never of another split."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from episode_factory import data_set, episode

from alpamayo_ros.training.dataset import EpisodeSamples
from alpamayo_ros.training.episode_file import DataSetError
from alpamayo_ros.types import InvalidInput


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two episodes to train on, in no order; one of each other split; one that is empty."""
    made = [episode(121, ticks=4), episode(0), episode(100), episode(180, ticks=2), episode(122, ticks=0)]
    return data_set(tmp_path / "set", made)


def test_samples_come_by_name_of_their_episodes(folder: Path) -> None:
    samples = EpisodeSamples(folder, split="train")
    ids = [samples[index].sample_id for index in range(len(samples))]
    assert ids == [f"straight-100.0/{k}" for k in range(5)] + [f"straight-121.0/{k}" for k in range(4)]
    want = episode(121, ticks=4).sample(2)
    np.testing.assert_array_equal(samples[7].observation.frames, want.observation.frames)


def test_no_sample_is_in_two_splits(folder: Path) -> None:
    ids = {
        split: {samples[i].sample_id for i in range(len(samples))}
        for split in ("train", "validation", "test")
        for samples in [EpisodeSamples(folder, split=split)]  # type: ignore[arg-type]
    }
    assert {split: len(found) for split, found in ids.items()} == {"train": 9, "validation": 2, "test": 5}
    assert not (
        ids["train"] & ids["validation"] | ids["train"] & ids["test"] | ids["validation"] & ids["test"]
    )


def test_tags_are_those_of_the_samples(folder: Path) -> None:
    samples = EpisodeSamples(folder, split="train")
    want = [samples[index].tags for index in range(len(samples))]
    assert list(samples.all_tags()) == [samples.tags(index) for index in range(len(samples))] == want


def test_another_process_reads_the_same(folder: Path) -> None:
    samples = EpisodeSamples(folder, split="train")
    want = samples[6]
    got = pickle.loads(pickle.dumps(samples))[6]
    assert got.sample_id == want.sample_id
    np.testing.assert_array_equal(got.observation.frames, want.observation.frames)


def test_all_of_them_are_those_of_the_splits(folder: Path) -> None:
    assert len(EpisodeSamples(folder, split=None)) == 9 + 2 + 5


@pytest.mark.parametrize("index", [-1, 9, 100])
def test_there_is_nothing_beyond_the_ends(folder: Path, index: int) -> None:
    with pytest.raises(IndexError):
        EpisodeSamples(folder, split="train")[index]


def test_a_split_without_samples_is_refused(tmp_path: Path) -> None:
    folder = data_set(tmp_path / "set", [episode(100)])
    with pytest.raises(DataSetError, match="expected samples of split test, got none in 1 episodes"):
        EpisodeSamples(folder, split="test")
    with pytest.raises(InvalidInput, match="split: expected one of"):
        EpisodeSamples(folder, split="all")  # type: ignore[arg-type]


def test_verify_finds_the_byte_that_changed(folder: Path) -> None:
    samples = EpisodeSamples(folder, split="train")
    samples.verify()
    file = folder / samples.entries[1].file
    data = bytearray(file.read_bytes())
    data[-5] ^= 1
    file.write_bytes(data)
    with pytest.raises(DataSetError, match=r"straight-121\.0\.safetensors: expected SHA-256"):
        samples.verify()
    file.unlink()
    with pytest.raises(DataSetError, match=r"expected the file of straight-121\.0, got none"):
        samples.verify()
