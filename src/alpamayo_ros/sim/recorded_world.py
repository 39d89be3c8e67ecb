"""A world that was recorded: what a renderer that is not ours tells of its scene, and no more.

The protocol gives no map and no other road users. So the ground is where the recorded vehicle drove, the
route is its path, and there are no actors, unless their tracks come from elsewhere (usdz.py); these are
replayed as recorded and react to nothing. What is not known is not scored: see Scene.extras.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import shapely
from numpy.typing import NDArray

from alpamayo_ros.sim.reference import ReferenceCourse
from alpamayo_ros.sim.roads import Float64Array, Terrain
from alpamayo_ros.sim.scene import STEP_US, ActorSpec, Environment, ReferenceDrive, Scene, Track
from alpamayo_ros.sim.state import ActorState, EgoState
from alpamayo_ros.sim.trajectories import interpolate_poses
from alpamayo_ros.types import InvalidInput, require_array, require_finite, require_rotation

FAMILY = "recorded"
ACTORS_KNOWN = "actors_known"
"""Key of Scene.extras: whether `actors` are all that was there, or nobody knows."""

_SHORTEST_US = 3_000_000
_SPACING_M = 1.0
_STANDING_M = 0.05
_TURN_RAD = np.deg2rad(40.0)
_TURN_WINDOW_M = 25.0
_LOOKAHEAD_M = 60.0


@dataclass(frozen=True, eq=False)
class RecordedGround(Terrain):
    """The ground as the recorded vehicle stood on it: at each place, the plane under its nearest pose.

    Attributes:
        path: float64 [N >= 2, 3], points of the drive, apart from each other.
        slopes: float64 [N, 2], dz/dx and dz/dy of the ground at them.
    """

    path: Float64Array = field(default_factory=lambda: np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]]))
    slopes: Float64Array = field(default_factory=lambda: np.zeros((2, 2)))

    def __post_init__(self) -> None:
        require_array("ground: path", self.path, (None, 3), np.float64)
        require_array("ground: slopes", self.slopes, (len(self.path), 2), np.float64)
        object.__setattr__(self, "_line", shapely.LineString(self.path[:, :2]))
        steps = np.linalg.norm(np.diff(self.path[:, :2], axis=0), axis=1)
        object.__setattr__(self, "_arc", np.concatenate([[0.0], np.cumsum(steps)]))

    def height_m(self, xy: Float64Array) -> Float64Array:
        """Return the height [...] of points [..., 2] (further columns are ignored)."""
        xy = np.asarray(xy, np.float64)[..., :2]
        foot, slope = self._under(xy)
        return np.asarray(foot[..., 2] + np.sum(slope * (xy - foot[..., :2]), axis=-1))

    def gradient(self, xy: Float64Array) -> Float64Array:
        """Return the slope (dz/dx, dz/dy) [..., 2] at points [..., 2]."""
        return self._under(np.asarray(xy, np.float64)[..., :2])[1]

    def _under(self, xy: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Return the nearest point [..., 3] of the drive and the slope [..., 2] there."""
        line: shapely.LineString = self._line  # type: ignore[attr-defined]
        arc: Float64Array = self._arc  # type: ignore[attr-defined]
        along_m = np.asarray(shapely.line_locate_point(line, shapely.points(xy)))
        foot = np.stack([np.interp(along_m, arc, self.path[:, i]) for i in range(3)], axis=-1)
        slope = np.stack([np.interp(along_m, arc, self.slopes[:, i]) for i in range(2)], axis=-1)
        return foot, slope


def recorded_scene(
    scene_id: str,
    stamps_us: NDArray[np.int64],
    local_from_rig: Float64Array,
    *,
    actors: Mapping[str, ActorSpec] | None = None,
    start_us: int | None = None,
) -> Scene:
    """Return the scene of a recorded drive.

    Args:
        scene_id: as the renderer calls it.
        stamps_us: int64 [N], rising.
        local_from_rig: float64 [N, 4, 4], the recorded poses of the rig.
        actors: the other road users' tracks, or None where nobody knows of them.
        start_us: when rollouts begin; the first pose by default.

    Raises:
        InvalidInput: for a drive of fewer than two poses or 3 s, with falling stamps, or with poses that are
            not finite or no rotations; for a start outside of it.
    """
    _require_drive(scene_id, stamps_us, local_from_rig)
    start_us = int(stamps_us[0]) if start_us is None else start_us
    if not stamps_us[0] <= start_us <= stamps_us[-1] - _SHORTEST_US:
        raise InvalidInput(
            f"scene {scene_id}: expected a recorded drive of at least {_SHORTEST_US / 1e6:g} s from its "
            f"start, {start_us} us, on, got one from {stamps_us[0]} to {stamps_us[-1]} us"
        )
    steps_us = np.arange(start_us, int(stamps_us[-1]) + 1, STEP_US, dtype=np.int64)
    poses = interpolate_poses(stamps_us, local_from_rig, steps_us)
    path, ground = _path_and_ground(poses)
    forward = np.einsum("ni,ni->n", np.gradient(poses[:, :3, 3], STEP_US / 1e6, axis=0), poses[:, :3, 0])
    return Scene(
        scene_id=scene_id,
        family=FAMILY,
        road=None,
        terrain=ground,
        environment=Environment(),
        actors=dict(actors or {}),
        props=(),
        reference=ReferenceDrive(stamps_us=steps_us, local_from_rig=poses, speed_mps=forward),
        route_lane_ids=(),
        route=path,
        description="A recorded drive.",
        start_us=start_us,
        extras={ACTORS_KNOWN: actors is not None},
    )


class RecordedWorld:
    """Replays a recorded scene; see state.World. Nothing in it reacts to the ego."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._course = ReferenceCourse(scene)
        arc = np.linalg.norm(np.diff(scene.route[:, :2], axis=0), axis=1)
        self._arc_m = np.concatenate([[0.0], np.cumsum(arc)])
        self._route = shapely.LineString(scene.route[:, :2])
        directions = np.diff(scene.route[:, :2], axis=0)
        self._headings = np.unwrap(np.arctan2(directions[:, 1], directions[:, 0]))
        self._time_us = scene.start_us
        self._actors = self._actors_at(scene.start_us)

    @property
    def scene(self) -> Scene:
        """What is fixed."""
        return self._scene

    @property
    def time_us(self) -> int:
        """The instant that `actors` describes."""
        return self._time_us

    @property
    def actors(self) -> tuple[ActorState, ...]:
        """Who was there at that time, ordered by id."""
        return self._actors

    def step(self, ego: EgoState, to_us: int) -> None:
        """Move on to `to_us`; raises InvalidInput for a time that is not later than now."""
        if to_us <= self._time_us:
            raise InvalidInput(f"to_us: expected a time after {self._time_us} us, got {to_us} us")
        self._time_us = to_us
        self._actors = self._actors_at(to_us)

    def instruction(self, ego: EgoState) -> str:
        """Return where the recorded drive turns next, in Alpamayo's wording; "" where it keeps on."""
        here_m = float(self._route.project(shapely.Point(ego.xy_m)))
        for ahead_m in np.arange(0.0, _LOOKAHEAD_M, 5.0):
            turn_rad = self._heading(here_m + ahead_m + _TURN_WINDOW_M) - self._heading(here_m + ahead_m)
            if abs(turn_rad) >= _TURN_RAD:
                side = "left" if turn_rad > 0 else "right"
                return f"Turn {side} in {max(5, 5 * round((ahead_m + _TURN_WINDOW_M / 2) / 5))}m"
        return ""

    def _heading(self, arc_m: float) -> float:
        middles = (self._arc_m[1:] + self._arc_m[:-1]) / 2
        return float(np.interp(arc_m, middles, self._headings))

    def _actors_at(self, time_us: int) -> tuple[ActorState, ...]:
        states = (_state_at(self._scene.actors[actor_id], time_us) for actor_id in sorted(self._scene.actors))
        return tuple(state for state in states if state is not None)


def _state_at(actor: ActorSpec, time_us: int) -> ActorState | None:
    """Return an actor as recorded; None before and after it was seen, unless it is part of the scene."""
    stamps_us = actor.track.stamps_us
    outside = not stamps_us[0] <= time_us <= stamps_us[-1]
    if outside and not actor.is_static:
        return None
    pose, speed_mps = _pose_and_speed(actor.track, time_us)
    return ActorState(
        actor_id=actor.actor_id,
        kind=actor.kind,
        size_xyz_m=actor.size_xyz_m,
        local_from_box=pose,
        speed_mps=0.0 if actor.is_static else speed_mps,
        is_static=actor.is_static,
    )


def _pose_and_speed(track: Track, time_us: int) -> tuple[Float64Array, float]:
    if len(track.stamps_us) < 2:
        return track.local_from_box[0], 0.0
    around = np.array([time_us - STEP_US // 2, time_us, time_us + STEP_US // 2], np.int64)
    poses = interpolate_poses(track.stamps_us, track.local_from_box, around)
    span_us = np.diff(np.clip(around[[0, 2]], track.stamps_us[0], track.stamps_us[-1]))[0]
    moved = poses[2, :3, 3] - poses[0, :3, 3]
    return poses[1], float(moved @ poses[1, :3, 0]) / max(float(span_us) / 1e6, 1e-6)


def _require_drive(scene_id: str, stamps_us: NDArray[np.int64], poses: Float64Array) -> None:
    require_array(f"scene {scene_id}: stamps_us", stamps_us, (None,), np.int64)
    require_array(f"scene {scene_id}: local_from_rig", poses, (len(stamps_us), 4, 4), np.float64)
    require_finite(f"scene {scene_id}: local_from_rig", poses)
    if len(stamps_us) < 2 or np.any(np.diff(stamps_us) <= 0):
        raise InvalidInput(f"scene {scene_id}: expected a drive of two poses or more with rising stamps")
    require_rotation(f"scene {scene_id}: local_from_rig", poses[:, :3, :3])


def _path_and_ground(poses: Float64Array) -> tuple[Float64Array, RecordedGround]:
    """Return the drive's points about a metre apart, and the ground; one that stands is extended."""
    kept = [0]
    for index in range(1, len(poses)):
        if np.linalg.norm(poses[index, :2, 3] - poses[kept[-1], :2, 3]) >= _SPACING_M:
            kept.append(index)
    last = len(poses) - 1
    if kept[-1] != last and np.linalg.norm(poses[last, :2, 3] - poses[kept[-1], :2, 3]) > _STANDING_M:
        kept.append(last)
    chosen = poses[kept]
    if len(kept) == 1:
        ahead = chosen[0].copy()
        ahead[:3, 3] += _SPACING_M * ahead[:3, 0]
        chosen = np.stack([chosen[0], ahead])
    up = chosen[:, :3, 2]
    if np.any(up[:, 2] < 0.5):
        raise InvalidInput("recorded drive: expected a vehicle on its wheels, got one that lies on its side")
    slopes = -up[:, :2] / up[:, 2:]
    return chosen[:, :3, 3].copy(), RecordedGround(path=chosen[:, :3, 3].copy(), slopes=slopes)
