"""AlpaSim's client policy over real connections: what is tried again, what ends, and when."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
import sensorsim_fakes
from sensorsim_fakes import ScriptedRenderer, start

from alpamayo_ros.sim.protocol.channel import CallPolicy, Connection, ServiceError, require_address
from alpamayo_ros.sim.protocol.generated import common_pb2
from alpamayo_ros.sim.protocol.generated import sensorsim_pb2 as pb
from alpamayo_ros.sim.protocol.sensorsim import SENSORSIM
from alpamayo_ros.types import InvalidInput

QUICK = CallPolicy(deadline_s=20.0, retry_delays_s=(0.05, 0.1), connect_timeout_s=10.0)
EMPTY = common_pb2.Empty()
Scripted = tuple[ScriptedRenderer, str]


def connect(address: str, policy: CallPolicy = QUICK) -> Connection:
    return Connection(address, service=SENSORSIM, policy=policy)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_the_policy_is_alpasims() -> None:
    policy = CallPolicy()
    assert (policy.deadline_s, policy.retry_delays_s) == (300.0, (0.5, 2.0))
    for wrong in ({"deadline_s": 0.0}, {"connect_timeout_s": float("nan")}, {"retry_delays_s": (-1.0,)}):
        with pytest.raises(InvalidInput, match=f"{next(iter(wrong))}: expected"):
            CallPolicy(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("status", "details", "again"),
    [
        (grpc.StatusCode.UNAVAILABLE, "come back later", True),
        (grpc.StatusCode.UNKNOWN, "A load persistent id instruction was encountered, ...", True),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "Stopped waiting for backend 7", True),
        (grpc.StatusCode.UNKNOWN, "division by zero", False),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "too slow", False),
        (grpc.StatusCode.INVALID_ARGUMENT, "Stopped waiting for backend", False),
        (grpc.StatusCode.NOT_FOUND, "no such scene", False),
        (grpc.StatusCode.INTERNAL, "out of paint", False),
    ],
)
def test_what_passes_is_tried_again_and_nothing_else(
    scripted: Scripted, status: grpc.StatusCode, details: str, again: bool
) -> None:
    servicer, address = scripted
    with connect(address) as connection:
        servicer.failures = [(status, details)] * 2
        if again:
            assert connection.call("get_version", EMPTY).version_id == servicer.version_id
            assert servicer.calls["get_version"] == 3
            servicer.failures = [(status, details)] * 3
        with pytest.raises(ServiceError, match=re.escape(details)) as caught:
            connection.call("get_version", EMPTY)
    assert servicer.calls["get_version"] == (6 if again else 1)
    assert caught.value.code == status and caught.value.details == details
    assert (caught.value.address, caught.value.method) == (address, "get_version")


def test_the_pauses_are_those_of_the_policy(scripted: Scripted) -> None:
    servicer, address = scripted
    servicer.failures = [(grpc.StatusCode.UNAVAILABLE, "")] * 2
    with connect(address, CallPolicy(retry_delays_s=(0.2, 0.4))) as connection:
        started_s = time.monotonic()
        connection.call("get_version", EMPTY)
    assert 0.6 <= time.monotonic() - started_s < 2.0


def test_a_slow_answer_ends_at_the_deadline(scripted: Scripted) -> None:
    servicer, address = scripted
    servicer.delay_s = 5.0
    with connect(address) as connection:
        started_s = time.monotonic()
        with pytest.raises(ServiceError, match=r"get_version: no answer within 0.3 s") as caught:
            connection.call("get_version", EMPTY, deadline_s=0.3)
        assert time.monotonic() - started_s < 1.5
    assert caught.value.code == grpc.StatusCode.DEADLINE_EXCEEDED
    assert servicer.calls["get_version"] == 1  # a deadline of our own is no reason to ask again


def test_retries_end_at_the_deadline_too(scripted: Scripted) -> None:
    servicer, address = scripted
    servicer.failures = [(grpc.StatusCode.UNAVAILABLE, "busy")] * 9
    with connect(address, CallPolicy(deadline_s=0.3, retry_delays_s=(0.1, 5.0))) as connection:
        started_s = time.monotonic()
        with pytest.raises(ServiceError, match="busy"):
            connection.call("get_version", EMPTY)
    assert time.monotonic() - started_s < 1.5 and servicer.calls["get_version"] == 2


def test_a_slow_server_is_not_taken_for_an_absent_one(scripted: Scripted) -> None:
    servicer, address = scripted
    servicer.delay_s = 1.0
    with connect(address, CallPolicy(connect_timeout_s=0.2)) as connection:
        assert connection.call("get_version", EMPTY).version_id == servicer.version_id
    assert servicer.calls["get_version"] == 1


def test_nobody_there_is_said_soon_and_clearly() -> None:
    address = f"127.0.0.1:{free_port()}"
    with connect(address, CallPolicy(connect_timeout_s=0.4)) as connection:
        started_s = time.monotonic()
        with pytest.raises(
            ServiceError, match=f"renderer: nothing answers at {address} within 0.4 s"
        ) as caught:
            connection.call("get_version", EMPTY)
        assert time.monotonic() - started_s < 3.0
        assert caught.value.code == grpc.StatusCode.UNAVAILABLE


def test_a_server_that_comes_later_is_waited_for() -> None:
    port, servicer = free_port(), ScriptedRenderer()
    with connect(f"127.0.0.1:{port}") as connection:
        later = threading.Timer(0.7, lambda: servers.append(start(servicer, port=port)))
        servers: list = []
        later.start()
        assert connection.call("get_version", EMPTY).version_id == servicer.version_id
    later.join()
    servers[0].stop()


class Child:
    """A scripted renderer in a process of its own, to be killed."""

    def __init__(self, port: int, delay_s: float) -> None:
        command = [sys.executable, sensorsim_fakes.__file__, str(port), str(delay_s)]
        here = os.pathsep.join(filter(None, sys.path))  # the package may be a source tree or installed
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": here}
        )

    def await_start(self) -> int:
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def children() -> Iterator[list[Child]]:
    running: list[Child] = []
    yield running
    for child in running:
        if child.process.poll() is None:
            child.kill()


def test_a_server_killed_in_a_call_and_started_anew_is_only_a_delay(children: list[Child]) -> None:
    children.append(Child(0, delay_s=30.0))
    port = children[0].await_start()
    answers: list = []
    with connect(f"127.0.0.1:{port}") as connection:
        asking = threading.Thread(target=lambda: answers.append(connection.call("get_version", EMPTY)))
        asking.start()
        time.sleep(0.3)
        children[0].kill()
        children.append(Child(port, delay_s=0.0))
        asking.join(15.0)
    assert [answer.git_hash for answer in answers] == ["abc"]


def test_a_server_killed_in_a_call_that_stays_away_is_an_error(children: list[Child]) -> None:
    children.append(Child(0, delay_s=30.0))
    port = children[0].await_start()
    with connect(f"127.0.0.1:{port}", CallPolicy(connect_timeout_s=0.5)) as connection:
        threading.Timer(0.3, children[0].kill).start()
        started_s = time.monotonic()
        with pytest.raises(ServiceError, match="nothing answers at"):
            connection.call("get_version", EMPTY)
        assert time.monotonic() - started_s < 6.0


def test_a_server_that_hangs_ends_at_the_deadline(children: list[Child]) -> None:
    children.append(Child(0, delay_s=0.0))
    port = children[0].await_start()
    with connect(f"127.0.0.1:{port}", CallPolicy(connect_timeout_s=0.2)) as connection:
        connection.call("get_version", EMPTY)
        children[0].process.send_signal(signal.SIGSTOP)
        os.waitpid(children[0].process.pid, os.WUNTRACED)  # until it stands still
        started_s = time.monotonic()
        with pytest.raises(ServiceError, match=r"get_version: no answer within 1 s"):
            connection.call("get_version", EMPTY, deadline_s=1.0)
        assert time.monotonic() - started_s < 3.0


def test_the_own_machine_is_not_asked_through_a_proxy(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    for name in ("no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    with connect(scripted[1], CallPolicy(connect_timeout_s=1.0)) as connection:
        assert connection.call("get_version", EMPTY).version_id


@pytest.mark.parametrize("state", ["running", "pausing", "absent"])
def test_cancel_ends_what_is_going_on_at_once(scripted: Scripted, state: str) -> None:
    servicer, address = scripted
    policy = CallPolicy(retry_delays_s=(30.0,), connect_timeout_s=30.0)
    if state == "running":
        servicer.delay_s = 30.0
    elif state == "pausing":
        servicer.failures = [(grpc.StatusCode.UNAVAILABLE, "")]
    else:
        address = f"127.0.0.1:{free_port()}"
    errors: list[ServiceError] = []

    def ask() -> None:
        try:
            connection.call("get_version", EMPTY)
        except ServiceError as error:
            errors.append(error)

    with connect(address, policy) as connection:
        asking = threading.Thread(target=ask)
        asking.start()
        if state == "absent":
            time.sleep(0.2)
        else:
            assert servicer.entered.wait(5.0)
            time.sleep(0.1)
        started_s = time.monotonic()
        connection.cancel()
        asking.join(5.0)
        assert time.monotonic() - started_s < 1.0
        with pytest.raises(ServiceError, match="ended by this side") as caught:
            connection.call("get_version", EMPTY)
    assert [error.code for error in errors] == [grpc.StatusCode.CANCELLED] == [caught.value.code]
    servicer.release()


def test_what_is_known_to_be_lost_is_said_by_every_call(scripted: Scripted) -> None:
    with connect(scripted[1]) as connection:
        connection.fail("it has burnt")
        with pytest.raises(ServiceError, match="it has burnt") as caught:
            connection.call("get_version", EMPTY)
    assert caught.value.code == grpc.StatusCode.ABORTED


def test_messages_of_up_to_64_mb_pass_both_ways_and_larger_ones_do_not(scripted: Scripted) -> None:
    servicer, address = scripted
    megabyte = 2**20

    def answer(size: int) -> None:
        servicer._draw = lambda request: pb.RGBRenderReturn(image_bytes=bytes(size))  # type: ignore[method-assign]

    with connect(address) as connection:
        answer(63 * megabyte)
        large = pb.RGBRenderRequest(scene_id="x" * (63 * megabyte))
        assert len(connection.call("render_rgb", large).image_bytes) == 63 * megabyte
        answer(65 * megabyte)
        with pytest.raises(ServiceError, match=r"larger than max") as caught:
            connection.call("render_rgb", pb.RGBRenderRequest())
        assert caught.value.code == grpc.StatusCode.RESOURCE_EXHAUSTED
        answer(1)
        with pytest.raises(ServiceError, match=r"larger than max") as caught:
            connection.call("render_rgb", pb.RGBRenderRequest(scene_id="x" * (65 * megabyte)))
        assert caught.value.code == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_connections_leave_nothing_behind(scripted: Scripted) -> None:
    def use() -> None:
        with connect(scripted[1]) as connection:
            connection.call("get_version", EMPTY)
        with (
            connect(f"127.0.0.1:{unused}", CallPolicy(connect_timeout_s=0.05)) as connection,
            pytest.raises(ServiceError),
        ):
            connection.call("get_version", EMPTY)

    def held() -> tuple[int, int]:
        ours = [thread for thread in threading.enumerate() if not thread.name.startswith("grpc_")]
        return len(ours), len(list(Path("/proc/self/fd").iterdir()))

    unused = free_port()
    for _ in range(3):
        use()
    before = held()
    for _ in range(20):
        use()
    deadline_s = time.monotonic() + 5.0
    while held() > before and time.monotonic() < deadline_s:
        time.sleep(0.05)  # gRPC closes sockets a moment later, in threads of its own
    threads, files = held()
    assert threads <= before[0] and files <= before[1] + 2


@pytest.mark.parametrize("good", ["localhost:1", "10.0.0.7:65535", "[::1]:50051", "render-1.lan:6000"])
def test_addresses(good: str) -> None:
    assert require_address("renderer", good) == good


@pytest.mark.parametrize(
    "bad",
    ["", "host", ":5", "host:", "host:x", "host:0", "host:65536", "::1:50", "[::1]", "http://h:5", "a b:5"],
)
def test_what_is_no_address_is_refused(bad: str) -> None:
    with pytest.raises(InvalidInput, match="renderer: expected"):
        connect(bad)
