"""Our nodes on rclpy's events executor (ALPAMAYO_EXECUTOR=events); all other tests use the default.

In a process of its own, as a user has it: the variable is that of a process.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from alpamayo_ros.ros.executors import EXECUTOR_VARIABLE

TESTS = Path(__file__).resolve().parents[1]
FILES = [TESTS / "ros" / "test_executors.py", TESTS / "nodes" / "on_events_executor.py"]


def test_nodes_run_on_the_events_executor() -> None:
    pytest.importorskip("rclpy.experimental", reason="this rclpy has no events executor")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *map(str, FILES)],
        env={**os.environ, EXECUTOR_VARIABLE: "events"},
        cwd=TESTS.parent,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]
