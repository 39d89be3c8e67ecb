"""What the expert's proposals cost: collisions, rules and borders above all; then closeness, way made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d, minimum_filter1d

from alpamayo_ros.sim.planners.forecast import FORECAST_STEP_S, FORECAST_STEPS, Others
from alpamayo_ros.sim.planners.paths import FRONT_M, PIECES, Ways
from alpamayo_ros.sim.planners.proposals import Drives, Wishes
from alpamayo_ros.sim.planners.route_frame import RouteFrame
from alpamayo_ros.sim.planners.rules import Regulation
from alpamayo_ros.sim.roads import Float64Array

FORBIDDEN = 1000.0
"""Cost from which a proposal is one that should not be driven."""
_COLLISION = 10_000.0
_OFF_ROAD = 4000.0
_RULE = 3000.0
_VERY_CLOSE = 150.0
_CLOSE = 30.0
_YELLOW = 15.0
_WAY_PER_M = 1.0
_RED_RESERVE_STEPS = 2
_BRAKING = 1.5
_WRONG_SIDE_PER_M = 0.15
_ASIDE_PER_M = 0.1
_LEAVE_BEHIND_M = 0.5


@dataclass(frozen=True, eq=False)
class Verdict:
    """Cost of each proposal [M], and of each what it would hit first (index into Others, −1 nothing)."""

    cost: Float64Array
    hits: NDArray[np.int64]


def judge(
    frame: RouteFrame, ways: Ways, others: Others, wishes: Wishes, drives: Drives, regulation: Regulation
) -> Verdict:
    """Return what each proposal costs."""
    index = ways.index(drives.s_m)
    path = wishes.path[:, None]
    low, high = ways.body_low_m[path, index], ways.body_high_m[path, index]
    cost = -_WAY_PER_M * (drives.s_m[:, -1] - drives.s_m[:, 0])
    pieces = [
        (ways.piece_low_m[i][path, index], ways.piece_high_m[i][path, index]) for i in range(len(PIECES))
    ]
    collision, hits = _collisions(others, drives, pieces)
    cost = cost + collision
    cost = cost + _OFF_ROAD * (ways.off_road_m[path, index] > 0.0).mean(axis=1)
    cost = cost + _rules(drives, regulation)
    braking = np.maximum(-drives.accel_mps2 - 3.0, 0.0)
    cost = cost + _BRAKING * braking.sum(axis=1)
    moved = np.diff(drives.s_m, axis=1)
    over = np.maximum(high - frame.at(frame.lane_left_m, drives.s_m), 0.0)[:, 1:]
    cost = cost + _WRONG_SIDE_PER_M * (moved * (over > 0.15)).sum(axis=1)
    aside = np.abs((low + high) / 2)[:, 1:]
    cost = cost + _ASIDE_PER_M * (moved * np.maximum(aside - 0.2, 0.0)).sum(axis=1)
    return Verdict(cost, hits)


def _collisions(
    others: Others, drives: Drives, pieces: Sequence[tuple[Float64Array, Float64Array]]
) -> tuple[Float64Array, NDArray[np.int64]]:
    """Return the cost of collisions and closeness [M], and whom each proposal hits first.

    `pieces` are the lateral extents (low, high) [M, T] of the body's PIECES.
    """
    count = len(drives.s_m)
    if not len(others):
        return np.zeros(count), np.full(count, -1, np.int64)
    s_now = drives.s_m[:, None]
    crossing = ((np.abs(others.heading_cos) < 0.8) & ~others.stays)[:, None]

    def meets(along_m: Float64Array, across_m: Float64Array, steps: int) -> NDArray[np.bool_]:
        """Return [M, N, T]: who is within the margins, `steps` before or after as well if he crosses."""
        s_low, s_high = others.s_low_m, others.s_high_m
        l_low, l_high = others.l_low_m, others.l_high_m
        if steps:
            size = 2 * steps + 1
            s_low = np.where(crossing, minimum_filter1d(s_low, size, axis=1, mode="nearest"), s_low)
            s_high = np.where(crossing, maximum_filter1d(s_high, size, axis=1, mode="nearest"), s_high)
            l_low = np.where(crossing, minimum_filter1d(l_low, size, axis=1, mode="nearest"), l_low)
            l_high = np.where(crossing, maximum_filter1d(l_high, size, axis=1, mode="nearest"), l_high)
        s_low, s_high = s_low - along_m, s_high + along_m
        l_low, l_high = l_low - across_m, l_high + across_m
        met = np.zeros((count, *s_low.shape), bool)
        for (low, high), (rear, front) in zip(pieces, PIECES, strict=True):
            met |= (
                (s_high - rear > s_now)
                & (s_low - front < s_now)
                & (l_high > low[:, None])
                & (l_low < high[:, None])
            )
        return met

    moving = ~others.stays[:, None]
    person = np.array([kind in ("pedestrian", "cyclist") for kind in others.kinds])[:, None]
    touch = np.where(person, 0.25, np.where(moving, 0.1, 0.05))
    very_close = np.where(person, 0.5, np.where(moving, 0.3, 0.15))
    close = np.where(person, 0.8, np.where(moving, 0.5, 0.25))
    # Who catches up with the ego from behind keeps clear of it himself; what is foreseen of him beyond that
    # moment, as if he drove through the ego, does not count.
    middle = (others.s_low_m + others.s_high_m) / 2
    behind = (middle[None] < drives.s_m[:, None] + _LEAVE_BEHIND_M) & (others.heading_cos > 0.5)[
        None, :, None
    ]
    standing = (drives.speed_mps < 0.2)[:, None]
    near = meets(np.where(crossing, 2.0, 1.0), close, 3)
    clear = ~np.logical_or.accumulate(near & behind, axis=2)
    hard = meets(np.where(moving, 0.4, 0.2), touch, 1) & clear
    hard &= ~(standing & crossing[None])  # a standing ego is not made better by leaving
    hit = np.any(hard, axis=2)
    first = np.where(hit, hard.argmax(axis=2), FORECAST_STEPS)
    when = first.min(axis=1)
    whom = np.where(np.any(hit, axis=1), first.argmin(axis=1), -1)
    impact = drives.speed_mps[np.arange(count), np.minimum(when, FORECAST_STEPS - 1)]
    cost = np.where(
        whom >= 0, _COLLISION * (1.0 + (FORECAST_STEPS - when) / FORECAST_STEPS) + 100.0 * impact, 0.0
    )
    fading = np.linspace(1.0, 0.3, FORECAST_STEPS)
    cost = cost + _CLOSE * FORECAST_STEP_S * ((near & clear) * fading).sum(axis=(1, 2))
    near = meets(np.where(crossing, 1.0, 0.5), very_close, 2) & clear
    cost = cost + _VERY_CLOSE * FORECAST_STEP_S * (near * fading).sum(axis=(1, 2))
    return cost, whom


def _rules(drives: Drives, regulation: Regulation) -> Float64Array:
    """Return the cost of running red lights, yellow ones and stop signs [M]."""
    cost = np.zeros(len(drives.s_m))
    front = drives.s_m + FRONT_M
    for signal in regulation.signals:
        crossed = (front[:, :-1] <= signal.line.s_m) & (front[:, 1:] > signal.line.s_m)
        # The ego may arrive a little earlier than proposed: red counts until a reserve after its end.
        red = maximum_filter1d(signal.red, _RED_RESERVE_STEPS + 2)[:-1]
        closed = signal.closed[:-1] | signal.closed[1:]
        cost += _RULE * np.any(crossed & red, axis=1) + _YELLOW * np.any(crossed & closed, axis=1)
    if regulation.sign is not None:
        cost += _RULE * np.any(front > regulation.sign.s_m, axis=1)
    return cost
