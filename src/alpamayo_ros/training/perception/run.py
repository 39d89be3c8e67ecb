"""The pretraining's loop: its state can be gone on with, its result is a checkpoint for `sft`."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from alpamayo_ros.model.network import VisualFeatures
from alpamayo_ros.model.plan_options import recommended_options, write_recommended
from alpamayo_ros.training.losses import LossParts
from alpamayo_ros.training.metrics import Averages, MetricsLog
from alpamayo_ros.training.optim import MovingAverage, adamw, learning_rate
from alpamayo_ros.training.perception.network import ReadingHead, SightBatch, jittered, reading_loss
from alpamayo_ros.training.perception.samples import SightSource
from alpamayo_ros.training.perception.sectors import SectorHead, SectorReader, sector_loss
from alpamayo_ros.training.perception.surroundings import HOW_FAR
from alpamayo_ros.training.settings import TrainSettings
from alpamayo_ros.training.tower_attention import attend_in_batches
from alpamayo_ros.training.trainer_data import SampleOrder
from alpamayo_ros.training.trainer_model import TrainableModel
from alpamayo_ros.training.trainer_state import STATE_FILE, write_atomically
from alpamayo_ros.types import InvalidInput, PlanOptions

CHECKPOINT_FOLDER = "checkpoint"
_VISION = "vlm.model.visual."


@dataclass(frozen=True)
class PerceptionSettings:
    """How the tower is trained; all but how often is saved must stay the same when a run is gone on with.

    `jitter` is by how much brightness, contrast and colours of the pictures are changed at most, each time
    anew: few scenes are soon learned by heart, and no two days have the same light.
    """

    steps: int = 2000
    batch_size: int = 32
    peak_rate: float = 1e-3
    warmup_steps: int = 100
    weight_decay: float = 0.05
    ema_decay: float = 0.998
    jitter: float = 0.25
    seed: int = 0
    autocast: bool = False
    eval_every: int = 200
    eval_samples: int = 512
    save_every: int = 200
    log_every: int = 20

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "eval_every", "eval_samples", "save_every", "log_every"):
            if getattr(self, name) < 1:
                raise InvalidInput(f"{name}: expected at least 1, got {getattr(self, name)}")
        if not self.peak_rate > 0:
            raise InvalidInput(f"peak_rate: expected a positive number, got {self.peak_rate}")

    def decisive(self) -> dict[str, Any]:
        """Return what the result depends on: evaluations, too, for they choose which weights are kept."""
        loose = ("save_every", "log_every")
        return {name: value for name, value in asdict(self).items() if name not in loose}


class PerceptionRun:
    """Trains a checkpoint's vision tower to read; goes on from `folder`'s state if there is one.

    Args:
        model: loaded; its tower is trained in place.
        train, held_out: sights; None for none held out.
        settings: how.
        folder: for state and metrics.

    Raises:
        InvalidInput: for a state of other settings or samples.
    """

    def __init__(
        self,
        model: TrainableModel,
        train: SightSource,
        *,
        settings: PerceptionSettings,
        folder: Path,
        held_out: SightSource | None = None,
    ) -> None:
        self.settings, self.folder = settings, folder
        self._model, self._train, self._held_out = model, train, held_out
        chosen = model.prepare(TrainSettings(stage=1))
        self._tower = {name: value for name, value in chosen.items() if name.startswith(_VISION)}
        for name, value in chosen.items():
            value.requires_grad_(name in self._tower)
        frames = model.images.prepare_frames(train[0].frames)
        patches = frames.shape[-2] * frames.shape[-1] // model.images.patch_size**2
        token = model.images.patch_size * model.images.merge_size
        rows, columns = frames.shape[-2] // token, frames.shape[-1] // token
        attend_in_batches(model.network.vlm.model.visual, patches=patches)
        self._sectors = SectorReader(train.camera_ids, columns=columns)
        self._head, self._sector_head = self._new_heads(train, rows=rows, columns=columns)
        parameters: dict[str, nn.Parameter] = {
            **self._tower,
            **{f"head.{name}": value for name, value in self._head.named_parameters()},
            **{f"sector_head.{name}": value for name, value in self._sector_head.named_parameters()},
        }
        self._parameters = parameters
        self._optimizer = adamw(parameters, weight_decay=settings.weight_decay, betas=(0.9, 0.95))
        self._average = MovingAverage(parameters, decay=settings.ema_decay)
        self._order = SampleOrder(len(train), seed=settings.seed)
        self._step = 0
        self._best: dict[str, Tensor] = {}
        self._best_figures: dict[str, float] = {}
        self._best_step = 0
        folder.mkdir(parents=True, exist_ok=True)
        self._restore()
        self._log = MetricsLog(folder, resumed_at=self._step)

    @property
    def best_step(self) -> int:
        """The step with the smallest held-out loss, 0 before the first evaluation."""
        return self._best_step

    @property
    def step(self) -> int:
        """Steps done."""
        return self._step

    def run(self, *, progress: bool = False) -> dict[str, float]:
        """Train to the last step; return the held-out figures of the weights that are kept ({} without any).

        Ctrl-C leaves the state of the last save.
        """
        from tqdm.auto import tqdm

        settings, figures = self.settings, Averages()
        bar = tqdm(
            total=settings.steps, initial=self._step, desc="perceive", disable=None if progress else True
        )
        try:
            with bar:
                while self._step < settings.steps:
                    figures.add(self._take_step())
                    self._step += 1
                    bar.update()
                    end = self._step == settings.steps
                    if end or self._step % settings.log_every == 0:
                        self._log.write(self._step, "train", figures.means())
                        figures = Averages()
                    if self._held_out is not None and (end or self._step % settings.eval_every == 0):
                        held_out = self.evaluate()
                        self._keep_if_best(held_out)
                        self._log.write(self._step, "held_out", held_out)
                    if end or self._step % settings.save_every == 0:
                        self._save()
        finally:
            self._log.close()
        return dict(self._best_figures)

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Return the averaged weights' figures on held-out sights, evenly picked and always the same."""
        held_out, settings = self._held_out, self.settings
        if held_out is None:
            raise InvalidInput("evaluate: expected held-out sights, got none")
        picked = np.unique(
            np.linspace(0, len(held_out) - 1, settings.eval_samples).round().astype(int)
        ).tolist()
        means = Averages()
        with self._average.applied():
            for start in range(0, len(picked), settings.batch_size):
                indices = picked[start : start + settings.batch_size]
                means.add(self._loss(SightBatch.of([held_out[index] for index in indices])))
        return means.means()

    def export(self, start: Path, out: Path) -> None:
        """Write the start checkpoint with the tower's averaged weights, the best ones on held-out sights."""
        from safetensors.torch import load_file, save_file

        best = self._best or self._average.values
        tensors = load_file(start / "model.safetensors")
        for name in self._tower:
            if name not in tensors:
                raise InvalidInput(f"{start}: expected {name} in model.safetensors, got none")
            tensors[name] = best[name].to(tensors[name].dtype).contiguous()
        out.mkdir(parents=True, exist_ok=True)
        for part in start.iterdir():
            if part.is_dir():
                shutil.copytree(part, out / part.name, dirs_exist_ok=True)
        write_atomically(
            out / "model.safetensors", lambda path: save_file(tensors, path, metadata={"format": "pt"})
        )
        recommended = recommended_options(start)
        if recommended != PlanOptions():
            write_recommended(out, recommended)
        shutil.copy2(start / "config.json", out / "config.json")  # last: a folder with it is whole

    def _new_heads(self, train: SightSource, *, rows: int, columns: int) -> tuple[ReadingHead, SectorHead]:
        features = self._encode(SightBatch.of([train[0]]))
        channels = features.embeds.shape[-1] * (1 + len(features.deepstack))
        cameras, device = len(train.camera_ids), self._model.network.device
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.settings.seed)
            head = ReadingHead(cameras=cameras, tokens=rows * columns, channels=channels)
            sector_head = SectorHead(cameras=cameras, rows=rows, columns=columns, channels=channels)
        return head.to(device), sector_head.to(device)

    def _encode(self, batch: SightBatch) -> VisualFeatures:
        device = self._model.network.device
        frames = self._model.images.prepare_frames(batch.frames)
        pixel_values, grid_thw = self._model.images.patchify([frames], device=device)
        return self._model.network.encode_images(pixel_values, grid_thw.to(device))

    def _loss(self, batch: SightBatch) -> LossParts:
        device = self._model.network.device
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=self.settings.autocast):
            features = self._encode(batch)
            read, of_sectors = self._head(features), self._sector_head(features)
        total, means, counts = reading_loss(read, batch)
        wanted = self._sectors.read([grid.astype(np.uint8) for grid in batch.grid.numpy()])
        beside, sector_means, sector_counts = sector_loss(of_sectors, wanted)
        return LossParts(total + beside, means | sector_means, counts | sector_counts)

    def _take_step(self) -> LossParts:
        settings = self.settings
        rate = learning_rate(
            self._step,
            peak=settings.peak_rate,
            warmup=settings.warmup_steps,
            steps=settings.steps,
            floor=0.02,
        )
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.zero_grad(set_to_none=True)
        indices = self._order.indices(self._step * settings.batch_size, settings.batch_size)
        batch = SightBatch.of([self._train[index] for index in indices])
        if settings.jitter:
            rng = np.random.default_rng([settings.seed, self._step])
            batch = replace(batch, frames=jittered(batch.frames, rng, most=settings.jitter))
        parts = self._loss(batch)
        parts.total.backward()
        torch.nn.utils.clip_grad_norm_(self._parameters.values(), 1.0)
        self._optimizer.step()
        self._average.update()
        return parts

    def _keep_if_best(self, figures: Mapping[str, float]) -> None:
        if figures["loss"] < self._best_figures.get("loss", math.inf):
            self._best_figures, self._best_step = dict(figures), self._step
            self._best = {name: self._average.values[name].clone() for name in self._tower}

    def _save(self) -> None:
        content: Mapping[str, Any] = {
            "step": self._step,
            "weights": {name: value.detach() for name, value in self._parameters.items()},
            "averages": self._average.values,
            "average_updates": self._average.updates,
            "optimizer": self._optimizer.state_dict(),
            "order": self._order.digest,
            "settings": self.settings.decisive(),
            "far": list(HOW_FAR),
            "best": self._best,
            "best_figures": self._best_figures,
            "best_step": self._best_step,
        }
        write_atomically(self.folder / STATE_FILE, lambda path: torch.save(dict(content), path))

    @torch.no_grad()
    def _restore(self) -> None:
        path = self.folder / STATE_FILE
        if not path.exists():
            return
        state = torch.load(path, map_location="cpu", weights_only=True)
        if state["settings"] != self.settings.decisive():
            raise InvalidInput(
                f"{path}: expected a run of {self.settings.decisive()}, got {state['settings']}"
            )
        if state["order"] != self._order.digest or state["far"] != list(HOW_FAR):
            raise InvalidInput(f"{path}: expected a run on these {len(self._train)} samples, got others")
        weights: Mapping[str, Tensor] = state["weights"]
        missing = [name for name in self._parameters if name not in weights]
        if missing:
            raise InvalidInput(
                f"{path}: expected weights of tower and heads, got a state without {missing[0]}"
            )
        for name, parameter in self._parameters.items():
            parameter.copy_(weights[name])
        self._average.load(state["averages"], updates=state["average_updates"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._step = state["step"]
        self._best, self._best_figures = state["best"], state["best_figures"]
        self._best_step = state["best_step"]
