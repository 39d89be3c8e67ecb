"""A checkpoint as the planner of `alpamayo sim`: what is said of random weights, and that it drives."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from alpamayo_ros.cli.main import main
from alpamayo_ros.cli.sim_checkpoint import RANDOM_NOTICE, CheckpointSource
from alpamayo_ros.sim.cameras import USUAL_CAMERA_IDS


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "tiny"
    assert main(["checkpoint", "random", str(path), "--size", "tiny"]) == 0
    return path


def test_random_weights_are_said_before_anything_is_driven(checkpoint: Path) -> None:
    source = CheckpointSource(str(checkpoint))
    assert source.check() == RANDOM_NOTICE
    assert source.name == "tiny"
    assert source.camera_ids == USUAL_CAMERA_IDS
    mark = checkpoint / "config.json"
    config = json.loads(mark.read_text(encoding="utf-8"))
    kept = mark.read_text(encoding="utf-8")
    mark.write_text(json.dumps({**config, "alpamayo_ros": {}}), encoding="utf-8")
    assert source.check() == ""
    mark.write_text(kept, encoding="utf-8")


@pytest.mark.long
def test_it_drives_by_the_cameras(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--scenarios", "curve-1", "--planner", str(checkpoint), "--out", str(tmp_path)]
    assert main(["sim", *arguments]) == 0
    assert RANDOM_NOTICE in capsys.readouterr().out
    scores = json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))
    assert scores["planner"] == "tiny"
    assert scores["rollouts"][0]["end_reason"] in ("off_road", "collision", "time", "goal")
    assert RANDOM_NOTICE in (tmp_path / "report.html").read_text(encoding="utf-8")
