"""How long a plan takes: asked for tick by tick over a drive, as on the road."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from alpamayo_ros.training.report.draw import Drawn
from alpamayo_ros.training.sample import SampleSource
from alpamayo_ros.types import InvalidInput, Planner

WARM_UP = 3
"""Plans that come first and are not counted: what is made once is made there."""


def latency(
    planner: Planner,
    samples: SampleSource,
    ticks: Sequence[Drawn],
    *,
    progress: Callable[[], None] = lambda: None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, object]:
    """Return how long plans took: median_ms, p90_ms, max_ms, plans, and median_tokens.

    Args:
        planner: asked for each tick, one at a time; reading the sample is not counted.
        samples: a data set.
        ticks: of it, as they follow each other (draw.consecutive).
        progress: told each plan.
        clock: in s.

    Raises:
        InvalidInput: for not more ticks than are needed to warm up.
    """
    if len(ticks) <= WARM_UP:
        raise InvalidInput(f"ticks: expected more than the {WARM_UP} to warm up, got {len(ticks)}")
    took_ms, tokens = [], []
    for tick in ticks:
        observation = samples[tick.index].observation
        started_s = clock()
        plan = planner.plan(observation)
        took_ms.append((clock() - started_s) * 1e3)
        tokens.append(plan.times.tokens)
        progress()
    counted = np.array(took_ms[WARM_UP:])
    return {
        "median_ms": round(float(np.median(counted)), 3),
        "p90_ms": round(float(np.percentile(counted, 90)), 3),
        "max_ms": round(float(counted.max()), 3),
        "plans": len(counted),
        "median_tokens": float(np.median(tokens[WARM_UP:])),
    }


def machine() -> dict[str, object]:
    """Return what plans are timed on: processor, cores that this process may use, and who else computes.

    `load` is the mean number of processes that wanted a core in the last minute, this one among them.
    """
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 2),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text("utf-8").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
