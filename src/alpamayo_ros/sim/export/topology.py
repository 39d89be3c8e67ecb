"""Which lanes make one OpenDRIVE road, and how those roads meet: in line, or in junctions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from alpamayo_ros.sim.roads import Lane, RoadNetwork
from alpamayo_ros.types import InvalidInput


@dataclass(frozen=True)
class LaneRoad:
    """Lanes side by side in one direction, as a road: its lane -1 is the leftmost.

    Attributes:
        road_id: unique, from 1 on.
        lane_ids: from left to right.
        before, after: the roads that its lanes come from and lead to.
        connecting: whether it is a way through a junction.
        junction: the junction that it belongs to, if connecting.
        junction_before, junction_after: the junction that it comes from and leads to, if not connecting.
    """

    road_id: int
    lane_ids: tuple[str, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    connecting: bool = False
    junction: int | None = None
    junction_before: int | None = None
    junction_after: int | None = None


@dataclass(frozen=True)
class Topology:
    """All roads by id, and what is needed to link them."""

    roads: Mapping[int, LaneRoad]
    place: Mapping[str, tuple[int, int]]
    """Lane id -> (road id, lane number -1, -2 …)."""
    junctions: Mapping[int, tuple[int, ...]]
    """Junction -> its connecting roads."""


def topology_of(network: RoadNetwork) -> Topology:
    """Return the roads of a network.

    A lane within a junction with one way in and one way out makes a connecting road; connecting roads that
    share an incoming or outgoing road's end form a junction. All others are roads of their own.

    Raises:
        InvalidInput: for a network that OpenDRIVE cannot express so: roads that branch without connecting
            roads, or connecting roads in a row.
    """
    groups = [_side_by_side(network, lane) for lane in network.lanes if lane.left_neighbour is None]
    place = {
        lane_id: (number, -index)
        for number, lanes in enumerate(groups, 1)
        for index, lane_id in enumerate(lanes, 1)
    }
    before = [_roads(place, (network.lane(i).predecessors for i in lanes)) for lanes in groups]
    after = [_roads(place, (network.lane(i).successors for i in lanes)) for lanes in groups]
    connecting = {
        number
        for number, lanes in enumerate(groups, 1)
        if all(network.lane(i).in_junction for i in lanes)
        and len(before[number - 1]) == len(after[number - 1]) == 1
    }
    # An end of a plain road that connecting roads meet at is a corner of one junction.
    corner: dict[tuple[int, str], tuple[int, str]] = {}

    def find(key: tuple[int, str]) -> tuple[int, str]:
        while corner.setdefault(key, key) != key:
            key = corner[key]
        return key

    for number in sorted(connecting):
        (source,), (target,) = before[number - 1], after[number - 1]
        if source in connecting or target in connecting:
            raise InvalidInput(
                f"lanes {groups[number - 1]}: expected a connection between roads, got one that meets another"
            )
        corner[find((source, "end"))] = find((target, "start"))
    names = {root: 1000 + k for k, root in enumerate(sorted({find(key) for key in list(corner)}), 1)}
    junctions: dict[int, list[int]] = {name: [] for name in names.values()}
    roads: dict[int, LaneRoad] = {}
    for number, lanes in enumerate(groups, 1):
        joined, onward = before[number - 1], after[number - 1]
        if number in connecting:
            junction = names[find((onward[0], "start"))]
            junctions[junction].append(number)
            roads[number] = LaneRoad(number, lanes, joined, onward, connecting=True, junction=junction)
            continue
        for others, end in ((joined, "start"), (onward, "end")):
            plain = [other for other in others if other not in connecting]
            if plain and len(others) > 1:
                raise InvalidInput(f"lanes {lanes}: expected connections at the {end}, got roads {plain}")
        roads[number] = LaneRoad(
            number,
            lanes,
            joined,
            onward,
            junction_before=names[find((number, "start"))] if connecting & set(joined) else None,
            junction_after=names[find((number, "end"))] if connecting & set(onward) else None,
        )
    return Topology(roads, place, {name: tuple(ids) for name, ids in junctions.items()})


def _side_by_side(network: RoadNetwork, leftmost: Lane) -> tuple[str, ...]:
    lanes = [leftmost.lane_id]
    while (right := network.lane(lanes[-1]).right_neighbour) is not None:
        lanes.append(right)
    return tuple(lanes)


def _roads(place: Mapping[str, tuple[int, int]], links: Iterable[tuple[str, ...]]) -> tuple[int, ...]:
    return tuple(sorted({place[lane_id][0] for ids in links for lane_id in ids}))
