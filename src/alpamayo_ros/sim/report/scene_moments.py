"""When to look at a scene: the step of a rollout at which what the family is named after is in sight."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from alpamayo_ros.sim.record import RolloutRecord
from alpamayo_ros.sim.roads import Float64Array
from alpamayo_ros.sim.scene import STEP_US

_SIGHT_M = (5.0, 40.0)
_TURN_LEAD_S = 2.0
_BRAKING_MPS2 = 1.5


def telling_step(record: RolloutRecord) -> int:
    """Return the step at which a rollout's family is best recognised from the driver's seat."""
    chooser = _CHOOSERS.get(record.scene.family, _middle)
    step = chooser(record)
    return _middle(record) if step is None else step


def _middle(record: RolloutRecord) -> int:
    return len(record.ego) // 2


def _in_rig(record: RolloutRecord, points: Float64Array) -> Float64Array:
    """Return points [S, 2] (or [2]: the same at all steps) as the ego sees them at each step, [S, 2]."""
    poses = np.array([state.local_from_rig for state in record.ego])
    away = np.broadcast_to(points, (len(poses), 2)) - poses[:, :2, 3]
    return np.einsum("sji,sj->si", poses[:, :2, :2], away)


def _seen(record: RolloutRecord, prefix: str) -> dict[str, Float64Array]:
    """Return where actors whose id begins with a prefix are in the rig at each step, [S, 2] by id."""
    tracks = record.actors.values()
    return {
        track.actor_id: _in_rig(record, track.local_from_box[:, :2, 3])
        for track in tracks
        if track.actor_id.startswith(prefix)
    }


def _actor_ahead(prefix: str, ahead_m: float) -> Callable[[RolloutRecord], int | None]:
    """Choose the step at which the nearest such actor ahead is nearest to `ahead_m` away."""

    def choose(record: RolloutRecord) -> int | None:
        seen = _seen(record, prefix)
        if not seen:
            return None
        ahead = np.array([np.where(at[:, 0] > _SIGHT_M[0], at[:, 0], np.inf) for at in seen.values()])
        nearest = np.nan_to_num(ahead, nan=np.inf).min(axis=0)
        return int(np.argmin(np.abs(nearest - ahead_m)))

    return choose


def _actor_at(prefix: str, ahead_m: float, beside_m: float) -> Callable[[RolloutRecord], int | None]:
    """Choose the step at which such an actor is about `ahead_m` ahead and `beside_m` off the ego's axis."""

    def choose(record: RolloutRecord) -> int | None:
        best: tuple[float, int] | None = None
        for at in _seen(record, prefix).values():
            in_sight = (at[:, 0] > _SIGHT_M[0]) & (at[:, 0] < _SIGHT_M[1])
            # A metre along counts as 25 cm across.
            cost = np.abs(np.abs(at[:, 1]) - beside_m) + 0.25 * np.abs(at[:, 0] - ahead_m)
            cost = np.where(in_sight, cost, np.inf)
            step = int(np.argmin(cost))
            if np.isfinite(cost[step]) and (best is None or cost[step] < best[0]):
                best = (float(cost[step]), step)
        return None if best is None else best[1]

    return choose


def _brakes(prefix: str) -> Callable[[RolloutRecord], int | None]:
    """Choose the nearest that such an actor ahead comes while it brakes; without braking, the nearest."""

    def choose(record: RolloutRecord) -> int | None:
        best: tuple[float, int] | None = None
        for actor_id, at in _seen(record, prefix).items():
            xy = record.actors[actor_id].local_from_box[:, :2, 3]
            speed = (
                np.linalg.norm(np.gradient(xy, STEP_US * 1e-6, axis=0), axis=1) if len(xy) > 1 else at[:, 0]
            )
            brakes = np.gradient(speed, STEP_US * 1e-6) < -_BRAKING_MPS2 if len(xy) > 1 else np.zeros(1, bool)
            # One that brakes 30 m away tells more than one that does not, right ahead.
            cost = np.where(at[:, 0] > _SIGHT_M[0], at[:, 0], np.inf) + np.where(brakes, 0.0, _SIGHT_M[1])
            step = int(np.argmin(np.nan_to_num(cost, nan=np.inf)))
            if np.isfinite(cost[step]) and (best is None or cost[step] < best[0]):
                best = (float(cost[step]), step)
        return None if best is None else best[1]

    return choose


def _before_turn(record: RolloutRecord) -> int:
    """Choose a little before the first bend in earnest, so that it is seen ahead."""
    yaw_rates = np.array([abs(state.yaw_rate_radps) for state in record.ego])
    first = int(np.argmax(yaw_rates > 0.6 * yaw_rates.max()))
    return max(first - round(_TURN_LEAD_S * 10), 0)


def _in_turn(record: RolloutRecord) -> int:
    """Choose where the ego has just turned into its sharpest bend."""
    yaw_rates = np.array([abs(state.yaw_rate_radps) for state in record.ego])
    return int(np.argmax(yaw_rates > 0.9 * yaw_rates.max()))


def _slope(record: RolloutRecord) -> int:
    """Choose where the road 40 m ahead rises most above the ego's own plane."""
    rises = []
    for state in record.ego:
        ahead = state.local_from_rig @ np.array([40.0, 0.0, 0.0, 1.0])
        rises.append(float(record.scene.terrain.height_m(ahead[:2]) - ahead[2]))
    return int(np.argmax(rises))


def _junction(reach_m: float) -> Callable[[RolloutRecord], int | None]:
    """Choose the first step at which the ego is less than `reach_m` from a junction's lanes."""

    def choose(record: RolloutRecord) -> int | None:
        lanes = () if record.scene.road is None else record.scene.road.lanes
        inside = [lane.centre[:, :2] for lane in lanes if lane.in_junction]
        for step, state in enumerate(record.ego if inside else ()):
            if float(np.linalg.norm(np.concatenate(inside) - state.xy_m, axis=1).min()) < reach_m:
                return step
        return None

    return choose


def _at_line(stop_line: Float64Array, record: RolloutRecord, ahead_m: float) -> Float64Array:
    """Return how far from `ahead_m` a stop line's middle is ahead at each step, in m [S]."""
    at = _in_rig(record, stop_line[:, :2].mean(axis=0))
    return np.where(np.abs(at[:, 1]) < 5.0, np.abs(at[:, 0] - ahead_m), np.inf)


def _red_light(record: RolloutRecord) -> int | None:
    """Choose the nearest that the ego comes to a light while it is red (else yellow, else green)."""
    road = record.scene.road
    for colour in ("red", "yellow", "green"):
        best: tuple[float, int] | None = None
        for light in road.lights if road is not None else ():
            away = _at_line(light.stop_line, record, 14.0)
            times_s = (record.stamps_us - record.scene.start_us) * 1e-6
            away[[light.colour_at(float(t)) != colour for t in times_s]] = np.inf
            step = int(np.argmin(away))
            if away[step] < 12.0 and (best is None or away[step] < best[0]):
                best = (float(away[step]), step)
        if best is not None:
            return best[1]
    return None


def _stop_sign(record: RolloutRecord) -> int | None:
    road = record.scene.road
    costs = [_at_line(sign.stop_line, record, 11.0) for sign in (road.stop_signs if road else ())]
    return int(np.argmin(np.min(costs, axis=0))) if costs else None


_CHOOSERS: dict[str, Callable[[RolloutRecord], int | None]] = {
    "curve": _in_turn,
    "s_bend": _before_turn,
    "hills": _slope,
    "junction_3way": _junction(9.0),
    "junction_4way": _junction(13.0),
    "cones": _actor_ahead("cone", 8.0),
    "parked": _actor_ahead("double", 13.0),
    "cut_in": _actor_at("cutter", 10.0, 1.2),
    "lead_braking": _brakes("lead"),
    "queue": _actor_ahead("queue", 12.0),
    "pedestrian": _actor_at("crossing", 9.0, 2.2),
    "cyclist": _actor_ahead("cyclist", 8.0),
    "oncoming": _actor_ahead("oncoming", 11.0),
    "traffic_light": _red_light,
    "stop_sign": _stop_sign,
    "roundabout": _in_turn,
    "fog": _in_turn,
    "dusk": _actor_ahead("double", 13.0),
    "rain_dark": _brakes("lead"),
}
