"""Where the other road users will be, in the route's frame: what the expert plans against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.sim.planners.route_frame import RouteFrame
from alpamayo_ros.sim.roads import Float64Array
from alpamayo_ros.sim.scene import ActorKind
from alpamayo_ros.sim.state import ActorState, EgoState
from alpamayo_ros.sim.world import Intention, ProceduralWorld

FORECAST_STEP_S = 0.2
FORECAST_STEPS = 33
"""From now to 6.4 s ahead."""
_STANDING_MPS = 0.3
_NEAR_M = 120.0
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

    def __len__(self) -> int:
        return len(self.ids)


def forecast(world: ProceduralWorld, frame: RouteFrame, ego: EgoState) -> Others:
    """Return what is near the route ahead of the ego, now and in the next 6.4 s."""
    near = [
        actor
        for actor in world.actors
        if float(np.linalg.norm(actor.xy_m - ego.xy_m)) < _NEAR_M and actor.local_from_box[2, 3] > -50.0
    ]
    intentions: dict[str, Intention] = {}
    if any(not actor.is_static for actor in near):
        intentions = world.predict((FORECAST_STEPS - 1) * FORECAST_STEP_S, FORECAST_STEP_S)
    tracks = np.empty((len(near), FORECAST_STEPS, 3))
    for index, actor in enumerate(near):
        if actor.is_static:
            tracks[index] = (*actor.xy_m, actor.yaw_rad)
        else:
            tracks[index] = intentions[actor.actor_id].xy_yaw
    s_ego, _ = frame.project_near(ego.xy_m, ego.yaw_rad)
    return _describe(near, tracks, frame, s_ego)


def _describe(actors: Sequence[ActorState], tracks: Float64Array, frame: RouteFrame, s_ego: float) -> Others:
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
    others = Others(
        ids=tuple(actor.actor_id for actor in actors),
        kinds=kinds,
        s_low_m=s.min(axis=-1),
        s_high_m=s.max(axis=-1),
        l_low_m=across.min(axis=-1),
        l_high_m=across.max(axis=-1),
        speed_mps=speeds,
        along_mps=np.gradient(centre_s, FORECAST_STEP_S, axis=1) if len(actors) else centre_s,
        heading_cos=np.cos(tracks[:, 0, 2] - route_yaw),
        is_static=static,
        stays=stays,
        passable=static | np.array([kind == "cyclist" for kind in kinds], bool),
    )
    reach = np.where(stays, _BESIDE_STANDING_M, _BESIDE_M)[:, None]
    beside = ((others.l_low_m < reach) & (others.l_high_m > -reach)).any(axis=1)
    passed = stays & (others.s_high_m[:, 0] < s_ego - _PASSED_M)
    return _take(others, np.flatnonzero(beside & ~passed))


def _take(others: Others, keep: NDArray[np.int64]) -> Others:
    return Others(
        ids=tuple(others.ids[i] for i in keep),
        kinds=tuple(others.kinds[i] for i in keep),
        s_low_m=others.s_low_m[keep],
        s_high_m=others.s_high_m[keep],
        l_low_m=others.l_low_m[keep],
        l_high_m=others.l_high_m[keep],
        speed_mps=others.speed_mps[keep],
        along_mps=others.along_mps[keep],
        heading_cos=others.heading_cos[keep],
        is_static=others.is_static[keep],
        stays=others.stays[keep],
        passable=others.passable[keep],
    )
