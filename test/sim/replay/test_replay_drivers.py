"""`alpamayo asl replay`, and with it our own driver in a process of its own held to the contract."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from pathlib import Path

import pytest
from driver_process import DriverProcess, alpamayo, environment
from scripted_driver import ScriptedDriver, serving

from alpamayo_ros.cli.main import main
from alpamayo_ros.sim.asl_summary import summarise_log


@pytest.fixture(scope="module")
def recorded(golden_dir: Path) -> Path:
    return golden_dir / "alpasim" / "rollout.asl"


def replay(*arguments: object) -> int:
    return main(["asl", "replay", *map(str, arguments)])


def test_a_good_driver_passes(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(ScriptedDriver()) as address:
        assert replay(recorded, "--driver", address, "--sessions", 2, "--strict") == 0
    printed = capsys.readouterr().out
    assert "2 sessions, 2 told to the end; 60 of 60 drives answered" in printed
    assert "0 errors, 0 warnings" in printed and "BROKEN" not in printed and "same_answers" not in printed


def test_a_broken_rule_is_told_with_its_count_and_first_place(
    recorded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    driver = ScriptedDriver()
    driver.spoil = lambda answer: answer.trajectory.poses[9].pose.quat.Clear()
    with serving(driver) as address:
        assert replay(recorded, "--driver", address) == 1
    printed = capsys.readouterr().out
    assert "BROKEN   unit_quaternion  30 x expected quaternions of norm 1" in printed
    assert "got norm 0.0000 at pose 9; first in session 0, step 0 (time_now 1700000000200000)" in printed
    assert "AlpaSim: zero ones fail the rollout" in printed and "30 errors, 0 warnings" in printed


def test_warnings_count_only_where_it_is_to_be_strict(
    recorded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    driver = ScriptedDriver()
    driver.spoil = lambda answer: answer.debug_info.ClearField("sampled_trajectories")
    with serving(driver) as address:
        assert replay(recorded, "--driver", address) == 0
        assert "warning  samples          30 x" in capsys.readouterr().out
        assert replay(recorded, "--driver", address, "--strict") == 1


def test_what_was_never_seen_is_not_called_ok(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    driver = ScriptedDriver()
    driver.refuse = {"start_session"}
    with serving(driver) as address:
        assert replay(recorded, "--driver", address) == 1
    printed = capsys.readouterr().out
    assert "unseen   horizon" in printed and "BROKEN   start_session    1 x" in printed


def test_json_has_every_finding(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    driver = ScriptedDriver()
    driver.spoil = lambda answer: answer.trajectory.poses[9].pose.quat.Clear()
    with serving(driver) as address:
        assert replay(recorded, "--driver", address, "--json") == 1
    told = json.loads(capsys.readouterr().out)
    assert told["answers"] == told["drives"] == len(told["findings"]) == 30
    assert told["findings"][4] == {
        "rule": "unit_quaternion",
        "warning": False,
        "got": "norm 0.0000 at pose 9",
        "session": 0,
        "step": 4,
        "time_now_us": 1700000000600000,
    }
    assert 0 < told["drive_ms"]["p50"] <= told["drive_ms"]["p99"] <= told["drive_ms"]["max"]


def test_nobody_who_listens(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(ScriptedDriver()) as gone:
        pass
    assert replay(recorded, "--driver", gone, "--connect-timeout", 0.2) == 1
    assert f"nothing answers at {gone}" in capsys.readouterr().err


@pytest.mark.parametrize("options", [(), ("--sessions", "3"), ("--compare",)], ids=repr)
@pytest.mark.parametrize("hangs", ["route", "drive"])
def test_an_interrupt_ends_it_where_the_driver_hangs(
    recorded: Path, options: tuple[str, ...], hangs: str
) -> None:
    driver, there, go_on = ScriptedDriver(), threading.Event(), threading.Event()

    def hang(*_: object) -> None:
        there.set()
        go_on.wait(60)

    driver.on_route = hang if hangs == "route" else driver.on_route
    driver.spoil = hang if hangs == "drive" else driver.spoil
    with serving(driver) as address:
        command = alpamayo("asl", "replay", recorded, "--driver", address, *options)
        child = subprocess.Popen(
            # A test run that was started in a shell's background passes on that SIGINT is ignored. (No
            # function between fork and exec instead: gRPC's server here may not survive such a fork.)
            ["env", "--default-signal=INT", *command],
            env=environment(),
        )
        try:
            assert there.wait(60)
            child.send_signal(signal.SIGINT)
            assert child.wait(20) == 130
        finally:
            child.kill()
            child.wait()
            go_on.set()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--driver", "nowhere"], "expected HOST:PORT"),
        (["--driver", "127.0.0.1:1", "--sessions", "0"], "sessions: expected at least 1"),
        (["--driver", "127.0.0.1:1", "--timeout", "0"], "timeout_s: expected a positive"),
        (["--driver", "127.0.0.1:1", "--seed", "-1"], "random_seed: expected 0"),
        (["--driver", "127.0.0.1:1", "--tls-ca", "/nowhere.pem"], "TLS: authority"),
        (["--driver", "127.0.0.1:1", "--out", "/nowhere/x.asl"], "--out: expected a file in a folder"),
    ],
)
def test_bad_usage_is_refused(
    recorded: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert replay(recorded, *arguments) == 2
    assert said in capsys.readouterr().err


def test_a_summary_is_still_to_be_had(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["asl", str(recorded)]) == 0
    assert "467 entries" in capsys.readouterr().out


def held_to_the_contract(driver: DriverProcess, recorded: Path, out: Path) -> str:
    """Replay one session, then four beside one another held to it; return what was printed."""
    common = ("asl", "replay", recorded, "--driver", driver.address, "--strict", "--compare")
    for more in (("--out", out), ("--sessions", 4, "--shuffle-seed", 1)):
        done = subprocess.run(
            alpamayo(*common, *more), env=environment(), capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "0 errors, 0 warnings" in done.stdout
    assert "120 of 120 drives answered" in done.stdout
    assert driver.stop() == 0 and "Traceback" not in driver.output, driver.output
    return done.stdout


def test_our_driver_keeps_the_contract(recorded: Path, tmp_path: Path) -> None:
    with DriverProcess(tmp_path / "driver.log", "--planner", "constant") as driver:
        held_to_the_contract(driver, recorded, tmp_path / "answers.asl")
    summary = summarise_log(tmp_path / "answers.asl")
    assert summary.drives.answers == 30 and summary.drives.sources == {"warm_up": 13, "plan": 17}


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("generation", ["alpamayo_r1", "alpamayo1_5"])
def test_our_driver_with_a_model_keeps_the_contract(
    golden_dir: Path, recorded: Path, tmp_path: Path, generation: str
) -> None:
    model = golden_dir / generation
    options = ("--checkpoint", model / "checkpoint", "--backbone", model / "backbone", "--num-samples", 6)
    with DriverProcess(tmp_path / "driver.log", *options, "--device", "cpu") as driver:
        held_to_the_contract(driver, recorded, tmp_path / "answers.asl")
    summary = summarise_log(tmp_path / "answers.asl")
    assert summary.drives.answers == 30 and summary.drives.samples is not None
    assert summary.drives.samples.greatest == 6, "the model's samples go along"
    # The weights are random: what they draw may be nothing that can be driven, but it is tried.
    assert summary.drives.sources.keys() <= {"warm_up", "plan", "stop"}
    assert summary.drives.sources["warm_up"] == 13
