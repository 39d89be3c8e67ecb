"""The map as the scores read it: lanes near a place, the road's edges, the drivable area.

AlpaSim's reading (`off_road`, `is_wrong_lane`, `lane_boundary_distance_m`) and our strict one
(`strictly_off_road`) share the geometry, which is prepared once a road network.
"""

from __future__ import annotations

from functools import cached_property
from weakref import WeakKeyDictionary

import numpy as np
import shapely
import shapely.ops
from scipy.spatial import KDTree
from shapely.geometry.base import BaseGeometry

from alpamayo_ros.sim.roads import Float64Array, RoadNetwork

NEARBY_M = 6.0
"""A lane counts as nearby if a point of its centre line is this close to the ego's box centre, in 3-D."""
WRONG_WAY_RAD = 2.0 * np.pi / 3.0
EDGE_TOUCH_M = 1e-3
STRICT_MARGIN_M = 0.05
"""How far a shape may reach over the border of the drivable area and still count as inside: maps are drawn
with chords, neighbouring lanes leave slits."""

_SPACING_M = 0.5
_DRIVABLE = ("road", "parking")


class LaneMap:
    """Prepared geometry of one road network; build it with `lane_map`, which keeps it."""

    def __init__(self, road: RoadNetwork) -> None:
        self._lanes = [_repaired(lane_polygon(lane.left, lane.right)) for lane in road.lanes]
        for polygon in self._lanes:
            shapely.prepare(polygon)
        centres = [_resampled(lane.centre) for lane in road.lanes]
        self._centre_lines = [shapely.LineString(lane.centre[:, :2]) for lane in road.lanes]
        self._centre_owner = np.repeat(np.arange(len(centres)), [len(points) for points in centres])
        self._centre_tree = KDTree(np.concatenate(centres)) if centres else None
        edges = [_resampled(edge) for edge in road.edges]
        self._edges = [shapely.LineString(edge[:, :2]) for edge in road.edges]
        self._edge_owner = np.repeat(np.arange(len(edges)), [len(points) for points in edges])
        self._edge_tree = KDTree(np.concatenate(edges)) if edges else None
        self._surfaces = [
            (surface.kind, _repaired(shapely.Polygon(surface.polygon))) for surface in road.surfaces
        ]
        self._unions: dict[tuple[int, ...], BaseGeometry] = {}

    def nearby(self, xyz_m: Float64Array) -> tuple[int, ...]:
        """Return the indices of the lanes near a point [3], ascending."""
        if self._centre_tree is None:
            return ()
        found = self._centre_tree.query_ball_point(xyz_m, NEARBY_M)
        return tuple(int(i) for i in np.unique(self._centre_owner[found]))

    def off_road(self, shape: BaseGeometry, xyz_m: Float64Array) -> bool:
        """Return whether AlpaSim takes a shape for off the road; `xyz_m` is the box's centre.

        Not so if a nearby lane, or all of them together, contain it; else if it touches the nearest edge.
        """
        if self._edge_tree is None:
            return False
        nearby = self.nearby(xyz_m)
        if any(self._lanes[index].contains(shape) for index in nearby):
            return False
        if len(nearby) > 1 and self._union(nearby).contains(shape):
            return False
        _, nearest = self._edge_tree.query(xyz_m)
        return bool(self._edges[self._edge_owner[nearest]].distance(shape) < EDGE_TOUCH_M)

    def lane_boundary_distance_m(self, shape: BaseGeometry, xyz_m: Float64Array) -> float:
        """Return a shape's distance from the border of the nearby lanes together; 0 where it leaves them."""
        nearby = self.nearby(xyz_m)
        if not nearby:
            return 0.0
        union = self._union(nearby)
        return float(shape.distance(union.boundary)) if union.contains(shape) else 0.0

    def is_wrong_lane(self, xy_m: Float64Array, yaw_rad: float, *, xyz_m: Float64Array) -> bool:
        """Return whether a nearby lane that contains the point [2] leads another way by more than 120°.

        AlpaSim does not wrap the difference of the two angles and so also counts headings that agree on
        either side of ±180°; here they do not count.
        """
        point = shapely.Point(xy_m)
        for index in self.nearby(xyz_m):
            if self._lanes[index].contains(point):
                turn = self._direction(index, point) - yaw_rad
                if abs((turn + np.pi) % (2.0 * np.pi) - np.pi) > WRONG_WAY_RAD:
                    return True
        return False

    def strictly_off_road(self, shape: BaseGeometry) -> bool:
        """Return whether a shape leaves the drivable area by more than STRICT_MARGIN_M.

        The drivable area is what the lanes cover, and what the map paves as road or parking without laying a
        sidewalk, an island or dirt over it. A map without surfaces (a recorded one) says where the road ends
        by its edges alone: there a shape that leaves the lanes is off the road once it touches an edge, or
        has one between itself and the nearest lane, or no edge is known.
        """
        if self._area.covers(shape):
            return False
        if self._has_paving or not self._edges:
            return True
        edges = self._all_edges
        if edges.distance(shape) < EDGE_TOUCH_M:
            return True
        return bool(edges.intersects(shapely.shortest_line(shape, self._area)))

    @property
    def area(self) -> BaseGeometry:
        """The drivable area of the strict rule, with its margin."""
        return self._area

    @cached_property
    def _has_paving(self) -> bool:
        return any(kind in _DRIVABLE for kind, _ in self._surfaces)

    @cached_property
    def _all_edges(self) -> BaseGeometry:
        edges = shapely.union_all(self._edges)
        shapely.prepare(edges)
        return edges

    @cached_property
    def _area(self) -> BaseGeometry:
        area: BaseGeometry = shapely.Polygon()
        for kind, polygon in self._surfaces:
            area = area.union(polygon) if kind in _DRIVABLE else area.difference(polygon)
        # Lanes last: where one crosses an apron that is painted over, it is there to be driven on.
        area = shapely.union_all([area, *self._lanes]).buffer(STRICT_MARGIN_M)
        shapely.prepare(area)
        return area

    def _union(self, indices: tuple[int, ...]) -> BaseGeometry:
        if indices not in self._unions:
            union = shapely.union_all([self._lanes[index] for index in indices])
            shapely.prepare(union)
            self._unions[indices] = union
        return self._unions[indices]

    def _direction(self, index: int, point: shapely.Point, reach_m: float = 0.01) -> float:
        """Return the heading of a lane's centre line where it is nearest to a point."""
        line = self._centre_lines[index]
        along = line.project(point)
        before = line.interpolate(max(along - reach_m, 0.0))
        after = line.interpolate(min(along + reach_m, line.length))
        return float(np.arctan2(after.y - before.y, after.x - before.x))


_KEPT: WeakKeyDictionary[RoadNetwork, LaneMap] = WeakKeyDictionary()


def lane_map(road: RoadNetwork) -> LaneMap:
    """Return the prepared geometry of a road network; made once for each."""
    found = _KEPT.get(road)
    if found is None:
        found = _KEPT[road] = LaneMap(road)
    return found


def lane_polygon(left: Float64Array, right: Float64Array) -> shapely.Polygon:
    """Return the area between a lane's borders [N, 2 or 3]."""
    return shapely.Polygon(np.concatenate([left[:, :2], right[::-1, :2]]))


def _repaired(geometry: BaseGeometry) -> BaseGeometry:
    """Return the polygonal part of a geometry whose outline may touch itself."""
    if geometry.is_valid:
        return geometry
    parts = shapely.get_parts(shapely.make_valid(geometry))
    return shapely.union_all([part for part in parts if part.area > 0])


def _resampled(polyline: Float64Array) -> Float64Array:
    """Return a polyline [N, 3] with its own points and more between them, at most 0.5 m apart."""
    steps = np.linalg.norm(np.diff(polyline, axis=0), axis=1)
    pieces = [
        first + (second - first) * np.arange(count)[:, None] / count
        for first, second, count in zip(
            polyline[:-1], polyline[1:], np.maximum(1, np.ceil(steps / _SPACING_M)).astype(int), strict=True
        )
    ]
    return np.concatenate([*pieces, polyline[-1:]])
