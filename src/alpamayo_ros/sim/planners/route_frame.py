"""The route as a curved coordinate frame: s along it, l to the left, and what the road allows at each s."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import cKDTree

from alpamayo_ros.sim.roads import Float64Array, RoadNetwork
from alpamayo_ros.sim.scene import Scene
from alpamayo_ros.types import InvalidInput

GRID_M = 0.5
_AHEAD_M = 150.0
"""The route is drawn out straight by this much, so that a plan near its end has somewhere to lead."""
_RAY_M = 12.0
_YAW_SMOOTHING_M = 1.0


@dataclass(frozen=True, eq=False)
class StopLine:
    """Where the ego's front must stop: s of the line, and the light or the sign that asks for it."""

    s_m: float
    light_id: str = ""
    sign_id: str = ""


class RouteFrame:
    """The route's centre line every 0.5 m, [N] arrays by index s / 0.5.

    Attributes:
        s_m, xy, yaw_rad, curvature_per_m: the centre line; yaw is unwrapped.
        left_m, right_m: how far the drivable area reaches to either side, up to 12 m.
        lane_left_m, lane_right_m: how far the route's own lane does.
        limit_mps: the lanes' speed limits.
        in_junction: whether the lane lies in a junction.
        turn: +1 in lanes that turn left, −1 right, 0 otherwise.
        stop_lines: by s.
        crosswalk_s_m: intervals [C, 2] of the crossings on the route.
    """

    def __init__(self, scene: Scene) -> None:
        if scene.road is None:
            raise InvalidInput(f"expert: expected a scene with a map, got {scene.scene_id} without one")
        self._draw(scene.route[:, :2])
        self._tree = cKDTree(self.xy)
        self._lanes(scene.road, scene.route_lane_ids)
        self._borders(scene.road)
        self.stop_lines = self._stop_lines(scene.road, scene.route_lane_ids)
        self.crosswalk_s_m = self._crosswalks(scene.road)

    def _draw(self, route: Float64Array) -> None:
        keep = np.concatenate([[True], np.linalg.norm(np.diff(route, axis=0), axis=1) > 0.05])
        points = route[keep]
        start, end = points[1] - points[0], points[-1] - points[-2]
        points = np.concatenate(
            [
                points[:1] - start / np.linalg.norm(start) * np.arange(20.0, 0.0, -2.0)[:, None],
                points,
                points[-1:] + end / np.linalg.norm(end) * np.arange(2.0, _AHEAD_M, 2.0)[:, None],
            ]
        )
        chord = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
        spline = CubicSpline(chord, points)
        fine = spline(np.arange(0.0, chord[-1], 0.1))
        along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(fine, axis=0), axis=1))])
        self.s_m = np.arange(0.0, along[-1], GRID_M)
        self.xy = np.stack([np.interp(self.s_m, along, fine[:, i]) for i in range(2)], axis=-1)
        step = np.gradient(self.xy, axis=0)
        yaw = np.unwrap(np.arctan2(step[:, 1], step[:, 0]))
        self.yaw_rad = gaussian_filter1d(yaw, _YAW_SMOOTHING_M / GRID_M, mode="nearest")
        self.curvature_per_m = np.gradient(self.yaw_rad, GRID_M)
        self.normal = np.stack([-np.sin(self.yaw_rad), np.cos(self.yaw_rad)], axis=-1)
        self._yaw_integral = np.concatenate([[0.0], np.cumsum(self.yaw_rad[1:] + self.yaw_rad[:-1])])
        self._yaw_integral *= GRID_M / 2

    def _lanes(self, road: RoadNetwork, route_lane_ids: tuple[str, ...]) -> None:
        lanes = [road.lane(lane_id) for lane_id in route_lane_ids]
        centres = np.concatenate([lane.centre[:, :2] for lane in lanes])
        owner = np.concatenate([np.full(len(lane.centre), i) for i, lane in enumerate(lanes)])
        lefts = np.concatenate([np.linalg.norm((lane.left - lane.centre)[:, :2], axis=1) for lane in lanes])
        rights = np.concatenate([np.linalg.norm((lane.right - lane.centre)[:, :2], axis=1) for lane in lanes])
        _, nearest = cKDTree(centres).query(self.xy)
        self.lane_left_m, self.lane_right_m = lefts[nearest], rights[nearest]
        owners = owner[nearest]
        self.limit_mps = np.array([lane.speed_limit_mps for lane in lanes])[owners]
        self.in_junction = np.array([lane.in_junction for lane in lanes])[owners]
        self.turn = np.array([{"left": 1, "right": -1}.get(lane.turn, 0) for lane in lanes])[owners]

    def _borders(self, road: RoadNetwork) -> None:
        borders = shapely.union_all([shapely.LineString(edge[:, :2]) for edge in road.edges])
        shapely.prepare(borders)

        def reach(side: float) -> Float64Array:
            ends = self.xy + side * _RAY_M * self.normal
            rays = shapely.linestrings(np.stack([self.xy, ends], axis=1))
            hits = shapely.intersection(rays, borders)
            away = shapely.distance(shapely.points(self.xy), hits)
            return np.where(np.isnan(away), _RAY_M, away)

        self.left_m, self.right_m = reach(1.0), reach(-1.0)

    def _stop_lines(self, road: RoadNetwork, route_lane_ids: tuple[str, ...]) -> tuple[StopLine, ...]:
        on_route = set(route_lane_ids)
        found = []
        for light in road.lights:
            if on_route.intersection(light.lane_ids):
                found.append(StopLine(self._s_of_line(light.stop_line), light_id=light.light_id))
        for sign in road.stop_signs:
            if on_route.intersection(sign.lane_ids):
                found.append(StopLine(self._s_of_line(sign.stop_line), sign_id=sign.sign_id))
        return tuple(sorted(found, key=lambda line: line.s_m))

    def _s_of_line(self, stop_line: Float64Array) -> float:
        s, across = self.project(np.stack([stop_line[0, :2], stop_line[1, :2]]))
        if np.sign(across[0]) != np.sign(across[1]):
            share = abs(across[0]) / (abs(across[0]) + abs(across[1]))
            return float((1 - share) * s[0] + share * s[1])
        return float(s[np.argmin(np.abs(across))])

    def _crosswalks(self, road: RoadNetwork) -> Float64Array:
        spans = []
        line = shapely.LineString(self.xy)
        for crosswalk in road.crosswalks:
            crossed = line.intersection(shapely.Polygon(crosswalk.polygon[:, :2]))
            if not crossed.is_empty:
                s, _ = self.project(shapely.get_coordinates(crossed))
                spans.append((float(s.min()), float(s.max())))
        return np.array(sorted(spans)).reshape(-1, 2)

    def project(self, xy: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Return s and l [...] of points [..., 2]: of the nearest place on the centre line."""
        _, index = self._tree.query(xy)
        away = xy - self.xy[index]
        normal = self.normal[index]
        along = away[..., 0] * normal[..., 1] - away[..., 1] * normal[..., 0]
        across = away[..., 0] * normal[..., 0] + away[..., 1] * normal[..., 1]
        # Beyond the frame's ends and on the inside of bends `along` is no longer small.
        return self.s_m[index] + np.clip(along, -GRID_M, GRID_M), across

    def project_near(self, xy: Float64Array, yaw_rad: float) -> tuple[float, float]:
        """Return s and l of a point [2], among the places where the route leads about the same way."""
        distance = np.linalg.norm(self.xy - xy, axis=1)
        distance = distance + 20.0 * (np.cos(self.yaw_rad - yaw_rad) < 0.2)
        index = int(np.argmin(distance))
        away = xy - self.xy[index]
        normal = self.normal[index]
        along = float(away[0] * normal[1] - away[1] * normal[0])
        return float(self.s_m[index]) + float(np.clip(along, -GRID_M, GRID_M)), float(away @ normal)

    def at(self, values: Float64Array, s_m: Float64Array | float) -> Float64Array:
        """Return values [N] of the grid at any s, by linear interpolation."""
        return np.asarray(np.interp(s_m, self.s_m, values))

    def to_xy(self, s_m: Float64Array, l_m: Float64Array) -> Float64Array:
        """Return points [..., 2] in local."""
        base = np.stack([np.interp(s_m, self.s_m, self.xy[:, i]) for i in range(2)], axis=-1)
        yaw = np.interp(s_m, self.s_m, self.yaw_rad)
        return base + l_m[..., None] * np.stack([-np.sin(yaw), np.cos(yaw)], axis=-1)

    def tangent_l(self, s_m: Float64Array, ahead_m: float) -> Float64Array:
        """Return l [...] of the point `ahead_m` along the tangent at s: how a body swings out of a bend."""
        integral = np.interp(s_m + ahead_m, self.s_m, self._yaw_integral)
        start = np.interp(s_m, self.s_m, self._yaw_integral)
        return -(integral - start - np.interp(s_m, self.s_m, self.yaw_rad) * ahead_m)
