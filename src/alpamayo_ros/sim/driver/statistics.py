"""What a driver counts: sessions, pictures, answers by what they are, refusals by reason, latencies."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from alpamayo_ros.safety.supervisor import Judgement

_LATENCIES_KEPT = 1000


@dataclass(frozen=True)
class DriverCounts:
    """A driver's counts at one moment.

    Attributes:
        sessions_open, sessions_started, sessions_expired: now; since the beginning; ended for want of use.
        drives: answers by source (see events.Source).
        frames: pictures taken, by camera name.
        ignored: pictures that are not used, by logical id: of cameras that the rig does not use, or with
            ", again", ", too old" or ", at 0 us" behind it (that of poses, too).
        refused: what was refused, by reason.
        gate: checks that were failed, by name, one for each sample.
        monitor: plans that passed the gate, by what the monitor says: agrees, contradicts, silent.
        waited: plans that may be driven, but wait for others of their kind after a stop.
        last_problem: the last refusal's, failure's or stop's text, "" before any.
        overhead_p50_ms, overhead_p99_ms: of the latest answers, without the planner's time; 0 before any.
        inference_p50_ms, inference_p99_ms: of the latest plans, waiting for other sessions' included.
    """

    sessions_open: int
    sessions_started: int
    drives: Mapping[str, int]
    frames: Mapping[str, int]
    ignored: Mapping[str, int]
    refused: Mapping[str, int]
    last_problem: str
    overhead_p50_ms: float
    overhead_p99_ms: float
    inference_p50_ms: float
    inference_p99_ms: float
    sessions_expired: int = 0
    gate: Mapping[str, int] = field(default_factory=dict)
    monitor: Mapping[str, int] = field(default_factory=dict)
    waited: int = 0


class DriverStatistics:
    """Counts; any thread may call anything."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open = self._started = self._expired = 0
        self._drives, self._frames = Counter[str](), Counter[str]()
        self._ignored, self._refused = Counter[str](), Counter[str]()
        self._gate, self._monitor = Counter[str](), Counter[str]()
        self._waited = 0
        self._problem = ""
        self._overhead_ms: deque[float] = deque(maxlen=_LATENCIES_KEPT)
        self._inference_ms: deque[float] = deque(maxlen=_LATENCIES_KEPT)

    def opened(self) -> None:
        """Count a session that begins."""
        with self._lock:
            self._open += 1
            self._started += 1

    def closed(self) -> None:
        """Count a session that ends."""
        with self._lock:
            self._open -= 1

    def expired(self) -> None:
        """Count a session that nobody called any more; `closed` counts it, too."""
        with self._lock:
            self._expired += 1

    @property
    def sessions_open(self) -> int:
        """How many sessions there are."""
        return self._open

    def frame(self, camera: str) -> None:
        """Count a picture that was taken."""
        with self._lock:
            self._frames[camera] += 1

    def ignored(self, logical_id: str) -> None:
        """Count a picture that is not used; ids beyond a few are counted together."""
        with self._lock:
            known = logical_id in self._ignored or len(self._ignored) < 32
            self._ignored[logical_id if known else "others"] += 1

    def refused(self, reason: str, problem: str) -> None:
        """Count something refused or failed."""
        with self._lock:
            self._refused[reason] += 1
            self._problem = problem

    def judged(self, judgement: Judgement | None) -> None:
        """Count what gate and monitor found; None is nobody's."""
        if judgement is None:
            return
        with self._lock:
            self._gate.update(judgement.decision.failures())
            if judgement.monitor is not None:
                self._monitor[judgement.monitor.agreement.name.lower()] += 1

    def waited(self) -> None:
        """Count a plan that may be driven, but not yet."""
        with self._lock:
            self._waited += 1

    def drove(self, source: str, *, total_ms: float, inference_ms: float, problem: str = "") -> None:
        """Count an answer; `inference_ms` is 0 where the planner was not asked."""
        with self._lock:
            self._drives[source] += 1
            self._overhead_ms.append(total_ms - inference_ms)
            if inference_ms > 0:
                self._inference_ms.append(inference_ms)
            if problem:
                self._problem = problem

    def snapshot(self) -> DriverCounts:
        """Return how things stand."""
        with self._lock:
            overhead, inference = _percentiles(self._overhead_ms), _percentiles(self._inference_ms)
            return DriverCounts(
                sessions_open=self._open,
                sessions_started=self._started,
                drives=dict(self._drives),
                frames=dict(self._frames),
                ignored=dict(self._ignored),
                refused=dict(self._refused),
                last_problem=self._problem,
                overhead_p50_ms=overhead[0],
                overhead_p99_ms=overhead[1],
                inference_p50_ms=inference[0],
                inference_p99_ms=inference[1],
                sessions_expired=self._expired,
                gate=dict(self._gate),
                monitor=dict(self._monitor),
                waited=self._waited,
            )


def _percentiles(values: deque[float]) -> tuple[float, float]:
    if not values:
        return 0.0, 0.0
    p50, p99 = np.percentile(np.array(values), (50, 99))
    return float(p50), float(p99)
