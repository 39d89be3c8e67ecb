"""How inference is doing: failures in a row, memory that ran out, and whether to try again now."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from alpamayo_ros.types import InvalidInput

RETRY_PERIOD_S = 1.0
"""In the error state inference is tried this often."""

_OUT_OF_MEMORY_NAMES = frozenset({"OutOfMemoryError", "MemoryError"})
_OUT_OF_MEMORY_WORDS = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "cublas_status_alloc_failed",
    "not enough memory",
)


class FailureKind(Enum):
    """What kind of failure an exception of a planner is."""

    OUT_OF_MEMORY = "out_of_memory"
    REFUSED = "observation_refused"
    ERROR = "inference_error"


def classify(error: BaseException) -> FailureKind:
    """Return the kind of a failure.

    torch's errors are told by the names of their classes, and older ones and those of its CPU allocator,
    which are RuntimeErrors, by what they say: so nothing needs to be imported for it.
    """
    if isinstance(error, InvalidInput):
        return FailureKind.REFUSED
    if any(kind.__name__ in _OUT_OF_MEMORY_NAMES for kind in type(error).__mro__):
        return FailureKind.OUT_OF_MEMORY
    says = str(error).lower()
    if isinstance(error, RuntimeError) and any(words in says for words in _OUT_OF_MEMORY_WORDS):
        return FailureKind.OUT_OF_MEMORY
    return FailureKind.ERROR


@dataclass(frozen=True)
class HealthView:
    """How things stand.

    Attributes:
        failed: whether so many plans in a row have failed that the model is tried only now and then.
        failures_in_row: since the last plan.
        out_of_memory: how often memory has run out, since the start.
        last_error: of the newest failure; "" after a plan.
    """

    failed: bool = False
    failures_in_row: int = 0
    out_of_memory: int = 0
    last_error: str = ""


class InferenceHealth:
    """Counts successes and failures; thread-safe.

    An observation that the planner refuses is no failure of the planner: it neither counts nor resets.

    Args:
        max_failures: failures in a row that lead to the error state.
        clock_s: a steady clock.
    """

    def __init__(self, *, max_failures: int, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._max_failures = max_failures
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._view = HealthView()
        self._tried_s = float("-inf")

    @property
    def view(self) -> HealthView:
        """How things stand."""
        return self._view

    def may_try(self) -> bool:
        """Return whether inference is to be tried now: always, and in the error state once a second."""
        with self._lock:
            now_s = self._clock_s()
            if self._view.failed and now_s - self._tried_s < RETRY_PERIOD_S:
                return False
            self._tried_s = now_s
            return True

    def succeeded(self) -> None:
        """Take note of a plan; it ends the error state."""
        with self._lock:
            self._view = HealthView(out_of_memory=self._view.out_of_memory)

    def failed(self, error: BaseException) -> FailureKind:
        """Take note of an exception; returns its kind."""
        kind = classify(error)
        if kind is FailureKind.REFUSED:
            return kind
        with self._lock:
            row = self._view.failures_in_row + 1
            self._view = HealthView(
                failed=row >= self._max_failures,
                failures_in_row=row,
                out_of_memory=self._view.out_of_memory + (kind is FailureKind.OUT_OF_MEMORY),
                last_error=f"{type(error).__name__}: {error}",
            )
        return kind
