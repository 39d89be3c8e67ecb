"""Roads of a scene: terrain, lanes, edges, markings, what regulates traffic.

Coordinates are *local*: the scene's inertial frame, ENU (x east, y north, z up), metres, float64. Yaw is
counter-clockwise from x, in rad. Polylines of lanes and edges are [N, 3] with z on the terrain.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.types import InvalidInput, require_array, require_finite

Float64Array = NDArray[np.float64]

Turn = Literal["straight", "left", "right"]
LightColour = Literal["green", "yellow", "red"]
SurfaceKind = Literal["road", "sidewalk", "island", "parking", "dirt"]
MarkingStyle = Literal["solid", "dashed"]
MarkingColour = Literal["white", "yellow"]


def require_polyline(name: str, points: object, columns: int = 3) -> None:
    """Raise InvalidInput unless `points` is a finite float64 [N >= 2, columns] array."""
    require_array(name, points, (None, columns), np.float64)
    assert isinstance(points, np.ndarray)
    require_finite(name, points)
    if len(points) < 2:
        raise InvalidInput(f"{name}: expected at least 2 points, got {len(points)}")


@dataclass(frozen=True)
class TerrainWave:
    """One wave of hills: amplitude_m * sin(kx_per_m * x + ky_per_m * y + phase_rad)."""

    amplitude_m: float
    kx_per_m: float
    ky_per_m: float
    phase_rad: float = 0.0


@dataclass(frozen=True)
class Terrain:
    """The ground's height: a sum of waves; none is flat at z = 0."""

    waves: tuple[TerrainWave, ...] = ()

    def height_m(self, xy: Float64Array) -> Float64Array:
        """Return the height [...] of points [..., 2] (further columns are ignored)."""
        height = np.zeros(np.shape(xy)[:-1])
        for wave in self.waves:
            height = height + wave.amplitude_m * np.sin(self._angle(wave, xy))
        return height

    def gradient(self, xy: Float64Array) -> Float64Array:
        """Return the slope (dz/dx, dz/dy) [..., 2] at points [..., 2]."""
        slope = np.zeros((*np.shape(xy)[:-1], 2))
        for wave in self.waves:
            steepness = wave.amplitude_m * np.cos(self._angle(wave, xy))
            slope = slope + steepness[..., None] * np.array([wave.kx_per_m, wave.ky_per_m])
        return slope

    def on_ground(self, xy: Float64Array) -> Float64Array:
        """Return points [..., 3] on the ground of points [..., 2]."""
        xy = np.asarray(xy, np.float64)[..., :2]
        return np.concatenate([xy, self.height_m(xy)[..., None]], axis=-1)

    def pose_on_ground(self, x_m: float, y_m: float, yaw_rad: float) -> Float64Array:
        """Return the pose [4, 4] of a body that stands on the ground: z up along the ground's normal."""
        xy = np.array([x_m, y_m])
        slope = self.gradient(xy)
        up = np.array([-slope[0], -slope[1], 1.0])
        up /= np.linalg.norm(up)
        heading = np.array([np.cos(yaw_rad), np.sin(yaw_rad)])
        forward = np.array([heading[0], heading[1], float(slope @ heading)])
        forward /= np.linalg.norm(forward)
        pose = np.eye(4)
        pose[:3, 0], pose[:3, 1], pose[:3, 2] = forward, np.cross(up, forward), up
        pose[:3, 3] = x_m, y_m, float(self.height_m(xy))
        return pose

    @staticmethod
    def _angle(wave: TerrainWave, xy: Float64Array) -> Float64Array:
        xy = np.asarray(xy, np.float64)
        return np.asarray(wave.kx_per_m * xy[..., 0] + wave.ky_per_m * xy[..., 1] + wave.phase_rad)


@dataclass(frozen=True, eq=False)
class Lane:
    """A driving lane, in its direction of travel.

    Attributes:
        lane_id: unique in the network.
        centre, left, right: [N, 3] m polylines with the same number of points, pointwise across.
        speed_limit_mps: as signed.
        successors, predecessors: lane ids that it leads to, and comes from.
        left_neighbour, right_neighbour: lane ids beside it in the same direction, or None.
        turn: which way the lane leads, of lanes in a junction.
        in_junction: whether it lies in a junction or roundabout.
    """

    lane_id: str
    centre: Float64Array
    left: Float64Array
    right: Float64Array
    speed_limit_mps: float
    successors: tuple[str, ...] = ()
    predecessors: tuple[str, ...] = ()
    left_neighbour: str | None = None
    right_neighbour: str | None = None
    turn: Turn = "straight"
    in_junction: bool = False

    def __post_init__(self) -> None:
        for name in ("centre", "left", "right"):
            require_polyline(f"lane {self.lane_id}: {name}", getattr(self, name))
        if not len(self.centre) == len(self.left) == len(self.right):
            raise InvalidInput(
                f"lane {self.lane_id}: expected as many points in centre, left and right, "
                f"got {len(self.centre)}, {len(self.left)}, {len(self.right)}"
            )
        if not self.speed_limit_mps > 0:
            raise InvalidInput(
                f"lane {self.lane_id}: speed_limit_mps: expected a positive number, "
                f"got {self.speed_limit_mps}"
            )


@dataclass(frozen=True, eq=False)
class Marking:
    """Paint on the road along a polyline [N, 3]; a stop line is a wide solid one across a lane."""

    points: Float64Array
    style: MarkingStyle = "solid"
    colour: MarkingColour = "white"
    width_m: float = 0.15
    dash_m: float = 3.0
    gap_m: float = 6.0


@dataclass(frozen=True, eq=False)
class Surface:
    """A piece of ground: polygon [N, 2] (closed implicitly). Later ones in a tuple lie over earlier ones."""

    kind: SurfaceKind
    polygon: Float64Array


@dataclass(frozen=True, eq=False)
class Crosswalk:
    """A zebra crossing: polygon [4, 2], its stripes parallel to the road's direction `yaw_rad`."""

    polygon: Float64Array
    yaw_rad: float


@dataclass(frozen=True, eq=False)
class TrafficLight:
    """One signal group with a fixed programme.

    Attributes:
        light_id: unique in the scene.
        heads: [N, 4] x, y, z (of the housing's centre, m), yaw: the direction in which it shines (towards the
            traffic that obeys it).
        stop_line: [2, 3] m, left end and right end.
        lane_ids: lanes that end at the stop line.
        programme: (colour, duration in s) in turn, repeated for ever.
        offset_s: where in the programme the scene begins.
    """

    light_id: str
    heads: Float64Array
    stop_line: Float64Array
    lane_ids: tuple[str, ...]
    programme: tuple[tuple[LightColour, float], ...]
    offset_s: float = 0.0

    def colour_at(self, time_s: float) -> LightColour:
        """Return the colour at a time since the scene's start."""
        cycle_s = sum(duration for _, duration in self.programme)
        phase_s = (time_s + self.offset_s) % cycle_s
        for colour, duration in self.programme:
            if phase_s < duration:
                return colour
            phase_s -= duration
        return self.programme[-1][0]


@dataclass(frozen=True, eq=False)
class StopSign:
    """A stop sign: where one must come to a stand; `position_yaw` x, y, z (of its foot), yaw it faces."""

    sign_id: str
    position_yaw: tuple[float, float, float, float]
    stop_line: Float64Array
    lane_ids: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class RoadNetwork:
    """The map of a scene; `edges` are the borders of the drivable area, polylines [N, 3]."""

    lanes: tuple[Lane, ...]
    edges: tuple[Float64Array, ...]
    surfaces: tuple[Surface, ...] = ()
    markings: tuple[Marking, ...] = ()
    crosswalks: tuple[Crosswalk, ...] = ()
    lights: tuple[TrafficLight, ...] = ()
    stop_signs: tuple[StopSign, ...] = ()
    _by_id: dict[str, Lane] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        for edge in self.edges:
            require_polyline("road edge", edge)
        by_id = {lane.lane_id: lane for lane in self.lanes}
        if len(by_id) != len(self.lanes):
            raise InvalidInput("lanes: expected unique lane ids, got one twice")
        for lane in self.lanes:
            self._check_links(lane, by_id)
        object.__setattr__(self, "_by_id", by_id)

    def lane(self, lane_id: str) -> Lane:
        """Return the lane of an id; raises InvalidInput for one that the network lacks."""
        if lane_id not in self._by_id:
            raise InvalidInput(f"lane: expected an id of this network, got {lane_id!r}")
        return self._by_id[lane_id]

    @staticmethod
    def _check_links(lane: Lane, by_id: dict[str, Lane]) -> None:
        neighbours: Iterable[str | None] = (lane.left_neighbour, lane.right_neighbour)
        for other in (*lane.successors, *lane.predecessors, *neighbours):
            if other is not None and other not in by_id:
                raise InvalidInput(f"lane {lane.lane_id}: expected links to known lanes, got {other!r}")
