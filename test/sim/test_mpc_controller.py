"""The controller: tracking, its bounds, determinism, and what it refuses."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.linalg

from alpamayo_ros.sim import controller
from alpamayo_ros.sim.controller import FALLBACK_BRAKING_MPS2, STEP_US, MpcController, reference_in_rig
from alpamayo_ros.sim.roads import Float64Array, Terrain
from alpamayo_ros.sim.vehicle import VehicleParameters, VehicleState
from alpamayo_ros.types import InvalidInput

GROUND = Terrain()


def straight(speed_mps: float, *, accel_mps2: float = 0.0, offset_m: float = 0.0) -> Float64Array:
    time_s = 0.1 * np.arange(21)
    x = speed_mps * time_s + accel_mps2 * time_s**2 / 2.0
    return np.stack([x, np.full(21, offset_m), np.zeros(21)], axis=-1)


def test_on_the_plan_there_is_nothing_to_do() -> None:
    command = MpcController().control(VehicleState(speed_mps=10.0), straight(10.0))
    assert command.solved
    assert (command.steer_rad, command.accel_mps2) == pytest.approx((0.0, 0.0), abs=1e-3)


@pytest.mark.parametrize("accel_mps2", [-3.0, -1.0, 1.0, 2.0])
def test_accelerates_as_the_plan_does(accel_mps2: float) -> None:
    state = VehicleState(speed_mps=10.0, accel_mps2=accel_mps2)
    command = MpcController().control(state, straight(10.0, accel_mps2=accel_mps2))
    # What the commands cost pulls them towards zero; the acceleration is the plan's within a tenth.
    assert command.accel_mps2 == pytest.approx(accel_mps2, rel=0.1)


@pytest.mark.parametrize("offset_m", [-1.0, -0.2, 0.2, 1.0])
def test_steers_towards_the_plan(offset_m: float) -> None:
    command = MpcController().control(VehicleState(speed_mps=10.0), straight(10.0, offset_m=offset_m))
    assert math.copysign(1.0, command.steer_rad) == math.copysign(1.0, offset_m)
    assert abs(command.steer_rad) < 0.2


def test_first_second_of_a_plan_does_not_count() -> None:
    plan = straight(10.0)
    bent = plan.copy()
    bent[:10, 1] += 3.0
    state = VehicleState(speed_mps=10.0)
    assert MpcController().control(state, bent) == MpcController().control(state, plan)


def test_commands_stay_within_bounds() -> None:
    far = straight(60.0)
    command = MpcController().control(VehicleState(speed_mps=10.0), far)
    assert command.accel_mps2 <= 6.0 + 1e-2
    near = np.zeros((21, 3))
    command = MpcController().control(VehicleState(speed_mps=30.0), near)
    assert command.accel_mps2 >= -9.0 - 1e-2


@pytest.mark.parametrize(("speed_mps", "accel_mps2"), [(0.0, -6.0), (0.05, -6.0), (0.3, -8.0), (36.0, 5.0)])
def test_bounds_that_cannot_be_kept_any_more_give_way(speed_mps: float, accel_mps2: float) -> None:
    state = VehicleState(speed_mps=speed_mps, accel_mps2=accel_mps2)
    command = MpcController().control(state, straight(min(speed_mps, 1.0)))
    assert command.solved, command


def test_a_solution_does_not_depend_on_what_was_solved_before() -> None:
    fresh, used = MpcController(), MpcController()
    rng = np.random.default_rng([3])
    for _ in range(20):
        used.control(VehicleState(speed_mps=float(rng.uniform(0, 30))), rng.normal(size=(21, 3)) * 20.0)
    state, plan = VehicleState(speed_mps=8.0, yaw_rate_radps=0.1), straight(9.0, offset_m=0.7)
    assert used.control(state, plan) == fresh.control(state, plan)


def test_without_a_solution_it_brakes_with_the_wheels_where_they_are() -> None:
    state = VehicleState(speed_mps=10.0, steer_rad=0.05)
    command = MpcController(iterations=(1,)).control(state, straight(14.0, offset_m=2.0))
    assert not command.solved
    assert (command.steer_rad, command.accel_mps2) == (0.05, -FALLBACK_BRAKING_MPS2)


def test_hard_programmes_are_solved_in_a_second_attempt() -> None:
    backwards = straight(-10.0)
    first = MpcController(iterations=(500,)).control(VehicleState(), backwards)
    assert not first.solved
    command = MpcController().control(VehicleState(), backwards)
    assert command.solved
    assert command.iterations > 500


@pytest.mark.parametrize("speed_mps", [0.0, 0.3, 4.99, 5.0, 12.0, 35.0])
def test_matrix_exponential(speed_mps: float) -> None:
    rates = np.zeros((4, 4))
    lateral, turning = VehicleParameters().lateral_rates(speed_mps)
    rates[0, :3], rates[1, :3], rates[2, 2], rates[2, 3] = lateral, turning, -10.0, 10.0
    expected = scipy.linalg.expm(rates * 0.1)
    np.testing.assert_allclose(controller._exponential(rates * 0.1), expected, rtol=1e-12, atol=1e-13)


def poses(count: int) -> tuple[np.ndarray, Float64Array]:
    stamps_us = STEP_US * np.arange(count, dtype=np.int64)
    return stamps_us, np.stack([GROUND.pose_on_ground(float(k), 0.0, 0.0) for k in range(count)])


def test_plan_is_read_in_the_present_rig_frame() -> None:
    stamps_us, plan = poses(30)
    now = GROUND.pose_on_ground(2.0, 1.0, np.pi / 2)
    reference = reference_in_rig(stamps_us, plan, now_us=200_000, local_from_rig_now=now)
    np.testing.assert_allclose(reference[0], [-1.0, 0.0, -np.pi / 2], atol=1e-12)
    np.testing.assert_allclose(reference[10], [-1.0, -10.0, -np.pi / 2], atol=1e-12)


def test_plan_ends_where_it_ends() -> None:
    stamps_us, plan = poses(5)
    reference = reference_in_rig(stamps_us, plan, now_us=0, local_from_rig_now=np.eye(4))
    np.testing.assert_allclose(reference[4:], np.tile([4.0, 0.0, 0.0], (17, 1)))


def test_plan_between_its_stamps_is_interpolated() -> None:
    stamps_us, plan = poses(30)
    reference = reference_in_rig(stamps_us, plan, now_us=50_000, local_from_rig_now=np.eye(4))
    np.testing.assert_allclose(reference[:, 0], 0.5 + np.arange(21))


def refused(stamps_us: np.ndarray, plan: Float64Array, message: str, *, now_us: int = 0) -> None:
    with pytest.raises(InvalidInput, match=message):
        reference_in_rig(stamps_us, plan, now_us=now_us, local_from_rig_now=np.eye(4))


def test_bad_plans_are_refused() -> None:
    stamps_us, plan = poses(10)
    refused(stamps_us[:0], plan[:0], "expected at least one pose, got none")
    refused(stamps_us + 1, plan, "expected a first pose not later than now, 0 us, got 1 us")
    twice = stamps_us.copy()
    twice[3] = twice[2]
    refused(twice, plan, "expected rising stamps, got 200000 then 200000")
    falling = stamps_us.copy()
    falling[3] = 150_000
    refused(falling, plan, "expected rising stamps, got 200000 then 150000")
    no_rotation = plan.copy()
    no_rotation[4, :3, :3] = 0.0
    refused(stamps_us, no_rotation, "expected rotation matrices")
    not_finite = plan.copy()
    not_finite[4, 0, 3] = np.nan
    refused(stamps_us, not_finite, "expected finite values, got nan")
    refused(stamps_us, plan[:5], "expected shape")
    refused(stamps_us.astype(np.float64), plan, "expected dtype int64, got float64")


def test_bad_references_are_refused() -> None:
    with pytest.raises(InvalidInput, match=r"reference: expected shape \[21, 3\]"):
        MpcController().control(VehicleState(), np.zeros((20, 3)))
    with pytest.raises(InvalidInput, match="reference: expected finite values"):
        MpcController().control(VehicleState(), np.full((21, 3), np.inf))
