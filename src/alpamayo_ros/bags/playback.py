"""When each message of a bag is due: bag time against wall time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from alpamayo_ros.types import InvalidInput

MIN_RATE, MAX_RATE = 0.01, 100.0


def _check_rate(rate: float) -> None:
    if not MIN_RATE <= rate <= MAX_RATE:
        raise InvalidInput(f"rate: expected {MIN_RATE} ... {MAX_RATE}, got {rate}")


class Timeline:
    """Bag time, running at `rate` times wall time once started; thread-safe.

    Args:
        start_ns: bag time at which it starts, and which it shows until then.
        rate: bag seconds a wall second.
        clock_ns: a monotonic clock.
    """

    def __init__(
        self, start_ns: int, *, rate: float = 1.0, clock_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        _check_rate(rate)
        self.rate = rate
        self._clock_ns = clock_ns
        self._lock = threading.Lock()
        self._bag_ns = start_ns
        self._wall_ns: int | None = None

    def start(self, bag_ns: int | None = None) -> None:
        """Run from `bag_ns` on (where it stands, if None); running already, it jumps there."""
        with self._lock:
            self._bag_ns = self._bag_ns if bag_ns is None else bag_ns
            self._wall_ns = self._clock_ns()

    def set_rate(self, rate: float) -> None:
        """Run at another rate from now on; bag time does not jump."""
        _check_rate(rate)
        with self._lock:
            if self._wall_ns is not None:
                self._bag_ns, self._wall_ns = self._now_ns(), self._clock_ns()
            self.rate = rate

    def now_ns(self) -> int:
        """Return the bag time now."""
        with self._lock:
            return self._now_ns()

    def _now_ns(self) -> int:
        if self._wall_ns is None:
            return self._bag_ns
        return self._bag_ns + round((self._clock_ns() - self._wall_ns) * self.rate)

    def wait_s(self, bag_ns: int) -> float:
        """Return the wall seconds until `bag_ns`; negative where it has passed."""
        return (bag_ns - self.now_ns()) * 1e-9 / self.rate
