"""Follows a planned trajectory: AlpaSim's linear model-predictive controller, with its weights and bounds.

At every step the bicycle model is linearised at the present state and discretised exactly, the states are
eliminated, and the 20 commands to come are found by a quadratic programme (OSQP). Only deviations from 1.0 to
2.0 s ahead cost anything: what a plan says about the first second is not followed as such. A solution depends
on the present state and plan alone: every solve starts afresh, and OSQP adapts by iterations, not by time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import osqp
import scipy.sparse
from numpy.typing import NDArray

from alpamayo_ros.sim.roads import Float64Array
from alpamayo_ros.sim.vehicle import VehicleParameters, VehicleState
from alpamayo_ros.types import InvalidInput, require_array, require_finite, require_rotation

HORIZON_STEPS = 20
STEP_US = 100_000
FIRST_TRACKED_STEP = 10
TOLERANCE = 1e-4
ITERATIONS = (500, 10_000)
"""Attempts at a solution. The first is AlpaSim's; where it does not suffice (a plan to reverse, say) AlpaSim
commands straight wheels and no acceleration, here the second almost always finds it."""

FALLBACK_BRAKING_MPS2 = 3.0
"""What the vehicle does where no solution is found: the steering angle held, firm braking."""

_STEP_S = STEP_US / 1e6
_STATES, _INPUTS = 8, 2
_X, _Y, _YAW, _SPEED, _CG_LEFT, _YAW_RATE, _STEER, _ACCEL = range(_STATES)
_REGULARISATION = 1e-6
_SOLVED = (osqp.SolverStatus.OSQP_SOLVED, osqp.SolverStatus.OSQP_SOLVED_INACCURATE)


@dataclass(frozen=True)
class MpcWeights:
    """What deviations cost: m², rad², (m/s²)²; the last two are of the commands."""

    longitudinal: float = 2.0
    lateral: float = 1.0
    heading: float = 1.0
    acceleration: float = 0.1
    steer_command: float = 5.0
    acceleration_command: float = 1.0


@dataclass(frozen=True)
class MpcLimits:
    """Bounds on the states over the horizon, and on the commands; yaw is relative to the present heading."""

    yaw_rad: tuple[float, float] = (-math.pi / 2, math.pi / 2)
    speed_mps: tuple[float, float] = (0.0, 35.0)
    steer_rad: tuple[float, float] = (-math.pi / 4, math.pi / 4)
    accel_mps2: tuple[float, float] = (-8.0, 6.0)
    steer_command_rad: tuple[float, float] = (-2.0, 2.0)
    accel_command_mps2: tuple[float, float] = (-9.0, 6.0)


@dataclass(frozen=True)
class Command:
    """What the vehicle is told.

    Attributes:
        steer_rad, accel_mps2: the commands.
        solved: False where no attempt of the solver found one, and this is the fallback: the present steering
            angle and FALLBACK_BRAKING_MPS2.
        status: the solver's own word.
        iterations: how many it took.
    """

    steer_rad: float
    accel_mps2: float
    solved: bool
    status: str
    iterations: int


def reference_in_rig(
    stamps_us: NDArray[np.int64],
    local_from_rig: Float64Array,
    *,
    now_us: int,
    local_from_rig_now: Float64Array,
) -> Float64Array:
    """Return a planned trajectory as the controller reads it: x, y, yaw [21, 3] in the present rig frame.

    Row k is at now + k * 0.1 s, interpolated; beyond the plan's end, the end.

    Args:
        stamps_us: int64 [P >= 1], rising; the first not later than now.
        local_from_rig: float64 [P, 4, 4], poses of the rig along the plan.
        now_us: present instant.
        local_from_rig_now: present pose of the rig, float64 [4, 4].

    Raises:
        InvalidInput: for what AlpaSim's controller refuses (an empty plan, stamps that repeat or fall, a
            first pose later than now, a rotation that is none), and for numbers that are not finite, which
            AlpaSim's lets through.
    """
    require_array("plan: stamps_us", stamps_us, (None,), np.int64)
    require_array("plan: local_from_rig", local_from_rig, (len(stamps_us), 4, 4), np.float64)
    if not len(stamps_us):
        raise InvalidInput("plan: expected at least one pose, got none")
    steps = np.diff(stamps_us)
    if np.any(steps <= 0):
        index = int(np.argmax(steps <= 0))
        raise InvalidInput(
            f"plan: stamps_us: expected rising stamps, got {stamps_us[index]} then {stamps_us[index + 1]}"
        )
    if stamps_us[0] > now_us:
        raise InvalidInput(
            f"plan: expected a first pose not later than now, {now_us} us, got {stamps_us[0]} us"
        )
    require_finite("plan: local_from_rig", local_from_rig)
    require_rotation("plan: local_from_rig", local_from_rig[:, :3, :3])
    rotation = local_from_rig_now[:3, :3]
    xy = (local_from_rig[:, :3, 3] - local_from_rig_now[:3, 3]) @ rotation[:, :2]
    forward = local_from_rig[:, :3, 0] @ rotation[:, :2]
    yaw = np.unwrap(np.arctan2(forward[:, 1], forward[:, 0]))
    at_us = now_us + STEP_US * np.arange(HORIZON_STEPS + 1, dtype=np.int64)
    since_s = (stamps_us - now_us) / 1e6
    return np.stack(
        [np.interp((at_us - now_us) / 1e6, since_s, row) for row in (xy[:, 0], xy[:, 1], yaw)], -1
    )


class MpcController:
    """The controller of one vehicle; keeps the programme's structure, nothing of earlier steps."""

    def __init__(
        self,
        parameters: VehicleParameters | None = None,
        *,
        weights: MpcWeights | None = None,
        limits: MpcLimits | None = None,
        iterations: tuple[int, ...] = ITERATIONS,
    ) -> None:
        self.parameters = parameters or VehicleParameters()
        self._iterations = iterations
        weights, limits = weights or MpcWeights(), limits or MpcLimits()
        self._tracked_rows = [_X, _Y, _YAW, _ACCEL]
        self._tracked_weights = np.array(
            [weights.longitudinal, weights.lateral, weights.heading, weights.acceleration]
        )
        input_weights = np.tile([weights.steer_command, weights.acceleration_command], HORIZON_STEPS)
        self._input_cost = np.diag(input_weights + _REGULARISATION)
        self._bounded_rows = [_YAW, _SPEED, _STEER, _ACCEL]
        bounds = np.array([limits.yaw_rad, limits.speed_mps, limits.steer_rad, limits.accel_mps2])
        self._state_lower = np.tile(bounds[:, 0], HORIZON_STEPS)
        self._state_upper = np.tile(bounds[:, 1], HORIZON_STEPS)
        inputs = np.array([limits.steer_command_rad, limits.accel_command_mps2])
        self._input_lower = np.tile(inputs[:, 0], HORIZON_STEPS)
        self._input_upper = np.tile(inputs[:, 1], HORIZON_STEPS)
        # Block (k, j) of the prediction is A^(k - 1 - j) B: how command j moves the state of step k.
        power = np.arange(1, HORIZON_STEPS + 1)[:, None] - 1 - np.arange(HORIZON_STEPS)[None, :]
        self._power = np.where(power >= 0, power, HORIZON_STEPS)  # the last one is zero
        self._cost_pattern = np.triu(np.ones((_INPUTS * HORIZON_STEPS, _INPUTS * HORIZON_STEPS), bool))
        self._constraint_pattern = self._pattern_of_constraints()
        self._solver = osqp.OSQP()  # looks for its back ends on disk, so only once
        self._cost = scipy.sparse.csc_matrix(self._cost_pattern.astype(np.float64))
        self._constraint = scipy.sparse.csc_matrix(self._constraint_pattern.astype(np.float64))

    def control(self, state: VehicleState, reference: Float64Array) -> Command:
        """Return the command for the present state.

        Args:
            state: the vehicle's; its position and yaw are taken as the origin of `reference`.
            reference: x, y, yaw [21, 3] in the rig frame (see reference_in_rig).

        Raises:
            InvalidInput: for a reference of another shape or with numbers that are not finite.
        """
        require_array("reference", reference, (HORIZON_STEPS + 1, 3), np.float64)
        require_finite("reference", reference)
        start = state.at_origin().as_array()
        if start[_SPEED] == 0.0:
            start[_ACCEL] = max(0.0, start[_ACCEL])  # brakes hold a standing car, they do not reverse it
        free, response = self._prediction(start)
        tracked = response[FIRST_TRACKED_STEP - 1 :, self._tracked_rows].reshape(-1, response.shape[-1])
        wanted = np.zeros((HORIZON_STEPS + 1 - FIRST_TRACKED_STEP, len(self._tracked_rows)))
        wanted[:, :3] = reference[FIRST_TRACKED_STEP:]
        error = free[FIRST_TRACKED_STEP - 1 :, self._tracked_rows] - wanted
        weighted = tracked * np.tile(self._tracked_weights, len(error))[:, None]
        cost = weighted.T @ tracked + self._input_cost
        bounded = response[:, self._bounded_rows].reshape(-1, response.shape[-1])
        lower, upper = self._state_bounds(free[:, self._bounded_rows].ravel(), bounded)
        return self._solve(state, cost, weighted.T @ error.ravel(), bounded, lower, upper)

    def _linearised(self, start: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Return the discrete matrices A [8, 8], B [8, 2] of one step around a state at the origin."""
        parameters = self.parameters
        speed = float(start[_SPEED])
        rates = np.zeros((_STATES + _INPUTS, _STATES + _INPUTS))
        rates[_X, _SPEED] = 1.0
        rates[_Y, _YAW] = speed
        if speed >= parameters.kinematic_below_mps:
            arm = parameters.rear_axle_to_cg_m
            rates[_X, _YAW] = -(start[_CG_LEFT] - arm * start[_YAW_RATE])
            rates[_Y, _CG_LEFT] = 1.0
            rates[_Y, _YAW_RATE] = -arm
        rates[_YAW, _YAW_RATE] = 1.0
        rates[_SPEED, _ACCEL] = 1.0
        lateral, turning = parameters.lateral_rates(speed)
        rates[_CG_LEFT, [_CG_LEFT, _YAW_RATE, _STEER]] = lateral
        rates[_YAW_RATE, [_CG_LEFT, _YAW_RATE, _STEER]] = turning
        rates[_STEER, [_STEER, _STATES]] = np.array([-1.0, 1.0]) / parameters.steering_lag_s
        rates[_ACCEL, [_ACCEL, _STATES + 1]] = np.array([-1.0, 1.0]) / parameters.acceleration_lag_s
        discrete = _exponential(rates * _STEP_S)
        return discrete[:_STATES, :_STATES], discrete[:_STATES, _STATES:]

    def _prediction(self, start: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Return the states of steps 1 … 20 without commands [20, 8], and what commands add [20, 8, 40]."""
        transition, effect = self._linearised(start)
        free = np.empty((HORIZON_STEPS, _STATES))
        effects = np.zeros((HORIZON_STEPS + 1, _STATES, _INPUTS))
        state = start
        for step in range(HORIZON_STEPS):
            state = transition @ state
            free[step] = state
            effects[step] = effect
            effect = transition @ effect
        blocks = effects[self._power]  # [20 steps, 20 commands, 8, 2]
        return free, blocks.transpose(0, 2, 1, 3).reshape(HORIZON_STEPS, _STATES, -1)

    def _state_bounds(self, free: Float64Array, response: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Return what commands may add to the bounded states, [80] each.

        A bound that no command can keep any more (braking hard just before standstill) gives way as far as it
        must; without that the programme has no solution.
        """
        least = np.where(response > 0, response * self._input_lower, response * self._input_upper).sum(-1)
        most = np.where(response > 0, response * self._input_upper, response * self._input_lower).sum(-1)
        return np.minimum(self._state_lower - free, most), np.maximum(self._state_upper - free, least)

    def _solve(
        self,
        state: VehicleState,
        cost: Float64Array,
        gradient: Float64Array,
        bounded: Float64Array,
        lower: Float64Array,
        upper: Float64Array,
    ) -> Command:
        self._cost.data[:] = cost.T[self._cost_pattern.T]
        self._constraint.data[:] = self._constraints(bounded).T[self._constraint_pattern.T]
        lower = np.concatenate([self._input_lower, lower])
        upper = np.concatenate([self._input_upper, upper])
        for limit in self._iterations:
            # Set up afresh (0.3 ms): a solver that is updated keeps its adapted step size and the rounding of
            # its scaling, and then the past of a rollout shows in its future.
            self._solver.setup(
                P=self._cost,
                q=gradient,
                A=self._constraint,
                l=lower,
                u=upper,
                verbose=False,
                eps_abs=TOLERANCE,
                eps_rel=TOLERANCE,
                max_iter=limit,
                polishing=False,
                adaptive_rho=True,  # counts iterations, not time
            )
            result = self._solver.solve(raise_error=False)
            status, iterations = str(result.info.status), int(result.info.iter)
            if result.info.status_val in _SOLVED and np.all(np.isfinite(result.x[:_INPUTS])):
                return Command(float(result.x[0]), float(result.x[1]), True, status, iterations)
        return Command(state.steer_rad, -FALLBACK_BRAKING_MPS2, False, status, iterations)

    def _constraints(self, bounded: Float64Array) -> Float64Array:
        return np.concatenate([np.eye(_INPUTS * HORIZON_STEPS), bounded])

    def _pattern_of_constraints(self) -> NDArray[np.bool_]:
        """Return where the constraint matrix [120, 40] can be other than zero.

        A state of step k knows the commands before it; yaw and steering know steering commands only, speed
        and acceleration only acceleration commands.
        """
        earlier = self._power < HORIZON_STEPS  # [20, 20]
        by_command = np.array([[True, False], [False, True], [True, False], [False, True]])
        blocks = earlier[:, None, :, None] & by_command[None, :, None, :]
        return self._constraints(blocks.reshape(4 * HORIZON_STEPS, -1)).astype(bool)


def _exponential(matrix: Float64Array) -> Float64Array:
    """Return a matrix's exponential: Taylor's series of matrix / 2^n, squared n times.

    Fifteen products of 10 x 10; scipy.linalg.expm takes milliseconds for it where its threads find no core.
    """
    squarings = max(0, math.ceil(math.log2(max(float(np.abs(matrix).sum(axis=1).max()), 1e-9))) + 3)
    scaled = matrix / 2.0**squarings
    result = np.eye(len(matrix))
    for order in range(9, 0, -1):
        result = np.eye(len(matrix)) + scaled @ result / order
    for _ in range(squarings):
        result = result @ result
    return result
