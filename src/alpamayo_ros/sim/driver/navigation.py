"""A route as AlpaSim tells it, as the navigation text that Alpamayo knows and as numbers with their validity.

A turn is a heading that changes by over 30 degrees within the route; it is announced for where the heading
has changed by 15. The words are those of our own scenes, see sim/navigation_text.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from alpamayo_ros.sim.navigation_text import BEGUN_RAD, STRAIGHT_TEXT, TURN_RAD, with_distance
from alpamayo_ros.sim.protocol.egodriver_messages import Route
from alpamayo_ros.sim.roads import Float64Array
from alpamayo_ros.types import InvalidInput, require_array, require_finite

Maneuver = Literal["none", "straight", "left", "right"]

ROUTE_AGE_US = 1_000_000
"""A route is told every step; one that is older than this leads from another place."""
_SHORTEST_M = 0.05
"""Points closer than this are one: between them there is no direction."""


@dataclass(frozen=True, eq=False)
class Guidance:
    """What a route says.

    Attributes:
        points_in_rig: float64 [N, 3] m in the rig at the route's stamp, without its padding; N may be 0.
        maneuver: "none" where there is no route.
        distance_m: along the route to where a turn begins; None where there is no turn.
        instruction: the text for the planner, "" for none.
    """

    points_in_rig: Float64Array
    maneuver: Maneuver = "none"
    distance_m: float | None = None
    instruction: str = ""

    def __post_init__(self) -> None:
        require_array("guidance: points_in_rig", self.points_in_rig, (None, 3), np.float64)
        require_finite("guidance: points_in_rig", self.points_in_rig)
        if (self.distance_m is None) == (self.maneuver in ("left", "right")):
            raise InvalidInput(
                f"guidance: expected a distance with a turn and none without, got {self.distance_m} m with "
                f"maneuver {self.maneuver!r}"
            )


def guide(route: Route) -> Guidance:
    """Return what a route says; one of fewer than two places says nothing."""
    points = route.points_in_rig
    path = _without_repeats(points[:, :2])
    if len(path) < 2:
        return Guidance(points)
    steps = np.diff(path, axis=0)
    lengths = np.linalg.norm(steps, axis=1)
    headings = np.unwrap(np.arctan2(steps[:, 1], steps[:, 0]))
    # A segment's heading is that of its middle.
    middles_m = np.cumsum(lengths) - 0.5 * lengths
    changes = headings - headings[0]
    turning = np.flatnonzero(np.abs(changes) > TURN_RAD)
    if not len(turning):
        return Guidance(points, "straight", None, STRAIGHT_TEXT)
    first = int(turning[0])
    side: Literal["left", "right"] = "left" if changes[first] > 0 else "right"
    distance_m = _where_begun(middles_m, np.sign(changes[first]) * changes, first)
    return Guidance(points, side, distance_m, with_distance(f"Turn {side}", distance_m))


def _without_repeats(points: Float64Array) -> Float64Array:
    """Return points [N, 2] without those that repeat the one kept before them."""
    kept: list[Float64Array] = []
    for point in points:
        if not kept or float(np.linalg.norm(point - kept[-1])) > _SHORTEST_M:
            kept.append(point)
    return np.array(kept, np.float64).reshape(-1, 2)


def _where_begun(at_m: Float64Array, changes: Float64Array, first: int) -> float:
    """Return where the change of heading passes 15 degrees for the last time before `first`, interpolated."""
    before = first - 1
    while before > 0 and changes[before] > BEGUN_RAD:
        before -= 1
    low, high = changes[before], changes[before + 1]
    share = (BEGUN_RAD - low) / (high - low)
    return float(at_m[before] + share * (at_m[before + 1] - at_m[before]))
