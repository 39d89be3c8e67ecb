"""Our controller and vehicle as a service: AlpaSim's runtime can drive with them in place of its own.

    servicer = ControllerServicer(ServedController())
    with serve(servicer.register, port=6003): ...

As AlpaSim's own does: the controller runs every 100 ms from a session's beginning on, also where a step is
shorter; the pose of each request replaces the vehicle's (someone put it on the ground), its motion does not,
except in the first request and where `coerce_dynamic_state` asks for it. The vehicle moves in the plane of
its own pose.
"""

from __future__ import annotations

import logging
from collections import deque

import numpy as np

from alpamayo_ros.sensing.rigid import Matrix4
from alpamayo_ros.sim.controller import STEP_US, Command, MpcController, reference_in_rig
from alpamayo_ros.sim.protocol.controller import ControlledState, ControlRequest, RigState
from alpamayo_ros.sim.protocol.convert import RigMotion
from alpamayo_ros.sim.roads import Float64Array
from alpamayo_ros.sim.trajectories import interpolate_poses
from alpamayo_ros.sim.vehicle import Vehicle, VehicleParameters, VehicleState
from alpamayo_ros.types import InvalidInput

_KEPT_POSES = 512
"""Poses that a plan of an older instant can refer to."""

_log = logging.getLogger(__name__)


class ServedController:
    """Makes a controller and a vehicle for each session (a protocol.controller.ControllerHandler)."""

    def __init__(self, parameters: VehicleParameters | None = None) -> None:
        self._parameters = parameters or VehicleParameters()

    def start(self, session_uuid: str) -> ControlledVehicle:
        """Begin a rollout."""
        return ControlledVehicle(self._parameters)


class ControlledVehicle:
    """One rollout's controller and vehicle (a ControllerSession)."""

    def __init__(self, parameters: VehicleParameters) -> None:
        self._parameters = parameters
        self._controller = MpcController(parameters)
        self._vehicle: Vehicle | None = None
        self._command: Command | None = None
        self._controlled_us = 0
        self._stamps_us: deque[int] = deque(maxlen=_KEPT_POSES)
        self._poses: deque[Matrix4] = deque(maxlen=_KEPT_POSES)

    def advance(self, request: ControlRequest) -> list[ControlledState]:
        """Drive to `request.to_us`; raises InvalidInput for a request that does not go on from the last."""
        state = request.state
        if self._vehicle is None:
            vehicle = self._vehicle = Vehicle(self._state_of(state.motion), self._parameters)
            self._stamps_us.append(state.time_us)
            self._poses.append(state.local_from_rig)
        elif state.time_us != self._stamps_us[-1]:
            raise InvalidInput(
                f"state.timestamp_us: expected {self._stamps_us[-1]} us, where the last step ended, "
                f"got {state.time_us} us"
            )
        else:
            vehicle = self._vehicle
            self._poses[-1] = state.local_from_rig
            if request.coerce_motion:
                vehicle.state = self._state_of(state.motion)
        plan = self._pose_at(int(request.stamps_us[0])) @ request.plan_in_rig
        report_us = set(request.report_us)
        reports = []
        while (now_us := self._stamps_us[-1]) < request.to_us:
            vehicle.state = vehicle.state.at_origin()
            if self._command is None or now_us >= self._controlled_us + STEP_US:
                self._control(vehicle, request, plan)
            until_us = min(self._controlled_us + STEP_US, *(each for each in report_us if each > now_us))
            self._move(vehicle, until_us)
            if until_us in report_us:
                here = RigState(until_us, self._poses[-1], self._motion(vehicle))
                reports.append(ControlledState(here, here))
        return reports

    def close(self) -> None:
        """Nothing is held."""

    def _control(self, vehicle: Vehicle, request: ControlRequest, plan: Float64Array) -> None:
        now_us, pose = self._stamps_us[-1], self._poses[-1]
        reference = reference_in_rig(request.stamps_us, plan, now_us=now_us, local_from_rig_now=pose)
        self._command = self._controller.control(vehicle.state, reference)
        self._controlled_us = now_us
        if not self._command.solved:
            _log.warning("the controller found no command (%s) and brakes", self._command.status)

    def _move(self, vehicle: Vehicle, until_us: int) -> None:
        command = self._command
        assert command is not None
        duration_s = (until_us - self._stamps_us[-1]) / 1e6
        moved = vehicle.advance(command.steer_rad, command.accel_mps2, duration_s=duration_s)
        step = np.eye(4)
        cosine, sine = np.cos(moved.yaw_rad), np.sin(moved.yaw_rad)
        step[:2, :2] = [[cosine, -sine], [sine, cosine]]
        step[:2, 3] = moved.x_m, moved.y_m
        self._poses.append(self._poses[-1] @ step)
        self._stamps_us.append(until_us)

    def _pose_at(self, time_us: int) -> Matrix4:
        """Return where the rig was; raises InvalidInput for a time before all that is remembered."""
        if time_us == self._stamps_us[-1]:
            return self._poses[-1]
        if time_us < self._stamps_us[0]:
            raise InvalidInput(
                "planned_trajectory_in_rig: expected a first pose not before the rollout, "
                f"{self._stamps_us[0]} us, got {time_us} us"
            )
        stamps_us = np.array(self._stamps_us, np.int64)
        return np.asarray(interpolate_poses(stamps_us, np.stack(self._poses), np.array([time_us]))[0])

    def _state_of(self, motion: RigMotion) -> VehicleState:
        """Return the vehicle's state that moves so; the wheels are at the angle that holds the yaw rate."""
        forward, left, _ = motion.velocity_mps
        yaw_rate, speed = motion.turn_radps[2], max(0.0, forward)
        return VehicleState(
            speed_mps=speed,
            cg_left_mps=left + self._parameters.rear_axle_to_cg_m * yaw_rate,
            yaw_rate_radps=yaw_rate,
            steer_rad=self._parameters.steady_steer_rad(speed, yaw_rate),
            accel_mps2=motion.accel_mps2[0] + yaw_rate * left,
        )

    def _motion(self, vehicle: Vehicle) -> RigMotion:
        state = vehicle.state
        _, turning = self._parameters.lateral_rates(state.speed_mps)
        rates = (state.cg_left_mps, state.yaw_rate_radps, state.steer_rad)
        return RigMotion(
            velocity_mps=(*vehicle.rig_velocity_mps(), 0.0),
            turn_radps=(0.0, 0.0, state.yaw_rate_radps),
            accel_mps2=(*vehicle.rig_acceleration_mps2(), 0.0),
            turn_accel_radps2=(0.0, 0.0, sum(k * rate for k, rate in zip(turning, rates, strict=True))),
        )
