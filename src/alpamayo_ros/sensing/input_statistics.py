"""Counts of the inputs, for diagnostics."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from alpamayo_ros.sensing.stamped_buffer import Added, StampedBuffer


@dataclass(frozen=True)
class InputStatistics:
    """Counts of one input since the start (a clear leaves them), and how it stands now.

    Attributes:
        received: messages that were kept.
        duplicates: messages whose stamp was there already; left out.
        out_of_order: messages kept that came after a newer one.
        too_old: messages that came too late to be of use; left out.
        stale: frames that were decoded across a clear; left out.
        rejected: messages that were refused.
        newest_ns: the newest stamp in the buffer, None if it is empty.
        rate_hz: the usual rate, 0 before it is known.
    """

    received: int = 0
    duplicates: int = 0
    out_of_order: int = 0
    too_old: int = 0
    stale: int = 0
    rejected: int = 0
    newest_ns: int | None = None
    rate_hz: float = 0.0


class InputCounters:
    """Counts by input name. Not thread-safe."""

    def __init__(self, names: Iterable[str]) -> None:
        self._counts = {name: InputStatistics() for name in names}

    def rejected(self, name: str) -> None:
        """Count a message that was refused."""
        old = self._counts[name]
        self._counts[name] = replace(old, rejected=old.rejected + 1)

    def stale(self, name: str) -> None:
        """Count a frame of before a clear."""
        old = self._counts[name]
        self._counts[name] = replace(old, stale=old.stale + 1)

    def added(self, name: str, added: Added, *, behind: bool) -> None:
        """Count a message by what became of it; `behind`: a newer one was there already."""
        old = self._counts[name]
        if added is Added.DUPLICATE:
            new = replace(old, duplicates=old.duplicates + 1)
        elif added is Added.TOO_OLD:
            new = replace(old, too_old=old.too_old + 1)
        else:
            new = replace(old, received=old.received + 1, out_of_order=old.out_of_order + int(behind))
        self._counts[name] = new

    def of(self, name: str, buffer: StampedBuffer[Any]) -> InputStatistics:
        """Return the statistics of an input whose messages are in `buffer`."""
        return replace(self._counts[name], newest_ns=buffer.newest_ns, rate_hz=buffer.rate_hz())
