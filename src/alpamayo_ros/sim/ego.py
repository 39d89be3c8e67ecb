"""The ego in local: controller and vehicle, its pose on the terrain."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.sim.controller import STEP_US, Command, MpcController, reference_in_rig
from alpamayo_ros.sim.roads import Float64Array, Terrain
from alpamayo_ros.sim.state import EgoState
from alpamayo_ros.sim.vehicle import Vehicle, VehicleParameters, VehicleState
from alpamayo_ros.types import InvalidInput


class EgoDynamics:
    """Moves the ego along planned trajectories, or is placed where a reference says.

    Args:
        terrain: the ground that the ego stands on.
        initial: where it begins.
        parameters: the vehicle; AlpaSim's by default.
    """

    def __init__(
        self, terrain: Terrain, initial: EgoState, *, parameters: VehicleParameters | None = None
    ) -> None:
        self._terrain = terrain
        self._parameters = parameters or VehicleParameters()
        self._controller = MpcController(self._parameters)
        self._command: Command | None = None
        self.unsolved_steps = 0
        """Steps in which the controller found no command and braked instead."""
        self.place(initial)

    @property
    def state(self) -> EgoState:
        """The ego now."""
        return self._state

    @property
    def command(self) -> Command | None:
        """What the controller commanded last; None while placed."""
        return self._command

    def place(self, state: EgoState) -> EgoState:
        """Put the ego into a state (while it follows the reference); returns it.

        The vehicle goes on from there as if it had driven so: velocities and yaw rate are the state's, the
        front wheels are at the angle that holds its yaw rate, the drive train gives its acceleration. A small
        negative speed of a standing reference counts as zero.

        Raises:
            InvalidInput: for a state that is not finite.
        """
        if not np.all(np.isfinite(state.local_from_rig)):
            raise InvalidInput("ego: local_from_rig: expected finite numbers, got others")
        forward, left = state.velocity_in_rig_mps
        yaw_rate = state.yaw_rate_radps
        vehicle_state = VehicleState(
            speed_mps=max(0.0, forward),
            cg_left_mps=left + self._parameters.rear_axle_to_cg_m * yaw_rate,
            yaw_rate_radps=yaw_rate,
            steer_rad=self._parameters.steady_steer_rad(max(0.0, forward), yaw_rate),
            accel_mps2=state.accel_in_rig_mps2[0] + yaw_rate * left,
        )
        self._vehicle = Vehicle(vehicle_state, self._parameters)
        self._command = None
        self._state = state
        return state

    def advance(self, stamps_us: NDArray[np.int64], local_from_rig: Float64Array, to_us: int) -> EgoState:
        """Follow a planned trajectory until `to_us`; returns the new state.

        Args:
            stamps_us: int64 [P], rising, the first not later than now.
            local_from_rig: float64 [P, 4, 4], poses of the rig in local at those stamps.
            to_us: when to arrive; the controller runs every 100 ms from now on.

        Raises:
            InvalidInput: for a plan that the controller refuses (see reference_in_rig) or a time that is not
                later than now.
        """
        if to_us <= self._state.time_us:
            raise InvalidInput(f"to_us: expected a time after now, {self._state.time_us} us, got {to_us} us")
        while self._state.time_us < to_us:
            self._step(stamps_us, local_from_rig, min(self._state.time_us + STEP_US, to_us))
        return self._state

    def _step(self, stamps_us: NDArray[np.int64], local_from_rig: Float64Array, to_us: int) -> None:
        now = self._state
        reference = reference_in_rig(
            stamps_us, local_from_rig, now_us=now.time_us, local_from_rig_now=now.local_from_rig
        )
        vehicle = self._vehicle
        vehicle.state = vehicle.state.at_origin()
        command = self._controller.control(vehicle.state, reference)
        self._command = command
        self.unsolved_steps += not command.solved
        moved = vehicle.advance(command.steer_rad, command.accel_mps2, duration_s=(to_us - now.time_us) / 1e6)
        x_m, y_m, _ = now.local_from_rig[:3, :3] @ (moved.x_m, moved.y_m, 0.0) + now.local_from_rig[:3, 3]
        heading = now.local_from_rig[:2, :2] @ (np.cos(moved.yaw_rad), np.sin(moved.yaw_rad))
        self._state = EgoState(
            time_us=to_us,
            local_from_rig=self._terrain.pose_on_ground(x_m, y_m, float(np.arctan2(heading[1], heading[0]))),
            velocity_in_rig_mps=vehicle.rig_velocity_mps(),
            yaw_rate_radps=moved.yaw_rate_radps,
            accel_in_rig_mps2=vehicle.rig_acceleration_mps2(),
            steer_rad=moved.steer_rad,
        )
