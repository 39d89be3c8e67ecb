"""One replayed session: the log's calls in the runtime's order, and what came back."""

from __future__ import annotations

import math
import random
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc

from alpamayo_ros.sim.protocol.channel import Connection, ServiceError
from alpamayo_ros.sim.protocol.generated import egodriver_pb2
from alpamayo_ros.sim.replay.calls import Call, DriverLog, Step
from alpamayo_ros.sim.replay.contract import Finding, check_answer
from alpamayo_ros.types import InvalidInput

_OVER = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.CANCELLED)
"""Statuses behind which no other call of the session can do better."""


@dataclass(frozen=True)
class ReplayOptions:
    """How a log is replayed.

    Attributes:
        shuffle_seed: of the order in which a step's calls are made.
        random_seed: of the session, in place of the recorded one; None keeps that.
        timeout_s: of each call; AlpaSim sets none on drive().

    Raises:
        InvalidInput: for a value out of its range.
    """

    shuffle_seed: int = 0
    random_seed: int | None = None
    timeout_s: float = math.inf

    def __post_init__(self) -> None:
        if self.random_seed is not None and not 0 <= self.random_seed < 2**64:
            raise InvalidInput(f"random_seed: expected 0 ... 2^64 - 1, got {self.random_seed}")
        if not self.timeout_s > 0:
            raise InvalidInput(f"timeout_s: expected a positive number of seconds, got {self.timeout_s}")


@dataclass
class SessionRecord:
    """What a session gave.

    Attributes:
        number: of the session, from 0.
        answers: by step, as they came; without those that were no answer.
        drive_ms: by step, how long each drive() took, at the client.
        findings: rules that were broken, in the order in which that was seen.
        completed: whether all of the log was told.
    """

    number: int
    answers: dict[int, egodriver_pb2.DriveResponse] = field(default_factory=dict)
    drive_ms: dict[int, float] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    completed: bool = False


def replay_session(
    connection: Connection, log: DriverLog, *, number: int = 0, options: ReplayOptions | None = None
) -> SessionRecord:
    """Replay a log as one session of its own id, check each answer, and return what came back.

    A call that fails is a finding, and the session goes on where it can: AlpaSim would end the rollout
    there, but who writes a driver wants to see what else is amiss.

    Args:
        connection: to the driver.
        log: what to tell.
        number: of the session, for the record.
        options: how.
    """
    return _Replay(connection, log, number=number, options=options or ReplayOptions()).run()


def call_order(step: Step, *, shuffle_seed: int, session: int) -> Sequence[Call]:
    """Return what a step tells, in the order in which a session's calls are begun."""
    told = list(step.told)
    random.Random(f"{shuffle_seed}/{session}/{step.number}").shuffle(told)
    return told


class _Replay:
    def __init__(
        self, connection: Connection, log: DriverLog, *, number: int, options: ReplayOptions
    ) -> None:
        self._connection, self._log, self._options = connection, log, options
        self._uuid = str(uuid.uuid4())
        self._record = SessionRecord(number)
        self._over = False

    def run(self) -> SessionRecord:
        session = egodriver_pb2.DriveSessionRequest()
        session.CopyFrom(self._log.session)
        if self._options.random_seed is not None:
            session.random_seed = self._options.random_seed
        started = self._call("start_session", Call("start_session", session))
        if started is None:
            return self._record
        widest = max(len(step.told) for step in self._log.steps)
        with ThreadPoolExecutor(max(1, widest), thread_name_prefix="replay") as pool:
            try:
                self._steps(pool)
            except BaseException:  # an interrupt: the pool would wait for calls that have no deadline
                self._connection.cancel()
                raise
        if not self._over:
            self._call("close_session", Call("close_session", egodriver_pb2.DriveSessionCloseRequest()))
        return self._record

    def _steps(self, pool: ThreadPoolExecutor) -> None:
        for step in self._log.steps:
            self._step(pool, step)
            if self._over:
                return
        self._record.completed = True

    def _step(self, pool: ThreadPoolExecutor, step: Step) -> None:
        """Tell all at once, in an order of its own, and when all has been taken ask."""
        told = call_order(step, shuffle_seed=self._options.shuffle_seed, session=self._record.number)
        list(pool.map(lambda call: self._call("told", call, step=step), told))
        if step.request is None or self._over:
            return
        started_s = time.perf_counter()
        answer = self._call("answered", Call("drive", step.request), step=step)
        if answer is None:
            return
        self._record.drive_ms[step.number] = (time.perf_counter() - started_s) * 1e3
        self._record.answers[step.number] = answer
        now_us = step.request.time_now_us
        for rule, got in check_answer(answer, now_us=now_us, newest_rig=step.newest_rig):
            self._find(rule, got, step)

    def _call(self, rule: str, call: Call, *, step: Step | None = None) -> Any:
        """Return the answer, or None for none, which breaks `rule`."""
        message = type(call.message)()
        message.CopyFrom(call.message)
        message.session_uuid = self._uuid
        try:
            return self._connection.call(call.method, message, deadline_s=self._options.timeout_s)
        except ServiceError as error:
            self._over = self._over or error.code in _OVER
            self._find(rule, f"{call.method}: {error.code.name}: {error.details or error}", step)
            return None

    def _find(self, rule: str, got: str, step: Step | None) -> None:
        now_us = None if step is None or step.request is None else step.request.time_now_us
        number = None if step is None else step.number
        self._record.findings.append(
            Finding(rule, got, session=self._record.number, step=number, now_us=now_us)
        )
