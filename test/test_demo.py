"""`make demo`: what it would run, what it says, and what it refuses."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
READY = ".venv/.stamp-installed"


def make(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run make as if everything were set up already, and nothing of the outside were set."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    kept.pop("MFLAGS", None)
    return subprocess.run(
        ["make", "--old-file", READY, "--no-print-directory", *arguments],
        cwd=ROOT,
        env={**kept, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=120,
    )


def commands(*arguments: str) -> str:
    done = make("--dry-run", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_demo_is_the_closed_loop_and_says_who_drives() -> None:
    text = commands("demo")
    assert 'alpamayo sim --scenarios "pedestrian-11,cut_in-8,traffic_light-14"' in text
    assert '--out "out/demo"' in text
    assert "alpamayo replay" not in text
    if not (ROOT / "checkpoints" / "pisco").exists():
        assert '--planner "expert"' in text
        assert "The EXPERT drives" in text


def test_scene_and_checkpoint_can_be_chosen() -> None:
    text = commands("demo", "SCENE=fog-17", "CHECKPOINT=some/model", "OUT=elsewhere")
    assert 'alpamayo sim --scenarios "fog-17" --planner "some/model" --out "elsewhere"' in text
    assert '--video "fog-17"' in text
    text = commands("demo", "SCENARIOS=0-19", "PLANNER=constant")
    assert '--scenarios "0-19" --planner "constant"' in text
    assert '--video "worst"' in text


def test_a_bag_is_replayed() -> None:
    text = commands("demo", "BAG=a/bag", "RIG=kitti")
    assert 'alpamayo replay "a/bag" --rig "kitti"' in text
    assert '--out "out/replay"' in text
    assert "alpamayo sim" not in text
    assert 'alpamayo replay ".cache/demo/bag/bag" --rig "default"' in commands("demo-replay")


def test_a_bag_without_a_rig_is_refused() -> None:
    done = make("demo", "BAG=a/bag")
    assert done.returncode == 2
    assert "with BAG= say RIG= too" in done.stderr


@pytest.mark.long
@pytest.mark.skipif(not (ROOT / READY).exists(), reason="not set up by make")
def test_where_nothing_can_be_drawn_it_drives_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "rollout.webm").write_bytes(b"an older film")
    blind = {"__EGL_VENDOR_LIBRARY_FILENAMES": "/nonexistent"}
    done = make("demo", "SCENE=stop_sign-15", f"OUT={tmp_path}", environment=blind)
    assert done.returncode == 0, done.stderr
    assert "No film and no camera pictures: no OpenGL" in done.stdout
    assert "1.000" in done.stdout
    assert f"Look at        {tmp_path}/report.html" in done.stdout
    assert not (tmp_path / "rollout.webm").exists()
    assert "cannot draw them: no OpenGL" in (tmp_path / "report.html").read_text(encoding="utf-8")
