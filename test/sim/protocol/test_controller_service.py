"""Our controller and vehicle behind VDCService, over real gRPC."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

from alpamayo_ros.sim.ego import EgoDynamics
from alpamayo_ros.sim.protocol.asl import read_entries
from alpamayo_ros.sim.protocol.channel import Connection, ServiceError
from alpamayo_ros.sim.protocol.controller import (
    CONTROLLER,
    ControlledState,
    ControllerClient,
    ControllerServicer,
    ControlRequest,
    RigState,
    control_request_message,
    control_request_of,
    control_response_message,
    control_response_of,
)
from alpamayo_ros.sim.protocol.convert import RigMotion
from alpamayo_ros.sim.protocol.generated import controller_pb2
from alpamayo_ros.sim.protocol.server import serve
from alpamayo_ros.sim.protocol.service import OUR_VERSION, BadAnswer
from alpamayo_ros.sim.roads import Terrain
from alpamayo_ros.sim.served_controller import ServedController
from alpamayo_ros.sim.state import EgoState
from alpamayo_ros.types import InvalidInput

Request = controller_pb2.RunControllerAndVehicleModelRequest
Response = controller_pb2.RunControllerAndVehicleModelResponse
START_US = 1_700_000_000_000_000


@pytest.fixture
def client() -> Iterator[ControllerClient]:
    servicer = ControllerServicer(ServedController())
    with serve(servicer.register) as server, Connection(server.address, service=CONTROLLER) as connection:
        yield ControllerClient(connection)


def request_of(
    now_us: int = START_US,
    *,
    pose: np.ndarray | None = None,
    speed_mps: float = 8.0,
    turn_radps: float = 0.0,
    to_us: int | None = None,
    report_every_us: int = 0,
    coerce_motion: bool = False,
    curvature_per_m: float = 0.0,
) -> ControlRequest:
    """A plan at constant speed on an arc, of 6.4 s."""
    stamps_us = now_us + 100_000 * np.arange(65, dtype=np.int64)
    way_m = speed_mps * (stamps_us - now_us) / 1e6
    yaw = curvature_per_m * way_m
    plan = np.tile(np.eye(4), (65, 1, 1))
    plan[:, 0, 0] = plan[:, 1, 1] = np.cos(yaw)
    plan[:, 1, 0], plan[:, 0, 1] = np.sin(yaw), -np.sin(yaw)
    plan[:, 0, 3] = way_m if not curvature_per_m else np.sin(yaw) / curvature_per_m
    plan[:, 1, 3] = 0.0 if not curvature_per_m else (1 - np.cos(yaw)) / curvature_per_m
    motion = RigMotion((speed_mps, 0.0, 0.0), (0.0, 0.0, turn_radps))
    return ControlRequest(
        RigState(now_us, np.eye(4) if pose is None else pose, motion),
        stamps_us,
        plan,
        to_us=now_us + 100_000 if to_us is None else to_us,
        report_every_us=report_every_us,
        coerce_motion=coerce_motion,
    )


def test_alpasims_recorded_session_is_driven_alike(golden_dir: Path, client: ControllerClient) -> None:
    log = golden_dir / "alpasim" / "rollout.asl"
    asked = [e.controller_request for e in read_entries(log) if e.HasField("controller_request")]
    told = [e.controller_return for e in read_entries(log) if e.HasField("controller_return")]
    assert len(asked) == len(told) == 30
    client.start_session(asked[0].session_uuid)
    for message, response in zip(asked, told, strict=True):
        got = client.connection.call("run_controller_and_vehicle", message)
        (ours,), (theirs,) = control_response_of(got), control_response_of(response)
        assert ours.true.time_us == theirs.true.time_us == message.future_time_us
        # float32 on the wire; the session drives straight at 8 m/s, which wavers by 1e-5.
        np.testing.assert_allclose(ours.true.local_from_rig, theirs.true.local_from_rig, atol=4e-6)
        np.testing.assert_allclose(ours.estimated.local_from_rig, ours.true.local_from_rig)
        for field in ("velocity_mps", "turn_radps", "accel_mps2"):
            ours_are, theirs_are = getattr(ours.true.motion, field), getattr(theirs.true.motion, field)
            np.testing.assert_allclose(ours_are, theirs_are, atol=3e-5, err_msg=field)
    client.close_session(asked[0].session_uuid)


def test_requests_and_answers_survive_the_wire(golden_dir: Path) -> None:
    log = golden_dir / "alpasim" / "rollout.asl"
    for entry in read_entries(log):
        if entry.HasField("controller_request"):
            message = entry.controller_request
            assert control_request_message(message.session_uuid, control_request_of(message)) == filled(
                message
            )
        elif entry.HasField("controller_return"):
            message = entry.controller_return
            assert control_response_message(control_response_of(message)) == message


def filled(message: Request) -> Request:
    """The recorded request with the parts of its motion that AlpaSim leaves out, which are zero."""
    copy = Request()
    copy.CopyFrom(message)
    copy.state.state.linear_acceleration.SetInParent()
    copy.state.state.angular_acceleration.SetInParent()
    return copy


def test_a_curve_is_driven_as_in_our_own_rollouts(client: ControllerClient) -> None:
    client.start_session("a")
    now_us, pose = START_US, np.eye(4)
    ego = EgoDynamics(Terrain(), EgoState(START_US, np.eye(4), (8.0, 0.0), yaw_rate_radps=0.3))
    for _ in range(40):
        request = request_of(
            now_us, pose=pose, curvature_per_m=1 / 60, report_every_us=20_000, turn_radps=0.3
        )
        states = client.advance("a", request)
        assert [s.true.time_us - now_us for s in states] == [20_000, 40_000, 60_000, 80_000, 100_000]
        ego.advance(request.stamps_us, ego.state.local_from_rig @ request.plan_in_rig, request.to_us)
        now_us, pose = states[-1].true.time_us, states[-1].true.local_from_rig
    np.testing.assert_allclose(pose, ego.state.local_from_rig, atol=1e-3)
    motion = states[-1].true.motion
    np.testing.assert_allclose(motion.velocity_mps[:2], ego.state.velocity_in_rig_mps, atol=1e-3)
    np.testing.assert_allclose(motion.accel_mps2[:2], ego.state.accel_in_rig_mps2, atol=1e-2)
    assert motion.turn_radps[2] == pytest.approx(ego.state.yaw_rate_radps, abs=1e-3)
    assert np.arctan2(pose[1, 0], pose[0, 0]) > 0.4


def test_reports_change_nothing_and_a_long_step_is_many(client: ControllerClient) -> None:
    ends = []
    for name, report_every_us in (("plain", 0), ("reported", 30_000)):
        client.start_session(name)
        request = request_of(to_us=START_US + 500_000, curvature_per_m=0.02, report_every_us=report_every_us)
        ends.append(client.advance(name, request)[-1])
    np.testing.assert_allclose(ends[0].true.local_from_rig, ends[1].true.local_from_rig, atol=2e-4)
    now_us, pose = START_US, np.eye(4)
    client.start_session("steps")
    plan = request_of(curvature_per_m=0.02)
    for _ in range(5):
        state = RigState(now_us, pose, plan.state.motion)
        request = ControlRequest(state, plan.stamps_us, plan.plan_in_rig, to_us=now_us + 100_000)
        (end,) = client.advance("steps", request)
        now_us, pose = end.true.time_us, end.true.local_from_rig
    np.testing.assert_allclose(pose, ends[0].true.local_from_rig, atol=1e-5)


def test_the_pose_is_corrected_and_the_motion_only_on_demand(client: ControllerClient) -> None:
    client.start_session("a")
    (first,) = client.advance("a", request_of())
    pose = first.true.local_from_rig.copy()
    pose[2, 3] = 1.5  # the ground is there
    now_us = first.true.time_us
    (second,) = client.advance("a", request_of(now_us, pose=pose, speed_mps=3.0))
    assert second.true.local_from_rig[2, 3] == pytest.approx(1.5)
    assert second.true.motion.velocity_mps[0] > 7.0, "it still does what it did"
    now_us = second.true.time_us
    coerced = request_of(now_us, pose=second.true.local_from_rig, speed_mps=3.0, coerce_motion=True)
    (third,) = client.advance("a", coerced)
    assert third.true.motion.velocity_mps[0] == pytest.approx(3.0, abs=0.05)


def refusal(client: ControllerClient, message: Request) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(ServiceError) as caught:
        client.connection.call("run_controller_and_vehicle", message)
    return caught.value.code, caught.value.details


def test_refusals_name_the_field(client: ControllerClient) -> None:
    client.start_session("a")
    good = control_request_message("a", request_of())

    def refused(**changes: object) -> str:
        message = Request()
        message.CopyFrom(good)
        for name, value in changes.items():
            target, *path = name.split("__")
            holder = message.planned_trajectory_in_rig.poses[3] if target == "pose3" else message
            for part in path[:-1]:
                holder = getattr(holder, part)
            setattr(holder, path[-1] if path else target, value)
        code, details = refusal(client, message)
        assert code == grpc.StatusCode.INVALID_ARGUMENT
        return details

    poses = good.planned_trajectory_in_rig.poses
    assert "planned_trajectory_in_rig[3]: expected rising stamps" in refused(
        pose3__timestamp_us=poses[2].timestamp_us
    )
    assert "planned_trajectory_in_rig[3]: expected finite" in refused(pose3__pose__vec__x=float("nan"))
    assert "planned_trajectory_in_rig[3]: expected finite numbers and a quaternion of unit length" in refused(
        pose3__pose__quat__w=0.0
    )
    assert "future_time_us: expected a time after now" in refused(future_time_us=START_US)
    assert "future_time_us" in refused(future_time_us=START_US + 10**12)
    assert "pose_reporting_interval_us" in refused(pose_reporting_interval_us=-1)
    assert "pose_reporting_interval_us" in refused(pose_reporting_interval_us=1)
    assert "state.pose" in refused(top__state__pose__quat__w=0.0)
    assert "state.state" in refused(top__state__state__linear_velocity__x=float("inf"))
    empty = Request()
    empty.CopyFrom(good)
    empty.planned_trajectory_in_rig.Clear()
    assert "planned_trajectory_in_rig: expected at least one pose" in refusal(client, empty)[1]
    late = control_request_message("a", request_of())
    late.state.timestamp_us -= 1
    assert "expected a first pose not later than now" in refusal(client, late)[1]
    client.advance("a", request_of())  # none of these counted
    again = control_request_message("a", request_of())
    assert "state.timestamp_us: expected 1700000000100000 us" in refusal(client, again)[1]


def test_sessions_are_opened_once_and_known(client: ControllerClient) -> None:
    assert client.version().version_id == OUR_VERSION
    assert client.version().api == (0, 54, 0)
    code, details = refusal(client, control_request_message("nobody", request_of()))
    assert code == grpc.StatusCode.NOT_FOUND and "'nobody'" in details
    client.start_session("a")
    with pytest.raises(ServiceError, match="expected a new id, got 'a'"):
        client.start_session("a")
    with pytest.raises(ServiceError, match="expected an id, got none"):
        client.start_session("")
    client.close_session("a")
    with pytest.raises(ServiceError) as caught:
        client.close_session("a")
    assert caught.value.code == grpc.StatusCode.NOT_FOUND
    rig = controller_pb2.VDCSessionRequest(session_uuid="b")
    rig.vehicle_and_controller_params.rig_file = "truck.yaml"
    with pytest.raises(ServiceError, match=r"rig_file: expected none, got 'truck\.yaml'"):
        client.connection.call("start_session", rig)


def test_plans_of_before_are_taken_from_where_the_rig_was_then(client: ControllerClient) -> None:
    client.start_session("a")
    plan = request_of()
    (first,) = client.advance("a", plan)
    state = RigState(first.true.time_us, first.true.local_from_rig, plan.state.motion)
    older = ControlRequest(state, plan.stamps_us, plan.plan_in_rig, to_us=first.true.time_us + 100_000)
    (second,) = client.advance("a", older)
    assert second.true.local_from_rig[0, 3] == pytest.approx(1.6, abs=1e-3)
    too_old = ControlRequest(
        RigState(second.true.time_us, second.true.local_from_rig),
        plan.stamps_us - 1_000_000,
        plan.plan_in_rig,
        to_us=second.true.time_us + 100_000,
    )
    with pytest.raises(ServiceError, match="expected a first pose not before the rollout"):
        client.advance("a", too_old)


class Odd:
    """A controller that answers nothing, or an older instant."""

    def __init__(self, states: list[ControlledState]) -> None:
        self._states = states

    def start(self, session_uuid: str) -> Odd:
        return self

    def advance(self, request: ControlRequest) -> list[ControlledState]:
        return self._states

    def close(self) -> None:
        pass


@pytest.mark.parametrize("count", [0, 1])
def test_an_answer_that_is_none_is_said(count: int) -> None:
    state = RigState(START_US, np.eye(4))
    servicer = ControllerServicer(Odd([ControlledState(state, state)] * count))
    with serve(servicer.register) as server, Connection(server.address, service=CONTROLLER) as connection:
        client = ControllerClient(connection)
        client.start_session("a")
        with pytest.raises(
            BadAnswer, match=r"controller at .*: run_controller_and_vehicle: states: expected"
        ):
            client.advance("a", request_of())


def test_older_controllers_tell_one_state() -> None:
    old = Response()
    old.pose_local_to_rig.timestamp_us = START_US
    old.pose_local_to_rig.pose.quat.w = 1.0
    old.pose_local_to_rig_estimated.pose.quat.w = 1.0
    old.dynamic_state.linear_velocity.x = 4.0
    (state,) = control_response_of(old)
    assert state.true.motion.velocity_mps == (4.0, 0.0, 0.0)
    with pytest.raises(InvalidInput, match="states: expected"):
        control_response_of(Response())
