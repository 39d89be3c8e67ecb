"""The thread in which the model runs: newest observation only, one at most waiting, questions in between.

While it has neither it gets ahead with the plans to come: it reads the start of the next prompt, once behind
each plan, and encodes frames that have arrived, one at a time. So a plan waits for one of these at the most.
"""

from __future__ import annotations

import gc
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from alpamayo_ros.ros.inference_health import FailureKind, InferenceHealth
from alpamayo_ros.ros.planner_backend import BackendAnswer, PlannerBackend
from alpamayo_ros.types import InvalidInput, Observation, Plan, PlanOptions, StageTimes, UInt8Array

MAX_WAITING_QUESTIONS = 4
MAX_WAITING_FRAMES = 32
_NO_ANSWER = BackendAnswer("", complete=False)


@dataclass(frozen=True, eq=False)
class PlanOutcome:
    """What came of one observation: a plan or an error.

    Attributes:
        observation: what was to be planned from.
        context: what was offered with it.
        plan, error: one of them.
        latency_ms: of the planner, as measured around it.
        queue_ms: for how long the observation had waited before.
        options: what the plan was sampled with; None for planners that do not sample.
        kind: of the failure.
    """

    observation: Observation
    context: Any
    plan: Plan | None
    error: Exception | None
    latency_ms: float
    queue_ms: float = 0.0
    options: PlanOptions | None = None
    kind: FailureKind | None = None


@dataclass(frozen=True, eq=False)
class AnswerOutcome:
    """What came of one question: an answer or an error."""

    observation: Observation
    answer: BackendAnswer
    error: Exception | None
    times: StageTimes


@dataclass(frozen=True, eq=False)
class _Offer:
    observation: Observation
    context: Any
    since_s: float


@dataclass(frozen=True, eq=False)
class _Question:
    text: str
    observation: Observation
    on_answer: Callable[[AnswerOutcome], None]


@dataclass(frozen=True, eq=False)
class _Frame:
    camera_id: int
    stamp_ns: int
    pixels: UInt8Array


class InferenceWorker:
    """Runs a planner in a thread of its own.

    Args:
        backend: the planner; closed by the thread when it ends, so never under a plan that is running.
        on_plan: called in the thread with each outcome.
        max_failures: failures in a row after which the planner is tried only once a second.

    Attributes:
        health: failures in a row, memory that ran out.
        frames_failed: frames that could not be encoded on arrival, or starts that could not be read ahead;
            `frame_error` says why the last could not.
    """

    def __init__(
        self, backend: PlannerBackend, *, on_plan: Callable[[PlanOutcome], None], max_failures: int = 5
    ) -> None:
        self.health = InferenceHealth(max_failures=max_failures)
        self._backend = backend
        self._on_plan = on_plan
        self._offered: _Offer | None = None
        self._began_s: float | None = None
        self._questions: deque[_Question] = deque()
        self._frames: deque[_Frame] = deque(maxlen=MAX_WAITING_FRAMES)
        self._start_is_due = False  # a plan was made, and nothing read ahead since
        self.frames_failed = 0
        self.frame_error = ""
        self._answered_last = False
        self._running = False
        self._closed = False
        self._changed = threading.Condition()
        # Daemonic: a process that is told to end does not wait for a plan that nobody will read.
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)
        self._thread.start()

    @property
    def busy(self) -> bool:
        """Whether a plan or an answer is being computed."""
        return self._running

    @property
    def running_for_ms(self) -> float:
        """For how long the plan that is being computed has been; 0 if none is."""
        began_s = self._began_s
        return 0.0 if began_s is None else (time.perf_counter() - began_s) * 1e3

    def offer(self, observation: Observation, *, context: Any = None) -> bool:
        """Hand over an observation; returns whether it took the place of an older one that still waited."""
        with self._changed:
            superseded = self._offered is not None
            self._offered = _Offer(observation, context, time.perf_counter())
            self._changed.notify()
            return superseded

    def look_ahead(self, camera_id: int, stamp_ns: int, frame: UInt8Array) -> None:
        """Encode a frame, uint8 [3, H, W] as observations will hold it, when there is nothing else to do.

        Of more than MAX_WAITING_FRAMES the oldest are left to the plan that needs them.
        """
        with self._changed:
            if not self._closed:
                self._frames.append(_Frame(camera_id, stamp_ns, frame))
                self._changed.notify()

    def ask(self, text: str, observation: Observation, *, on_answer: Callable[[AnswerOutcome], None]) -> None:
        """Queue a question; `on_answer` is called in the thread.

        Raises:
            InvalidInput: if too many questions wait already, or the worker has ended.
        """
        with self._changed:
            if self._closed:
                raise InvalidInput("question: expected a running planner, got one that is being cleaned up")
            if len(self._questions) >= MAX_WAITING_QUESTIONS:
                raise InvalidInput(
                    f"question: expected at most {MAX_WAITING_QUESTIONS} waiting, got one more"
                )
            self._questions.append(_Question(text, observation, on_answer))
            self._changed.notify()

    def clear(self) -> None:
        """Forget the observation and the frames that wait."""
        with self._changed:
            self._offered = None
            self._frames.clear()
            self._start_is_due = False

    def close(self, *, timeout_s: float) -> bool:
        """End the thread and close the planner; returns False if a plan is still running after `timeout_s`.

        Then the planner is closed as soon as that plan is done. Questions that wait are refused.
        """
        with self._changed:
            self._closed = True
            self._offered = None
            self._frames.clear()
            waiting = list(self._questions)
            self._questions.clear()
            self._changed.notify()
        for question in waiting:
            error = InvalidInput("question: expected an active planner, got one that is being cleaned up")
            question.on_answer(AnswerOutcome(question.observation, _NO_ANSWER, error, StageTimes()))
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._running = False
                self._changed.wait_for(
                    lambda: (
                        self._closed or self._offered or self._questions or self._frames or self._start_is_due
                    )
                )
                if self._closed:
                    break
                idle = not self._offered and not self._questions
                # First the start: of the frames before those that have come meanwhile.
                reads = idle and self._start_is_due
                self._start_is_due = self._start_is_due and not reads
                frame = self._frames.popleft() if idle and not reads else None
                # Turn about, so that neither plans nor questions keep the other waiting for ever.
                asks = bool(self._questions) and not (self._answered_last and self._offered)
                self._answered_last = asks
                question = self._questions.popleft() if asks else None
                offered = None
                if not asks:
                    offered, self._offered = self._offered, None
                self._running = not idle
            if reads:
                self._ahead(self._backend.read_ahead)
            elif frame is not None:
                self._ahead(partial(self._backend.encode, frame.camera_id, frame.stamp_ns, frame.pixels))
                frame = None
            elif question is not None:
                self._answer(question)
            elif offered is not None:
                self._plan(offered)
                offered = None  # else its frames would be kept until the next
        self._backend.close()

    def _ahead(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # the plan will meet it again, and judge it
            self.frames_failed += 1
            self.frame_error = f"{type(error).__name__}: {error}"
            traceback.clear_frames(error.__traceback__)

    def _plan(self, offer: _Offer) -> None:
        if not self.health.may_try():
            view = self.health.view
            error = RuntimeError(
                f"not tried: {view.failures_in_row} plans in a row have failed, "
                f"the last with {view.last_error}"
            )
            self._on_plan(
                PlanOutcome(offer.observation, offer.context, None, error, 0.0, kind=FailureKind.ERROR)
            )
            return
        plan: Plan | None = None
        failure: Exception | None = None
        kind: FailureKind | None = None
        self._began_s = started_s = time.perf_counter()
        try:
            plan = self._backend.planner.plan(offer.observation)
            if plan.t0_ns != offer.observation.t0_ns:
                raise InvalidInput(f"plan: expected t0 {offer.observation.t0_ns} ns, got {plan.t0_ns} ns")
            self.health.succeeded()
        except Exception as error:
            plan, failure = None, error
            kind = self.health.failed(error)
        self._began_s = None
        latency_ms = (time.perf_counter() - started_s) * 1e3
        self._start_is_due = plan is not None
        if failure is not None and kind is FailureKind.OUT_OF_MEMORY:
            self._free_memory(failure)
        outcome = PlanOutcome(
            offer.observation,
            offer.context,
            plan,
            failure,
            latency_ms,
            queue_ms=(started_s - offer.since_s) * 1e3,
            options=self._backend.options,
            kind=kind,
        )
        self._on_plan(outcome)

    def _free_memory(self, error: Exception) -> None:
        """Give back what the failed plan holds, so that the next one finds room.

        The exception's frames hold the tensors of every layer that it came through.
        """
        cause: BaseException | None = error
        while cause is not None:
            traceback.clear_frames(cause.__traceback__)
            cause.__traceback__ = None
            cause = cause.__cause__ or cause.__context__
        gc.collect()
        self._backend.free_memory()

    def _answer(self, question: _Question) -> None:
        answer = _NO_ANSWER
        failure: Exception | None = None
        started_s = time.perf_counter()
        try:
            answer = self._backend.answer(question.observation, question.text)
        except Exception as error:
            failure = error
        times = StageTimes(total_ms=(time.perf_counter() - started_s) * 1e3)
        question.on_answer(AnswerOutcome(question.observation, answer, failure, times))
