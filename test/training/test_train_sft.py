"""`alpamayo train sft` and `export` on a data set on disk."""

from __future__ import annotations

from pathlib import Path

import pytest
from episode_factory import data_set, episode

from alpamayo_ros.cli import main
from alpamayo_ros.model import Alpamayo, PlanOptions
from alpamayo_ros.training.dataset import EpisodeSamples
from alpamayo_ros.training.labels.reasonings import FILE_NAME, Decision, Reasoning, ReasoningFile
from alpamayo_ros.training.metrics import read_metrics
from alpamayo_ros.training.sample import ReasoningSource
from alpamayo_ros.training.small_checkpoint import SmallSize, write_small_checkpoint
from alpamayo_ros.training.trainer_state import load_settings

HUMAN, MODEL = ReasoningSource.HUMAN, ReasoningSource.MODEL
VALIDATION_SEED = 185
TINY = SmallSize(
    layers=1, hidden=64, mlp=64, heads=2, kv_heads=1,
    vision_depth=1, vision_hidden=16, vision_mlp=16, vision_heads=2, deepstack=(),
    expert_hidden=32, expert_mlp=32, action_hidden=32,
)  # fmt: skip
QUICK = [
    *("--batch-size", "2", "--eval-every", "2", "--eval-samples", "2"),
    *("--save-every", "2", "--log-every", "1", "--device", "cpu"),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return data_set(tmp_path_factory.mktemp("data"), [episode(100), episode(VALIDATION_SEED)])


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_checkpoint(tmp_path_factory.mktemp("start") / "tiny", ["Keep lane."], size=TINY)


def sft(*arguments: object) -> int:
    return main.main(["train", "sft", *QUICK, *map(str, arguments)])


def test_both_stages_run_go_on_and_are_exported(
    data: Path, start: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    given = ["--data", data, "--checkpoint", start, "--out", run, "--steps", 4, "--balance", "recovery"]
    assert sft(*given, "--stage", 1) == 0
    assert sft(*given) == 0
    said = capsys.readouterr().out
    assert "stage 1: goes on behind step 4" in said and "stage 2: finished at step 4, held-out loss" in said
    for stage in (1, 2):
        kinds = [record["kind"] for record in read_metrics(run / f"stage{stage}")]
        assert kinds.count("train") == 4 and kinds.count("held_out") == 2
    assert main.main(["train", "export", str(run), str(out), "--dtype", "bfloat16"]) == 0
    assert "M parameters, " in capsys.readouterr().out
    planner = Alpamayo.from_pretrained(out, device="cpu", dtype="float32", progress=False)
    observation = EpisodeSamples(data, split="validation")[0].observation
    plan = planner.plan(observation, PlanOptions(max_reasoning_tokens=3, seed=1))
    assert plan.xyz_in_rig_t0.shape == (1, 64, 3)


def test_several_data_sets_are_trained_on_as_one(data: Path, start: Path, tmp_path: Path) -> None:
    other = data_set(tmp_path / "other", [episode(101)])
    given = ["--checkpoint", start, "--out", tmp_path / "run", "--steps", 2, "--stage", 1]
    assert sft("--data", data, other, *given, "--balance", "family") == 0
    assert sft("--data", other, other, *given) == 2
    assert sft("--data", data, *given, "--balance", "family") == 2  # not what the run was begun with


def test_a_small_member_is_made_from_the_data(data: Path, tmp_path: Path) -> None:
    given: list[object] = ["--data", data, "--checkpoint", "small:4M", "--out", tmp_path / "run"]
    given += ["--steps", 1, "--stage", 1]
    assert sft(*given) == 0
    assert (tmp_path / "run" / "start" / "config.json").exists()
    assert load_settings(tmp_path / "run" / "stage1").peak_rate == 1e-3
    assert sft(*given) == 0  # with the start that is there
    # A run may be moved: its start lies in it.
    moved = (tmp_path / "run").rename(tmp_path / "elsewhere")
    assert main.main(["train", "export", str(moved), str(tmp_path / "out")]) == 0


@pytest.mark.parametrize(
    ("more", "stages"), [(["--expert-only"], [2]), (["--lora", "--lora-rank", 2, "--stage", 1], [1])]
)
def test_adapters_and_the_expert_alone(
    data: Path, start: Path, tmp_path: Path, more: list[object], stages: list[int]
) -> None:
    assert sft("--data", data, "--checkpoint", start, "--out", tmp_path, "--steps", 1, *more) == 0
    assert [stage for stage in (1, 2) if (tmp_path / f"stage{stage}").exists()] == stages


def test_what_people_decided_is_learned_where_that_is_asked_for(
    start: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = data_set(tmp_path / "data", [episode(100)])
    given = ["--data", data, "--checkpoint", start, "--out", tmp_path / "run", "--stage", 2, "--steps", 1]
    assert sft(*given, "--reasonings", "human") == 2  # nobody has decided anything
    assert "expected texts of source human" in capsys.readouterr().err
    sample_id = EpisodeSamples(data, split="train")[0].sample_id
    with ReasoningFile(data / FILE_NAME) as file:
        file.add([Reasoning(sample_id, MODEL, "Slow down for the fog.", "vlm")])
        file.add([Reasoning(sample_id, HUMAN, "Stop for the dog.", "kim", Decision.EDIT, MODEL)])
    assert sft(*given, "--reasonings", "human") == 0
    assert "1 decisions of people over the automatic ones" in capsys.readouterr().err
    assert load_settings(tmp_path / "run" / "stage2").reasonings.startswith("human sha256:")
    assert sft(*given) == 2  # not the same run with the automatic ones alone
    said = capsys.readouterr().err
    assert "reasonings.jsonl is not used" in said
    assert "expected the run's own settings: reasonings human sha256:" in said
    # They do reach the model: a text that it cannot be taught is refused.
    with ReasoningFile(data / FILE_NAME) as file:
        file.add(
            Reasoning(f"straight-100.0/{tick}", MODEL, "<|cot_end|>", "vlm") for tick in range(5) if tick
        )
    given[5] = tmp_path / "other"
    assert sft(*given, "--reasonings", "model") == 2
    assert "special token" in capsys.readouterr().err


def test_without_held_out_samples_it_says_so(
    start: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = data_set(tmp_path / "data", [episode(100)])
    given = ["--data", data, "--checkpoint", start, "--out", tmp_path / "run", "--steps", 1, "--stage", 2]
    assert sft(*given) == 0
    assert "no held-out samples, so the last weights are the best" in capsys.readouterr().err
    assert sft(*given, "--patience", 1) == 2


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--steps", 0], "steps: expected at least 1, got 0"),
        (["--device", "tpu"], "device: expected auto, cpu, cuda"),
        (["--expert-only", "--stage", "1"], "expert-only: expected stage 2"),
        (["--data", "nowhere"], "nowhere"),
        (["--checkpoint", "small:70B"], "size: expected one of 1M, 4M, 7M, 10M, got 70B"),
        (["--balance", "colour"], "by: expected tags that samples have"),
    ],
)
def test_bad_input_is_refused(
    data: Path,
    start: Path,
    tmp_path: Path,
    more: list[object],
    says: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert sft("--data", data, "--checkpoint", start, "--out", tmp_path / "run", *more) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "run" / "stage1").exists()
