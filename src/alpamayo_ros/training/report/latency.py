"""How long a plan takes: asked for tick by tick over a drive, as on the road."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

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
