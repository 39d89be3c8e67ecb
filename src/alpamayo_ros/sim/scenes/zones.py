"""Where the ways of two road users meet, and who may go first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.sim.scenes.bodies import GRID_M
from alpamayo_ros.sim.scenes.paths import Path


@dataclass(frozen=True)
class Zone:
    """Where the ways of two road users meet: intervals of arc length on each one's path."""

    mine: tuple[float, float]
    other: tuple[float, float]
    merging: bool


def find_zones(
    mine: Path, other: Path, *, width_m: float, mine_from_m: float, other_from_m: float
) -> list[Zone]:
    """Return where two ways meet, without those on which one follows the other from the start.

    Args:
        mine: my way.
        other: the other's.
        width_m: distance of the two centre lines below which bodies would touch.
        mine_from_m: from where on my way counts.
        other_from_m: from where on the other's counts.
    """
    a_s = np.arange(mine_from_m, mine.length_m, GRID_M)
    b_s = np.arange(other_from_m, other.length_m, GRID_M)
    if not len(a_s) or not len(b_s):
        return []
    a, a_yaw, _ = mine.sample(a_s)
    b, b_yaw, _ = other.sample(b_s)
    apart = (a[:, None, 0] - b[None, :, 0]) ** 2 + (a[:, None, 1] - b[None, :, 1]) ** 2
    touch = np.asarray(apart < width_m**2)
    rows: NDArray[np.bool_] = np.any(touch, axis=1)
    starts = np.flatnonzero(rows & ~np.concatenate([[False], rows[:-1]]))
    zones = []
    for first in starts:
        behind = np.flatnonzero(~rows[first:])
        last = first + int(behind[0]) - 1 if len(behind) else len(rows) - 1
        columns = np.flatnonzero(touch[first : last + 1].any(axis=0))
        low, high = int(columns[0]), int(columns[-1])
        entry = int(np.flatnonzero(touch[first])[0])
        same_way = np.cos(a_yaw[first] - b_yaw[entry]) > 0.3
        if same_way and (first == 0 or low == 0):
            continue
        merging = bool(np.cos(a_yaw[last] - b_yaw[high]) > 0.7 and same_way and last - first > 12)
        if merging:
            last, high = min(last, int(first) + 12), min(high, low + 12)
        zones.append(
            Zone((float(a_s[first]), float(a_s[last])), (float(b_s[low]), float(b_s[high])), merging)
        )
    return zones


@dataclass(frozen=True)
class Approach:
    """One road user as another one judges it at a zone: its centre's arc length, speed, half length."""

    s_m: float
    speed_mps: float
    half_m: float
    likely_mps: float
    """The speed that it may soon have (for one that has just set off)."""


def may_enter(zone: Zone, me: Approach, other: Approach, *, accel_mps2: float, margin_s: float) -> bool:
    """Return whether I can go through a zone before the other comes, or only after it has left."""
    other_out = zone.other[1] + other.half_m
    if other.s_m > other_out:
        return True
    other_speed = max(other.speed_mps, 0.1)
    other_in_m = zone.other[0] - other.half_m - other.s_m
    if other.speed_mps < 0.3 and other_in_m > 1.0:
        # It stands and is not there yet: it counts by the time that it needs to set off.
        other_in_s = np.sqrt(2 * other_in_m / 1.5) + 1.0
    else:
        fast = max(other_speed, other.likely_mps if other_in_m < 60 else other_speed)
        other_in_s = max(other_in_m, 0.0) / fast
    enter_m = max(zone.mine[0] - me.half_m - me.s_m, 0.0)
    leave_m = max(zone.mine[1] + me.half_m - me.s_m, 0.0)
    if zone.merging:
        # Joining: be ahead by a headway, not much slower.
        mine_s = _travel_time(enter_m, me.speed_mps, accel_mps2)
        slower = max(0.0, other_speed - me.speed_mps)
        if mine_s + margin_s * (1.0 + 0.2 * slower) < other_in_s:
            return True
    elif _travel_time(leave_m, me.speed_mps, accel_mps2) + margin_s < other_in_s:
        return True
    other_out_s = (other_out - other.s_m) / other_speed
    return other_out_s + margin_s * 0.5 < enter_m / max(me.speed_mps, 0.5)


def _travel_time(distance_m: float, speed_mps: float, accel_mps2: float) -> float:
    """Return how long a distance takes at constant acceleration."""
    return float((np.sqrt(speed_mps**2 + 2 * accel_mps2 * distance_m) - speed_mps) / accel_mps2)
