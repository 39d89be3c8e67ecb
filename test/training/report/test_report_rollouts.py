"""What rollouts on disk tell of junctions and failures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import pytest
from rollout_factory import record_of

from alpamayo_ros.sim.asl_score import score_log
from alpamayo_ros.sim.record import RolloutRecord
from alpamayo_ros.sim.report.logged import read_rollout
from alpamayo_ros.sim.rollout_driver import Job
from alpamayo_ros.sim.scenes import make_scene
from alpamayo_ros.sim.scoring import RolloutScore, score_rollout
from alpamayo_ros.sim.scoring.score import METRICS
from alpamayo_ros.sim.workers import write_outcome
from alpamayo_ros.training.report.charts import failure_picture
from alpamayo_ros.training.report.rollouts import (
    closed_loop,
    crossings_of,
    event_step,
    find_rollouts,
    has_failed,
    what_happened,
)
from alpamayo_ros.types import InvalidInput

SCENE = "junction_4way-185"


@pytest.fixture(scope="module")
def record() -> RolloutRecord:
    """The reference drive, which turns right."""
    return record_of(make_scene(SCENE))


def score(**changes: object) -> RolloutScore:
    values = {"collision_at_fault": 0.0, "offroad": 0.0, **changes.pop("metrics", {})}  # type: ignore[dict-item]
    plain = RolloutScore(SCENE, "junction_4way", 0, "p", "time", scene_score=1.0)
    return replace(plain, metrics={**dict.fromkeys(METRICS), **values}, **changes)  # type: ignore[arg-type]


def test_the_route_is_followed_by_who_drives_it(record: RolloutRecord) -> None:
    (crossed,) = crossings_of(record, score())
    assert (crossed.told, crossed.taken) == ("right", "right")
    assert -110 < crossed.turned_deg < -60
    assert crossed.as_dict()["rollout"] == f"{SCENE}#0"


def test_who_stops_before_it_has_not_come_to_it(record: RolloutRecord) -> None:
    states, drives = record.ego[:30], record.drives[:29]
    assert crossings_of(replace(record, ego=states, drives=drives), score()) == ()


def test_a_junction_that_the_warm_up_passed_does_not_count(record: RolloutRecord) -> None:
    warm = tuple(replace(drive, source="reference") for drive in record.drives)
    assert crossings_of(replace(record, drives=warm), score()) == ()


def test_rollouts_are_found_where_either_command_puts_them(record: RolloutRecord, tmp_path: Path) -> None:
    scored = score_rollout(record)
    write_outcome(tmp_path / "sim", Job(SCENE), scored, record)
    write_outcome(
        tmp_path / "sim", Job("straight-180"), replace(scored, scene_id="straight-180", family="straight")
    )
    write_outcome(tmp_path / "evaluated" / "checkpoint", Job(SCENE), scored)
    write_outcome(tmp_path / "evaluated" / "baseline", Job("curve-181"), scored)
    found = find_rollouts(tmp_path / "sim")
    assert [each.score.scene_id for each in found] == ["straight-180", SCENE]
    assert found[0].read() is None
    logged = found[1].read()
    assert logged is not None and crossings_of(logged.record, scored)[0].taken == "right"
    (evaluated,) = find_rollouts(tmp_path / "evaluated")
    assert evaluated.score == found[1].score
    figures = closed_loop(found)
    assert figures["rollouts_scored"] == 2 and set(figures["by_family"]) == {"straight", "junction_4way"}
    with pytest.raises(InvalidInput, match="--rollouts: expected a folder that alpamayo sim"):
        find_rollouts(tmp_path / "evaluated" / "nothing")


@pytest.mark.parametrize(
    ("changes", "failed"),
    [
        ({}, False),
        ({"scene_score": 0.49}, True),
        ({"scene_score": None}, False),
        ({"metrics": {"collision_at_fault": 1.0}}, True),
        ({"metrics": {"strict_offroad": 1.0}}, True),
        ({"metrics": {"collision_any": 1.0}}, False),  # another ran into it
        ({"scene_score": 0.0, "failure_reason": "failed"}, True),
        ({"scored": False, "scene_score": None, "end_reason": "interrupted"}, False),
    ],
)
def test_what_is_a_failure(changes: dict[str, object], failed: bool) -> None:
    assert has_failed(score(**changes)) is failed


def test_what_happened_is_said(record: RolloutRecord) -> None:
    hit = score(
        end_reason="collision",
        collision_with="car_3",
        metrics={"strict_collision_at_fault": 1.0, "red_light_runs": 1, "progress_score": 0.4},
    )
    ended = replace(record, end_reason="collision")
    assert what_happened(hit, ended) == "collision with car_3, at fault, ran a red light, progress 0.40"
    lost = score(left_path=True, metrics={"offroad": 1.0})
    assert what_happened(lost, record) == "time is up, left the road, 4 m off the recorded drive"
    never = score(end_reason="failed", error="RuntimeError: no renderer")
    assert what_happened(never) == "failed: RuntimeError: no renderer"


def test_the_moment_is_the_last_with_a_plan_before_it(record: RolloutRecord) -> None:
    assert event_step(record, score()) == len(record.drives) - 1
    assert event_step(record, score(event_time_s=5.0)) == 50
    assert event_step(record, score(event_time_s=0.0)) == 0
    assert event_step(record, score(event_time_s=1e6)) == len(record.drives) - 1


def test_a_failure_is_drawn_from_above_where_no_picture_is_kept(
    record: RolloutRecord, tmp_path: Path
) -> None:
    write_outcome(tmp_path, Job(SCENE), score_rollout(record), record)
    (rollout,) = find_rollouts(tmp_path)
    logged = rollout.read()
    assert logged is not None and logged.pictures is None
    failure_picture(tmp_path / "failures" / "a.png", logged, rollout.score)
    assert cv2.imread(str(tmp_path / "failures" / "a.png")).shape[1] == 1430


def test_a_failure_is_shown_with_the_camera_where_pictures_are_kept(golden_dir: Path, tmp_path: Path) -> None:
    log = golden_dir / "alpasim" / "rollout.asl"
    scored = score_log(log)
    failure_picture(tmp_path / "a.png", read_rollout(log, scored), scored)
    assert cv2.imread(str(tmp_path / "a.png")).shape == (720, 1280, 3)
