"""Bag time against wall time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpamayo_ros.bags.playback import MAX_RATE, MIN_RATE, Timeline
from alpamayo_ros.types import InvalidInput


@given(
    rate=st.floats(MIN_RATE, MAX_RATE),
    wall_ns=st.integers(0, 10**13),
    start_ns=st.integers(0, 2**61),
)
def test_time_runs_at_the_rate_from_the_start(rate: float, wall_ns: int, start_ns: int) -> None:
    clock = [5]
    timeline = Timeline(start_ns, rate=rate, clock_ns=lambda: clock[0])
    clock[0] += 1000
    assert timeline.now_ns() == start_ns  # not before start()
    timeline.start()
    clock[0] += wall_ns
    assert timeline.now_ns() == start_ns + round(wall_ns * rate)
    assert timeline.wait_s(timeline.now_ns()) == 0
    timeline.start(start_ns)
    assert timeline.now_ns() == start_ns


def test_waiting_is_in_wall_seconds() -> None:
    timeline = Timeline(0, rate=4.0, clock_ns=lambda: 0)
    timeline.start()
    assert timeline.wait_s(2_000_000_000) == 0.5
    assert timeline.wait_s(-4_000_000_000) == -1.0


@pytest.mark.parametrize("rate", [0.0, -1.0, 1000.0, float("nan")])
def test_other_rates_are_refused(rate: float) -> None:
    with pytest.raises(InvalidInput, match="rate: expected"):
        Timeline(0, rate=rate)
