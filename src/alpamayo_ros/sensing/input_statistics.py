"""Counts of the inputs, for diagnostics."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from alpamayo_ros.sensing.stamped_buffer import Added, StampedBuffer
from alpamayo_ros.sensing.timing import FRAME_OFFSETS_NS, HISTORY_OFFSETS_NS, NS_PER_S, TimingConfig

ODOMETRY = "odometry"
"""The name of odometry among the inputs; cameras go by their names."""


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


def missing_inputs(
    inputs: Sequence[tuple[str, StampedBuffer[Any], str]], *, timing: TimingConfig
) -> list[str]:
    """Return which inputs, each a name, a buffer and a topic, are missing or behind, one line each."""
    latest_ns = max((b.newest_ns for _, b, _ in inputs if b.newest_ns is not None), default=0)
    lines = []
    for name, buffer, topic in inputs:
        newest_ns, first_ns = buffer.newest_ns, buffer.first_ns
        need_ns = -(HISTORY_OFFSETS_NS if name == ODOMETRY else FRAME_OFFSETS_NS)[0]
        if newest_ns is None or first_ns is None:
            lines.append(f"{name}: expected {need_ns / NS_PER_S:g} s, got nothing yet on {topic}")
        elif latest_ns - newest_ns > NS_PER_S:
            behind_s = (latest_ns - newest_ns) / NS_PER_S
            hint = "; do the clocks agree?" if behind_s > 3600 else ""
            lines.append(f"{name}: expected it to go on, got none for {behind_s:.1f} s{hint}")
        elif newest_ns - first_ns < need_ns - timing.sync_tolerance_ns:
            have_s = (newest_ns - first_ns) / NS_PER_S
            lines.append(f"{name}: expected {need_ns / NS_PER_S:g} s, got {have_s:.2f} s so far")
    return lines
