"""minADE, plan deviation, open-loop collision."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from score_factory import START_US, STEP_US, car, straight_drive

from alpamayo_ros.sim.roads import Float64Array
from alpamayo_ros.sim.scoring import score_input
from alpamayo_ros.sim.scoring.inputs import DriveInput, ScoreInput


def plan(
    step: int, y_m: float, *, samples_y_m: tuple[float, ...] = (), speed_mps: float = 10.0
) -> DriveInput:
    """Return a plan straight ahead from where the drive is at a step; samples beside the recorded drive."""
    ahead_s = 0.1 * np.arange(65)
    x_m = step * 1.0 - 1.4 + speed_mps * ahead_s
    poses = np.stack([x_m, np.full(65, y_m), np.zeros(65)], axis=-1)
    samples = [np.stack([x_m[1:], np.full(64, -1.75 + y), np.zeros(64)], axis=-1) for y in samples_y_m]
    stamps_us = START_US + STEP_US * (step + np.arange(65, dtype=np.int64))
    return DriveInput(
        time_us=int(stamps_us[0]),
        stamps_us=stamps_us,
        rig_poses=poses,
        candidate_stamps_us=stamps_us[1:],
        candidates=np.array(samples).reshape(len(samples), 64, 3),
    )


def drive(plans: list[DriveInput], **rest: object) -> ScoreInput:
    return replace(straight_drive(), drives=tuple(plans), **rest)


def test_min_ade_is_of_the_best_sample() -> None:
    values = score_input(drive([plan(k, -1.75, samples_y_m=(3.0, -0.5, 2.0)) for k in range(99)])).metrics
    for horizon in ("0.5", "1", "2.5", "5"):
        assert values[f"min_ade@{horizon}s"] == pytest.approx(0.5)


def test_min_ade_is_from_box_centre_to_box_centre() -> None:
    turned = plan(30, -1.75, samples_y_m=(0.0,))
    candidates = turned.candidates.copy()
    candidates[..., 2] = np.pi / 2  # on the recorded places, but across: the box is to the left of them
    rollout = drive([replace(turned, candidates=candidates)])
    values = score_input(rollout).metrics
    expected = np.sqrt(2.0) * rollout.box_ahead_of_rig_m
    assert values["min_ade@1s"] == pytest.approx(expected)


def test_min_ade_averages_up_to_the_horizon() -> None:
    sample = plan(30, -1.75, samples_y_m=(0.0,), speed_mps=11.0)  # 1 m/s too fast
    values = score_input(drive([sample])).metrics
    for horizon_s in (0.5, 1.0, 2.5, 5.0):
        expected = np.mean(np.arange(1, round(horizon_s * 10) + 1) * 0.1)
        assert values[f"min_ade@{horizon_s:g}s"] == pytest.approx(expected)


def test_min_ade_wants_the_whole_horizon() -> None:
    values = score_input(drive([plan(80, -1.75, samples_y_m=(0.5,))])).metrics
    assert values["min_ade@1s"] == pytest.approx(0.5)
    assert values["min_ade@2.5s"] is None  # the rollout ends 1.9 s later


def test_without_samples_min_ade_is_unknown() -> None:
    values = score_input(drive([plan(k, -1.75) for k in range(99)])).metrics
    assert values["min_ade@0.5s"] is None


def test_plan_deviation_weighs_near_waypoints_more() -> None:
    same = score_input(drive([plan(k, -1.75) for k in range(99)])).metrics
    assert same["plan_deviation"] == pytest.approx(0.0, abs=1e-9)
    beside = score_input(drive([plan(k, -1.75 + 0.3 * (k % 2)) for k in range(99)])).metrics
    assert beside["plan_deviation"] == pytest.approx(0.3)
    faster = score_input(drive([plan(40, -1.75), plan(41, -1.75, speed_mps=12.0)])).metrics
    index = np.arange(63)  # stamps that both plans have, but the newer one's first
    expected = np.average(0.2 * (index + 1), weights=np.exp(-0.1 * index))
    assert faster["plan_deviation"] == pytest.approx(expected)


def test_stops_and_the_reference_are_not_the_planners() -> None:
    plans = [plan(k, -1.75 + 0.3 * (k % 2)) for k in range(99)]
    mixed = [replace(each, from_planner=k % 2 == 0) for k, each in enumerate(plans)]
    assert score_input(drive(mixed)).metrics["plan_deviation"] is None


@pytest.mark.parametrize(("gap_m", "share"), [(20.0, 1.0), (40.0, 0.0)])
def test_open_loop_collision_looks_three_seconds_ahead(gap_m: float, share: float) -> None:
    """10 m/s for 3 s is 30 m; the other keeps its distance, so nothing happens in the rollout itself."""
    x_m = np.arange(100) * 1.0
    ahead = car("ahead", x_m + gap_m, -1.75)
    plans = [plan(k, -1.75, speed_mps=10.0 + 10.0) for k in range(17, 60)]
    values = score_input(drive(plans, actors=(ahead,))).metrics
    assert values["collision_any"] == 0.0
    assert values["open_loop_collision"] == pytest.approx(share)


def test_open_loop_collision_forgets_who_is_gone() -> None:
    gone: Float64Array = np.where(np.arange(100) < 40, 60.0, np.nan)
    there = car("gone", gone, -1.75)
    values = score_input(drive([plan(38, -1.75)], actors=(there,))).metrics
    assert values["open_loop_collision"] == 0.0
