"""RoaD's loop: rollouts of the policy, fine-tuning on them and the original data, the next policy, its score.

    OUT/road.json                            what the run is (RoadSettings)
    OUT/start/judged/                        closed-loop scores of the start
    OUT/iteration1/rollouts/                 the guided rollouts, a data set as `alpamayo train data` makes it
    OUT/iteration1/run/                      the fine-tuning, as `alpamayo train sft` makes it
    OUT/iteration1/checkpoint/               what came out, for Alpamayo.from_pretrained and `alpamayo sim`
    OUT/iteration1/judged/                   its closed-loop scores
    OUT/iteration1/metrics.json              the iteration's figures: written last

Each step goes on where it was stopped, or is done over if it can't (only writing the checkpoint, seconds).
Nothing on disk is half: what was killed is gone on with by the same call, to the same result.

Each iteration fine-tunes the policy that drove its rollouts, with a new optimiser. No held-out loss chooses
among its weights: held-out samples are of the expert's states, on which a policy loses a little while it
learns to get back to them. What counts is the closed-loop score.
"""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alpamayo_ros.sim.json_file import write_json
from alpamayo_ros.sim.rollout_driver import PlannerSource
from alpamayo_ros.sim.run import prepare_folder
from alpamayo_ros.sim.scoring import RolloutScore, aggregate
from alpamayo_ros.sim.workers import Outcome, RunOptions
from alpamayo_ros.training.closed_loop import checkpoint_identity, compare, evaluate
from alpamayo_ros.training.dataset import EpisodeSamples
from alpamayo_ros.training.labels.chosen import ChosenReasonings
from alpamayo_ros.training.road_mix import mixed_samples
from alpamayo_ros.training.road_rollout import GuidedSteerer, figures_of
from alpamayo_ros.training.road_settings import RoadSettings, pictures_of
from alpamayo_ros.training.simulate import Labeller, PlansOwnLabels
from alpamayo_ros.training.simulate_all import EpisodeOutcome, SimulationRun, simulate_all
from alpamayo_ros.types import InvalidInput

if TYPE_CHECKING:
    import torch

    from alpamayo_ros.training.trainer_run import RunFolder, RunStart

METRICS_FILE = "metrics.json"
_CHECKPOINT, _UNFINISHED, _LOCK = "checkpoint", ".checkpoint.part", ".running"


class RoadInterrupted(RuntimeError):
    """Told to stop; the same call goes on."""


class RoadFailed(RuntimeError):
    """Rollouts that could not be driven; the same call tries them again."""


@dataclass(frozen=True)
class Policies:
    """Makes planners of a checkpoint and its backbone (None: the checkpoint's own).

    Attributes:
        guided: for rollouts, with Guidance.num_samples samples a plan.
        judged: for scores, as `alpamayo sim --planner` drives it.

    Both see pictures of the size at which the data's were rendered.
    """

    guided: Callable[[str, str | None], PlannerSource]
    judged: Callable[[str, str | None], PlannerSource]


@dataclass(frozen=True)
class Machine:
    """Where a run runs: it may go on elsewhere.

    Attributes:
        device: torch's, for training.
        workers: processes that drive.
        renderer: HOST:PORT; "" for one of our own a process.
        progress: whether training shows bars.
    """

    device: torch.device
    workers: int = 1
    renderer: str = ""
    progress: bool = False


@dataclass(frozen=True)
class RoadRun:
    """A RoaD run in its folder.

    Attributes:
        out: the folder.
        settings: what is done.
        policies: makes what drives.
        machine: where.
        labeller: of the rollouts' samples; the one that the original data has.
        reasonings: what is laid over the original data; the stages' settings name it.
        tell: told each step for people, one line each.

    Raises:
        InvalidInput: for stages that name other reasonings.
    """

    out: Path
    settings: RoadSettings
    policies: Policies
    machine: Machine
    labeller: Labeller = field(default_factory=PlansOwnLabels)
    reasonings: ChosenReasonings = field(default_factory=ChosenReasonings)
    tell: Callable[[str], None] = lambda line: None

    def __post_init__(self) -> None:
        for stage in self.settings.stages:
            if stage.reasonings != self.reasonings.identity:
                raise InvalidInput(
                    f"stage {stage.stage}: expected reasonings {self.reasonings.identity}, "
                    f"got {stage.reasonings}"
                )

    def run(self, iterations: int) -> list[dict[str, Any]]:
        """Do what is missing of so many iterations; return the figures of each (`metrics.json`).

        Raises:
            InvalidInput: for no iterations, a folder of another run, or input that is refused.
            CannotStart: for a renderer that does not answer or does not start.
            RoadFailed: for rollouts that could not be driven.
            RoadInterrupted: after SIGTERM or SIGINT in training, or Ctrl-C in driving.
            TrainingDiverged: for a loss that is no number any more.
        """
        if iterations < 1:
            raise InvalidInput(f"iterations: expected at least 1, got {iterations}")
        prepare_folder(self.out)
        with _alone(self.out):
            self.settings.settle(self.out)
            self._require_cameras()
            try:
                start = self._judge(self.out / "start", *self.policy_before(1))
                return [self._iterate(number, start) for number in range(1, iterations + 1)]
            except KeyboardInterrupt as error:
                raise RoadInterrupted("interrupted while driving") from error

    def folder(self, iteration: int) -> Path:
        """Return an iteration's folder."""
        return self.out / f"iteration{iteration}"

    def policy_before(self, iteration: int) -> tuple[str, str | None]:
        """Return the checkpoint, and its backbone, that an iteration starts from."""
        if iteration == 1:
            return self.settings.checkpoint, self.settings.backbone
        return str(self.folder(iteration - 1) / _CHECKPOINT), None

    def _iterate(self, iteration: int, start: tuple[RolloutScore, ...]) -> dict[str, Any]:
        folder = self.folder(iteration)
        metrics = folder / METRICS_FILE
        if metrics.is_file():
            self.tell(f"iteration {iteration}: done already")
            return dict(json.loads(metrics.read_text("utf-8")))
        folder.mkdir(exist_ok=True)
        if not (folder / _CHECKPOINT).exists():
            self._roll_out(iteration)
            self._train(iteration)
        scores = self._judge(folder, *self.policy_before(iteration + 1))
        figures: dict[str, Any] = {
            "iteration": iteration,
            "rollouts": {
                "episodes": self.settings.episodes,
                **figures_of(folder / "rollouts").as_dict(),
            },
            "scores": aggregate(scores) if scores else None,
            "against_start": {name: each.as_dict() for name, each in compare(start, scores).items()}
            if scores
            else None,
        }
        write_json(metrics, figures)
        return dict(json.loads(metrics.read_text("utf-8")))

    def _require_cameras(self) -> None:
        source, pictures = self.policies.guided(*self.policy_before(1)), pictures_of(self.settings.data)
        if not set(source.camera_ids) <= set(pictures.camera_ids):
            raise InvalidInput(
                f"{self.settings.data}: expected pictures of the policy's cameras {list(source.camera_ids)}, "
                f"got {list(pictures.camera_ids)}"
            )

    # ------------------------------------------------------------------------------------------ rollouts

    def rollouts(self, iteration: int) -> SimulationRun:
        """Return what an iteration's rollouts are; the policy must be there when they are driven."""
        settings = self.settings
        source = self.policies.guided(*self.policy_before(iteration))
        return SimulationRun(
            scene_ids=settings.scenes_of(iteration),
            out=self.folder(iteration) / "rollouts",
            disturbed=0,
            pictures=pictures_of(settings.data),
            labeller=self.labeller,
            steerer=GuidedSteerer(source, guidance=settings.guidance, iteration=iteration),
            seed=settings.rollout_seed(iteration),
            ticks=settings.ticks,
            workers=self.machine.workers,
            renderer=self.machine.renderer,
        )

    def _roll_out(self, iteration: int) -> None:
        def told(outcome: EpisodeOutcome) -> None:
            said = outcome.error or f"{outcome.entry.samples if outcome.entry else 0} samples"
            self.tell(f"iteration {iteration}: rollout {outcome.job.episode_id}: {said}")

        outcome = simulate_all(self.rollouts(iteration), progress=told)
        if outcome.interrupted:
            raise RoadInterrupted(f"iteration {iteration}: interrupted while driving rollouts")
        if outcome.failed:
            names = ", ".join(f"{each.job.episode_id} ({each.error})" for each in outcome.failed)
            raise RoadFailed(
                f"iteration {iteration}: expected {self.settings.episodes} rollouts, failed: {names}"
            )

    # ------------------------------------------------------------------------------------------ training

    def _train(self, iteration: int) -> None:
        """Fine-tune on rollouts and original data, and write the checkpoint."""
        from alpamayo_ros.training.trainer import Trainer
        from alpamayo_ros.training.trainer_run import RunFolder

        settings = self.settings
        rollouts = [
            EpisodeSamples(self.folder(number) / "rollouts", split="train")
            for number in range(1, iteration + 1)
        ]
        original = EpisodeSamples(settings.data, split="train")
        samples, weights = mixed_samples(original, rollouts, mix=settings.mix, balance=settings.balance)
        folder = RunFolder.create(self.folder(iteration) / "run", self._run_start(iteration))
        for number, stage in enumerate(settings.stages):
            model = folder.load(
                device=self.machine.device,
                stages=tuple(earlier.stage for earlier in settings.stages[:number]),
                progress=self.machine.progress,
            )
            trainer = Trainer(
                model,
                self.reasonings.over(samples),
                settings=stage,
                folder=folder.stage(stage.stage),
                weights=weights,
                progress=self.machine.progress,
            )
            before = trainer.step
            result = trainer.run()
            if result.step > before:
                loss = "" if result.train_loss is None else f", loss {result.train_loss:.4f}"
                self.tell(
                    f"iteration {iteration}: stage {stage.stage} {result.status} at step {result.step}{loss}"
                )
            if result.status == "interrupted":
                raise RoadInterrupted(f"iteration {iteration}: interrupted in stage {stage.stage}")
        self._export(iteration, folder)

    def _run_start(self, iteration: int) -> RunStart:
        """Return where an iteration starts; inside OUT by a relative path, so that OUT may be moved."""
        from alpamayo_ros.training.trainer_run import RunStart

        checkpoint, backbone = self.policy_before(iteration)
        if iteration > 1:
            return RunStart(
                f"../../{self.folder(iteration - 1).name}/{_CHECKPOINT}", None, self.settings.dtype
            )
        return RunStart(
            _absolute(checkpoint), None if backbone is None else _absolute(backbone), self.settings.dtype
        )

    def _export(self, iteration: int, run: RunFolder) -> None:
        """Write the checkpoint, whole or not at all."""
        import torch

        from alpamayo_ros.model.loading import DTYPES
        from alpamayo_ros.training.export import export_checkpoint

        settings, folder = self.settings, self.folder(iteration)
        model = run.load(device=torch.device("cpu"), stages=tuple(stage.stage for stage in settings.stages))
        shutil.rmtree(folder / _UNFINISHED, ignore_errors=True)
        exported = export_checkpoint(
            model.opened,
            folder / _UNFINISHED,
            dtype=DTYPES[settings.dtype],
            training={
                "start": model.opened.name,
                "road": {
                    "iteration": iteration,
                    "mix": settings.mix,
                    "episodes": settings.episodes,
                    "guidance": vars(settings.guidance),
                },
                "stages": {str(stage.stage): stage.as_dict() for stage in settings.stages},
            },
        )
        exported.folder.rename(folder / _CHECKPOINT)
        self.tell(f"iteration {iteration}: wrote {folder / _CHECKPOINT}")

    # ------------------------------------------------------------------------------------------ scores

    def _judge(self, folder: Path, checkpoint: str, backbone: str | None) -> tuple[RolloutScore, ...]:
        """Return a checkpoint's scores on the judged scenes, driving what has none yet."""
        settings = self.settings
        if not settings.judged_scene_ids:
            return ()
        pictures = pictures_of(settings.data)
        options = RunOptions(
            scene_ids=settings.judged_scene_ids,
            out=folder / "judged",
            jobs=self.machine.workers,
            seed=settings.seed,
            renderer=self.machine.renderer,
            image_size=(pictures.render_width, pictures.render_height),
        )

        def told(outcome: Outcome) -> None:
            score = outcome.score
            said = score.error or f"{score.scene_score} ({score.end_reason})"
            self.tell(f"{folder.name}: {score.scene_id} scores {said}")

        return evaluate(
            options,
            self.policies.judged(checkpoint, backbone),
            identity=checkpoint_identity(checkpoint),
            progress=told,
        )


def _absolute(name: str) -> str:
    """Return a folder's absolute path; a hub id as it is."""
    folder = Path(name).expanduser()
    return str(folder.resolve()) if folder.is_dir() else name


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold a folder; raises InvalidInput where another process does."""
    with (folder / _LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InvalidInput(f"{folder}: expected nobody else to run here, got another run") from error
        yield
