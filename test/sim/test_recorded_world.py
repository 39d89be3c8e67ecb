"""A recorded scene: what a foreign renderer lets us know, and that what it does not is not made up."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from alpamayo_ros.sim.recorded_world import RecordedWorld, recorded_scene
from alpamayo_ros.sim.reference import ReferenceCourse
from alpamayo_ros.sim.rollout import ClosedLoop
from alpamayo_ros.sim.scene import FORCE_GT_US, STEP_US, ActorSpec, Scene, Track
from alpamayo_ros.sim.scoring import aggregate, score_rollout
from alpamayo_ros.types import InvalidInput

START_US = 1_700_000_000_000_123
RADIUS_M, SPEED_MPS, SLOPE = 40.0, 8.0, 0.05


def arc_drive(duration_s: float = 12.0, rate_hz: float = 50.0) -> tuple[np.ndarray, np.ndarray]:
    """Return stamps [N] and poses [N, 4, 4]: a curve to the left, uphill at 5 % along local's x."""
    times = np.arange(0.0, duration_s, 1 / rate_hz)
    yaw = times * SPEED_MPS / RADIUS_M
    poses = np.tile(np.eye(4), (len(times), 1, 1))
    poses[:, 0, 3], poses[:, 1, 3] = RADIUS_M * np.sin(yaw), RADIUS_M * (1 - np.cos(yaw))
    poses[:, 2, 3] = SLOPE * poses[:, 0, 3]
    tilt = Rotation.from_euler("y", -np.arctan(SLOPE)).as_matrix()
    poses[:, :3, :3] = tilt @ Rotation.from_euler("z", yaw[:, None]).as_matrix()
    return START_US + np.round(times * 1e6).astype(np.int64), poses


def track(first_us: int, last_us: int, speed_mps: float = 5.0) -> Track:
    stamps = np.arange(first_us, last_us + 1, STEP_US, dtype=np.int64)
    poses = np.tile(np.eye(4), (len(stamps), 1, 1))
    poses[:, 0, 3] = 30.0 + speed_mps * (stamps - first_us) / 1e6
    poses[:, 1, 3] = -20.0
    return Track(stamps, poses)


@pytest.fixture
def scene() -> Scene:
    stamps, poses = arc_drive()
    return recorded_scene("clip-1", stamps, poses)


def drive_reference(scene: Scene, *, until_s: float = 25.0) -> ClosedLoop:
    loop = ClosedLoop(RecordedWorld(scene), planner="the recorded drive")
    course = ReferenceCourse(scene)
    while not loop.done and loop.time_us < scene.start_us + until_s * 1e6:
        if loop.warming_up:
            loop.follow_reference()
            continue
        stamps = loop.time_us + STEP_US * np.arange(65, dtype=np.int64)
        poses = course.poses_at(stamps)
        poses[0] = loop.ego.local_from_rig
        loop.drive(stamps, poses)
    return loop


def test_the_scene_is_the_drive_and_nothing_else(scene):
    _, poses = arc_drive()
    assert (scene.scene_id, scene.family, scene.road, scene.props) == ("clip-1", "recorded", None, ())
    assert not scene.actors
    assert scene.start_us == START_US
    np.testing.assert_array_equal(np.diff(scene.reference.stamps_us), STEP_US)
    np.testing.assert_allclose(scene.reference.local_from_rig[10], poses[50], atol=1e-9)
    np.testing.assert_allclose(scene.reference.speed_mps, SPEED_MPS, rtol=0.01)
    spacing = np.linalg.norm(np.diff(scene.route[:, :2], axis=0), axis=1)
    assert spacing.max() < 2.0
    np.testing.assert_allclose(scene.route[0], poses[0, :3, 3], atol=1e-9)


def test_the_ground_is_where_the_recorded_vehicle_stood(scene):
    _, poses = arc_drive()
    on_path = poses[::25, :3, 3]
    np.testing.assert_allclose(scene.terrain.height_m(on_path[:, :2]), on_path[:, 2], atol=0.01)
    beside = on_path[:, :2] + 3.0 * poses[::25, :2, 1]
    np.testing.assert_allclose(scene.terrain.height_m(beside), SLOPE * beside[:, 0], atol=0.02)
    np.testing.assert_allclose(
        scene.terrain.gradient(beside), np.tile((SLOPE, 0.0), (len(beside), 1)), atol=0.01
    )


def test_only_progress_and_distance_are_scored(scene):
    loop = drive_reference(scene)
    assert loop.end_reason == "goal"
    score = score_rollout(loop.record())
    assert score.scene_score is None
    known = {name for name, value in score.metrics.items() if value is not None}
    assert {"progress", "dist_to_gt_trajectory", "dist_traveled_m"} <= known
    assert score.metrics["progress"] == pytest.approx(1.0, abs=0.02)
    assert score.metrics["dist_to_gt_trajectory"] < 0.5
    for name in score.metrics:
        if any(part in name for part in ("collision", "offroad", "lane", "obstacle", "ttc", "light", "sign")):
            assert score.metrics[name] is None, name
    summary = aggregate([score])
    assert summary["scene_score"]["n"] == 0
    assert summary["scene_score"]["mean"] is None


def test_off_the_road_is_unknown_and_does_not_end_a_rollout(scene):
    loop = ClosedLoop(RecordedWorld(scene))
    while loop.warming_up:
        loop.follow_reference()
    for _ in range(60):  # straight on, out of the curve
        stamps = loop.time_us + STEP_US * np.arange(65, dtype=np.int64)
        poses = np.tile(loop.ego.local_from_rig, (65, 1, 1))
        poses[:, :3, 3] += SPEED_MPS * ((stamps - loop.time_us) / 1e6)[:, None] * poses[:, :3, 0]
        loop.drive(stamps, poses)
    assert not loop.done
    loop.finish("terminated")
    score = score_rollout(loop.record())
    assert score.left_path
    assert score.metrics["offroad"] is None


def test_known_tracks_are_replayed_and_scored():
    stamps, poses = arc_drive()
    late = track(START_US + 1_000_000, START_US + 4_000_000)
    still = Track(np.array([START_US], np.int64), np.eye(4)[None] * np.array([1.0, 1.0, 1.0, 1.0]))
    still.local_from_box[0, :3, 3] = 5.0, 40.0, 1.0
    actors = {
        "b": ActorSpec("b", "car", (4.0, 2.0, 1.5), late),
        "a": ActorSpec("a", "truck", (8.0, 2.5, 3.0), still, is_static=True),
    }
    scene = recorded_scene("clip-2", stamps, poses, actors=actors)
    world = RecordedWorld(scene)
    assert [actor.actor_id for actor in world.actors] == ["a"]
    ego = ReferenceCourse(scene).state_at(scene.start_us)
    world.step(ego, START_US + 2_000_000)
    assert [actor.actor_id for actor in world.actors] == ["a", "b"]
    car = world.actors[1]
    assert car.speed_mps == pytest.approx(5.0)
    np.testing.assert_allclose(car.local_from_box[:3, 3], (35.0, -20.0, 0.0), atol=1e-6)
    with pytest.raises(InvalidInput, match="to_us: expected a time after"):
        world.step(ego, START_US + 2_000_000)
    world.step(ego, START_US + 5_000_000)
    assert [actor.actor_id for actor in world.actors] == ["a"]
    score = score_rollout(drive_reference(scene).record())
    assert score.metrics["collision_any"] == 0
    assert score.metrics["min_distance_to_obstacle_m"] > 5
    assert score.metrics["offroad"] is None  # the map stays unknown


def test_a_scene_known_to_be_empty_is_not_one_of_which_nothing_is_known():
    scene = recorded_scene("clip-3", *arc_drive(), actors={})
    assert score_rollout(drive_reference(scene).record()).metrics["collision_any"] == 0


def test_turns_are_announced_in_alpamayo_s_words():
    corner = np.tile(np.eye(4), (500, 1, 1))
    way = np.linspace(0, 100, 500)
    turned = np.clip((way - 50) / 10, 0, 1) * np.pi / 2
    step = np.stack([np.cos(turned), np.sin(turned)], -1) * (100 / 499)
    corner[1:, :2, 3] = np.cumsum(step[:-1], axis=0)
    corner[:, :3, :3] = Rotation.from_euler("z", turned[:, None]).as_matrix()
    scene = recorded_scene("clip-4", START_US + np.arange(500, dtype=np.int64) * 20_000, corner)
    world, course = RecordedWorld(scene), ReferenceCourse(scene)
    texts = [world.instruction(course.state_at(START_US + at * 100_000)) for at in range(100)]
    assert any(text.startswith("Turn left in ") and text.endswith("m") for text in texts)
    assert texts[-1] == ""
    assert not any("right" in text for text in texts)


def test_a_vehicle_that_stands_has_a_scene_too():
    stamps = START_US + np.arange(100, dtype=np.int64) * STEP_US
    scene = recorded_scene("clip-5", stamps, np.tile(np.eye(4), (100, 1, 1)))
    assert len(scene.route) == 2
    assert drive_reference(scene, until_s=3.0).ego.speed_mps == pytest.approx(0.0, abs=0.05)


def test_a_later_start_is_where_rollouts_begin():
    stamps, poses = arc_drive()
    scene = recorded_scene("clip-6", stamps, poses, start_us=START_US + 500_000)
    assert scene.reference.stamps_us[0] == scene.start_us == START_US + 500_000
    np.testing.assert_allclose(scene.reference.local_from_rig[0], poses[25], atol=1e-9)
    assert scene.start_us + FORCE_GT_US < stamps[-1]


@pytest.mark.parametrize("fault", ["short", "falling", "nan", "mirror", "side", "late"])
def test_drives_that_cannot_be_are_refused(fault):
    stamps, poses = arc_drive()
    start_us = None
    if fault == "short":
        stamps, poses = stamps[:100], poses[:100]
    elif fault == "falling":
        stamps[5] = stamps[4]
    elif fault == "nan":
        poses[3, 0, 3] = np.nan
    elif fault == "mirror":
        poses[3, :3, 0] *= -1
    elif fault == "side":
        poses[:, :3, :3] = poses[:, :3, :3] @ Rotation.from_euler("x", np.pi / 2).as_matrix()
    else:
        start_us = int(stamps[-1])
    expected = {"nan": "finite", "mirror": "rotation", "side": "on its wheels"}.get(fault, "expected a")
    with pytest.raises(InvalidInput, match=expected):
        recorded_scene("clip-7", stamps, poses, start_us=start_us)
