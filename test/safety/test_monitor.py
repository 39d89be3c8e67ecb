"""The monitor against its sentence–trajectory pairs, and rule by rule."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from monitor_pairs import DEVELOPMENT, HELD_OUT, Pair, read_pairs
from plan_making import make_observation, motion_of, plan_of, smooth

from alpamayo_ros.safety.intent import Action, Intent, read_intents
from alpamayo_ros.safety.monitor import Agreement, Monitor, judge_reasoning
from alpamayo_ros.types import ReasoningSections

OBSERVATION = make_observation(10.0)
NAMES = {
    Agreement.AGREES: "agrees",
    Agreement.CONTRADICTS: "contradicts",
    Agreement.SILENT: "silent",
}


def judged(pair: Pair) -> str:
    return NAMES[judge_reasoning(pair.plan(), OBSERVATION).agreement]


def precision_and_recall(path: Path) -> tuple[float, float]:
    """Of contradictions."""
    pairs = [(pair.expected == "contradicts", judged(pair) == "contradicts") for pair in read_pairs(path)]
    right = sum(expected and found for expected, found in pairs)
    return right / sum(found for _, found in pairs), right / sum(expected for expected, _ in pairs)


def test_there_are_pairs_enough_and_none_is_in_both_sets() -> None:
    development, held_out = read_pairs(DEVELOPMENT), read_pairs(HELD_OUT)
    assert len(development) >= 75 and len(held_out) >= 75
    assert not {(p.reasoning, p.motion) for p in development} & {(p.reasoning, p.motion) for p in held_out}
    for pairs in (development, held_out):
        assert sum(pair.expected == "contradicts" for pair in pairs) >= 40


@pytest.mark.parametrize("path", [DEVELOPMENT, HELD_OUT], ids=["development", "held out"])
def test_contradictions_are_found_and_hardly_ever_made_up(path: Path) -> None:
    precision, recall = precision_and_recall(path)
    assert precision >= 0.95
    assert recall >= 0.85


def test_the_published_example() -> None:
    text = "Nudge to the left to increase clearance from the construction cones encroaching into the lane"
    assert read_intents(text) == (Intent(Action.NUDGE, 1),)
    motion = "v 8, shift right 1.2 in 3"
    verdict = judge_reasoning(Pair("contradicts", motion, text).plan(), OBSERVATION)
    assert verdict.agreement is Agreement.CONTRADICTS
    assert (
        verdict.reason
        == "expected to nudge left as the reasoning says, got a plan that moves 1.2 m to the other side"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("The car ahead brakes and stops.", []),
        ("Pedestrians wait and the bus turns left.", []),
        ("If the light turns red, stop.", []),
        ("There is a stop sign in the left lane.", []),
        ("Keep speed since the car in the right lane is about to stop and turn left.", ["keep speed"]),
        ("The ego vehicle slows down and turns left.", ["slow down", "turn left"]),
        ("Stop, then turn right.", ["stop", "turn right"]),
        ("We can't turn right, so continue straight.", ["not turn right", "go straight"]),
        ("Don't change lanes to the left.", ["not change lane left"]),
        ("Slow down to yield to the tram.", ["slow down", "yield"]),
        (
            "Keep a low speed for the left turn at the junction.",
            ["keep a low speed", "be about to turn left"],
        ),
        ("Move into the left lane.", ["change lane left"]),
        ("Move slightly to the left of the cones.", ["nudge left"]),
        ("lane_change_right, gentle_deceleration", ["change lane right", "slow down"]),
    ],
)
def test_what_is_announced(text: str, expected: list[str]) -> None:
    assert [str(intent) for intent in read_intents(text)] == expected


def test_what_comes_later_is_no_contradiction() -> None:
    assert read_intents("Stop, then turn right.")[1].later
    assert judged(Pair("agrees", "v 6 -> 0 in 3", "Stop, then turn right.")) == "agrees"


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=300))
def test_any_text_can_be_read(text: str) -> None:
    plan = plan_of([motion_of(10.0, *smooth(0.0, 0.0))], [text])
    assert judge_reasoning(plan, OBSERVATION).agreement in Agreement


@pytest.mark.parametrize("junk", ["to ", "and ", "the ego ", "not ", "slow ", "a", "\x00"])
def test_a_text_without_end_is_read_in_no_time(junk: str) -> None:
    assert len(read_intents(junk * (2**20 // len(junk)))) <= 2


@given(st.sampled_from([p for p in read_pairs(DEVELOPMENT) if p.reasoning]))
def test_left_and_right_are_treated_alike(pair: Pair) -> None:
    def mirrored(text: str) -> str:
        text = text.replace("left", "LEFT").replace("right of way", "ROW").replace("right", "left")
        return text.replace("LEFT", "right").replace("ROW", "right of way")

    other = Pair(pair.expected, mirrored(pair.motion), mirrored(pair.reasoning), mirrored(pair.meta_action))
    assert judged(other) == judged(pair)


def test_each_candidate_is_held_against_its_own_text() -> None:
    motions = [motion_of(10.0, *smooth(accel, 0.0)) for accel in (-1.5, 1.5)]
    plan = plan_of(motions, ["Slow down for the queue."] * 2, chosen=1)
    assert judge_reasoning(plan, OBSERVATION).agreement is Agreement.CONTRADICTS
    assert judge_reasoning(plan, OBSERVATION, index=0).agreement is Agreement.AGREES


def test_of_a_text_in_sections_the_action_counts() -> None:
    plan = plan_of([motion_of(10.0, *smooth(-1.5, 0.0))], ["Accelerate. Slow down for the queue."])
    sections = ReasoningSections(observation="Accelerate.", action="Slow down for the queue.")
    assert judge_reasoning(plan, OBSERVATION).agreement is Agreement.SILENT
    assert judge_reasoning(replace(plan, sections=(sections,)), OBSERVATION).agreement is Agreement.AGREES


def test_nothing_is_said_of_a_plan_that_is_not_finite() -> None:
    plan = plan_of([motion_of(10.0, *smooth(2.0, 0.0))], ["Stop."])
    plan.rot_in_rig_t0[0, -1] = np.nan
    assert judge_reasoning(plan, OBSERVATION).agreement is Agreement.SILENT
    plan.xyz_in_rig_t0[0, 5] = np.nan
    assert judge_reasoning(plan, OBSERVATION).agreement is Agreement.SILENT


def test_a_turn_that_is_almost_over_is_no_contradiction() -> None:
    """The way out of a junction runs straight on."""
    plan = plan_of([motion_of(8.0, *smooth(0.5, 0.0))], ["Turn left at the junction."])
    assert judge_reasoning(plan, OBSERVATION).agreement is Agreement.CONTRADICTS
    turned = make_observation(8.0)
    angle = -0.3  # 1.5 s ago it still headed to the right of where it heads now
    turned.history_rot_in_rig_t0[0, :2, :2] = [
        [np.cos(angle), -np.sin(angle)],
        [np.sin(angle), np.cos(angle)],
    ]
    assert judge_reasoning(plan, turned).agreement is Agreement.SILENT


@pytest.mark.parametrize("begin_ns", [0, OBSERVATION.t0_ns], ids=["simulated time", "wall time"])
def test_the_way_back_from_a_nudge_is_no_contradiction(begin_ns: int) -> None:
    """The text stays the same until the obstacle is passed; only at the beginning is its side judged."""
    back = "v 8, shift right 1.2 in 3"
    text = "Nudge to the left around the cones."
    monitor = Monitor()
    for tenth in range(0, 40, 2):
        t0_ns = begin_ns + tenth * 100_000_000
        out = replace(Pair("agrees", "v 8, shift left 1.2 in 3", text).plan(), t0_ns=t0_ns)
        assert monitor.judge(out, OBSERVATION).agreement is not Agreement.CONTRADICTS
    later = replace(Pair("silent", back, text).plan(), t0_ns=t0_ns + 200_000_000)
    assert monitor.judge(later, OBSERVATION).agreement is Agreement.SILENT
    # After a while without it, the same text announces another nudge; and so it does after a backward jump.
    again = replace(later, t0_ns=later.t0_ns + 2_000_000_000)
    assert monitor.judge(again, OBSERVATION).agreement is Agreement.CONTRADICTS
    assert monitor.judge(replace(again, t0_ns=begin_ns), OBSERVATION).agreement is Agreement.CONTRADICTS
