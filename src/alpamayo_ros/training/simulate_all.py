"""Many simulated episodes, in this process or in several, each written where it was driven."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alpamayo_ros.sim.parent_watch import end_with_parent
from alpamayo_ros.sim.workers import CannotStart
from alpamayo_ros.training.episode_file import IndexEntry, write_episode
from alpamayo_ros.training.shards import open_writer
from alpamayo_ros.training.simulate import (
    MOST_TICKS,
    EpisodeJob,
    Labeller,
    PictureSettings,
    PlansOwnLabels,
    simulate_episode,
)
from alpamayo_ros.training.steering import DisturbedSteerer, Steerer
from alpamayo_ros.types import InvalidInput

if TYPE_CHECKING:
    from alpamayo_ros.sim.protocol.sensorsim import SensorsimClient


@dataclass(frozen=True)
class SimulationRun:
    """What to make.

    Attributes:
        scene_ids: scenes, in order.
        out: the data set's folder.
        disturbed: disturbed rollouts of each scene.
        undisturbed: whether there is an undisturbed one beside them.
        pictures: what the cameras see.
        labeller: says why each plan is as it is.
        steerer: says what is driven: the expert's plans, disturbed as the variant asks, or a policy's.
        seed: of steering and wording.
        ticks: of each episode at most, 10 a second.
        workers: processes.
        episodes: at most so many in this run; None for all that are missing.
        renderer: HOST:PORT that serves the pictures; "" for a process of our own, of each worker.

    Raises:
        InvalidInput: for no scenes, or a number out of its range.
    """

    scene_ids: tuple[str, ...]
    out: Path
    disturbed: int = 1
    undisturbed: bool = True
    pictures: PictureSettings = field(default_factory=PictureSettings)
    labeller: Labeller = field(default_factory=PlansOwnLabels)
    steerer: Steerer = field(default_factory=DisturbedSteerer)
    seed: int = 0
    ticks: int = MOST_TICKS
    workers: int = 1
    episodes: int | None = None
    renderer: str = ""

    def __post_init__(self) -> None:
        if not self.scene_ids:
            raise InvalidInput("scenarios: expected at least one scene, got none")
        if self.disturbed < 0:
            raise InvalidInput(f"disturbed: expected 0 or more rollouts of each scene, got {self.disturbed}")
        if not self.disturbed and not self.undisturbed:
            raise InvalidInput("disturbed: expected at least 1 where there is no undisturbed drive, got 0")
        if self.workers < 1:
            raise InvalidInput(f"workers: expected at least 1, got {self.workers}")
        if self.episodes is not None and self.episodes < 1:
            raise InvalidInput(f"episodes: expected at least 1, got {self.episodes}")
        if not 1 <= self.ticks <= MOST_TICKS:
            raise InvalidInput(f"ticks: expected 1 ... {MOST_TICKS} (0.1 s each), got {self.ticks}")
        if not 0 <= self.seed < 2**63:
            raise InvalidInput(f"seed: expected 0 ... 2^63 - 1, got {self.seed}")

    @property
    def work(self) -> list[EpisodeJob]:
        """All episodes: the undisturbed ones first, then a round of disturbed ones, and so on.

        So a run that is cut short has seen every family.
        """
        variants = range(0 if self.undisturbed else 1, self.disturbed + 1)
        kind = self.steerer.kind
        return [EpisodeJob(scene_id, variant, kind) for variant in variants for scene_id in self.scene_ids]

    def settings(self) -> dict[str, Any]:
        """Return what all episodes of the data set have in common, as JSON.

        How many disturbed ones there are is left out: more of them may be added later.
        """
        pictures = self.pictures
        return {
            **pictures.stored_settings(),
            "rendered": [pictures.render_height, pictures.render_width],
            "seed": self.seed,
            "ticks": self.ticks,
            "labels": repr(self.labeller),
            "steering": repr(self.steerer),
        }


@dataclass(frozen=True)
class EpisodeOutcome:
    """One episode: its line in the index, or why it failed."""

    job: EpisodeJob
    entry: IndexEntry | None
    error: str = ""


@dataclass(frozen=True)
class RunOutcome:
    """A run: what was there before, what was made, what failed; whether Ctrl-C ended it."""

    already: int
    made: tuple[IndexEntry, ...]
    failed: tuple[EpisodeOutcome, ...]
    interrupted: bool


def simulate_all(
    run: SimulationRun,
    *,
    started: Callable[[int, int], None] = lambda already, to_make: None,
    progress: Callable[[EpisodeOutcome], None] = lambda outcome: None,
) -> RunOutcome:
    """Make the episodes that the data set lacks, and put each into the index when its file is written.

    An episode that fails is reported and not in the index; the next run tries it again. After Ctrl-C no
    others are begun; what other processes are driving is brought to its end, what this one is driving is not.

    Args:
        run: what to make.
        started: told how many episodes are there already, and how many are to be made.
        progress: told each outcome, in the order in which they are done.

    Raises:
        InvalidInput: for a folder that cannot be gone on with, or what is no renderer's address.
        CannotStart: for a renderer that does not answer or does not start.
    """
    made: list[IndexEntry] = []
    failed: list[EpisodeOutcome] = []
    interrupted = False
    with open_writer(run.out, run.settings()) as writer:
        missing = [job for job in run.work if writer.lacks(job.episode_id)]
        already = len(run.work) - len(missing)
        missing = missing[: run.episodes]
        started(already, len(missing))
        try:
            for outcome in _outcomes(run, missing):
                if outcome.entry is None:
                    failed.append(outcome)
                else:
                    writer.add(outcome.entry)
                    made.append(outcome.entry)
                progress(outcome)
        except KeyboardInterrupt:
            interrupted = True
    return RunOutcome(already, tuple(made), tuple(failed), interrupted)


def _outcomes(run: SimulationRun, jobs: Sequence[EpisodeJob]) -> Iterator[EpisodeOutcome]:
    if run.workers > 1 and len(jobs) > 1:
        yield from _in_processes(run, jobs)
    elif jobs:
        with EpisodeWorker(run) as worker:
            for job in jobs:
                yield worker.make(job)


class EpisodeWorker:
    """Makes episodes in one process, with one connection to a renderer.

    Raises:
        CannotStart: when entered, for a renderer that does not answer or does not start.
    """

    def __init__(self, run: SimulationRun) -> None:
        self._run = run
        self._stack = ExitStack()
        self._client: SensorsimClient | None = None

    def __enter__(self) -> EpisodeWorker:
        from alpamayo_ros.sim.protocol.channel import ServiceError
        from alpamayo_ros.sim.render.gpu import RendererUnavailable
        from alpamayo_ros.sim.renderer_connection import connect

        try:
            self._client = self._stack.enter_context(connect(self._run.renderer))
        except (ServiceError, RendererUnavailable) as error:
            raise CannotStart(str(error)) from error
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def make(self, job: EpisodeJob) -> EpisodeOutcome:
        """Drive and write one episode; what fails in it is its outcome."""
        from alpamayo_ros.sim.images import SceneCameras

        assert self._client is not None
        run, pictures = self._run, self._run.pictures
        try:
            cameras = SceneCameras(
                self._client,
                job.scene_id,
                width=pictures.render_width,
                height=pictures.render_height,
                keep=False,
            )
            episode = simulate_episode(
                job,
                pictures,
                cameras,
                labeller=run.labeller,
                steerer=run.steerer,
                seed=run.seed,
                ticks=run.ticks,
            )
            return EpisodeOutcome(job, write_episode(run.out, episode))
        except Exception as error:
            return EpisodeOutcome(job, None, f"{type(error).__name__}: {error}")


# --------------------------------------------------------------------------------------------- processes


def _in_processes(run: SimulationRun, jobs: Sequence[EpisodeJob]) -> Iterator[EpisodeOutcome]:
    """Yield the outcomes of several processes.

    A process that dies (killed for want of memory, say) takes with it what the others are driving. Those that
    may have been begun, the first ones that are not done, are then tried again one by one, which shows whose
    fault it is; the rest goes on together.
    """
    left = list(jobs)
    while left:
        done: set[EpisodeJob] = set()
        try:
            for outcome in _pooled(run, left):
                done.add(outcome.job)
                yield outcome
            return
        except BrokenProcessPool:
            left = [job for job in left if job not in done]
        for job in left[: run.workers]:
            yield _alone(run, job)
        left = left[run.workers :]


def _alone(run: SimulationRun, job: EpisodeJob) -> EpisodeOutcome:
    """Make one episode in a process that may die of it."""
    try:
        (outcome,) = _pooled(run, [job])
        return outcome
    except BrokenProcessPool:
        return EpisodeOutcome(job, None, "the process that drove it died")


def _pooled(run: SimulationRun, jobs: Sequence[EpisodeJob]) -> Iterator[EpisodeOutcome]:
    """Yield the outcomes as they are done; raises BrokenProcessPool where one of the processes dies."""
    pool = ProcessPoolExecutor(
        min(run.workers, len(jobs)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
        initargs=(run,),
    )
    futures: list[Future[EpisodeOutcome]] = []
    yielded: set[Future[EpisodeOutcome]] = set()
    try:
        futures += [pool.submit(_work, job) for job in jobs]
        for future in as_completed(futures):
            yielded.add(future)
            yield future.result()
    except KeyboardInterrupt:
        pool.shutdown(wait=True, cancel_futures=True)
        ended = [each for each in futures if each not in yielded and not each.cancelled()]
        yield from (each.result() for each in ended if each.exception() is None)
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_worker: EpisodeWorker | None = None
_refused: Exception | None = None
"""Why the worker of this process could not start; an initializer that raises would only break the pool."""


def _start_worker(run: SimulationRun) -> None:
    global _worker, _refused
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what is still brought to its end
    end_with_parent()
    try:
        import torch

        torch.set_num_threads(1)  # as many processes as cores: what each of them computes is to stay on one
        _worker = EpisodeWorker(run).__enter__()
    except (CannotStart, InvalidInput) as error:
        _refused = error


def _work(job: EpisodeJob) -> EpisodeOutcome:
    if _refused is not None:
        raise _refused
    assert _worker is not None
    return _worker.make(job)
