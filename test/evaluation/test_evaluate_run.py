"""A run over bags: what it writes, that it goes on where it stood, and what it refuses."""

from __future__ import annotations

import json
import multiprocessing
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluation_factory import StubPolicy, small_rig, write_small_bag

from alpamayo_ros.bags.synthetic.course import Course
from alpamayo_ros.evaluation.report import ReportOptions, write_report
from alpamayo_ros.evaluation.run import read_evaluation, run_evaluation
from alpamayo_ros.evaluation.work import EvaluationSettings, Instants, name_bags
from alpamayo_ros.types import InvalidInput

SECONDS = 12.0
SETTINGS = EvaluationSettings(mode="checkpoint", hz=2.0, policy="stub", rig="one")
ABOUT = {"name": "stub", "rig": "one", "command": "alpamayo evaluate …", "processor": "any", "cores": 2}
RIG = small_rig()


@pytest.fixture(scope="module")
def bags(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("bags")
    return [write_small_bag(folder / f"drive{i}", seconds=SECONDS, seed=i) for i in range(2)]


def evaluate(
    bags: list[Path], out: Path, *, settings: EvaluationSettings = SETTINGS, **other: Any
) -> dict[str, Any]:
    policy = other.pop("policy", None) or StubPolicy(out.parent / "log")
    return run_evaluation(name_bags(bags), RIG, settings, out=out, about=ABOUT, policy=policy, **other)


@pytest.fixture(scope="module")
def whole(bags: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    evaluate(bags, out)
    return out


def test_instants_are_half_a_second_apart_and_counted(whole: Path) -> None:
    content, rows = read_evaluation(whole)
    mine = [row for row in rows if row.planner == "policy" and row.bag == "drive0"]
    assert np.diff([row.t0_ns for row in mine]) == pytest.approx(0.5e9, abs=1e8)
    known = [row.known_s for row in mine]
    assert known[0] == 6.4 and 1.0 <= known[-1] < 2.0 and sorted(known, reverse=True) == known
    counts = content["counts"]
    assert counts["instants"] == 2 * len(mine) and counts["candidates"] == {"3": 2 * len(mine)}
    assert counts["known_until"]["6.4s"] == sum(row.known_s >= 6.4 for row in mine) * 2
    # Of the instants at the drive's end less than a second is known.
    assert counts["left_out"] == {"the drive ends before its future does (under 1 s)": 4}
    figure = content["figures"]["policy"]["ade@6.4s"]
    assert figure["n"] == counts["known_until"]["6.4s"] and figure["ci95"] is None
    assert content["latency_ms"]["vision"]["p50"] == 2.0 and content["latency_ms"]["wall"]["p50"] > 0


def test_the_truth_is_the_course(whole: Path) -> None:
    _, rows = read_evaluation(whole)
    course = Course(seconds=SECONDS)
    row = next(row for row in rows if row.planner == "policy" and row.bag == "drive0")
    t0_s = (row.t0_ns - 1_700_000_000_000_000_000) / 1e9
    pose = course.pose(t0_s)
    assert row.speed_mps == pytest.approx(pose.speed_mps, abs=0.1)
    # The middle candidate of the stub goes straight on, at the speed of the history.
    end = course.pose(t0_s + 3.0)
    speed = row.speed_mps
    there = np.array([pose.x_m, pose.y_m]) + 3.0 * speed * np.array(
        [np.cos(pose.yaw_rad), np.sin(pose.yaw_rad)]
    )
    away = np.linalg.norm(there - [end.x_m, end.y_m])
    assert row.values["fde@3s"] == pytest.approx(away, abs=0.15)


def test_baselines_stand_beside_it_at_the_same_instants(whole: Path) -> None:
    content, rows = read_evaluation(whole)
    by = {
        name: {(r.bag, r.t0_ns): r for r in rows if r.planner == name}
        for name in ("policy", "constant velocity", "constant turn rate")
    }
    assert by["policy"].keys() == by["constant velocity"].keys() == by["constant turn rate"].keys()
    for key, row in by["policy"].items():  # the stub's middle candidate is constant velocity
        assert row.values["ade@1s"] == pytest.approx(by["constant velocity"][key].values["ade@1s"], abs=1e-6)
    ratio = content["against"]["constant velocity"]["ade@3s"]["ratio"]
    assert ratio["value"] == pytest.approx(1.0)
    assert content["against"]["constant velocity"]["min_ade@6.4s"]["difference"]["value"] <= 0.0


def _run_and_die(bags: list[Path], out: Path, dies_at: int) -> None:
    evaluate(bags, out, policy=StubPolicy(out.parent / "log", dies_at=dies_at))


def test_a_run_that_was_killed_goes_on_where_it_stood(bags: list[Path], whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = multiprocessing.get_context("spawn").Process(target=_run_and_die, args=(bags, out, 8))
    process.start()
    process.join(120)
    assert process.exitcode == -9 and not (out / "evaluation.json").exists()
    before = (tmp_path / "log").read_text().splitlines()
    assert len(before) == 7
    evaluate(bags, out)
    asked = (tmp_path / "log").read_text().splitlines()
    _, rows = read_evaluation(out)
    _, expected = read_evaluation(whole)
    assert [(r.bag, r.planner, r.t0_ns) for r in rows] == [(r.bag, r.planner, r.t0_ns) for r in expected]
    assert [dict(r.values) for r in rows] == [dict(r.values) for r in expected]
    # No plan was made a second time, frames were prepared as always.
    whole_log = (whole.parent / "log").read_text().splitlines()
    assert asked == whole_log and {line.split()[1] for line in asked} == {"48"}
    assert (
        json.loads((out / "evaluation.json").read_text())["counts"]
        == (json.loads((whole / "evaluation.json").read_text())["counts"])
    )
    evaluate(bags, out)  # all is there
    assert (tmp_path / "log").read_text().splitlines() == asked


def test_two_processes_find_the_same(bags: list[Path], whole: Path, tmp_path: Path) -> None:
    told: list[tuple[str, float, float, int]] = []
    evaluate(bags, tmp_path / "run", jobs=2, progress=lambda *step: told.append(step))
    names = ("rows.jsonl",)
    for name in names:
        mine = [json.loads(line) for line in (tmp_path / "run" / name).read_text().splitlines()]
        other = [json.loads(line) for line in (whole / name).read_text().splitlines()]
        assert mine == other
    assert {name for name, *_ in told} == {"drive0", "drive1"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hz": 5.0}, r"with setting hz 2\.0, got 5\.0"),
        ({"policy": "another"}, "with setting policy stub, got another"),
        ({"duration_s": 3.0}, "with setting duration_s None, got 3.0"),
    ],
)
def test_other_settings_are_refused(
    bags: list[Path], whole: Path, change: dict[str, Any], message: str
) -> None:
    before = (whole / "rows.jsonl").read_bytes()
    with pytest.raises(InvalidInput, match=message):
        evaluate(bags, whole, settings=replace(SETTINGS, **change))
    assert (whole / "rows.jsonl").read_bytes() == before


def test_other_bags_and_other_folders_are_refused(bags: list[Path], whole: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="with bag drive1"):
        evaluate(bags[:1], whole)
    (tmp_path / "letter.txt").write_text("Dear Sir")
    with pytest.raises(InvalidInput, match="expected a new folder or an evaluation's"):
        evaluate(bags, tmp_path)


def test_a_part_of_the_drive_and_every_observation(bags: list[Path], tmp_path: Path) -> None:
    part = replace(SETTINGS, hz=None, start_s=2.0, duration_s=1.0)
    evaluate(bags[:1], tmp_path / "run", settings=part)
    _, rows = read_evaluation(tmp_path / "run")
    times_s = [(r.t0_ns - 1_700_000_000_000_000_000) / 1e9 for r in rows if r.planner == "policy"]
    assert times_s == pytest.approx(np.arange(2.0, 3.01, 0.1), abs=0.011)


def test_the_report_holds_all_that_it_shows(whole: Path) -> None:
    path = write_report(whole, RIG, options=ReportOptions(worst=2))
    text = path.read_text()
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", text) and "@import" not in text
    assert "http" not in re.sub(r'src="data:[^"]*"', "", text)
    assert text.count("Worst plans") == 1 and "minADE_3@6.4s" in text and "constant turn rate" in text
    # Two instants with a strip and a view from above, and the plots.
    assert text.count("data:image/webp;base64,") == 2 * 2 + 3 + 2
    assert "Keep speed, the road is clear." in text


def test_instants_do_not_depend_on_where_one_begins() -> None:
    stamps = [round(1e9 * t) for t in np.arange(0.0, 20.0, 0.103)]
    chosen = Instants(0, 500_000_000)
    every = [t0 for t0 in stamps if chosen.chooses(t0)]
    again = Instants(0, 500_000_000)
    again.passed(every[10])
    assert [t0 for t0 in stamps if t0 > every[10] and again.chooses(t0)] == every[11:]
    assert len(every) == 41  # the last one, at 19.98 s, opens the period of 20 s


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hz": 0.0}, "hz: expected over 0"),
        ({"start_s": -1.0}, "start_s: expected zero or more"),
        ({"duration_s": 0.0}, "duration_s: expected over 0"),
        ({"miss_m": 0.0}, "miss_m: expected a number above zero"),
        ({"block_s": float("nan")}, "block_s: expected at least 6.4 s"),
        ({"block_s": 5.0}, "block_s: expected at least 6.4 s, which two plans may share, got 5.0"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        replace(SETTINGS, **change)
