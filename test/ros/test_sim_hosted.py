"""A planner inside the bridge: it looks at the world only while that rests, and thinks ahead."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from alpamayo_ros.ros.sim_hosted import HostedPlanner
from alpamayo_ros.sim.observations import observe
from alpamayo_ros.sim.recorded_world import RecordedWorld, recorded_scene
from alpamayo_ros.sim.rollout import ClosedLoop
from alpamayo_ros.sim.scenes import make_scene
from alpamayo_ros.sim.world import ProceduralWorld
from alpamayo_ros.types import InvalidInput, Observation


@pytest.fixture
def expert() -> Iterator[HostedPlanner]:
    planner = HostedPlanner("expert")
    yield planner
    planner.close()


def begun(planner: HostedPlanner) -> tuple[ClosedLoop, Observation]:
    """Return a rollout after its warm-up, and what is to be seen there."""
    world = ProceduralWorld(make_scene("straight-0"))
    planner.begin(world)
    loop = ClosedLoop(world)
    while loop.warming_up:
        loop.follow_reference()
    return loop, observe(loop.history(16), None)


def test_what_it_thought_of_ahead_is_the_plan(expert):
    _, expected = begun(expert)
    expert.think_ahead(expected)
    with_images = replace(expected, frames=np.ones_like(expected.frames))
    plan = expert.plan(with_images)
    assert plan.t0_ns == expected.t0_ns
    assert expert.plan(with_images) is plan


def test_another_pose_than_expected_is_planned_for_itself(expert):
    _, expected = begun(expert)
    expert.think_ahead(expected)
    ahead = expert.plan(expected)
    moved = np.array(expected.rig_pose_in_odom_at_t0)
    moved[0, 3] += 0.5
    assert expert.plan(replace(expected, rig_pose_in_odom_at_t0=moved)) is not ahead


def test_no_plan_is_made_while_the_world_moves(expert):
    _, seen = begun(expert)
    done = threading.Event()
    with expert.moving():
        thread = threading.Thread(target=lambda: (expert.plan(seen), done.set()))
        thread.start()
        assert not done.wait(0.2)
    assert done.wait(5)
    thread.join()


def test_another_time_than_the_world_s_is_refused(expert):
    loop, seen = begun(expert)
    with expert.moving():
        loop.stop("")
    with pytest.raises(InvalidInput, match="expected the world's time"):
        expert.plan(seen)


def test_nothing_is_planned_before_a_rollout(expert):
    _, seen = begun(HostedPlanner("constant"))
    with pytest.raises(InvalidInput, match="got one before any began"):
        expert.plan(seen)


def test_the_expert_needs_a_world_that_it_can_see(expert):
    stamps = np.arange(0, 5_000_001, 100_000, dtype=np.int64)
    world = RecordedWorld(recorded_scene("clip", stamps, np.tile(np.eye(4), (len(stamps), 1, 1))))
    with pytest.raises(InvalidInput, match="expected a procedural scene for the expert"):
        expert.begin(world)


def test_other_planners_are_refused():
    with pytest.raises(InvalidInput, match="planner: expected expert or constant, got 'nobody'"):
        HostedPlanner("nobody")
