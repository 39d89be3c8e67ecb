"""Why the expert drives as it does, in the wording of Alpamayo's Chain-of-Causation, and true to the plan.

One sentence: the manoeuvre along the road, and what causes it; a second manoeuvre across the road where there
is one. Everything is read off the plan itself: the leader that governed it, the line that it stops at, the
obstacle that it goes around.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Governor = Literal["free", "leader", "light", "sign", "crossing", "oncoming", "bend", "collision"]

_CREEPING_MPS = 1.0
_NAMES = {
    "car": "car",
    "van": "van",
    "truck": "truck",
    "pedestrian": "pedestrian",
    "cyclist": "cyclist",
    "cone": "construction cones",
}


@dataclass(frozen=True)
class Cause:
    """What a plan is about.

    Attributes:
        governor: what limits its speed in the next seconds.
        kind: kind of the road user or obstacle that does, of a light its colour now, "" if none.
        static: whether that one never moves.
        speed_change_mps: over the next 3 s.
        speed_mps: now.
        stands: whether the ego stands now.
        stops: whether the plan comes to a stand.
        nudge_side: +1 where it moves to the left around something in the next seconds, −1 right, 0 not.
        nudge_kind: around what.
        turn: +1 where the route turns left in a junction soon, −1 right, 0 not.
        bend_side: +1 for a bend to the left.
    """

    governor: Governor
    kind: str = ""
    static: bool = False
    speed_change_mps: float = 0.0
    speed_mps: float = 0.0
    stands: bool = False
    stops: bool = False
    nudge_side: int = 0
    nudge_kind: str = ""
    turn: int = 0
    bend_side: int = 0


def sentence(cause: Cause) -> str:
    """Return the reasoning of a plan."""
    along = _along(cause)
    if cause.nudge_side:
        side = "left" if cause.nudge_side > 0 else "right"
        what = _NAMES.get(cause.nudge_kind, "obstacle")
        doing = {
            "cone": "encroaching into the lane",
            "cyclist": "riding ahead at the side of the lane",
        }.get(cause.nudge_kind, "standing in the way")
        nudge = f"to the {side} to increase clearance from the {what} {doing}"
        if cause.governor == "free":
            return f"Nudge {nudge}."
        return f"{along}, and nudge {nudge}."
    return f"{along}."


def _along(cause: Cause) -> str:
    """Return the manoeuvre along the road and its cause, without a full stop."""
    slowing = cause.speed_change_mps < -0.7
    if cause.stands and cause.stops:
        verb = "Remain stopped"
    elif cause.stops:
        verb = "Stop"
    elif slowing:
        verb = "Slow down"
    elif cause.speed_mps < _CREEPING_MPS:
        verb = "Creep forward"
    else:
        verb = "Keep a moderate speed"
    what = _NAMES.get(cause.kind, "obstacle")
    if cause.governor == "light":
        if cause.kind == "green":
            return f"{verb} for the traffic light ahead since it is about to turn red"
        return f"{verb} for the {cause.kind} traffic light ahead"
    if cause.governor == "sign":
        return f"{verb} for the stop sign ahead"
    if cause.governor == "crossing":
        if cause.kind == "pedestrian":
            return f"{verb} to yield to the pedestrian crossing the road"
        return f"{verb} to yield to the {what} crossing our path"
    if cause.governor == "oncoming" and cause.turn:
        side = "left" if cause.turn > 0 else "right"
        return f"{verb} to yield to the oncoming {what} before turning {side} at the junction"
    if cause.governor == "oncoming":
        return f"{verb} to give way to the oncoming {what} in the narrow passage"
    if cause.governor == "leader":
        return _following(cause, verb, what, slowing=slowing)
    if cause.governor == "bend":
        side = "left" if cause.bend_side > 0 else "right"
        if cause.turn:
            return f"{'Slow down' if slowing else 'Keep a low speed'} for the {side} turn at the junction"
        return f"{'Slow down' if slowing else 'Adapt speed'} for the {side} curve ahead"
    if cause.governor == "collision":
        return f"Brake hard since the {what} is about to block our path"
    if cause.turn:
        return f"Turn {'left' if cause.turn > 0 else 'right'} at the junction since the path is clear"
    if cause.speed_change_mps > 0.7:
        start = "Start moving" if cause.speed_mps < 0.5 else "Accelerate"
        return f"{start} since the lane ahead is clear"
    return "Keep lane and speed since the lane ahead is clear"


def _following(cause: Cause, verb: str, what: str, *, slowing: bool) -> str:
    if cause.kind == "pedestrian":
        return f"{verb} since a pedestrian is on the road ahead"
    if cause.static:
        return f"{verb} behind the {what} blocking the lane"
    lead = "cyclist" if cause.kind == "cyclist" else "lead vehicle"
    if cause.stops or cause.stands:
        return f"{verb} behind the {lead} since it is stopped ahead in our lane"
    if slowing:
        return f"Slow down to keep a safe distance to the {lead} ahead in our lane"
    return f"Keep distance to the {lead} since it is directly ahead in our lane"
