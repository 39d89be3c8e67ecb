"""The bicycle model against what can be said about it on paper."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpamayo_ros.sim.vehicle import Vehicle, VehicleParameters, VehicleState
from alpamayo_ros.types import InvalidInput

CAR = VehicleParameters()


def drive(
    vehicle: Vehicle, seconds: float, *, steer_rad: float = 0.0, accel_mps2: float = 0.0
) -> VehicleState:
    for _ in range(round(seconds * 10)):
        vehicle.advance(steer_rad, accel_mps2, duration_s=0.1)
    return vehicle.state


@pytest.mark.parametrize("speed_mps", [6.0, 10.0, 15.0, 20.0])
def test_steady_circle_has_the_radius_of_the_understeer_gradient(speed_mps: float) -> None:
    # Rajamani 3.2: steer = L / R + K v² / R with K = m / L (l_r / 2 C_f - l_f / 2 C_r).
    steer_rad = 0.02
    vehicle = Vehicle(VehicleState(speed_mps=speed_mps))
    state = drive(vehicle, 10.0, steer_rad=steer_rad)
    front, rear = CAR.front_cornering_stiffness_n_per_rad, CAR.rear_cornering_stiffness_n_per_rad
    understeer = (
        CAR.mass_kg
        / CAR.wheelbase_m
        * (CAR.rear_axle_to_cg_m / (2 * front) - CAR.front_axle_to_cg_m / (2 * rear))
    )
    radius_m = (CAR.wheelbase_m + understeer * speed_mps**2) / steer_rad
    assert state.yaw_rate_radps == pytest.approx(speed_mps / radius_m, rel=1e-6)
    assert CAR.steady_steer_rad(speed_mps, state.yaw_rate_radps) == pytest.approx(steer_rad, rel=1e-6)


def test_slow_circle_has_the_radius_of_the_wheelbase() -> None:
    vehicle = Vehicle(VehicleState(speed_mps=3.0))
    state = drive(vehicle, 3.0, steer_rad=0.1)
    assert state.yaw_rate_radps == pytest.approx(3.0 * 0.1 / CAR.wheelbase_m, rel=1e-6)
    assert vehicle.rig_velocity_mps()[1] == pytest.approx(0.0, abs=1e-6)
    assert CAR.steady_steer_rad(3.0, state.yaw_rate_radps) == pytest.approx(0.1, rel=1e-6)


def test_driven_circle_closes() -> None:
    state = VehicleState(speed_mps=10.0)
    vehicle = Vehicle(state)
    drive(vehicle, 3.0, steer_rad=0.05)
    start = vehicle.state
    seconds = 2 * math.pi / start.yaw_rate_radps
    vehicle.advance(0.05, 0.0, duration_s=seconds)
    assert (vehicle.state.x_m, vehicle.state.y_m) == pytest.approx((start.x_m, start.y_m), abs=0.05)
    assert vehicle.state.yaw_rad - start.yaw_rad == pytest.approx(2 * math.pi, rel=1e-4)


def test_lags_reach_63_percent_of_a_step_in_their_time() -> None:
    vehicle = Vehicle(VehicleState(speed_mps=10.0))
    state = vehicle.advance(0.1, 2.0, duration_s=0.1)
    share = 1 - math.exp(-1)
    assert state.steer_rad == pytest.approx(0.1 * share, rel=2e-3)
    assert state.accel_mps2 == pytest.approx(2.0 * share, rel=2e-3)


@given(
    speed_mps=st.floats(0.0, 30.0),
    steer_rad=st.floats(-0.6, 0.6),
    braking_mps2=st.floats(0.5, 9.0),
    accel_mps2=st.floats(-8.0, 6.0),
)
def test_braking_never_reverses(
    speed_mps: float, steer_rad: float, braking_mps2: float, accel_mps2: float
) -> None:
    ahead = Vehicle(VehicleState(speed_mps=speed_mps, accel_mps2=accel_mps2))
    turning = Vehicle(VehicleState(speed_mps=speed_mps, accel_mps2=accel_mps2))
    for _ in range(20):
        before_m = ahead.state.x_m
        assert ahead.advance(0.0, -braking_mps2, duration_s=0.1).x_m >= before_m
        assert turning.advance(steer_rad, -braking_mps2, duration_s=0.1).speed_mps >= 0.0


def test_stands_still_without_a_command_and_with_the_brake_on() -> None:
    for accel_mps2 in (0.0, -5.0):
        vehicle = Vehicle(VehicleState())
        state = drive(vehicle, 2.0, accel_mps2=accel_mps2, steer_rad=0.3)
        assert (state.x_m, state.y_m, state.yaw_rad, state.speed_mps) == (0.0, 0.0, 0.0, 0.0)
        assert vehicle.rig_acceleration_mps2()[0] == 0.0


def test_ten_milliseconds_are_fine_enough() -> None:
    coarse, fine = (Vehicle(VehicleState(speed_mps=12.0, yaw_rate_radps=0.1)) for _ in range(2))
    coarse.advance(0.05, -3.0, duration_s=0.1)
    for _ in range(1000):
        fine.advance(0.05, -3.0, duration_s=1e-4)
    np.testing.assert_allclose(coarse.state.as_array(), fine.state.as_array(), atol=2e-3)


def test_rig_feels_centripetal_acceleration() -> None:
    vehicle = Vehicle(VehicleState(speed_mps=10.0))
    state = drive(vehicle, 5.0, steer_rad=0.05)
    _, left = vehicle.rig_acceleration_mps2()
    assert left == pytest.approx(10.0 * state.yaw_rate_radps, rel=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mass_kg": 0.0}, "mass_kg: expected a positive number, got 0.0"),
        ({"steering_lag_s": math.nan}, "steering_lag_s: expected a positive number, got nan"),
        ({"rear_axle_to_cg_m": 3.0}, "expected less than the wheelbase of 2.85, got 3.0"),
    ],
)
def test_impossible_cars_are_refused(change: dict[str, float], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        VehicleParameters(**change)


def test_impossible_states_and_commands_are_refused() -> None:
    with pytest.raises(InvalidInput, match="speed_mps: expected zero or more, got -1"):
        VehicleState(speed_mps=-1.0)
    with pytest.raises(InvalidInput, match="yaw_rad: expected a finite number, got nan"):
        VehicleState(yaw_rad=math.nan)
    vehicle = Vehicle(VehicleState())
    with pytest.raises(InvalidInput, match="commands: expected finite numbers"):
        vehicle.advance(math.inf, 0.0, duration_s=0.1)
    with pytest.raises(InvalidInput, match="duration_s: expected a positive number, got 0"):
        vehicle.advance(0.0, 0.0, duration_s=0.0)
