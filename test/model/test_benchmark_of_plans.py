"""`python -m benchmarks.model` runs from a checkout, and every row says and plans what the baseline does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.long
def test_every_row_is_exact(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, "-m", "benchmarks.model", "--size", "tiny", "--ticks", "5", "--samples", "2"]
    files = ["--json", str(tmp_path / "speed.json"), "--plot", str(tmp_path / "speed.png")]
    subprocess.run([*command, "--device", "cpu", *files], cwd=ROOT, env=environment, check=True)
    record = json.loads((tmp_path / "speed.json").read_text())
    assert [row["name"] for row in record["rows"]][:2] == ["baseline", "ours, no trick"]
    for row in record["rows"]:
        assert row["same_tokens"] == record["ticks"] == 3
        assert row["worst_m"] < 1e-3
    assert (tmp_path / "speed.png").stat().st_size > 1000
