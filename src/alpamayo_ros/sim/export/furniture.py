"""What stands and is painted on our roads, as OpenDRIVE's objects and signals: stop lines, crossings, lights.

AlpaSim's reader places what lies along a road by counting samples, which goes astray where the road bends,
but not at its start: stop lines hang there, with corners that say where they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from xml.etree.ElementTree import Element

import numpy as np

from alpamayo_ros.sim.export.elements import add
from alpamayo_ros.sim.export.reference_line import ReferenceLine
from alpamayo_ros.sim.export.topology import Topology
from alpamayo_ros.sim.roads import Crosswalk, Float64Array, RoadNetwork, Terrain

_STOP_LINE_M = 0.45
_LIGHT = {"dynamic": "yes", "type": "1000001", "subtype": "-1", "country": "OpenDRIVE"}
_STOP = {"dynamic": "no", "type": "206", "subtype": "-1", "country": "DE"}
_CROSSING_BESIDE_M = 30.0
_STEP_M = 0.05


def add_furniture(
    roads: Mapping[int, Element],
    network: RoadNetwork,
    terrain: Terrain,
    topology: Topology,
    *,
    lines: Mapping[int, ReferenceLine],
) -> None:
    """Add to the roads what belongs to them.

    Args:
        roads: by id, of lanes, otherwise complete.
        network: whose lights, signs and crossings.
        terrain: what they stand on.
        topology: the roads' lanes.
        lines: the roads' reference lines.
    """
    objects: dict[int, list[Element]] = {}
    signals: dict[int, list[Element]] = {}
    for light in network.lights:
        road = _road_ahead(topology, light.lane_ids)
        objects.setdefault(road, []).append(_stop_line(light.light_id, light.stop_line, terrain, lines[road]))
        for number, (x, y, z, _) in enumerate(light.heads.tolist()):
            name = f"{light.light_id}.{number}"
            signals.setdefault(road, []).append(_signal(name, (x, y, z), terrain, lines[road], _LIGHT))
    for sign in network.stop_signs:
        road = _road_ahead(topology, sign.lane_ids)
        objects.setdefault(road, []).append(_stop_line(sign.sign_id, sign.stop_line, terrain, lines[road]))
        place = sign.position_yaw[:3]
        signals.setdefault(road, []).append(_signal(sign.sign_id, place, terrain, lines[road], _STOP))
    for number, crossing in enumerate(network.crosswalks):
        road, s_m = _beside(crossing, lines)
        objects.setdefault(road, []).append(_crosswalk(f"crosswalk_{number}", crossing, lines[road], s_m))
    for road, element in roads.items():
        for tag, found in (("objects", objects), ("signals", signals)):
            if road in found:
                add(element, tag).extend(found[road])


def _road_ahead(topology: Topology, lane_ids: Sequence[str]) -> int:
    """Return a road that begins where lanes end, or else the lanes' own."""
    road = topology.roads[topology.place[lane_ids[0]][0]]
    return road.after[0] if road.after else road.road_id


def _local(xy: Float64Array, line: ReferenceLine, s_m: float = 0.0) -> Float64Array:
    """Return points [N, 2] as u, v about a place on a line, u along it."""
    origin, yaw = line.sample(np.array([s_m]))
    offset = xy - origin[0]
    forward = np.array([np.cos(yaw[0]), np.sin(yaw[0])])
    return np.stack([offset @ forward, offset @ np.array([-forward[1], forward[0]])], axis=-1)


def _stop_line(owner: str, ends: Float64Array, terrain: Terrain, line: ReferenceLine) -> Element:
    along = ends[1, :2] - ends[0, :2]
    half = np.array([along[1], -along[0]]) / np.linalg.norm(along) * (_STOP_LINE_M / 2)
    corners = np.stack([ends[0, :2] - half, ends[1, :2] - half, ends[1, :2] + half, ends[0, :2] + half])
    uv = _local(corners, line)
    origin, _ = line.sample(np.zeros(1))
    heights = terrain.height_m(corners) - terrain.height_m(origin[0])
    element = _object(f"stop_line_{owner}", "stopLine", kind="roadMark", s=0.0, t=0.0)
    outline = add(element, "outline")
    for (u, v), z in zip(uv.tolist(), heights.tolist(), strict=True):
        add(outline, "cornerLocal", u=u, v=v, z=z, height=0.0)
    return element


def _crosswalk(name: str, crossing: Crosswalk, line: ReferenceLine, s_m: float) -> Element:
    """Return a crossing. Readers take its outline; AlpaSim's takes `width` along the road, `length` across.

    By the standard those two are the other way about, but where there is an outline they do not count.
    """
    uv = _local(crossing.polygon, line, s_m)
    t = float(uv[:, 1].mean())
    along, across = np.ptp(uv, axis=0).tolist()
    element = _object(name, "crosswalk", kind="crosswalk", s=s_m, t=t, width=along, length=across)
    outline = add(add(element, "outlines"), "outline", id=0, closed="true")
    for u, v in (uv - np.array([0.0, t])).tolist():
        add(outline, "cornerLocal", u=u, v=v, z=0.0, height=0.0)
    return element


def _object(name: str, title: str, *, kind: str, **place: float) -> Element:
    parent = Element("objects")
    return add(
        parent,
        "object",
        id=name,
        name=title,
        type=kind,
        **place,
        zOffset=0.0,
        hdg=0.0,
        pitch=0.0,
        roll=0.0,
        orientation="none",
    )


def _beside(crossing: Crosswalk, lines: Mapping[int, ReferenceLine]) -> tuple[int, float]:
    """Return the road, and where on it, that passes a crossing most nearly along its stripes."""
    centre = crossing.polygon.mean(axis=0)
    found: list[tuple[float, int, float]] = []
    for road, line in lines.items():
        stations = line.stations(_STEP_M)
        xy, yaw = line.sample(stations)
        away = np.linalg.norm(xy - centre, axis=1)
        nearest = int(np.argmin(away))
        skew = abs(float(np.sin(yaw[nearest] - crossing.yaw_rad)))
        inside = 0 < nearest < len(stations) - 1
        # A road that ends before the crossing has it nowhere beside; one far off has it beside by chance.
        found.append((skew + away[nearest] / _CROSSING_BESIDE_M + (not inside), road, stations[nearest]))
    _, road, s_m = min(found)
    return road, float(s_m)


def _signal(
    name: str,
    xyz_m: tuple[float, float, float],
    terrain: Terrain,
    line: ReferenceLine,
    attributes: Mapping[str, str],
) -> Element:
    """Return a signal at a point: its place along and beside the line, its height above the ground."""
    stations = line.stations(_STEP_M)
    xy, yaw = line.sample(stations)
    offset = np.array(xyz_m[:2]) - xy
    left = np.stack([-np.sin(yaw), np.cos(yaw)], axis=-1)
    # Where the point is square to the line; of several such places the nearest.
    ahead_m = np.abs(offset[:, 0] * left[:, 1] - offset[:, 1] * left[:, 0])
    best = int(np.argmin(np.linalg.norm(offset, axis=1) + 10.0 * ahead_m))
    return add(
        Element("signals"),
        "signal",
        id=name,
        name=name,
        s=float(stations[best]),
        t=float(offset[best] @ left[best]),
        zOffset=xyz_m[2] - float(terrain.height_m(np.array(xyz_m[:2]))),
        orientation="+",
        **attributes,
    )
