"""Counters of the planner node, and the DiagnosticArray that they become."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diagnostic_msgs.msg import DiagnosticArray

HARDWARE_ID = "alpamayo_ros"
_RATE_WINDOW_NS = 2_000_000_000


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
    """Counts of observations, plans by status, and refusals by reason; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter({"observations": 0, "plans_unchecked": 0})
        self._newest_t0_ns = 0
        self._latency_ms = 0.0
        self._last_refusal = ""
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

    def planned(self, status: str, *, latency_ms: float) -> None:
        """Count a published plan."""
        with self._lock:
            self._counts[f"plans_{status}"] += 1
            self._latency_ms = latency_ms
            self._refused_since_plan = 0

    def __getitem__(self, what: str) -> int:
        with self._lock:
            return self._counts[what]

    @property
    def refusals(self) -> dict[str, int]:
        """Refusals by reason."""
        with self._lock:
            return {
                k.removeprefix("refusals/"): n for k, n in self._counts.items() if k.startswith("refusals/")
            }

    @property
    def complaint(self) -> str:
        """The last refusal, if no plan has come since; else ""."""
        with self._lock:
            return self._last_refusal if self._refused_since_plan else ""

    @property
    def newest_t0_ns(self) -> int:
        """t0 of the newest observation, 0 before there is one."""
        return self._newest_t0_ns

    def values(self) -> dict[str, object]:
        """Return everything by its diagnostics key."""
        with self._lock:
            return {
                **self._counts,
                "newest_t0_ns": self._newest_t0_ns,
                "latency_ms": f"{self._latency_ms:.1f}",
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
