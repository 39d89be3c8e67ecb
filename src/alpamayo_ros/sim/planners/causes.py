"""What a proposal of the expert is about: read off the proposal itself, so that its reason is true."""

from __future__ import annotations

import numpy as np

from alpamayo_ros.sim.planners.forecast import FORECAST_STEP_S, Others
from alpamayo_ros.sim.planners.paths import Ways
from alpamayo_ros.sim.planners.proposals import Drives, Wishes
from alpamayo_ros.sim.planners.reasons import Cause, Governor
from alpamayo_ros.sim.planners.route_frame import RouteFrame
from alpamayo_ros.sim.planners.rules import Regulation
from alpamayo_ros.sim.planners.stops import Stop
from alpamayo_ros.sim.roads import Float64Array

_SOON_S = 3.0
_AT_ONCE_S = 1.0
_NUDGE_M = 0.2
"""Who has less than this left to go aside has done it."""


def cause_of(
    frame: RouteFrame,
    ways: Ways,
    others: Others,
    *,
    wishes: Wishes,
    drives: Drives,
    index: int,
    stop: Stop | None,
    hit: int,
    regulation: Regulation,
    last: Governor | None,
) -> Cause:
    """Return what a proposal is about.

    Args:
        frame: the route's.
        ways: the paths.
        others: the road users.
        wishes: the proposals.
        drives: what became of them.
        index: which proposal.
        stop: where it stops.
        hit: whom it would hit, -1 for nobody.
        regulation: what applies now.
        last: what governed the plan before; it is named again as long as it plays a part.
    """
    path = int(wishes.path[index])
    soon = round(_SOON_S / FORECAST_STEP_S)
    s, v = drives.s_m[index], drives.speed_mps[index]
    governor: Governor = "free"
    kind, static, leader = "", False, -1
    if hit >= 0 and not np.isnan(wishes.brake_mps2[index]):
        governor, kind = "collision", others.kinds[hit]
    else:
        leaders = drives.leader[index, :soon]
        led = leaders[leaders != -1]
        if len(led):
            most = int(np.bincount(led + 2).argmax()) - 2
            if len(led) > soon // 3 or v[soon] < 0.5 or _named(others, regulation, most, stop)[0] == last:
                governor, kind, static = _named(others, regulation, most, stop)
                leader = most
    ahead = ways.index(np.linspace(s[0], max(s[0] + 6.0, s[soon] + 5.0), 24))
    bend = 0
    if governor == "free":
        limited = ways.bend_limited[ahead]
        if limited.any() and v[soon] < 0.95 * float(frame.at(frame.limit_mps, s[soon])):
            governor = "bend"
            turn = ways.yaw_rad[path, ahead[-1]] - ways.yaw_rad[path, ahead[0]]
            bend = 1 if turn > 0 else -1
    turning = frame.turn[np.clip(np.searchsorted(frame.s_m, ways.s_m[ahead]), 0, len(frame.s_m) - 1)]
    turn_side = int(turning[np.argmax(turning != 0)]) if (turning != 0).any() else 0
    side, around = _nudge(ways, others, path, s_now=float(s[0]), s_soon=float(ways.s_m[ahead[-1]]))
    return Cause(
        governor=governor,
        kind=kind,
        static=static,
        other_speed_mps=float(others.along_mps[leader, 0]) if leader >= 0 else 0.0,
        other_accel_mps2=_accel_mps2(others, leader) if leader >= 0 else 0.0,
        speed_change_mps=float(v[soon] - v[0]),
        speed_mps=float(v[0]),
        stands=bool(v[0] < 0.2),
        stops=bool(v[: soon + 5].min() < 0.3 and v[soon] < 0.5),
        nudge_side=side,
        nudge_kind=around,
        nudge_is_done=bool(side) and _left_to_go_m(ways, path, side, s_m=s[: soon + 1]) < _NUDGE_M,
        turn=turn_side,
        bend_side=bend,
    )


def _named(
    others: Others, regulation: Regulation, leader: int, stop: Stop | None
) -> tuple[Governor, str, bool]:
    """Return what a leader's index stands for, its kind (a light's colour), and whether it never moves."""
    if leader >= 0:
        kind = others.kinds[leader]
        if others.heading_cos[leader] < -0.5 and kind != "pedestrian":
            return "oncoming", kind, False
        return "leader", kind, bool(others.is_static[leader])
    assert stop is not None
    if stop.governor == "light":
        near = min(regulation.signals, key=lambda signal: abs(signal.line.s_m - stop.s_m))
        return "light", "red" if near.red[0] else "yellow" if near.closed[0] else "green", False
    return stop.governor, others.kinds[stop.other] if stop.other >= 0 else "", False


def _accel_mps2(others: Others, other: int) -> float:
    """Return how one gains speed along the route over the next second."""
    steps = round(_AT_ONCE_S / FORECAST_STEP_S)
    return float(others.along_mps[other, steps] - others.along_mps[other, 0]) / _AT_ONCE_S


def _left_to_go_m(ways: Ways, path: int, side: int, *, s_m: Float64Array) -> float:
    """Return how much further to a side a path leads soon."""
    across = side * np.interp(s_m, ways.s_m, ways.l_m[path])
    return float(across.max() - across[0])


def _nudge(ways: Ways, others: Others, path: int, *, s_now: float, s_soon: float) -> tuple[int, str]:
    """Return to which side, and around what, a path moves over soon."""
    for nudge in ways.nudges[path]:
        low, high = others.s_low_m[nudge.other, 0], others.s_high_m[nudge.other, 0]
        if nudge.offset_m > 0.15 and s_now - 1.0 < high and low - 12.0 < s_soon:
            return nudge.side, others.kinds[nudge.other]
    return 0, ""
