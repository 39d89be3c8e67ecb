"""Sights are a data set's own newest pictures, with what is about at their moments."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from episode_factory import episode

from alpamayo_ros.training.dataset import EpisodeSamples
from alpamayo_ros.training.episode import Episode
from alpamayo_ros.training.episode_file import DataSetError, write_episode
from alpamayo_ros.training.perception.samples import Sights
from alpamayo_ros.training.perception.surroundings import GRID_CHANNELS, SceneReader
from alpamayo_ros.training.shards import open_writer
from alpamayo_ros.types import InvalidInput

CAR = np.array([[20.0, 0.0, 0.0, 4.5, 1.9, 1.5, 0.0, 0]], np.float32)
NOBODY = np.zeros((0, 8), np.float32)


def with_users(made: Episode) -> Episode:
    """A car in every second moment, the last moment empty."""
    moments = [
        replace(moment, road_users_in_rig_t0=NOBODY if number % 2 == 0 else CAR)
        for number, moment in enumerate(made.moments)
    ]
    return replace(made, moments=tuple(moments))


def of_bag(made: Episode) -> Episode:
    head = replace(made.head, episode_id="bag.0", origin="bag", scene_id="bag", family="bag", seed=None)
    return replace(made, head=head)


def write(folder: Path, *episodes: Episode) -> Path:
    with open_writer(folder, {"made": "drawn"}) as writer:
        for each in episodes:
            writer.add(write_episode(folder, each))
    return folder


def test_each_sight_is_a_samples_newest_pictures_and_its_surroundings(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "data", with_users(episode(100)), of_bag(episode(100)), with_users(episode(120))
    )
    sights, samples = Sights(folder, split="train"), EpisodeSamples(folder, split="train")
    simulated = [i for i in range(len(samples)) if not samples[i].sample_id.startswith("bag")]
    assert len(sights) == len(simulated) == 10 < len(samples)
    reader = SceneReader("straight-100")
    vehicle = GRID_CHANNELS.index("vehicle")
    for number, index in enumerate(simulated):
        sight, (file, row) = sights[number], samples.place(index)
        newest = np.stack([stack[-1] for stack in samples[index].observation.frames])
        np.testing.assert_array_equal(sight.frames, newest)
        if file.head.seed == 100:
            wanted = reader.read(file.moment(row))
            np.testing.assert_array_equal(sight.surroundings.grid, wanted.grid)
            np.testing.assert_array_equal(sight.surroundings.far, wanted.far)
        assert sight.surroundings.grid[vehicle].any() == (number % 5 % 2 == 1)
    with pytest.raises(IndexError, match="sight 10 of 10"):
        sights[10]


def test_bags_alone_are_refused_and_so_are_episodes_without_road_users(tmp_path: Path) -> None:
    with pytest.raises(DataSetError, match="expected simulated episodes in split train"):
        Sights(write(tmp_path / "bags", of_bag(episode(100))), split="train")
    with pytest.raises(InvalidInput, match="expected an episode with its road users"):
        Sights(write(tmp_path / "old", episode(100)), split="train")[0]
