"""`alpamayo replay` from end to end: a drawn drive through a small random network over real topics."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from alpamayo_ros.bags.errors import BagError
from alpamayo_ros.bags.reader import BagReader
from alpamayo_ros.bags.run import read_run
from alpamayo_ros.bags.synthetic.bag import SyntheticDrive, write_synthetic_bag
from alpamayo_ros.bags.writer import BagWriter
from alpamayo_ros.cli.main import main
from alpamayo_ros.ros.domains import free_domain_id
from alpamayo_ros.ros.replay_files import check_inputs, prepare_output
from alpamayo_ros.sensing.rig import load_rig
from alpamayo_ros.types import InvalidInput

DOMAIN = "42"
LIMIT_S = 120


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("drive") / "bag"
    write_synthetic_bag(path, load_rig("default"), drive=SyntheticDrive(seconds=4.0, width=192, height=108))
    return path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "tiny"
    assert main(["checkpoint", "random", str(path), "--size", "tiny"]) == 0
    return path


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "alpamayo_ros.cli.main", "replay", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    try:
        out, err = process.communicate(timeout=LIMIT_S)
    finally:
        process.kill()
    return process.returncode, out, err


def planners_of(out: Path) -> list[int]:
    """Return the pids of planners that were started for this result folder (their log is in it)."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if any(fd.readlink() == out / "planner.log" for fd in (entry / "fd").iterdir()):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def wait_until_active(process: subprocess.Popen[str], out: Path) -> None:
    """Wait until the planner of a replay is active; fails with what the replay says if it ends before."""
    log = out / "planner.log"
    deadline = time.monotonic() + LIMIT_S
    while process.poll() is None and time.monotonic() < deadline:
        if log.exists() and "]: active" in log.read_text(errors="replace"):
            return
        time.sleep(0.05)
    process.kill()
    raise AssertionError(f"the planner did not become active: {process.communicate()}")


def test_a_drive_becomes_plans_a_bag_a_summary_and_a_picture(
    drive: Path, checkpoint: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    code, output, err = finish(
        start(drive, "--checkpoint", checkpoint, "--out", out, "--max-reasoning-tokens", "12", "--seed", "3")
    )
    assert code == 0, (output, err, (out / "planner.log").read_text())
    assert "RANDOM" in output
    summary: dict[str, Any] = json.loads((out / "summary.json").read_text())
    # Random weights: the gate passes some plans and rejects others, and stops go out meanwhile.
    assert summary["plans"].keys() <= {"valid", "rejected"}
    assert sum(summary["plans"].values()) >= 5
    assert summary["plans"].get("valid", 0) == summary["plans_published"]
    assert summary["stops"] >= 1
    assert sum(summary["rejected_for"].values()) >= summary["plans"].get("rejected", 0)
    assert summary["refusals"].get("gate", 0) == summary["plans"].get("rejected", 0)
    assert summary["observations"] >= summary["plans_published"]
    assert summary["messages_lost"] == {}
    assert summary["messages_in"]["/odom"] == 201
    assert summary["recorder_dropped"] == {}
    assert summary["planner_idle_at_end"] is True
    assert summary["random_weights"] is True
    assert summary["bag_s"] == pytest.approx(4.0)
    assert summary["wall_s"] > 3.9
    for stage in ("preprocess", "vision", "prefill", "reasoning", "denoise", "publish", "total"):
        row = summary["latency_ms"][stage]
        assert 0 <= row["p50"] <= row["p90"] <= row["p99"] <= row["max"]
    assert summary["rate"] == "auto"
    assert 0 < summary["mean_rate"] <= 1.05
    # In bag time, which runs at that rate (its mean; it is lower while a plan is outstanding).
    assert summary["latency_ms"]["publish"]["p50"] > 0.3 * summary["mean_rate"] * row["p50"]
    assert summary["reasoning_tokens"]["max"] <= 12
    assert (out / "summary.png").stat().st_size > 50_000
    run = read_run(out / "bag", plan_topic="/alpamayo/plan", odometry_topic="/odom")
    with BagReader(drive) as source:
        stamps = {m.stamp_ns for m in source.messages(["/camera/front_wide/image/compressed"])}
    assert {plan.t0_ns for plan in run.plans} <= stamps  # never `now`
    assert len({plan.t0_ns for plan in run.plans}) == len(run.plans)
    published = summary["plans_published"]
    assert run.counts["/alpamayo/reasoning"] == published
    # No path before there is odometry; and when the recording ends one topic may be a message ahead.
    assert -1 <= published + len(run.stops) - run.counts["/alpamayo/path"] <= 5
    assert planners_of(out) == []

    # Again into the same folder, at another rate, from a bag that holds an earlier run's outputs too.
    again = tmp_path / "again"
    shutil.copytree(out, again)
    options = ("--rate", "2", "--start", "1", "--domain-id", DOMAIN, "--seed", "3")
    code, output, err = finish(start(out / "bag", "--checkpoint", checkpoint, "--out", again, *options))
    assert code == 0, (output, err)
    second = json.loads((again / "summary.json").read_text())
    assert second["rate"] == 2.0
    assert second["bag_s"] == pytest.approx(summary["bag_s"] - 1, abs=10)
    assert "/alpamayo/plan" not in second["messages_in"]
    assert second["messages_out"]["/alpamayo/plan"] == second["plans_published"] + second["stops"] > 0


def test_a_planner_that_dies_is_reported_and_nothing_is_left_running(
    drive: Path, checkpoint: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    process = start(drive, "--checkpoint", checkpoint, "--out", out, "--rate", "0.2", "--domain-id", DOMAIN)
    wait_until_active(process, out)
    time.sleep(1.0)
    for pid in planners_of(out):
        os.kill(pid, signal.SIGKILL)
    code, _, err = finish(process)
    assert code == 1
    assert "the planner died (signal 9); its last words:" in err
    assert planners_of(out) == []
    with BagReader(out / "bag") as bag:  # closed in order all the same
        assert bag.message_count > 0


def test_ctrl_c_ends_it_early_with_a_summary(drive: Path, checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start(drive, "--checkpoint", checkpoint, "--out", out, "--rate", "0.1", "--domain-id", DOMAIN)
    wait_until_active(process, out)
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    code, _, err = finish(process)
    assert code == 130, err
    assert json.loads((out / "summary.json").read_text())["interrupted"] is True
    assert planners_of(out) == []


def test_a_killed_replay_leaves_no_planner(drive: Path, checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start(drive, "--checkpoint", checkpoint, "--out", out, "--rate", "0.1", "--domain-id", DOMAIN)
    wait_until_active(process, out)
    process.kill()
    process.wait(20)
    for stream in (process.stdout, process.stderr):
        assert stream is not None
        stream.close()
    deadline = time.monotonic() + 20
    while planners_of(out) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert planners_of(out) == []


def test_a_checkpoint_that_cannot_be_used_is_reported(drive: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    code, _, err = finish(
        start(drive, "--checkpoint", tmp_path / "empty", "--out", tmp_path / "out", "--domain-id", DOMAIN)
    )
    assert code == 1
    assert "the planner refused to start: configure failed" in err
    assert "config.json" in err
    assert planners_of(tmp_path / "out") == []


def refused(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    assert main(["replay", *map(str, arguments)]) == 2
    return capsys.readouterr().err


def test_bad_bags_are_refused_before_anything_starts(
    drive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    options = ("--checkpoint", "none", "--out", out)
    assert "no such file or folder" in refused(capsys, tmp_path / "none", *options)
    (tmp_path / "bad.mcap").write_bytes(b"\x89MCAP0\r\n")
    assert "expected an MCAP file" in refused(capsys, tmp_path / "bad.mcap", *options)
    message = refused(capsys, drive, *options, "--rig", "kitti")
    assert "expected the topics of rig kitti" in message
    assert "/camera/gray_left/image/compressed" in message
    assert "/camera/cross_left/image/compressed  sensor_msgs/msg/CompressedImage  41 messages" in message
    assert "rig: expected" in refused(capsys, drive, *options, "--rig", "nobody")
    assert "/speed" in refused(capsys, drive, *options, "--odometry", "/speed")
    assert "--params-file" in refused(capsys, drive, *options, "--params-file", tmp_path / "none.yaml")
    assert "--domain-id" in refused(capsys, drive, *options, "--domain-id", "300")
    assert "--param: expected" in refused(capsys, drive, *options, "--param", "x")
    assert not out.exists()


def test_a_topic_of_another_type_is_refused(drive: Path, tmp_path: Path) -> None:
    rig = load_rig("default")
    with BagReader(drive) as bag:
        assert check_inputs(bag, rig, odometry=None) == "/odom"
        with pytest.raises(BagError, match="expected nav_msgs/msg/Odometry on /tf_static"):
            check_inputs(bag, rig, odometry="/tf_static")


def test_odometry_must_be_unambiguous(drive: Path, tmp_path: Path) -> None:
    with BagReader(drive) as source, BagWriter(tmp_path / "two") as writer:
        for topic in source.topics.values():
            writer.add_topic(topic.name, topic.type_name)
        writer.add_topic("/gps/odom", "nav_msgs/msg/Odometry")
        for message in source.messages():
            writer.write(message.topic, message.stamp_ns, message.data)
            if message.topic == "/odom":
                writer.write("/gps/odom", message.stamp_ns, message.data)
    with BagReader(tmp_path / "two") as bag:
        with pytest.raises(
            BagError, match=r"got several others: /odom, /gps/odom; choose one with --odometry"
        ):
            check_inputs(bag, load_rig("default"), odometry=None)
        assert check_inputs(bag, load_rig("default"), odometry="/gps/odom") == "/gps/odom"


def test_only_results_of_a_replay_are_replaced(drive: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare_output(out)
    shutil.copytree(drive, out / "bag")
    with pytest.raises(InvalidInput, match="got one with a bag"):
        prepare_output(out)
    assert (out / "bag").exists()
    (out / "planner.log").write_text("")
    (out / "notes.txt").write_text("mine")
    prepare_output(out)
    assert [p.name for p in out.iterdir()] == ["notes.txt"]
    with pytest.raises(InvalidInput, match="expected a folder to write to"):
        prepare_output(out / "notes.txt")


def test_a_free_domain_is_found() -> None:
    assert 1 <= free_domain_id() <= 101


def test_the_real_bag_gives_plans_and_no_timing_refusals(
    bags_dir: Path, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    """Cameras at 9.7 Hz with stamps rounded to 10 ms: nothing may be refused once there is enough history."""
    checkpoint = tmp_path_factory.mktemp("checkpoint") / "small"
    assert main(["checkpoint", "random", str(checkpoint), "--size", "tiny"]) == 0
    bag = bags_dir / "kitti_raw_0001_street"
    code, output, err = finish(
        start(bag, "--rig", "kitti", "--checkpoint", checkpoint, "--out", tmp_path / "out")
    )
    assert code == 0, (output, err)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    # On a machine that is busy elsewhere some are overtaken by a newer one before they are planned.
    assert summary["observations"] >= 80
    assert sum(summary["plans"].values()) + summary["superseded"] + summary["plans_waiting"] >= 80
    assert summary["refusals_after_start_up"].keys() <= {"gate"}  # the weights are random
