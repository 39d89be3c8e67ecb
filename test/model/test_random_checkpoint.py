from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from model_helpers import make_observation
from safetensors.torch import load_file

from alpamayo_ros.cli import main
from alpamayo_ros.model import Alpamayo, PlanOptions
from alpamayo_ros.model.images import ImagePreparer
from alpamayo_ros.model.random_checkpoint import write_random_checkpoint
from alpamayo_ros.model.random_tokenizer import SENTENCES
from alpamayo_ros.types import InvalidInput


@pytest.fixture(scope="module")
def small_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "small"
    assert main.main(["checkpoint", "random", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def small(small_folder: Path) -> Alpamayo:
    return Alpamayo.from_pretrained(small_folder, device="cpu", dtype="float32", progress=False)


def test_its_config_says_that_weights_are_random(small_folder: Path) -> None:
    config = json.loads((small_folder / "config.json").read_text())
    assert config["alpamayo_ros"] == {"random_weights": True, "seed": 0}
    assert config["vlm_name_or_path"] == "backbone"


def test_reasoning_is_made_of_words_and_mostly_ends_by_itself(small: Alpamayo) -> None:
    known = set(" ".join(SENTENCES).replace(",", " ").replace(".", " ").split())
    plans = [small.plan(make_observation(seed), PlanOptions(num_samples=4, seed=seed)) for seed in range(3)]
    complete = [flag for plan in plans for flag in plan.reasoning_complete]
    assert sum(complete) >= 10
    words = [word for plan in plans for text in plan.reasoning for word in text.split()]
    assert len(words) > 30
    assert np.mean([word in known for word in words]) > 0.9
    lengths = [len(tokens) for plan in plans for tokens in plan.token_ids]
    assert 5 < np.mean(lengths) < 40


def test_trajectories_are_moderate(small: Alpamayo) -> None:
    plan = small.plan(make_observation(1), PlanOptions(num_samples=6, seed=1))
    assert np.abs(plan.normalised_action).max() < 6
    assert np.isfinite(plan.xyz_in_rig_t0).all()


def test_the_demos_images_stay_small(small: Alpamayo) -> None:
    assert ImagePreparer(small.config).model_size(1080, 1920) == (96, 160)


def test_seeds_give_other_weights_and_the_same_seed_the_same(tmp_path: Path) -> None:
    stored = [
        load_file(write_random_checkpoint(tmp_path / name, size="tiny", seed=seed) / "model.safetensors")
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    name = "expert.layers.0.mlp.up_proj.weight"
    assert stored[0][name].equal(stored[1][name])
    assert not stored[0][name].equal(stored[2][name])


def test_generations_store_what_the_released_ones_store(tmp_path: Path) -> None:
    names = {}
    for generation in ("alpamayo_r1", "alpamayo1_5"):
        folder = write_random_checkpoint(tmp_path / generation, generation=generation, size="tiny")
        names[generation] = set(load_file(folder / "model.safetensors"))
    extra = names["alpamayo_r1"] - names["alpamayo1_5"]
    assert extra == {
        *(f"action_in_proj.{name}.freqs" for name in ("sinus.0", "sinus.1", "timestep_fourier_encoder")),
        *(f"action_space.{name}" for name in ("accel_mean", "accel_std", "curvature_mean", "curvature_std")),
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"generation": "alpamayo2_super"}, "generation: expected one of alpamayo_r1, alpamayo1_5, got"),
        ({"size": "huge"}, "size: expected one of tiny, small, got huge"),
    ],
)
def test_unknown_kinds_are_refused(tmp_path: Path, arguments, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        write_random_checkpoint(tmp_path / "new", **arguments)
    assert not (tmp_path / "new").exists()


def test_a_checkpoint_is_not_overwritten(small_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["checkpoint", "random", str(small_folder)]) == 2
    assert "expected a new folder" in capsys.readouterr().err


def test_describe(small_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["checkpoint", "describe", str(small_folder)]) == 0
    output = capsys.readouterr().out
    assert "RANDOM (seed 0)" in output
    assert "alpamayo1_5" in output
    assert "1080 x 1920 becomes 96 x 160, 15 tokens an image" in output


def test_describe_refuses_what_does_not_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_random_checkpoint(tmp_path / "spoilt", size="tiny")
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    assert main.main(["checkpoint", "describe", str(folder)]) == 2
    assert "truncated" in capsys.readouterr().err


def test_describe_golden(golden, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [str(golden.folder / "checkpoint"), "--backbone", str(golden.folder / "backbone")]
    assert main.main(["checkpoint", "describe", *arguments]) == 0
    output = capsys.readouterr().out
    assert "trained (not marked as random)" in output
    assert golden.config.generation in output
