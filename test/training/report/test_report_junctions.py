"""Which way a path goes through a junction, in scenes as they are."""

from __future__ import annotations

import numpy as np
import pytest
from report_factory import whole_way

from alpamayo_ros.sim.roads import Turn
from alpamayo_ros.sim.scenes import make_scene
from alpamayo_ros.sim.scenes.navigation import instruction_at, maneuvers_of
from alpamayo_ros.training.report.junctions import RouteJunction, junctions_of, way_taken
from alpamayo_ros.types import InvalidInput


@pytest.fixture(scope="module")
def four() -> RouteJunction:
    return junctions_of(make_scene("junction_4way-185"))[0]


@pytest.fixture(scope="module")
def three() -> RouteJunction:
    """A T-junction, come to from its stem: straight on is no road."""
    return junctions_of(make_scene("junction_3way-184"))[0]


def test_a_crossing_has_all_ways(four: RouteJunction, three: RouteJunction) -> None:
    assert {way.turn for way in four.ways} == {"left", "right", "straight"}
    assert {way.turn for way in three.ways} == {"left", "right"}
    assert all(way.is_from_route for way in four.ways)


@pytest.mark.parametrize("scene_id", ["straight-180", "roundabout-196"])
def test_where_nothing_is_to_be_chosen_is_no_junction(scene_id: str) -> None:
    assert junctions_of(make_scene(scene_id)) == ()


@pytest.mark.parametrize("turn", ["left", "right", "straight"])
@pytest.mark.parametrize("aside_m", [-1.0, 0.0, 1.0])
def test_who_follows_a_lane_takes_its_way(four: RouteJunction, turn: Turn, aside_m: float) -> None:
    path = whole_way(four, turn)
    along = np.gradient(path, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    beside = path + aside_m * np.stack([-along[:, 1], along[:, 0]], axis=1)
    assert way_taken(four, beside) == turn


def test_who_does_not_get_far_enough_is_undecided(four: RouteJunction) -> None:
    path = whole_way(four, "left")
    s = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    assert way_taken(four, path[s < four.entry_s_m - 1.0]) == "undecided"
    assert way_taken(four, path[s < four.entry_s_m + 3.0]) == "undecided"
    assert way_taken(four, path[s < four.entry_s_m + 20.0]) == "left"


def test_off_all_ways_is_elsewhere(three: RouteJunction) -> None:
    x, y, yaw = three.entry_pose
    ahead = np.arange(-20.0, 40.0)[:, None] * np.array([np.cos(yaw), np.sin(yaw)])
    assert way_taken(three, ahead + np.array([x, y])) == "elsewhere"


@pytest.mark.parametrize("scene_id", ["junction_4way-185", "junction_3way-184", "stop_sign-195"])
def test_the_texts_are_the_simulations_own(scene_id: str) -> None:
    scene = make_scene(scene_id)
    (junction,) = junctions_of(scene)
    maneuvers = maneuvers_of(scene)
    for before_m in (60.0, 33.0, 12.0, 2.0):
        own = instruction_at(maneuvers, junction.entry_s_m - before_m)
        assert own
        made = junction.instruction(junction.route_turn, before_m=before_m)
        distances = [int("".join(filter(str.isdigit, text)) or 0) for text in (own, made)]
        assert own.split(" in ")[0] == made.split(" in ")[0]
        assert abs(distances[0] - distances[1]) <= 5  # lanes are polylines, the route's path is not


def test_distance_to_the_junction_is_along_the_route(four: RouteJunction) -> None:
    x, y, yaw = four.entry_pose
    back = np.array([x, y]) - 10.0 * np.array([np.cos(yaw), np.sin(yaw)])
    assert four.before_entry_m(back) == pytest.approx(10.0, abs=0.2)
    assert four.before_entry_m(four.ways[0].line[5]) < 0


def test_what_is_no_path_is_refused(four: RouteJunction) -> None:
    with pytest.raises(InvalidInput, match="path_xy_m: expected shape"):
        way_taken(four, np.zeros((4, 3)))
    with pytest.raises(InvalidInput, match="path_xy_m: expected finite"):
        way_taken(four, np.full((4, 2), np.nan))
