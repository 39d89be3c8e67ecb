"""What the expert says of what it does: varied, of few words, and never against the plan."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from cause_grid import all_causes, plan_of

from alpamayo_ros.safety.intent import Action, read_intents
from alpamayo_ros.safety.monitor import Agreement, judge_reasoning
from alpamayo_ros.sim.planners.reasons import Cause, Manoeuvre
from alpamayo_ros.sim.planners.wording import sentence, sentences
from alpamayo_ros.types import Observation, Plan

SLOWER = {Action.STOP, Action.HOLD, Action.SLOW, Action.YIELD, Action.PREPARE}
FASTER = {Action.ACCELERATE, Action.PROCEED}
SAID_OF = {
    Manoeuvre.HOLD: {Action.HOLD},
    Manoeuvre.STOP: {Action.STOP},
    Manoeuvre.BRAKE: {Action.SLOW},
    Manoeuvre.SLOW: {Action.SLOW},
    Manoeuvre.CREEP: {Action.CREEP, Action.KEEP_LOW_SPEED, Action.FOLLOW, Action.TURN},
    Manoeuvre.START: {Action.PROCEED, Action.TURN},
    Manoeuvre.ACCELERATE: {Action.ACCELERATE, Action.TURN},
}
"""What must be announced, one of these."""


def observation() -> Observation:
    return Observation(
        t0_ns=10**18,
        camera_ids=(1,),
        frames=np.zeros((1, 4, 3, 2, 2), np.uint8),
        frame_stamps_ns=10**18 + np.array([[-3, -2, -1, 0]], np.int64) * 10**8,
        history_xyz_in_rig_t0=np.zeros((16, 3), np.float32),
        history_rot_in_rig_t0=np.tile(np.eye(3, dtype=np.float32), (16, 1, 1)),
    )


read_once = cache(read_intents)


def saying(plan: Plan, text: str) -> Plan:
    object.__setattr__(plan, "reasoning", (text,))
    return plan


@pytest.mark.parametrize(
    ("cause", "expected"),
    [
        (Cause("free", speed_mps=9.0), "Keep lane and speed since the lane ahead is clear."),
        (Cause("free", speed_mps=0.1, speed_change_mps=3.0), "Start moving since the lane ahead is clear."),
        (Cause("free", speed_mps=9.0, turn=1), "Turn left at the junction since the path is clear."),
        (Cause("light", "red", speed_mps=6.0, stops=True), "Stop for the red traffic light ahead."),
        (Cause("light", "red", speed_mps=9.0), "Prepare to stop for the red traffic light ahead."),
        (
            Cause("light", "green", speed_mps=9.0, speed_change_mps=-1.0),
            "Slow down for the traffic light ahead.",
        ),
        (Cause("sign", stops=True, stands=True), "Remain stopped for the stop sign ahead."),
        (
            Cause("crossing", "pedestrian", speed_mps=9.0, speed_change_mps=-3.0),
            "Slow down to yield to the pedestrian crossing the road.",
        ),
        (
            Cause("leader", "car", speed_mps=6.0, stops=True),
            "Stop behind the lead vehicle stopped ahead.",
        ),
        (
            Cause("leader", "car", speed_mps=8.0, other_speed_mps=7.0),
            "Keep distance to the lead vehicle since it is directly ahead in our lane.",
        ),
        (
            Cause("bend", speed_mps=9.0, speed_change_mps=-2.0, bend_side=-1),
            "Slow down for the right curve ahead.",
        ),
        (
            Cause("free", speed_mps=9.0, nudge_side=1, nudge_kind="cone"),
            "Nudge to the left to increase clearance from the construction cones encroaching into the lane.",
        ),
        (
            Cause("oncoming", "van", speed_mps=6.0, stops=True, turn=1),
            "Stop to yield to the oncoming van before turning left at the junction.",
        ),
        (
            Cause("sign", speed_mps=6.0, speed_change_mps=-3.0, nudge_side=-1, nudge_kind="car"),
            "Slow down for the stop sign ahead, "
            "and nudge to the right to increase clearance from the parked car on the left.",
        ),
    ],
)
def test_the_plainest_wording(cause: Cause, expected: str) -> None:
    assert sentence(cause) == expected


def test_no_wording_contradicts_a_plan_that_does_what_its_cause_says() -> None:
    now, silent, judged = observation(), 0, 0
    for cause in all_causes():
        plan = plan_of(cause)
        for text in sentences(cause)[:10]:
            verdict = judge_reasoning(saying(plan, text), now)
            assert verdict.agreement is not Agreement.CONTRADICTS, (text, verdict.reason, cause)
            silent += verdict.agreement is Agreement.SILENT
            judged += 1
    assert silent < 0.1 * judged  # what the monitor cannot judge would be no test


def test_every_wording_announces_what_the_vehicle_does() -> None:
    for cause in all_causes():
        for text in sentences(cause):
            intents = [intent for intent in read_once(text) if not intent.later]
            said = {intent.action for intent in intents}
            assert said and not any(intent.negated for intent in intents), (text, cause)
            if cause.manoeuvre in SAID_OF and cause.governor != "bend":
                assert said & SAID_OF[cause.manoeuvre], (text, said, cause)
            if cause.speed_change_mps > 1.0:
                assert not said & SLOWER, (text, cause)
            if cause.speed_change_mps < -1.0:
                assert not said & FASTER, (text, cause)
            sides = {intent.side for intent in intents if intent.action is Action.NUDGE}
            nudges = cause.goes_around and not cause.nudge_is_done
            assert sides == ({cause.nudge_side} if nudges else set()), (text, cause)


def test_the_wording_varies_with_the_seed_and_with_nothing_else() -> None:
    cause = Cause("crossing", "pedestrian", speed_mps=9.0, speed_change_mps=-3.0)
    drawn = [sentence(cause, seed=f"episode/{tick}") for tick in range(200)]
    assert drawn == [sentence(cause, seed=f"episode/{tick}") for tick in range(200)]
    assert set(drawn) == set(sentences(cause)) and len(set(drawn)) >= 10
    assert sentence(cause) == sentences(cause)[0]


def test_the_words_are_few() -> None:
    words = {word for cause in all_causes() for text in sentences(cause) for word in text.lower().split()}
    assert len({word.strip(".,") for word in words}) < 150


def test_sentences_are_sentences() -> None:
    for cause in all_causes():
        ways = sentences(cause)
        assert len(set(ways)) == len(ways) >= 2
        for text in ways:
            assert text[0].isupper() and text.endswith(".") and "  " not in text and "{" not in text
            assert len(text) < 180
