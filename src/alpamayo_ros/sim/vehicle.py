"""The ego's motion: AlpaSim's planar bicycle model, with its constants.

Above `kinematic_below_mps` the tyres slip (linear dynamic bicycle: Rajamani, Vehicle Dynamics and Control,
2nd ed., 2.3), below it they do not; steering angle and acceleration follow their commands with a lag each.
The lateral equations are at the centre of gravity, velocities that others see at the rig's origin (the rear
axle): v_left(rig) = v_left(cg) - rear_axle_to_cg * yaw rate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import numpy as np

from alpamayo_ros.sim.roads import Float64Array
from alpamayo_ros.types import InvalidInput

INTEGRATION_STEP_S = 0.01
NO_SLIP_RATE_PER_S = 10.0
"""How fast the kinematic model pulls lateral speed and yaw rate to their no-slip values."""


@dataclass(frozen=True)
class VehicleParameters:
    """A car in AlpaSim's model; the defaults are AlpaSim's (a Ford Fusion).

    The equations take each cornering stiffness twice, once a wheel of the axle.
    """

    mass_kg: float = 2014.4
    yaw_inertia_kgm2: float = 3414.2
    wheelbase_m: float = 2.85
    rear_axle_to_cg_m: float = 1.59
    front_cornering_stiffness_n_per_rad: float = 93534.5
    rear_cornering_stiffness_n_per_rad: float = 176162.1
    steering_lag_s: float = 0.1
    acceleration_lag_s: float = 0.1
    kinematic_below_mps: float = 5.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (math.isfinite(value) and value > 0):
                raise InvalidInput(f"vehicle: {field.name}: expected a positive number, got {value}")
        if self.rear_axle_to_cg_m >= self.wheelbase_m:
            raise InvalidInput(
                "vehicle: rear_axle_to_cg_m: expected less than the wheelbase of "
                f"{self.wheelbase_m}, got {self.rear_axle_to_cg_m}"
            )

    @property
    def front_axle_to_cg_m(self) -> float:
        """Distance of the front axle from the centre of gravity."""
        return self.wheelbase_m - self.rear_axle_to_cg_m

    def lateral_rates(
        self, speed_mps: float
    ) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
        """Return the rows (v_left, yaw_rate, steer) -> d v_left / dt and -> d yaw_rate / dt.

        v_left is the centre of gravity's. `speed_mps` decides between the two models.
        """
        if speed_mps < self.kinematic_below_mps:
            yaw_rate_per_steer = speed_mps / self.wheelbase_m
            gain = NO_SLIP_RATE_PER_S
            return (
                (-gain, 0.0, gain * yaw_rate_per_steer * self.rear_axle_to_cg_m),
                (0.0, -gain, gain * yaw_rate_per_steer),
            )
        front = 2.0 * self.front_cornering_stiffness_n_per_rad
        rear = 2.0 * self.rear_cornering_stiffness_n_per_rad
        front_arm, rear_arm = self.front_axle_to_cg_m, self.rear_axle_to_cg_m
        moment = front_arm * front - rear_arm * rear
        mass, inertia = self.mass_kg, self.yaw_inertia_kgm2
        return (
            (-(front + rear) / (mass * speed_mps), -speed_mps - moment / (mass * speed_mps), front / mass),
            (
                -moment / (inertia * speed_mps),
                -(front_arm**2 * front + rear_arm**2 * rear) / (inertia * speed_mps),
                front_arm * front / inertia,
            ),
        )

    def steady_steer_rad(self, speed_mps: float, yaw_rate_radps: float) -> float:
        """Return the steering angle that holds a yaw rate at a speed; 0 when (almost) standing."""
        if speed_mps < 0.25:
            return 0.0
        if speed_mps < self.kinematic_below_mps:
            return yaw_rate_radps * self.wheelbase_m / speed_mps
        lateral, yaw = self.lateral_rates(speed_mps)
        # Both rates are zero: two equations in (v_left, steer).
        determinant = lateral[0] * yaw[2] - lateral[2] * yaw[0]
        return yaw_rate_radps * (lateral[1] * yaw[0] - lateral[0] * yaw[1]) / determinant


@dataclass(frozen=True)
class VehicleState:
    """The model's eight states; position and yaw are the rig's in a plane of the caller's choice.

    Attributes:
        x_m, y_m, yaw_rad: pose of the rig.
        speed_mps: forward, the same at rig and centre of gravity; never negative.
        cg_left_mps: leftward speed of the centre of gravity.
        yaw_rate_radps: counter-clockwise.
        steer_rad: of the front wheels, positive to the left.
        accel_mps2: forward acceleration that the drive train gives.
    """

    x_m: float = 0.0
    y_m: float = 0.0
    yaw_rad: float = 0.0
    speed_mps: float = 0.0
    cg_left_mps: float = 0.0
    yaw_rate_radps: float = 0.0
    steer_rad: float = 0.0
    accel_mps2: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            if not math.isfinite(getattr(self, field.name)):
                raise InvalidInput(
                    f"vehicle state: {field.name}: expected a finite number, got {getattr(self, field.name)}"
                )
        if self.speed_mps < 0:
            raise InvalidInput(f"vehicle state: speed_mps: expected zero or more, got {self.speed_mps}")

    def as_array(self) -> Float64Array:
        """Return the states [8] in the order of the attributes."""
        return np.array(self.as_tuple())

    def as_tuple(self) -> tuple[float, float, float, float, float, float, float, float]:
        """Return the states in the order of the attributes."""
        return (
            self.x_m,
            self.y_m,
            self.yaw_rad,
            self.speed_mps,
            self.cg_left_mps,
            self.yaw_rate_radps,
            self.steer_rad,
            self.accel_mps2,
        )

    def at_origin(self) -> VehicleState:
        """Return the same motion with the rig at the origin, heading along x."""
        return replace(self, x_m=0.0, y_m=0.0, yaw_rad=0.0)


_States = tuple[float, float, float, float, float, float, float, float]


class Vehicle:
    """Integrates the model: midpoint rule, 10 ms steps, speed held at zero or more.

    Unlike AlpaSim's, the speed of the midpoint is held at zero too: otherwise a standing car with its brake
    on creeps backwards by up to 4 mm in 100 ms.
    """

    def __init__(self, state: VehicleState, parameters: VehicleParameters | None = None) -> None:
        self.parameters = parameters or VehicleParameters()
        self.state = state

    def advance(self, steer_rad: float, accel_mps2: float, *, duration_s: float) -> VehicleState:
        """Hold two commands for a time; return the new state, which `state` is from now on too.

        Args:
            steer_rad: commanded angle of the front wheels.
            accel_mps2: commanded acceleration; the vehicle follows both with its lags.
            duration_s: how long.

        Raises:
            InvalidInput: for a command that is not finite or a duration that is not positive.
        """
        if not (math.isfinite(steer_rad) and math.isfinite(accel_mps2)):
            raise InvalidInput(f"commands: expected finite numbers, got {steer_rad} rad, {accel_mps2} m/s²")
        if not (math.isfinite(duration_s) and duration_s > 0):
            raise InvalidInput(f"duration_s: expected a positive number, got {duration_s}")
        steps = math.ceil(duration_s / INTEGRATION_STEP_S - 1e-9)
        step_s = duration_s / steps
        states = self.state.as_tuple()
        for _ in range(steps):
            middle = _moved(states, self._rates(states, steer_rad, accel_mps2), step_s / 2.0)
            states = _moved(states, self._rates(middle, steer_rad, accel_mps2), step_s)
        self.state = VehicleState(*states)
        return self.state

    def rig_velocity_mps(self) -> tuple[float, float]:
        """Return the rear axle's velocity (forward, left)."""
        state = self.state
        return (
            state.speed_mps,
            state.cg_left_mps - self.parameters.rear_axle_to_cg_m * state.yaw_rate_radps,
        )

    def rig_acceleration_mps2(self) -> tuple[float, float]:
        """Return the rear axle's acceleration (forward, left) as an accelerometer there would feel it.

        That is the rates of the velocity's two components, and what comes from the turning of the rig's axes.
        """
        state = self.state
        lateral, yaw = self.parameters.lateral_rates(state.speed_mps)
        motion = (state.cg_left_mps, state.yaw_rate_radps, state.steer_rad)
        cg_left_rate = sum(k * value for k, value in zip(lateral, motion, strict=True))
        yaw_accel = sum(k * value for k, value in zip(yaw, motion, strict=True))
        _, left_mps = self.rig_velocity_mps()
        standing = state.speed_mps == 0.0 and state.accel_mps2 < 0.0
        forward_rate = 0.0 if standing else state.accel_mps2
        return (
            forward_rate - state.yaw_rate_radps * left_mps,
            cg_left_rate
            - self.parameters.rear_axle_to_cg_m * yaw_accel
            + state.yaw_rate_radps * state.speed_mps,
        )

    def _rates(self, states: _States, steer_command_rad: float, accel_command_mps2: float) -> _States:
        _, _, yaw, speed, cg_left, yaw_rate, steer, accel = states
        lateral, turning = self.parameters.lateral_rates(speed)
        if speed < self.parameters.kinematic_below_mps:
            rig_left = 0.0  # the rear wheels do not slip
        else:
            rig_left = cg_left - self.parameters.rear_axle_to_cg_m * yaw_rate
        cosine, sine = math.cos(yaw), math.sin(yaw)
        return (
            speed * cosine - rig_left * sine,
            speed * sine + rig_left * cosine,
            yaw_rate,
            accel,
            lateral[0] * cg_left + lateral[1] * yaw_rate + lateral[2] * steer,
            turning[0] * cg_left + turning[1] * yaw_rate + turning[2] * steer,
            (steer_command_rad - steer) / self.parameters.steering_lag_s,
            (accel_command_mps2 - accel) / self.parameters.acceleration_lag_s,
        )


def _moved(states: _States, rates: _States, step_s: float) -> _States:
    """Return states + rates * step, the speed held at zero or more."""
    x, y, yaw, speed, cg_left, yaw_rate, steer, accel = (
        value + rate * step_s for value, rate in zip(states, rates, strict=True)
    )
    return x, y, yaw, max(0.0, speed), cg_left, yaw_rate, steer, accel
