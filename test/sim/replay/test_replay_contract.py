"""The contract of a driver: an answer that keeps it, and for each rule one that breaks it."""

from __future__ import annotations

import itertools
import json
import math
import pickle
from pathlib import Path

import pytest
from scripted_driver import Break, good_answer

from alpamayo_ros.sim.protocol.generated import common_pb2, egodriver_pb2
from alpamayo_ros.sim.replay.contract import (
    ANSWER_BYTES,
    RULES,
    Finding,
    check_answer,
    debug_info_problem,
)
from alpamayo_ros.types import InvalidInput

NOW_US = 1_700_000_000_000_000
TURNED = math.sqrt(0.5)
RIG = common_pb2.PoseAtTime(
    pose=common_pb2.Pose(
        vec=common_pb2.Vec3(x=12.5, y=-3.0, z=0.25), quat=common_pb2.Quat(w=TURNED, z=TURNED)
    ),
    timestamp_us=NOW_US,
)

Answer = egodriver_pb2.DriveResponse


def broken_by(spoil: Break) -> list[str]:
    answer = good_answer(NOW_US, RIG.pose)
    spoil(answer)
    return [rule for rule, _ in check_answer(answer, now_us=NOW_US, newest_rig=RIG)]


def test_a_good_answer_breaks_no_rule() -> None:
    assert broken_by(lambda answer: None) == []


def too_long(answer: Answer) -> None:
    answer.debug_info.unstructured_debug_info = json.dumps({"text": "x" * ANSWER_BYTES}).encode()


def clear(answer: Answer) -> None:
    del answer.trajectory.poses[:]


def repeat_a_stamp(answer: Answer) -> None:
    answer.trajectory.poses[7].timestamp_us = answer.trajectory.poses[6].timestamp_us


def a_stamp_falls(answer: Answer) -> None:
    answer.trajectory.poses[7].timestamp_us = NOW_US + 1


def not_a_number(answer: Answer) -> None:
    answer.trajectory.poses[20].pose.vec.z = math.nan


def infinite_rotation(answer: Answer) -> None:
    answer.trajectory.poses[0].pose.quat.w = math.inf


def zero_quaternion(answer: Answer) -> None:
    answer.trajectory.poses[3].pose.quat.Clear()


def long_quaternion(answer: Answer) -> None:
    answer.trajectory.poses[3].pose.quat.w *= 1.004


def begin_later(answer: Answer) -> None:
    answer.trajectory.poses[0].timestamp_us += 1


def begin_earlier(answer: Answer) -> None:
    answer.trajectory.poses[0].timestamp_us -= 100_000


def begin_2_cm_aside(answer: Answer) -> None:
    answer.trajectory.poses[0].pose.vec.y += 0.02


def begin_turned(answer: Answer) -> None:
    quat = answer.trajectory.poses[0].pose.quat
    quat.w, quat.z = math.cos(math.pi / 4 + 0.01), math.sin(math.pi / 4 + 0.01)


def reach_1_9_s(answer: Answer) -> None:
    del answer.trajectory.poses[20:]


def ask_for_the_end(answer: Answer) -> None:
    answer.terminate_session = True


def no_samples(answer: Answer) -> None:
    del answer.debug_info.sampled_trajectories[:]


def sample_of_nan(answer: Answer) -> None:
    answer.debug_info.sampled_trajectories[1].poses[2].pose.quat.x = math.nan


def sample_out_of_order(answer: Answer) -> None:
    answer.debug_info.sampled_trajectories[1].poses[2].timestamp_us = NOW_US


def one_short_sample(answer: Answer) -> None:
    del answer.debug_info.sampled_trajectories[1].poses[50:]


def one_empty_sample(answer: Answer) -> None:
    del answer.debug_info.sampled_trajectories[1].poses[:]


def bytes_of_no_kind(answer: Answer) -> None:
    answer.debug_info.unstructured_debug_info = b"\x00\x01 no format"


BREAKS = [
    ("size", too_long),
    ("not_empty", clear),
    ("stamps_rise", repeat_a_stamp),
    ("stamps_rise", a_stamp_falls),
    ("finite", not_a_number),
    ("finite", infinite_rotation),
    ("unit_quaternion", zero_quaternion),
    ("unit_quaternion", long_quaternion),
    ("first_stamp", begin_later),
    ("first_stamp", begin_earlier),
    ("first_pose", begin_2_cm_aside),
    ("first_pose", begin_turned),
    ("horizon", reach_1_9_s),
    ("goes_on", ask_for_the_end),
    ("samples", no_samples),
    ("samples_finite", sample_of_nan),
    ("samples_finite", sample_out_of_order),
    ("samples_horizon", one_short_sample),
    ("samples_horizon", one_empty_sample),
    ("debug_info", bytes_of_no_kind),
]
"""Rule, and what breaks it and no other."""


@pytest.mark.parametrize(("rule", "spoil"), BREAKS, ids=lambda value: getattr(value, "__name__", value))
def test_each_fault_breaks_its_rule_and_no_other(rule: str, spoil: Break) -> None:
    assert broken_by(spoil) == [rule]


def test_every_rule_of_answers_has_a_fault_that_breaks_it() -> None:
    of_answers = {name for name, rule in RULES.items() if rule.of_answers}
    assert {rule for rule, _ in BREAKS} == of_answers - {"answered", "same_answers"}


@pytest.mark.parametrize(
    ("one", "other"), list(itertools.combinations([zero_quaternion, not_a_number, one_short_sample], 2))
)
def test_faults_do_not_hide_one_another(one: Break, other: Break) -> None:
    def both(answer: Answer) -> None:
        one(answer)
        other(answer)

    assert set(broken_by(both)) == {*broken_by(one), *broken_by(other)}


def test_the_other_sign_of_a_quaternion_is_the_same_rotation() -> None:
    def negate(answer: Answer) -> None:
        for each in answer.trajectory.poses:
            each.pose.quat.w, each.pose.quat.z = -each.pose.quat.w, -each.pose.quat.z

    assert broken_by(negate) == []


def test_a_session_that_is_to_end_needs_no_trajectory() -> None:
    def end(answer: Answer) -> None:
        clear(answer)
        ask_for_the_end(answer)

    assert broken_by(end) == ["goes_on"]


def test_without_egomotion_any_first_pose_will_do() -> None:
    answer = good_answer(NOW_US, RIG.pose)
    assert list(check_answer(answer, now_us=NOW_US, newest_rig=None)) == []


class Trap:
    """Whoever opens a pickle of this finds out."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return pytest.fail, ("a pickle was opened",)


@pytest.mark.parametrize(
    "data",
    [b"", b'{"reasoning_text": "Yield."}', pickle.dumps({"reasoning_text": "Yield."}), pickle.dumps(Trap())],
    ids=["none", "json", "pickle", "pickle that runs code"],
)
def test_debug_info_that_can_be_read(data: bytes) -> None:
    assert debug_info_problem(data) == ""


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"reasoning", "neither"),
        (b"[1, 2]", "no object"),
        (b'{"reasoning_text": "Yie', "neither"),
        (b"\x80\x04.\x00.", "ends at byte 3 of 5"),
        (b"\x80\x04\x8c\x40short.", "breaks off"),
    ],
)
def test_debug_info_that_cannot_be_read(data: bytes, said: str) -> None:
    assert said in debug_info_problem(data)


def test_a_finding_is_of_a_rule_and_says_where() -> None:
    finding = Finding("finite", "nan", session=2, step=7, now_us=NOW_US)
    assert not finding.warning and finding.where == f"session 2, step 7 (time_now {NOW_US})"
    assert Finding("samples", "none").warning and Finding("version", "UNKNOWN").where == ""
    with pytest.raises(InvalidInput, match="rule: expected one of version"):
        Finding("no_rule", "nan")


def test_the_documented_rules_are_these() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "DRIVER_CONTRACT.md").read_text(encoding="utf-8")
    rows = [
        f"| `{rule.name}`{' (warning)' if rule.warning else ''} | {rule.expected} | {rule.otherwise} |"
        for rule in RULES.values()
    ]
    assert "\n".join(rows) in page
