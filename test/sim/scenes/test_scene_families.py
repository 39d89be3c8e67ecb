"""Every family: its map holds together, its reference drive is sound, its scenery stands off the road."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from alpamayo_ros.sim.roads import Lane
from alpamayo_ros.sim.scene import FAMILIES, ROLLOUT_US, STEP_US, Scene, scene_id_of
from alpamayo_ros.sim.scenes import make_scene
from alpamayo_ros.sim.scenes.checks import corners
from alpamayo_ros.sim.scoring.events import StepChecker
from alpamayo_ros.sim.scoring.lanes import lane_map
from alpamayo_ros.sim.world import ProceduralWorld, reference_state
from alpamayo_ros.types import InvalidInput

every_family = pytest.mark.parametrize("seed", range(len(FAMILIES)), ids=FAMILIES)


def polygon(lane: Lane) -> shapely.Polygon:
    return shapely.Polygon(np.concatenate([lane.left[:, :2], lane.right[::-1, :2]]))


def drivable(scene: Scene) -> shapely.Geometry:
    assert scene.road is not None
    area = shapely.unary_union(
        [shapely.Polygon(s.polygon).buffer(0) for s in scene.road.surfaces if s.kind in ("road", "parking")]
    )
    islands = [shapely.Polygon(s.polygon).buffer(0) for s in scene.road.surfaces if s.kind == "island"]
    return area.difference(shapely.unary_union(islands))


@every_family
def test_lanes_meet_where_they_are_linked(seed: int) -> None:
    road = make_scene(str(seed)).road
    assert road is not None
    for lane in road.lanes:
        for name in lane.successors:
            after = road.lane(name)
            assert lane.lane_id in after.predecessors
            assert np.linalg.norm(lane.centre[-1] - after.centre[0]) < 0.05, (lane.lane_id, name)
            before_m, after_m = lane.centre[-1] - lane.centre[-2], after.centre[1] - after.centre[0]
            cosine = before_m @ after_m / np.linalg.norm(before_m) / np.linalg.norm(after_m)
            assert cosine > np.cos(np.radians(6)), (lane.lane_id, name)
        for name, side in ((lane.left_neighbour, lane.left), (lane.right_neighbour, lane.right)):
            if name is not None:
                other = road.lane(name)
                shared = other.right if side is lane.left else other.left
                assert np.allclose(side, shared)


@every_family
def test_no_road_edge_runs_through_a_lane(seed: int) -> None:
    road = make_scene(str(seed)).road
    assert road is not None
    edges = shapely.MultiLineString([edge[:, :2] for edge in road.edges])
    for lane in road.lanes:
        assert not edges.intersects(polygon(lane).buffer(-0.05)), lane.lane_id


@every_family
def test_lanes_lie_on_the_pavement_and_scenery_does_not(seed: int) -> None:
    scene = make_scene(str(seed))
    assert scene.road is not None
    area = drivable(scene)
    paved = area.buffer(0.05)
    shapely.prepare(paved)
    for lane in scene.road.lanes:
        assert paved.contains(polygon(lane)), lane.lane_id
    shapely.prepare(area)
    for prop in scene.props:
        size = (0.3, 0.3, 1.0) if prop.kind == "tree" else prop.size_xyz_m  # a tree's crown may overhang
        if prop.kind in ("lamp", "pole") or prop.kind.startswith("sign"):
            size = (0.2, 0.2, 1.0)  # the foot
        box = shapely.Polygon(corners(np.array([[prop.x_m, prop.y_m, prop.yaw_rad]]), size)[0])
        assert not area.intersects(box), prop


@every_family
def test_the_reference_drive_is_free_of_incidents(seed: int) -> None:
    scene = make_scene(str(seed))
    assert scene.road is not None
    world, checker, lanes = ProceduralWorld(scene), StepChecker(scene), lane_map(scene.road)
    for index, stamp in enumerate(scene.reference.stamps_us):
        ego = reference_state(scene, int(stamp))
        assert checker.collision(ego, world.actors) is None, index
        assert not checker.off_road(ego), index
        shape = shapely.Polygon(
            corners(np.array([[*ego.local_from_box[:2, 3], ego.yaw_rad]]), (5.0 * 0.98, 2.0 * 0.98, 1.5))[0]
        )
        assert not lanes.off_road(shape, ego.local_from_box[:3, 3]), index
        if stamp < scene.reference.stamps_us[-1]:
            world.step(ego, int(scene.reference.stamps_us[index + 1]))


@every_family
def test_the_reference_drive_is_comfortable_and_on_the_ground(seed: int) -> None:
    scene = make_scene(str(seed))
    drive = scene.reference
    assert np.all(np.diff(drive.stamps_us) == STEP_US)
    assert drive.stamps_us[-1] - drive.stamps_us[0] == ROLLOUT_US
    xyz = drive.local_from_rig[:, :3, 3]
    assert np.allclose(xyz[:, 2], scene.terrain.height_m(xyz))
    steps_m = np.linalg.norm(np.diff(xyz[:, :2], axis=0), axis=1)
    assert np.allclose(steps_m, (drive.speed_mps[1:] + drive.speed_mps[:-1]) * 0.05, atol=0.01)
    # A car does not slide: it moves along the mean of its headings before and after.
    yaw = np.unwrap(np.arctan2(drive.local_from_rig[:, 1, 0], drive.local_from_rig[:, 0, 0]))
    course = np.arctan2(*np.diff(xyz[:, :2], axis=0).T[::-1])
    slip = (course - (yaw[1:] + yaw[:-1]) / 2 + np.pi) % (2 * np.pi) - np.pi
    assert np.abs(slip[steps_m > 0.1]).max() < 0.02
    accel = np.diff(drive.speed_mps) / 0.1
    assert np.abs(accel).max() <= 3.9
    assert np.abs(np.diff(accel) / 0.1).max() <= 8.0
    assert np.abs(np.diff(yaw) * steps_m / 0.01).max() <= 3.0
    assert drive.speed_mps[0] > 5.0


@every_family
def test_the_route_follows_its_lanes(seed: int) -> None:
    scene = make_scene(str(seed))
    assert scene.road is not None
    assert np.linalg.norm(np.diff(scene.route, axis=0), axis=1).max() <= 2.0
    for before, after in zip(scene.route_lane_ids, scene.route_lane_ids[1:], strict=False):
        assert after in scene.road.lane(before).successors
    end = scene.reference.local_from_rig[-1, :2, 3]
    left = np.linalg.norm(scene.route[:, :2] - end, axis=1)
    assert left.min() < 4.0
    assert len(scene.route) - int(left.argmin()) > 20  # goes on beyond the end


def test_roads_over_hills_climb_and_fall_and_stay_within_twelve_percent() -> None:
    rng = np.random.default_rng(3)
    for seed in (3, 23, 43):
        scene = make_scene(f"hills-{seed}")
        slope = np.linalg.norm(scene.terrain.gradient(rng.uniform(-800, 800, (4000, 2))), axis=-1)
        assert slope.max() <= 0.12
        pitch_deg = np.degrees(np.arcsin(-scene.reference.local_from_rig[:, 2, 0]))
        assert pitch_deg.min() < -3.0 and pitch_deg.max() > 3.0, "a road that looks flat is no hill"


def test_a_rich_scene_has_three_hundred_things_to_draw() -> None:
    counts = [len(scene.props) + len(scene.actors) for scene in map(make_scene, map(str, range(20)))]
    assert sum(count >= 300 for count in counts) >= 8
    assert min(counts) >= 150


def test_weather_families_say_so() -> None:
    assert make_scene("fog-17").environment.fog_per_m > 0.02
    assert make_scene("dusk-18").environment.lamps_lit
    assert make_scene("rain_dark-19").environment.wetness > 0.5


def test_any_family_and_seed_is_served_and_nothing_else() -> None:
    assert make_scene("cones-123456").family == "cones"
    assert make_scene("7") is make_scene("parked-7")
    with pytest.raises(InvalidInput, match="expected a family"):
        make_scene("volcano-1")
    with pytest.raises(InvalidInput, match="FAMILY-SEED"):
        make_scene("cones")


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_two_hundred_seeds_are_sound_and_few_are_short() -> None:
    short = 0
    for seed in range(200):
        scene = make_scene(scene_id_of(seed))
        world, checker = ProceduralWorld(scene), StepChecker(scene)
        stamps = scene.reference.stamps_us
        for index in range(len(stamps) - 1):
            world.step(reference_state(scene, int(stamps[index])), int(stamps[index + 1]))
            ego = reference_state(scene, int(stamps[index + 1]))
            assert checker.collision(ego, world.actors) is None, (scene.scene_id, index)
            assert not checker.off_road(ego), (scene.scene_id, index)
        xy = scene.reference.local_from_rig[:, :2, 3]
        short += float(np.linalg.norm(np.diff(xy, axis=0), axis=1).sum()) < 20.0
    assert short <= 10
