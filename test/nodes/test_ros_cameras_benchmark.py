"""The benchmark of cameras over DDS runs, and finds every pixel as the plain path gives it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "ros_cameras.py"


@pytest.mark.long
@pytest.mark.parametrize("executor", ["single", "events"])
def test_a_short_run_is_exact(executor: str) -> None:
    if executor == "events":
        pytest.importorskip("rclpy.experimental")
    run = subprocess.run(
        [sys.executable, str(SCRIPT), "--seconds", "3", "--rates", "30", "--executors", executor],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    (row,) = re.findall(rf"^\s*{executor} 30 .*$", run.stdout, re.MULTILINE)
    sent, received, dropped, decoded, used = (int(cell) for cell in row.split()[8:13])
    exact, checked = (int(number) for number in row.split()[-1].split("/"))
    assert exact == checked > 0
    assert sent >= received >= decoded + dropped
    assert decoded < received / 2 and used <= decoded
