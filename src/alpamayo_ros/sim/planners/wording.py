"""How the expert says why: one sentence in the manner of Alpamayo's Chain-of-Causation, true to the plan.

The manoeuvre along the road and what causes it; a second manoeuvre across the road where there is one. Each
Cause can be said in many ways, built of few words: what a small model has to learn is the scene, not English.
Verbs are of those that safety/intent.py reads, so that each sentence can be held against its waypoints.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from itertools import product

from alpamayo_ros.sim.planners.reasons import Cause, Component, Manoeuvre

_SIDES = {1: "left", -1: "right"}
_NAMES = {"cone": "construction cones"}
"""Of the kinds (sim/scene.py) that are not called by their own name."""

_VERBS: Mapping[Manoeuvre, tuple[str, ...]] = {
    Manoeuvre.HOLD: ("Remain stopped", "Stay stopped", "Keep waiting"),
    Manoeuvre.STOP: ("Stop", "Come to a stop", "Slow down to a stop"),
    Manoeuvre.BRAKE: ("Brake hard", "Brake firmly"),
    Manoeuvre.SLOW: ("Slow down", "Decelerate", "Reduce speed"),
    Manoeuvre.CREEP: ("Creep forward carefully", "Inch forward carefully"),
    Manoeuvre.KEEP: ("Prepare to slow down", "Get ready to slow down"),
    Manoeuvre.START: ("Start moving carefully", "Move off carefully"),
    Manoeuvre.ACCELERATE: ("Accelerate only gently", "Speed up only gently"),
}
"""What is said where something ahead holds the vehicle back."""
_FREE_VERBS: Mapping[Manoeuvre, tuple[str, ...]] = {
    **_VERBS,
    Manoeuvre.CREEP: ("Creep forward", "Inch forward"),
    Manoeuvre.KEEP: ("Keep lane and speed", "Maintain speed", "Keep the current speed"),
    Manoeuvre.START: ("Start moving", "Move off"),
    Manoeuvre.ACCELERATE: ("Accelerate", "Speed up", "Pick up speed"),
}
_SLOWER = frozenset({Manoeuvre.HOLD, Manoeuvre.STOP, Manoeuvre.BRAKE, Manoeuvre.SLOW})
_PAUSES = frozenset({Manoeuvre.HOLD, Manoeuvre.STOP})
_CONJUNCTIONS = ("since", "because")
_NUDGES = (
    "nudge to the {side} to increase clearance from the {thing}",
    "nudge to the {side} to keep clear of the {thing}",
    "shift to the {side} to pass the {thing}",
    "steer to the {side} around the {thing}",
)


def sentence(cause: Cause, *, seed: int | str | None = None) -> str:
    """Return the reasoning of a plan.

    Args:
        cause: what it is about.
        seed: chooses the wording, the same one each time; by default the first and plainest is taken.
    """
    ways = sentences(cause)
    if seed is None:
        return ways[0]
    digest = hashlib.sha256(str(seed).encode()).digest()
    return ways[int.from_bytes(digest[:8], "big") % len(ways)]


def sentences(cause: Cause) -> tuple[str, ...]:
    """Return all that the reasoning of a plan may be, the plainest first; all of them are true."""
    nudges = _nudges(cause) if cause.goes_around and not cause.nudge_is_done else ()
    if nudges and _is_free(cause) and cause.manoeuvre is Manoeuvre.KEEP:
        found = nudges
    else:
        along = _along(cause)
        # One way to nudge for each way to say the rest, in turn: all pairs would be too many to learn.
        found = along
        if nudges:
            many = max(len(along), len(nudges))
            found = tuple(f"{along[i % len(along)]}, and {nudges[i % len(nudges)]}" for i in range(many))
    return tuple(dict.fromkeys(f"{text[0].upper()}{text[1:]}." for text in found))


def _is_free(cause: Cause) -> bool:
    return cause.governor == "free"


def _nudges(cause: Cause) -> tuple[str, ...]:
    side = _SIDES[cause.nudge_side]
    return tuple(way.format(side=side, thing=thing) for thing, way in product(_things(cause), _NUDGES))


def _things(cause: Cause) -> tuple[str, ...]:
    """Return names of what is driven around: it is on the other side."""
    other = _SIDES[-cause.nudge_side]
    if cause.nudge_kind == "cone":
        return ("construction cones encroaching into the lane", f"construction cones on the {other}")
    if cause.nudge_kind == "cyclist":
        return ("cyclist riding ahead", f"cyclist on the {other}")
    if cause.nudge_kind == "pedestrian":
        return ("pedestrian at the side of the road", f"pedestrian on the {other}")
    name = _NAMES.get(cause.nudge_kind, cause.nudge_kind)
    return (f"parked {name} on the {other}", f"parked {name} ahead")


def _along(cause: Cause) -> tuple[str, ...]:
    """Return the ways to say what the vehicle does along the road, and why, without a full stop."""
    if _is_free(cause) and cause.goes_around:
        # What is driven around is named with the nudge that follows, if one does.
        return _passing(cause) if cause.nudge_is_done else _FREE_VERBS[cause.manoeuvre]
    return _SPEAKERS[cause.component](cause)


def _say(cause: Cause, *, purposes: tuple[str, ...] = (), grounds: tuple[str, ...]) -> tuple[str, ...]:
    """Return verb and purpose ("to yield to ...") or verb and ground ("since ...").

    A purpose goes with getting slower alone: nobody accelerates to yield.
    """
    reasons = [f"{word} {ground}" for ground, word in product(grounds, _CONJUNCTIONS)]
    if cause.manoeuvre in _SLOWER:
        reasons = [*purposes, *reasons]
    return tuple(f"{verb} {reason}" for reason, verb in product(reasons, _VERBS[cause.manoeuvre]))


def _light(cause: Cause) -> tuple[str, ...]:
    if cause.kind == "green":
        # It will have changed by then. Nobody can see that yet, so it is not said.
        if cause.manoeuvre in _SLOWER:
            return tuple(f"{verb} for the traffic light ahead" for verb in _VERBS[cause.manoeuvre])
        return _say(cause, grounds=("there is a traffic light ahead",))
    if cause.manoeuvre is Manoeuvre.KEEP:
        return tuple(
            f"{verb} to stop {reason}"
            for reason, verb in product(
                (
                    f"for the {cause.kind} traffic light ahead",
                    f"since the traffic light ahead is {cause.kind}",
                ),
                ("Prepare", "Get ready"),
            )
        )
    purposes = [f"for the {cause.kind} traffic light ahead"]
    if cause.manoeuvre in _PAUSES:
        purposes.append(f"at the {cause.kind} traffic light")
    return _say(cause, purposes=tuple(purposes), grounds=(f"the traffic light ahead is {cause.kind}",))


def _sign(cause: Cause) -> tuple[str, ...]:
    if cause.manoeuvre is Manoeuvre.KEEP:
        return (
            "Prepare to stop for the stop sign ahead",
            "Get ready to stop since there is a stop sign ahead",
        )
    purposes = ["for the stop sign ahead"]
    if cause.manoeuvre in _PAUSES:
        purposes.append("at the stop sign")
    return _say(cause, purposes=tuple(purposes), grounds=("there is a stop sign ahead",))


def _pedestrian(cause: Cause) -> tuple[str, ...]:
    if cause.governor == "crossing":
        return _say(
            cause,
            purposes=("to yield to the pedestrian crossing the road", "to let the pedestrian cross"),
            grounds=("a pedestrian is crossing the road",),
        )
    if cause.governor == "collision":
        return _say(cause, grounds=("the pedestrian is about to step into our path",))
    return _say(
        cause,
        purposes=("for the pedestrian on the road ahead",),
        grounds=("a pedestrian is on the road ahead",),
    )


def _cyclist(cause: Cause) -> tuple[str, ...]:
    if cause.governor == "crossing":
        return _say(
            cause,
            purposes=("to yield to the cyclist crossing our path", "to let the cyclist pass"),
            grounds=("a cyclist is crossing our path",),
        )
    if cause.governor == "collision":
        return _say(cause, grounds=("the cyclist is about to enter our path",))
    return _follow(cause, "cyclist")


def _lead(cause: Cause) -> tuple[str, ...]:
    return _follow(cause, "lead vehicle")


def _follow(cause: Cause, lead: str) -> tuple[str, ...]:
    """Return what is said of someone who drives ahead in our lane."""
    if cause.manoeuvre is Manoeuvre.KEEP:
        return (
            f"Keep distance to the {lead} since it is directly ahead in our lane",
            f"Keep a safe distance to the {lead} ahead",
            f"Maintain a safe distance to the {lead} ahead",
            f"Follow the {lead} ahead in our lane",
        )
    if cause.manoeuvre in (Manoeuvre.START, Manoeuvre.ACCELERATE, Manoeuvre.CREEP):
        reasons = (
            f"to follow the {lead} ahead",
            f"behind the {lead} ahead",
            f"behind the {lead} in our lane",
        )
        verbs = _FREE_VERBS[cause.manoeuvre]
        return tuple(f"{verb} {reason}" for reason, verb in product(reasons, verbs))
    if cause.lead_stands:
        return _say(
            cause,
            purposes=(f"behind the {lead} stopped ahead",),
            grounds=(f"the {lead} ahead is stopped", f"the {lead} is stopped in our lane"),
        )
    return _say(
        cause,
        purposes=(f"to keep a safe distance to the {lead} ahead", f"behind the {lead} in our lane"),
        grounds=(f"the {lead} is close ahead",),
    )


def _braking_lead(cause: Cause) -> tuple[str, ...]:
    return _say(
        cause,
        purposes=("to keep a safe distance to the braking lead vehicle",),
        grounds=("the lead vehicle is braking", "the lead vehicle ahead is braking"),
    )


def _blocked(cause: Cause) -> tuple[str, ...]:
    """Return what is said of something in our lane that never moves."""
    what, verb = _NAMES.get(cause.kind, f"parked {cause.kind}"), "is"
    if cause.kind == "cone":
        verb = "are"
    the = "" if cause.kind == "cone" else "a "
    return _say(
        cause,
        purposes=(f"behind the {what} blocking the lane", f"for the {what} ahead"),
        grounds=(f"{the}{what} {verb} blocking the lane",),
    )


def _crossing_vehicle(cause: Cause) -> tuple[str, ...]:
    if cause.governor == "collision":
        return _say(
            cause,
            grounds=(
                f"the {cause.kind} is about to block our path",
                f"the {cause.kind} is entering our path",
            ),
        )
    return _say(
        cause,
        purposes=(
            f"to yield to the {cause.kind} crossing our path",
            f"to give way to the crossing {cause.kind}",
        ),
        grounds=(f"a {cause.kind} is crossing our path",),
    )


def _oncoming(cause: Cause) -> tuple[str, ...]:
    kind = cause.kind
    if cause.turn:
        turn = f"before turning {_SIDES[cause.turn]} at the junction"
        return _say(
            cause,
            purposes=(f"to yield to the oncoming {kind} {turn}", f"to let the oncoming {kind} pass {turn}"),
            grounds=(f"the oncoming {kind} has priority at the junction",),
        )
    return _say(
        cause,
        purposes=(f"to give way to the oncoming {kind}", f"to let the oncoming {kind} pass"),
        grounds=(f"the oncoming {kind} needs the space",),
    )


def _curve(cause: Cause) -> tuple[str, ...]:
    side = _SIDES[cause.bend_side or 1]
    if cause.manoeuvre is Manoeuvre.KEEP:
        return (
            f"Keep a moderate speed for the {side} curve ahead",
            f"Keep a steady speed for the {side} curve",
            f"Keep a moderate speed since the road curves to the {side}",
        )
    return _say(cause, purposes=(f"for the {side} curve ahead",), grounds=(f"the road curves to the {side}",))


def _turn(cause: Cause) -> tuple[str, ...]:
    side = _SIDES[cause.turn]
    if cause.manoeuvre in _SLOWER:
        return _say(
            cause,
            purposes=(f"for the {side} turn at the junction", f"to turn {side} at the junction"),
            grounds=(f"the route turns {side} at the junction",),
        )
    if cause.manoeuvre in (Manoeuvre.START, Manoeuvre.ACCELERATE) and cause.governor == "bend":
        verbs = _VERBS[cause.manoeuvre]
        return tuple(f"{verb} in the {side} turn at the junction" for verb in verbs)
    if cause.governor == "bend":
        return (
            f"Keep a low speed for the {side} turn at the junction",
            f"Turn {side} at the junction at a low speed",
            f"Make the {side} turn at the junction at a low speed",
        )
    turns = (f"Turn {side} at the junction", f"Make the {side} turn at the junction")
    grounds = ("the path is clear", "the way is clear")
    return tuple(f"{turn} {word} {ground}" for ground, word, turn in product(grounds, _CONJUNCTIONS, turns))


def _free(cause: Cause) -> tuple[str, ...]:
    if cause.manoeuvre in _SLOWER:
        return tuple(f"{verb} to adapt to the road ahead" for verb in _VERBS[cause.manoeuvre])
    grounds = ("the lane ahead is clear", "the road ahead is clear")
    return tuple(
        f"{verb} {word} {ground}"
        for ground, word, verb in product(grounds, _CONJUNCTIONS, _FREE_VERBS[cause.manoeuvre])
    )


def _passing(cause: Cause) -> tuple[str, ...]:
    """Return what is said beside an obstacle: the way to the side is done, the way back comes."""
    things = _things(cause)
    if cause.manoeuvre is Manoeuvre.KEEP:
        verbs: tuple[str, ...] = ("Keep a safe distance to the", "Maintain a safe distance to the")
    else:
        how = "beside the" if cause.manoeuvre in _PAUSES else "past the"
        if cause.manoeuvre in (Manoeuvre.SLOW, Manoeuvre.BRAKE):
            how = "to pass the"
        verbs = tuple(f"{verb} {how}" for verb in _FREE_VERBS[cause.manoeuvre])
    return tuple(f"{verb} {thing}" for thing, verb in product(things, verbs))


_SPEAKERS: Mapping[Component, Callable[[Cause], tuple[str, ...]]] = {
    Component.LEAD: _lead,
    Component.BRAKING_LEAD: _braking_lead,
    Component.CYCLIST: _cyclist,
    Component.PEDESTRIAN: _pedestrian,
    Component.CONES: _blocked,
    Component.PARKED: _blocked,
    Component.CROSSING_VEHICLE: _crossing_vehicle,
    Component.ONCOMING: _oncoming,
    Component.LIGHT: _light,
    Component.STOP_SIGN: _sign,
    Component.CURVE: _curve,
    Component.TURN: _turn,
    Component.FREE: _free,
}
