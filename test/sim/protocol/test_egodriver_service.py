"""Drivers over gRPC: AlpaSim's recorded session told to one of ours, and what is refused."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from constant_driver import STEP_US, ConstantDriver

from alpamayo_ros.sim.protocol.asl import read_entries
from alpamayo_ros.sim.protocol.channel import Connection, ServiceError
from alpamayo_ros.sim.protocol.egodriver import (
    EGODRIVER,
    MAX_ANSWER_BYTES,
    EgodriverClient,
    EgodriverServicer,
    StillWanted,
)
from alpamayo_ros.sim.protocol.egodriver_messages import (
    CameraFrame,
    DriveAnswer,
    DriveSession,
    Egomotion,
    Route,
    answer_message,
    answer_of,
    egomotion_message,
    egomotion_of,
    frame_message,
    frame_of,
    route_message,
    route_of,
    session_message,
    session_of,
)
from alpamayo_ros.sim.protocol.generated import egodriver_pb2, logging_pb2
from alpamayo_ros.sim.protocol.server import serve
from alpamayo_ros.sim.protocol.service import OUR_VERSION, BadAnswer
from alpamayo_ros.types import InvalidInput

START_US = 1_700_000_000_000_000


@pytest.fixture(scope="module")
def recorded(golden_dir: Path) -> list[logging_pb2.LogEntry]:
    return list(read_entries(golden_dir / "alpasim" / "rollout.asl"))


@pytest.fixture
def driver() -> ConstantDriver:
    return ConstantDriver()


@pytest.fixture
def client(driver: ConstantDriver) -> Iterator[EgodriverClient]:
    servicer = EgodriverServicer(driver)
    with serve(servicer.register) as server, Connection(server.address, service=EGODRIVER) as connection:
        client = EgodriverClient(connection)
        yield client
        client.close()


def test_the_recorded_session_is_driven_in_the_runtimes_order(
    recorded: list[logging_pb2.LogEntry], driver: ConstantDriver, client: EgodriverClient
) -> None:
    frames: list[CameraFrame] = []
    told: tuple[Egomotion, Route] | None = None
    answers = 0
    for entry in recorded:
        kind = entry.WhichOneof("log_entry")
        if kind == "driver_session_request":
            session = session_of(entry.driver_session_request)
            client.start_session(session)
        elif kind == "driver_camera_image":
            frames.append(frame_of(entry.driver_camera_image.camera_image))
        elif kind == "driver_ego_trajectory":
            egomotion = egomotion_of(entry.driver_ego_trajectory)
        elif kind == "route_request":
            told = egomotion, route_of(entry.route_request.route)
        elif kind == "driver_request":
            assert told is not None
            now_us = entry.driver_request.time_now_us
            answer = client.step(
                session.session_uuid,
                now_us,
                frames=frames,
                egomotion=told[0],
                route=told[1],
                query_us=entry.driver_request.time_query_us,
            )
            stamps_us, poses = answer.trajectory
            assert stamps_us[0] == now_us and len(stamps_us) == 65
            np.testing.assert_allclose(poses[0], told[0].local_from_rig[-1], atol=1e-5)
            frames = []
        elif kind == "driver_return":
            # The recorded driver follows the route, straight ahead so far, at the recording's 8 m/s.
            theirs = answer_of(entry.driver_return).trajectory
            np.testing.assert_array_equal(stamps_us, theirs[0])
            np.testing.assert_allclose(poses[20, :3, 3], theirs[1][20, :3, 3], atol=0.02)
            answers += 1
    for frame in frames:  # one set more arrives after the last drive
        client.submit_frame(session.session_uuid, frame)
    client.close_session(session.session_uuid)
    made = driver.sessions[session.session_uuid]
    assert answers == 30 and made.closed
    assert Counter(frame.logical_id for frame in made.frames) == dict.fromkeys(session.cameras, 31)
    assert len(made.routes) == 30 and made.routes[0].points_in_rig.shape == (20, 3)
    assert session.scene_id == "synthetic-straight-left-0001" and session.random_seed == 1244269920
    assert json.loads(answer.debug_info)["reasoning_text"].startswith("Keep going")
    assert answer.samples[0][0][-1] - now_us == 6_400_000


def test_recorded_messages_survive_the_way_through_numpy(recorded: list[logging_pb2.LogEntry]) -> None:
    seen = Counter[str]()
    for entry in recorded:
        kind = entry.WhichOneof("log_entry")
        message = getattr(entry, kind)
        if kind == "driver_session_request":
            again = session_message(session_of(message))
            for camera in (*again.rollout_spec.vehicle.available_cameras, *cameras_of(message)):
                camera.rig_to_camera.Clear()  # q and -q are one rotation, compared in test_convert
            assert again == message
        elif kind == "driver_camera_image":
            assert frame_message(message.session_uuid, frame_of(message.camera_image)) == message
        elif kind == "driver_ego_trajectory":
            assert egomotion_message(message.session_uuid, egomotion_of(message)) == message
        elif kind == "route_request":
            assert route_message(message.session_uuid, route_of(message.route)) == message
        elif kind == "driver_return":
            again = answer_message(answer_of(message))
            assert again.debug_info.unstructured_debug_info == message.debug_info.unstructured_debug_info
            ours, theirs = answer_of(again).trajectory, answer_of(message).trajectory
            np.testing.assert_allclose(ours[1], theirs[1], atol=1e-5)
        else:
            continue
        seen[kind] += 1
    assert seen["driver_camera_image"] == 124 and len(seen) == 5


def cameras_of(message: egodriver_pb2.DriveSessionRequest) -> list[object]:
    return list(message.rollout_spec.vehicle.available_cameras)


def straight(count: int, *, speed_mps: float = 5.0, from_us: int = START_US) -> Egomotion:
    stamps_us = from_us + STEP_US * np.arange(count, dtype=np.int64)
    poses = np.tile(np.eye(4), (count, 1, 1))
    poses[:, 0, 3] = speed_mps * (stamps_us - START_US) / 1e6
    return Egomotion(stamps_us, poses)


def begin(client: EgodriverClient, session_uuid: str = "a") -> None:
    client.start_session(DriveSession(session_uuid, 1, "straight-0", {}))


def test_a_plan_comes_while_history_is_still_missing(client: EgodriverClient) -> None:
    begin(client)
    answer = client.step(
        "a", START_US + STEP_US, frames=(), egomotion=straight(2), route=None, query_us=START_US + 2 * STEP_US
    )
    assert answer.trajectory[1][-1, 0, 3] == pytest.approx(0.5 + 6.4 * 5.0, abs=1e-4)
    assert answer.samples == () and not answer.terminate


def test_what_is_wrong_is_refused_by_the_field(driver: ConstantDriver, client: EgodriverClient) -> None:
    begin(client)

    def refused(method: str, message: object) -> str:
        with pytest.raises(ServiceError) as caught:
            client.connection.call(method, message)
        assert caught.value.code == grpc.StatusCode.INVALID_ARGUMENT
        return caught.value.details

    good = egomotion_message("a", straight(3))

    def moved(change: str) -> str:
        message = egodriver_pb2.RolloutEgoTrajectory()
        message.CopyFrom(good)
        pose = message.trajectory.poses[1]
        if change == "falling":
            pose.timestamp_us = START_US
        elif change == "nan":
            pose.pose.vec.x = float("nan")
        elif change == "zero":
            pose.pose.quat.Clear()
        elif change == "empty":
            message.trajectory.Clear()
        elif change == "states":
            message.dynamic_states.add()
        return refused("submit_egomotion_observation", message)

    assert "trajectory[1]: expected rising stamps" in moved("falling")
    assert "trajectory[1]: expected finite" in moved("nan")
    assert "quaternion of unit length" in moved("zero")
    assert "trajectory: expected at least one pose" in moved("empty")
    assert "dynamic_states: expected 3" in moved("states")

    image = frame_message("a", CameraFrame("camera_front_wide_120fov", 0, 1, b"jpeg"))
    assert "expected one of" in refused("submit_image_observation", image)
    image.camera_image.frame_start_us = 2
    assert "expected frame_end_us" in refused("submit_image_observation", image)
    image.camera_image.image_bytes = b""
    assert "expected an encoded image" in refused("submit_image_observation", image)
    image.camera_image.logical_id = ""
    assert "logical_id: expected a camera" in refused("submit_image_observation", image)

    now_us = START_US
    before = egodriver_pb2.DriveRequest(session_uuid="a", time_now_us=now_us, time_query_us=now_us - 1)
    assert "time_query_us: expected" in refused("drive", before)
    early = egodriver_pb2.DriveRequest(session_uuid="a", time_now_us=now_us, time_query_us=now_us)
    assert "time_now_us: expected the newest egomotion's stamp" in refused("drive", early)
    assert not driver.sessions["a"].frames


def test_routes_end_in_nan_and_hold_none(client: EgodriverClient) -> None:
    points = np.array([[0.0, 0, 0], [4.2, 0.1, 0]])
    message = route_message("a", Route(START_US, points))
    message.route.waypoints.add(x=float("nan"), y=float("nan"))
    assert route_of(message.route).points_in_rig.shape == (2, 3)
    message.route.waypoints.add(x=8.4)
    with pytest.raises(InvalidInput, match=r"route\.waypoints\[2\]: expected NaN behind the last alone"):
        route_of(message.route)
    assert route_of(egodriver_pb2.Route()).points_in_rig.shape == (0, 3)
    begin(client)
    with pytest.raises(ServiceError, match="expected NaN behind"):
        client.connection.call("submit_route", message)


def test_sessions_and_ground_truth(driver: ConstantDriver, client: EgodriverClient) -> None:
    assert client.version().version_id == OUR_VERSION
    with pytest.raises(ServiceError) as caught:
        client.drive("nobody", START_US, query_us=START_US)
    assert caught.value.code == grpc.StatusCode.NOT_FOUND
    begin(client)
    begin(client, "b")
    with pytest.raises(ServiceError, match="expected a new id"):
        begin(client)
    with pytest.raises(ServiceError, match="expected an id, got none"):
        begin(client, "")
    recorded = straight(4)
    client.submit_ground_truth("a", START_US, (recorded.stamps_us, recorded.local_from_rig))
    assert vars(driver.sessions["a"])["_poses"].shape == (0, 4, 4), "the answer is not shown"
    client.close_session("a")
    assert driver.sessions["a"].closed and not driver.sessions["b"].closed


class Fixed:
    """A driver that always gives one answer."""

    def __init__(self, answer: DriveAnswer) -> None:
        self.answer = answer

    def start(self, session: DriveSession) -> Fixed:
        return self

    def drive(self, now_us: int, query_us: int, *, still_wanted: StillWanted) -> DriveAnswer:
        return self.answer

    def close(self) -> None:
        pass


GOOD = (straight(65).stamps_us, straight(65).local_from_rig)


def changed(index: tuple[int, ...], value: float) -> DriveAnswer:
    poses = GOOD[1].copy()
    poses[index] = value
    return DriveAnswer((GOOD[0], poses))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (changed((3, 0, 3), np.nan), "expected finite values"),
        (changed((3, 0, 0), 0.0), "expected rotation matrices"),
        (DriveAnswer((GOOD[0][:0], GOOD[1][:0])), "expected at least two rising stamps"),
        (DriveAnswer((GOOD[0][:10], GOOD[1][:10])), "expected a horizon of at least 2 s"),
        (DriveAnswer((GOOD[0] + 1, GOOD[1])), "expected the first stamp to be now"),
        (DriveAnswer(GOOD, samples=((GOOD[0], GOOD[1] * np.nan),)), r"samples\[0\]: local_from_rig"),
        (DriveAnswer(GOOD, debug_info=bytes(MAX_ANSWER_BYTES)), "expected at most"),
    ],
)
def test_an_answer_that_would_ruin_the_rollout_does_not_leave(answer: DriveAnswer, words: str) -> None:
    servicer = EgodriverServicer(Fixed(answer))  # type: ignore[arg-type]
    with serve(servicer.register) as server, Connection(server.address, service=EGODRIVER) as connection:
        client = EgodriverClient(connection)
        begin(client)
        with pytest.raises(ServiceError, match=words) as caught:
            client.drive("a", START_US, query_us=START_US + STEP_US)
        assert caught.value.code == grpc.StatusCode.INTERNAL
        client.close()


def test_a_driver_may_end_the_rollout_without_a_plan() -> None:
    servicer = EgodriverServicer(Fixed(DriveAnswer((GOOD[0][:0], GOOD[1][:0]), terminate=True)))  # type: ignore[arg-type]
    with serve(servicer.register) as server, Connection(server.address, service=EGODRIVER) as connection:
        client = EgodriverClient(connection)
        begin(client)
        assert client.drive("a", START_US, query_us=START_US).terminate
        client.close()


def test_a_foreign_drivers_nonsense_is_named() -> None:
    class Foreign(EgodriverServicer):
        def drive(self, request: object, context: object) -> egodriver_pb2.DriveResponse:
            return egodriver_pb2.DriveResponse()

    servicer = Foreign(ConstantDriver())
    with serve(servicer.register) as server, Connection(server.address, service=EGODRIVER) as connection:
        client = EgodriverClient(connection)
        begin(client)
        with pytest.raises(BadAnswer, match=r"driver at .*: drive: trajectory: expected at least one pose"):
            client.drive("a", START_US, query_us=START_US)
        client.close()
