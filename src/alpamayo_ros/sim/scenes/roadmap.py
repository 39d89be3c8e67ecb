"""Building the map of a scene: streets cut into lanes, connections through junctions, edges around it all.

Traffic drives on the right. A street is described along its *line*, the border between the two directions
(the left border of a one-way street): forward lanes lie to the right of it, backward lanes to the left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
from shapely.geometry import LineString, MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry
from shapely.ops import unary_union

from alpamayo_ros.sim.roads import (
    Crosswalk,
    Float64Array,
    Lane,
    Marking,
    RoadNetwork,
    StopSign,
    Surface,
    SurfaceKind,
    Terrain,
    TrafficLight,
    Turn,
)
from alpamayo_ros.sim.scenes.paths import Path, Pose, connect, join
from alpamayo_ros.types import InvalidInput

_LANE_POINT_M = 2.0
_SEGMENT_M = 100.0
_JUNCTION_POINT_M = 0.75
_MARKING_INSET_M = 0.12


@dataclass(frozen=True, eq=False)
class Street:
    """Cross-section of a street, the same all along its line."""

    name: str
    line: Path
    forward: int
    backward: int
    limit_mps: float
    lane_m: float = 3.5
    shoulder_m: float = 0.5
    parking_right_m: float = 0.0
    parking_left_m: float = 0.0
    open_start: bool = True
    """Whether the road goes on before the line's start, so that no border is across it."""
    centre_dashed: bool = True
    marked: bool = True

    @property
    def right_m(self) -> float:
        """Distance of the right border of the drivable area from the line."""
        return self.forward * self.lane_m + self.shoulder_m + self.parking_right_m

    @property
    def left_m(self) -> float:
        """Distance of the left border of the drivable area from the line."""
        return self.backward * self.lane_m + self.shoulder_m + self.parking_left_m


@dataclass(frozen=True)
class StreetLanes:
    """Ids of a street's lanes: [lane from the line outwards][segment in driving direction]."""

    forward: tuple[tuple[str, ...], ...]
    backward: tuple[tuple[str, ...], ...]


@dataclass(eq=False)
class MapBuilder:
    """Collects what a map is made of; `finish` makes the RoadNetwork."""

    terrain: Terrain
    lanes: dict[str, Lane] = field(default_factory=dict)
    paths: dict[str, Path] = field(default_factory=dict)
    drivable_parts: list[BaseGeometry] = field(default_factory=list)
    open_ends: list[BaseGeometry] = field(default_factory=list)
    markings: list[Marking] = field(default_factory=list)
    surfaces: list[Surface] = field(default_factory=list)
    crosswalks: list[Crosswalk] = field(default_factory=list)
    lights: list[TrafficLight] = field(default_factory=list)
    stop_signs: list[StopSign] = field(default_factory=list)
    holes: list[BaseGeometry] = field(default_factory=list)
    streets: list[Street] = field(default_factory=list)

    def add_street(self, street: Street) -> StreetLanes:
        """Add the lanes, markings and ground of a street."""
        self.streets.append(street)
        line = street.line
        count = max(2, round(line.length_m / _LANE_POINT_M) + 1)
        stations = np.linspace(0.0, line.length_m, count)
        segments = max(1, round(line.length_m / _SEGMENT_M))
        cuts = [round(cut) for cut in np.linspace(0, count - 1, segments + 1).tolist()]
        forward = tuple(
            self._street_lane(street, stations, cuts, index=i, backward=False) for i in range(street.forward)
        )
        backward = tuple(
            self._street_lane(street, stations, cuts, index=i, backward=True) for i in range(street.backward)
        )
        self._neighbours(forward)
        self._neighbours(backward)
        self._ground(street, stations)
        if street.marked:
            self._paint(street, stations)
        return StreetLanes(forward, backward)

    def _street_lane(
        self, street: Street, stations: Float64Array, cuts: Sequence[int], *, index: int, backward: bool
    ) -> tuple[str, ...]:
        side = 1.0 if backward else -1.0
        xy, yaw, _ = street.line.sample(stations)
        normal = np.stack([-np.sin(yaw), np.cos(yaw)], axis=-1)
        near = xy + normal * (side * index * street.lane_m)
        far = xy + normal * (side * (index + 1) * street.lane_m)
        path = street.line.offset(side * (index + 0.5) * street.lane_m)
        if backward:
            near, far, path = near[::-1], far[::-1], path.reverse()
            cuts = [len(stations) - 1 - cut for cut in reversed(cuts)]
        ids = []
        centre = (near + far) / 2
        along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(centre, axis=0), axis=1))])
        along *= path.length_m / along[-1]
        for k, (first, last) in enumerate(pairwise(cuts)):
            lane_id = f"{street.name}_{'b' if backward else 'f'}{index}_{k}"
            part = slice(first, last + 1)
            self._add_lane(
                Lane(
                    lane_id,
                    self.terrain.on_ground(centre[part]),
                    self.terrain.on_ground(near[part]),
                    self.terrain.on_ground(far[part]),
                    street.limit_mps,
                ),
                path.part(float(along[first]), float(along[last])),
            )
            ids.append(lane_id)
        for before, after in pairwise(ids):
            self.link(before, after)
        return tuple(ids)

    def _add_lane(self, lane: Lane, path: Path) -> None:
        if lane.lane_id in self.lanes:
            raise InvalidInput(f"lane: expected a new id, got {lane.lane_id!r} twice")
        self.lanes[lane.lane_id] = lane
        self.paths[lane.lane_id] = path

    def link(self, before: str, after: str) -> None:
        """Make lane `after` a successor of `before`."""
        first, second = self.lanes[before], self.lanes[after]
        self.lanes[before] = replace(first, successors=(*first.successors, after))
        self.lanes[after] = replace(second, predecessors=(*second.predecessors, before))

    def _neighbours(self, lanes: tuple[tuple[str, ...], ...]) -> None:
        for inner, outer in pairwise(lanes):
            for left, right in zip(inner, outer, strict=True):
                self.lanes[left] = replace(self.lanes[left], right_neighbour=right)
                self.lanes[right] = replace(self.lanes[right], left_neighbour=left)

    def connect(
        self,
        before: str,
        after: str,
        *,
        turn: Turn,
        limit_mps: float,
        lane_m: float = 3.5,
        path: Path | None = None,
    ) -> str:
        """Add a lane from the end of one to the start of another; returns its id."""
        if path is None:
            path = connect(end_pose(self.paths[before]), start_pose(self.paths[after]))
        lane_id = f"{before}>{after}"
        self.add_path_lane(lane_id, path, turn=turn, limit_mps=limit_mps, lane_m=lane_m)
        self.link(before, lane_id)
        self.link(lane_id, after)
        return lane_id

    def add_path_lane(
        self,
        lane_id: str,
        path: Path,
        *,
        turn: Turn,
        limit_mps: float,
        lane_m: float = 3.5,
        shoulder_m: float = 0.0,
    ) -> None:
        """Add a lane in a junction along `path`, its ground wider by `shoulder_m` on both sides."""
        count = max(3, round(path.length_m / _JUNCTION_POINT_M) + 1)
        xy, yaw, _ = path.sample(np.linspace(0.0, path.length_m, count))
        normal = np.stack([-np.sin(yaw), np.cos(yaw)], axis=-1) * (lane_m / 2)
        left, right = xy + normal, xy - normal
        lane = Lane(
            lane_id,
            self.terrain.on_ground(xy),
            self.terrain.on_ground(left),
            self.terrain.on_ground(right),
            limit_mps,
            turn=turn,
            in_junction=True,
        )
        self._add_lane(lane, path)
        wide = normal * (1 + shoulder_m / (lane_m / 2))
        self.drivable_parts.append(Polygon(np.concatenate([xy + wide, (xy - wide)[::-1]])).buffer(0.02))

    def path(self, lane_ids: Sequence[str]) -> Path:
        """Return the path along the centre lines of successive lanes."""
        return join([self.paths[lane_id] for lane_id in lane_ids])

    def _ground(self, street: Street, stations: Float64Array) -> None:
        xy, yaw, _ = street.line.sample(stations)
        normal = np.stack([-np.sin(yaw), np.cos(yaw)], axis=-1)
        left, right = xy + normal * street.left_m, xy - normal * street.right_m
        self.drivable_parts.append(Polygon(np.concatenate([left, right[::-1]])).buffer(0))
        ends = [(left[-1], right[-1])] + ([(left[0], right[0])] if street.open_start else [])
        self.open_ends.extend(LineString(end) for end in ends)
        for width, border, side in (
            (street.parking_right_m, street.right_m, -1.0),
            (street.parking_left_m, street.left_m, 1.0),
        ):
            if width > 0:
                outer, inner = (xy + normal * (side * (border - inset)) for inset in (0.0, width))
                self.surfaces.append(Surface("parking", np.concatenate([inner, outer[::-1]])))

    def _paint(self, street: Street, stations: Float64Array) -> None:
        def line(offset_m: float, **style: object) -> None:
            xy, yaw, _ = street.line.sample(stations)
            normal = np.stack([-np.sin(yaw), np.cos(yaw)], axis=-1)
            points = self.terrain.on_ground(xy + normal * offset_m)
            self.markings.append(Marking(points, **style))  # type: ignore[arg-type]

        if street.forward and street.backward:
            if street.centre_dashed:
                line(0.0, style="dashed", colour="yellow")
            else:
                line(0.12, colour="yellow", width_m=0.12)
                line(-0.12, colour="yellow", width_m=0.12)
        elif street.forward:
            line(-_MARKING_INSET_M, colour="yellow")
        for side, lanes in ((-1.0, street.forward), (1.0, street.backward)):
            for index in range(1, lanes):
                line(side * index * street.lane_m, style="dashed")
            if lanes:
                line(side * (lanes * street.lane_m - _MARKING_INSET_M))

    def stop_line(self, lane_ids: Sequence[str]) -> Float64Array:
        """Paint a stop line at the end of parallel lanes (from left to right); returns it [2, 3]."""
        left = self.lanes[lane_ids[0]].left[-1]
        right = self.lanes[lane_ids[-1]].right[-1]
        heading = end_pose(self.paths[lane_ids[0]])[2]
        back = 0.3 * np.array([np.cos(heading), np.sin(heading)])
        ends = self.terrain.on_ground(np.stack([left, right])[:, :2] - back)
        self.markings.append(Marking(ends, width_m=0.45))
        return ends

    def give_way_line(self, lane_id: str, path: Path, centre: tuple[float, float], radius_m: float) -> None:
        """Paint a broken line across a way in, where it comes within `radius_m` of a roundabout's centre."""
        away = np.hypot(path.xy[:, 0] - centre[0], path.xy[:, 1] - centre[1])
        index = int(np.argmax(away < radius_m))
        left = path.normal[index] * (self._width(lane_id) / 2)
        ends = np.stack([path.xy[index] + left, path.xy[index] - left])
        self.markings.append(
            Marking(self.terrain.on_ground(ends), style="dashed", width_m=0.4, dash_m=0.6, gap_m=0.35)
        )

    def _width(self, lane_id: str) -> float:
        lane = self.lanes[lane_id]
        return float(np.linalg.norm(lane.left[0] - lane.right[0]))

    def crosswalk(self, centre: Pose, *, length_m: float, across_m: float) -> None:
        """Add a zebra crossing about a pose that looks along the road."""
        heading = np.array([np.cos(centre[2]), np.sin(centre[2])])
        left = np.array([-heading[1], heading[0]])
        corners = [
            np.array(centre[:2]) + heading * (a * length_m / 2) + left * (b * across_m / 2)
            for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))
        ]
        self.crosswalks.append(Crosswalk(np.array(corners), centre[2]))

    def drivable(self, fillet_m: float) -> Polygon | MultiPolygon:
        """Return the drivable area; concave corners (of junctions) are rounded with `fillet_m`."""
        area = unary_union(self.drivable_parts)
        if fillet_m > 0:
            area = area.buffer(fillet_m, 12).buffer(-fillet_m, 12)
        if self.holes:
            area = area.difference(unary_union(self.holes))
        return area

    def finish(
        self, *, fillet_m: float = 0.0, verge: SurfaceKind = "sidewalk", verge_m: float = 2.5
    ) -> tuple[RoadNetwork, Polygon | MultiPolygon]:
        """Return the network and its drivable area (2-D)."""
        area = self.drivable(fillet_m)
        ends = unary_union([end.buffer(0.4, cap_style=2) for end in self.open_ends])
        polygons = list(area.geoms) if isinstance(area, MultiPolygon) else [area]
        edges: list[Float64Array] = []
        ground: list[Surface] = []
        for polygon in polygons:
            for ring in (polygon.exterior, *polygon.interiors):
                rest = LineString(ring.coords).difference(ends)
                parts = list(rest.geoms) if hasattr(rest, "geoms") else [rest]
                edges.extend(self.terrain.on_ground(_dense(part)) for part in _joined(parts))
            if verge_m > 0:
                around = polygon.buffer(verge_m, 8).exterior
                ground.append(Surface(verge, np.asarray(around.coords)[:-1]))
        for polygon in polygons:
            ground.append(Surface("road", np.asarray(polygon.exterior.coords)[:-1]))
        islands = [
            Surface("island", np.asarray(ring.coords)[:-1])
            for polygon in polygons
            for ring in polygon.interiors
        ]
        network = RoadNetwork(
            lanes=tuple(self.lanes.values()),
            edges=tuple(edges),
            surfaces=(*ground, *self.surfaces, *islands),
            markings=tuple(self.markings),
            crosswalks=tuple(self.crosswalks),
            lights=tuple(self.lights),
            stop_signs=tuple(self.stop_signs),
        )
        return network, area


def end_pose(path: Path) -> Pose:
    """Return x, y, yaw at the end of a path."""
    return float(path.xy[-1, 0]), float(path.xy[-1, 1]), float(path.yaw[-1])


def start_pose(path: Path) -> Pose:
    """Return x, y, yaw at the start of a path."""
    return float(path.xy[0, 0]), float(path.xy[0, 1]), float(path.yaw[0])


def _joined(parts: Sequence[LineString]) -> list[LineString]:
    """Join the two parts into which a ring is cut where its coordinates begin."""
    parts = [part for part in parts if part.length > 0.5]
    for i, first in enumerate(parts):
        for j, second in enumerate(parts):
            if i != j and np.allclose(first.coords[-1], second.coords[0], atol=1e-9):
                whole = LineString([*first.coords, *list(second.coords)[1:]])
                return _joined([whole, *(p for k, p in enumerate(parts) if k not in (i, j))])
    return list(parts)


def _dense(line: LineString) -> Float64Array:
    """Return the line's points, at most 2 m apart."""
    points = np.asarray(line.coords)[:, :2]
    pieces = [points[:1]]
    for a, b in pairwise(points):
        count = max(1, int(np.ceil(np.linalg.norm(b - a) / 2.0)))
        pieces.append(a + (b - a) * (np.arange(1, count + 1) / count)[:, None])
    return np.concatenate(pieces)
