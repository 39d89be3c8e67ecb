"""Many scores in one: means, intervals, kilometres between incidents, names of what failed."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from score_factory import car, straight_drive, straight_road, straight_scene

from alpamayo_ros.sim.record import ActorTrack, DriveRecord, RolloutRecord
from alpamayo_ros.sim.scene import STEP_US
from alpamayo_ros.sim.scoring import METRICS, RolloutScore, aggregate, from_record, score_input, score_rollout
from alpamayo_ros.sim.state import EgoState


def score(scene: int, value: float | None, **rest: object) -> RolloutScore:
    family = "straight" if scene % 2 == 0 else "curve"
    fields = {"rollout_index": 0, "planner": "test", "end_reason": "time", "scene_score": value, **rest}
    return RolloutScore(f"{family}-{scene}", family, **fields)


def driven(scene: int, km: float, *, incident: float = 0.0, at_fault: float = 0.0) -> RolloutScore:
    metrics = {
        **dict.fromkeys(METRICS),
        "dist_traveled_m": km * 1000.0,
        "offroad_or_collision": incident,
        "offroad_or_collision_at_fault": at_fault,
        "collision_at_fault": at_fault,
        "offroad": 0.0,
    }
    return score(scene, 1.0 - at_fault, metrics=metrics)


def test_mean_and_interval_over_scenes() -> None:
    values = np.random.default_rng([1]).uniform(0, 1, 100)
    result = aggregate([score(i, float(value)) for i, value in enumerate(values)])["scene_score"]
    assert isinstance(result, dict)
    assert result["n"] == 100
    assert result["mean"] == pytest.approx(values.mean(), abs=1e-6)
    half = 1.96 * values.std() / 10.0
    assert result["ci95"] == pytest.approx([values.mean() - half, values.mean() + half], abs=0.01)


def test_rollouts_of_one_scene_are_drawn_together() -> None:
    """Ten rollouts each of two scenes that always score 0 and 1 say no more than one each."""
    scores = [score(i % 2, float(i % 2), rollout_index=i // 2) for i in range(20)]
    result = aggregate(scores)["scene_score"]
    assert isinstance(result, dict)
    assert (result["mean"], result["ci95"], result["n"]) == (0.5, [0.0, 1.0], 20)


def test_kilometres_between_incidents() -> None:
    scores = [driven(i, 0.2, incident=float(i < 2), at_fault=float(i == 0)) for i in range(20)]
    result = aggregate(scores)
    km = result["alpasim_score_km"]
    assert isinstance(km, dict)
    assert (km["km"], km["incidents"], km["value"], km["text"]) == (4.0, 2, 2.0, "2.00 km")
    assert km["lower_bound_95_km"] == pytest.approx(4.0 / 6.296, abs=1e-3)  # Poisson, 2 events
    assert km["ci95"] == pytest.approx([4.0 / 7.225, 4.0 / 0.2422], abs=2e-2)
    blamed = result["alpasim_score_at_fault_km"]
    assert isinstance(blamed, dict)
    assert (blamed["incidents"], blamed["value"]) == (1, 4.0)
    assert (result["at_fault"], result["offroad"]) == (1, 0)


def test_without_incidents_there_is_a_bound_not_a_value() -> None:
    km = aggregate([driven(i, 0.2) for i in range(20)])["alpasim_score_km"]
    assert isinstance(km, dict)
    assert km["value"] is None
    assert km["lower_bound_95_km"] == pytest.approx(4.0 / 2.996, abs=1e-3)
    assert km["text"] == "> 1.34 km"
    assert km["ci95"][1] is None


def test_failures_count_zero_and_are_named() -> None:
    failed = score(1, 0.0, end_reason="failed", failure_reason="failed", error="renderer died")
    dropped = score(2, None, end_reason="interrupted", scored=False)
    unknown = score(3, None)
    result = aggregate([driven(0, 0.2), failed, dropped, unknown])
    assert isinstance(result["scene_score"], dict)
    assert (result["scene_score"]["mean"], result["scene_score"]["n"]) == (0.5, 2)
    assert result["failed"] == ["curve-1#0"]
    assert result["not_scored"] == ["straight-2#0"]
    assert result["unknown"] == ["curve-3#0"]
    km = result["alpasim_score_km"]
    assert isinstance(km, dict)
    assert km["km"] == 0.2


def test_all_unknown_is_none() -> None:
    result = aggregate([score(3, None)])
    assert result["scene_score"] == {"mean": None, "ci95": None, "n": 0}
    assert (result["at_fault"], result["offroad"], result["red_light_runs"]) == (None, None, None)
    assert result["alpasim_score_km"]["text"] == "unknown"
    json.dumps(aggregate([]), allow_nan=False)


def test_families_are_told_apart_in_their_order() -> None:
    result = aggregate([score(1, 0.2), score(0, 1.0), score(2, 0.5)])["by_family"]
    assert isinstance(result, dict)
    assert list(result) == ["straight", "curve"]
    assert result["straight"]["scene_score"]["mean"] == 0.75
    assert result["curve"]["scene_score"]["n"] == 1


def test_order_of_rollouts_does_not_matter() -> None:
    scores = [driven(i, 0.1 * i, incident=float(i == 3)) for i in range(9)]
    assert json.dumps(aggregate(scores)) == json.dumps(aggregate(scores[::-1]))


def test_a_score_is_json_and_keeps_its_order() -> None:
    first = score_input(straight_drive(actors=(car("far", 200.0, -1.75),))).as_dict()
    second = score_input(straight_drive(np.zeros(100), actors=None)).as_dict()
    early = score_input(straight_drive(steps=5)).as_dict()
    assert list(first) == list(second) == list(early)
    assert early["progress"] is None
    assert json.loads(json.dumps(first, allow_nan=False)) == first
    json.dumps(aggregate([score_input(straight_drive())]), allow_nan=False)


def straight_record(**rest: object) -> RolloutRecord:
    scene = straight_scene(straight_road())
    start_us = scene.start_us
    states = tuple(
        EgoState(start_us + k * STEP_US, pose, (10.0, 0.0))
        for k, pose in enumerate(scene.reference.local_from_rig)
    )
    boxes = np.tile(np.eye(4), (218, 1, 1))
    boxes[:, 0, 3], boxes[:, 1, 3] = 100.0, 1.75
    present = np.arange(218) < 50
    boxes[~present] = np.nan
    track = ActorTrack("parked", "car", (4.5, 1.9, 1.5), True, present, boxes)
    drives = tuple(
        DriveRecord(
            time_us=state.time_us,
            source="plan" if k >= 17 else "reference",
            stamps_us=state.time_us + STEP_US * np.arange(65, dtype=np.int64),
            local_from_rig=np.stack([_ahead(state.local_from_rig, step) for step in range(65)]),
            candidates=np.stack([_ahead(state.local_from_rig, step)[:3, 3] for step in range(1, 65)])[None],
        )
        for k, state in enumerate(states[:-1])
    )
    fields = {"ego": states, "actors": {"parked": track}, "drives": drives, "end_reason": "time", **rest}
    return RolloutRecord(scene=scene, rollout_index=0, planner="test", **fields)


def _ahead(pose: np.ndarray, distance_m: float) -> np.ndarray:
    moved = pose.copy()
    moved[0, 3] += distance_m
    return moved


def test_a_record_is_scored() -> None:
    record = straight_record()
    rollout = from_record(record)
    assert rollout.ego_boxes[0] == pytest.approx([1.4, -1.75, 0.75, 0.0])
    assert rollout.actors is not None
    assert np.isnan(rollout.actors[0].poses[50:]).all()
    scored = score_rollout(record)
    assert (scored.scene_score, scored.name) == (1.0, "straight-0#0")
    assert scored.metrics["plan_deviation"] == pytest.approx(0.0, abs=1e-9)
    assert scored.metrics["min_ade@5s"] == pytest.approx(0.0, abs=1e-9)
    assert scored.metrics["open_loop_collision"] == 0.0
    assert scored.metrics["dist_traveled_m"] == pytest.approx(217.0)


def test_whether_road_users_are_known_is_the_scenes_to_say() -> None:
    record = straight_record(actors={})
    assert from_record(record).actors == ()
    elsewhere = replace(record, scene=replace(record.scene, family="recorded", road=None))
    assert from_record(elsewhere).actors is None
    known = replace(elsewhere.scene, extras={"actors_known": True})
    assert from_record(replace(record, scene=known)).actors == ()
