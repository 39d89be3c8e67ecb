"""How fast a bag may be played so that the planner keeps up."""

from __future__ import annotations

from alpamayo_ros.types import FRAME_INTERVAL_S, InvalidInput

# Of a frame interval, the part that planning may take: the rest is for decoding and transport.
_PLANNING_SHARE = 0.75
_SMOOTHING = 0.3
_OVERDUE_AFTER = 3.0


class Pacer:
    """Chooses the rate of a bag: real time for a planner that keeps up, slower for one that does not.

    A machine without a GPU plans slower than a camera takes pictures. Played in real time, most
    observations would be superseded, and plans would be refused for their age. The rate is such that a plan
    takes less than one frame interval of *bag* time; while one is outstanding for longer than usual the
    rate falls with the time it takes, so that the bag's clock all but waits.

    Args:
        max_rate, min_rate: bounds of the rate, bag seconds a wall second.

    Raises:
        InvalidInput: unless 0 < min_rate <= max_rate.
    """

    def __init__(self, *, max_rate: float = 1.0, min_rate: float = 0.05) -> None:
        if not 0 < min_rate <= max_rate:
            raise InvalidInput(f"rate: expected 0 < min_rate <= max_rate, got {min_rate} and {max_rate}")
        self.max_rate = max_rate
        self.min_rate = min_rate
        self._interval_s: float | None = None
        self._last_s: float | None = None

    def expect_plans(self, wall_s: float) -> None:
        """Say that from now on plans are to come: the inputs of a first one are there."""
        if self._last_s is None:
            self._last_s = wall_s

    def planned(self, wall_s: float, *, took_s: float) -> None:
        """Say that a plan arrived, and how long the planner worked on it."""
        if took_s < 0:
            raise InvalidInput(f"took_s: expected zero or more, got {took_s}")
        self._last_s = wall_s
        if self._interval_s is None:
            self._interval_s = took_s
        else:
            self._interval_s += _SMOOTHING * (took_s - self._interval_s)

    def overdue(self, wall_s: float) -> bool:
        """Return whether no more plan is to be expected: the last was longer ago than three take."""
        if self._last_s is None or self._interval_s is None:
            return True
        return wall_s - self._last_s > _OVERDUE_AFTER * self._interval_s

    def rate(self, wall_s: float) -> float:
        """Return the rate to play at now, bag seconds a wall second."""
        if self._last_s is None:
            return self.max_rate
        expected_s = max(self._interval_s or 0.0, wall_s - self._last_s)
        if expected_s <= 0:
            return self.max_rate
        rate = _PLANNING_SHARE * FRAME_INTERVAL_S / expected_s
        return min(self.max_rate, max(self.min_rate, rate))
