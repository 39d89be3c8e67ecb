"""The whole loop on a tiny checkpoint, stopped after each of its steps, and what the command refuses."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest
from road_factory import make_all

from alpamayo_ros.cli.main import main
from alpamayo_ros.cli.sim_checkpoint import CheckpointSource
from alpamayo_ros.cli.train_road import describe
from alpamayo_ros.sim.planner_sources import ConstantSource
from alpamayo_ros.sim.rollout_driver import PlannerSource
from alpamayo_ros.sim.world import ProceduralWorld
from alpamayo_ros.training.closed_loop import checkpoint_identity
from alpamayo_ros.training.dataset import EpisodeSamples
from alpamayo_ros.training.labels.chosen import ChosenReasonings
from alpamayo_ros.training.labels.reasonings import Reasoning
from alpamayo_ros.training.road_guidance import Guidance
from alpamayo_ros.training.road_run import Machine, Policies, RoadFailed, RoadRun
from alpamayo_ros.training.road_settings import RoadSettings
from alpamayo_ros.training.sample import ReasoningSource
from alpamayo_ros.training.settings import TrainSettings
from alpamayo_ros.training.shards import open_writer
from alpamayo_ros.training.simulate import PictureSettings
from alpamayo_ros.training.simulate_all import SimulationRun
from alpamayo_ros.types import InvalidInput, Planner, PlanOptions, PrepareFrame

SCENES = ("straight-100", "curve-101")
JUDGED = "curve-181"
PICTURES = PictureSettings(camera_ids=(1,), height=96, width=160, render_height=96, render_width=160)
QUICK = PlanOptions(max_reasoning_tokens=4, flow_steps=2)
GUIDANCE = Guidance(num_samples=2, near_m=1.5, recovery_ticks=2)
STAGES = tuple(
    TrainSettings(stage=stage, steps=2, batch_size=2, warmup_steps=1, flow_draws=1, checkpoint_every=1)
    for stage in (1, 2)
)


@dataclass(frozen=True)
class Start:
    """A tiny checkpoint and the data that it could have been cloned from."""

    checkpoint: Path
    data: Path


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Start:
    from alpamayo_ros.training.small_checkpoint import SmallSize, write_small_checkpoint
    from alpamayo_ros.training.small_tokenizer import texts_of
    from alpamayo_ros.training.targets import action_statistics

    folder = tmp_path_factory.mktemp("road")
    make_all(SimulationRun(SCENES, folder / "data", disturbed=0, pictures=PICTURES, ticks=4))
    samples = EpisodeSamples(folder / "data", split="train")
    tiny = SmallSize(
        layers=2, hidden=64, mlp=128, heads=2, kv_heads=1,
        vision_depth=2, vision_hidden=64, vision_mlp=128, vision_heads=2, deepstack=(0,),
        expert_hidden=64, expert_mlp=128, action_hidden=64,
    )  # fmt: skip
    write_small_checkpoint(
        folder / "start", texts_of(samples), size=tiny, statistics=action_statistics(samples)
    )
    return Start(folder / "start", folder / "data")


def source_of(options: PlanOptions) -> Callable[[str, str | None], PlannerSource]:
    return lambda checkpoint, backbone: CheckpointSource(checkpoint, backbone, options, (1,), "cpu")


def road(start: Start, out: Path, **changes: object) -> RoadRun:
    import torch

    settings = RoadSettings(
        checkpoint=str(start.checkpoint),
        data=start.data,
        scene_ids=SCENES,
        judged_scene_ids=(JUDGED,),
        stages=STAGES,
        episodes=2,
        ticks=4,
        guidance=GUIDANCE,
    )
    policies = Policies(source_of(replace(QUICK, num_samples=2)), source_of(QUICK))
    whole = RoadRun(out, settings, policies, Machine(torch.device("cpu")))
    return replace(whole, **changes)  # type: ignore[arg-type]


class Killed(Exception):
    """Out of the blue."""


def digests(folder: Path) -> dict[str, str]:
    """Content of all that a run leaves for its users."""
    kept = [
        path
        for pattern in ("**/*.safetensors", "**/metrics.json", "**/index.jsonl", "**/score.json")
        for path in folder.glob(pattern)
    ]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in kept}


def test_an_iteration_learns_from_its_rollouts_and_leaves_a_policy(start: Start, tmp_path: Path) -> None:
    """Stopped behind every step; the pictures are plain and what is scored needs none, all else is real."""
    run = road(start, tmp_path / "out")
    run = replace(run, policies=Policies(run.policies.guided, lambda checkpoint, backbone: ConstantSource()))
    run.out.mkdir()
    run.settings.settle(run.out)
    make_all(run.rollouts(1))
    told: list[str] = []

    def kill(line: str) -> None:
        told.append(line)
        raise Killed(line)

    for _ in range(5):
        with pytest.raises(Killed):
            replace(run, tell=kill).run(1)
    assert [line.split()[2] for line in told] == ["scores", "stage", "stage", "wrote", "scores"]
    (figures,) = run.run(1)
    assert run.run(1) == [figures]
    assert figures["rollouts"]["ticks"] == 8
    # Both scores are of the same planner, so they do not differ.
    assert figures["against_start"]["scene_score"] == {
        "mean": 0.0,
        "ci95": [0.0, 0.0],
        "n": 1,
        "excludes_zero": False,
    }
    learned, before = (
        checkpoint_identity(str(each)) for each in (tmp_path / "out/iteration1/checkpoint", start.checkpoint)
    )
    assert learned != before

    # The next iteration starts from there, and learns from the rollouts of both.
    make_all(run.rollouts(2))
    assert [each["iteration"] for each in run.run(2)] == [1, 2]
    started = json.loads((run.folder(2) / "run" / "run.json").read_text("utf-8"))
    assert started["checkpoint"] == "../../iteration1/checkpoint"


@pytest.mark.long
def test_a_run_that_is_stopped_behind_every_step_is_the_run_that_went_through(
    start: Start, tmp_path: Path
) -> None:
    whole, steps = tmp_path / "whole", list[str]()
    (figures,) = road(start, whole, tell=steps.append).run(1)
    assert len(steps) == 7, steps  # the start's score, two rollouts, two stages, the checkpoint, its score

    def kill(line: str) -> None:
        raise Killed(line)

    stopped = tmp_path / "stopped"
    for _ in steps:
        with pytest.raises(Killed):
            road(start, stopped, tell=kill).run(1)
    told: list[str] = []
    assert road(start, stopped, tell=told.append).run(1) == [figures] and told == []
    assert digests(stopped) == digests(whole)

    # What was learned from are the policy's states, told apart from the original data.
    rollouts = EpisodeSamples(whole / "iteration1" / "rollouts", split="train")
    assert len(rollouts) == 2 * 4
    assert {tags["iteration"] for tags in rollouts.all_tags()} == {"1"}
    assert figures["rollouts"]["ticks"] == 2 * 4
    assert figures["against_start"]["scene_score"]["n"] == 1

    # One more iteration starts from what came out, and learns from both iterations' rollouts.
    again = road(start, whole).run(2)
    assert again[0] == figures and again[1]["iteration"] == 2
    run = json.loads((whole / "iteration2" / "run" / "run.json").read_text())
    assert run["checkpoint"] == "../../iteration1/checkpoint"
    with pytest.raises(
        InvalidInput, match="expected the settings that this run was begun with: seed 0, not 1"
    ):
        road(start, whole, settings=replace(road(start, whole).settings, seed=1)).run(1)


@dataclass(frozen=True)
class BrokenSource:
    """A policy that fails."""

    name: str = "broken"
    camera_ids: ClassVar[tuple[int, ...]] = ()

    def start(self, world: ProceduralWorld, *, seed: int) -> Planner:
        raise RuntimeError("no such policy")

    def prepare_frame(self) -> PrepareFrame | None:
        return None


@pytest.mark.long
def test_rollouts_that_fail_are_not_learned_from(start: Start, tmp_path: Path) -> None:
    whole = road(start, tmp_path / "out")
    broken = Policies(lambda checkpoint, backbone: BrokenSource(), whole.policies.judged)
    settings = replace(whole.settings, judged_scene_ids=())
    with pytest.raises(RoadFailed, match=r"expected 2 rollouts, failed: .*no such policy"):
        replace(whole, policies=broken, settings=settings).run(1)
    assert not (tmp_path / "out" / "iteration1" / "run").exists()
    # With a policy that works the same run goes on.
    (figures,) = replace(whole, settings=settings).run(1)
    assert figures["scores"] is None and figures["rollouts"]["ticks"] == 8


@pytest.mark.long
def test_the_command_goes_on_where_it_was_killed(start: Start, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ["train", "road", "--checkpoint", str(start.checkpoint), "--data", str(start.data)]
    command += ["--out", str(out), "--episodes", "2", "--seconds", "0.3", "--samples", "2", "--judged", "0"]
    command += ["--steps", "2", "--batch-size", "2", "--warmup", "1", "--device", "cpu"]
    child = subprocess.Popen(
        [sys.executable, "-m", "alpamayo_ros.cli.main", *command],
        env={**os.environ, "PYTHONPATH": "src"},
        start_new_session=True,
    )
    index = out / "iteration1" / "rollouts" / "index.jsonl"
    try:
        deadline = time.monotonic() + 300
        while not index.is_file() or not index.read_text():
            assert child.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    first = index.read_text().splitlines()[0]
    assert main(command) == 0
    assert index.read_text().splitlines()[0] == first
    from alpamayo_ros.model import Alpamayo

    model = Alpamayo.from_pretrained(out / "iteration1" / "checkpoint", device="cpu", progress=False)
    sample = EpisodeSamples(start.data, split="train")[0]
    assert model.plan(sample.observation, QUICK).num_samples == 1


# ------------------------------------------------------------------------------------------------- refusals


def empty(tmp_path: Path) -> Start:
    """A start and data by name alone: what is refused before either is read."""
    checkpoint = tmp_path / "start"
    checkpoint.mkdir()
    (checkpoint / "config.json").write_text("{}")
    with open_writer(tmp_path / "data", PICTURES.stored_settings()):
        pass
    return Start(checkpoint, tmp_path / "data")


def test_a_folder_is_one_runs_at_a_time(tmp_path: Path) -> None:
    run = road(empty(tmp_path), tmp_path / "out")
    with pytest.raises(InvalidInput, match="iterations: expected at least 1"):
        run.run(0)
    run.out.mkdir()
    with (run.out / ".running").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(InvalidInput, match="expected nobody else to run here"):
            run.run(1)


def test_a_policy_that_looks_elsewhere_than_the_data_is_refused(tmp_path: Path) -> None:
    run = road(empty(tmp_path), tmp_path / "out")
    both = Policies(
        lambda checkpoint, backbone: CheckpointSource(checkpoint, camera_ids=(1, 6)), run.policies.judged
    )
    with pytest.raises(InvalidInput, match=r"expected pictures of the policy's cameras \[1, 6\], got \[1\]"):
        replace(run, policies=both).run(1)


def test_stages_that_name_other_reasonings_are_refused(tmp_path: Path) -> None:
    run = road(empty(tmp_path), tmp_path / "out")
    one = Reasoning("curve-101.0/2", ReasoningSource.MODEL, "Slow down.", "vlm")
    texts = {one.sample_id: {one.source: one}}
    with pytest.raises(InvalidInput, match=r"stage 1: expected reasonings model sha256:.*, got automatic"):
        replace(run, reasonings=ChosenReasonings("model", texts))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (["--reasonings", "model"], "expected texts of source human or model"),
        (["--scenarios", "0-5"], "scenarios: expected scenes of the train split, got straight-0"),
        (["--near", "-1"], "near_m: expected zero or more"),
        (["--compared", "0.05"], "compared_s: expected 0.1"),
        (["--recovery", "0"], "recovery_ticks: expected 1"),
        (["--held", "0"], "held_ticks: expected 1"),
        (["--recovery", "0.55"], "--recovery: expected a multiple of 0.1 s"),
        (["--read-plan"], "read_plan: expected stage 3"),
        (["--samples", "0"], "num_samples: expected at least 1"),
        (["--mix", "0"], "mix: expected a share"),
        (["--episodes", "21"], "episodes: expected 1 ... 20"),
        (["--judged", "-1"], "--judged: expected zero or more"),
        (["--workers", "0"], "--workers: expected at least 1"),
        (["--seconds", "30"], "ticks: expected 1 ... 200"),
        (["--scenarios", "data"], "expected simulated episodes of the train split, got none"),
        (["--iterations", "0"], "iterations: expected at least 1"),
        (["--renderer", "nowhere"], "--renderer: expected"),
    ],
)
def test_the_command_refuses_before_it_does_anything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: list[str], says: str
) -> None:
    start, out = empty(tmp_path), tmp_path / "out"
    command = ["train", "road", "--checkpoint", str(start.checkpoint), "--data", str(start.data)]
    command += ["--out", str(out), "--scenarios", "100-119", "--episodes", "20", "--device", "cpu", *changes]
    assert main(command) == 2
    assert says in capsys.readouterr().err
    assert not out.exists()


def test_figures_are_told_for_people() -> None:
    none = {"mean": None, "ci95": None, "n": 0, "excludes_zero": False}
    gain = {"mean": 0.25, "ci95": [0.1, 0.4], "n": 20, "excludes_zero": True}
    rollouts = {"episodes": 4, "ticks": 800, "recovered_share": 0.125, "mean_nearest_m": 0.5}
    figures = {
        "iteration": 2,
        "rollouts": rollouts,
        "scores": {"scene_score": {"mean": 0.75}},
        "against_start": {"scene_score": gain, "offroad": none},
    }
    told = describe(figures)
    assert "iteration 2" in told and "4, 80 s, of which 12.5 % driven by the expert" in told
    assert "0.7500" in told and "+0.2500 [+0.1000, +0.4000], n = 20" in told and "offroad" not in told
    bare = describe({**figures, "rollouts": {**rollouts, "mean_nearest_m": None}, "scores": None})
    assert "nearest sample none" in bare and "scene score" not in bare
