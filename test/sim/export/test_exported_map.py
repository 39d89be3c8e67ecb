"""Our maps as OpenDRIVE, read back by another reader (opendrive_evaluator): lanes, links, edges, heights."""

from __future__ import annotations

import math
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
import shapely
from opendrive_evaluator import EvaluatedLane, EvaluatedRoad, evaluate
from shapely.geometry import LineString, MultiLineString

from alpamayo_ros.sim.export.reference_line import Piece
from alpamayo_ros.sim.export.xodr import opendrive
from alpamayo_ros.sim.roads import Lane, RoadNetwork, Terrain
from alpamayo_ros.sim.scene import FAMILIES, Scene, scene_id_of
from alpamayo_ros.sim.scenes import make_scene
from alpamayo_ros.types import InvalidInput

LANE_M = 0.02
EDGE_M = 0.01
EDGE_CLEAR_M = 0.2
"""AlpaSim's reader drops an edge that a lane's centre comes as close to as this."""
STEP_BACK_M = 1e-4
"""AlpaSim's check of a route that it continues lets 1 mm pass."""
STEPPED_BACK = ("straight", "curve", "hills", "cut_in", "lead_braking", "queue", "rain_dark")
SOME = ("straight", "hills", "junction_4way", "roundabout")


@pytest.fixture(
    params=[
        pytest.param(seed, marks=() if family in SOME else pytest.mark.long, id=family)
        for seed, family in enumerate(FAMILIES)
    ]
)
def scene(request) -> Scene:
    return make_scene(scene_id_of(request.param))


@pytest.fixture
def roads(scene) -> dict[str, EvaluatedRoad]:
    return evaluate(opendrive(scene.scene_id, scene.road, scene.terrain))


def _lanes(roads: dict[str, EvaluatedRoad]) -> dict[str, tuple[tuple[str, int], EvaluatedLane]]:
    """Return the driving lanes by our lane id: a road is called as its lanes are, from left to right."""
    found = {}
    for road_id, road in roads.items():
        driving = [number for number, lane in road.lanes.items() if lane.kind == "driving"]
        names = road.name.split() if driving else []
        assert len(names) == len(driving)
        for name, number in zip(names, driving, strict=True):
            found[name] = ((road_id, number), road.lanes[number])
    return found


def _apart_m(a: np.ndarray, b: np.ndarray) -> float:
    """Return the greatest distance in 3-D of a vertex of either polyline from the other."""
    return max(_from_m(a, b), _from_m(b, a))


def _from_m(points: np.ndarray, line: np.ndarray) -> float:
    start, step = line[:-1], np.diff(line, axis=0)
    offset = points[:, None] - start
    share = np.clip(np.sum(offset * step, axis=2) / np.sum(step * step, axis=1), 0.0, 1.0)
    return float(np.linalg.norm(offset - share[..., None] * step, axis=2).min(axis=1).max())


def test_lanes_are_where_ours_are(scene, roads):
    lanes = _lanes(roads)
    assert set(lanes) == {lane.lane_id for lane in scene.road.lanes}
    for lane in scene.road.lanes:
        _, read = lanes[lane.lane_id]
        for name in ("left", "right", "centre"):
            assert _apart_m(getattr(lane, name), getattr(read, name)) < LANE_M, (lane.lane_id, name)
        towards = lane.centre[-1] - lane.centre[0]
        assert (read.centre[-1] - read.centre[0]) @ towards > 0.5 * towards @ towards


def test_lanes_lead_where_ours_lead_and_touch(scene, roads):
    lanes = _lanes(roads)
    for lane in scene.road.lanes:
        _, read = lanes[lane.lane_id]
        assert read.after == {lanes[other][0] for other in lane.successors}, lane.lane_id
        for other in lane.successors:
            gap = np.linalg.norm(read.centre[-1] - lanes[other][1].centre[0])
            assert gap < LANE_M, (lane.lane_id, other)


@pytest.mark.parametrize(
    "seed",
    [
        pytest.param(k, marks=() if name in STEPPED_BACK else pytest.mark.long, id=name)
        for k, name in enumerate(FAMILIES)
    ],
)
def test_centre_lines_advance_as_alpasim_samples_them(seed):
    made = make_scene(scene_id_of(seed))
    text = opendrive(made.scene_id, made.road, made.terrain)
    lanes = 0
    for road in ElementTree.fromstring(text).iter("road"):
        xy, yaw = _sampled_as_alpasim(road)
        inner_m = 0.0
        for lane in road.findall("lanes/laneSection/right/lane"):
            width = lane.find("width")
            assert width is not None
            middle_m, inner_m = inner_m + float(width.attrib["a"]) / 2, inner_m + float(width.attrib["a"])
            if lane.attrib["type"] != "driving":
                continue
            lanes += 1
            centre = xy + middle_m * np.stack([np.sin(yaw), -np.cos(yaw)], axis=1)
            advance = np.sum(
                np.diff(centre, axis=0) * np.stack([np.cos(yaw), np.sin(yaw)], axis=1)[1:], axis=1
            )
            assert advance.min() > -STEP_BACK_M, (road.attrib["name"], lane.attrib["id"])
    assert lanes == len(made.road.lanes)


def _sampled_as_alpasim(road: ElementTree.Element) -> tuple[np.ndarray, np.ndarray]:
    """Return xy and yaw along the reference line: every piece from its start to its end, both included."""
    points = []
    for piece in road.iter("geometry"):
        s, x, y, yaw, length = (float(piece.attrib[key]) for key in ("s", "x", "y", "hdg", "length"))
        arc = piece.find("arc")
        curvature = 0.0 if arc is None else float(arc.attrib["curvature"])
        along = np.linspace(0.0, length, max(2, math.ceil(length / 0.5)))
        points.append(Piece(s, x, y, yaw, length, curvature).sample(along))
    return np.concatenate([xy for xy, _ in points]), np.concatenate([yaw for _, yaw in points])


def test_edges_are_ours_at_the_grounds_height(scene, roads):
    edges = [road for road in roads.values() if road.name == "edge"]
    read = MultiLineString([LineString(road.line[:, :2]) for road in edges])
    ours = MultiLineString([LineString(edge[:, :2]) for edge in scene.road.edges])
    assert read.hausdorff_distance(ours) < EDGE_M
    assert abs(read.length - ours.length) < 0.001 * ours.length
    for road in edges:
        (sidewalk,) = road.lanes.values()
        assert sidewalk.kind == "sidewalk"
        np.testing.assert_array_equal(sidewalk.right, road.line)
        ground = scene.terrain.height_m(road.line[:, :2])
        np.testing.assert_allclose(road.line[:, 2], ground, atol=0.02)


def test_alpasim_finds_no_edges_but_ours(scene, roads):
    # What its reader does is in xodr.py. Edges must be kept (no lane close by), and all others dropped.
    edges = MultiLineString([LineString(road.line[:, :2]) for road in roads.values() if road.name == "edge"])
    inner = [lane for road in roads.values() for lane in road.lanes.values() if lane.kind != "sidewalk"]
    centres = MultiLineString([LineString(lane.centre[:, :2]) for lane in inner])
    assert centres.distance(edges) > EDGE_CLEAR_M + 0.05
    markers = MultiLineString([LineString(lane.centre[:, :2]) for lane in inner if lane.kind == "none"])
    for road in roads.values():
        kinds = [road.lanes[number].kind for number in sorted(road.lanes, reverse=True)]
        if "driving" not in kinds:
            continue
        assert kinds == ["driving"] * (len(kinds) - 1) + ["sidewalk"]
        if road.junction == "-1":
            assert LineString(road.line[:, :2]).crosses(markers)
        border = road.lanes[min(road.lanes)].right[:, :2]
        along_an_edge = shapely.distance(edges, shapely.points(border)).max() < 0.35
        assert along_an_edge or LineString(border).crosses(markers)
    for marker in markers.geoms:
        # What overlaps neither in x nor in y is not compared: else a marker's own borders would stay.
        assert np.min(np.ptp(np.asarray(marker.coords), axis=0)) > 2 * 0.02


def _lane(
    lane_id: str, *, start: float = 0.0, end: float = 20.0, right: float = -3.5, **more: object
) -> Lane:
    def line(y0: float, y1: float) -> np.ndarray:
        return np.array([[start, y0, 0.0], [(start + end) / 2, (y0 + y1) / 2, 0.0], [end, y1, 0.0]])

    return Lane(lane_id, line(-1.75, right / 2), line(0.0, 0.0), line(-3.5, right), 10.0, **more)


def test_a_ring_of_an_edge_is_cut():
    angle = np.linspace(0.0, 2 * np.pi, 40)
    ring = np.stack([5 * np.cos(angle), 40 + 5 * np.sin(angle), 0 * angle], axis=-1)
    ring[-1] = ring[0]
    roads = evaluate(opendrive("x", RoadNetwork((_lane("a"),), (ring,)), Terrain()))
    halves = [road.line for road in roads.values() if road.name == "edge"]
    assert len(halves) == 2
    assert all(np.linalg.norm(half[-1] - half[0]) > 9.5 for half in halves)


def test_a_lane_that_narrows_is_refused():
    network = RoadNetwork((_lane("a", right=-3.0),), ())
    with pytest.raises(InvalidInput, match=r"lane a: expected one width all along, got 3\.000 to 3\.500 m"):
        opendrive("x", network, Terrain())


def test_roads_that_branch_without_connections_are_refused():
    a = _lane("a", successors=("b", "c"))
    rest = [_lane(name, start=20.0, end=40.0, predecessors=("a",)) for name in "bc"]
    with pytest.raises(InvalidInput, match=r"lanes \('a',\): expected connections at the end, got roads"):
        opendrive("x", RoadNetwork((a, *rest), ()), Terrain())


def test_connections_in_a_row_are_refused():
    lanes = [
        _lane("a", successors=("b",)),
        _lane("b", predecessors=("a",), successors=("c",), in_junction=True),
        _lane("c", predecessors=("b",), successors=("d",), in_junction=True),
        _lane("d", predecessors=("c",)),
    ]
    with pytest.raises(InvalidInput, match="expected a connection between roads, got one that meets another"):
        opendrive("x", RoadNetwork(tuple(lanes), ()), Terrain())
    plain = replace(lanes[2], in_junction=False)
    assert "<junction" in opendrive("x", RoadNetwork((*lanes[:2], plain, lanes[3]), ()), Terrain())
