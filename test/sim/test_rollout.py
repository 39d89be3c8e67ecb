"""The closed loop: timeline, endings, record."""

from __future__ import annotations

import numpy as np
import pytest

from alpamayo_ros.sim.observations import observe
from alpamayo_ros.sim.planners import ConstantVelocityPlanner
from alpamayo_ros.sim.rollout import ClosedLoop, LoopEnded
from alpamayo_ros.sim.scene import FORCE_GT_US, ROLLOUT_US, STEP_US
from alpamayo_ros.sim.scenes import make_scene
from alpamayo_ros.sim.trajectories import candidates_in_local, plan_in_local
from alpamayo_ros.sim.world import ProceduralWorld
from alpamayo_ros.types import InvalidInput


def _loop(scene_id: str) -> ClosedLoop:
    return ClosedLoop(ProceduralWorld(make_scene(scene_id)), planner="test", clock=lambda: 0.0)


def _warm_up(loop: ClosedLoop) -> None:
    while loop.warming_up:
        loop.follow_reference()


def _drive_straight(loop: ClosedLoop) -> None:
    plan = ConstantVelocityPlanner().plan(observe(loop.history(16), None))
    pose = loop.ego.local_from_rig
    loop.drive(
        *plan_in_local(plan, pose), candidates=candidates_in_local(plan, pose), reasoning="straight on"
    )


def test_warm_up_follows_the_reference_exactly_and_then_hands_over() -> None:
    loop = _loop("curve-1")
    start_us = loop.scene.start_us
    assert loop.time_us == start_us and loop.warming_up and not loop.done
    _warm_up(loop)
    assert loop.time_us == start_us + FORCE_GT_US
    reference = loop.scene.reference
    for state in loop.history(99):
        index = int(np.searchsorted(reference.stamps_us, state.time_us))
        np.testing.assert_allclose(state.local_from_rig, reference.local_from_rig[index], atol=1e-9)
        assert state.speed_mps == pytest.approx(float(reference.speed_mps[index]))
    assert len(loop.history(16)) == 16 and loop.history(16)[-1] is loop.ego
    with pytest.raises(InvalidInput, match="expected to be called in warm-up"):
        loop.follow_reference()


def test_plans_of_warm_up_are_on_record_but_not_driven() -> None:
    loop = _loop("straight-0")
    here = np.tile(loop.ego.local_from_rig, (30, 1, 1))
    stamps_us = loop.time_us + STEP_US * np.arange(30, dtype=np.int64)
    before = loop.ego
    loop.drive(stamps_us, here, reasoning="stay")
    assert np.linalg.norm(loop.ego.xy_m - before.xy_m) > 0.5
    assert loop.drives[0].source == "reference" and loop.drives[0].reasoning == "stay"


def test_the_record_has_a_drive_a_step_and_tracks_of_the_actors() -> None:
    loop = _loop("lead_braking-9")
    with pytest.raises(InvalidInput, match="expected a rollout that is over"):
        loop.record()
    _warm_up(loop)
    for _ in range(5):
        _drive_straight(loop)
    loop.stop("no plan in time")
    loop.finish("terminated")
    record = loop.record()
    assert len(record.drives) == len(record.ego) - 1 == 23
    assert [drive.source for drive in record.drives] == ["reference"] * 17 + ["plan"] * 5 + ["stop"]
    assert record.drives[-1].reason == "no plan in time"
    assert np.all(np.diff(record.stamps_us) == STEP_US)
    assert [drive.time_us for drive in record.drives] == record.stamps_us[:-1].tolist()
    assert record.end_reason == "terminated" and record.planner == "test"
    assert list(record.actors) == sorted(record.actors)
    assert record.drives[18].candidates.shape == (1, 64, 3)
    for track in record.actors.values():
        assert track.present.shape == (24,) and track.local_from_box.shape == (24, 4, 4)
        assert np.isfinite(track.local_from_box[track.present]).all()


def test_a_stop_brings_the_ego_to_a_stand_and_time_ends_the_rollout() -> None:
    loop = _loop("straight-0")
    _warm_up(loop)
    assert loop.ego.speed_mps > 5
    while not loop.done:
        loop.stop("no plan")
    record = loop.record()
    assert record.end_reason == "time"
    assert record.ego[-1].time_us == loop.scene.start_us + ROLLOUT_US
    assert record.ego[-1].speed_mps < 0.1
    hardest = min(state.accel_in_rig_mps2[0] for state in record.ego[17:])
    assert -4.0 < hardest < -1.5
    with pytest.raises(LoopEnded, match=r"over \(time\)"):
        loop.stop("again")


def test_straight_on_in_a_bend_ends_off_road() -> None:
    loop = _loop("curve-1")
    _warm_up(loop)
    while not loop.done:
        _drive_straight(loop)
    assert loop.end_reason == "off_road"
    assert loop.time_us < loop.end_us


def test_straight_into_a_queue_ends_in_a_collision() -> None:
    loop = _loop("queue-10")
    _warm_up(loop)
    while not loop.done:
        _drive_straight(loop)
    assert loop.end_reason == "collision"


def test_the_reference_itself_reaches_the_goal() -> None:
    loop = _loop("curve-1")
    course = loop.course
    assert not course.is_passed(course.state_at(loop.scene.start_us))
    end = course.state_at(int(loop.scene.reference.stamps_us[-1]))
    assert course.is_passed(end)
    assert course.progress_m(end) == pytest.approx(course.length_m)


def test_a_bad_trajectory_is_refused_and_changes_nothing() -> None:
    loop = _loop("straight-0")
    poses = np.tile(np.eye(4), (30, 1, 1))
    stamps_us = loop.time_us + STEP_US * np.arange(30, dtype=np.int64)
    poses[3, 0, 3] = np.nan
    with pytest.raises(InvalidInput, match="expected finite values"):
        loop.drive(stamps_us, poses)
    assert loop.time_us == loop.scene.start_us and not loop.drives


def test_a_world_that_has_moved_is_refused() -> None:
    world = ProceduralWorld(make_scene("straight-0"))
    loop = ClosedLoop(world)
    loop.follow_reference()
    with pytest.raises(InvalidInput, match="expected one at its start"):
        ClosedLoop(world)
