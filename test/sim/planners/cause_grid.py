"""All sorts of causes that a plan can have, and for each a plan that does what the cause says."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np

from alpamayo_ros.sim.planners.motion import Motion, make_plan
from alpamayo_ros.sim.planners.reasons import Cause
from alpamayo_ros.types import NUM_WAYPOINTS, Plan

SPEEDS = ((0.0, 0.0, True), (0.0, 3.0, False), (0.4, 0.2, False), (3.0, -3.0, True), (8.0, -5.0, False))
SPEEDS += ((9.0, 0.3, False), (6.0, 2.5, False), (14.0, -0.9, False))
"""Speed now, its change over 3 s, whether the plan stops."""
GOVERNORS: tuple[dict[str, object], ...] = (
    {"governor": "free"},
    {"governor": "free", "turn": 1},
    {"governor": "bend", "bend_side": -1},
    {"governor": "bend", "bend_side": 1, "turn": 1},
    {"governor": "bend", "bend_side": 1, "turn": -1},
    {"governor": "light", "kind": "red"},
    {"governor": "light", "kind": "yellow"},
    {"governor": "light", "kind": "green"},
    {"governor": "sign"},
    {"governor": "crossing", "kind": "pedestrian"},
    {"governor": "crossing", "kind": "cyclist"},
    {"governor": "crossing", "kind": "van"},
    {"governor": "oncoming", "kind": "truck"},
    {"governor": "oncoming", "kind": "car", "turn": -1},
    {"governor": "leader", "kind": "car", "other_speed_mps": 5.0},
    {"governor": "leader", "kind": "car", "other_speed_mps": 5.0, "other_accel_mps2": -2.0},
    {"governor": "leader", "kind": "truck"},
    {"governor": "leader", "kind": "cyclist", "other_speed_mps": 3.0},
    {"governor": "leader", "kind": "pedestrian", "other_speed_mps": 1.0},
    {"governor": "leader", "kind": "van", "static": True},
    {"governor": "leader", "kind": "cone", "static": True},
    {"governor": "collision", "kind": "car"},
    {"governor": "collision", "kind": "pedestrian"},
    {"governor": "collision", "kind": "cyclist"},
)
NUDGES: tuple[dict[str, object], ...] = (
    {},
    {"nudge_side": 1, "nudge_kind": "cone"},
    {"nudge_side": -1, "nudge_kind": "car"},
    {"nudge_side": 1, "nudge_kind": "cyclist", "nudge_is_done": True},
)


def all_causes() -> Iterator[Cause]:
    """Yield each governor at each speed, with and without a nudge."""
    for governor, (speed, change, stops), nudge in product(GOVERNORS, SPEEDS, NUDGES):
        if governor["governor"] == "collision" and change >= 0.0 and not stops:
            continue  # a plan that brakes for its life gets no faster
        yield Cause(
            **governor,  # type: ignore[arg-type]
            **nudge,  # type: ignore[arg-type]
            speed_mps=speed,
            speed_change_mps=change,
            stands=speed < 0.2,
            stops=stops,
        )


def plan_of(cause: Cause) -> Plan:
    """Return a plan that does what the cause says: its speed, its turn or bend, its way to the side."""
    times = np.arange(1, NUM_WAYPOINTS + 1) * 0.1
    later = cause.speed_mps + cause.speed_change_mps
    speed = np.interp(np.concatenate([[0.0], times]), [0.0, 3.0], [cause.speed_mps, later])
    yaw = np.zeros(NUM_WAYPOINTS + 1)
    way = np.concatenate([[0.0], np.cumsum(0.05 * (speed[1:] + speed[:-1]))])
    if cause.governor == "bend":
        # The way bends to its own side, wherever the route leads later.
        yaw += cause.bend_side * np.clip(way / 25.0, 0.0, 1.5 if cause.turn == cause.bend_side else 0.5)
    elif cause.turn:
        yaw += cause.turn * np.clip(way / 12.0, 0.0, 1.5)
    elif cause.nudge_side and not cause.nudge_is_done:
        # 0.8 m aside over 15 m, and straight on.
        yaw += cause.nudge_side * np.where(way < 15.0, 0.09 * np.sin(np.pi * way / 15.0), 0.0)
    motion = Motion(accel_mps2=np.diff(speed) / 0.1, yaw_rad=yaw, speed_mps=speed)
    return make_plan([motion], t0_ns=10**18, reasoning=[""], model="test")
