"""A checkpoint that ships is found by its name, in the source tree and installed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from alpamayo_ros.model import shipped
from alpamayo_ros.model.checkpoint import resolve_checkpoint
from alpamayo_ros.model.config import CheckpointError
from alpamayo_ros.model.shipped import NAMES, checkpoint_folders, is_shipped, or_shipped, shipped_checkpoint

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation that ships none, in `tmp_path`; a source tree beside it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path / "workspace"))
    monkeypatch.setattr(shipped.sys, "prefix", str(tmp_path / "venv"))
    monkeypatch.setattr(shipped, "__file__", str(tmp_path / "tree/src/alpamayo_ros/model/shipped.py"))
    return tmp_path


def ship(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    return folder


def test_the_source_tree_comes_first_then_workspaces_then_the_environment(nowhere: Path) -> None:
    environment = ship(nowhere / "venv/share/alpamayo_ros/checkpoints/pisco")
    assert shipped_checkpoint("pisco") == environment
    workspace = ship(nowhere / "workspace/share/alpamayo_ros/checkpoints/pisco")
    assert shipped_checkpoint("pisco") == workspace
    (nowhere / "tree/checkpoints/pisco").mkdir(parents=True)  # a folder without a checkpoint is none
    assert shipped_checkpoint("pisco") == workspace
    (nowhere / "tree/checkpoints/pisco/config.json").write_text("{}")
    assert shipped_checkpoint("pisco") == nowhere / "tree/checkpoints/pisco"
    assert is_shipped("pisco")


def test_names_stand_for_folders_wherever_a_checkpoint_is_meant(nowhere: Path) -> None:
    there = ship(nowhere / "venv/share/alpamayo_ros/checkpoints/pisco")
    assert or_shipped("pisco") == str(there) and resolve_checkpoint("pisco") == there
    for other in ("nvidia/Alpamayo-1.5-10B", "out/checkpoint", "expert", ""):
        assert or_shipped(other) == other
    own = ship(nowhere / "pisco")  # a folder of one's own is what it was
    assert or_shipped("pisco") == "pisco" and resolve_checkpoint("pisco").samefile(own)


def test_what_is_not_there_is_said(nowhere: Path) -> None:
    assert not is_shipped("pisco") and not is_shipped("alpamayo")
    with pytest.raises(CheckpointError, match=r"checkpoint pisco: expected it in one of .*venv.*got none"):
        resolve_checkpoint("pisco")
    with pytest.raises(CheckpointError, match="checkpoint: expected one of pisco, got 'alpamayo'"):
        shipped_checkpoint("alpamayo")


def test_the_folder_is_the_makefile_s_and_is_not_ignored() -> None:
    assert {folder.name for folder in checkpoint_folders()} == {"checkpoints"}
    for name in NAMES:
        assert f"checkpoints/{name}/config.json" in (ROOT / "Makefile").read_text("utf-8")
    if (ROOT / ".git").exists():
        files = [
            f"checkpoints/{name}/{file}" for name in NAMES for file in ("model.safetensors", "backbone/x")
        ]
        ignored = subprocess.run(["git", "check-ignore", *files], cwd=ROOT, capture_output=True, check=False)
        assert ignored.returncode == 1, ignored.stdout
