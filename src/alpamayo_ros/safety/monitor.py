"""The monitor: whether a plan does what its reasoning says.

Left and right, slower and faster disagree between a model's text and its waypoints now and then. The
monitor reports that where it is plain, and says nothing where it is not: a road's bend looks like a turn, a
nudge may be over, a light may be far away.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

import numpy as np

from alpamayo_ros.safety.course import Course, course_of
from alpamayo_ros.safety.intent import Action, Intent, read_intents
from alpamayo_ros.types import Observation, Plan

_STANDING_MPS = 0.7
_TURNED_RAD = np.radians(5.0)
_NUDGE_M, _ROADS_OWN_M = 0.5, 2.5
"""Whoever gets further aside has followed the road's bends, or changed lanes: that is no nudge."""
_NUDGE_BEGINS_S = 1.0
_FORGET_S = 1.0
_TURN_RAD = np.radians(30.0)
_SHARP_TURN_RAD = np.radians(70.0)


class Agreement(Enum):
    """What the monitor says."""

    AGREES = "agrees"
    CONTRADICTS = "contradicts"
    SILENT = "says nothing"


@dataclass(frozen=True)
class MonitorVerdict:
    """What the monitor found of one candidate.

    Attributes:
        agreement: contradicts if anything that is announced is contradicted, agrees if something agrees and
            nothing is contradicted.
        intents: what the reasoning and the meta action announce.
        reason: what was announced and what the waypoints do instead; "" unless it contradicts.
    """

    agreement: Agreement
    intents: tuple[Intent, ...]
    reason: str = ""


class Monitor:
    """Judges the plans of one drive, in their order.

    It remembers since when a nudge has been announced: the text stays the same while the vehicle passes the
    obstacle and comes back, and the way back leads to the other side. So its side is judged at the beginning
    alone.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget the drive so far."""
        self._since_ns: dict[Intent, int] = {}
        self._newest_ns: dict[Intent, int] = {}

    def judge(self, plan: Plan, observation: Observation) -> MonitorVerdict:
        """Return whether the chosen candidate does what it says; a t0 that goes back is a new drive."""
        if any(plan.t0_ns < newest_ns for newest_ns in self._newest_ns.values()):
            self.clear()
        announced_s = 0.0
        for intent in _intents_of(plan, plan.chosen):
            if intent.action is Action.NUDGE:
                newest_ns = self._newest_ns.get(intent)
                if newest_ns is None or plan.t0_ns - newest_ns > _FORGET_S * 1e9:
                    self._since_ns[intent] = plan.t0_ns
                self._newest_ns[intent] = plan.t0_ns
                announced_s = max(announced_s, (plan.t0_ns - self._since_ns[intent]) / 1e9)
        return judge_reasoning(plan, observation, nudge_announced_s=announced_s)


def judge_reasoning(
    plan: Plan, observation: Observation, *, index: int | None = None, nudge_announced_s: float = 0.0
) -> MonitorVerdict:
    """Return whether a candidate does what its reasoning and its meta action say.

    Args:
        plan: the plan. Of a candidate that is not finite the monitor says nothing: that is the gate's.
        observation: what it was made from.
        index: the candidate, by default the chosen one.
        nudge_announced_s: for how long the plans before have announced the same nudge.
    """
    k = plan.chosen if index is None else index
    xyz, rot = plan.xyz_in_rig_t0[k], plan.rot_in_rig_t0[k]
    intents = _intents_of(plan, k)
    if not intents or not (np.isfinite(xyz).all() and np.isfinite(rot).all()):
        return MonitorVerdict(Agreement.SILENT, intents)
    course = course_of(xyz, rot, history_rot_in_rig_t0=observation.history_rot_in_rig_t0)
    agrees = False
    for intent in _judgeable(intents):
        if intent.action is Action.NUDGE and nudge_announced_s > _NUDGE_BEGINS_S:
            continue
        agreement, motion = (_judge_negated if intent.negated else _judge)(intent, course)
        if agreement is Agreement.CONTRADICTS:
            reason = f"expected to {intent} as the reasoning says, got a plan that {motion}"
            return MonitorVerdict(agreement, intents, reason)
        agrees |= agreement is Agreement.AGREES
    return MonitorVerdict(Agreement.AGREES if agrees else Agreement.SILENT, intents)


def _intents_of(plan: Plan, index: int) -> tuple[Intent, ...]:
    """Return what a candidate's reasoning and meta action announce."""
    sections = plan.sections[index]
    # Of a text in sections, observation and prediction are about others.
    reasoning = sections.action if sections is not None and sections.action else plan.reasoning[index]
    return tuple(dict.fromkeys((*read_intents(reasoning), *read_intents(plan.meta_action[index]))))


def _judgeable(intents: tuple[Intent, ...]) -> list[Intent]:
    """Return the intents that the coming 6.4 s can be held against.

    What comes later is not one, nor is slower and faster at once; to stand still is not asked of who stops
    first and goes on then.
    """
    now = [intent for intent in intents if not intent.later]
    said = {intent.action for intent in now if not intent.negated}
    slower = said & {Action.STOP, Action.HOLD, Action.SLOW, Action.PREPARE, Action.YIELD}
    faster = said & {Action.ACCELERATE, Action.PROCEED, Action.KEEP_SPEED}
    if slower and faster:
        now = [i for i in now if i.negated or i.action not in slower | faster]
    goes_on = {Action.PROCEED, Action.ACCELERATE, Action.STRAIGHT, Action.TURN, Action.CREEP}
    if any(intent.later and intent.action in goes_on for intent in intents):
        now = [Intent(Action.SLOW) if i == Intent(Action.STOP) else i for i in now]
    if Action.STOP in said and Action.SLOW in said:
        now = [i for i in now if i != Intent(Action.SLOW)]  # slowing down is how one stops
    return now


_Judgement = tuple[Agreement, str]
_SILENT: _Judgement = (Agreement.SILENT, "")
_AGREES: _Judgement = (Agreement.AGREES, "")


def _contradicts(motion: str) -> _Judgement:
    return Agreement.CONTRADICTS, motion


def _speeds(course: Course) -> str:
    return f"goes from {course.start_mps:.1f} to {course.end_mps:.1f} m/s"


def _rise(course: Course, mps: float, share: float) -> bool:
    """Whether it is faster soon, by more than `mps` and the share of its speed."""
    return course.soon_mps > course.start_mps + max(mps, share * course.start_mps)


def _fall(course: Course, mps: float, share: float) -> bool:
    """Whether it gets slower at any time, by more than `mps` and the share of its speed."""
    return course.slowest_mps < course.start_mps - max(mps, share * course.start_mps)


def _stop(intent: Intent, course: Course) -> _Judgement:
    if course.start_mps < _STANDING_MPS:
        if course.soon_mps > 1.5 and course.soon_m > 1.5:
            return _contradicts(f"moves off, {course.soon_m:.1f} m within 3 s")
        return _AGREES
    if course.slowest_mps < _STANDING_MPS or _fall(course, 1.5, 0.25):
        return _AGREES
    return _SILENT if _fall(course, 1.0, 0.1) else _contradicts(_speeds(course))


def _slow(intent: Intent, course: Course) -> _Judgement:
    if _fall(course, 0.5, 0.04) or course.slowest_mps < _STANDING_MPS:
        return _AGREES
    if course.start_mps < 2.0 and not _rise(course, 3.0, 0.0):
        return _SILENT
    return _SILENT if _fall(course, 0.25, 0.02) else _contradicts(_speeds(course))


def _yield(intent: Intent, course: Course) -> _Judgement:
    if _fall(course, 0.7, 0.05):
        return _AGREES
    return _contradicts(_speeds(course)) if course.soon_mps > 4.0 and _rise(course, 1.5, 0.1) else _SILENT


def _keep_speed(intent: Intent, course: Course) -> _Judgement:
    change = abs(course.soon_mps - course.start_mps)
    if change > max(1.5, 0.15 * course.start_mps):
        return _contradicts(_speeds(course))
    return _AGREES if change < max(1.0, 0.1 * course.start_mps) else _SILENT


def _keep_low_speed(intent: Intent, course: Course) -> _Judgement:
    fast = course.soon_mps > max(8.0, course.start_mps + 3.0)
    return _contradicts(_speeds(course)) if fast else _AGREES


def _accelerate(intent: Intent, course: Course) -> _Judgement:
    if course.fastest_mps > course.start_mps + max(0.5, 0.04 * course.start_mps):
        return _AGREES
    slight = course.fastest_mps > course.start_mps + max(0.15, 0.01 * course.start_mps)
    return _SILENT if slight else _contradicts(_speeds(course))


def _proceed(intent: Intent, course: Course) -> _Judgement:
    if course.start_mps < _STANDING_MPS:
        return _contradicts("stays where it is") if course.length_m < 1.0 else _AGREES
    return _contradicts(_speeds(course)) if course.end_mps < _STANDING_MPS else _AGREES


def _creep(intent: Intent, course: Course) -> _Judgement:
    fast = course.soon_mps > max(5.0, course.start_mps + 3.0)
    return _contradicts(_speeds(course)) if fast else _AGREES


def _follow(intent: Intent, course: Course) -> _Judgement:
    return _SILENT if _fall(course, 3.0, 0.3) or _rise(course, 3.0, 0.3) else _AGREES


def _straight(intent: Intent, course: Course) -> _Judgement:
    if abs(course.heading_rad) > _SHARP_TURN_RAD:
        return _contradicts(_turns(course))
    return _AGREES if abs(course.heading_rad) < _TURN_RAD else _SILENT


def _turns(course: Course) -> str:
    side = "left" if course.heading_rad > 0 else "right"
    return f"turns {abs(np.degrees(course.heading_rad)):.0f} deg to the {side}"


def _turn(intent: Intent, course: Course) -> _Judgement:
    along = intent.side * course.heading_rad
    if intent.side == 0 or along > _TURN_RAD:
        return _AGREES if abs(course.heading_rad) > _TURN_RAD else _SILENT
    if along < -_TURN_RAD:
        return _contradicts(_turns(course))
    has_turned = intent.side * course.turned_rad > _TURNED_RAD
    passes = course.length_m > 35.0 and course.slowest_mps > 5.0 and abs(course.heading_rad) < 0.2
    passes &= not has_turned
    return _contradicts(f"goes straight on for {course.length_m:.0f} m") if passes else _SILENT


def _turn_ahead(intent: Intent, course: Course) -> _Judgement:
    along = intent.side * course.heading_rad
    if along < -2 * _TURN_RAD:
        return _contradicts(_turns(course))
    return _AGREES if along > _TURN_RAD else _SILENT


def _sides(intent: Intent, course: Course) -> tuple[float, float] | None:
    """Return how far a course gets to the announced side and to the other one; None in a bend."""
    if course.left_m is None or course.right_m is None:
        return None
    return (course.left_m, course.right_m) if intent.side > 0 else (course.right_m, course.left_m)


def _change_lane(intent: Intent, course: Course) -> _Judgement:
    sides = _sides(intent, course)
    if intent.side == 0 or sides is None:
        opposite = intent.side * course.heading_rad < -_TURN_RAD
        return _contradicts(_turns(course)) if opposite else _SILENT
    towards, away = sides
    if away > 1.0 and away > towards:
        return _contradicts(f"moves {away:.1f} m to the other side")
    if max(towards, away) < 0.4 and course.length_m > 40.0:
        return _contradicts("keeps its line")
    return _AGREES if towards > 1.0 else _SILENT


def _nudge(intent: Intent, course: Course) -> _Judgement:
    sides = _sides(intent, course)
    if sides is None:
        opposite = intent.side * course.heading_rad < -1.5 * _TURN_RAD
        return _contradicts(_turns(course)) if opposite else _SILENT
    towards, away = sides
    if course.first_side != -intent.side:
        return _AGREES if towards > 0.25 and towards > 0.5 * away else _SILENT
    other_side = _NUDGE_M < away < _ROADS_OWN_M and away > 2 * towards
    return _contradicts(f"moves {away:.1f} m to the other side") if other_side else _SILENT


_RULES: Mapping[Action, Callable[[Intent, Course], _Judgement]] = {
    Action.STOP: _stop,
    Action.HOLD: _stop,
    Action.SLOW: _slow,
    Action.PREPARE: _yield,
    Action.YIELD: _yield,
    Action.KEEP_SPEED: _keep_speed,
    Action.KEEP_LOW_SPEED: _keep_low_speed,
    Action.ACCELERATE: _accelerate,
    Action.PROCEED: _proceed,
    Action.CREEP: _creep,
    Action.FOLLOW: _follow,
    Action.STRAIGHT: _straight,
    Action.KEEP_LANE: _straight,
    Action.TURN: _turn,
    Action.TURN_AHEAD: _turn_ahead,
    Action.CHANGE_LANE: _change_lane,
    Action.NUDGE: _nudge,
}


def _judge(intent: Intent, course: Course) -> _Judgement:
    return _RULES[intent.action](intent, course)


def _judge_negated(intent: Intent, course: Course) -> _Judgement:
    """Judge what is not, or need not be, done: only who does it plainly contradicts."""
    action = intent.action
    if action in (Action.STOP, Action.SLOW, Action.YIELD, Action.HOLD):
        done = course.start_mps > 2.0 and _fall(course, 4.0, 0.6)
        return _contradicts(_speeds(course)) if done else _SILENT
    if action in (Action.ACCELERATE, Action.PROCEED):
        return _contradicts(_speeds(course)) if _rise(course, 2.0, 0.15) else _SILENT
    if action is Action.TURN and intent.side * course.heading_rad > 1.5 * _TURN_RAD:
        return _contradicts(_turns(course))
    if action in (Action.CHANGE_LANE, Action.NUDGE):
        sides = _sides(intent, course)
        if intent.side and sides is not None and sides[0] > 2.5:
            return _contradicts(f"moves {sides[0]:.1f} m to that side")
    return _SILENT
