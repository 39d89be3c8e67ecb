"""What the scripted driver of a scene is told: how fast, where aside, for whom it waits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from alpamayo_ros.sim.roads import Float64Array
from alpamayo_ros.sim.scene import EGO_BOX_IN_RIG_M, EGO_SIZE_XYZ_M
from alpamayo_ros.sim.scenes.agents import StopPoint
from alpamayo_ros.sim.scenes.bodies import (
    GRID_M,
)
from alpamayo_ros.sim.scenes.paths import Path, smooth_step

FRONT_M = EGO_BOX_IN_RIG_M[0] + EGO_SIZE_XYZ_M[0] / 2
"""From the ego's rear axle to its front."""


@dataclass(frozen=True)
class Shift:
    """Drive `offset_m` (to the left) beside the lane centre from `from_m` to `to_m` along the route's path.

    The change takes `ramp_m` before and after; the speed in between is at most `speed_mps`.
    """

    from_m: float
    to_m: float
    offset_m: float
    ramp_m: float
    speed_mps: float = 60.0


@dataclass(frozen=True)
class Passing:
    """Overtake a slow agent: shift aside behind it once it is safe, return when past."""

    actor_id: str
    offset_m: float
    after_s: float = 0.0


@dataclass(frozen=True)
class SlowDown:
    """Drive at most `speed_mps` between two places of the route's path."""

    from_m: float
    to_m: float
    speed_mps: float


@dataclass(frozen=True)
class DriverScript:
    """What the reference driver does in a scene.

    Attributes:
        start_s_m, start_mps: where on the route's path its rear axle is, and how fast, at the start.
        cruise_mps: what it wants to drive.
        lateral_mps2: how fast it takes curves.
        headway_s: how it follows.
        shifts, slow: where it leaves the lane centre, and where it slows down.
        passing: whom it overtakes.
        stops: lights and stop signs on its way (arc length of the line).
        yields_to: agents to which it gives way where ways meet.
        hold_s: for agents in `yields_to`, the distance before the zone at which it waits.
        ignores: agents that it does not take for leaders (their ways are kept apart by the script).
        anticipates: agents whose next lateral move it sees coming.
    """

    start_s_m: float
    start_mps: float
    cruise_mps: float
    lateral_mps2: float = 1.8
    headway_s: float = 1.5
    shifts: tuple[Shift, ...] = ()
    slow: tuple[SlowDown, ...] = ()
    passing: tuple[Passing, ...] = ()
    stops: tuple[StopPoint, ...] = ()
    yields_to: tuple[str, ...] = ()
    hold_m: float = 2.5
    margin_s: float = 1.5
    ignores: tuple[str, ...] = ()
    anticipates: tuple[str, ...] = ()


def shift_offsets(path: Path, shifts: Sequence[Shift]) -> Float64Array:
    """Return the lateral offset [N] at the samples of the route's path that shifts make together."""
    s = path.s_m
    offset = np.zeros(len(s))
    for shift in shifts:
        there = smooth_step(s, shift.from_m - shift.ramp_m, shift.from_m)
        back = smooth_step(s, shift.to_m, shift.to_m + shift.ramp_m)
        offset += shift.offset_m * (there - back)
    return offset


def route_speed_limits(lanes: Sequence[tuple[float, float]]) -> Float64Array:
    """Return the signed speed every GRID_M from (length, limit) of the route's lanes in turn."""
    total = sum(length for length, _ in lanes)
    ends = np.cumsum([length for length, _ in lanes])
    at = np.arange(int(total / GRID_M) + 2) * GRID_M
    index = np.minimum(np.searchsorted(ends, at, side="right"), len(lanes) - 1)
    return np.array([limit for _, limit in lanes])[index]
