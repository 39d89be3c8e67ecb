"""Many episodes: what is there is not made again, what fails is told, and processes agree with one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from alpamayo_ros.cli.main import main
from alpamayo_ros.sim.planners import ExpertPlanner
from alpamayo_ros.sim.protocol.sensorsim import RenderError
from alpamayo_ros.sim.state import EgoState
from alpamayo_ros.sim.world import ProceduralWorld
from alpamayo_ros.training.dataset import EpisodeSamples
from alpamayo_ros.training.episode import FrameCodec
from alpamayo_ros.training.shards import read_index
from alpamayo_ros.training.simulate import EpisodeJob, Label, PictureSettings
from alpamayo_ros.training.simulate_all import EpisodeOutcome, SimulationRun, simulate_all
from alpamayo_ros.types import InvalidInput, Plan

SMALL = PictureSettings(camera_ids=(1,), height=32, width=64, render_height=32, render_width=64)
SCENES = ("straight-100", "curve-101")


def run(out: Path, **changes: object) -> SimulationRun:
    values: dict[str, object] = {
        "scene_ids": SCENES,
        "out": out,
        "pictures": SMALL,
        "ticks": 3,
        "renderer": "",
        "disturbed": 0,
    }
    return SimulationRun(**{**values, **changes})  # type: ignore[arg-type]


def test_undisturbed_drives_of_all_scenes_come_first(tmp_path: Path) -> None:
    names = [job.episode_id for job in run(tmp_path, disturbed=2).work]
    assert names == [f"{scene}.{variant}" for variant in range(3) for scene in SCENES]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"scene_ids": ()}, "scenarios: expected at least one scene"),
        ({"disturbed": -1}, "disturbed: expected 0 or more"),
        ({"workers": 0}, "workers: expected at least 1"),
        ({"episodes": 0}, "episodes: expected at least 1"),
        ({"seed": -1}, "seed: expected 0"),
        ({"ticks": 0}, r"ticks: expected 1 \.\.\. 200"),
        ({"ticks": 201}, r"ticks: expected 1 \.\.\. 200"),
    ],
)
def test_a_run_refuses_what_it_cannot(tmp_path: Path, changes: dict[str, object], says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        run(tmp_path, **changes)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "expected either --scenarios or --bag, got neither"),
        (["--scenarios", "100", "--bag", "x"], "expected either --scenarios or --bag, got both"),
        (["--scenarios", "100", "--rig", "default"], "expected no options of the other kind, got --rig"),
        (["--bag", "x", "--rig", "default", "--workers", "2"], "no options of the other kind, got --workers"),
        (["--bag", "x"], "--bag: expected --rig too"),
        (["--bag", "x", "--rig", "default", "--driver", "pisco"], "options of the other kind, got --driver"),
        (["--scenarios", "100", "--near", "2"], "--near: expected --driver too, got none"),
        (["--scenarios", "100", "--driver", "pisco", "--disturbed", "2"], "--driver: expected neither"),
        (["--scenarios", "100", "--driver", "nobody"], "--driver: expected a checkpoint's folder"),
        (
            ["--scenarios", "100", "--driver", "pisco", "--held", "0.25"],
            "--held: expected a multiple of 0.1 s",
        ),
        (["--scenarios", "100", "--seconds", "0.25"], "--seconds: expected a multiple of 0.1 s"),
        (["--scenarios", "100", "--driver", "pisco", "--held", "0"], "held_ticks: expected 1"),
        (["--scenarios", "100", "--driver", "pisco", "--samples", "0"], "num_samples: expected at least 1"),
        (["--scenarios", "moon"], "scenarios: expected all, a seed"),
        (["--scenarios", "100", "--quality", "0"], "image quality: expected 1"),
        (["--scenarios", "100", "--size", "0x160"], "height: expected 1"),
        (["--scenarios", "100", "--seconds", "0"], "--seconds: expected 0.1"),
        (["--scenarios", "100", "--seconds", "inf"], "--seconds: expected 0.1"),
        (["--scenarios", "100", "--renderer", "nowhere"], "--renderer: expected"),
        (["--bag", "nowhere", "--rig", "default"], "bag nowhere: expected a rosbag2 folder"),
    ],
)
def test_the_command_refuses_before_it_does_anything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    assert main(["train", "data", "--out", str(tmp_path / "set"), *arguments]) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("bad", [["--size", "96"], ["--cameras", "front"], ["--image", "gif"]])
def test_the_command_refuses_what_it_cannot_read(tmp_path: Path, bad: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["train", "data", "--out", str(tmp_path), "--scenarios", "100", *bad])
    assert ended.value.code == 2


@pytest.mark.long
def test_a_renderer_that_is_not_there_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", "data", "--out", str(tmp_path / "set"), "--scenarios", "100"]
    assert main([*command, "--renderer", "127.0.0.1:1"]) == 1
    assert "127.0.0.1:1" in capsys.readouterr().err


@pytest.mark.long
def test_what_is_missing_is_made_and_the_rest_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "set"
    first = simulate_all(run(out, episodes=1))
    assert (first.already, len(first.made), first.failed) == (0, 1, ())
    before = {path: path.stat().st_mtime_ns for path in (out / "episodes").iterdir()}
    told: list[EpisodeOutcome] = []
    rest = simulate_all(run(out, disturbed=1), progress=told.append)
    assert (rest.already, len(rest.made)) == (1, 3)
    assert [outcome.job.episode_id for outcome in told] == ["curve-101.0", "straight-100.1", "curve-101.1"]
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in before.items())
    assert len(EpisodeSamples(out, split="train")) == 4 * 3
    nothing = simulate_all(run(out, disturbed=1))
    assert (nothing.already, nothing.made) == (4, ())


@pytest.mark.long
def test_several_processes_make_the_same_as_one(tmp_path: Path) -> None:
    simulate_all(run(tmp_path / "one"))
    simulate_all(run(tmp_path / "two", workers=2))
    one, two = (EpisodeSamples(tmp_path / name, split="train") for name in ("one", "two"))
    assert len(one) == len(two) == 6
    for index in range(len(one)):
        a, b = one[index], two[index]
        assert a.sample_id == b.sample_id
        np.testing.assert_array_equal(a.observation.frames, b.observation.frames)
        np.testing.assert_array_equal(a.future_xyz_in_rig_t0, b.future_xyz_in_rig_t0)


@pytest.mark.long
def test_a_scene_that_fails_does_not_stop_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from alpamayo_ros.training import simulate_all as module

    real = module.simulate_episode

    def failing(job: EpisodeJob, *arguments: object, **named: object) -> object:
        if job.scene_id == SCENES[0]:
            raise RenderError("the renderer is on fire")
        return real(job, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "simulate_episode", failing)
    result = simulate_all(run(tmp_path / "set"))
    assert [outcome.job.scene_id for outcome in result.failed] == [SCENES[0]]
    assert "on fire" in result.failed[0].error
    assert [entry.scene_id for entry in read_index(tmp_path / "set")] == [SCENES[1]]
    monkeypatch.undo()
    assert [entry.scene_id for entry in simulate_all(run(tmp_path / "set")).made] == [SCENES[0]]


@dataclass(frozen=True)
class DeadlyLabels:
    """Kills the process that drives one scene, as the kernel does for want of memory."""

    scene_id: str

    def start(self, expert: ExpertPlanner, *, seed: int) -> DeadlyLabels:
        return self

    def label(self, world: ProceduralWorld, ego: EgoState, plan: Plan) -> Label:
        if world.scene.scene_id == self.scene_id:
            os.kill(os.getpid(), signal.SIGKILL)
        return Label("Keep lane.")


@pytest.mark.long
def test_a_process_that_dies_costs_its_own_episode_alone(tmp_path: Path) -> None:
    deadly = run(tmp_path / "set", scene_ids=("curve-101", "straight-100", "s_bend-102"), workers=2)
    result = simulate_all(replace(deadly, labeller=DeadlyLabels("straight-100")))
    assert [(each.job.scene_id, each.error) for each in result.failed] == [
        ("straight-100", "the process that drove it died")
    ]
    assert sorted(entry.scene_id for entry in result.made) == ["curve-101", "s_bend-102"]


def command_of(out: Path, *more: str) -> list[str]:
    """Four short drives in small pictures."""
    small = ["--size", "32x64", "--rendered", "32x64", "--cameras", "front_wide", "--seconds", "2"]
    return ["train", "data", "--scenarios", "100-103", "--disturbed", "0", "--out", str(out), *small, *more]


@contextmanager
def begun(command: list[str], out: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run the command until its first episode is in the index."""
    child = subprocess.Popen(
        [sys.executable, "-m", "alpamayo_ros.cli.main", *command],
        env={**os.environ, "PYTHONPATH": "src"},
        start_new_session=True,
        # A background job of a shell ignores SIGINT, and its children do: the tests may be one.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        deadline = time.monotonic() + 200
        while not (out / "index.jsonl").is_file() or not (out / "index.jsonl").read_text():
            assert child.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        yield child
    finally:
        child.kill()
        child.wait()


def descendants(pid: int) -> set[int]:
    """Processes below one, by Linux' own account."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    children = {int(child) for child in path.read_text().split()} if path.is_file() else set()
    return children.union(*(descendants(child) for child in children))


@pytest.mark.long
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_run_that_is_killed_is_gone_on_with(tmp_path: Path, workers: str) -> None:
    """What the index names is whole, no process goes on, and the same command makes the rest."""
    out = tmp_path / "set"
    command = command_of(out, "--workers", workers)
    with begun(command, out) as child:
        below = descendants(child.pid)
        child.send_signal(signal.SIGKILL)
        child.wait()
    deadline = time.monotonic() + 30
    while left := {pid for pid in below if Path(f"/proc/{pid}").exists()}:
        assert time.monotonic() < deadline, f"{left} outlived the run"
        time.sleep(0.1)
    kept = read_index(out)
    assert 1 <= len(kept) < 4
    EpisodeSamples(out, split="train").verify()
    assert main(command) == 0
    samples = EpisodeSamples(out, split="train")
    samples.verify()
    assert len(samples.entries) == 4 and all(entry in samples.entries for entry in kept)


@pytest.mark.long
def test_ctrl_c_keeps_what_the_processes_are_driving(tmp_path: Path) -> None:
    out = tmp_path / "set"
    with begun(command_of(out, "--workers", "2"), out) as child:
        os.killpg(child.pid, signal.SIGINT)  # a terminal's goes to all of them
        assert child.wait(timeout=120) == 130
    assert 2 <= len(read_index(out)) <= 4
    EpisodeSamples(out, split="train").verify()


def test_another_codec_does_not_go_on_with_a_data_set(tmp_path: Path) -> None:
    jpeg, png = (run(tmp_path, pictures=PictureSettings(codec=FrameCodec(f))) for f in ("jpeg", "png"))  # type: ignore[arg-type]
    assert jpeg.settings() != png.settings()
    assert jpeg.settings() == run(tmp_path, pictures=PictureSettings(), disturbed=3).settings()
