"""Which critical component a reasoning names, so that it can be compared with the scene's own.

No grammar: nouns that stand for a component, looked for clause by clause. Whoever is on the road comes before
the road; that the road is free counts only where nothing else is named.
"""

from __future__ import annotations

import re

from alpamayo_ros.sim.planners.reasons import Component

_VEHICLE = r"(?:car|van|truck|bus|vehicle|suv|motorcycle)"
_LEAD = (
    rf"(?:lead(?:ing)? {_VEHICLE}|(?<!parked )(?<!oncoming )(?<!crossing ){_VEHICLE}s? "
    r"(?:directly )?(?:ahead|in front)(?! of the ego's lane)|vehicle queue|queue of vehicles)"
)
_BRAKES = r"(?:brak(?:es|ing)|slowing(?: down)?|decelerat(?:es|ing))"

_THINGS: tuple[tuple[Component, re.Pattern[str]], ...] = tuple(
    (component, re.compile(pattern))
    for component, pattern in (
        (
            Component.LIGHT,
            r"\b(?:traffic |red |yellow |amber )+(?:light|signal)s?\b|\bthe (?:light|signal) is\b",
        ),
        (Component.STOP_SIGN, r"\bstop signs?\b"),
        (Component.PEDESTRIAN, r"\b(?:pedestrian|person|people|child|children)s?\b(?! crossing sign)"),
        (Component.CYCLIST, r"\b(?:cyclist|bicyclist|bicycle|bike)s?\b"),
        (Component.CONES, r"\bcones?\b|\bconstruction\b"),
        (Component.ONCOMING, rf"\boncoming (?:{_VEHICLE}|traffic)s?\b"),
        (
            Component.CROSSING_VEHICLE,
            rf"\b(?:cross(?:ing)?(?:-| )(?:{_VEHICLE}|traffic)|cross traffic)s?\b"
            rf"|\b{_VEHICLE}s? (?:(?:is|are) )?"
            r"(?:crossing|entering|cutting|about to (?:block|enter|cut)|from the)\b",
        ),
        (
            Component.PARKED,
            rf"\b(?:parked|stationary|stopped) {_VEHICLE}s?\b|\bobstacles?\b"
            rf"|\b{_VEHICLE}s? (?:that is )?(?:parked|blocking)\b",
        ),
        (Component.BRAKING_LEAD, rf"\b{_LEAD}(?: ahead)? (?:(?:is|are) )?{_BRAKES}\b|\bbraking {_LEAD}"),
        (Component.LEAD, rf"\b{_LEAD}\b"),
    )
)
"""Of two that begin at the same place the first counts."""
_ROUTE: tuple[tuple[Component, re.Pattern[str]], ...] = (
    (Component.CURVE, re.compile(r"\b(?:curves?|bends?|curving)\b")),
    (
        Component.TURN,
        re.compile(r"\b(?:turn(?:s|ing)? (?:left|right)|(?:left|right)(?: |-)turn|junction|intersection)\b"),
    ),
)
_FREE = re.compile(r"\b(?:lane|road|path|way)\b[^,.;]*\b(?:clear|free|unobstructed|empty)\b|\broad ahead\b")
_CLAUSES = re.compile(r"[.;:!?,\n]+")


def component_of_text(text: str) -> Component | None:
    """Return the critical component that a reasoning names first, None if it names none.

    A clause's road users, signals and obstacles come before its curve or junction: "yield to the oncoming car
    before turning left" is about the car. FREE is what says that the way is clear, and no more than that.
    """
    clauses = _CLAUSES.split(text.lower().replace("_", " "))
    for clause in clauses:
        found = [
            (match.start(), rank, component)
            for rank, (component, pattern) in enumerate(_THINGS)
            if (match := pattern.search(clause)) is not None
        ]
        if found:
            return min(found, key=lambda each: each[:2])[2]
        for component, pattern in _ROUTE:
            if pattern.search(clause) is not None:
                return component
    return Component.FREE if any(_FREE.search(clause) for clause in clauses) else None
