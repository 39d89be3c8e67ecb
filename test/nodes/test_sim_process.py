"""The bridge as users start it: a process with a renderer of its own in another, signals, exit codes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from planner_harness import DOMAIN_ID, wait_for
from sim_harness import SIZE

from alpamayo_ros.ros.runner import ros_arguments

SOURCE = Path(__file__).resolve().parents[2] / "src"


class Bridge:
    """A running bridge with all that it prints."""

    def __init__(self, log: Path, **parameters: Any) -> None:
        self.log = log
        command = [sys.executable, "-m", "alpamayo_ros.nodes.sim_bridge"]
        command += ros_arguments(namespace=f"p{os.getpid()}", parameters={**SIZE, **parameters})
        environment = {
            **os.environ,
            "ROS_DOMAIN_ID": str(DOMAIN_ID),
            "PYTHONPATH": os.pathsep.join(filter(None, [str(SOURCE), os.environ.get("PYTHONPATH")])),
        }
        with log.open("w") as output:
            self.process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)

    @property
    def said(self) -> str:
        return self.log.read_text()

    @property
    def children(self) -> list[int]:
        lists = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        return [int(pid) for each in lists for pid in each.read_text().split()]

    def wait_for(self, text: str, *, timeout_s: float = 90.0) -> None:
        wait_for(lambda: text in self.said or self.process.poll() is not None, text, timeout_s=timeout_s)
        assert text in self.said, self.said

    def end(self, *numbers: signal.Signals, timeout_s: float = 20.0) -> int:
        """Send signals a moment apart; returns the exit code."""
        for number in numbers:
            self.process.send_signal(number)
            time.sleep(0.05)
        return self.process.wait(timeout_s)


@contextmanager
def bridge(tmp_path: Path, **parameters: Any) -> Iterator[Bridge]:
    running = Bridge(tmp_path / "log.txt", **parameters)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.kill()
            running.process.wait()


def gone(pid: int) -> bool:
    """Return whether a process has ended (one that nobody has collected yet counts as ended)."""
    try:
        return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return True


def test_a_killed_renderer_of_its_own_is_started_anew_and_the_rollout_goes_on(tmp_path):
    out = tmp_path / "out"
    with bridge(tmp_path, planner="constant", scenarios="curve-1", out=str(out)) as running:
        running.wait_for("instruction cleared")
        time.sleep(1.5)
        (renderer,) = running.children
        os.kill(renderer, signal.SIGKILL)
        running.wait_for("Starting it anew")
        assert running.end(timeout_s=90) == 0, running.said
    assert f"process {renderer}) has ended" in running.said
    assert "Traceback" not in running.said
    (score,) = json.loads((out / "scores.json").read_text())["rollouts"]
    assert score["end_reason"] == "off_road"
    wait_for(lambda: gone(renderer), "the end of the renderer")


@pytest.mark.parametrize(
    "signals",
    [(signal.SIGINT, signal.SIGINT), pytest.param((signal.SIGTERM,), marks=pytest.mark.long)],
)
def test_a_signal_ends_it_cleanly_with_its_renderer(tmp_path, signals):
    out = tmp_path / "out"
    with bridge(tmp_path, planner="constant", scenarios="straight-0", out=str(out)) as running:
        running.wait_for("instruction cleared")  # said at the start of a rollout
        time.sleep(1.0)
        (renderer,) = running.children
        assert running.end(*signals) == 0, running.said
    assert "straight-0: interrupted after" in running.said
    assert "Traceback" not in running.said
    assert json.loads((out / "scores.json").read_text())["interrupted"] is True
    wait_for(lambda: gone(renderer), "the end of the renderer")


def test_a_signal_ends_it_while_its_renderer_starts(tmp_path):
    with bridge(tmp_path, planner="constant", scenarios="straight-0") as running:
        running.wait_for("configured: constant")
        wait_for(lambda: running.children, "the renderer")
        (renderer,) = running.children
        assert running.end(signal.SIGINT, signal.SIGINT) == 0, running.said
    assert "Traceback" not in running.said
    wait_for(lambda: gone(renderer), "the end of the renderer")


def test_a_renderer_that_is_not_there_is_exit_code_1(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with bridge(tmp_path, planner="constant", renderer=address, renderer_timeout_s=0.5) as running:
        assert running.end(timeout_s=60) == 1
    assert f"renderer: nothing answers at {address}" in running.said
    assert "Traceback" not in running.said


def test_parameters_that_cannot_be_are_exit_code_2(tmp_path):
    with bridge(tmp_path, planner="nobody") as running:
        assert running.end(timeout_s=60) == 2
    assert "planner: expected one of" in running.said
