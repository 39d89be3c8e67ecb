"""A small reader of OpenDRIVE, written from the standard alone: what it makes of a file is in 3-D points.

Knows lines and arcs, elevation, lateral shape, lane widths (cubics), one lane section a road, links and
junctions; asserts that a file holds nothing else that would move a lane.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from xml.etree import ElementTree

import numpy as np

SPACING_M = 0.25


@dataclass
class EvaluatedLane:
    """Borders of a lane [N, 3], in the direction of travel, and which lanes follow: (road id, lane id)."""

    kind: str
    left: np.ndarray
    right: np.ndarray
    after: set[tuple[str, int]] = field(default_factory=set)

    @property
    def centre(self) -> np.ndarray:
        return (self.left + self.right) / 2


@dataclass
class EvaluatedRoad:
    name: str
    junction: str
    line: np.ndarray
    yaw: np.ndarray
    lanes: dict[int, EvaluatedLane]


def evaluate(text: str) -> dict[str, EvaluatedRoad]:
    """Return all roads by id."""
    root = ElementTree.fromstring(text)
    roads = {road.attrib["id"]: _road(road) for road in root.iter("road")}
    assert len(roads) == len(list(root.iter("road"))), "road ids are not unique"
    _link(root, roads)
    return roads


def _road(road: ElementTree.Element) -> EvaluatedRoad:
    length = _number(road, "length")
    s = np.linspace(0.0, length, max(2, math.ceil(length / SPACING_M) + 1))
    xy, yaw = _plan(road, s)
    left = np.stack([-np.sin(yaw), np.cos(yaw)], axis=1)
    assert not list(road.iter("laneOffset")) and not list(road.iter("superelevation"))
    (section,) = road.iter("laneSection")

    def points(t: np.ndarray) -> np.ndarray:
        z = _cubic(road.iter("elevation"), s, "s") + _shape(road, s, t)
        return np.column_stack([xy + left * t[:, None], z])

    lanes: dict[int, EvaluatedLane] = {}
    for side, sign in (("left", 1), ("right", -1)):
        element = section.find(side)
        inner = np.zeros_like(s)
        for lane in sorted([] if element is None else element, key=lambda e: abs(int(e.attrib["id"]))):
            number = int(lane.attrib["id"])
            assert number == sign * (len([k for k in lanes if k * sign > 0]) + 1), "lane ids have a gap"
            outer = inner + sign * _cubic(lane.iter("width"), s, "sOffset")
            borders = points(inner), points(outer)
            if sign > 0:  # drives against the road: what is inner is still on its left
                borders = borders[0][::-1], borders[1][::-1]
            lanes[number] = EvaluatedLane(lane.attrib["type"], *borders)
            inner = outer
    return EvaluatedRoad(road.attrib["name"], road.attrib["junction"], points(np.zeros_like(s)), yaw, lanes)


def _plan(road: ElementTree.Element, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    pieces = list(road.iter("geometry"))
    ends = 0.0
    xy, yaw = np.full((len(s), 2), np.nan), np.full(len(s), np.nan)
    for piece in pieces:
        start, length = _number(piece, "s"), _number(piece, "length")
        assert abs(start - ends) < 1e-6, "pieces do not follow each other"
        ends = start + length
        mine = (s >= start - 1e-9) & (s <= ends + 1e-6)
        along, x, y, heading = (
            s[mine] - start,
            _number(piece, "x"),
            _number(piece, "y"),
            _number(piece, "hdg"),
        )
        (shape,) = piece
        if shape.tag == "line":
            xy[mine] = np.column_stack([x + along * math.cos(heading), y + along * math.sin(heading)])
            yaw[mine] = heading
        else:
            assert shape.tag == "arc", f"{shape.tag} is not known to all readers"
            radius = 1 / _number(shape, "curvature")
            yaw[mine] = heading + along / radius
            xy[mine] = np.column_stack(
                [
                    x + radius * (np.sin(yaw[mine]) - math.sin(heading)),
                    y - radius * (np.cos(yaw[mine]) - math.cos(heading)),
                ]
            )
    assert abs(ends - _number(road, "length")) < 1e-6, "pieces are not as long as the road"
    assert np.all(np.isfinite(xy))
    return xy, yaw


def _cubic(entries, s: np.ndarray, start: str) -> np.ndarray:
    """Return the value at each s of cubics, each valid from its start on."""
    entries = list(entries)
    starts = np.array([_number(entry, start) for entry in entries])
    assert starts[0] == 0.0 and np.all(np.diff(starts) > 0)
    coefficients = np.array([[_number(entry, key) for key in "abcd"] for entry in entries])
    owner = np.clip(np.searchsorted(starts, s + 1e-9, side="right") - 1, 0, None)
    ds = s - starts[owner]
    return np.sum(coefficients[owner] * np.stack([ds**0, ds, ds**2, ds**3], axis=1), axis=1)


def _shape(road: ElementTree.Element, s: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Return the lateral shape's height: cubic in t at each station, linear between stations."""
    stations: dict[float, list[ElementTree.Element]] = {}
    for entry in road.iter("shape"):
        stations.setdefault(_number(entry, "s"), []).append(entry)
    if not stations:
        return np.zeros_like(s)
    heights = []
    for entries in stations.values():
        starts = np.array([_number(entry, "t") for entry in entries])
        assert np.all(np.diff(starts) > 0)
        coefficients = np.array([[_number(entry, key) for key in "abcd"] for entry in entries])
        owner = np.clip(np.searchsorted(starts, t + 1e-9, side="right") - 1, 0, None)
        dt = t - starts[owner]
        heights.append(np.sum(coefficients[owner] * np.stack([dt**0, dt, dt**2, dt**3], axis=1), axis=1))
    at = np.array(list(stations))
    k = np.clip(np.searchsorted(at, s, side="right") - 1, 0, len(at) - 2)
    share = np.clip((s - at[k]) / (at[k + 1] - at[k]), 0.0, 1.0)
    table = np.array(heights)
    rows = np.arange(len(s))
    return (1 - share) * table[k, rows] + share * table[k + 1, rows]


def _link(root: ElementTree.Element, roads: dict[str, EvaluatedRoad]) -> None:
    for road in root.iter("road"):
        target = road.find("link/successor")
        source = road.find("link/predecessor")
        for lane in road.iter("lane"):
            here = (road.attrib["id"], int(lane.attrib["id"]))
            for entry, neighbour in (("successor", target), ("predecessor", source)):
                for link in lane.findall(f"link/{entry}"):
                    assert neighbour is not None and neighbour.attrib["elementType"] == "road"
                    there = (neighbour.attrib["elementId"], int(link.attrib["id"]))
                    before, after = (here, there) if entry == "successor" else (there, here)
                    roads[before[0]].lanes[before[1]].after.add(after)
    told = {
        ((road_id, number), after)
        for road_id, road in roads.items()
        for number, lane in road.lanes.items()
        for after in lane.after
        if roads[after[0]].junction != "-1"
    }
    for junction in root.iter("junction"):
        for connection in junction.iter("connection"):
            connecting = connection.attrib["connectingRoad"]
            assert roads[connecting].junction == junction.attrib["id"]
            assert connection.attrib["contactPoint"] == "start"
            for link in connection.iter("laneLink"):
                source = connection.attrib["incomingRoad"], int(link.attrib["from"])
                # The connecting lane's own link says the same: readers heed the one or the other.
                told.remove((source, (connecting, int(link.attrib["to"]))))
    assert not told, "ways into junctions that no connection tells of"


def _number(element: ElementTree.Element, key: str) -> float:
    value = float(element.attrib[key])
    assert math.isfinite(value)
    return value
