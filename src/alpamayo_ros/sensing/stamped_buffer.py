"""Items by stamp, sorted, of the latest stretch of time; and how regularly they come."""

from __future__ import annotations

import itertools
from bisect import bisect_left, insort
from collections.abc import Sequence
from enum import Enum
from typing import Generic, TypeVar

from alpamayo_ros.sensing.timing import NS_PER_S

Item = TypeVar("Item")

_STAMPS_FOR_RATE = 31


class Added(Enum):
    """What became of an item that was added."""

    KEPT = "kept"
    DUPLICATE = "duplicate"  # its stamp is there already; the first stays
    TOO_OLD = "too old"  # from before what the buffer keeps


class StampedBuffer(Generic[Item]):
    """A sorted buffer of the last `span_ns`; items may arrive in any order. Not thread-safe.

    Attributes:
        first_ns: the oldest stamp since the last clear (it may have left the buffer), None before any.
        version: rises whenever an item is kept, replaced or removed.
    """

    def __init__(self, span_ns: int) -> None:
        self._span_ns = span_ns
        self.version = 0
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._stamps: list[int] = []
        self._items: list[Item] = []
        self._recent: list[int] = []  # stamps for the rate; a slow input has few in the buffer itself
        self._interval_ns: float | None = None
        self.first_ns: int | None = None

    def __len__(self) -> int:
        return len(self._stamps)

    @property
    def stamps(self) -> Sequence[int]:
        """The stamps, rising."""
        return self._stamps

    @property
    def newest_ns(self) -> int | None:
        """The newest stamp, None if empty."""
        return self._stamps[-1] if self._stamps else None

    def add(self, stamp_ns: int, item: Item) -> Added:
        """Add an item at its place and drop what is now too old."""
        newest = self.newest_ns
        if newest is not None and stamp_ns < newest - self._span_ns:
            return Added.TOO_OLD
        index = bisect_left(self._stamps, stamp_ns)
        if index < len(self._stamps) and self._stamps[index] == stamp_ns:
            return Added.DUPLICATE
        self._stamps.insert(index, stamp_ns)
        self._items.insert(index, item)
        self.version += 1
        self.first_ns = stamp_ns if self.first_ns is None else min(self.first_ns, stamp_ns)
        insort(self._recent, stamp_ns)
        del self._recent[:-_STAMPS_FOR_RATE]
        self._interval_ns = _usual_interval(self._recent)
        keep_from = bisect_left(self._stamps, self._stamps[-1] - self._span_ns)
        if keep_from:
            del self._stamps[:keep_from]
            del self._items[:keep_from]
        return Added.KEPT

    def __contains__(self, stamp_ns: int) -> bool:
        index = bisect_left(self._stamps, stamp_ns)
        return index < len(self._stamps) and self._stamps[index] == stamp_ns

    def at(self, stamp_ns: int) -> Item:
        """Return the item of a stamp that is in the buffer; KeyError if it is not."""
        return self._items[self._index(stamp_ns)]

    def replace(self, stamp_ns: int, item: Item) -> None:
        """Put another item in the place of one that is in the buffer; KeyError if it is not."""
        self._items[self._index(stamp_ns)] = item
        self.version += 1

    def remove(self, stamp_ns: int) -> None:
        """Take an item away as if it had never come; KeyError if it is not in the buffer."""
        index = self._index(stamp_ns)
        del self._stamps[index], self._items[index]
        self.version += 1
        if stamp_ns == self.first_ns:
            self.first_ns = self._stamps[0] if self._stamps else None
        if stamp_ns in self._recent:
            self._recent.remove(stamp_ns)
            self._interval_ns = _usual_interval(self._recent)

    def neighbours(self, stamp_ns: int) -> list[int]:
        """Return a stamp of the buffer with those right before and after it; KeyError if it is not there."""
        index = self._index(stamp_ns)
        return self._stamps[max(0, index - 1) : index + 2]

    def _index(self, stamp_ns: int) -> int:
        index = bisect_left(self._stamps, stamp_ns)
        if index == len(self._stamps) or self._stamps[index] != stamp_ns:
            raise KeyError(stamp_ns)
        return index

    def around(self, instant_ns: int) -> tuple[int | None, int | None]:
        """Return the newest stamp not after an instant and the oldest not before it (equal if it is hit)."""
        index = bisect_left(self._stamps, instant_ns)
        after = self._stamps[index] if index < len(self._stamps) else None
        if after == instant_ns:
            return after, after
        return (self._stamps[index - 1] if index > 0 else None), after

    def within(self, instant_ns: int, tolerance_ns: int) -> list[int]:
        """Return the stamps within a tolerance of an instant, rising."""
        low = bisect_left(self._stamps, instant_ns - tolerance_ns)
        high = bisect_left(self._stamps, instant_ns + tolerance_ns + 1)
        return self._stamps[low:high]

    def interval_ns(self) -> float | None:
        """Return the usual interval between items, None before three intervals are known.

        The mean over those that are not much longer than the median: dropped items do not make an input
        look slow, and stamps that are rounded do not bias it.
        """
        return self._interval_ns

    def rate_hz(self) -> float:
        """Return the usual rate, 0 before it is known."""
        interval = self.interval_ns()
        return NS_PER_S / interval if interval else 0.0


def _usual_interval(stamps: list[int]) -> float | None:
    if len(stamps) < 4:
        return None
    intervals = sorted(b - a for a, b in itertools.pairwise(stamps))
    limit = 1.5 * intervals[len(intervals) // 2]
    usual = [interval for interval in intervals if interval <= limit]
    return sum(usual) / len(usual)
