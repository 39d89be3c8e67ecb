"""The driver as users start it: with and without ROS, signals, exit codes, a failing model."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from alpasim_harness import Caller
from planner_harness import DOMAIN_ID, wait_for

from alpamayo_ros.sim.protocol.channel import Connection
from alpamayo_ros.sim.protocol.egodriver import EGODRIVER, EgodriverClient

SOURCE = Path(__file__).resolve().parents[2] / "src"
CONSTANT = ("--planner", "constant", "--port", "0")


class Process:
    """`alpamayo alpasim-driver` and all that it prints."""

    def __init__(self, log: Path, *arguments: str) -> None:
        self.log = log
        environment = {
            **os.environ,
            "ROS_DOMAIN_ID": str(DOMAIN_ID),
            "PYTHONPATH": os.pathsep.join(filter(None, [str(SOURCE), os.environ.get("PYTHONPATH")])),
        }
        command = [sys.executable, "-m", "alpamayo_ros.cli.main", "alpasim-driver", *arguments]
        with log.open("w") as output:
            self.process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)

    @property
    def said(self) -> str:
        return self.log.read_text()

    def address(self) -> str:
        """Return where it listens, once it does."""
        pattern = r"AlpaSim driver on (\S+:\d+), model (\S+), cameras .+, navigation off"
        wait_for(
            lambda: re.search(pattern, self.said) or self.process.poll() is not None, "the port", timeout_s=60
        )
        found = re.search(pattern, self.said)
        assert found, self.said
        return found[1]

    def end(self, *numbers: signal.Signals) -> int:
        """Send signals a moment apart; returns the exit code."""
        for number in numbers:
            self.process.send_signal(number)
            time.sleep(0.05)
        return self.process.wait(20)


@contextmanager
def process(tmp_path: Path, *arguments: str) -> Iterator[Process]:
    running = Process(tmp_path / "log.txt", *arguments)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.kill()
            running.process.wait()


@pytest.mark.parametrize("ros", [(), ("--no-ros",)], ids=["ros", "no-ros"])
@pytest.mark.parametrize(
    "signals", [(signal.SIGINT, signal.SIGINT), (signal.SIGTERM,)], ids=["twice", "term"]
)
def test_it_drives_and_a_signal_ends_it_cleanly_amid_a_session(tmp_path, ros, signals):
    with process(tmp_path, *CONSTANT, *ros) as running:
        with Connection(running.address(), service=EGODRIVER) as connection:
            Caller(EgodriverClient(connection)).steps(6)
        assert running.end(*signals) == 0, running.said
        assert "Traceback" not in running.said


def test_without_ros_no_ros_is_imported(tmp_path):
    code = (
        "import os, signal, sys, threading, time\n"
        "from alpamayo_ros.cli.main import main\n"
        "before = signal.getsignal(signal.SIGINT)\n"  # a background job of a shell ignores it
        "def end():\n"
        "    while signal.getsignal(signal.SIGINT) is before:\n"
        "        time.sleep(0.05)\n"
        "    time.sleep(1.0)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "threading.Thread(target=end, daemon=True).start()\n"
        f"assert main(['alpasim-driver', '--no-ros', *{CONSTANT!r}]) == 0\n"
        "print(sorted({'rclpy', 'torch'} & set(sys.modules)))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


@pytest.mark.parametrize("ros", [(), ("--no-ros",)], ids=["ros", "no-ros"])
def test_a_checkpoint_that_cannot_be_loaded_ends_it_with_an_error(tmp_path, ros):
    with process(tmp_path, "--checkpoint", str(tmp_path / "nowhere"), "--port", "0", *ros) as running:
        assert running.process.wait(60) != 0
        assert "checkpoint: expected a folder" in running.said
        assert "AlpaSim driver on" not in running.said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--no-ros", "--through-topics", *CONSTANT), "--through-topics: expected ROS"),
        (("--no-ros",), "checkpoint: expected a folder or a hub id"),
        (("--no-ros", *CONSTANT, "--camera", "front"), "cameras: expected LOGICAL_ID=ROLE"),
        ((*CONSTANT, "--through-topics"), "through_topics: expected the planner node to plan"),
        (("--no-ros", *CONSTANT, "--navigation", "on"), "navigation: expected a model"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, arguments, message):
    with process(tmp_path, *arguments) as running:
        assert running.process.wait(60) == 2
        assert message in running.said and "Traceback" not in running.said
