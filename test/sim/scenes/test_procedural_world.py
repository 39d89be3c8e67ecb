"""The world of a rollout: exact on the reference, safe for an ego that does something else, foreseeable."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from alpamayo_ros.sim.scene import FAMILIES, Scene
from alpamayo_ros.sim.scenes import make_scene
from alpamayo_ros.sim.scoring.events import Collision, StepChecker
from alpamayo_ros.sim.state import EgoState, World
from alpamayo_ros.sim.world import ProceduralWorld, reference_state
from alpamayo_ros.types import InvalidInput

every_family = pytest.mark.parametrize("seed", range(len(FAMILIES)), ids=FAMILIES)


@every_family
def test_actors_are_on_their_tracks_when_the_ego_is_on_the_reference(seed: int) -> None:
    scene = make_scene(str(seed))
    world = ProceduralWorld(scene)
    assert isinstance(world, World)
    stamps = scene.reference.stamps_us
    for index in range(len(stamps) - 1):
        world.step(reference_state(scene, int(stamps[index])), int(stamps[index + 1]))
        for actor in world.actors:
            track = scene.actors[actor.actor_id].track.local_from_box
            recorded = track[0] if actor.is_static else track[index + 1]
            assert np.abs(recorded - actor.local_from_box).max() < 1e-3, actor.actor_id


def stopped(scene: Scene, index: int) -> EgoState:
    state = reference_state(scene, int(scene.reference.stamps_us[index]))
    return replace(state, velocity_in_rig_mps=(0.0, 0.0), yaw_rate_radps=0.0, accel_in_rig_mps2=(0.0, 0.0))


def first_collision(scene: Scene, stop_at: int, *, steps: int = 217) -> Collision | None:
    """Follow the reference, then stand where it was at a step; return the first collision."""
    world, checker = ProceduralWorld(scene), StepChecker(scene)
    stamps = scene.reference.stamps_us
    for index in range(steps):
        there = reference_state(scene, int(stamps[index])) if index < stop_at else stopped(scene, stop_at)
        world.step(there, int(stamps[index + 1]))
        after = min(index + 1, stop_at)
        ego = reference_state(scene, int(stamps[after])) if after < stop_at else stopped(scene, stop_at)
        found = checker.collision(ego, world.actors)
        if found is not None:
            return found
    return None


@every_family
@pytest.mark.parametrize("stop_at", [45, 110])
def test_nobody_drives_into_an_ego_that_stops_dead(seed: int, stop_at: int) -> None:
    assert first_collision(make_scene(str(seed)), stop_at) is None


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("stop_at", [30, 75, 150])
def test_nobody_drives_into_an_ego_that_stops_dead_over_many_seeds(stop_at: int) -> None:
    for seed in range(20, 120):
        found = first_collision(make_scene(str(seed)), stop_at)
        assert found is None, (seed, found)


def test_the_prediction_comes_true_if_the_ego_does_as_was_said() -> None:
    scene = make_scene("junction_4way-5")
    stamps = scene.reference.stamps_us
    states = [reference_state(scene, int(stamp)) for stamp in stamps]
    world = ProceduralWorld(scene)
    for index in range(30):
        world.step(states[index], int(stamps[index + 1]))
    intentions = world.predict(4.0, 0.5, states[30:])
    assert set(intentions) == {a.actor_id for a in world.actors if not a.is_static}
    for index in range(30, 70):
        world.step(states[index], int(stamps[index + 1]))
    for actor in world.actors:
        if not actor.is_static:
            intention = intentions[actor.actor_id]
            assert intention.xy_yaw.shape == (9, 3)
            # On a slope the centre of a box is a little beside its foot.
            assert np.allclose(intention.xy_yaw[-1, :2], actor.xy_m, atol=0.03)
            assert intention.speed_mps[-1] == pytest.approx(actor.speed_mps, abs=1e-6)
    assert not intentions["opposite_0"].yields_to_ego
    assert intentions["side_0"].yields_to_ego


def test_people_on_foot_are_foreseen_to_walk_on_while_the_ego_can_still_stop() -> None:
    scene = make_scene("pedestrian-31")
    stamps = scene.reference.stamps_us
    world = ProceduralWorld(scene)
    for index, stamp in enumerate(stamps[1:]):
        world.step(reference_state(scene, int(stamps[index])), int(stamp))
        walker = next(actor for actor in world.actors if actor.actor_id == "crossing_0")
        if walker.speed_mps > 0.5:
            break
    ego = reference_state(scene, world.time_us)
    assert ego.speed_mps > 7.0, "the reference has not braked yet"
    assert world.predict(6.0)["crossing_0"].speed_mps[1:].min() > 0.5
    # An ego that is known to drive on is waited for.
    onward = [replace(ego, time_us=ego.time_us + 100_000 * k, local_from_rig=_on(ego, k)) for k in range(61)]
    assert world.predict(6.0, ego=onward)["crossing_0"].speed_mps[1:].min() < 0.5


def _on(ego: EgoState, steps: int) -> np.ndarray:
    """Return the pose of an ego that has driven straight on for some steps of 0.1 s."""
    pose = ego.local_from_rig.copy()
    pose[:3, 3] += pose[:3, 0] * ego.speed_mps * 0.1 * steps
    return pose


def test_looking_ahead_leaves_the_world_as_it_is() -> None:
    scene = make_scene("traffic_light-14")
    stamps = scene.reference.stamps_us
    seen, unseen = ProceduralWorld(scene), ProceduralWorld(scene)
    for index in range(40):
        ego = reference_state(scene, int(stamps[index]))
        seen.predict(3.0)
        for world in (seen, unseen):
            world.step(ego, int(stamps[index + 1]))
    for a, b in zip(seen.actors, unseen.actors, strict=True):
        assert np.array_equal(a.local_from_box, b.local_from_box)


def test_stop_lines_and_lights_ahead() -> None:
    scene = make_scene("traffic_light-14")
    assert scene.road is not None
    world = ProceduralWorld(scene)
    ego = reference_state(scene, scene.start_us)
    ((name, distance),) = world.stop_lines_ahead(ego)
    assert name == "light_main_0"
    line = next(light for light in scene.road.lights if light.light_id == name).stop_line
    front = ego.local_from_rig[:2, 3] + 3.9 * ego.local_from_rig[:2, 0]
    assert distance == pytest.approx(float(np.linalg.norm(line[:, :2].mean(0) - front)), abs=3.0)
    assert world.light_colour(name) == "red"
    assert world.light_colour(name, 15.0) == "green"


def test_refusals() -> None:
    scene = make_scene("straight-0")
    world = ProceduralWorld(scene)
    with pytest.raises(InvalidInput, match="expected a time after"):
        world.step(reference_state(scene, scene.start_us), scene.start_us)
    with pytest.raises(InvalidInput, match="expected a time in"):
        reference_state(scene, scene.start_us - 1)
    with pytest.raises(InvalidInput, match=r"multiple of 0\.1"):
        world.predict(2.0, 0.15)
    with pytest.raises(InvalidInput, match="procedural scene"):
        ProceduralWorld(replace(scene, extras={}))


DIGEST = """
import hashlib, sys
from alpamayo_ros.sim.scenes import make_scene
digest = hashlib.sha256()
for seed in map(str, (4, 7, 12, 14, 16)):
    scene = make_scene(seed)
    for array in (scene.reference.local_from_rig, scene.reference.speed_mps, scene.route):
        digest.update(array.tobytes())
    for actor_id, actor in scene.actors.items():
        digest.update(repr((actor_id, actor.kind, actor.size_xyz_m, actor.variant)).encode())
        digest.update(actor.track.local_from_box.tobytes())
    digest.update(repr((scene.props, scene.environment, scene.description)).encode())
    for lane in scene.road.lanes:
        digest.update(lane.lane_id.encode() + lane.centre.tobytes() + lane.left.tobytes())
    for edge in scene.road.edges:
        digest.update(edge.tobytes())
print(digest.hexdigest())
"""


def test_scenes_are_the_same_in_every_process() -> None:
    digests = {
        subprocess.run(
            [sys.executable, "-c", DIGEST],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("0", "1234")
    }
    assert len(digests) == 1
