"""The meta action: written and read back, and true to the waypoints."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from cause_grid import all_causes, plan_of
from hypothesis import given, settings
from hypothesis import strategies as st

from alpamayo_ros.safety.intent import read_intents
from alpamayo_ros.safety.monitor import Agreement, judge_reasoning
from alpamayo_ros.sim.planners.motion import Motion, make_plan
from alpamayo_ros.sim.planners.reasons import Cause, Manoeuvre
from alpamayo_ros.training.labels.meta_action import (
    Lane,
    Lateral,
    Longitudinal,
    MetaAction,
    meta_action_of,
)
from alpamayo_ros.types import InvalidInput, Observation, Plan

FREE = Cause("free", speed_mps=8.0)


def plan(speed_mps: np.ndarray, yaw_rad: np.ndarray) -> Plan:
    motion = Motion(accel_mps2=np.diff(speed_mps) / 0.1, yaw_rad=yaw_rad, speed_mps=speed_mps)
    return make_plan([motion], t0_ns=10**18, reasoning=[""], model="test")


def action_of(speed_mps: np.ndarray, yaw_rad: np.ndarray, cause: Cause = FREE) -> MetaAction:
    made = plan(speed_mps, yaw_rad)
    return meta_action_of(cause, made.xyz_in_rig_t0[0], made.rot_in_rig_t0[0])


def steady(mps: float) -> np.ndarray:
    return np.full(65, mps)


def ramp(start: float, end: float, seconds: float) -> np.ndarray:
    return np.interp(np.arange(65) * 0.1, [0.0, seconds], [start, end])


STRAIGHT = np.zeros(65)


@pytest.mark.parametrize("words", list(product(Longitudinal, Lateral, Lane)))
def test_each_is_read_back_as_it_was_written(words: tuple[Longitudinal, Lateral, Lane]) -> None:
    action = MetaAction(*words)
    assert MetaAction.parse(str(action)) == action
    assert MetaAction.parse(f" {str(action).upper()} ") == action


def test_its_text() -> None:
    action = MetaAction(Longitudinal.GENTLE_DECELERATION, Lateral.GO_STRAIGHT, Lane.KEEP_LANE)
    assert str(action) == "gentle_deceleration, go_straight, keep_lane"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "expected 3 words by commas"),
        ("stop, go_straight", "expected 3 words by commas"),
        ("stop, go_straight, keep_lane, stop", "expected 3 words by commas"),
        ("fly, go_straight, keep_lane", "expected a longitudinal of stop, .* got 'fly'"),
        ("go_straight, stop, keep_lane", "expected a longitudinal of"),
        ("stop, keep_lane, go_straight", "expected a lateral of"),
        ("stop, go_straight, ", "expected a lane of .* got ''"),
    ],
)
def test_what_is_no_meta_action(text: str, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        MetaAction.parse(text)


@settings(max_examples=40)
@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        action = MetaAction.parse(text)
    except InvalidInput:
        return
    assert MetaAction.parse(str(action)) == action


@pytest.mark.parametrize(
    ("speed_mps", "expected"),
    [
        (steady(0.0), Longitudinal.STOP),
        (ramp(6.0, 0.0, 2.5), Longitudinal.STOP),
        (ramp(9.0, 6.0, 3.0), Longitudinal.GENTLE_DECELERATION),
        (ramp(15.0, 3.0, 3.0), Longitudinal.STRONG_DECELERATION),
        (steady(9.0), Longitudinal.MAINTAIN_SPEED),
        (ramp(9.0, 9.5, 3.0), Longitudinal.MAINTAIN_SPEED),
        (ramp(0.0, 4.0, 3.0), Longitudinal.GENTLE_ACCELERATION),
        (ramp(2.0, 13.0, 3.0), Longitudinal.STRONG_ACCELERATION),
        (np.interp(np.arange(65) * 0.1, [3.5, 5.0], [9.0, 3.0]), Longitudinal.MAINTAIN_SPEED),
    ],
)
def test_along_the_way(speed_mps: np.ndarray, expected: Longitudinal) -> None:
    assert action_of(speed_mps, STRAIGHT).longitudinal is expected


@pytest.mark.parametrize(
    ("heading_rad", "expected"),
    [
        (0.02, Lateral.GO_STRAIGHT),
        (0.2, Lateral.STEER_LEFT),
        (-0.2, Lateral.STEER_RIGHT),
        (1.2, Lateral.SHARP_STEER_LEFT),
        (-1.2, Lateral.SHARP_STEER_RIGHT),
    ],
)
def test_across_the_way(heading_rad: float, expected: Lateral) -> None:
    assert action_of(steady(8.0), ramp(0.0, heading_rad, 2.5)).lateral is expected


def test_a_nudge_steers_to_its_side_though_the_heading_comes_back() -> None:
    yaw = 0.1 * np.sin(np.pi * np.clip(np.arange(65) / 25.0, 0.0, 1.0))
    there_and_back = yaw - 1.5 * np.roll(yaw, 30)
    for way in (yaw, there_and_back):
        assert action_of(steady(8.0), way).lateral is Lateral.STEER_LEFT
        assert action_of(steady(8.0), -way).lateral is Lateral.STEER_RIGHT


@pytest.mark.parametrize(
    ("cause", "end_rad", "expected"),
    [
        (FREE, 0.0, Lane.KEEP_LANE),
        (FREE, 0.7, Lane.KEEP_LANE),
        (FREE, 1.3, Lane.TURN_LEFT),
        (Cause("free", speed_mps=8.0, turn=1), 0.7, Lane.TURN_LEFT),
        (Cause("bend", speed_mps=8.0, turn=-1, bend_side=-1), -1.3, Lane.TURN_RIGHT),
        (Cause("free", speed_mps=8.0, turn=1), 0.1, Lane.KEEP_LANE),
        (Cause("bend", speed_mps=8.0, turn=-1, bend_side=1), 0.7, Lane.KEEP_LANE),
        (Cause("free", speed_mps=8.0, nudge_side=1, nudge_kind="cone"), 0.0, Lane.NUDGE_LEFT),
        (Cause("leader", "car", speed_mps=8.0, nudge_side=-1, nudge_kind="van"), 0.0, Lane.NUDGE_RIGHT),
        (
            Cause("free", speed_mps=8.0, nudge_side=1, nudge_kind="cone", nudge_is_done=True),
            0.0,
            Lane.KEEP_LANE,
        ),
    ],
)
def test_what_it_is_to_the_lane(cause: Cause, end_rad: float, expected: Lane) -> None:
    assert action_of(steady(8.0), ramp(0.0, end_rad, 6.0), cause).lane is expected


def test_no_meta_action_contradicts_its_plan_or_its_cause() -> None:
    slower = {Longitudinal.STOP, Longitudinal.GENTLE_DECELERATION, Longitudinal.STRONG_DECELERATION}
    now = Observation(
        t0_ns=10**18,
        camera_ids=(1,),
        frames=np.zeros((1, 4, 3, 2, 2), np.uint8),
        frame_stamps_ns=10**18 + np.array([[-3, -2, -1, 0]], np.int64) * 10**8,
        history_xyz_in_rig_t0=np.zeros((16, 3), np.float32),
        history_rot_in_rig_t0=np.tile(np.eye(3, dtype=np.float32), (16, 1, 1)),
    )
    for cause in all_causes():
        made = plan_of(cause)
        action = meta_action_of(cause, made.xyz_in_rig_t0[0], made.rot_in_rig_t0[0])
        assert read_intents(str(action)), action
        object.__setattr__(made, "meta_action", (str(action),))
        verdict = judge_reasoning(made, now)
        assert verdict.agreement is not Agreement.CONTRADICTS, (str(action), verdict.reason, cause)
        if cause.manoeuvre in (Manoeuvre.HOLD, Manoeuvre.STOP, Manoeuvre.SLOW):
            assert action.longitudinal in slower, (str(action), cause)
        if cause.manoeuvre is Manoeuvre.ACCELERATE:
            assert action.longitudinal not in slower, (str(action), cause)


def test_waypoints_of_another_shape_or_not_finite_are_refused() -> None:
    made = plan(steady(8.0), STRAIGHT)
    xyz, rot = made.xyz_in_rig_t0[0], made.rot_in_rig_t0[0]
    with pytest.raises(InvalidInput, match=r"expected shape \[64, 3\], got \[60, 3\]"):
        meta_action_of(FREE, xyz[:60], rot)
    with pytest.raises(InvalidInput, match="expected finite values"):
        meta_action_of(FREE, np.full_like(xyz, np.nan), rot)
