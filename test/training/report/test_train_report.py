"""`alpamayo train report`: files that hold what they should, for planners with and without a network."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from episode_factory import data_set, episode
from report_factory import Knowing, route_episode
from rollout_factory import record_of

from alpamayo_ros.cli.main import main
from alpamayo_ros.sim.rollout_driver import Job
from alpamayo_ros.sim.scenes import make_scene
from alpamayo_ros.sim.scoring import score_rollout
from alpamayo_ros.sim.workers import write_outcome
from alpamayo_ros.training.dataset import EpisodeSamples
from alpamayo_ros.training.report.report import Contestant, ReportSettings, make_report
from alpamayo_ros.types import InvalidInput

SCENE = "junction_4way-185"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return data_set(tmp_path_factory.mktemp("data"), [route_episode(SCENE), episode(186), episode(100)])


@pytest.fixture(scope="module")
def rollouts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One rollout that went well, one that did not."""
    folder, record = tmp_path_factory.mktemp("rollouts"), record_of(make_scene(SCENE))
    score = score_rollout(record)
    write_outcome(folder, Job(SCENE), score, record)
    low = replace(score, scene_score=0.2, rollout_index=1)
    write_outcome(folder, Job(SCENE, 1), low, replace(record, rollout_index=1))
    return folder


def test_the_command_writes_tables_and_pictures(
    data: Path, rollouts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    given = ["train", "report", "constant", "--data", str(data), "--out", str(out), "--samples", "6"]
    assert main([*given, "--timed", "4", "--rollouts", str(rollouts)]) == 0
    assert "minADE_6@6.4s over constant velocity's: 1.0 [1.0, 1.0]" in capsys.readouterr().out
    report = json.loads((out / "report.json").read_text("utf-8"))
    assert report["data"]["samples"] == 6 and report["data"]["split"] == "validation"
    assert report["instruction"]["policy"]["by_turn"]["right"]["n"] == 3
    assert report["latency"]["plans"] == 4
    assert report["closed_loop"]["instruction"]["followed"]["value"] == 1.0
    (failure,) = report["closed_loop"]["failures"]
    assert failure["rollout"] == f"{SCENE}#1" and failure["reasoning"].startswith("Keep the lane")
    page = (out / "report.md").read_text("utf-8")
    links = re.findall(r"\]\(([^)]+)\)", page)
    assert len(links) == 4 and all((out / link).is_file() for link in links)
    tables = [line for line in page.splitlines() if line.startswith("|")]
    assert all(line.endswith("|") for line in tables)
    lines = [json.loads(line) for line in (out / "samples.jsonl").read_text("utf-8").splitlines()]
    assert len(lines) == 12 and {line["planner"] for line in lines} == {"policy", "blanked"}


def test_a_perfect_planner_has_a_perfect_report(tmp_path: Path) -> None:
    only = EpisodeSamples(data_set(tmp_path / "data", [route_episode(SCENE)]), split="validation")
    # It knows samples by their t0, which episodes may share: so there is only one.
    knowing = Contestant(lambda: Knowing(only), lambda: Knowing(only), {"name": "knows all"})
    settings = ReportSettings(samples=4, timed=0)
    report = make_report(knowing, only, tmp_path / "out", settings=settings)
    assert report["open_loop"]["policy"]["ratio"]["min_ade@6.4s"]["value"] == pytest.approx(0.0, abs=1e-6)
    assert report["reasoning"]["policy"]["component"]["value"] == 1.0
    assert report["instruction"]["policy"]["followed"]["value"] == 1.0
    assert "latency" not in report and "closed_loop" not in report
    assert "knows all" in (tmp_path / "out" / "report.md").read_text("utf-8")


def test_what_cannot_be_reported_is_refused(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--data", str(data), "--out", str(tmp_path / "out")]
    for arguments, says in (
        (["nowhere", *given], "a checkpoint's folder with config.json"),
        (["constant", *given, "--samples", "0"], "samples: expected at least 1, got 0"),
        (["constant", *given, "--split", "test"], "expected samples of split test, got none"),
        (["constant", *given, "--rollouts", str(tmp_path)], "--rollouts: expected a folder"),
        (["constant", *given, "--drawn", "0"], "num_samples: expected at least 1"),
    ):
        assert main(["train", "report", *arguments]) == 2
        assert says in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    with pytest.raises(InvalidInput, match="timed: expected at least 0, got -1"):
        ReportSettings(timed=-1)


@pytest.mark.long
def test_a_checkpoint_is_reported(data: Path, tmp_path: Path) -> None:
    from alpamayo_ros.training.small_checkpoint import SmallSize, write_small_checkpoint

    tiny = SmallSize(
        layers=1, hidden=64, mlp=64, heads=2, kv_heads=1,
        vision_depth=1, vision_hidden=16, vision_mlp=16, vision_heads=2, deepstack=(),
        expert_hidden=32, expert_mlp=32, action_hidden=32,
    )  # fmt: skip
    checkpoint = write_small_checkpoint(tmp_path / "tiny", ["Keep lane."], size=tiny)
    given = ["train", "report", str(checkpoint), "--data", str(data), "--device", "cpu", "--threads", "1"]
    few = ["--samples", "2", "--junctions", "1", "--timed", "1", "--drawn", "2"]
    reports = []
    for out in (tmp_path / "a", tmp_path / "b"):
        assert main([*given, *few, "--out", str(out)]) == 0
        report = json.loads((out / "report.json").read_text("utf-8"))
        assert report["about"]["threads"] == 1 and report["about"]["identity"].startswith("sha256:")
        assert report["latency"].pop("median_ms") > 0
        reports.append({name: report[name] for name in ("open_loop", "reasoning", "instruction")})
    assert reports[0] == reports[1]
