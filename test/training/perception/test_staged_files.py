"""Staged instants on disk: rendered, kept, gone on with, read by index and by split."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from alpamayo_ros.cli.main import main
from alpamayo_ros.training.episode import FrameCodec
from alpamayo_ros.training.episode_file import DataSetError
from alpamayo_ros.training.perception.samples import Sight
from alpamayo_ros.training.perception.staged_files import (
    StagedSights,
    StagingRun,
    open_sights,
    stage_all,
    write_sights,
)
from alpamayo_ros.training.perception.surroundings import GRID_SHAPE, HOW_FAR, YES_OR_NO, Surroundings
from alpamayo_ros.training.simulate import PictureSettings
from alpamayo_ros.types import InvalidInput

SMALL = PictureSettings(
    camera_ids=(1, 6), height=32, width=64, render_height=32, render_width=64, codec=FrameCodec("png")
)
TRAIN, HELD_OUT = ("straight-100", "curve-101"), ("straight-180",)


def sight(grey: int) -> Sight:
    far = np.full(len(HOW_FAR), np.nan, np.float32)
    far[0] = grey
    about = Surroundings(np.zeros(GRID_SHAPE, np.uint8), np.ones(len(YES_OR_NO), np.uint8), far)
    return Sight(np.full((2, 3, 32, 64), grey, np.uint8), about)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> StagingRun:
    run = StagingRun((*TRAIN, *HELD_OUT), tmp_path_factory.mktemp("staged"), instants=3, pictures=SMALL)
    assert stage_all(run) == (3, [])
    return run


def test_instants_are_rendered_and_read_by_split(made: StagingRun) -> None:
    train, held_out = (open_sights(made.out, split=split) for split in ("train", "validation"))
    assert (len(train), len(held_out)) == (6, 3)
    pictures = np.stack([train[index].frames for index in range(6)])
    assert pictures.shape == (6, 2, 3, 32, 64)
    assert all(pictures[i].std() > 5 and (pictures[i] != pictures[i + 1]).any() for i in range(5))
    with pytest.raises(IndexError, match="instant 6 of 6"):
        train[6]
    with pytest.raises(DataSetError, match="expected staged instants of split test, got none"):
        open_sights(made.out, split="test")


@pytest.mark.long
def test_what_is_there_is_not_made_again_and_the_same_comes_anew(made: StagingRun, tmp_path: Path) -> None:
    lost = made.file("curve-101")
    data, others = lost.read_bytes(), {path: path.stat().st_mtime_ns for path in made.out.iterdir()}
    lost.unlink()
    told: list[tuple[str, str]] = []
    assert stage_all(made, progress=lambda *each: told.append(each)) == (1, [])
    assert told == [("curve-101", "")]
    assert lost.read_bytes() == data
    others.pop(lost)
    assert all(path.stat().st_mtime_ns == before for path, before in others.items())


def test_other_settings_are_refused(made: StagingRun) -> None:
    with pytest.raises(InvalidInput, match="expected the folder's own settings: instants 3, got 4"):
        stage_all(replace(made, instants=4))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"scene_ids": ()}, "scenarios: expected at least one scene"),
        ({"scene_ids": ("nowhere-1",)}, "nowhere"),
        ({"instants": 0}, "instants: expected at least 1, got 0"),
        ({"workers": 0}, "workers: expected at least 1, got 0"),
    ],
)
def test_what_makes_no_sense_is_refused(made: StagingRun, changes: dict[str, object], says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        replace(made, **changes)  # type: ignore[arg-type]


@pytest.mark.long  # it is waited for
def test_a_renderer_that_is_not_there_is_told_for_each_scene(tmp_path: Path) -> None:
    run = StagingRun(TRAIN, tmp_path / "none", instants=1, pictures=SMALL, renderer="127.0.0.1:1")
    told: dict[str, str] = {}
    assert stage_all(run, progress=told.__setitem__) == (0, sorted(TRAIN))
    assert all("127.0.0.1:1" in error for error in told.values())


def test_what_was_written_is_what_is_read(tmp_path: Path) -> None:
    run = StagingRun(TRAIN, tmp_path, pictures=SMALL)
    (tmp_path / "sights.json").write_text('{"camera_ids": [1, 6]}')
    for number, scene_id in enumerate(TRAIN):
        write_sights(run.file(scene_id), [sight(10 * number + i) for i in range(4)], SMALL)
    read = StagedSights(tmp_path, split="train")
    greys = [int(read[index].surroundings.far[0]) for index in range(len(read))]
    assert greys == [10, 11, 12, 13, 0, 1, 2, 3]  # curve before straight
    assert read.camera_ids == (1, 6)
    for index, grey in enumerate(greys):
        assert (read[index].frames == grey).all() and read[index].surroundings.yes.all()


def test_a_damaged_file_is_named_as_such(tmp_path: Path) -> None:
    (tmp_path / "sights.json").write_text('{"camera_ids": [1, 6]}')
    (tmp_path / "straight-100.safetensors").write_bytes(b"no tensors")
    with pytest.raises(DataSetError, match="expected staged instants, got:"):
        StagedSights(tmp_path, split="train")
    with pytest.raises(DataSetError, match="got none"):
        StagedSights(tmp_path / "nowhere", split="train")
    (tmp_path / "sights.json").write_text("{}")
    with pytest.raises(DataSetError, match=r"sights.json: expected JSON with camera_ids"):
        StagedSights(tmp_path, split="train")


def test_a_tower_learns_from_what_the_command_makes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "staged"
    scenes = "straight-100,straight-180"
    given = ["train", "stage", "--scenarios", scenes, "--out", str(out), "--instants", "2"]
    assert main([*given, "--rendered", "96x160"]) == 0
    assert "2 scenes, 4 instants" in capsys.readouterr().out
    see = ["train", "perceive", "--data", str(out), "--checkpoint", "pisco", "--out", str(tmp_path / "see")]
    assert main([*see, "--steps", "1", "--batch-size", "2"]) == 0
    assert (tmp_path / "see/checkpoint/config.json").exists()
    assert "off: left of lane centre" in capsys.readouterr().out
