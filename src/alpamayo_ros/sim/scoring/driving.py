"""How a rollout was driven: comfort, speed, time to collision. Ours, not AlpaSim's.

All are of a window of steps first … last (both included); a share is of the window's intervals of one step.
"""

from __future__ import annotations

import numpy as np
import shapely

from alpamayo_ros.sim.roads import Float64Array
from alpamayo_ros.sim.scoring.inputs import ScoreInput
from alpamayo_ros.sim.scoring.shapes import box_shape

ACCEL_LON_LIMIT_MPS2 = 4.0
ACCEL_LAT_LIMIT_MPS2 = 4.9
JERK_LIMIT_MPS3 = 8.4
YAW_RATE_LIMIT_RADPS = 0.95
TTC_LIMIT_S = 1.0
STANDING_MPS = 0.1


def comfort(rollout: ScoreInput, first: int, last: int) -> dict[str, float | None]:
    """Return the shares of intervals over each limit, and over any; None in a window of fewer than 4 steps.

    At the rear axle: longitudinal acceleration is the rate of the forward speed, lateral acceleration forward
    speed times yaw rate, jerk the length of the change of both a second.
    """
    names = ("accel_lon", "accel_lat", "jerk", "yaw_rate")
    keys = [f"{name}_over_limit_share" for name in names]
    if last - first < 3:
        return dict.fromkeys((*keys, "uncomfortable_share"))
    window = slice(first, last + 1)
    step_s = np.diff(rollout.stamps_us[window]) / 1e6
    speed = _forward_speed_mps(rollout)[window]
    yaw_rate = np.diff(np.unwrap(rollout.ego_poses[window, 2])) / step_s
    lon = np.diff(speed) / step_s
    lat = (speed[1:] + speed[:-1]) / 2.0 * yaw_rate
    jerk = np.hypot(np.diff(lon), np.diff(lat)) / step_s[1:]
    over = np.zeros((4, len(step_s)), bool)
    over[0] = np.abs(lon) > ACCEL_LON_LIMIT_MPS2
    over[1] = np.abs(lat) > ACCEL_LAT_LIMIT_MPS2
    over[2, 1:] = jerk > JERK_LIMIT_MPS3
    over[3] = np.abs(yaw_rate) > YAW_RATE_LIMIT_RADPS
    shares: dict[str, float | None] = {key: float(row.mean()) for key, row in zip(keys, over, strict=True)}
    shares["uncomfortable_share"] = float(over.any(axis=0).mean())
    return shares


def speeds(rollout: ScoreInput, first: int, last: int) -> dict[str, float | None]:
    """Return the window's mean speed, the recorded drive's over the same time, their ratio, and that time.

    The ratio is None where the recorded drive stands (below STANDING_MPS on average).
    """
    stamps_us = rollout.stamps_us[first : last + 1]
    duration_s = float(stamps_us[-1] - stamps_us[0]) / 1e6
    if duration_s <= 0:
        keys = ("mean_speed_mps", "reference_mean_speed_mps", "speed_rel_to_reference")
        return dict.fromkeys(keys) | {"window_s": 0.0}
    mean = _length_m(rollout.ego_poses[first : last + 1, :2]) / duration_s
    reference = _length_m(rollout.reference_at(stamps_us)[:, :2]) / duration_s
    return {
        "mean_speed_mps": mean,
        "reference_mean_speed_mps": reference,
        "speed_rel_to_reference": mean / reference if reference > STANDING_MPS else None,
        "window_s": duration_s,
    }


def time_to_collision(rollout: ScoreInput, first: int, last: int) -> dict[str, float | None]:
    """Return the share of steps at which a collision is less than 1 s away; None without known road users.

    Ego and others go on at their present velocity without turning, so what the other sweeps relative to the
    ego is the convex hull of its shape now and after TTC_LIMIT_S (the shapes are convex), and a collision is
    near if that meets the ego's shape. Steps at which the ego stands do not count as near: it can do nothing.
    """
    if rollout.actors is None:
        return {"ttc_under_1s_share": None}
    steps = np.arange(first, last + 1)
    ego = box_shape(*rollout.ego_size_m)
    shapes = ego.along(rollout.ego_poses[steps])
    shapely.prepare(shapes)
    velocity = _velocity_mps(rollout, rollout.ego_poses)
    moving = np.linalg.norm(velocity[steps], axis=1) >= STANDING_MPS
    near = np.zeros(len(steps), bool)
    for actor in rollout.actors:
        form = box_shape(actor.length_m, actor.width_m)
        away = actor.poses[steps, :2] - rollout.ego_poses[steps, :2]
        swept = (_velocity_mps(rollout, actor.poses) - velocity)[steps] * TTC_LIMIT_S
        least = _closest_m(away, swept)
        close = np.flatnonzero(moving & ~near & (least <= ego.reach_m + form.reach_m))
        if not len(close):
            continue
        now = form.along(actor.poses[steps[close]])
        outlines = [
            np.concatenate([outline, outline + sweep])
            for outline, sweep in zip(map(shapely.get_coordinates, now), swept[close], strict=True)
        ]
        hulls = shapely.convex_hull(shapely.multipoints(np.array(outlines)))
        near[close] = shapely.intersects(shapes[close], hulls)
    return {"ttc_under_1s_share": float(near.mean())}


def _velocity_mps(rollout: ScoreInput, poses: Float64Array) -> Float64Array:
    """Return velocities [S, 2] of poses [S, 3]: since the step before, where that is unknown to the next."""
    rate = np.diff(poses[:, :2], axis=0) / (np.diff(rollout.stamps_us)[:, None] / 1e6)
    none = np.full((1, 2), np.nan)
    before, after = np.concatenate([none, rate]), np.concatenate([rate, none])
    velocity = np.where(np.isnan(before), after, before)
    return np.where(np.isnan(velocity), 0.0, velocity)


def _closest_m(away: Float64Array, swept: Float64Array) -> Float64Array:
    """Return the least length of away + s * swept for s in 0 … 1, NaN where `away` is."""
    square = np.maximum((swept**2).sum(axis=1), 1e-12)
    share = np.clip(-(away * swept).sum(axis=1) / square, 0.0, 1.0)
    return np.asarray(np.linalg.norm(away + share[:, None] * swept, axis=1))


def _forward_speed_mps(rollout: ScoreInput) -> Float64Array:
    """Return the rear axle's forward speed [S]: as given, else from the poses."""
    if rollout.ego_speed_mps is not None:
        return rollout.ego_speed_mps
    rig = rollout.rig_poses(rollout.ego_poses)
    velocity = _velocity_mps(rollout, rig)
    return np.asarray(velocity[:, 0] * np.cos(rig[:, 2]) + velocity[:, 1] * np.sin(rig[:, 2]))


def _length_m(xy: Float64Array) -> float:
    return float(np.linalg.norm(np.diff(xy, axis=0), axis=1).sum())
