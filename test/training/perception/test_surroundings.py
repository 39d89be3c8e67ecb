"""What a picture is read for follows from map and road users; checked against places known by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from episode_factory import moment

from alpamayo_ros.sim.scene import STEP_US
from alpamayo_ros.sim.scenes import make_scene
from alpamayo_ros.sim.state import EgoState
from alpamayo_ros.sim.world import ProceduralWorld
from alpamayo_ros.training.episode import Moment
from alpamayo_ros.training.perception.surroundings import (
    GRID_CHANNELS,
    GRID_SHAPE,
    HOW_FAR,
    X_EDGES_M,
    Y_EDGES_M,
    YES_OR_NO,
    SceneReader,
)
from alpamayo_ros.training.simulate import road_users_in_rig
from alpamayo_ros.types import InvalidInput

SCENE = "straight-100"


@pytest.fixture(scope="module")
def reader() -> SceneReader:
    return SceneReader(SCENE)


def at_start(*, left_m: float = 0.0, users: list[list[float]] | None = None) -> Moment:
    scene = make_scene(SCENE)
    pose = scene.reference.local_from_rig[0].copy()
    pose[:2, 3] += left_m * pose[:2, 1]
    rows = np.array(users or [], np.float32).reshape(-1, 8)
    return replace(moment(0), t0_ns=scene.start_us * 1000, odom_from_rig_t0=pose, road_users_in_rig_t0=rows)


def test_place_in_the_lane_is_read_in_metres(reader: SceneReader) -> None:
    index = HOW_FAR.index("left of lane centre")
    centre, aside = (reader.read(at_start(left_m=left)).far[index] for left in (0.0, 0.5))
    assert centre == pytest.approx(0.0, abs=0.1)
    assert aside - centre == pytest.approx(1.0, abs=0.02)  # in units of half a metre


def test_the_road_is_ahead_and_ends_at_its_edges(reader: SceneReader) -> None:
    surroundings = reader.read(at_start())
    road = surroundings.grid[GRID_CHANNELS.index("road")]
    own = surroundings.grid[GRID_CHANNELS.index("own direction")]
    before = int(np.searchsorted(Y_EDGES_M, 0.5)) - 1
    assert road[:, before].all() and own[:, before].all()
    assert not road[:, 0].all()  # 11 to 16 m to the right
    assert (own <= road).all()


def test_a_leader_on_the_path_is_seen_with_its_gap(reader: SceneReader) -> None:
    car = [20.0, 0.0, 0.0, 4.5, 1.9, 1.5, 0.0, 0]
    surroundings = reader.read(at_start(users=[car]))
    yes = dict(zip(YES_OR_NO, surroundings.yes, strict=True))
    assert yes["leader"] and yes["leader stands"] and not yes["on foot ahead"]
    vehicle = surroundings.grid[GRID_CHANNELS.index("vehicle")]
    rows, columns = np.nonzero(vehicle)
    assert X_EDGES_M[rows.min()] <= 20.0 - 2.25 and X_EDGES_M[rows.max() + 1] >= 20.0 + 2.25
    assert Y_EDGES_M[columns.min()] <= -0.95 and Y_EDGES_M[columns.max() + 1] >= 0.95
    beside = reader.read(at_start(users=[[20.0, 8.0, 0.0, 4.5, 1.9, 1.5, 0.0, 0]]))
    assert not dict(zip(YES_OR_NO, beside.yes, strict=True))["leader"]


def test_who_is_not_there_has_no_distance(reader: SceneReader) -> None:
    far = dict(zip(HOW_FAR, reader.read(at_start()).far, strict=True))
    assert np.isnan(far["leader gap"]) and np.isnan(far["on foot x"])
    assert np.isfinite(far["heading in lane"]) and np.isfinite(far["speed limit"])


def test_episodes_without_road_users_are_refused(reader: SceneReader) -> None:
    with pytest.raises(InvalidInput, match="expected an episode with its road users"):
        reader.read(replace(at_start(), road_users_in_rig_t0=None))


def test_road_users_are_in_the_rig_nearest_first() -> None:
    world = ProceduralWorld(make_scene("lead_braking-109"))
    ego = EgoState(world.time_us + STEP_US, world.scene.reference.local_from_rig[0])
    users = road_users_in_rig(ego, world.actors)
    assert users.dtype == np.float32 and users.shape[1] == 8 and len(users)
    away = np.hypot(users[:, 0], users[:, 1])
    assert (np.diff(away) >= 0).all() and away.max() <= 90.0
    nearest = min(world.actors, key=lambda actor: float(np.linalg.norm(actor.xy_m - ego.xy_m)))
    assert away[0] == pytest.approx(float(np.linalg.norm(nearest.xy_m - ego.xy_m)), abs=0.2)


def test_the_grid_has_a_cell_between_each_two_edges() -> None:
    assert (len(GRID_CHANNELS), len(X_EDGES_M) - 1, len(Y_EDGES_M) - 1) == GRID_SHAPE
