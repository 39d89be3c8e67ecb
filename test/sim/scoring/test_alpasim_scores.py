"""AlpaSim's metrics: its evaluator's own results, and what must hold of any rollout."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from score_factory import car, case_input, case_road, moved, straight_drive

from alpamayo_ros.sim.roads import RoadNetwork
from alpamayo_ros.sim.scoring import score_input
from alpamayo_ros.sim.scoring.alpasim import alpasim_metrics, scene_score

TOLERANCE = 1e-3
CASES = (
    "as_recorded",
    "overlap_only_before_handover",
    "front_from_2.5s",
    "rear_from_2.5s",
    "side_full_length",
    "side_crossing_middle",
    "front_corner_side_swipe",
    "side_behind_corner_zone",
    "gap_2cm_by_shrink",
    "touch_by_1cm",
    "rounded_corner_miss",
    "leaves_path_then_collides",
    "collides_then_leaves_path",
    "recorded_path_3m",
    "right_2.70",
    "right_2.80",
    "right_3.9",
    "straddles_centre_line",
    "opposite_lane",
    "weaves",
    "slow",
    "wrong_way_yaw",
    "off_beyond_edge_8m",
)


@pytest.fixture(scope="module")
def cases(golden_dir: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((golden_dir / "alpasim" / "score_cases.json").read_text())
    return loaded


@pytest.fixture(scope="module")
def road(cases: dict[str, Any]) -> RoadNetwork:
    return case_road(cases["map"])


def test_all_cases_are_here(cases: dict[str, Any]) -> None:
    assert set(cases["cases"]) == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_equals_alpasims_evaluator(cases: dict[str, Any], road: RoadNetwork, name: str) -> None:
    score = score_input(case_input(cases, name, road=road)).as_dict()
    expected = cases["cases"][name]["expected"]
    assert len(expected) == 18
    for key, value in expected.items():
        if isinstance(value, float):
            assert score[key] == pytest.approx(value, abs=TOLERANCE), key
        else:
            assert score[key] == value, key


@pytest.mark.parametrize("name", ["weaves", "right_2.80", "side_crossing_middle", "wrong_way_yaw"])
@settings(max_examples=8)
@given(turn_rad=st.floats(-3.1, 3.1), x_m=st.floats(-2000, 2000), y_m=st.floats(-2000, 2000))
def test_does_not_depend_on_the_frame(
    cases: dict[str, Any], road: RoadNetwork, name: str, turn_rad: float, x_m: float, y_m: float
) -> None:
    rollout = case_input(cases, name, road=road)
    here, there = score_input(rollout), score_input(moved(rollout, turn_rad, (x_m, y_m)))
    assert there.failure_reason == here.failure_reason
    assert there.scene_score == pytest.approx(here.scene_score, abs=1e-6)
    assert there.metrics.keys() == here.metrics.keys()
    for key, value in here.metrics.items():
        assert there.metrics[key] == pytest.approx(value, abs=1e-5), key


@given(shares=st.lists(st.floats(0.0, 1.0), min_size=2, max_size=5).map(sorted))
def test_more_progress_never_scores_less(shares: list[float]) -> None:
    steps = np.arange(100) * 1.0
    scores = []
    for share in shares:
        x_m = np.where(steps <= 17, steps, 17 + (steps - 17) * share)
        scores.append(score_input(straight_drive(x_m)).scene_score)
    assert scores == sorted(scores)


def test_full_score_from_eighty_percent_on() -> None:
    steps = np.arange(100) * 1.0
    assert score_input(straight_drive(np.minimum(steps, 0.8 * 99 + 0.1))).scene_score == 1.0
    score = score_input(straight_drive(np.minimum(steps, 0.4 * 99))).scene_score
    assert score == pytest.approx(0.5, abs=1e-6)


def test_the_worst_of_several_collisions_counts() -> None:
    behind, ahead = car("behind", 45.4, -1.75), car("ahead", 54.6, -1.75)
    beside = replace(car("beside", 50.0, 0.1), length_m=2.0)
    for actors, kind in (((behind, beside), "lateral"), ((behind, beside, ahead), "front")):
        x_m = np.where(np.arange(100) < 60, 0.0, 50.0)
        score = score_input(straight_drive(x_m, actors=actors))
        assert score.metrics[f"collision_{kind}"] == 1.0
        assert score.failure_reason == "collision_at_fault"


def test_a_rear_collision_only_ends_the_rollout() -> None:
    x_m = np.minimum(np.arange(100) * 1.0, 50.0)
    hit = car("behind", np.where(np.arange(100) < 70, -20.0, 45.6), -1.75)
    score = score_input(straight_drive(x_m, actors=(hit,)))
    assert score.failure_reason is None
    assert score.collision_with == "behind"
    assert score.event_time_s == pytest.approx(7.0)
    assert score.metrics["collision_rear"] == 1.0
    assert score.metrics["collision_at_fault"] == 0.0
    assert score.metrics["offroad_or_collision"] == 1.0
    assert score.metrics["offroad_or_collision_at_fault"] == 0.0
    assert score.scene_score == pytest.approx(50.0 / 99.0 / 0.8, abs=1e-6)


def test_unknown_is_none_not_zero() -> None:
    known = straight_drive(actors=(car("far", 200.0, -1.75),))
    no_map = score_input(replace(known, road=None))
    for key in (
        "offroad",
        "wrong_lane",
        "min_distance_to_lane_boundary_m",
        "strict_offroad",
        "red_light_runs",
        "stop_sign_runs",
        "offroad_or_collision",
    ):
        assert no_map.metrics[key] is None, key
    assert no_map.metrics["collision_any"] == 0.0
    assert no_map.scene_score == no_map.metrics["progress_score"] == 1.0
    assert no_map.unknown_incidents == ("offroad",), "the score is one of a drive that stayed on the road"
    alone = score_input(replace(known, actors=None))
    for key in (
        "collision_any",
        "collision_front",
        "collision_at_fault",
        "min_distance_to_obstacle_m",
        "ttc_under_1s_share",
        "open_loop_collision",
    ):
        assert alone.metrics[key] is None, key
    assert alone.metrics["offroad"] == 0.0
    assert alone.scene_score is None
    assert alone.unknown_incidents == ("collision_at_fault",)


def test_a_known_crash_is_a_zero_even_where_the_map_is_unknown() -> None:
    rollout = replace(straight_drive(actors=(car("wall", 60.0, -1.75),)), road=None)
    score = score_input(rollout)
    assert (score.scene_score, score.failure_reason) == (0.0, "collision_at_fault")
    assert score.metrics["offroad_or_collision"] == 1.0


def test_no_one_there_is_not_the_same_as_no_one_known() -> None:
    score = score_input(straight_drive(actors=()))
    assert score.metrics["collision_any"] == 0.0
    assert score.metrics["min_distance_to_obstacle_m"] is None
    assert score.scene_score == 1.0


def test_absent_actors_do_not_collide() -> None:
    there = car("ghost", 60.0, -1.75)
    there.poses[:] = np.nan
    score = score_input(straight_drive(actors=(there,)))
    assert score.metrics["collision_any"] == 0.0
    assert score.metrics["min_distance_to_obstacle_m"] is None


def test_black_images_drop_and_failures_count_zero() -> None:
    black = score_input(replace(straight_drive(), has_black_image=True))
    assert (black.scored, black.scene_score) == (False, None)
    failed = score_input(replace(straight_drive(), end_reason="failed", error="renderer died"))
    assert (failed.scored, failed.scene_score, failed.failure_reason) == (True, 0.0, "failed")
    assert failed.error == "renderer died"
    early = score_input(straight_drive(steps=5))
    assert (early.scored, early.scene_score, early.failure_reason) == (True, 0.0, "not_driven")
    interrupted = score_input(replace(straight_drive(), end_reason="interrupted"))
    assert (interrupted.scored, interrupted.scene_score) == (False, None)


def test_headings_on_either_side_of_south_agree() -> None:
    rollout = straight_drive(y_m=1.75)
    boxes = rollout.ego_boxes.copy()
    for yaw in (np.pi - 0.01, -np.pi + 0.01):
        boxes[:, 3] = yaw  # in the lane to the west, heading west
        metrics = alpasim_metrics(replace(rollout, ego_boxes=boxes))
        assert metrics is not None
        assert metrics.values["wrong_lane"] == 0.0
        assert scene_score(metrics.values)[1] is None
