"""A tower learns to read drawn sights, goes on after an interruption bit by bit, and ends in a checkpoint."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from alpamayo_ros.model.network import VisualFeatures
from alpamayo_ros.model.plan_options import recommended_options, write_recommended
from alpamayo_ros.training.perception.network import ReadingHead, SightBatch, reading_loss
from alpamayo_ros.training.perception.run import PerceptionRun, PerceptionSettings
from alpamayo_ros.training.perception.samples import Sight
from alpamayo_ros.training.perception.surroundings import GRID_SHAPE, HOW_FAR, YES_OR_NO, Surroundings
from alpamayo_ros.training.small_checkpoint import SmallSize, write_small_checkpoint
from alpamayo_ros.training.tower_attention import attend_in_batches
from alpamayo_ros.training.trainer_model import TrainableModel
from alpamayo_ros.types import InvalidInput, PlanOptions

TINY = SmallSize(
    layers=2, hidden=64, mlp=64, heads=2, kv_heads=1,
    vision_depth=2, vision_hidden=64, vision_mlp=64, vision_heads=2, deepstack=(0,),
    expert_hidden=64, expert_mlp=64, action_hidden=64,
)  # fmt: skip


class DrawnSights:
    """The road is as bright as it is wide: something that one picture tells."""

    camera_ids = (1, 6)

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Sight:
        bright = (index * 37) % 200
        frames = np.full((2, 3, 96, 160), bright, np.uint8)
        far = np.full(len(HOW_FAR), np.nan, np.float32)
        far[0] = bright / 100 - 1
        grid = np.zeros(GRID_SHAPE, np.uint8)
        grid[0, :, : 1 + bright // 20] = 1
        yes = np.full(len(YES_OR_NO), bright > 100, np.uint8)
        return Sight(frames, Surroundings(grid, yes, far))


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_checkpoint(tmp_path_factory.mktemp("see") / "tiny", ["Keep the lane."], size=TINY)


def load(start: Path) -> TrainableModel:
    return TrainableModel.load(start, device=torch.device("cpu"), dtype=torch.float32)


def new_run(start: Path, folder: Path, **changes: float) -> PerceptionRun:
    settings = replace(
        PerceptionSettings(steps=24, batch_size=4, warmup_steps=4, peak_rate=3e-3, ema_decay=0.8), **changes
    )
    train, held_out = DrawnSights(16), DrawnSights(4)
    return PerceptionRun(load(start), train, settings=settings, folder=folder, held_out=held_out)  # type: ignore[arg-type]


def test_it_learns_and_its_checkpoint_loads(start: Path, tmp_path: Path) -> None:
    run = new_run(start, tmp_path / "run")
    before = run.evaluate()
    after = run.run()
    assert after["loss"] < 0.6 * before["loss"]
    run.export(start, tmp_path / "checkpoint")
    old, new = load_file(start / "model.safetensors"), load_file(tmp_path / "checkpoint/model.safetensors")
    changed = {name for name in old if not torch.equal(old[name], new[name])}
    assert changed and all(name.startswith("vlm.model.visual.") for name in changed)
    load(tmp_path / "checkpoint")


def test_how_plans_are_best_drawn_is_kept(start: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    shutil.copytree(start, own)
    write_recommended(own, PlanOptions(top_k=1))
    new_run(own, tmp_path / "run", steps=1).export(own, tmp_path / "checkpoint")
    assert recommended_options(tmp_path / "checkpoint") == PlanOptions(top_k=1)


def test_going_on_gives_the_same_weights_bit_by_bit(start: Path, tmp_path: Path) -> None:
    through = new_run(start, tmp_path / "through", steps=6)
    through.run()
    stopped = new_run(start, tmp_path / "stopped", steps=6, save_every=1)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        take = stopped._take_step
        patch.setattr(stopped, "_take_step", lambda: take() if stopped.step < 3 else _interrupt())
        stopped.run()
    again = new_run(start, tmp_path / "stopped", steps=6)
    assert again.step == 3
    again.run()
    for name, value in through._average.values.items():
        assert torch.equal(value, again._average.values[name]), name


def _interrupt() -> None:
    raise KeyboardInterrupt


def test_other_settings_are_refused(start: Path, tmp_path: Path) -> None:
    new_run(start, tmp_path / "run", steps=2).run()
    with pytest.raises(InvalidInput, match="expected a run of"):
        new_run(start, tmp_path / "run", steps=3)


def test_a_state_of_another_head_is_refused(start: Path, tmp_path: Path) -> None:
    new_run(start, tmp_path / "run", steps=2).run()
    path = tmp_path / "run" / "state.pt"
    state = torch.load(path, weights_only=True)
    del state["weights"]["sector_head.out.weight"]
    torch.save(state, path)
    with pytest.raises(InvalidInput, match=r"expected weights of .*, got .* without sector_head.out.weight"):
        new_run(start, tmp_path / "run", steps=2)


def test_attention_in_batches_is_the_towers_own(start: Path) -> None:
    model = load(start)
    frames = np.random.default_rng(0).integers(0, 255, (3, 3, 96, 160), dtype=np.uint8)
    pixel_values, grid = model.images.patchify([frames])
    own = model.network.encode_images(pixel_values, grid)
    attend_in_batches(model.network.vlm.model.visual, patches=60)
    batched = model.network.encode_images(pixel_values, grid)
    torch.testing.assert_close(batched.embeds, own.embeds, atol=2e-6, rtol=1e-5)
    torch.testing.assert_close(batched.deepstack[0], own.deepstack[0], atol=2e-6, rtol=1e-5)


def test_the_head_reads_what_a_cameras_tokens_have_in_common() -> None:
    torch.manual_seed(0)
    head = ReadingHead(cameras=2, tokens=3, channels=16)
    tokens = torch.randn(6, 16)
    grid, yes, far = head(VisualFeatures(tokens, ()))
    assert grid.shape == (1, *GRID_SHAPE)
    mixed = head(VisualFeatures(tokens[[2, 0, 1, 4, 5, 3]], ()))
    torch.testing.assert_close((grid, yes, far), mixed, atol=1e-5, rtol=1e-5)
    other = head(VisualFeatures(tokens[[3, 4, 5, 0, 1, 2]], ()))
    assert not torch.allclose(far, other[2], atol=1e-3)


def test_unknown_distances_have_no_gradient() -> None:
    batch = SightBatch.of([DrawnSights(1)[0]])
    far = torch.zeros(1, len(HOW_FAR), requires_grad=True)
    grid, yes = torch.zeros(1, *GRID_SHAPE), torch.zeros(1, len(YES_OR_NO))
    total, means, counts = reading_loss((grid, yes, far), batch)
    total.backward()
    assert far.grad is not None and far.grad[0, 0] != 0 and not far.grad[0, 1:].any()
    assert counts["off: left of lane centre"] == 1 and "off: course 5" not in means


def test_no_sights_are_refused() -> None:
    with pytest.raises(InvalidInput, match="expected pictures of one shape"):
        SightBatch.of([])


def test_the_figures_are_those_of_what_is_kept(start: Path, tmp_path: Path) -> None:
    run = new_run(start, tmp_path / "run", steps=8, eval_every=2, peak_rate=1)  # 1: it soon gets worse
    figures = run.run()
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    held_out = [record for record in map(json.loads, lines) if record["kind"] == "held_out"]
    best = min(held_out, key=lambda record: record["loss"])
    assert run.best_step == best["step"] and figures["loss"] == best["loss"]
