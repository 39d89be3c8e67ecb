"""`alpamayo sim`: many rollouts, their scores and everything else that a run leaves in its folder."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alpamayo_ros.sim.json_file import write_json
from alpamayo_ros.sim.record import RolloutRecord
from alpamayo_ros.sim.rollout_driver import RolloutSource
from alpamayo_ros.sim.scoring import aggregate
from alpamayo_ros.sim.workers import Outcome, RunOptions, drive_all
from alpamayo_ros.types import InvalidInput


@dataclass(frozen=True, eq=False)
class RunResult:
    """A run: outcomes in the order of the work, and what was written to scores.json."""

    outcomes: tuple[Outcome, ...]
    summary: dict[str, object]
    interrupted: bool
    wall_s: float

    @property
    def records(self) -> tuple[RolloutRecord, ...]:
        """The rollouts that were begun."""
        return tuple(outcome.record for outcome in self.outcomes if outcome.record is not None)


def run(
    options: RunOptions, source: RolloutSource, *, progress: Callable[[Outcome], None] = lambda outcome: None
) -> RunResult:
    """Drive all rollouts, and write scores.json and rollouts/SCENE/{score.json, rollout.asl}.

    Args:
        options: what to run.
        source: makes the planners.
        progress: told each outcome, in the order of the work.

    Raises:
        InvalidInput: for a folder that cannot be written, or what is no renderer's address.
        CannotStart: for a renderer that does not answer or does not start.
    """
    started_s = time.perf_counter()
    scores = options.out / "scores.json"
    prepare_folder(options.out)
    outcomes: list[Outcome] = []
    interrupted = False
    try:
        for outcome in drive_all(options, source):
            if not outcomes:
                scores.unlink(missing_ok=True)  # an earlier run's: the rollouts are no longer its own
            outcomes.append(outcome)
            interrupted |= outcome.score.end_reason == "interrupted"
            progress(outcome)
    except KeyboardInterrupt:
        interrupted = True
    wall_s = time.perf_counter() - started_s
    summary = summarise(options, source.name, outcomes, wall_s=wall_s, interrupted=interrupted)
    write_json(scores, summary)
    return RunResult(tuple(outcomes), summary, interrupted, wall_s)


def prepare_folder(folder: Path) -> None:
    """Make a results' folder; raises InvalidInput where that cannot be done or nothing can be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        problem = "" if os.access(folder, os.W_OK) else "not writable"
    except OSError as error:
        problem = error.strerror or str(error)
    if problem:
        raise InvalidInput(f"out: expected a folder that can be written, got {str(folder)!r} ({problem})")


def summarise(
    options: RunOptions, planner: str, outcomes: Sequence[Outcome], *, wall_s: float, interrupted: bool
) -> dict[str, object]:
    """Return scores.json: the aggregate, each rollout's figures, and under "timing" all that may differ."""
    return {
        "planner": planner,
        **aggregate(outcome.score for outcome in outcomes),
        "seed": options.seed,
        "interrupted": interrupted,
        "rollouts": [outcome.score.as_dict() for outcome in outcomes],
        "timing": {
            "wall_s": round(wall_s, 3),
            "jobs": options.jobs,
            "plan_ms": _spread(ms for outcome in outcomes for ms in _latencies_ms(outcome)),
            "rollouts": {outcome.job.name: _timing(outcome) for outcome in outcomes},
        },
    }


def _timing(outcome: Outcome) -> dict[str, object]:
    record = outcome.record
    simulated_s = 0.0 if record is None else (record.ego[-1].time_us - record.ego[0].time_us) / 1e6
    return {
        "wall_s": round(outcome.wall_s, 3),
        "simulated_s": round(simulated_s, 3),
        "plan_ms": _spread(_latencies_ms(outcome)),
    }


def _latencies_ms(outcome: Outcome) -> list[float]:
    """Return how long each plan of a rollout took."""
    drives = () if outcome.record is None else outcome.record.drives
    return [drive.latency_ms for drive in drives if drive.source == "plan"]


def _spread(values_ms: Iterable[float]) -> dict[str, float | None]:
    """Return mean, 95 % quantile and maximum; None of nothing."""
    values = np.array(list(values_ms))
    if not len(values):
        return dict.fromkeys(("mean", "p95", "max"))
    found = {"mean": values.mean(), "p95": np.percentile(values, 95), "max": values.max()}
    return {name: round(float(value), 3) for name, value in found.items()}
