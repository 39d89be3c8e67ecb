"""What is exported is a checkpoint like a released one, with the trained weights in it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from sft_samples import Samples, make_sample

from alpamayo_ros.cli import main
from alpamayo_ros.model import Alpamayo, PlanOptions
from alpamayo_ros.model.checkpoint import StoredCheckpoint
from alpamayo_ros.model.plan_options import recommended_options, write_recommended
from alpamayo_ros.training.export import export_checkpoint
from alpamayo_ros.training.settings import LoraSettings, TrainSettings
from alpamayo_ros.training.small_checkpoint import SmallSize, write_small_checkpoint
from alpamayo_ros.training.trainer import Trainer
from alpamayo_ros.training.trainer_model import TrainableModel
from alpamayo_ros.training.trainer_run import RunFolder, RunStart
from alpamayo_ros.types import InvalidInput

CPU = torch.device("cpu")
SOURCE = Samples((make_sample(0, cameras=(1,)),))
ONE_STEP = TrainSettings(stage=2, steps=1, batch_size=1, warmup_steps=0, peak_rate=1e-2, ema_decay=0.0)
TINY = SmallSize(
    layers=1, hidden=64, mlp=64, heads=2, kv_heads=1,
    vision_depth=1, vision_hidden=16, vision_mlp=16, vision_heads=2, deepstack=(),
    expert_hidden=32, expert_mlp=32, action_hidden=32,
)  # fmt: skip


def load(folder: Path) -> TrainableModel:
    return TrainableModel.load(folder / "checkpoint", folder / "backbone", device=CPU, dtype=torch.float32)


@pytest.mark.parametrize("generation", ["alpamayo1_5", "alpamayo_r1"])
def test_an_untrained_export_plans_as_its_start(golden_dir: Path, tmp_path: Path, generation: str) -> None:
    golden = golden_dir / generation
    exported = export_checkpoint(load(golden).opened, tmp_path / "out", dtype=torch.float32)
    stored = [StoredCheckpoint.open(folder).tensors for folder in (golden / "checkpoint", exported.folder)]
    assert stored[0].keys() == stored[1].keys()
    options = PlanOptions(max_reasoning_tokens=6, top_k=1, seed=3)
    start = Alpamayo.from_pretrained(
        golden / "checkpoint", golden / "backbone", device="cpu", dtype="float32", progress=False
    )
    again = Alpamayo.from_pretrained(exported.folder, device="cpu", dtype="float32", progress=False)
    plans = [model.plan(SOURCE[0].observation, options) for model in (start, again)]
    assert plans[0].token_ids == plans[1].token_ids
    assert (plans[0].xyz_in_rig_t0 == plans[1].xyz_in_rig_t0).all()


def test_the_size_said_is_the_size_on_disk_and_bfloat16_is_half(golden_dir: Path, tmp_path: Path) -> None:
    opened = load(golden_dir / "alpamayo1_5").opened
    single, half = (
        export_checkpoint(opened, tmp_path / str(dtype), dtype=dtype)
        for dtype in (torch.float32, torch.bfloat16)
    )
    assert single.num_bytes == sum(f.stat().st_size for f in single.folder.rglob("*") if f.is_file())
    assert single.num_parameters == half.num_parameters == opened.stored.num_parameters
    weights = [(each.folder / "model.safetensors").stat().st_size for each in (single, half)]
    assert weights[1] == pytest.approx(weights[0] / 2, rel=0.02)


def test_how_plans_are_drawn_goes_on_with_the_weights(tmp_path: Path) -> None:
    """Or a policy's iterations would be judged drawn otherwise than its start."""
    start = write_small_checkpoint(tmp_path / "start", ["Stop."], size=TINY)
    write_recommended(start, PlanOptions(noise_temperature=0.3, top_k=1))
    opened = TrainableModel.load(start, device=CPU, dtype=torch.float32).opened
    kept = export_checkpoint(opened, tmp_path / "kept", dtype=torch.float32)
    assert recommended_options(kept.folder) == PlanOptions(noise_temperature=0.3, top_k=1)
    folder = RunFolder.create(tmp_path / "run", RunStart(str(start)))
    Trainer(folder.load(device=CPU, stages=()), SOURCE, settings=ONE_STEP, folder=folder.stage(2)).run()
    asked = ["--plan-options", "noise_temperature=0,num_samples=2"]
    assert main.main(["train", "export", str(folder.path), str(tmp_path / "asked"), *asked]) == 0
    wanted = PlanOptions(noise_temperature=0.0, num_samples=2, top_k=1)
    assert recommended_options(tmp_path / "asked") == wanted


def test_a_run_of_adapters_and_expert_is_exported_with_both(tmp_path: Path) -> None:
    start = write_small_checkpoint(tmp_path / "start", ["Stop."], size=TINY)
    folder = RunFolder.create(tmp_path / "run", RunStart(str(start)))
    stages = (replace(ONE_STEP, stage=1, lora=LoraSettings(2, 4.0)), ONE_STEP)
    for settings in stages:
        model = folder.load(device=CPU, stages=folder.trained_stages())
        Trainer(model, SOURCE, settings=settings, folder=folder.stage(settings.stage)).run()
    trained = {name: value.clone() for name, value in model.network.named_parameters()}
    assert main.main(["train", "export", str(folder.path), str(tmp_path / "out")]) == 0
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["vlm_name_or_path"] == "backbone"
    assert set(config["alpamayo_ros"]["training"]["stages"]) == {"1", "2"}
    again = Alpamayo.from_pretrained(tmp_path / "out", device="cpu", dtype="float32", progress=False)
    for name, value in again.network.named_parameters():
        torch.testing.assert_close(value, trained[name], rtol=1e-6, atol=1e-7)
    first = TrainableModel.load(start, device=CPU, dtype=torch.float32)
    changed = {
        name.partition(".")[0]
        for name, value in first.network.named_parameters()
        if not torch.equal(value, trained[name])
    }
    assert changed == {"vlm", "expert", "action_in_proj", "action_out_proj"}


def test_refuses(golden_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = load(golden_dir / "alpamayo1_5")
    with pytest.raises(InvalidInput, match=r"expected a new folder, got one that holds a config.json"):
        export_checkpoint(model.opened, golden_dir / "alpamayo1_5" / "checkpoint", dtype=torch.float32)
    model.prepare(replace(ONE_STEP, lora=LoraSettings(2, 4.0)))
    with pytest.raises(InvalidInput, match="export: expected merged adapters"):
        export_checkpoint(model.opened, tmp_path / "out", dtype=torch.float32)
    assert main.main(["train", "export", str(tmp_path / "none"), str(tmp_path / "out")]) == 2
    assert "expected what `alpamayo train sft` writes" in capsys.readouterr().err
    folder = RunFolder.create(tmp_path / "run", RunStart("somewhere"))
    assert main.main(["train", "export", str(folder.path), str(tmp_path / "out")]) == 2
    assert "expected a stage that has been trained, got none" in capsys.readouterr().err
    with pytest.raises(InvalidInput, match=r"expected a run from .*elsewhere.*, got one from .*somewhere"):
        RunFolder.create(tmp_path / "run", RunStart("elsewhere"))
    with pytest.raises(InvalidInput, match="dtype: expected one of float32, bfloat16, got int8"):
        RunStart("somewhere", dtype="int8")


def test_the_config_tells_of_all_trainings(golden_dir: Path, tmp_path: Path) -> None:
    first = export_checkpoint(
        load(golden_dir / "alpamayo1_5").opened,
        tmp_path / "first",
        dtype=torch.float32,
        training={"stages": 1},
    )
    untouched, second = (
        export_checkpoint(
            TrainableModel.load(first.folder, device=CPU, dtype=torch.float32).opened,
            tmp_path / name,
            dtype=torch.float32,
            training=training,
        )
        for name, training in (("untouched", None), ("second", {"stages": 2}))
    )
    told = [json.loads((each.folder / "config.json").read_text()) for each in (untouched, second)]
    trainings = [each["alpamayo_ros"]["training"] for each in told]
    assert trainings == [{"stages": 1}, {"stages": 2, "before": {"stages": 1}}]
