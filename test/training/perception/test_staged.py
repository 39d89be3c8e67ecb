"""Instants whose road users are drawn anew: who is drawn is what is told, and nobody stands in another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pytest

from alpamayo_ros.sim.planners.route_frame import RouteFrame
from alpamayo_ros.sim.protocol.sensorsim import AvailableCamera
from alpamayo_ros.sim.scenes import make_scene
from alpamayo_ros.sim.state import ActorState, EgoState
from alpamayo_ros.training.episode import FrameCodec
from alpamayo_ros.training.perception.staged import Stage
from alpamayo_ros.training.perception.surroundings import HOW_FAR, YES_OR_NO, SceneReader
from alpamayo_ros.training.simulate import PictureSettings, road_users_in_rig

SCENE = "junction_4way-105"
PICTURES = PictureSettings(camera_ids=(1, 6), height=32, width=48, render_height=32, render_width=48)


@pytest.fixture(scope="module")
def stage() -> Stage:
    return Stage(SCENE)


@pytest.fixture(scope="module")
def drawn(stage: Stage) -> list[tuple[EgoState, tuple[ActorState, ...]]]:
    rng = np.random.default_rng(0)
    return [stage.draw(rng) for _ in range(80)]


class Watching:
    """Cameras that remember whom they were asked for."""

    def __init__(self) -> None:
        self.seen: list[tuple[EgoState, Sequence[ActorState]]] = []

    @property
    def available(self) -> Mapping[str, AvailableCamera]:
        return {}

    def render(
        self, ego: EgoState, actors: Sequence[ActorState], *, camera_ids: Sequence[int]
    ) -> Mapping[int, bytes]:
        self.seen.append((ego, actors))
        grey = len(self.seen)
        return {i: FrameCodec("png").encode(np.full((3, 32, 48), grey + i, np.uint8)) for i in camera_ids}


def test_the_ego_is_on_its_route_about_as_its_lane_leads(
    drawn: list[tuple[EgoState, tuple[ActorState, ...]]],
) -> None:
    frame = RouteFrame(make_scene(SCENE))
    off = [frame.project_near(ego.xy_m, ego.yaw_rad)[1] for ego, _ in drawn]
    assert np.abs(off).max() < 1.9 and 0.3 < np.std(off) < 0.7
    assert len({round(ego.time_us / 1e6) for ego, _ in drawn}) > 12


def test_nobody_stands_in_another_or_in_the_ego(
    drawn: list[tuple[EgoState, tuple[ActorState, ...]]],
) -> None:
    for ego, actors in drawn:
        for one, other in combinations(actors, 2):
            apart = np.linalg.norm(one.xy_m - other.xy_m)
            assert apart > (one.size_xyz_m[1] + other.size_xyz_m[1]) / 2
        for each in actors:
            assert np.linalg.norm(each.xy_m - ego.local_from_box[:2, 3]) > 1.0 + each.size_xyz_m[1] / 2


def test_some_have_a_leader_and_some_have_none(drawn: list[tuple[EgoState, tuple[ActorState, ...]]]) -> None:
    reader, gap = SceneReader(SCENE), HOW_FAR.index("leader gap")
    told = [
        reader.read_at(ego.local_from_rig, road_users_in_rig(ego, actors), time_us=ego.time_us)
        for ego, actors in drawn
    ]
    share = np.mean([about.yes[YES_OR_NO.index("leader")] for about in told])
    assert 0.3 < share < 0.8
    gaps_m = np.array([about.far[gap] for about in told])[: len(told)] * 20.0
    assert np.nanmin(gaps_m) < 8.0 and np.nanmax(gaps_m) > 45.0


def test_what_is_told_is_of_those_that_the_pictures_show(stage: Stage) -> None:
    cameras = Watching()
    sights = stage.sights(lambda: cameras, PICTURES, count=5, rng=np.random.default_rng(3))
    assert len(sights) == len(cameras.seen) == 5
    reader = SceneReader(SCENE)
    for number, (sight, (ego, actors)) in enumerate(zip(sights, cameras.seen, strict=True)):
        users = road_users_in_rig(ego, actors)
        about = reader.read_at(ego.local_from_rig, users, time_us=ego.time_us)
        np.testing.assert_array_equal(sight.surroundings.grid, about.grid)
        np.testing.assert_array_equal(sight.surroundings.far, about.far)
        assert sight.frames.shape == (2, 3, 32, 48)
        assert sight.frames[:, 0, 0, 0].tolist() == [number + 2, number + 7]


def test_the_same_seed_draws_the_same(stage: Stage) -> None:
    (one, its), (other, others) = (stage.draw(np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(one.local_from_rig, other.local_from_rig)
    assert [each.actor_id for each in its] == [each.actor_id for each in others]


def test_what_never_moves_is_always_there() -> None:
    stage = Stage("cones-106")
    cones = {name for name, spec in make_scene("cones-106").actors.items() if spec.is_static}
    assert cones
    for seed in range(3):
        _, actors = stage.draw(np.random.default_rng(seed))
        assert cones <= {actor.actor_id for actor in actors}
