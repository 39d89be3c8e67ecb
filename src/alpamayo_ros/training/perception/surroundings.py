"""What is about the vehicle at a moment, as numbers that pictures are to tell: a grid, yes or no, how far.

All of it follows from the scene's map and the road users that an episode has stored; pictures are not needed.
Everything is in the rig frame at t0 (x forward, y left, on the ground).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from alpamayo_ros.sensing.rigid import invert
from alpamayo_ros.sim.planners.route_frame import RouteFrame
from alpamayo_ros.sim.roads import Float64Array
from alpamayo_ros.sim.scene import EGO_BOX_IN_RIG_M
from alpamayo_ros.sim.scenes import make_scene
from alpamayo_ros.sim.scenes.agents import TrafficScript
from alpamayo_ros.training.episode import ROAD_USER_KINDS, Moment
from alpamayo_ros.types import Float32Array, InvalidInput, UInt8Array

X_EDGES_M = (0.0, 3.0, 6.0, 9.0, 12.0, 15.0, 18.0, 22.0, 26.0, 31.0, 37.0, 44.0, 52.0, 62.0, 75.0)
Y_EDGES_M = (
    -16.0, -11.0, -8.0, -6.0, -4.5, -3.2, -2.1, -1.0, 0.0, 1.0, 2.1, 3.2, 4.5, 6.0, 8.0, 11.0, 16.0,
)  # fmt: skip
"""Edges of the grid's cells: finer where a metre matters more, and where a pixel is less of it."""

GRID_CHANNELS = ("road", "own direction", "vehicle", "on foot or bicycle", "cone")
_CHANNEL_OF_KIND = {"car": 2, "van": 2, "truck": 2, "pedestrian": 3, "cyclist": 3, "cone": 4}

YES_OR_NO = (
    "light ahead", "light green", "light yellow", "light red", "stop sign ahead", "leader", "leader stands",
    "on foot ahead", "cone ahead", "crossing ahead", "in junction",
)  # fmt: skip
_COURSE_AHEAD_M = (5.0, 10.0, 15.0, 22.0, 30.0, 40.0)
_EDGES_AHEAD_M = (3.0, 10.0, 20.0)
HOW_FAR = (
    "left of lane centre", "heading in lane",
    *(f"course {at:g}" for at in _COURSE_AHEAD_M),
    *(f"left edge {at:g}" for at in _EDGES_AHEAD_M),
    *(f"right edge {at:g}" for at in _EDGES_AHEAD_M),
    "stop line", "leader gap", "on foot x", "on foot y", "cone x", "cone y", "crossing", "speed limit",
)  # fmt: skip
"""How far off, in m along x, y or the route; heading in rad; speed limit in m/s less _USUAL_LIMIT_MPS.

All are divided by _SCALE, so that each is about 1 where it matters; of what isn't there it is unknown.
"""
_SCALE = np.array(
    [0.5, 0.05, 0.3, 0.6, 1.2, 2.5, 4.0, 6.0, *[2.0] * 6, 20.0, 15.0, 15.0, 3.0, 15.0, 3.0, 20.0, 3.0],
    np.float32,
)
_AHEAD_M = 60.0
_CORRIDOR_M = 1.0
"""Who reaches this near to the middle of the route's lane is in the way."""
_USUAL_LIMIT_MPS = 13.0
_BESIDE_M = 6.0
_STANDS_MPS = 0.5
_FRONT_M = EGO_BOX_IN_RIG_M[0] + 2.5
"""Of the ego, ahead of the rear axle."""


@dataclass(frozen=True, eq=False)
class Surroundings:
    """What pictures of one moment are to tell.

    Attributes:
        grid: uint8 [5, 14, 16], GRID_CHANNELS by cell (ahead, then right to left): 1 where there is some.
        yes: uint8 [11], YES_OR_NO.
        far: float32 [21], HOW_FAR in its units; NaN where unknown.
    """

    grid: UInt8Array
    yes: UInt8Array
    far: Float32Array

    def __post_init__(self) -> None:
        shapes = [list(each.shape) for each in (self.grid, self.yes, self.far)]
        wanted = [list(GRID_SHAPE), [len(YES_OR_NO)], [len(HOW_FAR)]]
        if shapes != wanted:
            raise InvalidInput(f"surroundings: expected shapes {wanted}, got {shapes}")


GRID_SHAPE = (len(GRID_CHANNELS), len(X_EDGES_M) - 1, len(Y_EDGES_M) - 1)


class SceneReader:
    """Tells the surroundings of moments in one procedural scene.

    Args:
        scene_id: the scene's.

    Attributes:
        scene, frame: the scene, and its route as a frame.

    Raises:
        InvalidInput: for a scene that is none of ours, or one without a map.
    """

    def __init__(self, scene_id: str) -> None:
        scene = make_scene(scene_id)
        script = scene.extras.get("traffic")
        if scene.road is None or not isinstance(script, TrafficScript):
            raise InvalidInput(f"surroundings: expected a procedural scene with a map, got {scene_id}")
        self._start_us = scene.start_us
        self._script = script
        self.scene, self.frame = scene, RouteFrame(scene)
        lanes = scene.road.lanes
        outlines = [np.concatenate([lane.left[:, :2], lane.right[::-1, :2]]) for lane in lanes]
        self._road = shapely.union_all([shapely.Polygon(each).buffer(0.05) for each in outlines])
        shapely.prepare(self._road)
        self._lane_points = cKDTree(np.concatenate([lane.centre[:, :2] for lane in lanes]))
        self._lane_yaw = np.concatenate([_headings(lane.centre[:, :2]) for lane in lanes])
        centres = np.meshgrid(_middle(X_EDGES_M), _middle(Y_EDGES_M), indexing="ij")
        self._cells = np.stack(centres, axis=-1)

    def read(self, moment: Moment) -> Surroundings:
        """Return the surroundings of a moment of this scene.

        Raises:
            InvalidInput: for a moment without road users: an episode that was made before they were stored.
        """
        if moment.road_users_in_rig_t0 is None:
            raise InvalidInput("surroundings: expected an episode with its road users, got one without")
        return self.read_at(
            moment.odom_from_rig_t0, moment.road_users_in_rig_t0, time_us=moment.t0_ns // 1000
        )

    def read_at(self, pose: Float64Array, users: Float32Array, *, time_us: int) -> Surroundings:
        """Return the surroundings of a place and time, whoever is there.

        Args:
            pose: [4, 4] of the rig in the scene's local frame.
            users: float32 [N, 8], ROAD_USER_COLUMNS.
            time_us: which lights are on.
        """
        yaw = float(np.arctan2(pose[1, 0], pose[0, 0]))
        grid = np.zeros(GRID_SHAPE, np.uint8)
        cells_xy = self._cells @ _turn(yaw).T + pose[:2, 3]
        grid[0] = shapely.contains_xy(self._road, cells_xy[..., 0], cells_xy[..., 1])
        grid[1] = grid[0] & self._own_direction(cells_xy, yaw)
        for user in users:
            channel = _CHANNEL_OF_KIND[ROAD_USER_KINDS[int(user[7])]]
            rows, columns = _cells_of_box(user)
            grid[channel, rows, columns] = 1
        yes, far = self._along_route(pose, yaw, users, t0_us=time_us)
        return Surroundings(grid, yes, far)

    def _own_direction(self, cells_xy: Float64Array, yaw: float) -> NDArray[np.bool_]:
        """Return whether the lane nearest to each cell leads about as the ego heads."""
        _, nearest = self._lane_points.query(cells_xy)
        return np.asarray(np.cos(self._lane_yaw[nearest] - yaw) > 0.5)

    def _along_route(
        self, pose: Float64Array, yaw: float, users: Float32Array, *, t0_us: int
    ) -> tuple[UInt8Array, Float32Array]:
        frame = self.frame
        s, left = frame.project_near(pose[:2, 3], yaw)
        found: dict[str, float] = {"left of lane centre": left}
        heading = yaw - float(frame.at(frame.yaw_rad, s))
        found["speed limit"] = float(frame.at(frame.limit_mps, s)) - _USUAL_LIMIT_MPS
        found["heading in lane"] = (heading + np.pi) % (2 * np.pi) - np.pi
        rig_from_local = invert(pose)
        for at in _COURSE_AHEAD_M:
            xy = frame.to_xy(np.array(s + at), np.array(0.0))
            found[f"course {at:g}"] = float(rig_from_local[1, :2] @ xy + rig_from_local[1, 3])
        for at in _EDGES_AHEAD_M:
            found[f"left edge {at:g}"] = float(frame.at(frame.left_m, s + at))
            found[f"right edge {at:g}"] = float(frame.at(frame.right_m, s + at))
        yes = dict.fromkeys(YES_OR_NO, False)
        yes["in junction"] = bool(frame.at(frame.in_junction.astype(float), s) > 0.5)
        front = s + _FRONT_M
        for line in frame.stop_lines:
            gap = line.s_m - front
            if -1.5 < gap < _AHEAD_M and "stop line" not in found:
                found["stop line"] = gap
                yes["stop sign ahead"] = bool(line.sign_id)
                if line.light_id:
                    colour = self._script.light_colour(line.light_id, (t0_us - self._start_us) / 1e6)
                    yes["light ahead"] = yes[f"light {colour}"] = True
        crossings = frame.crosswalk_s_m
        ahead = crossings[(crossings[:, 1] > front - 1.0) & (crossings[:, 0] - front < _AHEAD_M)]
        if len(ahead):
            yes["crossing ahead"] = True
            found["crossing"] = float(ahead[0, 0] - front)
        self._road_users(users, pose, yaw=yaw, front=front, yes=yes, found=found)
        far = np.array([found.get(name, np.nan) for name in HOW_FAR], np.float32) / _SCALE
        return np.array([yes[name] for name in YES_OR_NO], np.uint8), np.clip(far, -8.0, 8.0)

    def _road_users(
        self,
        users: Float32Array,
        pose: Float64Array,
        *,
        yaw: float,
        front: float,
        yes: dict[str, bool],
        found: dict[str, float],
    ) -> None:
        if not len(users):
            return
        xy = users[:, :2].astype(np.float64) @ _turn(yaw).T + pose[:2, 3]
        along, across = self.frame.project(xy)
        gaps = along - users[:, 3] / 2 - front
        kinds = [ROAD_USER_KINDS[int(kind)] for kind in users[:, 7]]
        for index in np.argsort(gaps):
            gap, kind = float(gaps[index]), kinds[index]
            if not -2.0 < gap < _AHEAD_M:
                continue
            x, y = users[index, :2].tolist()
            if kind == "cone":
                _note(yes, found, "cone ahead", abs(across[index]) < _BESIDE_M, {"cone x": x, "cone y": y})
            elif kind in ("pedestrian", "cyclist"):
                near = abs(across[index]) < _BESIDE_M
                _note(yes, found, "on foot ahead", near, {"on foot x": x, "on foot y": y})
            inside = abs(across[index]) - float(users[index, 4]) / 2 < _CORRIDOR_M
            if kind != "cone" and inside and not yes["leader"]:
                yes["leader"], found["leader gap"] = True, gap
                yes["leader stands"] = abs(float(users[index, 6])) < _STANDS_MPS


def _note(
    yes: dict[str, bool], found: dict[str, float], name: str, applies: bool, values: dict[str, float]
) -> None:
    """Note the first that applies."""
    if applies and not yes[name]:
        yes[name] = True
        found.update(values)


def _cells_of_box(user: Float32Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return rows and columns of the cells that a box covers, by points of it less than a metre apart."""
    x, y, yaw, length, width = (float(value) for value in user[:5])
    along = np.linspace(-length / 2, length / 2, max(2, int(length / 0.8) + 1))
    across = np.linspace(-width / 2, width / 2, max(2, int(width / 0.8) + 1))
    points = np.stack(np.meshgrid(along, across, indexing="ij"), axis=-1).reshape(-1, 2)
    points = points @ _turn(yaw).T + (x, y)
    rows = np.searchsorted(X_EDGES_M, points[:, 0], side="right") - 1
    columns = np.searchsorted(Y_EDGES_M, points[:, 1], side="right") - 1
    inside = (rows >= 0) & (rows < GRID_SHAPE[1]) & (columns >= 0) & (columns < GRID_SHAPE[2])
    return rows[inside], columns[inside]


def _turn(yaw_rad: float) -> Float64Array:
    cos, sin = np.cos(yaw_rad), np.sin(yaw_rad)
    return np.array([[cos, -sin], [sin, cos]])


def _headings(points: Float64Array) -> Float64Array:
    steps = np.gradient(points, axis=0)
    return np.asarray(np.arctan2(steps[:, 1], steps[:, 0]))


def _middle(edges: tuple[float, ...]) -> Float64Array:
    return np.array([(low + high) / 2 for low, high in pairwise(edges)])
