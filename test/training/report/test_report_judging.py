"""Plans whose worth is known: perfect ones, the floor, ones that are off by so much."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from report_factory import SAID, Knowing, Looking, known_samples

from alpamayo_ros.evaluation.baselines import ConstantTurnPlanner
from alpamayo_ros.evaluation.displacement import HORIZONS_S
from alpamayo_ros.sim.planners import ConstantVelocityPlanner
from alpamayo_ros.training.report.baselines import plan_of_labels
from alpamayo_ros.training.report.figures import majority_guess, open_loop, reasoning
from alpamayo_ros.training.report.judging import (
    MID_GREY,
    blanked,
    blindfolded,
    judge,
    judge_all,
    seeing,
)
from alpamayo_ros.types import InvalidInput, Plan

SAMPLES, DRAWN = known_samples(32)


def shifted(plan: Plan, *, y_m: np.ndarray | float) -> Plan:
    xyz = plan.xyz_in_rig_t0.copy()
    xyz[..., 1] += y_m
    return replace(plan, xyz_in_rig_t0=xyz)


def joined(one: Plan, other: Plan) -> Plan:
    """Both plans' candidates; the first is chosen."""
    names = ("xyz_in_rig_t0", "rot_in_rig_t0", "accel_mps2", "curvature_per_m", "speed_mps")
    arrays = {n: np.concatenate([getattr(one, n), getattr(other, n)]) for n in (*names, "normalised_action")}
    texts = ("reasoning", "reasoning_complete", "meta_action", "token_ids", "sections")
    return replace(one, **arrays, **{n: getattr(one, n) + getattr(other, n) for n in texts})


def test_a_perfect_planner_is_perfect() -> None:
    judged = judge_all(seeing(Knowing(SAMPLES)), SAMPLES, DRAWN)
    floor = judge_all(seeing(ConstantVelocityPlanner()), SAMPLES, DRAWN)
    figures = open_loop(judged, floor)
    assert all(each["value"] == pytest.approx(0.0, abs=1e-6) for each in figures["distance_m"].values())
    assert all(each["value"] == pytest.approx(0.0, abs=1e-6) for each in figures["ratio"].values())
    said = reasoning(judged)
    assert said["component"]["value"] == said["balanced"] == said["scenes"]["value"] == 1.0
    assert said["confusion"] == {name: {name: 8} for name in sorted(SAID)}
    assert set(said["by_family"].values()) == {1.0}


def test_constant_velocity_over_itself_is_one() -> None:
    floor = judge_all(seeing(ConstantVelocityPlanner()), SAMPLES, DRAWN)
    figures = open_loop(floor, floor)
    for each in figures["ratio"].values():
        assert each["value"] == 1.0 and each["ci95"] == [1.0, 1.0] and each["n"] == 32
    for family in figures["by_family"].values():
        assert family["n"] == 8 and set(family["ratio"].values()) == {1.0}
    assert list(figures["by_family"]) == ["straight", "cones", "pedestrian", "traffic_light"]


def test_in_bends_a_constant_turn_is_better_than_straight_on() -> None:
    floor = judge_all(seeing(ConstantVelocityPlanner()), SAMPLES, DRAWN)
    turning = judge_all(seeing(ConstantTurnPlanner()), SAMPLES, DRAWN)
    assert open_loop(turning, floor)["ratio"]["ade@3s"]["value"] < 0.8  # all samples are circles


def test_distances_are_means_up_to_the_horizon() -> None:
    sample = SAMPLES[0]
    perfect = plan_of_labels(sample)
    off = judge(sample, shifted(perfect, y_m=1.0), scene_id="s")
    assert off.ade_m == pytest.approx([1.0] * 4) and off.min_ade_m == pytest.approx(1.0)
    grows = judge(sample, shifted(perfect, y_m=0.1 * np.arange(1, 65)), scene_id="s")
    expected = [np.mean(0.1 * np.arange(1, round(10 * horizon_s) + 1)) for horizon_s in HORIZONS_S]
    assert grows.ade_m == pytest.approx(expected, rel=1e-5)
    # Heights do not count.
    above = perfect.xyz_in_rig_t0 + np.array([0, 0, 2], np.float32)
    assert judge(sample, replace(perfect, xyz_in_rig_t0=above), scene_id="s").min_ade_m == 0.0


def test_of_several_candidates_the_best_the_chosen_and_any_one() -> None:
    sample = SAMPLES[0]
    perfect = plan_of_labels(sample)
    found = judge(sample, joined(shifted(perfect, y_m=1.0), perfect), scene_id="s")
    assert found.min_ade_m == 0.0
    assert found.ade_m == pytest.approx([1.0] * 4) and found.one_ade_m == pytest.approx([0.5] * 4)


def test_blindfolded_it_sees_grey_and_knows_all_else() -> None:
    observation = SAMPLES[0].observation
    blank = blanked(observation)
    assert isinstance(blank.frames, np.ndarray) and isinstance(observation.frames, np.ndarray)
    assert np.all(blank.frames == MID_GREY) and blank.frames.shape == observation.frames.shape
    assert blank.history_xyz_in_rig_t0 is observation.history_xyz_in_rig_t0
    several = replace(observation, frames=tuple(observation.frames))
    assert all(np.all(each == MID_GREY) for each in blanked(several).frames)


def test_a_reasoning_that_comes_from_the_pixels_is_lost_without_them() -> None:
    planner = Looking(SAMPLES)
    assert reasoning(judge_all(seeing(planner), SAMPLES, DRAWN))["component"]["value"] == 1.0
    blind = judge_all(blindfolded(planner), SAMPLES, DRAWN)
    said, guess = reasoning(blind), majority_guess(blind)
    # It says the same always: as good as a guess, and no better.
    assert guess["component"] == "cones"  # all are as frequent; the first by name
    assert said["component"]["value"] == guess["share"]["value"] == 0.25
    assert said["balanced"] == pytest.approx(0.25)
    assert said["confusion"]["light"] == {"free": 8}


def test_agreement_is_with_its_own_way_and_with_the_experts() -> None:
    sample = SAMPLES[0]
    perfect = plan_of_labels(sample)
    standing = replace(perfect, xyz_in_rig_t0=np.zeros_like(perfect.xyz_in_rig_t0))
    found = judge(sample, replace(standing, reasoning=("Accelerate since the road is clear.",)), scene_id="s")
    assert found.agreement == "contradicts" and found.component == "free"
    stops = judge(sample, replace(standing, reasoning=("Stop for the pedestrian.",)), scene_id="s")
    assert stops.agreement == "agrees" and stops.fits_expert != "agrees" and not stops.is_right
    nothing = judge(sample, replace(perfect, reasoning=("",)), scene_id="s")
    assert nothing.named == "nothing" and nothing.agreement == "says nothing"
    shares = reasoning([found, stops, nothing])["agreement"]
    assert (shares["agrees"], shares["contradicts"], shares["silent"]) == (1, 1, 1)
    assert shares["agrees_of_judged"]["value"] == 0.5 and shares["agrees_of_judged"]["n"] == 2


def test_samples_whose_component_nobody_knows_are_left_out() -> None:
    sample = replace(SAMPLES[0], tags={"family": "bag"})
    found = judge(sample, plan_of_labels(sample), scene_id="bag")
    assert found.is_right is None
    said = reasoning([found])
    assert said["component"]["n"] == 0 and said["confusion"] == {} and said["balanced"] is None
    assert majority_guess([found])["component"] is None


def test_what_is_no_plan_for_the_sample_is_refused() -> None:
    plan = plan_of_labels(SAMPLES[0])
    with pytest.raises(InvalidInput, match="synthetic/1: expected a plan of t0"):
        judge(SAMPLES[1], plan, scene_id="s")
    broken = plan.xyz_in_rig_t0.copy()
    broken[0, 3, 1] = np.nan
    with pytest.raises(InvalidInput, match="synthetic/0: xyz_in_rig_t0: expected finite"):
        judge(SAMPLES[0], replace(plan, xyz_in_rig_t0=broken), scene_id="s")
    judged = judge_all(seeing(Knowing(SAMPLES)), SAMPLES, DRAWN)
    with pytest.raises(InvalidInput, match="baseline: expected the same samples"):
        open_loop(judged, judged[1:])
