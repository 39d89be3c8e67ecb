"""Where the expert may want to stop: before lines, crossings, junctions and narrow passages."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.sim.planners.forecast import Others
from alpamayo_ros.sim.planners.paths import FRONT_M, Ways
from alpamayo_ros.sim.planners.reasons import Governor
from alpamayo_ros.sim.planners.route_frame import RouteFrame
from alpamayo_ros.sim.planners.rules import LINE_GAP_M, Regulation

_YIELD_GAP_M = {"pedestrian": 2.0}
_YIELD_GAP_DEFAULT_M = 1.2
_MAX_STOPS = 4


@dataclass(frozen=True)
class Stop:
    """A place where a proposal may stop: s of the ego's front there, why, and for whom (index or −1)."""

    s_m: float
    governor: Governor
    other: int = -1


def find_stops(
    frame: RouteFrame,
    ways: Ways,
    others: Others,
    *,
    touching: NDArray[np.bool_],
    regulation: Regulation,
    path: int,
) -> list[Stop]:
    """Return where it may be good to stop on one path, the nearest first, at most four.

    Args:
        frame: the route's.
        ways: the paths.
        others: the road users.
        touching: [N, T], when they are on this path.
        regulation: what applies now.
        path: index of the path.
    """
    front = float(ways.s_m[0]) + FRONT_M
    stops = [
        Stop(signal.line.s_m - LINE_GAP_M, "light")
        for signal in regulation.signals
        if bool(signal.closed.any())
    ]
    across = np.abs(others.heading_cos) < 0.85
    for other in range(len(others)):
        if not touching[other].any() or others.stays[other]:
            continue
        kind = others.kinds[other]
        if across[other] or kind == "pedestrian" or not touching[other, 0]:
            s = float(others.s_low_m[other][touching[other]].min())
            gap = _YIELD_GAP_M.get(kind, _YIELD_GAP_DEFAULT_M)
            governor: Governor = "oncoming" if others.heading_cos[other] < -0.5 else "crossing"
            if governor == "crossing" and others.heading_cos[other] > 0.85 and kind != "pedestrian":
                continue  # it joins our lane: following does
            stops.append(Stop(s - gap, governor, other))
            stops.extend(_before(frame, s - gap, governor, other))
        if others.heading_cos[other] < -0.5:
            beyond = ways.body_high_m[path] > frame.at(frame.lane_left_m, ways.s_m) + 0.1
            if beyond.any():
                first = float(ways.s_m[int(np.argmax(beyond))])
                stops.append(Stop(first, "oncoming", other))
    unique: list[Stop] = []
    for stop in sorted(stops, key=lambda each: each.s_m):
        if stop.s_m > front - 0.5 and all(abs(stop.s_m - known.s_m) > 1.0 for known in unique):
            unique.append(stop)
    return unique[:_MAX_STOPS]


def _before(frame: RouteFrame, s_m: float, governor: Governor, other: int) -> list[Stop]:
    """Return places to wait before a conflict at s: the crossing's or the junction's beginning."""
    places = [float(low) - 1.0 for low, high in frame.crosswalk_s_m if low - 1.0 < s_m <= high + 4.0]
    index = int(np.clip((s_m - frame.s_m[0]) / 0.5, 0, len(frame.s_m) - 1))
    if frame.in_junction[index]:
        outside = np.flatnonzero(~frame.in_junction[: index + 1])
        if len(outside):
            places.append(float(frame.s_m[outside[-1]]) - 0.5)
    return [Stop(place, governor, other) for place in places]
