"""Where the other road users will be, in the route's frame: what the expert plans against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.sim.planners.route_frame import RouteFrame
from alpamayo_ros.sim.roads import Float64Array
from alpamayo_ros.sim.scene import ActorKind
from alpamayo_ros.sim.state import ActorState, EgoState
from alpamayo_ros.sim.world import ProceduralWorld

FORECAST_STEP_S = 0.2
FORECAST_STEPS = 33
"""From now to 6.4 s ahead."""
_FINE_STEP_S = 0.1
_KEPT_STEPS = 2
"""A prediction serves for so many further steps of 0.1 s: making one costs as much as the rest of a plan."""
_STANDING_MPS = 0.3
_NEAR_M = 120.0
_AHEAD_M = 130.0
_BESIDE_M = 14.0
_BESIDE_STANDING_M = 6.0
_PASSED_M = 10.0


@dataclass(frozen=True, eq=False)
class Others:
    """N road users over T steps (FORECAST_STEP_S apart, the first is now) in the route's frame.

    Attributes:
        ids, kinds: of each.
        s_low_m, s_high_m, l_low_m, l_high_m: [N, T], the box's extent along and across the route.
        speed_mps: [N] now.
        along_mps: [N, T], how fast it moves along the route.
        heading_cos: [N], cosine between its heading and the route's now.
        is_static: [N].
        stays: [N], whether it stands through all the steps.
        passable: [N], whether one may go around it: what is part of the scene, and cyclists.
    """

    ids: tuple[str, ...]
    kinds: tuple[ActorKind, ...]
    s_low_m: Float64Array
    s_high_m: Float64Array
    l_low_m: Float64Array
    l_high_m: Float64Array
    speed_mps: Float64Array
    along_mps: Float64Array
    heading_cos: Float64Array
    is_static: NDArray[np.bool_]
    stays: NDArray[np.bool_]
    passable: NDArray[np.bool_]

    def take(self, keep: NDArray[np.int64]) -> Others:
        """Return those of the given indices."""
        arrays = {name: getattr(self, name)[keep] for name in _ARRAYS}
        return Others(
            ids=tuple(self.ids[i] for i in keep), kinds=tuple(self.kinds[i] for i in keep), **arrays
        )

    def joined(self, other: Others) -> Others:
        """Return these and then the other ones."""
        arrays = {name: np.concatenate([getattr(self, name), getattr(other, name)]) for name in _ARRAYS}
        return Others(ids=self.ids + other.ids, kinds=self.kinds + other.kinds, **arrays)

    def __len__(self) -> int:
        return len(self.ids)


_ARRAYS = tuple(field.name for field in fields(Others) if field.name not in ("ids", "kinds"))


class Forecaster:
    """Foresees one rollout. What never moves is looked at once, what moves is predicted every third step.

    A prediction that is used again is moved on to where each one really is by then.
    """

    def __init__(self, world: ProceduralWorld, frame: RouteFrame) -> None:
        self._world, self._frame = world, frame
        static = [actor for actor in world.actors if actor.is_static]
        poses = np.array([(*actor.xy_m, actor.yaw_rad) for actor in static]).reshape(-1, 1, 3)
        once = _describe(static, poses, frame)
        self._static = replace(
            once,
            s_low_m=np.repeat(once.s_low_m, FORECAST_STEPS, axis=1),
            s_high_m=np.repeat(once.s_high_m, FORECAST_STEPS, axis=1),
            l_low_m=np.repeat(once.l_low_m, FORECAST_STEPS, axis=1),
            l_high_m=np.repeat(once.l_high_m, FORECAST_STEPS, axis=1),
            along_mps=np.repeat(once.along_mps, FORECAST_STEPS, axis=1),
        )
        self._predicted: dict[str, Float64Array] = {}
        self._predicted_us = -1

    def at(self, ego: EgoState) -> Others:
        """Return what is near the route ahead of the ego, now and in the next 6.4 s."""
        s_ego, _ = self._frame.project_near(ego.xy_m, ego.yaw_rad)
        static = self._static
        near = (static.s_high_m[:, 0] > s_ego - _PASSED_M) & (static.s_low_m[:, 0] < s_ego + _AHEAD_M)
        near &= (static.l_low_m[:, 0] < _BESIDE_STANDING_M) & (static.l_high_m[:, 0] > -_BESIDE_STANDING_M)
        moving = [
            actor
            for actor in self._world.actors
            if not actor.is_static and float(np.linalg.norm(actor.xy_m - ego.xy_m)) < _NEAR_M
        ]
        return static.take(np.flatnonzero(near)).joined(self._moving(moving, s_ego))

    def _moving(self, actors: Sequence[ActorState], s_ego: float) -> Others:
        if not actors:
            return self._static.take(np.zeros(0, np.int64))
        age = self._age_steps()
        every = round(FORECAST_STEP_S / _FINE_STEP_S)
        tracks = np.empty((len(actors), FORECAST_STEPS, 3))
        for index, actor in enumerate(actors):
            track = self._predicted[actor.actor_id][age::every][:FORECAST_STEPS]
            here = np.array([*actor.xy_m, track[0, 2]])
            tracks[index] = track + (here - track[0])
        others = _describe(actors, tracks, self._frame)
        reach = np.where(others.stays, _BESIDE_STANDING_M, _BESIDE_M)[:, None]
        beside = ((others.l_low_m < reach) & (others.l_high_m > -reach)).any(axis=1)
        passed = others.stays & (others.s_high_m[:, 0] < s_ego - _PASSED_M)
        return others.take(np.flatnonzero(beside & ~passed))

    def _age_steps(self) -> int:
        """Return how many steps of 0.1 s old the prediction is; one that is too old is made anew."""
        step_us = round(_FINE_STEP_S * 1e6)
        age, rest = divmod(self._world.time_us - self._predicted_us, step_us)
        if not 0 <= age <= _KEPT_STEPS or rest:
            horizon_s = (FORECAST_STEPS - 1) * FORECAST_STEP_S + _KEPT_STEPS * _FINE_STEP_S
            intentions = self._world.predict(horizon_s, _FINE_STEP_S)
            self._predicted = {actor_id: each.xy_yaw for actor_id, each in intentions.items()}
            self._predicted_us, age = self._world.time_us, 0
        return int(age)


def _describe(actors: Sequence[ActorState], tracks: Float64Array, frame: RouteFrame) -> Others:
    """Return road users whose boxes' centres are at x, y, yaw [N, T, 3]."""
    sizes = np.array([actor.size_xyz_m for actor in actors]).reshape(-1, 3)
    # Corners and the middles of the sides: beside a bend a long side's middle comes closer than its ends.
    signs = np.array([(1, 1), (1, -1), (-1, 1), (-1, -1), (0, 1), (0, -1)], np.float64)
    cos, sin = np.cos(tracks[..., 2])[..., None], np.sin(tracks[..., 2])[..., None]
    half = sizes[:, None, None, :2] / 2 * signs
    points = tracks[:, :, None, :2] + np.stack(
        [cos * half[..., 0] - sin * half[..., 1], sin * half[..., 0] + cos * half[..., 1]], axis=-1
    )
    s, across = frame.project(points)
    centre_s, _ = frame.project(tracks[:, :, :2])
    route_yaw = frame.at(frame.yaw_rad, centre_s[:, 0])
    speeds = np.array([actor.speed_mps for actor in actors])
    static = np.array([actor.is_static for actor in actors], bool)
    travelled = np.linalg.norm(tracks[:, -1, :2] - tracks[:, 0, :2], axis=-1)
    stays = static | ((np.abs(speeds) < _STANDING_MPS) & (travelled < 0.5))
    kinds = tuple(actor.kind for actor in actors)
    return Others(
        ids=tuple(actor.actor_id for actor in actors),
        kinds=kinds,
        s_low_m=s.min(axis=-1),
        s_high_m=s.max(axis=-1),
        l_low_m=across.min(axis=-1),
        l_high_m=across.max(axis=-1),
        speed_mps=speeds,
        along_mps=np.gradient(centre_s, FORECAST_STEP_S, axis=1)
        if tracks.shape[1] > 1
        else np.zeros_like(centre_s),
        heading_cos=np.cos(tracks[:, 0, 2] - route_yaw),
        is_static=static,
        stays=stays,
        passable=static | np.array([kind == "cyclist" for kind in kinds], bool),
    )
