"""A whole replay: sessions at once, over and over, a few mistakes on purpose, and what came of it."""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np

from alpamayo_ros.sim.protocol.channel import CallPolicy, ClientTls, Connection, ServiceError
from alpamayo_ros.sim.protocol.egodriver import EGODRIVER
from alpamayo_ros.sim.protocol.generated import common_pb2, egodriver_pb2
from alpamayo_ros.sim.replay.calls import DriverLog
from alpamayo_ros.sim.replay.compare import differences
from alpamayo_ros.sim.replay.contract import Finding
from alpamayo_ros.sim.replay.session import ReplayOptions, SessionRecord, replay_session
from alpamayo_ros.types import InvalidInput


@dataclass(frozen=True)
class Latency:
    """Of drive() at the client, in ms."""

    count: int
    p50_ms: float
    p99_ms: float
    max_ms: float


@dataclass(frozen=True)
class ReplayReport:
    """What came of a replay.

    Attributes:
        address: of the driver.
        version: what it says it is, "" where it says nothing.
        records: of the sessions, those at once behind one another; the one driven alone is not among them.
        findings: of all, the driver's own first.
        drives: how many drive() were to be made.
        wall_s: how long it took, the session driven alone left out.
        compared: whether answers were compared with a session driven alone.
    """

    address: str
    version: str
    records: tuple[SessionRecord, ...]
    findings: tuple[Finding, ...]
    drives: int
    wall_s: float
    compared: bool

    @property
    def answers(self) -> int:
        """Return how many drive() were answered."""
        return sum(len(record.answers) for record in self.records)

    @property
    def latency(self) -> Latency | None:
        """Return how long drive() took, None without any answer."""
        times = [each for record in self.records for each in record.drive_ms.values()]
        if not times:
            return None
        p50, p99 = np.percentile(times, (50, 99))
        return Latency(len(times), float(p50), float(p99), max(times))

    def broken(self) -> dict[str, tuple[int, Finding]]:
        """Return by the rule how often it was broken, and where first."""
        counts = Counter(each.rule for each in self.findings)
        first = {each.rule: each for each in reversed(self.findings)}
        return {rule: (count, first[rule]) for rule, count in counts.items()}

    def passes(self, *, strict: bool = False) -> bool:
        """Return whether no rule was broken; warnings count only where it is to be strict."""
        return not any(strict or not each.warning for each in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """Return all as numbers, texts and lists, ready for JSON."""
        latency = self.latency
        return {
            "driver": self.address,
            "version": self.version,
            "sessions": len(self.records),
            "completed": sum(record.completed for record in self.records),
            "drives": self.drives,
            "answers": self.answers,
            "compared": self.compared,
            "wall_s": round(self.wall_s, 3),
            "drive_ms": None
            if latency is None
            else {"p50": latency.p50_ms, "p99": latency.p99_ms, "max": latency.max_ms},
            "findings": [
                {
                    "rule": each.rule,
                    "warning": each.warning,
                    "got": each.got,
                    "session": each.session,
                    "step": each.step,
                    "time_now_us": each.now_us,
                }
                for each in self.findings
            ],
        }


def replay_log(
    log: DriverLog,
    address: str,
    *,
    sessions: int = 1,
    repeat: int = 1,
    compare: bool = False,
    options: ReplayOptions | None = None,
    tls: ClientTls | None = None,
    connect_timeout_s: float = 30.0,
    progress: Callable[[int], None] = lambda done: None,
) -> ReplayReport:
    """Replay a log into the driver at an address and return what came of it.

    Args:
        log: what to tell.
        address: HOST:PORT.
        sessions: at once, each with an id, a connection and an order of calls of its own.
        repeat: how often.
        compare: whether to drive a session alone first, and compare the others' answers with its.
        options: of each session.
        tls: to the driver; None is plain.
        connect_timeout_s: how long to wait for somebody at the address.
        progress: told how many sessions are over.

    Raises:
        InvalidInput: for numbers below 1 and what is no address.
        ServiceError: where nobody listens.
    """
    for name, value in (("sessions", sessions), ("repeat", repeat)):
        if value < 1:
            raise InvalidInput(f"{name}: expected at least 1, got {value}")
    options = options or ReplayOptions()

    running: list[Connection] = []
    ended = threading.Event()

    def connection() -> Connection:
        policy = CallPolicy(connect_timeout_s=connect_timeout_s)
        return Connection(address, service=EGODRIVER, policy=policy, tls=tls)

    def one(number: int) -> SessionRecord:
        with connection() as own:
            running.append(own)
            if ended.is_set():  # a session that began while the others were ended would never end
                own.cancel()
            return replay_session(own, log, number=number, options=options)

    with connection() as probe:
        version, findings = _ask_version(probe, options)
        findings += _make_mistakes(probe, log, options)
    alone = one(-1) if compare else None
    records: list[SessionRecord] = []
    started_s = time.monotonic()
    with ThreadPoolExecutor(sessions, thread_name_prefix="session") as pool:
        try:
            for _ in range(repeat):
                records += pool.map(one, range(len(records), len(records) + sessions))
                running.clear()
                progress(len(records))
        except BaseException:  # an interrupt: the pool would wait for calls that have no deadline
            ended.set()
            for each in tuple(running):
                each.cancel()
            raise
    wall_s = time.monotonic() - started_s
    if alone is not None and len(alone.answers) < log.drives:
        got = f"{len(alone.answers)} of {log.drives} answers in a session driven alone"
        findings.append(Finding("same_answers", got))
    for record in records:
        findings += record.findings
        if alone is not None:
            findings += differences(record, alone)
    return ReplayReport(
        address=address,
        version=version,
        records=tuple(records),
        findings=tuple(findings),
        drives=log.drives * sessions * repeat,
        wall_s=wall_s,
        compared=compare,
    )


def _ask_version(connection: Connection, options: ReplayOptions) -> tuple[str, list[Finding]]:
    """Return what the driver says it is; the first call, which finds out whether it is there at all."""
    try:
        message = connection.call("get_version", common_pb2.Empty(), deadline_s=options.timeout_s)
    except ServiceError as error:
        if error.code == grpc.StatusCode.UNAVAILABLE:
            raise
        return "", [Finding("version", f"{error.code.name}: {error.details or error}")]
    return str(message.version_id), []


def _make_mistakes(connection: Connection, log: DriverLog, options: ReplayOptions) -> list[Finding]:
    """Do what a client should not, in a session apart, and return where it is not refused."""
    session = egodriver_pb2.DriveSessionRequest()
    session.CopyFrom(log.session)
    session.session_uuid = str(uuid.uuid4())
    drive = egodriver_pb2.DriveRequest(session_uuid=str(uuid.uuid4()), time_now_us=1, time_query_us=1)
    close = egodriver_pb2.DriveSessionCloseRequest(session_uuid=session.session_uuid)

    def status(method: str, message: Any) -> str:
        try:
            connection.call(method, message, deadline_s=options.timeout_s)
        except ServiceError as error:
            return error.code.name
        return "OK"

    found = []
    got = status("drive", drive)
    if got != "NOT_FOUND":
        found.append(Finding("unknown_session", got))
    if status("start_session", session) == "OK":  # else each session of the replay says so
        got = status("start_session", session)
        if got != "ALREADY_EXISTS":
            found.append(Finding("repeated_start", got))
        status("close_session", close)
    return found
