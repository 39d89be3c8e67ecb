"""What is written comes back; a killed run loses nothing; a damaged or foreign data set is refused."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import numpy as np
import pytest
from episode_factory import data_set, episode
from safetensors.numpy import save_file

from alpamayo_ros.training.episode import assemble
from alpamayo_ros.training.episode_file import DataSetError, EpisodeFile, episode_path, write_episode
from alpamayo_ros.training.shards import open_writer, read_index

NAME = "straight-100.0"


def test_an_episode_comes_back_as_it_was(tmp_path: Path) -> None:
    made = episode()
    entry = write_episode(tmp_path, made)
    file = EpisodeFile(tmp_path / entry.file)
    assert file.head == made.head and len(file) == len(made) == entry.samples
    for index in range(len(made)):
        moment = file.moment(index)
        got, want = assemble(file.head, moment, *file.frames(moment)), made.sample(index)
        assert (got.sample_id, got.reasoning, got.meta_action) == (
            want.sample_id,
            want.reasoning,
            want.meta_action,
        )
        assert (got.source, got.tags) == (want.source, want.tags)
        assert got.observation.instruction == want.observation.instruction
        assert got.observation.t0_ns == want.observation.t0_ns
        for name in ("frames", "frame_stamps_ns", "history_xyz_in_rig_t0", "rig_pose_in_odom_at_t0"):
            np.testing.assert_array_equal(getattr(got.observation, name), getattr(want.observation, name))
        np.testing.assert_array_equal(got.future_xyz_in_rig_t0, want.future_xyz_in_rig_t0)
        for a, b in (
            (got.future_rot_in_rig_t0, want.future_rot_in_rig_t0),
            (got.observation.history_rot_in_rig_t0, want.observation.history_rot_in_rig_t0),
        ):
            np.testing.assert_allclose(a, b, atol=1e-6)
    with pytest.raises(IndexError):
        file.moment(len(made))


def test_the_index_counts_and_names_what_is_there(tmp_path: Path) -> None:
    folder = data_set(tmp_path / "set", [episode(100), episode(0), episode(180)])
    train, test, validation = read_index(folder)
    assert (train.split, test.split, validation.split) == ("train", "test", "validation")
    assert (train.samples, train.frames) == (5, 16)
    assert train.tags == {"component": {"free": 5}, "recovery": {"none": 3, "recovering": 2}}
    assert (folder / train.file).stat().st_size == train.size_bytes


def test_a_line_that_was_cut_off_is_forgotten_and_the_next_one_is_whole(tmp_path: Path) -> None:
    folder = data_set(tmp_path / "set", [episode(100), episode(101)])
    index = folder / "index.jsonl"
    index.write_text(index.read_text()[:-40])  # killed while it wrote the second line
    assert [entry.episode_id for entry in read_index(folder)] == [NAME]
    with open_writer(folder, {}) as writer:
        assert not writer.lacks(NAME) and writer.lacks("straight-101.0")
        writer.add(write_episode(folder, episode(101)))
    assert [entry.episode_id for entry in read_index(folder)] == [NAME, "straight-101.0"]


def test_an_episode_whose_file_is_gone_or_cut_is_made_again(tmp_path: Path) -> None:
    folder = data_set(tmp_path / "set", [episode(100), episode(101)])
    (folder / episode_path(NAME)).unlink()
    other = folder / episode_path("straight-101.0")
    other.write_bytes(other.read_bytes()[:-1])
    with open_writer(folder, {}) as writer:
        assert writer.lacks(NAME) and writer.lacks("straight-101.0")
        writer.add(write_episode(folder, episode(100)))
    assert sorted(entry.episode_id for entry in read_index(folder)) == [NAME, "straight-101.0"]


def test_another_kind_of_pictures_does_not_get_in(tmp_path: Path) -> None:
    folder = data_set(tmp_path / "set", [], stored=[96, 160], image="png")
    with (
        pytest.raises(DataSetError, match=r"stored \[96, 160\], not \[64, 160\]"),
        open_writer(folder, {"stored": [64, 160], "image": "png"}),
    ):
        pass


def test_a_bags_data_set_is_gone_on_with_from_simulation_and_holds_it_to_its_settings(tmp_path: Path) -> None:
    folder = data_set(tmp_path / "set", [], image="png")
    data_set(folder, [], image="png", seed=1)
    data_set(folder, [], image="png")
    with pytest.raises(DataSetError, match="seed 1, not 2"):
        data_set(folder, [], image="png", seed=2)


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").touch()
    with (
        pytest.raises(DataSetError, match=r"expected an empty folder or a data set, got holiday\.jpg"),
        open_writer(tmp_path, {}),
    ):
        pass


def _write(folder: str, answer: multiprocessing.queues.Queue[str]) -> None:
    try:
        with open_writer(Path(folder), {}):
            answer.put("")
    except DataSetError as error:
        answer.put(str(error))


def test_two_runs_do_not_write_one_data_set(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    answer: multiprocessing.queues.Queue[str] = context.Queue()
    with open_writer(tmp_path / "set", {}):
        process = context.Process(target=_write, args=(str(tmp_path / "set"), answer))
        process.start()
        assert "expected nobody else to write here" in answer.get(timeout=30)
        process.join()
    with open_writer(tmp_path / "set", {}):
        pass


def test_what_is_no_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataSetError, match=r"expected a data set with dataset\.json, got none"):
        read_index(tmp_path)
    (tmp_path / "dataset.json").write_text(json.dumps({"format": "another 7", "settings": {}}))
    with pytest.raises(DataSetError, match="expected format 'alpamayo episodes 1', got 'another 7'"):
        read_index(tmp_path)


def test_a_line_that_is_no_entry_is_refused_by_number(tmp_path: Path) -> None:
    folder = data_set(tmp_path / "set", [episode(100)])
    with (folder / "index.jsonl").open("a") as file:
        file.write('{"episode_id": "x"}\n')
    with pytest.raises(DataSetError, match="line 2: expected an episode's entry"):
        read_index(folder)


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    save_file({"a": np.zeros(3)}, str(tmp_path / "a.safetensors"))
    with pytest.raises(DataSetError, match="safetensors file of something else"):
        EpisodeFile(tmp_path / "a.safetensors")
    (tmp_path / "b.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(DataSetError, match="expected an episode's file"):
        EpisodeFile(tmp_path / "b.safetensors")
    with pytest.raises(DataSetError, match="expected an episode's file"):
        EpisodeFile(tmp_path / "none.safetensors")


def test_an_episode_without_samples_can_be_kept(tmp_path: Path) -> None:
    entry = write_episode(tmp_path, episode(ticks=0))
    assert (entry.samples, entry.frames, entry.tags) == (0, 0, {})
    assert len(EpisodeFile(tmp_path / entry.file)) == 0
