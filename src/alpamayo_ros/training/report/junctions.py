"""Which way a path goes through a junction, by the scene's map: what obeying an instruction means.

At a junction the route comes in on one lane; the lanes that lead on from there and from the lanes beside it
are the *ways*, each left, right or straight as the map says (a heading that changes by more than 30°). A path
that comes into the junction is looked at where it has gone as far as the shortest of the ways is long, or at
its end if it does not get that far. It takes the way whose centre line is nearest there, if that is within
ELSEWHERE_M and nearer by APART_M than any way to another side; beyond ELSEWHERE_M of all it goes
"elsewhere", and between two sides it is undecided.

Roundabouts are none of these: the ways out of one are told as exits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import shapely

from alpamayo_ros.evaluation.intervals import mean_of
from alpamayo_ros.sim.navigation_text import BEGUN_RAD, STRAIGHT_TEXT, with_distance
from alpamayo_ros.sim.roads import Float64Array, Lane, RoadNetwork, Turn
from alpamayo_ros.sim.scene import Scene
from alpamayo_ros.types import require_array, require_finite

Taken = Literal["left", "right", "straight", "elsewhere", "undecided"]
TURNS: tuple[Turn, ...] = ("left", "right", "straight")

ELSEWHERE_M = 4.0
"""A lane's width and a little: whoever is further from the middle of every way is on none of them."""
APART_M = 2.0
_BESIDE_M = 12.0
"""A path comes in where it passes the entry this near to the route's lane."""
_BEHIND_M = 40.0


class Crossing(Protocol):
    """A plan or a rollout at a junction: in which scene, where it was told to go, which way it took."""

    @property
    def scene_id(self) -> str: ...

    @property
    def told(self) -> Turn: ...

    @property
    def taken(self) -> Taken: ...


@dataclass(frozen=True, eq=False)
class Way:
    """One way through a junction.

    Attributes:
        turn: to which side.
        line: float64 [N, 2] m, the centre of its lane from the entry on, and of the lanes behind it.
        lane_m: length of the lane in the junction.
        begun_m: how far in it has turned by 15°, zero for straight on: what an instruction's distance is to.
        is_from_route: whether it leads on from the very lane on which the route comes.
    """

    turn: Turn
    line: Float64Array
    lane_m: float
    begun_m: float
    is_from_route: bool


@dataclass(frozen=True, eq=False)
class RouteJunction:
    """A junction on a scene's route, with at least two ways to different sides.

    Attributes:
        route_turn: to which side the route goes.
        route_line: float64 [N, 2] m, all of the route's lane centres.
        entry_s_m, exit_s_m: where on it the junction begins and ends.
        entry_pose: x and y in m and heading in rad at the entry.
        ways: the route's among them.
    """

    route_turn: Turn
    route_line: Float64Array
    entry_s_m: float
    exit_s_m: float
    entry_pose: tuple[float, float, float]
    ways: tuple[Way, ...]

    @property
    def reach_m(self) -> float:
        """How far in a path is looked at: where every way has gone its own way."""
        return min(way.lane_m for way in self.ways)

    def before_entry_m(self, xy_m: Float64Array) -> float:
        """Return how far the entry is ahead of a place [2] along the route, negative behind it."""
        line = shapely.LineString(self.route_line)
        return self.entry_s_m - float(line.project(shapely.Point(xy_m)))

    def instruction(self, turn: Turn, *, before_m: float) -> str:
        """Return the navigation text for a way, in the simulation's own words.

        Args:
            turn: one of the ways'.
            before_m: how far the entry is ahead.
        """
        if turn == "straight":
            return STRAIGHT_TEXT
        begun_m = min(way.begun_m for way in self.ways if way.turn == turn)
        return with_distance(f"Turn {turn}", max(before_m + begun_m, 0.0))


def junctions_of(scene: Scene) -> tuple[RouteJunction, ...]:
    """Return the junctions on a scene's route at which it could have gone elsewhere; none without a map."""
    road = scene.road
    if road is None:
        return ()
    lanes = [road.lane(lane_id) for lane_id in scene.route_lane_ids]
    lengths = [_length_m(lane.centre) for lane in lanes]
    line = np.concatenate([lane.centre[:, :2] for lane in lanes])
    line = line[np.concatenate([[True], np.linalg.norm(np.diff(line, axis=0), axis=1) > 1e-6])]
    found = []
    for row in range(1, len(lanes)):
        before, here = lanes[row - 1], lanes[row]
        if not here.in_junction or before.in_junction:
            continue
        ways = _ways(road, before)
        if len({way.turn for way in ways}) < 2:
            continue
        entry_s_m = sum(lengths[:row])
        (x, y), (dx, dy) = here.centre[0, :2], here.centre[1, :2] - here.centre[0, :2]
        pose = (float(x), float(y), float(np.arctan2(dy, dx)))
        found.append(RouteJunction(here.turn, line, entry_s_m, entry_s_m + lengths[row], pose, ways))
    return tuple(found)


def way_taken(junction: RouteJunction, path_xy_m: Float64Array) -> Taken:
    """Return which way a path goes; undecided too where it does not come into the junction.

    Args:
        junction: where.
        path_xy_m: float64 [N, 2] in the scene's local frame, in its order in time.

    Raises:
        InvalidInput: for a path of another shape or dtype, or that is not finite.
    """
    require_array("path_xy_m", path_xy_m, (None, 2), np.float64)
    require_finite("path_xy_m", path_xy_m)
    point = _looked_at(junction, path_xy_m)
    if point is None:
        return "undecided"
    away_m: dict[Turn, float] = {}
    for way in junction.ways:
        distance_m = float(shapely.LineString(way.line).distance(shapely.Point(point)))
        away_m[way.turn] = min(distance_m, away_m.get(way.turn, np.inf))
    nearest = min(away_m, key=lambda turn: away_m[turn])
    if away_m[nearest] > ELSEWHERE_M:
        return "elsewhere"
    others = [distance_m for turn, distance_m in away_m.items() if turn != nearest]
    return nearest if min(others) - away_m[nearest] >= APART_M else "undecided"


def obedience(crossed: Sequence[Crossing]) -> dict[str, object]:
    """Return how often the way that was told is taken.

    The keys: `followed`, the share of all, an Estimate: who stays undecided has not followed; `by_turn`: of
    left, right and straight, and of `all`: n, followed, another_way, elsewhere, undecided.
    """
    by_turn: dict[str, Mapping[str, int]] = {
        turn: _counts(mine) for turn in TURNS if (mine := [each for each in crossed if each.told == turn])
    }
    followed = [each.taken == each.told for each in crossed]
    return {
        "followed": mean_of([each.scene_id for each in crossed], followed).as_dict(),
        "by_turn": {**by_turn, "all": _counts(crossed)},
    }


def _counts(crossed: Sequence[Crossing]) -> Mapping[str, int]:
    counts = dict.fromkeys(("n", "followed", "another_way", "elsewhere", "undecided"), 0)
    for each in crossed:
        counts["n"] += 1
        if each.taken in ("elsewhere", "undecided"):
            counts[each.taken] += 1
        else:
            counts["followed" if each.taken == each.told else "another_way"] += 1
    return counts


def _looked_at(junction: RouteJunction, path: Float64Array) -> Float64Array | None:
    """Return the point [2] of a path at which it is looked at; None where it never comes in."""
    x, y, yaw = junction.entry_pose
    away = path - (x, y)
    ahead_m = away @ np.array([np.cos(yaw), np.sin(yaw)])
    beside_m = away @ np.array([-np.sin(yaw), np.cos(yaw)])
    is_in = (ahead_m > 0.0) & (np.abs(beside_m) < _BESIDE_M) & (ahead_m < junction.reach_m)
    if not is_in.any():
        return None
    first = int(np.argmax(is_in))
    steps_m = np.linalg.norm(np.diff(path[first:], axis=0), axis=1)
    along_m = ahead_m[first] + np.concatenate([[0.0], np.cumsum(steps_m)])
    return np.asarray(path[first + min(int(np.searchsorted(along_m, junction.reach_m)), len(along_m) - 1)])


def _ways(road: RoadNetwork, before: Lane) -> tuple[Way, ...]:
    """Return the ways on from a lane and from those beside it."""
    beside = {before.lane_id: before}
    waiting = [before]
    while waiting:
        lane = waiting.pop()
        for other in (lane.left_neighbour, lane.right_neighbour):
            if other is not None and other not in beside:
                beside[other] = road.lane(other)
                waiting.append(beside[other])
    ways = []
    for lane in beside.values():
        for lane_id in lane.successors:
            onward = road.lane(lane_id)
            if onward.in_junction:
                ways.append(_way(road, onward, is_from_route=lane is before))
    return tuple(ways)


def _way(road: RoadNetwork, lane: Lane, *, is_from_route: bool) -> Way:
    pieces, length_m, last = [lane.centre[:, :2]], 0.0, lane
    while last.successors and length_m < _BEHIND_M:
        last = road.lane(last.successors[0])
        pieces.append(last.centre[1:, :2])
        length_m += _length_m(last.centre)
    steps = np.diff(lane.centre[:, :2], axis=0)
    yaw = np.unwrap(np.arctan2(steps[:, 1], steps[:, 0]))
    begun = np.abs(yaw - yaw[0]) > BEGUN_RAD
    begun_m = float(np.linalg.norm(steps[: int(np.argmax(begun))], axis=1).sum()) if begun.any() else 0.0
    return Way(lane.turn, np.concatenate(pieces), _length_m(lane.centre), begun_m, is_from_route)


def _length_m(centre: Float64Array) -> float:
    return float(np.linalg.norm(np.diff(centre[:, :2], axis=0), axis=1).sum())
