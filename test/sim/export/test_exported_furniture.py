"""Stop lines, crossings, lights and signs of exported maps are where ours are."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest
from opendrive_evaluator import evaluate

from alpamayo_ros.sim.export.xodr import opendrive
from alpamayo_ros.sim.scene import Scene
from alpamayo_ros.sim.scenes import make_scene


class _Map:
    """An exported map: where s, t of a road and u, v of an object there are."""

    def __init__(self, scene: Scene) -> None:
        text = opendrive(scene.scene_id, scene.road, scene.terrain)
        self.root, self.roads = ElementTree.fromstring(text), evaluate(text)

    def found(self, tag: str, kind: str) -> list[tuple[str, ElementTree.Element]]:
        return [
            (road.attrib["id"], element)
            for road in self.root.iter("road")
            for element in road.iter(tag)
            if element.attrib["type"] == kind
        ]

    def frame(self, road_id: str, element: ElementTree.Element) -> np.ndarray:
        """Return the pose [3, 3] of an object's u, v axes in the plane."""
        road = self.roads[road_id]
        length = float(self.root.find(f"road[@id='{road_id}']").attrib["length"])
        s, t = float(element.attrib["s"]), float(element.attrib["t"])
        assert 0.0 <= s <= length
        share = np.linspace(0.0, length, len(road.line))
        x, y, c, d = (
            np.interp(s, share, values)
            for values in (*road.line[:, :2].T, np.cos(road.yaw), np.sin(road.yaw))
        )
        c, d = np.array([c, d]) / np.hypot(c, d)
        return np.array([[c, -d, x - t * d], [d, c, y + t * c], [0, 0, 1]])

    def corners(self, road_id: str, element: ElementTree.Element) -> np.ndarray:
        uv = [(float(c.attrib["u"]), float(c.attrib["v"]), 1.0) for c in element.iter("cornerLocal")]
        return (np.array(uv) @ self.frame(road_id, element).T)[:, :2]


def _matched(ours: list[np.ndarray], theirs: list[np.ndarray]) -> float:
    """Return how far the worst of ours is from the nearest of theirs, one to one."""
    assert len(ours) == len(theirs)
    gaps = np.array([[np.abs(a - b).max() for b in theirs] for a in ours])
    assert len(set(gaps.argmin(axis=1).tolist())) == len(ours)
    return float(gaps.min(axis=1).max())


@pytest.mark.parametrize("scene_id", ["traffic_light-14", "pedestrian-11", "junction_3way-4"])
def test_crossings_are_where_ours_are_to_both_ways_of_reading(scene_id):
    scene = make_scene(scene_id)
    exported = _Map(scene)
    found = exported.found("object", "crosswalk")
    ours = [crossing.polygon for crossing in scene.road.crosswalks]
    assert _matched(ours, [exported.corners(*each) for each in found]) < 0.02
    rectangles = []
    for road_id, element in found:  # as AlpaSim reads it: width along the road
        assert element.find("outline") is None
        along, across = float(element.attrib["width"]) / 2, float(element.attrib["length"]) / 2
        uv1 = [(a * along, b * across, 1) for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
        rectangles.append((np.array(uv1) @ exported.frame(road_id, element).T)[:, :2])
    for crossing in ours:
        assert min(np.linalg.norm(crossing.mean(axis=0) - r.mean(axis=0)) for r in rectangles) < 0.05
    assert sorted(np.ptp(r, axis=0).sum() for r in rectangles) == pytest.approx(
        sorted(np.ptp(r, axis=0).sum() for r in ours), rel=0.1
    )


@pytest.mark.parametrize("scene_id", ["traffic_light-14", "traffic_light-34", "stop_sign-15"])
def test_stop_lines_lights_and_signs_are_where_ours_are(scene_id):
    scene = make_scene(scene_id)
    exported = _Map(scene)
    lines = [each.stop_line[:, :2] for each in (*scene.road.lights, *scene.road.stop_signs)]
    assert lines
    read = []
    for road_id, element in exported.found("object", "roadMark"):
        corners = exported.corners(road_id, element)
        read.append(np.stack([(corners[0] + corners[3]) / 2, (corners[1] + corners[2]) / 2]))
        assert np.linalg.norm(corners[0] - corners[3]) == pytest.approx(0.45)
    assert _matched(lines, read) < 0.02
    for kind, places in (
        ("1000001", [head[:3] for light in scene.road.lights for head in light.heads]),
        ("206", [np.array(sign.position_yaw[:3]) for sign in scene.road.stop_signs]),
    ):
        read = []
        for road_id, element in exported.found("signal", kind):
            xy = exported.frame(road_id, element)[:2, 2]
            read.append(np.array([*xy, scene.terrain.height_m(xy) + float(element.attrib["zOffset"])]))
        if places:
            assert _matched(places, read) < 0.1
        else:
            assert not read
