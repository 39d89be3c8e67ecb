"""`alpamayo train data --driver`: a checkpoint drives, the expert says what it should have done."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from alpamayo_ros.cli.main import main
from alpamayo_ros.training.dataset import EpisodeSamples
from alpamayo_ros.training.road_rollout import figures_of
from alpamayo_ros.training.small_checkpoint import SmallSize, write_small_checkpoint

TINY = SmallSize(
    layers=1, hidden=64, mlp=64, heads=2, kv_heads=1,
    vision_depth=1, vision_hidden=16, vision_mlp=16, vision_heads=2, deepstack=(),
    expert_hidden=32, expert_mlp=32, action_hidden=32,
)  # fmt: skip


def test_its_rollouts_are_a_data_set_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = write_small_checkpoint(tmp_path / "tiny", ["Keep lane."], size=TINY)
    out = tmp_path / "set"
    given = ["train", "data", "--scenarios", "100", "--out", str(out), "--seconds", "0.6"]
    given += ["--rendered", "96x160", "--samples", "2", "--held", "0.2", "--near", "1000"]
    assert main([*given, "--driver", str(checkpoint)]) == 0
    assert "made           1 episodes, 6 samples" in capsys.readouterr().out
    told = figures_of(out)
    assert (told.ticks, told.asked, told.recovered) == (6, 3, 0)
    samples = EpisodeSamples(out, split="train")
    assert {tags["road"] for tags in samples.all_tags()} == {"policy"}
    assert samples[0].reasoning  # the expert's
    # What drove is known by its weights, not by where they lie.
    moved = shutil.move(checkpoint, tmp_path / "elsewhere")
    assert main([*given, "--driver", str(moved)]) == 0
    settings = json.loads((out / "dataset.json").read_text())["settings"]
    assert "sha256:" in settings["steering"] and "tiny" not in settings["steering"]
    assert main([*given, "--driver", "pisco"]) == 2
    assert "steering" in capsys.readouterr().err
