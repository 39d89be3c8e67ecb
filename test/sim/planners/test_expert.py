"""The privileged expert: drives, keeps rules, says why."""

from __future__ import annotations

import numpy as np
import pytest

from alpamayo_ros.sim.observations import observe
from alpamayo_ros.sim.planner_sources import ExpertSource
from alpamayo_ros.sim.planners import ExpertPlanner
from alpamayo_ros.sim.planners.paths import FRONT_M
from alpamayo_ros.sim.planners.route_frame import RouteFrame
from alpamayo_ros.sim.record import RolloutRecord
from alpamayo_ros.sim.rollout import ClosedLoop
from alpamayo_ros.sim.rollout_driver import Job, drive_rollout
from alpamayo_ros.sim.scenes import make_scene
from alpamayo_ros.sim.scoring import score_rollout
from alpamayo_ros.sim.trajectories import plan_in_local
from alpamayo_ros.sim.world import ProceduralWorld
from alpamayo_ros.types import InvalidInput, Plan

_DRIVEN: dict[str, RolloutRecord] = {}


def _driven(scene_id: str) -> RolloutRecord:
    """One rollout of each scene serves all tests."""
    if scene_id not in _DRIVEN:
        _DRIVEN[scene_id] = drive_rollout(Job(scene_id), ExpertSource())
    return _DRIVEN[scene_id]


def _plan_after_warm_up(scene_id: str) -> tuple[ClosedLoop, Plan]:
    world = ProceduralWorld(make_scene(scene_id))
    loop = ClosedLoop(world)
    while loop.warming_up:
        loop.follow_reference()
    return loop, ExpertPlanner(world).plan(observe(loop.history(16), None))


@pytest.mark.parametrize("scene_id", ["cones-6", "stop_sign-15", "pedestrian-31"])
def test_drives_to_a_full_score_within_the_rules(scene_id: str) -> None:
    record = _driven(scene_id)
    assert record.end_reason in ("goal", "time"), record.error
    score = score_rollout(record)
    assert score.scene_score == 1.0
    assert score.metrics["collision_any"] == score.metrics["strict_offroad"] == 0.0
    assert not score.metrics["red_light_runs"] and not score.metrics["stop_sign_runs"]
    relative = score.metrics["speed_rel_to_reference"]
    assert relative is not None and relative > 0.7
    share = score.metrics["uncomfortable_share"]
    assert share is not None and share < 0.1


def test_goes_around_cones_and_says_so() -> None:
    record = _driven("cones-6")
    frame = RouteFrame(record.scene)
    left = [frame.project_near(state.xy_m, state.yaw_rad)[1] for state in record.ego]
    nudged = [d for d in record.drives if d.reasoning.startswith("Nudge to the") and "cones" in d.reasoning]
    assert max(np.abs(left)) > 0.3 and nudged
    side = "left" if max(left) > -min(left) else "right"
    assert any(f"to the {side} " in drive.reasoning for drive in nudged)


def test_stands_before_the_stop_sign_and_says_so() -> None:
    record = _driven("stop_sign-15")
    frame = RouteFrame(record.scene)
    (line,) = [line.s_m for line in frame.stop_lines if line.sign_id]
    reasons = {}
    for state, drive in zip(record.ego, record.drives, strict=False):
        s, _ = frame.project_near(state.xy_m, state.yaw_rad)
        if state.speed_mps < 0.2 and -2.5 < s + FRONT_M - line < 0.0:
            reasons[drive.reasoning] = None
    assert any("stop sign" in reason for reason in reasons), list(reasons)


def test_gives_way_to_people_who_cross_and_says_so() -> None:
    record = _driven("pedestrian-31")
    crossing = [track for name, track in record.actors.items() if name.startswith("crossing")]
    assert crossing
    for track in crossing:
        way = track.local_from_box[:, :2, 3]
        speed = np.linalg.norm(np.diff(way, axis=0), axis=1) / 0.1
        walking = np.flatnonzero(speed > 0.3)
        assert len(walking) and speed[walking[0] : walking[-1]].min() > 0.3, "somebody had to wait"
    assert min(state.accel_in_rig_mps2[0] for state in record.ego[17:]) > -4.0
    assert any("pedestrian crossing the road" in drive.reasoning for drive in record.drives)


def test_plan_is_one_that_a_vehicle_can_drive() -> None:
    loop, plan = _plan_after_warm_up("junction_4way-5")
    assert plan.t0_ns == loop.time_us * 1000
    assert 1 <= plan.num_samples <= 3 and plan.chosen == 0
    assert all(text.endswith(".") for text in plan.reasoning)
    assert np.isfinite(plan.xyz_in_rig_t0).all()
    assert abs(float(plan.speed_mps[0, 0]) - loop.ego.speed_mps) < 0.2
    np.testing.assert_allclose(
        np.diff(plan.speed_mps.astype(np.float64), axis=1), 0.1 * plan.accel_mps2, atol=1e-4
    )
    assert plan.accel_mps2.max() <= 2.0 and plan.accel_mps2.min() >= -8.0
    assert np.abs(plan.curvature_per_m * plan.speed_mps[:, :-1] ** 2).max() < 4.9
    # Waypoints lie where speed and heading say, and on the ground.
    steps = np.diff(plan.xyz_in_rig_t0[0].astype(np.float64), axis=0)
    mean_speed = (plan.speed_mps[0, 1:-1] + plan.speed_mps[0, 2:]) / 2
    np.testing.assert_allclose(np.linalg.norm(steps[:, :2], axis=1), 0.1 * mean_speed, atol=0.02)
    _, poses = plan_in_local(plan, loop.ego.local_from_rig)
    ground = loop.scene.terrain.height_m(poses[:, :2, 3])
    np.testing.assert_allclose(poses[:, 2, 3], ground, atol=0.05)


def test_refuses_an_observation_of_another_time() -> None:
    world = ProceduralWorld(make_scene("curve-1"))
    loop = ClosedLoop(world)
    while loop.warming_up:
        loop.follow_reference()
    observation = observe(loop.history(16), None)
    loop.stop("test")
    with pytest.raises(InvalidInput, match="expected t0 at the world's time"):
        ExpertPlanner(world).plan(observation)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_standard_hundred_scenes(tmp_path) -> None:
    from alpamayo_ros.sim.planner_sources import ConstantSource
    from alpamayo_ros.sim.run import run
    from alpamayo_ros.sim.scenarios import parse_scenarios
    from alpamayo_ros.sim.workers import RunOptions

    options = RunOptions(parse_scenarios("all"), tmp_path / "expert", jobs=2)
    expert = run(options, ExpertSource()).summary
    assert expert["scene_score"]["mean"] >= 0.97 and expert["scene_score"]["n"] == 100
    assert expert["at_fault"] == 0 and expert["offroad"] == 0
    assert expert["speed_rel_to_reference"] >= 0.9
    options = RunOptions(parse_scenarios("all"), tmp_path / "constant", jobs=2)
    floor = run(options, ConstantSource()).summary
    assert floor["scene_score"]["mean"] <= 0.5
