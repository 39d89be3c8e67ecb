"""A log read back as a rollout to look at: ours is the rollout it was, another's shows what it holds."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from rollout_factory import record_of

from alpamayo_ros.cli.main import main
from alpamayo_ros.sim.asl_log import write_asl
from alpamayo_ros.sim.asl_score import score_log
from alpamayo_ros.sim.record import RolloutRecord
from alpamayo_ros.sim.report.logged import read_rollout
from alpamayo_ros.sim.scenes import make_scene
from alpamayo_ros.types import InvalidInput


@pytest.fixture(scope="module")
def record() -> RolloutRecord:
    return record_of(make_scene("lead_braking-9"), steps=60, stop_from=50)


@pytest.fixture(scope="module")
def log(record: RolloutRecord, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("log") / "rollout.asl"
    write_asl(path, record)
    return path


def test_a_log_of_ours_is_the_rollout_it_was(record: RolloutRecord, log: Path) -> None:
    logged = read_rollout(log, score_log(log))
    read = logged.record
    assert logged.pictures is None
    assert read.scene.scene_id == "lead_braking-9"
    assert read.scene.road is not None
    assert np.array_equal(read.stamps_us, record.stamps_us)
    poses = np.array([state.local_from_rig for state in read.ego])
    assert poses == pytest.approx(np.array([state.local_from_rig for state in record.ego]), abs=1e-4)
    speeds = [state.speed_mps for state in read.ego[2:-2]]
    assert speeds == pytest.approx([state.speed_mps for state in record.ego[2:-2]], abs=0.05)
    assert read.actors.keys() == record.actors.keys()
    for actor_id, track in read.actors.items():
        assert track.size_xyz_m == pytest.approx(record.actors[actor_id].size_xyz_m, abs=1e-5)
        there = track.present
        assert track.local_from_box[there] == pytest.approx(
            record.actors[actor_id].local_from_box[there], abs=1e-3
        )
    assert [drive.source for drive in read.drives] == [drive.source for drive in record.drives]
    for ours, theirs in zip(read.drives, record.drives, strict=True):
        if theirs.source != "reference":
            assert (ours.reasoning, ours.reason, ours.chosen) == (
                theirs.reasoning,
                theirs.reason,
                theirs.chosen,
            )
            assert ours.local_from_rig == pytest.approx(theirs.local_from_rig, abs=1e-4)
            assert ours.candidates == pytest.approx(theirs.candidates, abs=1e-3)


def test_a_log_of_ours_is_shown(log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sim", "--asl", str(log), "--out", str(tmp_path)]) == 0
    assert "report.html" in capsys.readouterr().out
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert f"alpamayo sim --asl {log}" in text
    assert "Keep the lane because the road ahead is clear." in text
    assert "stop for want of a plan: no plan in time" in text


def test_alpasims_log_is_shown_with_its_own_pictures(golden_dir: Path, tmp_path: Path) -> None:
    log = golden_dir / "alpasim" / "rollout.asl"
    logged = read_rollout(log, score_log(log))
    assert logged.record.scene.road is None
    assert logged.pictures is not None
    last = len(logged.record.ego) - 1
    shown = logged.pictures.render(logged.record, last, camera_ids=(0, 1), width=480, height=270)
    assert all(image.shape == (270, 480, 3) and np.ptp(image) > 100 for image in shown.values())
    before = logged.pictures.render(logged.record, 0, camera_ids=(1,), width=480, height=270)[1]
    assert np.ptp(before) == 0  # rendering began later
    assert main(["sim", "--asl", str(log), "--out", str(tmp_path)]) == 0
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert len(re.findall("<figure>", text)) >= 3
    assert re.search(r"off the road</span><b>unknown", text)


def test_a_report_can_be_left_out(log: Path, tmp_path: Path) -> None:
    assert main(["sim", "--asl", str(log), "--no-report", "--out", str(tmp_path)]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["scores.json"]


def test_what_is_no_log_is_refused(tmp_path: Path, log: Path) -> None:
    (tmp_path / "x.asl").write_bytes(b"not a log")
    with pytest.raises(InvalidInput):
        read_rollout(tmp_path / "x.asl", score_log(log))
