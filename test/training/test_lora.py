"""Adapters on a released layout: a step runs, lowers the loss, and changes nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from sft_samples import Samples, make_sample
from torch import nn

from alpamayo_ros.training import lora
from alpamayo_ros.training.metrics import read_metrics
from alpamayo_ros.training.settings import LoraSettings, TrainSettings
from alpamayo_ros.training.trainer import Trainer
from alpamayo_ros.training.trainer_model import TrainableModel
from alpamayo_ros.types import InvalidInput


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.SiLU(), nn.Sequential(nn.Linear(7, 7), nn.Linear(7, 3)))


def test_an_adapter_changes_nothing_until_trained_and_merges_into_its_layer() -> None:
    root, x = network(), torch.randn(4, 5)
    before = root(x)
    names = [name for name, _ in root.named_parameters()]
    assert lora.inject(root, ["2."], rank=2, alpha=4.0, seed=0) == ["2.0", "2.1"]
    torch.testing.assert_close(root(x), before)
    for name, parameter in root.named_parameters():
        if "lora_b" in name:
            nn.init.normal_(parameter)
    trained = root(x)
    assert not torch.allclose(trained, before, atol=1e-2)
    assert lora.merge(root) == 2
    torch.testing.assert_close(root(x), trained, rtol=1e-4, atol=1e-5)
    assert [name for name, _ in root.named_parameters()] == names


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"rank": 0}, "lora rank: expected at least 1, got 0"),
        ({"alpha": 0.0}, "lora alpha: expected a positive number, got 0"),
        ({"prefixes": ["3."]}, r"lora: expected linear layers under 3., got none"),
    ],
)
def test_refuses(change: dict[str, Any], says: str) -> None:
    given = {"prefixes": ["2."], "rank": 1, "alpha": 1.0, "seed": 0, **change}
    with pytest.raises(InvalidInput, match=says):
        lora.inject(network(), given.pop("prefixes"), **given)


@pytest.mark.parametrize("generation", ["alpamayo1_5", "alpamayo_r1"])
@pytest.mark.parametrize(
    "settings",
    [
        TrainSettings(stage=1, lora=LoraSettings(4, 16.0)),
        TrainSettings(stage=2, lora=LoraSettings(4, 16.0)),
        TrainSettings(stage=2),  # what --expert-only does
    ],
    ids=["lora-1", "lora-2", "expert-only"],
)
def test_steps_on_a_released_layout_lower_the_loss_and_move_only_what_is_trained(
    golden_dir: Path, tmp_path: Path, generation: str, settings: TrainSettings
) -> None:
    folder = golden_dir / generation
    model = TrainableModel.load(
        folder / "checkpoint", folder / "backbone", device=torch.device("cpu"), dtype=torch.float32
    )
    before = {name: parameter.clone() for name, parameter in model.network.named_parameters()}
    values: dict[str, Any] = {"steps": 4, "batch_size": 1, "warmup_steps": 0, "peak_rate": 3e-3}
    values |= {"log_every": 1, "eval_every": 4, "ema_decay": 0.0, "flow_draws": 8}
    source = Samples((make_sample(0, cameras=(1,)),))
    trainer = Trainer(
        model,
        source,
        settings=TrainSettings.from_dict({**settings.as_dict(), **values}),
        folder=tmp_path,
        held_out=source,  # the same noise every time
    )
    start = trainer.evaluate()["loss"]
    trainer.run()
    held_out = [record["loss"] for record in read_metrics(tmp_path) if record["kind"] == "held_out"]
    assert held_out[-1] < start
    moved = set()
    for name, parameter in model.network.named_parameters():
        plain = name.replace(".base.", ".")
        if plain not in before:
            moved.add("adapter")
        elif not torch.equal(parameter, before[plain]):
            moved.add(name.partition(".")[0])
    wanted = {"adapter"} if settings.lora else {"expert", "action_in_proj", "action_out_proj"}
    assert moved == wanted
