"""`alpamayo sim`: many rollouts, their scores and everything else that a run leaves in its folder."""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from alpamayo_ros.sim.asl_log import write_asl
from alpamayo_ros.sim.record import RolloutRecord
from alpamayo_ros.sim.rollout_driver import Job, PlannerSource, drive_rollout
from alpamayo_ros.sim.scene import family_and_seed
from alpamayo_ros.sim.scoring import RolloutScore, aggregate, score_rollout
from alpamayo_ros.types import InvalidInput

if TYPE_CHECKING:
    from alpamayo_ros.sim.protocol.sensorsim import SensorsimClient


@dataclass(frozen=True)
class RunOptions:
    """What to run.

    Attributes:
        scene_ids: scenes, in order.
        out: folder for the results; made if need be.
        rollouts: of each scene.
        jobs: worker processes.
        renderer: HOST:PORT that serves pictures to planners that look at some; "" for a process of our own.
        image_size: width and height of the pictures.
    """

    scene_ids: tuple[str, ...]
    out: Path
    rollouts: int = 1
    jobs: int = 1
    renderer: str = ""
    image_size: tuple[int, int] = (576, 320)

    def __post_init__(self) -> None:
        if not self.scene_ids:
            raise InvalidInput("scenarios: expected at least one scene, got none")
        for name in ("rollouts", "jobs"):
            if getattr(self, name) < 1:
                raise InvalidInput(f"{name}: expected at least 1, got {getattr(self, name)}")

    @property
    def work(self) -> list[Job]:
        """The rollouts, scene by scene."""
        return [Job(scene_id, index) for scene_id in self.scene_ids for index in range(self.rollouts)]


@dataclass(frozen=True, eq=False)
class Outcome:
    """One rollout: its score, and its record unless not even a rollout was begun."""

    job: Job
    score: RolloutScore
    record: RolloutRecord | None
    wall_s: float


@dataclass(frozen=True, eq=False)
class RunResult:
    """A run: outcomes in the order of the work, and what was written to scores.json."""

    outcomes: tuple[Outcome, ...]
    summary: dict[str, object]
    interrupted: bool
    wall_s: float
    records: tuple[RolloutRecord, ...] = field(repr=False, default=())


def run(
    options: RunOptions, source: PlannerSource, *, progress: Callable[[Outcome], None] = lambda outcome: None
) -> RunResult:
    """Drive all rollouts, and write scores.json and rollouts/SCENE/{score.json, rollout.asl}.

    Args:
        options: what to run.
        source: makes the planners.
        progress: told each outcome, in the order of the work.

    Raises:
        InvalidInput: for a renderer that lacks a camera.
        ServiceError: for a renderer that does not answer.
    """
    started_s = time.perf_counter()
    (options.out / "rollouts").mkdir(parents=True, exist_ok=True)
    outcomes: list[Outcome] = []
    interrupted = False
    try:
        for outcome in _outcomes(options, source):
            outcomes.append(outcome)
            progress(outcome)
            if outcome.score.end_reason == "interrupted":
                interrupted = True
                break
    except KeyboardInterrupt:
        interrupted = True
    wall_s = time.perf_counter() - started_s
    summary = summarise(options, source.name, outcomes, wall_s=wall_s, interrupted=interrupted)
    write_json(options.out / "scores.json", summary)
    records = tuple(outcome.record for outcome in outcomes if outcome.record is not None)
    return RunResult(tuple(outcomes), summary, interrupted, wall_s, records)


def summarise(
    options: RunOptions, planner: str, outcomes: Sequence[Outcome], *, wall_s: float, interrupted: bool
) -> dict[str, object]:
    """Return scores.json: the aggregate, each rollout's figures, and under "timing" all that may differ."""
    return {
        "planner": planner,
        **aggregate(outcome.score for outcome in outcomes),
        "interrupted": interrupted,
        "rollouts": [outcome.score.as_dict() for outcome in outcomes],
        "timing": {
            "wall_s": round(wall_s, 3),
            "jobs": options.jobs,
            "rollouts": {outcome.job.name: _timing(outcome) for outcome in outcomes},
        },
    }


def write_json(path: Path, content: object) -> None:
    """Write JSON that people can read and that is the same for the same content."""
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n", "utf-8")


def _timing(outcome: Outcome) -> dict[str, float]:
    record = outcome.record
    latencies = [] if record is None else [d.latency_ms for d in record.drives if d.source == "plan"]
    simulated_s = 0.0 if record is None else (record.ego[-1].time_us - record.ego[0].time_us) / 1e6
    return {
        "wall_s": round(outcome.wall_s, 3),
        "simulated_s": round(simulated_s, 3),
        "plan_ms_mean": round(float(np.mean(latencies)), 3) if latencies else 0.0,
        "plan_ms_max": round(float(np.max(latencies)), 3) if latencies else 0.0,
    }


def _outcomes(options: RunOptions, source: PlannerSource) -> Iterator[Outcome]:
    """Yield the outcomes in the order of the work."""
    if options.jobs == 1:
        with _Worker(options, source) as worker:
            for job in options.work:
                yield worker.outcome(job)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        options.jobs, mp_context=context, initializer=_start_worker, initargs=(options, source)
    ) as pool:
        try:
            yield from pool.map(_work, options.work)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


class _Worker:
    """Drives rollouts in one process, with one connection to a renderer where the planner needs pictures."""

    def __init__(self, options: RunOptions, source: PlannerSource) -> None:
        self._options, self._source = options, source
        self._stack = ExitStack()
        self._client: SensorsimClient | None = None

    def __enter__(self) -> _Worker:
        if self._source.camera_ids:
            from alpamayo_ros.sim.renderer_connection import connect

            self._client = self._stack.enter_context(connect(self._options.renderer))
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def outcome(self, job: Job) -> Outcome:
        """Drive, score and write one rollout."""
        started_s = time.perf_counter()
        record: RolloutRecord | None = None
        cameras = None
        try:
            if self._client is not None:
                from alpamayo_ros.sim.images import SceneCameras

                width, height = self._options.image_size
                cameras = SceneCameras(self._client, job.scene_id, width=width, height=height)
            record = drive_rollout(job, self._source, cameras)
            score = score_rollout(record)
        except Exception as error:
            score = _failed(job, self._source.name, error)
        folder = self._options.out / "rollouts" / job.folder
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "score.json", score.as_dict())
        if record is not None:
            write_asl(
                folder / "rollout.asl", record, exchanges=None if cameras is None else cameras.exchanges
            )
        return Outcome(job, score, record, time.perf_counter() - started_s)


def _failed(job: Job, planner: str, error: Exception) -> RolloutScore:
    return RolloutScore(
        scene_id=job.scene_id,
        family=family_and_seed(job.scene_id)[0],
        rollout_index=job.rollout_index,
        planner=planner,
        end_reason="failed",
        error=f"{type(error).__name__}: {error}",
        scene_score=0.0,
        failure_reason="failed",
    )


_worker: _Worker | None = None


def _start_worker(options: RunOptions, source: PlannerSource) -> None:
    global _worker
    _worker = _Worker(options, source)
    _worker.__enter__()


def _work(job: Job) -> Outcome:
    assert _worker is not None
    return _worker.outcome(job)
