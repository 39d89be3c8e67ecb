"""What a RoaD run is: which scenes, which pictures, and what a resumption may not change."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from episode_factory import data_set, episode

from alpamayo_ros.sim.scene import FAMILIES, family_and_seed, scene_id_of
from alpamayo_ros.training.episode import FrameCodec, split_of
from alpamayo_ros.training.episode_file import DataSetError
from alpamayo_ros.training.road_guidance import Guidance
from alpamayo_ros.training.road_settings import (
    RoadSettings,
    pictures_of,
    train_scenes_of,
    validation_scenes,
)
from alpamayo_ros.training.settings import TrainSettings
from alpamayo_ros.training.shards import open_writer
from alpamayo_ros.training.simulate import PictureSettings
from alpamayo_ros.types import InvalidInput

STAGES = (TrainSettings(stage=1), TrainSettings(stage=2))
SCENES = tuple(scene_id_of(seed) for seed in range(100, 160))


@pytest.fixture
def settings(tmp_path: Path) -> RoadSettings:
    checkpoint = tmp_path / "start"
    checkpoint.mkdir()
    (checkpoint / "config.json").write_text("{}")
    (checkpoint / "model.safetensors").write_bytes(b"weights")
    data = data_set(tmp_path / "data", [episode(100)])
    return RoadSettings(
        checkpoint=str(checkpoint),
        data=data,
        scene_ids=SCENES,
        judged_scene_ids=("straight-180",),
        stages=STAGES,
        episodes=25,
    )


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"scene_ids": ("straight-180",), "episodes": 1}, r"scenarios: .*train split, got straight-180"),
        ({"scene_ids": ("straight-0",), "episodes": 1}, r"got straight-0 \(test\)"),
        ({"scene_ids": ("straight-100",) * 2, "episodes": 1}, "scenarios: expected each scene once"),
        (
            {"judged_scene_ids": ("straight-0",)},
            r"judged scenarios: .*validation split, got straight-0 \(test\)",
        ),
        ({"judged_scene_ids": ("straight-100",)}, "got straight-100"),
        ({"episodes": 61}, r"episodes: expected 1 \.\.\. 60"),
        ({"episodes": 0}, "episodes: expected 1"),
        ({"mix": 0.0}, "mix: expected"),
        ({"ticks": 201}, "ticks: expected"),
        ({"seed": -1}, "seed: expected"),
        ({"stages": ()}, r"stages: expected 1, 2, both in order, or 3, got \[\]"),
        ({"stages": STAGES[::-1]}, r"got \[2, 1\]"),
        ({"stages": (TrainSettings(stage=2, patience=1),)}, "patience: expected 0"),
    ],
)
def test_a_run_refuses_what_it_cannot(settings: RoadSettings, changes: dict[str, object], says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        replace(settings, **changes)  # type: ignore[arg-type]


def test_iterations_go_through_all_scenes_and_each_holds_all_families(settings: RoadSettings) -> None:
    first, second, third = (settings.scenes_of(iteration) for iteration in (1, 2, 3))
    assert len(set(first)) == len(set(second)) == 25
    assert {family_and_seed(scene_id)[0] for scene_id in first} == set(FAMILIES)
    assert set(first).isdisjoint(second) and set(first) | set(second) | set(third) == set(SCENES)
    assert settings.scenes_of(1) == first != replace(settings, seed=1).scenes_of(1)


def test_every_iteration_draws_anew(settings: RoadSettings) -> None:
    seeds = {replace(settings, seed=seed).rollout_seed(i) for seed in (0, 1) for i in range(1, 50)}
    assert len(seeds) == 2 * 49


def test_validation_scenes_are_of_that_split_and_of_all_families() -> None:
    scenes = validation_scenes(45)
    assert {split_of(family_and_seed(scene_id)[1]) for scene_id in scenes} == {"validation"}
    assert {family_and_seed(scene_id)[0] for scene_id in scenes[:20]} == set(FAMILIES)
    assert scenes[0] == "straight-180" and len(set(scenes)) == 45 and validation_scenes(0) == ()


def test_a_run_goes_on_with_its_own_settings_alone(settings: RoadSettings, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    settings.settle(out)
    faster = replace(STAGES[0], checkpoint_every=7, log_every=3, workers=2)
    replace(settings, stages=(faster, STAGES[1])).settle(out)
    for changes, says in (
        ({"mix": 0.3}, "mix 0.5, not 0.3"),
        ({"guidance": Guidance(near_m=2.5)}, "guidance .*near_m"),
        ({"stages": STAGES[1:]}, r"stages \[1, 2\], not \[2\]"),
    ):
        with pytest.raises(InvalidInput, match=f"expected the settings .*{says}"):
            replace(settings, **changes).settle(out)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="resume: expected the run's own settings: peak_rate"):
        replace(settings, stages=(STAGES[0], replace(STAGES[1], peak_rate=1e-5))).settle(out)


def test_start_and_data_go_by_what_they_are_not_where_they_are(
    settings: RoadSettings, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    settings.settle(out)
    for name in ("start", "data"):
        (tmp_path / name).rename(tmp_path / f"moved_{name}")
    moved = replace(settings, checkpoint=str(tmp_path / "moved_start"), data=tmp_path / "moved_data")
    moved.settle(out)
    (tmp_path / "moved_start" / "model.safetensors").write_bytes(b"others")
    with pytest.raises(InvalidInput, match="checkpoint"):
        moved.settle(out)


def test_a_folder_of_something_else_is_refused(settings: RoadSettings, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="expected a new folder or a RoaD run"):
        settings.settle(tmp_path)


@pytest.mark.parametrize("codec", [FrameCodec("png"), FrameCodec("jpeg", 90)])
def test_rollouts_get_the_pictures_of_the_data(tmp_path: Path, codec: FrameCodec) -> None:
    pictures = PictureSettings((1, 6), height=48, width=80, render_height=96, render_width=160, codec=codec)
    settings = {**pictures.stored_settings(), "rendered": [96, 160]}
    with open_writer(tmp_path / "set", settings):
        pass
    assert pictures_of(tmp_path / "set") == pictures
    file = tmp_path / "set" / "dataset.json"
    content = json.loads(file.read_text())
    content["settings"]["image"] = "jpeg, quality 90, 4:2:0"
    file.write_text(json.dumps(content))
    with pytest.raises(DataSetError, match="expected pictures as jpeg, quality 90, 4:4:4, got"):
        pictures_of(tmp_path / "set")


def test_scenes_come_from_the_train_split_of_the_data(tmp_path: Path) -> None:
    made = [*(episode(seed) for seed in (100, 180, 120)), episode(100, variant=1)]
    assert train_scenes_of(data_set(tmp_path / "set", made)) == ("straight-100", "straight-120")
    with pytest.raises(DataSetError, match="expected simulated episodes of the train split"):
        train_scenes_of(data_set(tmp_path / "none", []))
