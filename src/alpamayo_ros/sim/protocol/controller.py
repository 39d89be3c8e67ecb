"""AlpaSim's VDCService (vehicle dynamics and control): a client, and a server around any controller.

"local_to_rig" on the wire is the pose of the rig in local, and the plan is in the rig frame at its own first
stamp.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import grpc
import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.sensing.rigid import Matrix4
from alpamayo_ros.sim.protocol.channel import Connection, Service
from alpamayo_ros.sim.protocol.convert import (
    RigMotion,
    dynamic_state_message,
    matrix_of,
    motion_of,
    pose_message,
    trajectory_message,
    trajectory_of,
    version_message,
)
from alpamayo_ros.sim.protocol.generated import common_pb2, controller_pb2, controller_pb2_grpc
from alpamayo_ros.sim.protocol.server import answering
from alpamayo_ros.sim.protocol.service import (
    OUR_VERSION,
    Closing,
    ServiceVersion,
    Sessions,
    reading,
    stamp_of,
)
from alpamayo_ros.sim.roads import Float64Array
from alpamayo_ros.types import InvalidInput, require_array

CONTROLLER = Service("controller", controller_pb2_grpc.VDCServiceStub)

MAX_STEP_US = 60_000_000
MIN_REPORT_US = 1000
"""Limits on one request, so that a wrong number costs an error and not the server."""


@dataclass(frozen=True, eq=False)
class RigState:
    """The rig at an instant: pose [4, 4] in local, motion in its own axes."""

    time_us: int
    local_from_rig: Matrix4
    motion: RigMotion = field(default_factory=RigMotion)

    def __post_init__(self) -> None:
        require_array("state: local_from_rig", self.local_from_rig, (4, 4), np.float64)


@dataclass(frozen=True, eq=False)
class ControlRequest:
    """One step that is asked of a controller and its vehicle.

    Attributes:
        state: where the vehicle is now; its pose counts, its motion only in the first request of a session
            and with `coerce_motion`.
        stamps_us: int64 [P >= 1] of the plan, rising; the first not later than now.
        plan_in_rig: float64 [P, 4, 4], poses of the rig along the plan in the rig frame at its first stamp.
        to_us: until when to drive.
        coerce_motion: whether the vehicle takes over the state's motion (while it follows a recording).
        report_every_us: spacing of the states that are asked for on the way; 0 for the last alone.

    Raises:
        InvalidInput: for a plan or times that are not so.
    """

    state: RigState
    stamps_us: NDArray[np.int64]
    plan_in_rig: Float64Array
    to_us: int
    coerce_motion: bool = False
    report_every_us: int = 0

    def __post_init__(self) -> None:
        now_us = self.state.time_us
        require_array("plan: stamps_us", self.stamps_us, (None,), np.int64)
        require_array("plan_in_rig", self.plan_in_rig, (len(self.stamps_us), 4, 4), np.float64)
        if not len(self.stamps_us):
            raise InvalidInput("planned_trajectory_in_rig: expected at least one pose, got none")
        if self.stamps_us[0] > now_us:
            raise InvalidInput(
                f"planned_trajectory_in_rig: expected a first pose not later than now, {now_us} us, "
                f"got {self.stamps_us[0]} us"
            )
        if not now_us < self.to_us <= now_us + MAX_STEP_US:
            raise InvalidInput(
                f"future_time_us: expected a time after now, {now_us} us, by at most {MAX_STEP_US} us, "
                f"got {self.to_us} us"
            )
        if self.report_every_us != 0 and self.report_every_us < MIN_REPORT_US:
            raise InvalidInput(
                f"pose_reporting_interval_us: expected 0, or {MIN_REPORT_US} us or more, "
                f"got {self.report_every_us} us"
            )

    @property
    def report_us(self) -> tuple[int, ...]:
        """Instants of the states that are to be answered, rising; the last is to_us."""
        if not self.report_every_us:
            return (self.to_us,)
        first_us = self.state.time_us + self.report_every_us
        return (*range(first_us, self.to_us, self.report_every_us), self.to_us)


@dataclass(frozen=True, eq=False)
class ControlledState:
    """The vehicle at an instant: as it is, and as its own localisation has it (the same without noise)."""

    true: RigState
    estimated: RigState


class ControllerSession(Closing, Protocol):
    """The controller and vehicle of one rollout."""

    def advance(self, request: ControlRequest) -> Sequence[ControlledState]:
        """Drive to `request.to_us` and return the states at `request.report_us`; raises InvalidInput."""
        ...


class ControllerHandler(Protocol):
    """What a server of VDCService is made around."""

    def start(self, session_uuid: str) -> ControllerSession:
        """Begin a rollout."""
        ...


class ControllerServicer(controller_pb2_grpc.VDCServiceServicer):
    """Serves a ControllerHandler."""

    def __init__(self, handler: ControllerHandler, *, version_id: str = OUR_VERSION) -> None:
        self._handler, self._version_id = handler, version_id
        self.sessions: Sessions[ControllerSession] = Sessions()

    def register(self, server: grpc.Server) -> None:
        """Add this to a server; see server.serve, and give it sessions.close_all as `on_stop`."""
        controller_pb2_grpc.add_VDCServiceServicer_to_server(self, server)

    def get_version(self, request: common_pb2.Empty, context: grpc.ServicerContext) -> common_pb2.VersionId:
        """Say what this is."""
        return version_message(self._version_id)

    def start_session(
        self, request: controller_pb2.VDCSessionRequest, context: grpc.ServicerContext
    ) -> common_pb2.SessionRequestStatus:
        """Begin a rollout; the vehicle is the handler's own."""
        with answering(context):
            rig_file = request.vehicle_and_controller_params.rig_file
            if rig_file:
                raise InvalidInput(
                    f"vehicle_and_controller_params.rig_file: expected none, got {rig_file!r}: "
                    "the vehicle is this controller's own"
                )
            self.sessions.start(request.session_uuid, lambda: self._handler.start(request.session_uuid))
            return common_pb2.SessionRequestStatus()

    def close_session(
        self, request: controller_pb2.VDCSessionCloseRequest, context: grpc.ServicerContext
    ) -> common_pb2.Empty:
        """End a rollout."""
        with answering(context):
            self.sessions.close(request.session_uuid)
            return common_pb2.Empty()

    def run_controller_and_vehicle(
        self, request: controller_pb2.RunControllerAndVehicleModelRequest, context: grpc.ServicerContext
    ) -> controller_pb2.RunControllerAndVehicleModelResponse:
        """Drive on."""
        with answering(context):
            wanted = control_request_of(request)
            with self.sessions.use(request.session_uuid) as session:
                return control_response_message(session.advance(wanted))


class ControllerClient:
    """Asks one controller, over a connection made with CONTROLLER. Calls raise ServiceError and BadAnswer."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def version(self) -> ServiceVersion:
        """Return what answers."""
        return ServiceVersion.of(self.connection.call("get_version", common_pb2.Empty()))

    def start_session(self, session_uuid: str) -> None:
        """Begin a rollout."""
        self.connection.call("start_session", controller_pb2.VDCSessionRequest(session_uuid=session_uuid))

    def close_session(self, session_uuid: str) -> None:
        """End a rollout."""
        self.connection.call(
            "close_session", controller_pb2.VDCSessionCloseRequest(session_uuid=session_uuid)
        )

    def advance(self, session_uuid: str, request: ControlRequest) -> tuple[ControlledState, ...]:
        """Drive on; return the states on the way (where the controller tells them) and at request.to_us."""
        message = control_request_message(session_uuid, request)
        answer = self.connection.call("run_controller_and_vehicle", message)
        with reading(self.connection, "run_controller_and_vehicle"):
            states = control_response_of(answer)
            if states[-1].true.time_us != request.to_us:
                raise InvalidInput(
                    f"states: expected the last at {request.to_us} us, got {states[-1].true.time_us} us"
                )
            return states


def control_request_message(
    session_uuid: str, request: ControlRequest
) -> controller_pb2.RunControllerAndVehicleModelRequest:
    """Return a request as a message."""
    state = request.state
    return controller_pb2.RunControllerAndVehicleModelRequest(
        session_uuid=session_uuid,
        state=common_pb2.StateAtTime(
            timestamp_us=state.time_us,
            pose=pose_message(state.local_from_rig),
            state=dynamic_state_message(state.motion),
        ),
        planned_trajectory_in_rig=trajectory_message(request.stamps_us, request.plan_in_rig),
        future_time_us=request.to_us,
        coerce_dynamic_state=request.coerce_motion,
        pose_reporting_interval_us=request.report_every_us,
    )


def control_request_of(message: controller_pb2.RunControllerAndVehicleModelRequest) -> ControlRequest:
    """Return a message as a request; raises InvalidInput naming the field that is wrong."""
    stamps_us, plan = trajectory_of(message.planned_trajectory_in_rig, "planned_trajectory_in_rig")
    state = RigState(
        stamp_of(message.state.timestamp_us, "state.timestamp_us"),
        matrix_of(message.state.pose, "state.pose"),
        motion_of(message.state.state, "state.state"),
    )
    return ControlRequest(
        state,
        stamps_us,
        plan,
        to_us=message.future_time_us,
        coerce_motion=message.coerce_dynamic_state,
        report_every_us=message.pose_reporting_interval_us,
    )


def control_response_message(
    states: Sequence[ControlledState],
) -> controller_pb2.RunControllerAndVehicleModelResponse:
    """Return states as a message; the single fields of older versions stay empty, as AlpaSim's own do."""
    return controller_pb2.RunControllerAndVehicleModelResponse(
        states=[
            controller_pb2.RunControllerAndVehicleModelResponse.PropagatedState(
                timestamp_us=state.true.time_us,
                pose_local_to_rig=pose_message(state.true.local_from_rig),
                pose_local_to_rig_estimated=pose_message(state.estimated.local_from_rig),
                dynamic_state=dynamic_state_message(state.true.motion),
                dynamic_state_estimated=dynamic_state_message(state.estimated.motion),
            )
            for state in states
        ]
    )


def control_response_of(
    message: controller_pb2.RunControllerAndVehicleModelResponse,
) -> tuple[ControlledState, ...]:
    """Return a message as states, rising in time; raises InvalidInput for none and naming what is wrong.

    Controllers of older versions tell the last state alone, in fields of its own.
    """
    states = list(message.states)
    if not states and message.HasField("pose_local_to_rig"):
        states.append(
            controller_pb2.RunControllerAndVehicleModelResponse.PropagatedState(
                timestamp_us=message.pose_local_to_rig.timestamp_us,
                pose_local_to_rig=message.pose_local_to_rig.pose,
                pose_local_to_rig_estimated=message.pose_local_to_rig_estimated.pose,
                dynamic_state=message.dynamic_state,
                dynamic_state_estimated=message.dynamic_state_estimated,
            )
        )
    if not states:
        raise InvalidInput("states: expected at least one, got none")
    result: list[ControlledState] = []
    for index, state in enumerate(states):
        name, now_us = f"states[{index}]", state.timestamp_us
        if result and now_us <= result[-1].true.time_us:
            raise InvalidInput(
                f"{name}: expected a stamp after {result[-1].true.time_us} us, got {now_us} us"
            )
        true_pose = matrix_of(state.pose_local_to_rig, f"{name}.pose_local_to_rig")
        seen_pose = matrix_of(state.pose_local_to_rig_estimated, f"{name}.pose_local_to_rig_estimated")
        true_motion = motion_of(state.dynamic_state, f"{name}.dynamic_state")
        seen_motion = motion_of(state.dynamic_state_estimated, f"{name}.dynamic_state_estimated")
        result.append(
            ControlledState(
                RigState(now_us, true_pose, true_motion), RigState(now_us, seen_pose, seen_motion)
            )
        )
    return tuple(result)
