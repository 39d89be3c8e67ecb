"""Durations of commands as steps of the simulation."""

from __future__ import annotations

import math

from alpamayo_ros.types import InvalidInput

_TICKS_PER_S = 10


def ticks_of(option: str, seconds: float) -> int:
    """Return how many steps of 0.1 s a duration is; raises InvalidInput for one that is no multiple of it."""
    ticks = seconds * _TICKS_PER_S
    if not math.isfinite(ticks) or abs(ticks - round(ticks)) > 1e-6:
        raise InvalidInput(f"{option}: expected a multiple of 0.1 s, got {seconds}")
    return round(ticks)
