"""New small checkpoints are in the released layout, small enough to ship, and speak their data's words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from sft_samples import REASONS, Samples, make_sample, samples

from alpamayo_ros.model import Alpamayo, PlanOptions
from alpamayo_ros.model.images import ImagePreparer
from alpamayo_ros.training.small_checkpoint import (
    IMAGE_HEIGHT,
    IMAGE_WIDTH,
    SMALL_SIZES,
    SmallSize,
    write_small_checkpoint,
)
from alpamayo_ros.training.small_tokenizer import texts_of, write_small_tokenizer
from alpamayo_ros.training.targets import ActionStatistics
from alpamayo_ros.types import InvalidInput

MB = 1e6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_checkpoint(
        tmp_path_factory.mktemp("small") / "4M",
        texts_of(samples(8)),
        size="4M",
        statistics=ActionStatistics(accel_std_mps2=1.5),
    )


@pytest.fixture(scope="module")
def planner(folder: Path) -> Alpamayo:
    return Alpamayo.from_pretrained(folder, device="cpu", dtype="float32", progress=False)


@pytest.mark.parametrize(("size", "millions"), [("4M", (3, 5)), ("10M", (8, 11.5))])
def test_sizes_are_what_their_names_say_and_small_enough_to_ship(
    tmp_path: Path, size: str, millions: tuple[float, float]
) -> None:
    folder = write_small_checkpoint(tmp_path / size, [text for text, _ in REASONS], size=size)
    stored = (folder / "model.safetensors").stat().st_size
    assert millions[0] < stored / 4 / MB < millions[1]
    assert sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) < 40 * MB


def test_it_loads_and_plans_and_is_not_called_random(planner: Alpamayo) -> None:
    plan = planner.plan(make_sample(0).observation, PlanOptions(max_reasoning_tokens=4, seed=0))
    assert plan.xyz_in_rig_t0.shape == (1, 64, 3)
    assert "random" not in planner.model_id


def test_images_keep_their_size_and_a_cameras_aspect_gives_it(planner: Alpamayo) -> None:
    images = ImagePreparer(planner.config)
    for height, width in ((IMAGE_HEIGHT, IMAGE_WIDTH), (1080, 1920), (1208, 1920), (320, 576), (192, 320)):
        assert images.model_size(height, width) == (IMAGE_HEIGHT, IMAGE_WIDTH)


def test_a_reasoning_is_about_a_token_a_word(planner: Alpamayo) -> None:
    from alpamayo_ros.model.tokenizer import AlpamayoTokenizer

    tokenizer = AlpamayoTokenizer.load(planner.backbone_folder, planner.config)
    for text, meta in REASONS:
        assert len(tokenizer.encode(text)) <= len(text.split()) + 3
        assert tokenizer.decode(tokenizer.encode(text)) == text
        assert tokenizer.decode(tokenizer.encode(meta)) == meta
    unknown = "Überholverbot für Züge! 7"
    assert tokenizer.decode(tokenizer.encode(unknown)) == unknown


def test_the_action_scale_is_the_datas(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    for section in (config["action_space_cfg"], config["traj_tokenizer_cfg"]["action_space_cfg"]):
        assert section["accel_std"] == 1.5 and section["curvature_std"] == 0.026


def test_seeds_give_other_weights(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    size = SmallSize(
        layers=1, hidden=64, mlp=64, heads=2, kv_heads=1,
        vision_depth=1, vision_hidden=16, vision_mlp=16, vision_heads=2, deepstack=(),
        expert_hidden=32, expert_mlp=32, action_hidden=32,
    )  # fmt: skip
    made = [
        load_file(
            write_small_checkpoint(tmp_path / f"{i}", ["Stop."], size=size, seed=seed) / "model.safetensors"
        )
        for i, seed in enumerate((0, 0, 1))
    ]
    name = "expert.layers.0.mlp.up_proj.weight"
    assert torch.equal(made[0][name], made[1][name])
    assert not torch.equal(made[0][name], made[2][name])


def test_texts_are_those_of_all_samples_once() -> None:
    found = texts_of(Samples((make_sample(0), make_sample(0), make_sample(1, instruction="Turn left"))))
    assert found == tuple(sorted({*REASONS[0], *REASONS[1], "Turn left"}))


def test_refuses(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(InvalidInput, match="size: expected one of 1M, 4M, 7M, 10M, got 70B"):
        write_small_checkpoint(tmp_path / "a", [], size="70B")
    with pytest.raises(InvalidInput, match=r"expected a new folder, got one that holds a config.json"):
        write_small_checkpoint(folder, [])
    with pytest.raises(InvalidInput, match="vocab_size: expected at least 257, got 100"):
        write_small_tokenizer(tmp_path, [], vocab_size=100)
    with pytest.raises(InvalidInput, match="samples: expected at least 1, got 0"):
        texts_of(Samples(()))
    values = vars(SMALL_SIZES["4M"])
    with pytest.raises(InvalidInput, match="heads: expected a multiple of kv_heads 4, got 6"):
        SmallSize(**{**values, "kv_heads": 4})
    with pytest.raises(InvalidInput, match=r"deepstack: expected layers 0 \.\.\. 2, got"):
        SmallSize(**{**values, "deepstack": (3,)})
    with pytest.raises(InvalidInput, match="vision_hidden: expected a multiple of 4"):
        SmallSize(**{**values, "vision_hidden": 100})
