"""The whole way: a new checkpoint, both stages, export, and a planner that has learned them by heart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sft_samples import Samples, make_sample

from alpamayo_ros.model import Alpamayo, PlanOptions
from alpamayo_ros.training.export import export_checkpoint
from alpamayo_ros.training.losses import SpanWeights
from alpamayo_ros.training.metrics import read_metrics
from alpamayo_ros.training.settings import TrainSettings
from alpamayo_ros.training.small_checkpoint import SmallSize, write_small_checkpoint
from alpamayo_ros.training.small_tokenizer import texts_of
from alpamayo_ros.training.targets import action_statistics
from alpamayo_ros.training.trainer import Trainer
from alpamayo_ros.training.trainer_run import RunFolder, RunStart

TINY = SmallSize(
    layers=3, hidden=96, mlp=192, heads=3, kv_heads=1,
    vision_depth=2, vision_hidden=64, vision_mlp=128, vision_heads=2, deepstack=(0,),
    expert_hidden=96, expert_mlp=192, action_hidden=96,
)  # fmt: skip
STAGES = (
    TrainSettings(
        stage=1, steps=70, peak_rate=4e-3, warmup_steps=20, ema_decay=0.9,
        span_weights=SpanWeights(5.0, 2.0, 1.0)
    ),
    TrainSettings(
        stage=2, steps=220, peak_rate=4e-3, warmup_steps=20, ema_decay=0.98, flow_draws=4,
        vision_cache_bytes=10**8,
    ),
)  # fmt: skip


@pytest.mark.long
def test_eight_samples_are_learned_by_heart(tmp_path: Path) -> None:
    source = Samples(tuple(make_sample(index, cameras=(1,)) for index in range(8)))
    start = write_small_checkpoint(
        tmp_path / "start", texts_of(source), size=TINY, statistics=action_statistics(source)
    )
    folder = RunFolder.create(tmp_path / "run", RunStart(str(start)))
    cpu = torch.device("cpu")
    for settings in STAGES:
        model = folder.load(device=cpu, stages=folder.trained_stages())
        Trainer(model, source, settings=settings, folder=folder.stage(settings.stage)).run()
        losses = [each["loss"] for each in read_metrics(folder.stage(settings.stage))]
        assert np.mean(losses[-3:]) < 0.5 * losses[0], losses
    trained = folder.load(device=cpu, stages=(1, 2))
    exported = export_checkpoint(trained.opened, tmp_path / "exported", dtype=torch.float32)
    planner = Alpamayo.from_pretrained(exported.folder, device="cpu", dtype="float32", progress=False)
    ades_m = []
    for sample in source.items:
        plan = planner.plan(
            sample.observation, PlanOptions(num_samples=6, top_k=1, seed=0, max_reasoning_tokens=64)
        )
        assert plan.reasoning == (sample.reasoning,) * 6
        assert plan.meta_action == (sample.meta_action,) * 6
        off = plan.xyz_in_rig_t0[plan.chosen, :, :2] - sample.future_xyz_in_rig_t0[:, :2]
        ades_m.append(float(np.linalg.norm(off, axis=-1).mean()))
    # Of futures that are some 50 m long and differ by tens of metres.
    assert np.mean(ades_m) < 2.0, ades_m
