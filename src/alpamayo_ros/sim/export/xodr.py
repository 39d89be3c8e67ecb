"""A road network as OpenDRIVE 1.6, shaped so that AlpaSim's reader finds our lanes and our road edges.

Lanes side by side in one direction are one road; its reference line is the left border of the leftmost, and
it carries the ground's height, with `shape` for the slope across. What AlpaSim's reader makes of a file
asks for things that others do not mind (see docs/SCENES.md):

- It takes no road edges as such, but both borders of every road for edges; older ones of its versions leave
  out the border of a sidewalk. So each of our edges is a road, on its line, with a sidewalk of no width.
- It drops an edge that a lane comes close to. Roads of lanes, which are not bordered by an edge but by a
  shoulder, end in a sidewalk of no width, and at their borders lie short lanes of type none, 2 cm wide.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np
import shapely
import shapely.ops
from shapely.geometry import LineString, MultiLineString

from alpamayo_ros.sim.export.elements import add
from alpamayo_ros.sim.export.furniture import add_furniture
from alpamayo_ros.sim.export.geodesy import GEO_REFERENCE
from alpamayo_ros.sim.export.reference_line import Piece, ReferenceLine, cubics, fit_arcs, fit_lines
from alpamayo_ros.sim.export.topology import LaneRoad, Topology, topology_of
from alpamayo_ros.sim.roads import Float64Array, RoadNetwork, Terrain
from alpamayo_ros.types import InvalidInput

_CUBIC_M = 10.0
_WIDTH_SPREAD_M = 0.01
_EDGE_PIECE_M = 60.0
_EDGE_TOLERANCE_M = 0.005
_MARKER_M = 2.0
_MARKER_WIDTH_M = 0.02
_MARKER_REACH_M = 0.05
"""How far a marker reaches over the line or border that it crosses."""
_MARKER_CLEAR_M = 0.25
"""How far it keeps from edges: AlpaSim's reader drops one that a lane comes within 0.2 m of."""
_MARKER_SKEW_RAD = 0.15


def opendrive(name: str, network: RoadNetwork, terrain: Terrain) -> str:
    """Return a network as the text of an .xodr file, in local coordinates.

    Raises:
        InvalidInput: for lanes whose width changes, or links that OpenDRIVE cannot express (see topology.py).
    """
    topology = topology_of(network)
    root = ElementTree.Element("OpenDRIVE")
    _header(root, name, network)
    ids = count(len(topology.roads) + 1)
    lines = {road.road_id: _reference_line(network, road) for road in topology.roads.values()}
    roads = {
        road.road_id: _lane_road(root, network, terrain, topology, road, line=lines[road.road_id])
        for road in topology.roads.values()
    }
    add_furniture(roads, network, terrain, topology, lines=lines)
    edges = MultiLineString([LineString(edge[:, :2]) for edge in network.edges])
    for road in topology.roads.values():
        for x, y, yaw in _marker_poses(network, road, lines[road.road_id], edges):
            _marker(root, terrain, next(ids), Piece(0.0, x, y, yaw, _MARKER_M, 0.0))
    for edge in _edge_pieces(network):
        _edge_road(root, terrain, next(ids), edge)
    for junction, connecting in topology.junctions.items():
        _junction(root, network, topology, junction, connecting)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _header(root: Element, name: str, network: RoadNetwork) -> None:
    points = [lane.centre for lane in network.lanes] + list(network.edges)
    west, south = np.min([p[:, :2].min(axis=0) for p in points], axis=0)
    east, north = np.max([p[:, :2].max(axis=0) for p in points], axis=0)
    header = add(
        root,
        "header",
        revMajor=1,
        revMinor=6,
        name=name,
        version="1.0",
        north=north,
        south=south,
        east=east,
        west=west,
        vendor="alpamayo_ros",
    )
    add(header, "geoReference").text = GEO_REFERENCE


def _reference_line(network: RoadNetwork, road: LaneRoad) -> ReferenceLine:
    """Return the left border of the leftmost lane; its points lie square to those of the right border."""
    lane = network.lane(road.lane_ids[0])
    across = (lane.left - lane.right)[:, :2]
    return fit_arcs(lane.left[:, :2], np.arctan2(across[:, 1], across[:, 0]) - np.pi / 2)


def _lane_road(
    root: Element,
    network: RoadNetwork,
    terrain: Terrain,
    topology: Topology,
    road: LaneRoad,
    *,
    line: ReferenceLine,
) -> Element:
    lanes = [network.lane(lane_id) for lane_id in road.lane_ids]
    widths = [_width(lane.lane_id, lane.left, lane.right) for lane in lanes]
    element = _road(root, road.road_id, line, name=" ".join(road.lane_ids), junction=road.junction)
    link = add(element, "link")
    for tag, others, junction, point in (
        ("predecessor", road.before, road.junction_before, "end"),
        ("successor", road.after, road.junction_after, "start"),
    ):
        if junction is not None:
            add(link, tag, elementType="junction", elementId=junction)
        elif others:
            add(link, tag, elementType="road", elementId=others[0], contactPoint=point)
    kind = add(element, "type", s=0.0, type="town")
    add(kind, "speed", max=max(lane.speed_limit_mps for lane in lanes), unit="m/s")
    _plan_view(element, line)
    _heights(element, line, terrain, reach_m=(0.0, -sum(widths)))
    section = add(add(element, "lanes"), "laneSection", s=0.0)
    add(add(add(section, "center"), "lane", id=0, type="none", level="false"), "link")
    side = add(section, "right")
    for number, (lane, width) in enumerate(zip(lanes, widths, strict=True), 1):
        one = _lane(side, -number, "driving", width)
        lane_link = one.find("link")
        assert lane_link is not None
        for tag, links, junction in (
            ("predecessor", lane.predecessors, road.junction_before),
            ("successor", lane.successors, road.junction_after),
        ):
            if junction is None:
                for other in links:
                    add(lane_link, tag, id=topology.place[other][1])
        add(one, "speed", sOffset=0.0, max=lane.speed_limit_mps, unit="m/s")
    _lane(side, -len(lanes) - 1, "sidewalk", 0.0)
    return element


def _marker_poses(
    network: RoadNetwork, road: LaneRoad, line: ReferenceLine, edges: MultiLineString
) -> list[tuple[float, float, float]]:
    """Return where the lanes of type none begin that make AlpaSim drop a road's borders: x, y, yaw."""
    poses = []
    if not road.connecting:  # a connecting road's line is no edge to it
        xy, yaw = line.sample(np.array([line.length_m / 2]))
        poses.append(_across(xy[0], float(yaw[0]) - np.pi / 2))
    lane = network.lane(road.lane_ids[-1])
    left, right = ((line[1:, :2] + line[:-1, :2]) / 2 for line in (lane.left, lane.right))
    yaw = np.arctan2(*(left - right).T[::-1])
    beyond = right - _MARKER_REACH_M * np.stack([np.cos(yaw), np.sin(yaw)], axis=-1)
    clear_m = shapely.distance(edges, shapely.points(beyond))
    best = int(np.argmax(clear_m))
    if clear_m[best] > _MARKER_CLEAR_M:  # else an edge runs all along the border
        poses.append(_across(right[best], float(yaw[best])))
    return poses


def _across(xy: Float64Array, direction: float) -> tuple[float, float, float]:
    """Return where a marker begins that crosses a line at a point about in a direction.

    Never in that of an axis: AlpaSim's reader compares what overlaps in x and in y, and would take the
    marker's own borders, beside it, for edges.
    """
    if min(abs(np.sin(direction)), abs(np.cos(direction))) < _MARKER_SKEW_RAD / 2:
        direction += _MARKER_SKEW_RAD
    x, y = (xy - _MARKER_REACH_M * np.array([np.cos(direction), np.sin(direction)])).tolist()
    return x, y, direction


def _marker(root: Element, terrain: Terrain, road_id: int, piece: Piece) -> None:
    line = ReferenceLine((piece,))
    element = _road(root, road_id, line, name="marker")
    _plan_view(element, line)
    _heights(element, line, terrain, reach_m=(0.0, -_MARKER_WIDTH_M))
    section = add(add(element, "lanes"), "laneSection", s=0.0)
    add(add(section, "center"), "lane", id=0, type="none", level="false")
    _lane(add(section, "right"), -1, "none", _MARKER_WIDTH_M)


def _edge_road(root: Element, terrain: Terrain, road_id: int, xy: Float64Array) -> None:
    line = fit_lines(xy)
    element = _road(root, road_id, line, name="edge")
    _plan_view(element, line)
    _heights(element, line, terrain, reach_m=(0.0, 0.0))
    section = add(add(element, "lanes"), "laneSection", s=0.0)
    add(add(section, "center"), "lane", id=0, type="none", level="false")
    _lane(add(section, "right"), -1, "sidewalk", 0.0)


def _edge_pieces(network: RoadNetwork) -> list[Float64Array]:
    """Return the edges [N, 2] in pieces of at most 60 m.

    Of edges about the same middle and direction, AlpaSim's reader drops all but the longest: no piece is a
    ring, and opposite borders of a road have pieces of their own.
    """
    pieces = []
    for edge in network.edges:
        whole = LineString(edge[:, :2]).simplify(_EDGE_TOLERANCE_M)
        parts = max(2 if whole.is_ring else 1, int(np.ceil(whole.length / _EDGE_PIECE_M)))
        for k in range(parts):
            part = shapely.ops.substring(whole, k / parts, (k + 1) / parts, normalized=True)
            pieces.append(np.asarray(part.coords))
    return pieces


def _junction(
    root: Element, network: RoadNetwork, topology: Topology, junction: int, connecting: Sequence[int]
) -> None:
    element = add(root, "junction", id=junction, name=f"junction {junction}")
    for number, road_id in enumerate(connecting):
        road = topology.roads[road_id]
        connection = add(
            element,
            "connection",
            id=number,
            incomingRoad=road.before[0],
            connectingRoad=road_id,
            contactPoint="start",
        )
        for lane_id in road.lane_ids:
            for source in network.lane(lane_id).predecessors:
                add(
                    connection,
                    "laneLink",
                    **{"from": topology.place[source][1], "to": topology.place[lane_id][1]},
                )


def _road(
    root: Element, road_id: int, line: ReferenceLine, *, name: str, junction: int | None = None
) -> Element:
    return add(
        root,
        "road",
        name=name,
        length=line.length_m,
        id=road_id,
        junction=-1 if junction is None else junction,
        rule="RHT",
    )


def _plan_view(road: Element, line: ReferenceLine) -> None:
    view = add(road, "planView")
    for piece in line.pieces:
        geometry = add(
            view,
            "geometry",
            s=piece.s_m,
            x=piece.x_m,
            y=piece.y_m,
            hdg=piece.yaw_rad,
            length=piece.length_m,
        )
        if piece.curvature_per_m:
            add(geometry, "arc", curvature=piece.curvature_per_m)
        else:
            add(geometry, "line")


def _heights(road: Element, line: ReferenceLine, terrain: Terrain, *, reach_m: tuple[float, float]) -> None:
    """Add the ground's height, and as `shape` (which keeps the plan) its slope across.

    The elevation is that in the road's middle, not on its line: many readers ignore `shape` and take it for
    all lanes.

    Args:
        road: to what.
        line: its reference line.
        terrain: the ground.
        reach_m: leftmost and rightmost t of the road.
    """
    left_m, right_m = reach_m
    middle_m = (left_m + right_m) / 2

    def profile(xy: Float64Array, yaw: Float64Array) -> Float64Array:
        middle = xy + middle_m * _to_left(yaw)
        forward = np.stack([np.cos(yaw), np.sin(yaw)], axis=-1)
        return np.stack(
            [terrain.height_m(middle), np.sum(terrain.gradient(middle) * forward, axis=-1)], axis=-1
        )

    elevation = add(road, "elevationProfile")
    for s, a, b, c, d in cubics(line, _CUBIC_M, profile):
        add(elevation, "elevation", s=s, a=a, b=b, c=c, d=d)
    if left_m == right_m:
        return
    lateral = add(road, "lateralProfile")
    stations = line.stations(_CUBIC_M)
    xy, yaw = line.sample(stations)
    left = _to_left(yaw)
    slopes = np.sum(terrain.gradient(xy + middle_m * left) * left, axis=-1)
    for s, slope in zip(stations.tolist(), slopes.tolist(), strict=True):
        for t in reversed(reach_m):
            add(lateral, "shape", s=s, t=t, a=slope * (t - middle_m), b=slope, c=0.0, d=0.0)


def _to_left(yaw: Float64Array) -> Float64Array:
    return np.stack([-np.sin(yaw), np.cos(yaw)], axis=-1)


def _width(lane_id: str, left: Float64Array, right: Float64Array) -> float:
    widths = np.linalg.norm((left - right)[:, :2], axis=1)
    if np.ptp(widths) > _WIDTH_SPREAD_M:
        raise InvalidInput(
            f"lane {lane_id}: expected one width all along, got {widths.min():.3f} to {widths.max():.3f} m"
        )
    return float(np.mean(widths))


def _lane(side: Element, number: int, kind: str, width_m: float) -> Element:
    lane = add(side, "lane", id=number, type=kind, level="false")
    add(lane, "link")
    add(lane, "width", sOffset=0.0, a=width_m, b=0.0, c=0.0, d=0.0)
    return lane
