"""Rollouts as AlpaSim's logs, and logs as scores."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from alpamayo_ros.sim.asl_log import log_entries, session_uuid, write_asl
from alpamayo_ros.sim.asl_score import read_log, score_log
from alpamayo_ros.sim.export.members import EXPORTER
from alpamayo_ros.sim.planner_sources import ExpertSource
from alpamayo_ros.sim.protocol.asl import read_entries, write_entries
from alpamayo_ros.sim.record import RolloutRecord
from alpamayo_ros.sim.rollout_driver import Job, drive_rollout
from alpamayo_ros.sim.scene import EGO_ID, START_US
from alpamayo_ros.sim.scoring import score_rollout
from alpamayo_ros.types import InvalidInput


@pytest.fixture(scope="module")
def record() -> RolloutRecord:
    return drive_rollout(Job("lead_braking-9"), ExpertSource())


def test_entries_are_alpasims(record: RolloutRecord) -> None:
    entries = list(log_entries(record))
    count = Counter(entry.WhichOneof("log_entry") for entry in entries)
    plans = sum(drive.source == "plan" for drive in record.drives)
    assert count == {
        "rollout_metadata": 1,
        "actor_poses": len(record.ego),
        "driver_ego_trajectory": len(record.ego),
        **dict.fromkeys(
            ("route_request", "driver_request", "driver_return", "controller_request", "controller_return"),
            plans,
        ),
    }
    metadata = entries[0].rollout_metadata
    assert metadata.session_metadata.session_uuid == session_uuid("lead_braking-9", 0)
    assert metadata.force_gt_duration == 1_700_000
    assert metadata.session_metadata.render_start_timestamp_us == START_US
    assert metadata.actor_definitions.actor_aabb[0].actor_id == EGO_ID
    assert {each.actor_id for each in metadata.actor_definitions.actor_aabb} == {EGO_ID, *record.actors}


def test_driver_entries_hold_the_plan_its_samples_and_its_reasoning(record: RolloutRecord) -> None:
    entries = list(log_entries(record))
    answer = next(e.driver_return for e in entries if e.HasField("driver_return"))
    drive = next(drive for drive in record.drives if drive.source == "plan")
    assert [pose.timestamp_us for pose in answer.trajectory.poses] == drive.stamps_us.tolist()
    last = answer.trajectory.poses[-1].pose.vec
    np.testing.assert_allclose([last.x, last.y, last.z], drive.local_from_rig[-1, :3, 3], atol=1e-4)
    assert len(answer.debug_info.sampled_trajectories) == len(drive.candidates)
    reach_us = answer.debug_info.sampled_trajectories[0].poses[-1].timestamp_us - drive.time_us
    assert reach_us >= 5_000_000, "AlpaSim computes no minADE from shorter ones"
    told = json.loads(answer.debug_info.unstructured_debug_info)
    assert told["reasoning_text"] == drive.reasoning and told["source"] == "plan"
    route = next(e.route_request.route for e in entries if e.HasField("route_request"))
    gaps = np.diff([[p.x, p.y] for p in route.waypoints], axis=0)
    assert len(route.waypoints) == 20
    np.testing.assert_allclose(np.linalg.norm(gaps, axis=1), 80 / 19, atol=0.1)
    assert abs(route.waypoints[0].x) < 2.5


def test_a_log_scores_as_its_record_and_is_the_same_every_time(record: RolloutRecord, tmp_path: Path) -> None:
    write_asl(tmp_path / "a.asl", record)
    write_asl(tmp_path / "b.asl", record)
    assert (tmp_path / "a.asl").read_bytes() == (tmp_path / "b.asl").read_bytes()
    logged, direct = score_log(tmp_path / "a.asl"), score_rollout(record)
    assert logged.scene_score == direct.scene_score
    assert logged.family == "lead_braking" and logged.planner == "expert"
    assert set(logged.metrics) == set(direct.metrics)
    for name, value in direct.metrics.items():
        assert logged.metrics[name] == pytest.approx(value, abs=0.05), name


def test_alpasims_own_log_is_scored_without_its_map(golden_dir: Path) -> None:
    score = score_log(golden_dir / "alpasim/rollout.asl")
    assert score.scene_id == "synthetic-straight-left-0001" and score.scored
    metrics = score.metrics
    assert metrics["progress"] == pytest.approx(0.158605, abs=1e-5)
    assert metrics["progress_score"] == pytest.approx(0.198256, abs=1e-5)
    assert metrics["dist_traveled_m"] == pytest.approx(25.600, abs=1e-3)
    assert metrics["gt_dist_traveled_m"] == pytest.approx(161.408, abs=1e-3)
    assert metrics["min_distance_to_obstacle_m"] == pytest.approx(23.945, abs=1e-3)
    assert score.scene_score == pytest.approx(0.198256, abs=1e-5)
    assert metrics["offroad"] is None, "no map, so unknown and not zero"
    assert score.unknown_incidents == ("offroad",)


def test_logs_that_are_none_are_refused(record: RolloutRecord, tmp_path: Path) -> None:
    path = tmp_path / "log.asl"
    with pytest.raises(InvalidInput, match=r"expected an \.asl file"):
        score_log(path)
    entries = list(log_entries(record))
    write_entries(path, entries[1:])
    with pytest.raises(InvalidInput, match="expected rollout_metadata, got none"):
        score_log(path)
    write_entries(path, entries[:1])
    with pytest.raises(InvalidInput, match="expected poses of EGO and a recorded drive"):
        score_log(path)
    write_entries(path, entries)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(InvalidInput, match=r"expected \d+ bytes, got the last \d+ of the file"):
        score_log(path)
    path.write_bytes(b"\x00\x00\x00\x04abcd")
    with pytest.raises(InvalidInput, match="expected a LogEntry of 4 bytes, got other bytes"):
        list(read_entries(path))


def test_drives_are_read_back(record: RolloutRecord, tmp_path: Path) -> None:
    write_asl(tmp_path / "a.asl", record)
    rollout = read_log(tmp_path / "a.asl")
    drives = [drive for drive in record.drives if drive.source == "plan"]
    assert [drive.time_us for drive in rollout.drives] == [drive.time_us for drive in drives]
    np.testing.assert_allclose(
        rollout.drives[3].candidates[..., :2], drives[3].candidates[..., :2], atol=1e-3
    )
    assert rollout.road is not None


def test_a_log_that_alpasim_wrote_in_an_exported_scene_has_the_scenes_map(
    record: RolloutRecord, tmp_path: Path
) -> None:
    entries = list(log_entries(record))
    session = entries[0].rollout_metadata.session_metadata
    session.session_uuid = "f1843de4-e665-11f1-b417-02fc00000001"
    write_entries(tmp_path / "a.asl", entries)
    assert read_log(tmp_path / "a.asl").road is None, "somebody else's scene, as far as is known"
    session.nre_version = f"{EXPORTER} 0.1.0"
    write_entries(tmp_path / "a.asl", entries)
    assert read_log(tmp_path / "a.asl").road is not None
    for pose in entries[0].rollout_metadata.ego_rig_recorded_ground_truth_trajectory.poses:
        pose.pose.vec.x += 5.0
    write_entries(tmp_path / "a.asl", entries)
    assert read_log(tmp_path / "a.asl").road is None, "a scene that this version makes otherwise"
