"""Scores of the plans themselves: AlpaSim's minADE, plan deviation, open-loop collision."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import shapely
from numpy.typing import NDArray

from alpamayo_ros.sim.roads import Float64Array
from alpamayo_ros.sim.scoring.inputs import ActorInput, DriveInput, ScoreInput
from alpamayo_ros.sim.scoring.shapes import BoxShape, box_shape

MIN_ADE_HORIZONS_S: tuple[float, ...] = (0.5, 1.0, 2.5, 5.0)
DEVIATION_DECAY = 0.1
OPEN_LOOP_HORIZON_S = 3.0


def plan_metrics(rollout: ScoreInput, first: int, last: int) -> dict[str, float | None]:
    """Return the plans' scores, each a mean over the planner's plans made at steps first … last."""
    start_us, end_us = rollout.stamps_us[[first, last]]
    plans = [d for d in rollout.drives if d.from_planner and start_us <= d.time_us <= end_us]
    values: dict[str, float | None] = {"plan_deviation": _mean(_deviations(rollout, start_us, end_us))}
    values["open_loop_collision"] = _open_loop_collision(rollout, plans)
    rows = [_min_ade_m(rollout, plan) for plan in plans]
    for index, horizon_s in enumerate(MIN_ADE_HORIZONS_S):
        values[f"min_ade@{horizon_s:g}s"] = _mean([row[index] for row in rows if np.isfinite(row[index])])
    return values


def _deviations(rollout: ScoreInput, start_us: int, end_us: int) -> list[float]:
    """Return how far each plan is from the one before it, at its own stamps but the first.

    Two-dimensional distance of the box's centre; the weight of the i-th stamp is exp(-0.1 i). Both must be
    the planner's.
    """
    found = []
    for before, plan in pairwise(rollout.drives):
        if not (before.from_planner and plan.from_planner and start_us <= plan.time_us <= end_us):
            continue
        stamps_us = plan.stamps_us[1:]
        stamps_us = stamps_us[stamps_us <= before.stamps_us[-1]]
        if not len(stamps_us):
            continue
        here, there = (rollout.box_poses(_at(d.stamps_us, d.rig_poses, stamps_us)) for d in (plan, before))
        distance = np.linalg.norm((here - there)[:, :2], axis=1)
        found.append(float(np.average(distance, weights=np.exp(-DEVIATION_DECAY * np.arange(len(distance))))))
    return found


def _min_ade_m(rollout: ScoreInput, plan: DriveInput) -> Float64Array:
    """Return one plan's minADE [4] by horizon, NaN where the rollout or a sample ends before the horizon.

    The mean distance of box centres from the recorded drive at the rollout's steps after the plan's, of the
    best sample.
    """
    result = np.full(len(MIN_ADE_HORIZONS_S), np.nan)
    if not plan.candidates.size:
        return result
    reach_us = plan.time_us + round(1e6 * max(MIN_ADE_HORIZONS_S))
    stamps_us = rollout.stamps_us[(rollout.stamps_us > plan.time_us) & (rollout.stamps_us <= reach_us)]
    stamps_us = stamps_us[stamps_us <= plan.candidate_stamps_us[-1]]
    if not len(stamps_us):
        return result
    recorded = rollout.reference_at(stamps_us)[:, :2]
    sampled = np.stack([_at(plan.candidate_stamps_us, rows, stamps_us) for rows in plan.candidates])
    distance = np.linalg.norm(rollout.box_poses(sampled)[..., :2] - recorded, axis=-1)
    so_far = (np.cumsum(distance, axis=1) / np.arange(1, len(stamps_us) + 1)).min(axis=0)
    for index, horizon_s in enumerate(MIN_ADE_HORIZONS_S):
        horizon_us = plan.time_us + round(1e6 * horizon_s)
        if horizon_us <= stamps_us[-1]:
            result[index] = so_far[np.searchsorted(stamps_us, horizon_us)]
    return result


def _open_loop_collision(rollout: ScoreInput, plans: list[DriveInput]) -> float | None:
    """Return the share of plans whose first 3 s meet a road user where it was then.

    Road users are where they were in the rollout, so what happened later because of other plans is in it.
    Plans without a pose in those 3 s do not count.
    """
    if rollout.actors is None:
        return None
    forms = [box_shape(actor.length_m, actor.width_m) for actor in rollout.actors]
    around = [MovingActor(rollout, actor, form) for actor, form in zip(rollout.actors, forms, strict=True)]
    met: list[float] = []
    for plan in plans:
        ahead = plan.stamps_us > plan.time_us
        ahead &= plan.stamps_us <= plan.time_us + round(1e6 * OPEN_LOOP_HORIZON_S)
        if ahead.any():
            boxes = rollout.box_poses(plan.rig_poses[ahead])
            ego = box_shape(*rollout.ego_size_m)
            met.append(float(any(actor.meets(ego, boxes, plan.stamps_us[ahead]) for actor in around)))
    return _mean(met)


class MovingActor:
    """One actor over the rollout, to be asked whether moving boxes meet it."""

    def __init__(self, rollout: ScoreInput, actor: ActorInput, form: BoxShape) -> None:
        there = np.isfinite(actor.poses).all(axis=1)
        self._form = form
        self._stamps_us = rollout.stamps_us[there]
        self._poses = actor.poses[there]
        hops = np.linalg.norm(np.diff(self._poses[:, :2], axis=0), axis=1)
        self._slack_m = form.reach_m + float(hops.max(initial=0.0))

    def meets(self, ego: BoxShape, boxes: Float64Array, stamps_us: NDArray[np.int64]) -> bool:
        """Return whether the ego with its box at poses [N, 3] at stamps [N] meets the actor."""
        first, last = np.searchsorted(self._stamps_us, stamps_us[[0, -1]])
        places = self._poses[max(first - 1, 0) : last + 1, :2]
        middle = boxes[len(boxes) // 2, :2]
        reach_m = np.linalg.norm(boxes[:, :2] - middle, axis=1).max() + ego.reach_m + self._slack_m
        if not (np.abs(places - middle).max(axis=1) <= reach_m).any():
            return False
        poses = _at(self._stamps_us, self._poses, stamps_us)
        near = (stamps_us >= self._stamps_us[0]) & (stamps_us <= self._stamps_us[-1])
        near &= np.linalg.norm(poses[:, :2] - boxes[:, :2], axis=1) <= ego.reach_m + self._form.reach_m
        return bool(
            near.any() and shapely.intersects(ego.along(boxes[near]), self._form.along(poses[near])).any()
        )


def _at(stamps_us: NDArray[np.int64], rows: Float64Array, at_us: NDArray[np.int64]) -> Float64Array:
    """Return rows [N, D] interpolated at stamps [M]; a third column is an angle."""
    since_s, at_s = (stamps_us - stamps_us[0]) / 1e6, (at_us - stamps_us[0]) / 1e6
    columns = [np.unwrap(column) if index == 2 else column for index, column in enumerate(rows.T)]
    return np.stack([np.interp(at_s, since_s, column) for column in columns], axis=-1)


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None
