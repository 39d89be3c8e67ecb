"""A run that was stopped and resumed is the run that went through."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sft_samples import Samples, make_sample

from alpamayo_ros.training.metrics import read_metrics
from alpamayo_ros.training.sample import TrainingSample
from alpamayo_ros.training.settings import LoraSettings, TrainSettings
from alpamayo_ros.training.trainer import Trainer, TrainingDiverged, TrainResult
from alpamayo_ros.training.trainer_model import TrainableModel
from alpamayo_ros.training.trainer_state import BEST_FILE, STATE_FILE, TrainState
from alpamayo_ros.types import InvalidInput

SOURCE = Samples(tuple(make_sample(index, cameras=(1,)) for index in range(5)))
HELD_OUT = Samples((make_sample(9, cameras=(1,)),))
SHORT = TrainSettings(
    stage=2,
    steps=6,
    batch_size=2,
    warmup_steps=2,
    eval_every=2,
    checkpoint_every=100,
    log_every=1,
    flow_draws=1,
)

Start = Callable[..., Trainer]


@pytest.fixture
def start(golden_dir: Path) -> Start:
    def start(folder: Path, settings: TrainSettings, source: Samples = SOURCE, **more: object) -> Trainer:
        golden = golden_dir / "alpamayo1_5"
        model = TrainableModel.load(
            golden / "checkpoint", golden / "backbone", device=torch.device("cpu"), dtype=torch.float32
        )
        return Trainer(
            model, source, settings=settings, folder=folder, held_out=more.pop("held_out", HELD_OUT), **more
        )

    return start


class Stopping(Samples):
    """Samples that send the process a signal when one of them has been read so many times."""

    def __init__(self, items: tuple[TrainingSample, ...], *, reads: int, number: int) -> None:
        object.__setattr__(self, "items", items)
        object.__setattr__(self, "left", [reads])
        object.__setattr__(self, "number", number)

    def __getitem__(self, index: int) -> TrainingSample:
        self.left[0] -= 1
        if self.left[0] == 0:
            os.kill(os.getpid(), self.number)
        return super().__getitem__(index)


@pytest.mark.parametrize(
    "settings",
    [
        replace(SHORT, vision_cache_bytes=10**8),
        replace(SHORT, stage=1, steps=4, accumulate=2, batch_size=1),
    ],
    ids=["stage2-cached", "stage1-accumulated"],
)
def test_half_a_run_and_its_resumption_are_the_whole_run_bit_by_bit(
    start: Start, tmp_path: Path, settings: TrainSettings
) -> None:
    whole = start(tmp_path / "whole", settings)
    assert whole.run().status == "finished"
    per_step = settings.batch_size * settings.accumulate
    half = Stopping(SOURCE.items, reads=per_step * settings.steps // 2, number=signal.SIGTERM)
    first = start(tmp_path / "halves", settings, half)
    stopped = first.run()
    assert (stopped.status, stopped.step) == ("interrupted", settings.steps // 2)
    second = start(tmp_path / "halves", settings)
    assert second.step == settings.steps // 2
    assert second.run().status == "finished"

    one, other = TrainState.load(tmp_path / "whole"), TrainState.load(tmp_path / "halves")
    assert one is not None and other is not None
    for name, value in one.weights.items():
        assert torch.equal(value, other.weights[name]), name
        assert torch.equal(one.averages[name], other.averages[name]), name
    for index, state in one.optimizer["state"].items():
        for key, value in state.items():
            assert torch.equal(value, other.optimizer["state"][index][key])
    assert (one.best_loss, one.best_step) == (other.best_loss, other.best_step)
    best, other_best = (load_file(tmp_path / name / BEST_FILE) for name in ("whole", "halves"))
    assert best.keys() == one.weights.keys()
    assert all(torch.equal(value, other_best[name]) for name, value in best.items())
    records = [read_metrics(tmp_path / name) for name in ("whole", "halves")]
    losses = [[(each["step"], each["kind"], each["loss"]) for each in run] for run in records]
    assert losses[0] == losses[1]


def test_a_finished_run_has_nothing_left_to_do(start: Start, tmp_path: Path) -> None:
    settings = replace(SHORT, steps=2)
    first = start(tmp_path, settings).run()
    again = start(tmp_path, settings)
    assert again.run() == replace(first, train_loss=None)


def test_patience_ends_it_and_the_best_stays(start: Start, tmp_path: Path) -> None:
    # A rate that does harm: nothing is better than the first evaluation for long.
    settings = replace(
        SHORT, steps=40, peak_rate=0.3, warmup_steps=1, patience=2, eval_every=1, ema_decay=0.0
    )
    result = start(tmp_path, settings).run()
    assert result.status == "stopped early" and result.step < 40
    held_out = [each["loss"] for each in read_metrics(tmp_path) if each["kind"] == "held_out"]
    assert result.best_loss == min(held_out) and result.best_step == held_out.index(min(held_out)) + 1
    assert min(held_out[-2:]) >= result.best_loss
    assert start(tmp_path, settings).run().status == "stopped early"


def test_without_held_out_samples_the_last_weights_are_the_best(start: Start, tmp_path: Path) -> None:
    result = start(tmp_path, replace(SHORT, steps=3), held_out=None).run()
    assert result == TrainResult("finished", 3, None, 3, result.train_loss)
    assert (tmp_path / BEST_FILE).exists()


def test_evaluation_repeats(start: Start, tmp_path: Path) -> None:
    trainer = start(tmp_path, SHORT)
    assert trainer.evaluate() == trainer.evaluate()
    with pytest.raises(InvalidInput, match="evaluate: expected held-out samples, got none"):
        start(tmp_path, SHORT, held_out=None).evaluate()


def test_workers_and_autocast_train_too(start: Start, tmp_path: Path) -> None:
    plain = start(tmp_path / "0", replace(SHORT, steps=2)).run()
    forked = start(tmp_path / "1", replace(SHORT, steps=2, workers=1)).run()
    assert forked.best_loss == plain.best_loss
    mixed = start(tmp_path / "2", replace(SHORT, steps=2, autocast=True)).run()
    assert mixed.best_loss == pytest.approx(plain.best_loss, rel=0.1)
    assert mixed.best_loss != plain.best_loss


@pytest.mark.parametrize("stage", [1, 2])
def test_recomputed_gradients_are_the_same(start: Start, tmp_path: Path, stage: int) -> None:
    losses = []
    for recompute in (False, True):
        settings = replace(SHORT, stage=stage, steps=2, recompute=recompute)
        start(tmp_path / str(recompute), settings).run()
        losses.append([record["loss"] for record in read_metrics(tmp_path / str(recompute))])
    assert losses[0] == losses[1]


@pytest.mark.parametrize(
    "settings",
    [replace(SHORT, autocast=True), replace(SHORT, stage=1, lora=LoraSettings(2, 4.0), autocast=True)],
    ids=["expert", "lora"],
)
def test_a_checkpoint_held_in_bfloat16_trains_in_float32(
    golden_dir: Path, tmp_path: Path, settings: TrainSettings
) -> None:
    """As a released 10B checkpoint is on a GPU."""
    golden = golden_dir / "alpamayo1_5"
    model = TrainableModel.load(
        golden / "checkpoint", golden / "backbone", device=torch.device("cpu"), dtype=torch.bfloat16
    )
    settings = replace(settings, steps=1, batch_size=1)
    result = Trainer(model, SOURCE, settings=settings, folder=tmp_path, held_out=HELD_OUT).run()
    assert result.status == "finished" and result.best_loss is not None
    for name, parameter in model.network.named_parameters():
        assert parameter.dtype == (torch.float32 if parameter.requires_grad else torch.bfloat16), name


def test_a_run_that_diverges_says_so(start: Start, tmp_path: Path) -> None:
    trainer = start(tmp_path, SHORT)
    trainer.model.network.action_out_proj.bias.data.fill_(float("nan"))
    with pytest.raises(TrainingDiverged, match="step 1: expected a finite gradient, got norm nan"):
        trainer.run()


def test_other_settings_samples_or_files_are_refused(start: Start, tmp_path: Path) -> None:
    start(tmp_path, replace(SHORT, steps=2)).run()
    with pytest.raises(InvalidInput, match="resume: expected the run's own settings: seed 0, got 1"):
        start(tmp_path, replace(SHORT, steps=2, seed=1))
    with pytest.raises(InvalidInput, match="resume: expected the run's 5 samples, got 1"):
        start(tmp_path, replace(SHORT, steps=2), HELD_OUT)
    with pytest.raises(InvalidInput, match="resume: expected the run's own weights of samples, got others"):
        start(tmp_path, replace(SHORT, steps=2), weights=np.arange(5.0))
    (tmp_path / STATE_FILE).write_bytes(b"no state")
    with pytest.raises(InvalidInput, match=r"state.pt: expected a run's state, got"):
        start(tmp_path, replace(SHORT, steps=2))


def test_bad_arguments_are_refused(start: Start, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"samples: expected at least 1, got 0"):
        start(tmp_path, SHORT, Samples(()))
    with pytest.raises(InvalidInput, match="held_out: expected at least one sample"):
        start(tmp_path, SHORT, held_out=Samples(()))
    with pytest.raises(InvalidInput, match="patience: expected 0 without held-out samples, got 1"):
        start(tmp_path, replace(SHORT, patience=1), held_out=None)


def test_it_runs_in_another_thread(start: Start, tmp_path: Path) -> None:
    """Where signals cannot be asked for."""
    trainer = start(tmp_path, replace(SHORT, steps=1))
    results: list[TrainResult] = []
    thread = threading.Thread(target=lambda: results.append(trainer.run()))
    thread.start()
    thread.join()
    assert results[0].status == "finished"
