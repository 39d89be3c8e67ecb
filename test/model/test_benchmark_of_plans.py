"""`python -m benchmarks.model` runs from a checkout, and every row says and plans what the baseline does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

ALONE = """
import importlib.abc, os, runpy, sys

OURS = tuple(os.path.join(os.getcwd(), part) for part in ("src", "benchmarks"))
THERE = {"alpamayo_ros", "benchmarks", "numpy", "torch", "transformers", "safetensors", "tokenizers",
         "huggingface_hub", "matplotlib"}

class Alone(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        frame = sys._getframe(1)
        while frame.f_code.co_filename.startswith("<frozen importlib"):
            frame = frame.f_back
        top = name.partition(".")[0]
        known = top in THERE or top in sys.stdlib_module_names
        if not known and frame.f_code.co_filename.startswith(OURS):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Alone())
sys.path.insert(0, "")
module, *sys.argv[1:] = sys.argv[1:]
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""
"""Runs a module as on a machine with torch and transformers alone: our files find nothing else."""


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def run(module: str, *arguments: str) -> str:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ALPAMAYO")}
    command = [sys.executable, "-c", ALONE, module, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def measured(tmp_path: Path, *samples: str, rows: str) -> dict:
    """Measure the tiny model for three ticks, one of them to warm up; return what was written."""
    files = {name: tmp_path / f"speed.{name}" for name in ("json", "png", "md")}
    printed = run(
        "benchmarks.model",
        *("--size", "tiny", "--samples", *samples, "--ticks", "2", "--warm-up", "1", "--tokens", "12"),
        *("--device", "cpu", "--rows", rows),
        *("--json", str(files["json"]), "--plot", str(files["png"]), "--out", str(files["md"])),
    )
    record = json.loads(files["json"].read_text())
    assert [made["samples"] for made in record["runs"]] == [int(number) for number in samples]
    for made in record["runs"]:
        assert made["exact"] and made["compared"] == 3
        assert made["rows"][0]["name"] == "baseline"
        for row in made["rows"]:
            assert row["same_tokens"] == 3 and row["worst_m"] < 1e-3
            assert row["p99_ms"] >= row["p90_ms"] >= row["median_ms"] > 0
            assert row["peak_gib"] > 0 and row["processor_ms"] > 0
    assert files["md"].read_text().strip() == printed.strip()
    assert files["png"].stat().st_size > 1000
    return record


def test_rows_are_exact(tmp_path: Path) -> None:
    record = measured(tmp_path, "2", rows="lean,vision,arrival")
    rows = record["runs"][0]["rows"]
    assert [row["name"] for row in rows] == [
        "baseline",
        "+ lean layers",
        "+ vision cache",
        "+ encoded on arrival",
    ]
    # What was encoded beforehand is not encoded in the plan, and is told.
    assert [row["ahead_ms"] > 0 for row in rows] == [False, False, False, True]
    assert rows[3]["stages_ms"]["vision"] < rows[2]["stages_ms"]["vision"]


@pytest.mark.parametrize("rows", ["none,arrival", "arrival,vision"])
def test_frames_cannot_be_encoded_ahead_without_a_cache(rows: str) -> None:
    command = [sys.executable, "-m", "benchmarks.model", "--rows", rows]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert "expected vision before arrival" in done.stderr


@pytest.mark.long
def test_every_row_is_exact(tmp_path: Path) -> None:
    rows = "none,vision,prompt,lean,speculation,attention,buffers,arrival"
    assert len(measured(tmp_path, "1", "6", rows=rows)["runs"][0]["rows"]) == 9


def test_limits_are_printed_without_a_gpu() -> None:
    printed = run("benchmarks.model.limits", "--samples", "1", "--tokens", "40")
    assert "| K = 1 |" in printed and "H200" in printed and "data sheet" in printed


@pytest.mark.long
def test_attention_is_reported() -> None:
    printed = run("benchmarks.model.attention", "--size", "tiny")
    assert all(f"| {phase} |" in printed for phase in ("prefill", "decode", "verify", "denoise"))


@pytest.mark.long
def test_what_is_lossy_is_reported() -> None:
    printed = run(
        "benchmarks.model.lossy",
        *("--checkpoint", "pisco", "--ticks", "2", "--flow-steps", "10", "2", "--caps", "8"),
        *("--fp8", "emulated"),
    )
    lines = [line.split(" | ") for line in printed.splitlines() if line.startswith("| ")]
    assert lines[1][4] == lines[2][4] == "0.000"  # ten steps are the exact plan's
    assert float(lines[3][4]) > 0
