"""The inference thread: newest only, failures counted and survived, memory given back."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from alpamayo_ros.ros.inference import MAX_WAITING_FRAMES, InferenceWorker, PlanOutcome
from alpamayo_ros.ros.inference_health import (
    RETRY_PERIOD_S,
    FailureKind,
    InferenceHealth,
    classify,
)
from alpamayo_ros.ros.planner_backend import PlannerBackend
from alpamayo_ros.types import InvalidInput, Observation, Plan

T0 = 1_700_000_000 * 10**9


def observation(step: int = 0) -> Observation:
    t0_ns = T0 + step * 10**8
    xyz = np.zeros((16, 3), np.float32)
    xyz[:, 0] = np.linspace(-7.5, 0, 16)
    return Observation(
        t0_ns=t0_ns,
        camera_ids=(1,),
        frames=np.zeros((1, 4, 3, 8, 8), np.uint8),
        frame_stamps_ns=t0_ns + np.array([[-3, -2, -1, 0]], np.int64) * 10**8,
        history_xyz_in_rig_t0=xyz,
        history_rot_in_rig_t0=np.tile(np.eye(3, dtype=np.float32), (16, 1, 1)),
    )


def plan(seen: Observation) -> Plan:
    return Plan(
        t0_ns=seen.t0_ns,
        xyz_in_rig_t0=np.zeros((1, 64, 3), np.float32),
        rot_in_rig_t0=np.tile(np.eye(3, dtype=np.float32), (1, 64, 1, 1)),
        accel_mps2=np.zeros((1, 64), np.float32),
        curvature_per_m=np.zeros((1, 64), np.float32),
        speed_mps=np.zeros((1, 65), np.float32),
        normalised_action=np.zeros((1, 64, 2), np.float32),
        reasoning=("",),
        reasoning_complete=(True,),
        meta_action=("",),
        token_ids=((),),
        sections=(None,),
    )


class Scripted:
    """Plans as the test says."""

    def __init__(self, plan_of: Callable[[Observation], Plan] = plan) -> None:
        self.plan_of = plan_of

    def plan(self, seen: Observation) -> Plan:
        return self.plan_of(seen)


class Held(Scripted):
    """Begins a plan, says so, and goes on when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.go = threading.Event(), threading.Event()

    def plan(self, seen: Observation) -> Plan:
        self.begun.set()
        assert self.go.wait(10)
        return super().plan(seen)


class Backend(PlannerBackend):
    freed = 0

    def __init__(self, planner: Any) -> None:
        super().__init__(planner)
        self.done: list[str] = []
        self.unlike: set[int] = set()
        self.reads = self.unreadable = False

    def read_ahead(self) -> None:
        if self.unreadable:
            raise RuntimeError("no room")
        if self.reads:
            self.done.append("start")

    def encode(self, camera_id: int, stamp_ns: int, frame: np.ndarray) -> None:
        if stamp_ns in self.unlike:
            raise RuntimeError("no kernel image")
        self.done.append(f"frame {camera_id} {stamp_ns}")

    def free_memory(self) -> None:
        self.freed += 1


@contextmanager
def working(planner: Any, **options: Any) -> Iterator[tuple[InferenceWorker, Backend, list[PlanOutcome]]]:
    outcomes: list[PlanOutcome] = []
    backend = Backend(planner)
    worker = InferenceWorker(backend, on_plan=outcomes.append, **options)
    try:
        yield worker, backend, outcomes
    finally:
        assert worker.close(timeout_s=10)


def until(condition: Callable[[], Any], *, timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def one(worker: InferenceWorker, outcomes: list[PlanOutcome], step: int = 0) -> PlanOutcome:
    count = len(outcomes)
    worker.offer(observation(step))
    until(lambda: len(outcomes) > count)
    return outcomes[-1]


def test_one_at_most_waits_and_it_is_the_newest() -> None:
    go, seen = threading.Event(), []

    def slow(observed: Observation) -> Plan:
        seen.append(observed.t0_ns)
        assert go.wait(10)
        return plan(observed)

    with working(Scripted(slow)) as (worker, _, outcomes):
        assert not worker.offer(observation(0))
        until(lambda: seen)
        assert [worker.offer(observation(step)) for step in (1, 2, 3)] == [False, True, True]
        until(lambda: worker.running_for_ms > 20)
        go.set()
        until(lambda: len(outcomes) == 2)
        assert worker.running_for_ms == 0
    assert [outcome.observation.t0_ns for outcome in outcomes] == [T0, T0 + 3 * 10**8]
    assert outcomes[1].queue_ms > 10
    assert outcomes[0].latency_ms > 20


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MemoryError(), FailureKind.OUT_OF_MEMORY),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), FailureKind.OUT_OF_MEMORY),
        (
            RuntimeError(
                "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried"
            ),
            FailureKind.OUT_OF_MEMORY,
        ),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), FailureKind.ERROR),
        (ValueError("out of memory"), FailureKind.ERROR),
        (InvalidInput("instruction: expected none"), FailureKind.REFUSED),
        (KeyError("x"), FailureKind.ERROR),
    ],
)
def test_failures_are_told_apart(error: Exception, kind: FailureKind) -> None:
    assert classify(error) is kind


def test_torchs_own_error_is_out_of_memory() -> None:
    torch = pytest.importorskip("torch")
    assert classify(torch.cuda.OutOfMemoryError("no room")) is FailureKind.OUT_OF_MEMORY


def test_after_out_of_memory_the_failed_plans_tensors_are_gone_and_the_next_is_tried() -> None:
    kept: list[weakref.ref[Any]] = []

    def exhausted(seen: Observation) -> Plan:
        held = np.zeros(1000)
        kept.append(weakref.ref(held))
        raise MemoryError("held until the frame goes")

    planner = Scripted(exhausted)
    with working(planner) as (worker, backend, outcomes):
        outcome = one(worker, outcomes)
        assert outcome.kind is FailureKind.OUT_OF_MEMORY and isinstance(outcome.error, MemoryError)
        assert backend.freed == 1 and worker.health.view.out_of_memory == 1
        gc.disable()
        try:
            assert kept[0]() is None
        finally:
            gc.enable()
        planner.plan_of = plan
        assert one(worker, outcomes, 1).plan is not None
        assert worker.health.view.failures_in_row == 0 and worker.health.view.out_of_memory == 1


def test_after_many_failures_it_is_tried_now_and_then_and_a_plan_ends_that() -> None:
    calls = []

    def broken(seen: Observation) -> Plan:
        calls.append(seen.t0_ns)
        raise RuntimeError("broken")

    planner = Scripted(broken)
    with working(planner, max_failures=3) as (worker, _, outcomes):
        for step in range(20):
            one(worker, outcomes, step)
        assert worker.health.view.failed
        # Three, and one more for each second that this has taken.
        assert len(calls) == worker.health.view.failures_in_row < 20
        assert any(
            "not tried: 3 plans in a row have failed, the last with RuntimeError: broken"
            in str(outcome.error)
            for outcome in outcomes
        )
        planner.plan_of = plan
        until(lambda: one(worker, outcomes, 30).plan is not None)
        assert not worker.health.view.failed


def test_the_error_state_by_its_own_clock() -> None:
    now_s = [100.0]
    health = InferenceHealth(max_failures=2, clock_s=lambda: now_s[0])
    assert health.may_try()
    health.failed(RuntimeError("a"))
    assert health.may_try() and not health.view.failed
    health.failed(RuntimeError("b"))
    assert health.view.failed and health.view.last_error == "RuntimeError: b"
    assert not health.may_try()
    now_s[0] += RETRY_PERIOD_S
    assert health.may_try()
    assert not health.may_try()
    health.failed(InvalidInput("refused"))  # says nothing about the model
    assert health.view.failures_in_row == 2
    health.succeeded()
    assert health.may_try() and health.view.last_error == ""


FRAME = np.zeros((3, 2, 2), np.uint8)


def test_frames_are_encoded_while_there_is_nothing_else_to_do() -> None:
    """A plan that is offered meanwhile goes first; frames keep their order."""
    go, begun = threading.Event(), threading.Event()

    def slow(observed: Observation) -> Plan:
        begun.set()
        assert go.wait(10)
        backend.done.append(f"plan {observed.t0_ns - T0}")
        return plan(observed)

    with working(Scripted(slow)) as (worker, backend, outcomes):
        worker.offer(observation(0))
        assert begun.wait(10)
        for stamp_ns in (5, 6):
            worker.look_ahead(1, stamp_ns, FRAME)
        worker.offer(observation(1))
        go.set()
        until(lambda: len(backend.done) == 4)
        assert backend.done == ["plan 0", "plan 100000000", "frame 1 5", "frame 1 6"]
        until(lambda: not worker.busy)
        worker.look_ahead(2, 7, FRAME)
        until(lambda: backend.done[-1] == "frame 2 7")
    assert len(outcomes) == 2


def test_of_too_many_frames_the_oldest_are_left_to_their_plan() -> None:
    held = Held()
    with working(held) as (worker, backend, _):
        worker.offer(observation(0))
        assert held.begun.wait(10)
        for stamp_ns in range(MAX_WAITING_FRAMES + 3):
            worker.look_ahead(0, stamp_ns, FRAME)
        held.go.set()
        until(lambda: len(backend.done) == MAX_WAITING_FRAMES)
        assert backend.done[0] == "frame 0 3"


def test_a_frame_that_cannot_be_encoded_is_counted_and_stops_nothing() -> None:
    with working(Scripted()) as (worker, backend, outcomes):
        backend.unlike.add(1)
        worker.look_ahead(0, 1, FRAME)
        worker.look_ahead(0, 2, FRAME)
        until(lambda: backend.done == ["frame 0 2"])
        assert (worker.frames_failed, worker.frame_error) == (1, "RuntimeError: no kernel image")
        assert one(worker, outcomes).error is None
        assert worker.health.view.failures_in_row == 0


def test_frames_that_wait_are_forgotten_with_the_observation() -> None:
    held = Held()
    with working(held) as (worker, backend, outcomes):
        worker.offer(observation(0))
        assert held.begun.wait(10)
        worker.look_ahead(0, 1, FRAME)
        worker.clear()
        held.go.set()
        until(lambda: outcomes)
        one(worker, outcomes, 1)
    assert backend.done == []


def test_the_next_start_is_read_once_behind_each_plan_and_before_frames() -> None:
    held = Held()
    with working(held) as (worker, backend, outcomes):
        backend.reads = True
        worker.offer(observation(0))
        assert held.begun.wait(10)
        worker.look_ahead(1, 5, FRAME)
        worker.offer(observation(1))
        held.go.set()
        until(lambda: len(backend.done) == 2)
        assert backend.done == ["start", "frame 1 5"], "none between two plans of which one waits"
        worker.look_ahead(1, 6, FRAME)
        until(lambda: len(backend.done) == 3)
        assert backend.done[-1] == "frame 1 6"
    assert len(outcomes) == 2


def test_no_start_is_read_behind_a_plan_that_failed() -> None:
    def failing(observed: Observation) -> Plan:
        raise RuntimeError("no plan")

    with working(Scripted(failing)) as (worker, backend, outcomes):
        backend.reads = True
        assert one(worker, outcomes).error is not None
        worker.look_ahead(1, 5, FRAME)
        until(lambda: backend.done)
        assert backend.done == ["frame 1 5"]


def test_a_start_that_cannot_be_read_is_counted_and_stops_nothing() -> None:
    with working(Scripted()) as (worker, backend, outcomes):
        backend.reads, backend.unreadable = True, True
        assert one(worker, outcomes).error is None
        until(lambda: worker.frames_failed == 1)
        assert worker.frame_error == "RuntimeError: no room"
        assert one(worker, outcomes, 1).error is None
