"""Runs: results on disk, order, failures, determinism across processes, the command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import sensorsim_fakes

from alpamayo_ros.cli.main import main
from alpamayo_ros.sim.planner_sources import ConstantSource
from alpamayo_ros.sim.planners import ConstantVelocityPlanner
from alpamayo_ros.sim.protocol.asl import read_entries
from alpamayo_ros.sim.protocol.channel import CallPolicy
from alpamayo_ros.sim.rollout_driver import Job
from alpamayo_ros.sim.run import run
from alpamayo_ros.sim.workers import CannotStart, RunOptions
from alpamayo_ros.types import InvalidInput, Observation, Plan


class _FailsAfter:
    def __init__(self, plans: int) -> None:
        self._left = plans

    def plan(self, observation: Observation) -> Plan:
        if not self._left:
            raise RuntimeError("the planner broke")
        self._left -= 1
        return ConstantVelocityPlanner().plan(observation)


@dataclass(frozen=True)
class _KillingSource(ConstantSource):
    """Its process dies in one family."""

    name: str = "killing"

    def start(self, world, *, seed):
        if world.scene.family == "curve":
            os._exit(9)
        return _FailsAfter(1000)


@dataclass(frozen=True)
class _LookingSource(ConstantSource):
    """Looks at a camera, and plans with no regard to it."""

    name: str = "looking"
    camera_ids: ClassVar[tuple[int, ...]] = (1,)


@dataclass(frozen=True)
class _BreakingSource(ConstantSource):
    name: str = "breaking"

    def start(self, world, *, seed):
        if world.scene.family == "curve":
            raise OSError("no planner today")
        return _FailsAfter(3)


def _without_timing(path: Path) -> bytes:
    content = json.loads(path.read_text())
    del content["timing"]
    return json.dumps(content).encode()


def test_results_are_the_same_with_other_hashes_and_another_number_of_processes(tmp_path: Path) -> None:
    scenes = ("oncoming-13", "queue-90")
    for seed, jobs in (("1", "1"), ("4242", "2")):
        command = [sys.executable, "-m", "alpamayo_ros.cli.main", "sim", "--scenarios", ",".join(scenes)]
        command += ["--planner", "expert", "--jobs", jobs, "--no-report", "--out", str(tmp_path / seed)]
        subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True)
    first, second = tmp_path / "1", tmp_path / "4242"
    assert _without_timing(first / "scores.json") == _without_timing(second / "scores.json")
    for scene in scenes:
        for name in ("rollout.asl", "score.json"):
            one, other = (folder / "rollouts" / scene / name for folder in (first, second))
            assert one.read_bytes() == other.read_bytes(), one


def test_a_run_writes_its_scores_in_order_whatever_the_number_of_processes(tmp_path: Path) -> None:
    told: list[str] = []
    scenes = ("queue-10", "curve-1")
    one = run(
        RunOptions(scenes, tmp_path / "one", rollouts=2),
        ConstantSource(),
        progress=lambda outcome: told.append(outcome.job.name),
    )
    assert told == ["queue-10#0", "queue-10#1", "curve-1#0", "curve-1#1"]
    run(RunOptions(scenes, tmp_path / "two", rollouts=2, jobs=2), ConstantSource())
    assert _without_timing(tmp_path / "one/scores.json") == _without_timing(tmp_path / "two/scores.json")
    content = json.loads((tmp_path / "one/scores.json").read_text())
    assert content["scene_score"] == {"mean": 0.0, "ci95": [0.0, 0.0], "n": 4}
    assert content["at_fault"] == 2 and content["offroad"] == 2
    assert set(content["by_family"]) == {"queue", "curve"}
    assert content["alpasim_score_km"]["incidents"] == 4 and content["alpasim_score_km"]["km"] > 0
    assert [r["scene_id"] for r in content["rollouts"]] == ["queue-10", "queue-10", "curve-1", "curve-1"]
    assert set(content["timing"]["rollouts"]) == set(told)
    folders = sorted(path.name for path in (tmp_path / "one/rollouts").iterdir())
    assert folders == ["curve-1", "curve-1_1", "queue-10", "queue-10_1"]
    assert json.loads((tmp_path / "one/rollouts/queue-10/score.json").read_text()) == content["rollouts"][0]
    assert len(one.records) == 4


def test_a_rollout_that_fails_counts_nothing_and_is_named(tmp_path: Path) -> None:
    result = run(RunOptions(("straight-0", "curve-1"), tmp_path), _BreakingSource())
    assert result.summary["failed"] == ["straight-0#0", "curve-1#0"]
    assert result.summary["scene_score"] == {"mean": 0.0, "ci95": [0.0, 0.0], "n": 2}
    broke, never = result.outcomes
    assert broke.score.error == "RuntimeError: the planner broke" and broke.record is not None
    assert sum(drive.source == "plan" for drive in broke.record.drives) == 3
    assert never.score.error == "OSError: no planner today" and never.record is None
    assert sum(1 for _ in read_entries(tmp_path / "rollouts/straight-0/rollout.asl")) > 20


def test_a_process_that_dies_costs_its_rollout_and_no_other(tmp_path: Path) -> None:
    (tmp_path / "rollouts/curve-1").mkdir(parents=True)
    (tmp_path / "rollouts/curve-1/rollout.asl").write_bytes(b"of an earlier run")
    scenes = ("straight-0", "curve-1", "queue-10")
    result = run(RunOptions(scenes, tmp_path, jobs=2), _KillingSource())
    assert [outcome.job.scene_id for outcome in result.outcomes] == list(scenes)
    assert result.summary["failed"] == ["curve-1#0"]
    assert result.outcomes[1].score.error == "ChildProcessError: the process that drove it died"
    assert json.loads((tmp_path / "rollouts/curve-1/score.json").read_text())["scene_score"] == 0.0
    assert not (tmp_path / "rollouts/curve-1/rollout.asl").exists()
    assert (tmp_path / "rollouts/queue-10/rollout.asl").stat().st_size > 1000


def test_a_renderer_that_dies_fails_the_rollouts_that_need_it(tmp_path: Path) -> None:
    renderer = sensorsim_fakes.ScriptedRenderer()
    server = sensorsim_fakes.start(renderer)

    class Dying(ConstantVelocityPlanner):
        def plan(self, observation: Observation) -> Plan:
            if len(renderer.requests) > 8:
                server.stop()
            return super().plan(observation)

    @dataclass(frozen=True)
    class Source(_LookingSource):
        def start(self, world, *, seed):
            return Dying()

    policy = CallPolicy(deadline_s=5.0, retry_delays_s=(), connect_timeout_s=0.3)
    options = RunOptions(
        ("straight-0", "straight-20"), tmp_path, renderer=server.address, renderer_policy=policy
    )
    result = run(options, Source())
    assert result.summary["failed"] == ["straight-0#0", "straight-20#0"]
    assert result.summary["scene_score"] == {"mean": 0.0, "ci95": [0.0, 0.0], "n": 2}
    driven, never = result.outcomes
    assert driven.record is not None and never.record is None
    assert sum(drive.source == "plan" for drive in driven.record.drives) == 6
    for outcome in result.outcomes:
        assert server.address in outcome.score.error
    # The pictures that came are in the log.
    count = Counter(
        e.WhichOneof("log_entry") for e in read_entries(tmp_path / "rollouts/straight-0/rollout.asl")
    )
    assert count["render_request"] == count["driver_camera_image"] == 9


@pytest.mark.parametrize("jobs", [1, 2])
def test_no_renderer_no_run(tmp_path: Path, capsys, monkeypatch, jobs: int) -> None:
    with sensorsim_fakes.start(sensorsim_fakes.ScriptedRenderer()) as server:
        address = server.address
    policy = CallPolicy(deadline_s=5.0, retry_delays_s=(), connect_timeout_s=0.2)
    options = RunOptions(("0-1",), tmp_path, jobs=jobs, renderer=address, renderer_policy=policy)
    with pytest.raises(CannotStart, match=f"nothing answers at {address}"):
        run(options, _LookingSource())
    assert not list(tmp_path.iterdir()), "nothing was driven, nothing is left behind"


def test_what_was_driven_before_an_interrupt_is_kept(tmp_path: Path) -> None:
    # A test run that was started in a shell's background passes on that SIGINT is ignored.
    command = ["env", "--default-signal=INT", sys.executable, "-m", "alpamayo_ros.cli.main", "sim"]
    command += [
        "--scenarios",
        "straight-0,1-9",
        "--planner",
        "constant",
        "--jobs",
        "2",
        "--no-report",
        "--out",
        str(tmp_path),
    ]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while len(list(tmp_path.glob("rollouts/*/rollout.asl"))) < 2:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    process.communicate(timeout=120)
    assert process.returncode == 130
    content = json.loads((tmp_path / "scores.json").read_text())
    driven = [rollout["scene_id"] for rollout in content["rollouts"]]
    assert content["interrupted"] and 2 <= len(driven) < 10
    assert {path.parent.name for path in tmp_path.glob("rollouts/*/score.json")} == set(driven)


def test_seeds_differ_by_run_scene_and_rollout_and_stay() -> None:
    seeds = {
        Job(scene, index, run_seed).seed
        for scene in ("cones-6", "cones-26")
        for index in range(3)
        for run_seed in (0, 7)
    }
    assert len(seeds) == 12 and all(0 <= seed < 2**63 for seed in seeds)
    assert Job("cones-6").seed == Job("cones-6", 0, 0).seed


def test_impossible_options_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options in ({"scene_ids": ()}, {"rollouts": 0}, {"jobs": 0}):
        with pytest.raises(InvalidInput, match="expected at least"):
            RunOptions(**{"scene_ids": ("curve-1",), "out": tmp_path, **options})
    assert main(["sim", "--scenarios", "conez", "--out", str(tmp_path)]) == 2
    assert "roundabout" in capsys.readouterr().err
    assert main(["sim", "--scenarios", "1", "--planner", "nobody", "--out", str(tmp_path)]) == 2
    assert "expected expert, constant, a checkpoint's folder" in capsys.readouterr().err
    (tmp_path / "file").touch()
    for arguments, said in (
        (["--out", str(tmp_path / "file")], "out: expected a folder that can be written"),
        (["--renderer", "localhost"], "--renderer: expected HOST:PORT"),
        (["--renderer-ca", "ca.pem"], "expected --renderer too, got none"),
        (["--backbone", str(tmp_path)], "--backbone: expected a checkpoint as planner, got expert"),
        (
            ["--asl", "x.asl", "--rollouts", "2"],
            "--asl: expected no options for driving beside it, got --rollouts",
        ),
        (["--asl", str(tmp_path / "none.asl")], "expected an .asl file"),
        (["--scenarios", "5-3"], "expected a range A-B with A <= B"),
        (["--scenarios", ""], "expected all, a seed, a range"),
    ):
        assert main(["sim", "--out", str(tmp_path / "out"), *arguments]) == 2, arguments
        assert said in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"], "nothing is left behind"
    assert main(["sim", "--scenarios", "1", "--video", "2", "--out", str(tmp_path)]) == 2
    assert "--video: expected worst or one of the scenes that are driven" in capsys.readouterr().err


def test_the_command_exits_1_with_failures_and_0_without(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setitem(
        __import__("alpamayo_ros.sim.planner_sources", fromlist=["SOURCES"]).SOURCES,
        "broken",
        _BreakingSource(),
    )
    arguments = ["sim", "--scenarios", "0", "--no-report", "--out", str(tmp_path)]
    assert main([*arguments, "--planner", "broken"]) == 1
    assert "failed         straight-0#0" in capsys.readouterr().out
    assert main([*arguments, "--planner", "constant"]) == 0
