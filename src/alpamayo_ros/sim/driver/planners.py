"""What a driver is made around: something that makes a planner for each session, and its one thread.

All sessions share what plans, and nothing else. It is asked by one thread, in the order in which sessions
asked: a GPU gains nothing from two plans at once, and what is planned does not depend on who else drives.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

import numpy as np

from alpamayo_ros.safety.supervisor import Stop
from alpamayo_ros.sim.planners import ConstantVelocityPlanner
from alpamayo_ros.sim.protocol.egodriver_messages import DriveSession
from alpamayo_ros.sim.protocol.server import Unwanted
from alpamayo_ros.types import Planner, PrepareFrame

T = TypeVar("T")


class PlannerStops(Exception):
    """What a planner with a safety stage of its own raises where it has no valid plan.

    Attributes:
        stop: to follow instead.
    """

    def __init__(self, stop: Stop) -> None:
        super().__init__(stop.reason)
        self.stop = stop


class DriverPlanners(Protocol):
    """Makes the planner of each session."""

    @property
    def model_id(self) -> str:
        """What plans, for people and the record."""
        ...

    @property
    def takes_instruction(self) -> bool:
        """Whether it was trained with navigation text."""
        ...

    @property
    def num_samples(self) -> int:
        """How many samples its plans have."""
        ...

    @property
    def prepare_frame(self) -> PrepareFrame | None:
        """How it wants its frames, None for as they are. Called by several threads at once."""
        ...

    def start(self, session: DriveSession, *, seed: int) -> Planner:
        """Return a planner that draws from `seed` and the observations alone.

        If it has a method `close`, that is called when the session ends. Its `plan` may raise PlannerStops.
        Raises server.Busy where there is no room for another session.
        """
        ...


@dataclass(frozen=True)
class ConstantPlanners:
    """Constant velocity for everybody: a baseline, and a way to try a set-up without a model."""

    model_id: str = "constant"
    takes_instruction: bool = False
    num_samples: int = 1

    @property
    def prepare_frame(self) -> PrepareFrame | None:
        """It looks at no picture, so none is kept."""
        return lambda frame: np.zeros((3, 1, 1), np.uint8)

    def start(self, session: DriveSession, *, seed: int) -> Planner:
        """Return the planner; it draws nothing at random."""
        return ConstantVelocityPlanner()


@dataclass(eq=False)
class _Job(Generic[T]):
    work: Callable[[], T]
    still_wanted: Callable[[], bool]
    done: threading.Event = field(default_factory=threading.Event)
    result: T | None = None
    error: BaseException | None = None


class OneThread:
    """Runs what it is given in a thread of its own, first come, first served."""

    def __init__(self, name: str = "inference") -> None:
        self._jobs: queue.SimpleQueue[_Job[object] | None] = queue.SimpleQueue()
        self._closed = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return self._jobs.qsize()

    def run(self, work: Callable[[], T], *, still_wanted: Callable[[], bool] = lambda: True) -> T:
        """Return what `work` returns, or raise what it raises.

        Raises:
            Unwanted: if nobody wants it any more when its turn comes, or this is closed before.
        """
        job: _Job[T] = _Job(work, still_wanted)
        with self._lock:
            if self._closed:
                raise _closed()
            self._jobs.put(job)  # type: ignore[arg-type]
        job.done.wait()
        if job.error is not None:
            raise job.error
        return job.result  # type: ignore[return-value]

    def close(self) -> None:
        """End the thread after what it is at; what waits is dropped. A second time does nothing."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._jobs.put(None)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        while True:
            job = self._jobs.get()
            if job is None:
                return
            try:
                if self._closed:
                    raise _closed()
                if not job.still_wanted():
                    raise Unwanted("drive: expected a client that waits, got one that has gone")
                job.result = job.work()
            except BaseException as error:
                job.error = error
            finally:
                job.done.set()
                del job  # or the last observation would be kept until the next comes


def _closed() -> Unwanted:
    return Unwanted("drive: expected a driver that is up, got one that is ending")
