"""Drives a run's rollouts, in this process or in several: each is scored and written where it was driven."""

from __future__ import annotations

import multiprocessing
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from alpamayo_ros.sim.asl_log import write_asl
from alpamayo_ros.sim.json_file import write_json
from alpamayo_ros.sim.parent_watch import end_with_parent
from alpamayo_ros.sim.record import RolloutRecord
from alpamayo_ros.sim.rollout_driver import Job, RolloutSource, drive_rollout
from alpamayo_ros.sim.scene import family_and_seed
from alpamayo_ros.sim.scoring import RolloutScore, score_rollout
from alpamayo_ros.types import InvalidInput

if TYPE_CHECKING:
    from alpamayo_ros.sim.images import SceneCameras
    from alpamayo_ros.sim.protocol.channel import CallPolicy, ClientTls
    from alpamayo_ros.sim.protocol.sensorsim import SensorsimClient


class CannotStart(RuntimeError):
    """What a run needs, a renderer say, does not start or does not answer: nothing was driven."""


@dataclass(frozen=True)
class RunOptions:
    """What to run.

    Attributes:
        scene_ids: scenes, in order.
        out: folder for the results; made if need be.
        rollouts: of each scene.
        jobs: worker processes.
        seed: of what the planners draw.
        renderer: HOST:PORT that serves pictures to planners that look at some; "" for a process of our own.
        renderer_tls: to ask it by TLS; None is plain.
        renderer_policy: how long its answers may take; None is AlpaSim's client policy.
        image_size: width and height of the pictures.
    """

    scene_ids: tuple[str, ...]
    out: Path
    rollouts: int = 1
    jobs: int = 1
    seed: int = 0
    renderer: str = ""
    renderer_tls: ClientTls | None = None
    renderer_policy: CallPolicy | None = None
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
        return [
            Job(scene_id, index, self.seed) for scene_id in self.scene_ids for index in range(self.rollouts)
        ]


@dataclass(frozen=True, eq=False)
class Outcome:
    """One rollout: its score, and its record unless not even a rollout was begun."""

    job: Job
    score: RolloutScore
    record: RolloutRecord | None
    wall_s: float


def drive_all(options: RunOptions, source: RolloutSource) -> Iterator[Outcome]:
    """Yield the outcomes in the order of the work, each with score.json and rollout.asl in its folder.

    After Ctrl-C come the one that it interrupted and those that were done in other processes, and no more.

    Raises:
        KeyboardInterrupt: after Ctrl-C, when these have come.
        InvalidInput: for what is no renderer's address.
        CannotStart: for a renderer that does not answer or does not start.
    """
    if options.jobs > 1:
        yield from _in_processes(options, source)
        return
    with Worker(options, source) as worker:
        for job in options.work:
            yield worker.outcome(job)
            if worker.interrupted:
                raise KeyboardInterrupt


class Worker:
    """Drives rollouts in one process, with one connection to a renderer where the planner needs pictures.

    Attributes:
        interrupted: whether Ctrl-C has come during a rollout; what was driven is scored and written all the
            same.
    """

    def __init__(self, options: RunOptions, source: RolloutSource) -> None:
        self._options, self._source = options, source
        self._stack = ExitStack()
        self._client: SensorsimClient | None = None
        self.interrupted = False

    def __enter__(self) -> Worker:
        if self._source.camera_ids:
            from alpamayo_ros.sim.protocol.channel import ServiceError
            from alpamayo_ros.sim.render.gpu import RendererUnavailable
            from alpamayo_ros.sim.renderer_connection import connect

            options = self._options
            asked = connect(options.renderer, policy=options.renderer_policy, tls=options.renderer_tls)
            try:
                self._client = self._stack.enter_context(asked)
            except (ServiceError, RendererUnavailable) as error:
                raise CannotStart(str(error)) from error
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def outcome(self, job: Job) -> Outcome:
        """Drive, score and write one rollout."""
        started_s = time.perf_counter()
        record: RolloutRecord | None = None
        cameras: SceneCameras | None = None
        try:
            cameras = self._cameras(job)
            record = drive_rollout(job, self._source, cameras)
        except Exception as error:
            score = _failed(job, self._source.name, error)
        with _interrupts_held_back() as interrupts:
            if record is not None:
                try:
                    score = score_rollout(record)
                except Exception as error:
                    score = _failed(job, self._source.name, error)
            write_outcome(self._options.out, job, score, record, cameras)
        self.interrupted |= bool(interrupts) or score.end_reason == "interrupted"
        return Outcome(job, score, record, time.perf_counter() - started_s)

    def _cameras(self, job: Job) -> SceneCameras | None:
        """Return the vehicle's cameras, None for a planner that looks at none."""
        if self._client is None:
            return None
        from alpamayo_ros.sim.images import SceneCameras

        width, height = self._options.image_size
        return SceneCameras(self._client, job.scene_id, width=width, height=height)


@contextmanager
def _interrupts_held_back() -> Iterator[list[int]]:
    """Hold Ctrl-C back until the block is left; yields a list that gets one number for each that comes."""
    seen: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield seen  # Ctrl-C goes to the main thread
        return
    before = signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
    try:
        yield seen
    finally:
        signal.signal(signal.SIGINT, before)


def write_outcome(
    out: Path,
    job: Job,
    score: RolloutScore,
    record: RolloutRecord | None = None,
    cameras: SceneCameras | None = None,
) -> None:
    """Write what is kept of one rollout: score.json, and rollout.asl where it was begun."""
    folder = out / "rollouts" / job.folder
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "rollout.asl"
    log.unlink(missing_ok=True)
    write_json(folder / "score.json", score.as_dict())
    if record is not None:
        write_asl(log, record, exchanges=() if cameras is None else cameras.exchanges)


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


# --------------------------------------------------------------------------------------------- processes


def _in_processes(options: RunOptions, source: RolloutSource) -> Iterator[Outcome]:
    """Yield the outcomes of several processes.

    A process that dies (killed for want of memory, say) takes the others' rollouts with it. The next one due
    is then tried again alone, which shows whether it is the one that kills; the rest goes on together.
    """
    work = options.work
    while work:
        done = 0
        try:
            for outcome in _pooled(options, source, work):
                yield outcome
                done += 1
            return
        except BrokenProcessPool:
            yield _alone(options, source, work[done])
            work = work[done + 1 :]


def _alone(options: RunOptions, source: RolloutSource, job: Job) -> Outcome:
    """Drive one rollout in a process that may die of it."""
    started_s = time.perf_counter()
    try:
        (outcome,) = _pooled(options, source, [job])
        return outcome
    except BrokenProcessPool:
        score = _failed(job, source.name, ChildProcessError("the process that drove it died"))
        write_outcome(options.out, job, score)
        return Outcome(job, score, None, time.perf_counter() - started_s)


def _pooled(options: RunOptions, source: RolloutSource, work: Sequence[Job]) -> Iterator[Outcome]:
    """Yield the outcomes in order; raises BrokenProcessPool where one of the processes dies."""
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(
        min(options.jobs, len(work)),
        mp_context=context,
        initializer=_start_worker,
        initargs=(options, source),
    )
    futures = [pool.submit(_work, job) for job in work]
    yielded = 0
    try:
        for future in futures:
            outcome = future.result()
            yielded += 1
            if outcome is not None:
                yield outcome
    except KeyboardInterrupt:
        pool.shutdown(wait=True, cancel_futures=True)
        ended = [f for f in futures[yielded:] if not f.cancelled() and f.exception() is None]
        yield from (outcome for outcome in (future.result() for future in ended) if outcome is not None)
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_worker: Worker | None = None
_refused: Exception | None = None
"""Why the worker of this process could not start; an initializer that raises would only break the pool."""


def _start_worker(options: RunOptions, source: RolloutSource) -> None:
    global _worker, _refused
    end_with_parent()
    try:
        _worker = Worker(options, source).__enter__()
    except (CannotStart, InvalidInput) as error:
        _refused = error


def _work(job: Job) -> Outcome | None:
    """Return the outcome of a job; None for one that is not begun any more, after Ctrl-C."""
    if _refused is not None:
        raise _refused
    assert _worker is not None
    return None if _worker.interrupted else _worker.outcome(job)
