"""The driver over gRPC: a session told in any order, alone and beside others; clients that misbehave."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from driver_factory import (
    START_US,
    STEP_US,
    RecordedStep,
    ScriptedPlanner,
    ScriptedPlanners,
    drive_session,
    egomotion,
    frame,
    recorded_session,
    sim_rig,
)

from alpamayo_ros.sim.driver.driver import Driver
from alpamayo_ros.sim.driver.planners import ConstantPlanners, DriverPlanners
from alpamayo_ros.sim.driver.server import serve_driver
from alpamayo_ros.sim.driver.settings import DriverSettings
from alpamayo_ros.sim.protocol.channel import Connection, ServiceError
from alpamayo_ros.sim.protocol.egodriver import EGODRIVER, EgodriverClient
from alpamayo_ros.sim.protocol.egodriver_messages import (
    DriveAnswer,
    DriveSession,
    answer_message,
    egomotion_message,
    frame_message,
    route_message,
)
from alpamayo_ros.sim.protocol.generated import egodriver_pb2
from alpamayo_ros.types import InvalidInput


@pytest.fixture(scope="module")
def recorded(golden_dir: Path) -> tuple[DriveSession, list[RecordedStep]]:
    return recorded_session(golden_dir / "alpasim" / "rollout.asl")


Serve = Callable[..., tuple[Driver, str]]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serves drivers until the test is over."""
    servers = []

    def start(
        planners: DriverPlanners | None = None, settings: DriverSettings | None = None
    ) -> tuple[Driver, str]:
        driver = Driver(planners or ConstantPlanners(), sim_rig(), settings)
        server = serve_driver(driver, port=0)
        servers.append(server)
        return driver, server.address

    yield start
    for server in servers:
        server.stop()


def tell_and_ask(
    connection: Connection, pool: ThreadPoolExecutor, uuid: str, step: RecordedStep, order: random.Random
) -> DriveAnswer:
    """Send one step's calls at once, in random order, and ask when all have returned."""
    calls = [("submit_image_observation", frame_message(uuid, each)) for each in step.frames]
    calls.append(("submit_egomotion_observation", egomotion_message(uuid, step.egomotion)))
    calls.append(("submit_route", route_message(uuid, step.route)))
    order.shuffle(calls)
    for told in [pool.submit(connection.call, name, request) for name, request in calls]:
        told.result()
    client = EgodriverClient(connection)
    try:
        return client.drive(uuid, step.now_us, query_us=step.query_us)
    finally:
        client.close()


def replay(
    address: str, session: DriveSession, steps: list[RecordedStep], *, seed: int = 0
) -> list[DriveAnswer]:
    """Drive a recorded session, shuffled by `seed`; returns the answers."""
    order = random.Random(seed)
    with Connection(address, service=EGODRIVER) as connection, ThreadPoolExecutor(6) as pool:
        client = EgodriverClient(connection)
        client.start_session(session)
        answers = [tell_and_ask(connection, pool, session.session_uuid, step, order) for step in steps]
        client.close_session(session.session_uuid)
        client.close()
    return answers


def as_bytes(answers: list[DriveAnswer]) -> list[bytes]:
    return [answer_message(answer).SerializeToString(deterministic=True) for answer in answers]


def test_four_sessions_at_once_get_what_each_gets_alone(
    serve: Serve, recorded: tuple[DriveSession, list[RecordedStep]]
) -> None:
    session, steps = recorded
    driver, address = serve()
    alone = as_bytes(replay(address, session, steps))
    sessions = [replace(session, session_uuid=f"{k}" * 8) for k in range(4)]
    with ThreadPoolExecutor(4) as pool:
        together = list(
            pool.map(lambda k: as_bytes(replay(address, sessions[k], steps, seed=k + 1)), range(4))
        )
    assert together == [alone] * 4
    counts = driver.statistics.snapshot()
    assert (counts.sessions_open, counts.sessions_started) == (0, 5) and not counts.refused
    assert counts.drives == {"warm_up": 65, "plan": 85}


def status(address: str, method: str, request: object) -> tuple[grpc.StatusCode, str]:
    with Connection(address, service=EGODRIVER) as connection:
        try:
            connection.call(method, request, deadline_s=30.0)  # type: ignore[arg-type]
        except ServiceError as error:
            return error.code, str(error)
    return grpc.StatusCode.OK, ""


def test_what_does_not_belong_is_refused_by_its_status_and_the_session_goes_on(
    serve: Serve, recorded: tuple[DriveSession, list[RecordedStep]]
) -> None:
    session, steps = recorded
    driver, address = serve()
    alone = as_bytes(replay(address, session, steps))
    with Connection(address, service=EGODRIVER) as connection, ThreadPoolExecutor(6) as pool:
        client = EgodriverClient(connection)
        client.start_session(session)
        uuid, order, answers = session.session_uuid, random.Random(3), []
        for step in steps:
            with pytest.raises(ServiceError) as twice:
                client.start_session(session)
            assert twice.value.code == grpc.StatusCode.ALREADY_EXISTS
            bad = replace(step.frames[0], end_us=step.now_us + 1, image_bytes=b"\xff\xd8 no picture")
            code, text = status(address, "submit_image_observation", frame_message(uuid, bad))
            assert code == grpc.StatusCode.INVALID_ARGUMENT and bad.logical_id in text
            unknown = frame_message("nobody", step.frames[0])
            code, text = status(address, "submit_image_observation", unknown)
            assert code == grpc.StatusCode.NOT_FOUND and "'nobody'" in text
            answers.append(tell_and_ask(connection, pool, uuid, step, order))
        code, text = status(
            address, "drive", egodriver_pb2.DriveRequest(session_uuid=uuid, time_now_us=5, time_query_us=6)
        )
        assert code == grpc.StatusCode.INVALID_ARGUMENT and "or later, got 5 us" in text
        client.close_session(uuid)
        with pytest.raises(ServiceError) as closed:
            client.close_session(uuid)
        assert closed.value.code == grpc.StatusCode.NOT_FOUND
        client.close()
    assert as_bytes(answers) == alone
    assert driver.statistics.snapshot().refused == {"image": 30}


def test_a_message_of_more_than_64_mb_is_refused_and_the_connection_lives(serve: Serve) -> None:
    _, address = serve()
    session = drive_session()
    with Connection(address, service=EGODRIVER) as connection:
        client = EgodriverClient(connection)
        client.start_session(session)
        huge = replace(frame(1, START_US), image_bytes=bytes(65 * 2**20))
        with pytest.raises(ServiceError) as refused:
            client.submit_frame(session.session_uuid, huge)
        assert refused.value.code == grpc.StatusCode.RESOURCE_EXHAUSTED
        client.submit_egomotion(session.session_uuid, egomotion(START_US))
        assert client.drive(session.session_uuid, START_US, query_us=START_US + STEP_US).samples
        client.close()


def test_bytes_that_are_no_message_are_refused_and_fields_that_are_not_for_a_driver_change_nothing(
    serve: Serve,
) -> None:
    driver, address = serve()
    session = drive_session()
    with Connection(address, service=EGODRIVER) as connection, grpc.insecure_channel(address) as channel:
        client = EgodriverClient(connection)
        client.start_session(session)
        client.submit_egomotion(session.session_uuid, egomotion(START_US))
        for method in ("submit_image_observation", "drive", "start_session"):
            call = channel.unary_unary(f"/egodriver.EgodriverService/{method}")
            with pytest.raises(grpc.RpcError) as refused:
                call(b"\xff\xff no message", timeout=30.0)
            assert refused.value.code() == grpc.StatusCode.INTERNAL
        request = egodriver_pb2.DriveRequest(
            session_uuid=session.session_uuid,
            time_now_us=START_US,
            time_query_us=START_US,
            renderer_data=b"of a renderer's own",
        )
        answer = connection.call("drive", request)
        assert len(answer.trajectory.poses) == 65 and not answer.terminate_session
        client.close()
    assert driver.statistics.snapshot().drives == {"warm_up": 1}


def test_sessions_that_nobody_calls_end_and_are_not_found_any_more(serve: Serve) -> None:
    planner = ScriptedPlanner()
    driver, address = serve(ScriptedPlanners(planner), DriverSettings(idle_s=0.4))
    with Connection(address, service=EGODRIVER) as connection:
        client = EgodriverClient(connection)
        client.start_session(drive_session("left-open"))
        deadline_s = time.monotonic() + 10.0
        while driver.statistics.sessions_open and time.monotonic() < deadline_s:
            time.sleep(0.05)
        assert driver.statistics.sessions_open == 0 and planner.closed == 1
        assert driver.statistics.snapshot().sessions_expired == 1
        with pytest.raises(ServiceError, match="expected one of 0 open sessions, got 'left-open'"):
            client.submit_frame("left-open", frame(1, START_US))
        client.start_session(drive_session("left-open"))
        client.close()


def test_a_client_that_dies_while_it_waits_keeps_nobody_else_waiting(serve: Serve) -> None:
    hold = threading.Event()

    def slowly(plan):  # type: ignore[no-untyped-def]
        hold.wait()
        return plan

    planner = ScriptedPlanner(slowly)
    driver, address = serve(ScriptedPlanners(planner))
    now_us = START_US + 1_500_000

    def begin(uuid: str) -> tuple[Connection, grpc.Future]:
        connection = Connection(address, service=EGODRIVER)
        client = EgodriverClient(connection)
        client.start_session(drive_session(uuid))
        client.submit_egomotion(uuid, egomotion(*range(START_US, now_us + 1, STEP_US)))
        for k in range(4):
            for camera_id in (0, 1, 2, 6):
                client.submit_frame(uuid, frame(camera_id, now_us - k * STEP_US))
        client.close()
        asked = threading.Thread(target=ask, args=(connection, uuid))
        asked.start()
        return connection, asked

    outcomes: dict[str, object] = {}

    def ask(connection: Connection, uuid: str) -> None:
        client = EgodriverClient(connection)
        try:
            outcomes[uuid] = client.drive(uuid, now_us, query_us=now_us)
        except ServiceError as error:
            outcomes[uuid] = error.code
        client.close()

    first = begin("first")
    while not planner.observations:
        time.sleep(0.01)
    dying, last = begin("dying"), begin("last")
    time.sleep(0.2)
    dying[0].cancel()
    dying[1].join(10.0)
    assert outcomes == {"dying": grpc.StatusCode.CANCELLED}
    hold.set()
    for connection, asked in (first, last, dying):
        asked.join(10.0)
        connection.close()
    assert len(planner.observations) == 2, "for the first and the last alone"
    assert all(isinstance(outcomes[uuid], DriveAnswer) for uuid in ("first", "last"))
    assert driver.statistics.snapshot().drives == {"plan": 2}


def test_the_version_names_the_model_and_a_port_is_taken_once(serve: Serve) -> None:
    _, address = serve()
    with Connection(address, service=EGODRIVER) as connection:
        client = EgodriverClient(connection)
        assert client.version().version_id.endswith("/constant") and client.version().api == (0, 54, 0)
        client.close()
    with pytest.raises(InvalidInput, match="expected an address that is free"):
        serve_driver(Driver(ConstantPlanners(), sim_rig()), port=int(address.rsplit(":", 1)[1]))


def test_stopping_ends_sessions_and_threads(serve: Serve) -> None:
    planner = ScriptedPlanner()
    before = threading.active_count()
    driver = Driver(ScriptedPlanners(planner), sim_rig())
    with serve_driver(driver, port=0) as server, Connection(server.address, service=EGODRIVER) as connection:
        client = EgodriverClient(connection)
        client.start_session(drive_session())
        client.close()
    assert planner.closed == 1 and driver.statistics.sessions_open == 0
    deadline_s = time.monotonic() + 10.0
    while threading.active_count() > before and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert threading.active_count() <= before
