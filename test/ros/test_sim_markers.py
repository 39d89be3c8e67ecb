"""What RViz is shown of the simulated world, and where the wall time went."""

from __future__ import annotations

import time

import numpy as np
import pytest
from visualization_msgs.msg import Marker

from alpamayo_ros.ros.conversions import pose_to_matrix, stamp_to_ns
from alpamayo_ros.ros.sim_markers import actors_to_markers, map_to_markers
from alpamayo_ros.ros.sim_stages import STAGES, StageClock
from alpamayo_ros.sim.reference import ReferenceCourse
from alpamayo_ros.sim.scene import Scene
from alpamayo_ros.sim.scenes import make_scene
from alpamayo_ros.sim.world import ProceduralWorld


@pytest.fixture(scope="module")
def scene() -> Scene:
    return make_scene("traffic_light-14")


def test_every_actor_is_a_box_where_it_is(scene):
    world = ProceduralWorld(scene)
    ego = ReferenceCourse(scene).state_at(scene.start_us)
    array = actors_to_markers(world.actors, ego, scene)
    boxes = {(m.ns, m.id): m for m in array.markers if m.type == Marker.CUBE}
    assert len(boxes) == len(world.actors) + 1
    np.testing.assert_allclose(pose_to_matrix(boxes["ego", 0].pose), ego.local_from_box, atol=1e-9)
    numbers = {actor_id: number for number, actor_id in enumerate(sorted(scene.actors))}
    for actor in world.actors:
        box = boxes["actors", numbers[actor.actor_id]]
        np.testing.assert_allclose(pose_to_matrix(box.pose), actor.local_from_box, atol=1e-9)
        assert (box.scale.x, box.scale.y, box.scale.z) == pytest.approx(actor.size_xyz_m)
    for marker in array.markers:
        assert marker.header.frame_id == "odom"
        assert stamp_to_ns(marker.header.stamp) == ego.time_us * 1000
        assert marker.lifetime.sec == 1


def test_lights_have_the_colour_of_the_moment(scene):
    assert scene.road is not None and scene.road.lights
    course = ReferenceCourse(scene)
    seen = set()
    for after_s in range(0, 20, 2):
        ego = course.state_at(scene.start_us + after_s * 1_000_000)
        lamps = [m for m in actors_to_markers((), ego, scene).markers if m.ns == "lights"]
        assert len(lamps) == len(scene.road.lights)
        for lamp, light in zip(lamps, scene.road.lights, strict=True):
            strongest = max("rg", key=lambda name: getattr(lamp.color, name))
            colour = light.colour_at(float(after_s))
            assert strongest == {"red": "r", "yellow": "r", "green": "g"}[colour]
            assert len(lamp.points) == len(light.heads)
            seen.add(colour)
    assert len(seen) > 1


def test_the_map_replaces_the_one_before(scene):
    array = map_to_markers(scene)
    assert array.markers[0].action == Marker.DELETEALL
    shown = {m.ns: m for m in array.markers[1:]}
    assert {"route", "lanes", "edges", "stop_lines"} <= shown.keys()
    assert scene.road is not None
    pairs = sum(len(lane.centre) - 1 for lane in scene.road.lanes)
    assert len(shown["lanes"].points) == 2 * pairs
    first = shown["route"].points[0]
    np.testing.assert_allclose((first.x, first.y, first.z), scene.route[0])
    assert all(m.lifetime.sec == m.lifetime.nanosec == 0 for m in array.markers)


def test_time_is_added_up_by_stage():
    clock = StageClock()
    assert clock.factor(0.1) == 0.0
    for _ in range(2):
        with clock.step():
            with clock.stage("render"):
                time.sleep(0.02)
            with clock.stage("plan"):
                time.sleep(0.01)
            time.sleep(0.005)
    ms = clock.mean_ms
    assert tuple(ms) == STAGES
    assert ms["render"] >= 20 and ms["plan"] >= 10 and ms["other"] >= 5 and ms["drive"] == 0
    assert clock.steps == 2
    assert sum(ms.values()) == pytest.approx(1e3 * clock.total_s / 2)
    assert clock.factor(0.1) == pytest.approx(0.2 / clock.total_s)
