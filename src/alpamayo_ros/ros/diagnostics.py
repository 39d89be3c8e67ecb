"""Counters of the planner node, and the DiagnosticArray that they become."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from diagnostic_msgs.msg import DiagnosticArray

HARDWARE_ID = "alpamayo_ros"
_RATE_WINDOW_NS = 2_000_000_000
_LATENCIES = 200
_ALWAYS = ("observations", "plans_valid", "plans_waiting", "plans_rejected", "stops", "overruns")


class Level(IntEnum):
    """Levels of diagnostic_msgs/DiagnosticStatus."""

    OK = 0
    WARN = 1
    ERROR = 2
    STALE = 3


@dataclass(frozen=True)
class Status:
    """One diagnostic_msgs/DiagnosticStatus; `name` without the leading "alpamayo/"."""

    name: str
    level: Level
    message: str
    values: Mapping[str, object] = field(default_factory=dict)


class InputStatistics:
    """Counts of one input's messages, their rate by their stamps, and the newest stamp; thread-safe.

    The rate is over the last two seconds of stamps, so it is the sensor's own, whatever the playback rate.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._stamps_ns: deque[int] = deque()
        self.problem = ""

    def count(self, what: str, number: int = 1) -> None:
        """Add to a counter, e.g. "received"."""
        with self._lock:
            self._counts[what] += number

    def stamped(self, stamp_ns: int) -> None:
        """Note the stamp of a message that was usable; a stamp before the newest starts the rate afresh."""
        with self._lock:
            if self._stamps_ns and stamp_ns < self._stamps_ns[-1]:
                self._stamps_ns.clear()
            self._stamps_ns.append(stamp_ns)
            while stamp_ns - self._stamps_ns[0] > _RATE_WINDOW_NS:
                self._stamps_ns.popleft()

    def clear_stamps(self) -> None:
        """Forget the stamps, keep the counts."""
        with self._lock:
            self._stamps_ns.clear()

    def __getitem__(self, what: str) -> int:
        with self._lock:
            return self._counts[what]

    @property
    def rate_hz(self) -> float:
        """Messages a second of their stamps, 0 before there are two."""
        with self._lock:
            if len(self._stamps_ns) < 2 or self._stamps_ns[-1] == self._stamps_ns[0]:
                return 0.0
            return (len(self._stamps_ns) - 1) * 1e9 / (self._stamps_ns[-1] - self._stamps_ns[0])

    @property
    def newest_ns(self) -> int | None:
        """Stamp of the newest usable message."""
        with self._lock:
            return self._stamps_ns[-1] if self._stamps_ns else None

    def age_ms(self, now_ns: int) -> float | None:
        """Age of the newest usable message in ms."""
        newest_ns = self.newest_ns
        return None if newest_ns is None else (now_ns - newest_ns) / 1e6


class PlanStatistics:
    """Counts of observations, plans by status, stops, and refusals by reason; thread-safe.

    Counters by their diagnostics key: observations, plans_<status>, plans_waiting (passed while a fallback
    went on), plans_rejected, stops, refusals/<reason>, gate/<check>, monitor/<verdict>, superseded,
    discarded, overruns, deadlines_missed, clock_jumps, backward_jumps.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter(dict.fromkeys(_ALWAYS, 0))
        self._latencies_ms: deque[float] = deque(maxlen=_LATENCIES)
        self._done_s: deque[float] = deque(maxlen=_LATENCIES)
        self._newest_t0_ns = 0
        self._latency_ms = 0.0
        self._last_refusal = ""
        self._last_contradiction = ""
        self._contradicts = False
        self._refused_since_plan = 0

    def count(self, what: str, number: int = 1) -> None:
        """Add to a counter by its diagnostics key."""
        with self._lock:
            self._counts[what] += number

    def observed(self, t0_ns: int) -> None:
        """Count an observation."""
        with self._lock:
            self._counts["observations"] += 1
            self._newest_t0_ns = t0_ns

    def refused(self, reason: str, message: str) -> None:
        """Count a refusal by its reason's slug and remember what it said."""
        with self._lock:
            self._counts[f"refusals/{reason}"] += 1
            self._last_refusal = message
            self._refused_since_plan += 1

    def inferred(self, latency_ms: float, *, period_ms: float) -> None:
        """Take the time of an inference that made a plan; longer than the period is an overrun."""
        with self._lock:
            self._latency_ms = latency_ms
            self._latencies_ms.append(latency_ms)
            self._done_s.append(time.monotonic())
            self._counts["overruns"] += latency_ms > period_ms

    def planned(self, status: str) -> None:
        """Count a published plan."""
        with self._lock:
            self._counts[f"plans_{status}"] += 1
            self._refused_since_plan = 0

    def monitored(self, verdict: str, reason: str) -> None:
        """Count what the monitor said, and what contradicts what."""
        with self._lock:
            self._counts[f"monitor/{verdict}"] += 1
            self._contradicts = bool(reason)
            self._last_contradiction = reason or self._last_contradiction

    def __getitem__(self, what: str) -> int:
        with self._lock:
            return self._counts[what]

    def of(self, prefix: str) -> dict[str, int]:
        """Return the counters whose keys begin with `prefix`, without it."""
        with self._lock:
            return {k.removeprefix(prefix): n for k, n in self._counts.items() if k.startswith(prefix)}

    @property
    def refusals(self) -> dict[str, int]:
        """Refusals by reason."""
        return self.of("refusals/")

    @property
    def complaint(self) -> str:
        """The last refusal, if no plan has come since; else ""."""
        with self._lock:
            return self._last_refusal if self._refused_since_plan else ""

    @property
    def contradiction(self) -> str:
        """What the newest plan contradicts; "" if it does not."""
        with self._lock:
            return self._last_contradiction if self._contradicts else ""

    @property
    def last_contradiction(self) -> str:
        """The newest contradiction of any plan."""
        return self._last_contradiction

    @property
    def newest_t0_ns(self) -> int:
        """t0 of the newest observation, 0 before there is one."""
        return self._newest_t0_ns

    def latency_ms(self, percentile: float) -> float:
        """Return a percentile of the last inferences' times, 0 before there is one."""
        with self._lock:
            return float(np.percentile(self._latencies_ms, percentile)) if self._latencies_ms else 0.0

    def plan_rate_hz(self) -> float:
        """Return plans a second, by wall time, over the last ones; 0 when none has come for a while."""
        with self._lock:
            if len(self._done_s) < 2:
                return 0.0
            span_s = time.monotonic() - self._done_s[0]
            return (len(self._done_s) - 1) / span_s if span_s > 0 else 0.0

    def values(self) -> dict[str, object]:
        """Return everything but what other statuses say, by its diagnostics key."""
        p50_ms, p99_ms, rate_hz = self.latency_ms(50), self.latency_ms(99), self.plan_rate_hz()
        with self._lock:
            return {
                **{k: n for k, n in self._counts.items() if not k.startswith(("gate/", "monitor/"))},
                "newest_t0_ns": self._newest_t0_ns,
                "latency_ms": f"{self._latency_ms:.1f}",
                "latency_p50_ms": f"{p50_ms:.1f}",
                "latency_p99_ms": f"{p99_ms:.1f}",
                "plan_rate_hz": rate_hz,
                "last_refusal": self._last_refusal,
            }


def to_message(statuses: list[Status], *, stamp_ns: int) -> DiagnosticArray:
    """Return the message for /diagnostics; names get "alpamayo/" before them."""
    from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

    from alpamayo_ros.ros.conversions import stamp_from_ns, text_to_ros

    array = DiagnosticArray()
    array.header.stamp = stamp_from_ns(stamp_ns)
    for status in statuses:
        array.status.append(
            DiagnosticStatus(
                level=bytes([status.level]),
                name=f"alpamayo/{status.name}",
                message=text_to_ros(status.message),
                hardware_id=HARDWARE_ID,
                values=[KeyValue(key=k, value=text_to_ros(_text(v))) for k, v in status.values.items()],
            )
        )
    return array


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:.2f}" if isinstance(value, float) else str(value)
