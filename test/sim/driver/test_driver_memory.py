"""Freed memory goes back to the system."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from alpamayo_ros.sim.driver.memory import give_back_memory


def resident_mib() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("expected VmRSS in /proc/self/status")


def test_what_was_freed_under_a_block_that_stays_is_given_back() -> None:
    if not give_back_memory():
        pytest.skip("the C library has no malloc_trim")
    # Blocks small enough to come from the heap, every one of them written to; the last keeps the heap's top.
    blocks = [np.ones(100_000, np.uint8) for _ in range(600)]
    full_mib, last = resident_mib(), blocks[-1]
    blocks.clear()
    give_back_memory()
    assert resident_mib() < full_mib - 30
    assert last.all()
