"""What answers are made of: a plan's samples from now on, which of them may be driven, debug info, counts."""

from __future__ import annotations

import ast
import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from driver_factory import START_US, pose_at, repeat

from alpamayo_ros.model.serving import standing_observation
from alpamayo_ros.sim.driver.answers import MadePlan, straight_on
from alpamayo_ros.sim.driver.debug_info import describe, encode
from alpamayo_ros.sim.driver.events import DriveOutcome, Source
from alpamayo_ros.sim.driver.fitness import is_motion, with_fit_choice
from alpamayo_ros.sim.driver.navigation import Maneuver
from alpamayo_ros.sim.driver.statistics import DriverStatistics
from alpamayo_ros.sim.planners import ConstantVelocityPlanner
from alpamayo_ros.sim.state import EgoState
from alpamayo_ros.sim.trajectories import plan_in_local, require_trajectory
from alpamayo_ros.types import InvalidInput, Plan

SOURCES = Path(__file__).resolve().parents[3] / "src"


def plan(count: int = 3, *, speed_mps: float = 8.0, aside_m: float = 1.0) -> Plan:
    """Return samples at a speed, each further to the left than the one before it."""
    standing = standing_observation((0,), np.zeros((3, 2, 2), np.uint8))
    made = repeat(ConstantVelocityPlanner().plan(replace(standing, t0_ns=START_US * 1000)), count)
    xyz = made.xyz_in_rig_t0.copy()
    xyz[..., 0] = speed_mps * 0.1 * np.arange(1, 65)
    xyz[..., 1] = aside_m * np.arange(count)[:, None] * np.arange(1, 65) / 64
    return replace(made, xyz_in_rig_t0=xyz)


def ego(time_us: int) -> EgoState:
    return EgoState(time_us, pose_at(time_us), velocity_in_rig_mps=(8.0, 0.0))


@pytest.mark.parametrize("later_us", [0, 1, 40_000, 100_000, 950_000, 6_300_000])
def test_each_sample_from_now_on_is_what_plan_in_local_makes_of_it(later_us: int) -> None:
    drawn, now = plan(), ego(START_US + later_us)
    made = MadePlan(drawn, pose_at(START_US), "")
    assert made.indices == (0, 1, 2) and made.age_s(now.time_us) == pytest.approx(later_us / 1e6)
    for index, (stamps_us, poses) in enumerate(made.samples(now)):
        wanted = plan_in_local(
            replace(drawn, chosen=index),
            pose_at(START_US),
            now_us=now.time_us,
            local_from_rig_now=now.local_from_rig,
        )
        np.testing.assert_array_equal(stamps_us, wanted[0])
        np.testing.assert_allclose(poses, wanted[1], atol=1e-12)
        assert stamps_us[0] == now.time_us and np.all(np.diff(stamps_us) > 0)
    np.testing.assert_array_equal(made.trajectory(now)[1], made.samples(now)[drawn.chosen][1])
    np.testing.assert_allclose(made.path_xyz()[0], pose_at(START_US)[:3, 3])


def test_a_plan_of_the_future_or_that_is_over_is_none() -> None:
    made = MadePlan(plan(), pose_at(START_US), "")
    for time_us in (START_US - 1, START_US + 6_400_000):
        with pytest.raises(InvalidInput, match=r"expected t0 in the last 6\.4 s"):
            made.samples(ego(time_us))


def test_samples_that_are_no_motion_are_left_out_and_the_others_keep_their_index() -> None:
    drawn = plan(4)
    xyz, rot = drawn.xyz_in_rig_t0.copy(), drawn.rot_in_rig_t0.copy()
    xyz[0, 5, 2], rot[2, 7] = np.inf, 2.0 * np.eye(3)
    made = MadePlan(replace(drawn, xyz_in_rig_t0=xyz, rot_in_rig_t0=rot, chosen=3), pose_at(START_US), "")
    assert made.indices == (1, 3) and len(made.samples(ego(START_US))) == 2
    last = made.trajectory(ego(START_US))[1][-1]
    np.testing.assert_allclose(np.linalg.inv(pose_at(START_US)) @ last @ [0, 0, 0, 1], [51.2, 3, 0, 1])
    none = MadePlan(replace(drawn, xyz_in_rig_t0=np.full_like(xyz, np.nan)), pose_at(START_US), "")
    assert none.indices == () and none.samples(ego(START_US)) == ()


def test_constant_speed_leads_straight_on_from_any_pose() -> None:
    now = ego(START_US + 3_000_000)
    stamps_us, poses = straight_on(now)
    require_trajectory("straight", stamps_us, poses, now_us=now.time_us)
    ahead = np.linalg.inv(now.local_from_rig) @ poses
    np.testing.assert_allclose(ahead[:, :3, :3], np.tile(np.eye(3), (65, 1, 1)), atol=1e-12)
    np.testing.assert_allclose(ahead[:, 0, 3], 0.8 * np.arange(65), atol=1e-9)
    np.testing.assert_allclose(ahead[:, 1:3, 3], 0.0, atol=1e-9)
    backwards = EgoState(now.time_us, now.local_from_rig, velocity_in_rig_mps=(-0.5, 0.0))
    np.testing.assert_array_equal(straight_on(backwards)[1], np.tile(now.local_from_rig, (65, 1, 1)))


def test_a_motion_is_finite_and_of_rotations() -> None:
    drawn = plan(6)
    xyz, rot = drawn.xyz_in_rig_t0.copy(), drawn.rot_in_rig_t0.copy()
    xyz[1, :, 0] += 2.1
    xyz[2, 40:, 0] = -2.1
    xyz[4, 3, 1] = np.nan
    rot[3, 9, 1] *= 1.02
    rot[5, 9, 1] *= -1.0
    drawn = replace(drawn, xyz_in_rig_t0=xyz, rot_in_rig_t0=rot)
    assert is_motion(drawn).tolist() == [True, True, True, False, False, False]


def test_the_planners_choice_stays_where_it_may_be_driven() -> None:
    drawn = replace(plan(4), chosen=3)
    assert with_fit_choice(drawn, np.array([True, True, True, True])) is drawn
    other = with_fit_choice(drawn, np.array([True, True, True, False]))
    assert other is not None and other.chosen == 1, "the medoid of 0, 1, 2"
    assert with_fit_choice(drawn, np.zeros(4, np.bool_)) is None


def outcome(source: Source, made: Plan | None = None) -> DriveOutcome:
    now = ego(START_US)
    return DriveOutcome(
        now_us=START_US,
        source=source,
        reason="" if source == "plan" else "expected pictures, got none",
        trajectory=straight_on(now),
        local_from_rig_now=now.local_from_rig,
        plan=made,
    )


@pytest.mark.parametrize(
    ("maneuver", "command"),
    [("none", "UNKNOWN"), ("straight", "STRAIGHT"), ("left", "LEFT"), ("right", "RIGHT")],
)
def test_debug_info_tells_what_was_thought(maneuver: Maneuver, command: str) -> None:
    thought = replace(plan(2), chosen=1, reasoning=("Keep going.", "Langsamer für das Kind."))
    told = describe(outcome("plan", thought), maneuver=maneuver, chosen_sample=1)
    read = json.loads(encode(told, "json"))
    assert read == told, "nothing is lost in JSON"
    assert (read["command_name"], read["select_ix"]) == (command, 1)
    assert read["reasoning_text"] == "Langsamer für das Kind." and len(read["reasoning"]) == 2
    assert read["t0_us"] == START_US and read["safe_trajectory"] is True


@pytest.mark.parametrize(("source", "safe"), [("warm_up", True), ("stop", False)])
def test_without_a_plan_the_text_says_what_is_driven(source: Source, safe: bool) -> None:
    told = describe(outcome(source), maneuver="none", chosen_sample=0)
    assert told["reasoning_text"] and told["safe_trajectory"] is safe and "reasoning" not in told
    assert told["reason"] == "expected pictures, got none"


def test_a_pickle_is_of_plain_values_that_alpasims_evaluator_reads() -> None:
    told = describe(outcome("plan", plan(2)), maneuver="left", chosen_sample=0)
    written = encode(told, "pickle")
    assert pickle.loads(written) == told
    # No class or function is named in it: reading it can run nothing.
    assert not {b"c", b"\x93", b"i", b"R", b"b"} & {bytes([code]) for code in opcodes(written)}
    assert {"reasoning_text", "command_name", "safe_trajectory", "select_ix"} <= set(told)


def opcodes(written: bytes) -> list[int]:
    import pickletools

    return [ord(opcode.code) for opcode, _, _ in pickletools.genops(written)]


def test_nothing_of_ours_ever_reads_a_pickle() -> None:
    readers = {"load", "loads", "Unpickler"}
    files = sorted(SOURCES.rglob("*.py"))
    assert len(files) > 100
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert not (node.value.id in ("pickle", "dill") and node.attr in readers), (path, node.lineno)
            if isinstance(node, ast.ImportFrom):
                assert node.module not in ("pickle", "_pickle", "dill"), (path, node.lineno)


def test_statistics_count_and_tell_percentiles() -> None:
    statistics = DriverStatistics()
    assert statistics.snapshot().overhead_p99_ms == 0.0
    for _ in range(3):
        statistics.opened()
    statistics.expired()
    statistics.closed()
    for index in range(40):
        statistics.ignored(f"camera_{index}")
        statistics.drove("plan", total_ms=10.0 + index, inference_ms=10.0)
    statistics.drove("stop", total_ms=1.0, inference_ms=0.0, problem="stop: no pictures")
    statistics.refused("image", "expected a picture, got none")
    statistics.frame("front_wide")
    counts = statistics.snapshot()
    assert (counts.sessions_open, counts.sessions_started, counts.sessions_expired) == (2, 3, 1)
    assert counts.drives == {"plan": 40, "stop": 1} and counts.frames == {"front_wide": 1}
    assert counts.refused == {"image": 1} and counts.last_problem == "expected a picture, got none"
    assert len(counts.ignored) == 33 and counts.ignored["others"] == 8
    assert counts.overhead_p50_ms == pytest.approx(19.0) and counts.inference_p50_ms == 10.0
