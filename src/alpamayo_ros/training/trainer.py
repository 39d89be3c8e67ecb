"""The training loop: steps, held-out evaluation, states to resume from, and a clean end when told to stop.

A run that is stopped and resumed gives the same weights, bit for bit on a CPU, as one that runs through.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from alpamayo_ros.training import trainer_data
from alpamayo_ros.training.joint import evaluate_joint, joint_loss
from alpamayo_ros.training.losses import LossParts
from alpamayo_ros.training.metrics import Averages, MetricsLog
from alpamayo_ros.training.optim import MovingAverage, adamw, learning_rate
from alpamayo_ros.training.plan_reader import READER_PREFIX
from alpamayo_ros.training.sample import SampleSource
from alpamayo_ros.training.sequence import Batch
from alpamayo_ros.training.sequence_images import ImageEncoder
from alpamayo_ros.training.settings import JOINT, TrainSettings
from alpamayo_ros.training.stage1 import reasoning_loss
from alpamayo_ros.training.stage2 import evaluate_flow, flow_loss
from alpamayo_ros.training.stop_signals import told_to_stop
from alpamayo_ros.training.trainer_model import TrainableModel
from alpamayo_ros.training.trainer_state import TrainState, save_best, save_settings
from alpamayo_ros.types import InvalidInput, UInt8Array

_EVALUATION = 2**32
"""Key of the evaluation's noise, beyond every step's."""


class TrainingDiverged(RuntimeError):
    """A loss or gradient that is no number any more; the last state is from before."""


@dataclass(frozen=True)
class TrainResult:
    """How a run ended.

    Attributes:
        status: "finished", "stopped early" (patience), or "interrupted" (it can be resumed).
        step: steps done.
        best_loss, best_step: smallest held-out loss and its step; None and `step` without held-out samples.
        train_loss: mean over the last logged steps of this call, None if it logged none.
    """

    status: str
    step: int
    best_loss: float | None
    best_step: int
    train_loss: float | None


class Trainer:
    """Trains one stage of one model; goes on from `folder`'s state if there is one.

    Args:
        model: loaded; `Trainer` decides what of it has gradients.
        train: samples to learn from.
        settings: how.
        folder: where state, best weights and metrics go; made if absent.
        held_out: samples to evaluate on, None for none: then the last weights are the best.
        weights: float [len(train)], how often each sample is drawn, None for equally often.
        tensorboard: write TensorBoard's files.
        progress: show a bar where stderr is a terminal.
        pictures: the samples' frames, for the vision cache to know before the first step.

    Raises:
        InvalidInput: for no samples, or a state of other settings or another number of samples.
    """

    def __init__(
        self,
        model: TrainableModel,
        train: SampleSource,
        *,
        settings: TrainSettings,
        folder: Path,
        held_out: SampleSource | None = None,
        weights: NDArray[np.floating] | None = None,
        tensorboard: bool = False,
        progress: bool = False,
        pictures: Iterable[UInt8Array] | None = None,
    ) -> None:
        if held_out is not None and not len(held_out):
            raise InvalidInput("held_out: expected at least one sample, or None, got none")
        if settings.patience and held_out is None:
            raise InvalidInput(f"patience: expected 0 without held-out samples, got {settings.patience}")
        self.model = model
        self.settings = settings
        self.folder = folder
        self._train = train
        self._held_out = held_out
        self._order = trainer_data.SampleOrder(len(train), seed=settings.seed, weights=weights)
        self._parameters = model.prepare(settings)
        self._terms = settings.flow_terms(action_std=model.action_space.std)
        self._reader = model.plan_reader(seed=settings.seed) if settings.read_plan else None
        if self._reader is not None:
            self._parameters |= {READER_PREFIX + name: p for name, p in self._reader.named_parameters()}
        self._images = ImageEncoder(model.network, model.images, cache_bytes=settings.vision_cache_bytes)
        self._optimizer = adamw(
            self._parameters,
            weight_decay=settings.weight_decay,
            betas=(settings.beta1, settings.beta2),
        )
        self._average = MovingAverage(self._parameters, decay=settings.ema_decay)
        self._step = 0
        self._best_loss, self._best_step, self._without_gain = math.inf, 0, 0
        self._stopped_early = False
        folder.mkdir(parents=True, exist_ok=True)
        state = TrainState.load(folder)
        if state is not None:
            self._restore(state)
        save_settings(folder, settings)
        self._log = MetricsLog(folder, resumed_at=self._step, tensorboard=tensorboard)
        self._progress = progress
        if pictures is not None and settings.vision_cache_bytes:
            with self._autocast():
                self._images.learn(pictures)

    @property
    def step(self) -> int:
        """Steps done."""
        return self._step

    def run(self) -> TrainResult:
        """Train until the last step, until patience runs out, or until SIGTERM or SIGINT.

        Raises:
            TrainingDiverged: for a loss or gradient that isn't finite.
        """
        from tqdm.auto import tqdm

        settings = self.settings
        remaining = trainer_data.batches(
            self._train,
            self.model.builder,
            order=self._order,
            first_batch=self._step * settings.accumulate,
            last_batch=0 if self._stopped_early else settings.steps * settings.accumulate,
            batch_size=settings.batch_size,
            image_pad_id=self.model.image_pad_id,
            workers=settings.workers,
        )
        bar = tqdm(
            total=settings.steps,
            initial=self._step,
            desc=f"stage {settings.stage}",
            unit="step",
            disable=None if self._progress else True,  # None: shown on a terminal only
        )
        window = _Window()
        train_loss: float | None = None
        try:
            with told_to_stop() as told, bar:
                while self._step < settings.steps and not self._stopped_early and not told.is_set():
                    norm = self._take_step(remaining, window)
                    self._step += 1
                    bar.update()
                    last = self._step == settings.steps
                    if last or self._step % settings.log_every == 0:
                        figures = window.figures() | {"gradient_norm": norm}
                        figures["learning_rate"] = self._optimizer.param_groups[0]["lr"]
                        train_loss = figures["loss"]
                        bar.set_postfix(loss=f"{train_loss:.4f}")
                        self._log.write(self._step, "train", figures)
                        window = _Window()
                    if last or self._step % settings.eval_every == 0:
                        with window.paused():
                            self._evaluate()
                    if self._step % settings.checkpoint_every == 0:
                        self._save()
            self._save()
        finally:
            self._log.close()
        status = "finished" if self._step >= settings.steps else "interrupted"
        if self._stopped_early:
            status = "stopped early"
        best = None if self._held_out is None or math.isinf(self._best_loss) else self._best_loss
        best_step = self._step if self._held_out is None else self._best_step
        return TrainResult(status, self._step, best, best_step, train_loss)

    def _take_step(self, remaining: Iterator[Batch], window: _Window) -> float:
        settings = self.settings
        for group in self._optimizer.param_groups:
            group["lr"] = self._rate()
        self._optimizer.zero_grad(set_to_none=True)
        for part in range(settings.accumulate):
            batch = next(remaining)
            parts = self._loss(batch, part=part)
            (parts.total / settings.accumulate).backward()
            window.add(parts, samples=len(batch))
        norm = float(torch.nn.utils.clip_grad_norm_(self._parameters.values(), settings.clip_norm))
        if not math.isfinite(norm):
            raise TrainingDiverged(
                f"step {self._step + 1}: expected a finite gradient, got norm {norm}; "
                "a smaller peak_rate or more warmup_steps may help"
            )
        self._optimizer.step()
        self._average.update()
        return norm

    def _rate(self) -> float:
        settings = self.settings
        return learning_rate(
            self._step,
            peak=settings.peak_rate,
            warmup=settings.warmup_steps,
            steps=settings.steps,
            floor=settings.rate_floor,
        )

    def _loss(self, batch: Batch, *, part: int) -> LossParts:
        settings, network = self.settings, self.model.network
        with self._autocast():
            if settings.stage == 1:
                return reasoning_loss(network, batch, images=self._images, weights=settings.span_weights)
            if settings.stage == JOINT:
                return joint_loss(
                    network,
                    batch,
                    images=self._images,
                    weights=settings.span_weights,
                    flow_weight=settings.flow_weight,
                    generator=self._generator(self._step, part),
                    terms=self._terms,
                    reader=self._reader,
                )
            return flow_loss(
                network,
                batch,
                images=self._images,
                generator=self._generator(self._step, part),
                terms=self._terms,
            )

    def _held_out_figures(self, batch: Batch, part: int) -> tuple[LossParts, ...]:
        settings, network = self.settings, self.model.network
        with self._autocast():
            if settings.stage == 1:
                loss = reasoning_loss(network, batch, images=self._images, weights=settings.span_weights)
                return (loss,)
            if settings.stage == JOINT:
                return evaluate_joint(
                    network,
                    batch,
                    images=self._images,
                    weights=settings.span_weights,
                    flow_weight=settings.flow_weight,
                    generator=self._generator(_EVALUATION, part),
                    terms=self._terms,
                    reader=self._reader,
                    action_space=self.model.action_space,
                )
            return evaluate_flow(
                network,
                batch,
                images=self._images,
                generator=self._generator(_EVALUATION, part),
                terms=self._terms,
                action_space=self.model.action_space,
            )

    def _autocast(self) -> torch.autocast:
        device = self.model.network.device
        return torch.autocast(device.type, dtype=torch.bfloat16, enabled=self.settings.autocast)

    def _generator(self, key: int, part: int) -> torch.Generator:
        """Return the noise of a pass; it follows from the seed, the step and the pass alone."""
        seeds = np.random.SeedSequence([self.settings.seed, key, part])
        return torch.Generator().manual_seed(int(seeds.generate_state(1, np.uint64)[0] >> 1))

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Return the figures of the averaged weights on held-out samples, with the same noise every time.

        Stage 1: losses and accuracies by span; stage 2: losses, and the distances of `evaluate_flow`; 3: all.

        Raises:
            InvalidInput: without held-out samples.
        """
        if self._held_out is None:
            raise InvalidInput("evaluate: expected held-out samples, got none")
        means = Averages()
        with self._average.applied():
            for part, batch in enumerate(
                trainer_data.held_out_batches(
                    self._held_out,
                    self.model.builder,
                    limit=self.settings.eval_samples,
                    batch_size=self.settings.batch_size,
                    image_pad_id=self.model.image_pad_id,
                    workers=self.settings.workers,
                )
            ):
                for figures in self._held_out_figures(batch, part):
                    means.add(figures)
        return means.means()

    def _evaluate(self) -> None:
        if self._held_out is None:
            self._save_best(loss=None)
            return
        figures = self.evaluate()
        self._log.write(self._step, "held_out", figures)
        if figures["loss"] < self._best_loss:
            self._best_loss, self._best_step, self._without_gain = figures["loss"], self._step, 0
            self._save_best(loss=self._best_loss)
            return
        self._without_gain += 1
        self._stopped_early = 0 < self.settings.patience <= self._without_gain

    def _save_best(self, *, loss: float | None) -> None:
        averages = self._average.values
        of_network = {name: averages[name] for name in averages if not name.startswith(READER_PREFIX)}
        save_best(self.folder, of_network, step=self._step, loss=loss)

    def _save(self) -> None:
        TrainState(
            step=self._step,
            weights={name: parameter.detach() for name, parameter in self._parameters.items()},
            averages=self._average.values,
            average_updates=self._average.updates,
            optimizer=self._optimizer.state_dict(),
            best_loss=self._best_loss,
            best_step=self._best_step,
            without_gain=self._without_gain,
            stopped_early=self._stopped_early,
            num_samples=len(self._train),
            order=self._order.digest,
            random_state=torch.get_rng_state(),
            settings=self.settings.as_dict(),
        ).save(self.folder)

    @torch.no_grad()
    def _restore(self, state: TrainState) -> None:
        self.settings.require_same_result(TrainSettings.from_dict(state.settings))
        if state.num_samples != len(self._train):
            raise InvalidInput(
                f"resume: expected the run's {state.num_samples} samples, got {len(self._train)}"
            )
        if state.order != self._order.digest:
            raise InvalidInput("resume: expected the run's own weights of samples, got others")
        if state.weights.keys() != self._parameters.keys():
            raise InvalidInput(f"{self.folder}: expected the state of this checkpoint, got another's")
        for name, parameter in self._parameters.items():
            if parameter.shape != state.weights[name].shape:
                given = f"{name} {list(state.weights[name].shape)}"
                raise InvalidInput(f"{self.folder}: expected {name} {list(parameter.shape)}, got {given}")
            parameter.copy_(state.weights[name])
        self._average.load(state.averages, updates=state.average_updates)
        self._optimizer.load_state_dict(dict(state.optimizer))
        self._step = state.step
        self._best_loss, self._best_step = state.best_loss, state.best_step
        self._without_gain, self._stopped_early = state.without_gain, state.stopped_early
        torch.set_rng_state(state.random_state)


class _Window:
    """What training gave since the last record, and how fast; evaluations take no time here."""

    def __init__(self) -> None:
        self._averages = Averages()
        self._samples = 0
        self._start_s = time.monotonic()

    def add(self, parts: LossParts, *, samples: int) -> None:
        self._averages.add(parts)
        self._samples += samples

    def figures(self) -> dict[str, float]:
        took_s = max(time.monotonic() - self._start_s, 1e-9)
        return self._averages.means() | {"samples_per_s": self._samples / took_s}

    @contextmanager
    def paused(self) -> Iterator[None]:
        begun_s = time.monotonic()
        yield
        self._start_s += time.monotonic() - begun_s
