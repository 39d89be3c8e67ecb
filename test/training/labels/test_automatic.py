"""Automatic labels of a real drive: true to the plans, and the same each time."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from alpamayo_ros.evaluation.component import component_of_text
from alpamayo_ros.safety.monitor import Agreement, judge_reasoning
from alpamayo_ros.sim.observations import observe
from alpamayo_ros.sim.planners import ExpertPlanner
from alpamayo_ros.sim.rollout import ClosedLoop
from alpamayo_ros.sim.scenes import make_scene
from alpamayo_ros.sim.trajectories import plan_in_local
from alpamayo_ros.sim.world import ProceduralWorld
from alpamayo_ros.training.labels.automatic import AutomaticLabels
from alpamayo_ros.training.labels.meta_action import MetaAction
from alpamayo_ros.training.simulate import Label
from alpamayo_ros.types import InvalidInput, Observation, Plan

SCENE_ID, TICKS = "stop_sign-15", 45
LABELLERS = (AutomaticLabels(), AutomaticLabels(varied=False), AutomaticLabels())


@dataclass
class Drive:
    """What the expert saw and planned, and what each labeller said of it."""

    world: ProceduralWorld
    expert: ExpertPlanner
    loop: ClosedLoop
    ticks: list[tuple[Observation, Plan, list[Label]]]


def driven() -> Drive:
    world = ProceduralWorld(make_scene(SCENE_ID))
    drive = Drive(world, ExpertPlanner(world), ClosedLoop(world), [])
    loop = drive.loop
    labels = [labeller.start(drive.expert, seed=7) for labeller in LABELLERS]
    while loop.warming_up:
        loop.follow_reference()
    for _ in range(TICKS):
        observation = observe(loop.history(16), None)
        plan = drive.expert.plan(observation)
        drive.ticks.append((observation, plan, [each.label(world, loop.ego, plan) for each in labels]))
        loop.drive(*plan_in_local(plan, loop.ego.local_from_rig))
    return drive


@pytest.fixture(scope="module")
def drive() -> Drive:
    return driven()


def test_labels_are_true_to_the_plans(drive: Drive) -> None:
    agreed = 0
    for observation, plan, (label, *_) in drive.ticks:
        count = plan.num_samples
        said = replace(plan, reasoning=(label.reasoning,) * count, meta_action=(label.meta_action,) * count)
        verdict = judge_reasoning(said, observation)
        assert verdict.agreement is not Agreement.CONTRADICTS, (label, verdict.reason)
        agreed += verdict.agreement is Agreement.AGREES
        assert label.tags["component"] == component_of_text(label.reasoning).value
        assert str(MetaAction.parse(label.meta_action)) == label.meta_action
    assert agreed > 0.9 * len(drive.ticks)


def test_the_stop_sign_is_named_and_the_wording_varies(
    drive: Drive,
) -> None:
    at_sign = [labels for _, _, labels in drive.ticks if labels[0].tags["component"] == "stop_sign"]
    assert len(at_sign) > 5
    assert len({varied.reasoning for varied, _, _ in at_sign}) > 3
    assert all(varied == again for varied, _, again in at_sign)
    assert all(plain.tags == varied.tags for varied, plain, _ in at_sign)


def test_without_variation_it_is_the_plan_s_own_reasoning(
    drive: Drive,
) -> None:
    assert all(plain.reasoning == plan.reasoning[plan.chosen] for _, plan, (_, plain, _) in drive.ticks)


def test_a_plan_that_is_not_the_expert_s_last_is_refused(drive: Drive) -> None:
    labels = AutomaticLabels().start(drive.expert, seed=0)
    (_, newest, _), (_, oldest, _) = drive.ticks[-1], drive.ticks[0]
    assert labels.label(drive.world, drive.loop.ego, newest).reasoning
    with pytest.raises(InvalidInput, match="expected the expert's last one"):
        labels.label(drive.world, drive.loop.ego, oldest)
