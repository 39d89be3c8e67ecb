"""`alpamayo asl`: what is in a log, for people and as JSON."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from rollout_factory import example_scene, record_of

from alpamayo_ros.cli.main import main
from alpamayo_ros.sim.asl_log import RenderExchange, log_entries, write_asl
from alpamayo_ros.sim.asl_summary import UNKNOWN_ENTRY, LogSummary, summarise_log
from alpamayo_ros.sim.asl_tallies import Spread, debug_info
from alpamayo_ros.sim.protocol.asl import read_entries, write_entries
from alpamayo_ros.sim.protocol.generated import common_pb2, logging_pb2, sensorsim_pb2
from alpamayo_ros.types import InvalidInput


@pytest.fixture(scope="module")
def log(golden_dir: Path) -> Path:
    return golden_dir / "alpasim" / "rollout.asl"


@pytest.fixture(scope="module")
def entries(log: Path) -> list[logging_pb2.LogEntry]:
    return list(read_entries(log))


@pytest.fixture(scope="module")
def golden(log: Path) -> LogSummary:
    return summarise_log(log)


def copies(entries: list[logging_pb2.LogEntry]) -> list[logging_pb2.LogEntry]:
    return [logging_pb2.LogEntry.FromString(entry.SerializeToString()) for entry in entries]


def of_kind(entries: list[logging_pb2.LogEntry], kind: str) -> list[logging_pb2.LogEntry]:
    return [entry for entry in entries if entry.WhichOneof("log_entry") == kind]


def summary_of(path: Path, entries: list[logging_pb2.LogEntry]) -> LogSummary:
    write_entries(path, entries)
    return summarise_log(path)


def test_entries_session_and_time(golden: LogSummary, log: Path) -> None:
    assert {kind: each.count for kind, each in golden.entries.items()} == {
        "render_request": 124,
        "driver_camera_image": 124,
        "actor_poses": 32,
        "driver_ego_trajectory": 30,
        "route_request": 30,
        "driver_request": 30,
        "driver_return": 30,
        "controller_request": 30,
        "controller_return": 30,
        "rollout_metadata": 1,
        "available_cameras_request": 1,
        "available_cameras_return": 1,
        "driver_session_request": 1,
        "traffic_session_request": 1,
        "available_ego_masks_request": 1,
        "available_ego_masks_return": 1,
    }
    assert sum(each.size_bytes for each in golden.entries.values()) == golden.size_bytes == log.stat().st_size
    session = golden.session
    assert session is not None
    assert session.scene_id == "synthetic-straight-left-0001" and session.rollout_index == 0
    assert session.session_uuid == "f1843de4-e665-11f1-b417-02fc00000001"
    assert (session.planned_steps, session.step_s, session.handover_s) == (30, 0.1, pytest.approx(1.9))
    assert session.versions["controller"] == "0.71.0 (API 0.54.0)"
    assert session.versions["traffic"].startswith("<skip>")
    assert golden.steps == 32 and golden.duration_s == 3.2
    assert not golden.broken and not golden.cut_off and golden.unknown_fields == {}


def test_cameras_are_told_by_what_was_asked_and_what_came(golden: LogSummary) -> None:
    assert [camera.logical_id for camera in golden.cameras] == [
        "camera_cross_left_120fov",
        "camera_cross_right_120fov",
        "camera_front_tele_30fov",
        "camera_front_wide_120fov",
    ]
    for camera in golden.cameras:
        assert (camera.model, camera.native_size) == ("ftheta", "1920x1080")
        assert camera.requested_sizes == {"1900x1080": 31} and camera.image_sizes == {"384x216": 31}
        assert (camera.requests, camera.images, camera.broken_images) == (31, 31, 0)
        assert camera.rate_hz == pytest.approx(10.0)
    assert sum(camera.images for camera in golden.cameras) == 124


def test_actors_drives_and_controller(golden: LogSummary) -> None:
    told = {actor.actor_id: (actor.label, actor.moving, actor.steps) for actor in golden.actors}
    assert told == {
        "EGO": ("", True, 32),
        "lead": ("automobile", True, 32),
        "oncoming": ("automobile", True, 32),
        "parked": ("automobile", False, 32),
    }
    assert golden.actors[0].size_xyz_m == (5.0, 2.0, 1.5)
    assert golden.actors[0].travelled_m == pytest.approx(25.6, abs=1e-3)
    drives = golden.drives
    assert (drives.requests, drives.answers, drives.terminations) == (30, 30, 0)
    assert drives.horizon_s == Spread(6.4, 6.4, 6.4) == drives.sample_horizon_s
    assert drives.points == Spread(65, 65, 65) and drives.samples == Spread(1, 1, 1)
    assert drives.debug_info == {"pickle": 30} and drives.reasoning == {} and drives.faults == {}
    assert drives.routes == 30 and drives.route_points == Spread(20, 20, 20)
    assert (drives.egomotion_batches, drives.egomotion_poses, drives.ground_truths) == (30, 34, 0)
    controller = golden.controller
    assert (controller.requests, controller.answers) == (30, 30)
    assert controller.step_s == Spread(0.1, 0.1, 0.1) and controller.states == Spread(1, 1, 1)
    assert controller.speed_mps is not None and controller.speed_mps.median == pytest.approx(8.0, abs=1e-4)


def test_incidents_are_alpasims_and_unknown_where_no_map_is(golden: LogSummary) -> None:
    incidents = golden.incidents
    assert incidents.collision == "" and incidents.at_fault is False
    assert incidents.off_road is None and incidents.unknown_incidents == ("offroad",)
    assert incidents.scene_score == pytest.approx(0.198256, abs=1e-6)
    assert incidents.left_recording is False
    assert incidents.progress == pytest.approx(0.158605, abs=1e-6)
    assert incidents.dist_traveled_m == pytest.approx(25.6, abs=1e-3)
    assert incidents.min_distance_to_obstacle_m == pytest.approx(23.945, abs=1e-3)


def test_a_collision_is_named_with_its_time(entries: list[logging_pb2.LogEntry], tmp_path: Path) -> None:
    changed = copies(entries)
    steps = of_kind(changed, "actor_poses")
    for step in steps[-5:]:
        poses = {each.actor_id: each for each in step.actor_poses.actor_poses}
        poses["lead"].actor_pose.CopyFrom(poses["EGO"].actor_pose)
        poses["lead"].actor_pose.vec.x += 4.0
    incidents = summary_of(tmp_path / "hit.asl", changed).incidents
    assert (incidents.collision, incidents.collision_with, incidents.at_fault) == ("front", "lead", True)
    first_us = steps[-5].actor_poses.timestamp_us
    assert incidents.event_s == pytest.approx((first_us - 1_700_000_000_000_000) / 1e6)


def test_leaving_the_recorded_drive_is_named_with_its_time(
    entries: list[logging_pb2.LogEntry], tmp_path: Path
) -> None:
    changed = copies(entries)
    steps = of_kind(changed, "actor_poses")
    for step in steps[-4:]:
        for each in step.actor_poses.actor_poses:
            if each.actor_id == "EGO":
                each.actor_pose.vec.y += 4.5
    incidents = summary_of(tmp_path / "away.asl", changed).incidents
    assert incidents.left_recording is True
    first_us = steps[-4].actor_poses.timestamp_us
    assert incidents.left_recording_s == pytest.approx((first_us - 1_700_000_000_000_000) / 1e6)
    assert incidents.farthest_from_recording_m == pytest.approx(4.5, abs=1e-3)


def test_what_is_wrong_with_plans_pictures_and_answers_is_counted(
    entries: list[logging_pb2.LogEntry], tmp_path: Path
) -> None:
    changed = copies(entries)
    first, second, third, fourth, fifth, sixth = (
        e.driver_return for e in of_kind(changed, "driver_return")[:6]
    )
    first.trajectory.Clear()
    second.trajectory.poses[3].timestamp_us = second.trajectory.poses[2].timestamp_us
    third.trajectory.poses[3].pose.vec.x = float("nan")
    del fourth.trajectory.poses[:50]
    fifth.debug_info.unstructured_debug_info = json.dumps(
        {"reasoning_text": "Nudge left because of the parked car.", "source": "plan"}
    ).encode()
    del fifth.trajectory.poses[40:]
    del fifth.debug_info.sampled_trajectories[:]
    sixth.terminate_session = True
    sixth.debug_info.unstructured_debug_info = b"\x01\x02"
    picture = of_kind(changed, "driver_camera_image")[0].driver_camera_image.camera_image
    picture.image_bytes = picture.image_bytes[:-40]
    changed.remove(of_kind(changed, "driver_return")[-1])
    changed.remove(of_kind(changed, "controller_return")[-1])
    summary = summary_of(tmp_path / "bad.asl", changed)
    drives = summary.drives
    assert drives.faults == {
        "empty": 1,
        "stamps repeat or fall": 1,
        "not finite": 1,
        "begins after now": 1,
    }
    assert (drives.requests, drives.answers, drives.terminations) == (30, 29, 1)
    assert drives.horizon_s == Spread(3.9, 6.4, 6.4) and drives.points == Spread(0, 65, 65)
    assert drives.samples == Spread(0, 1, 1)
    assert drives.debug_info == {"json": 1, "pickle": 27, "other": 1}
    assert drives.reasoning == {"Nudge left because of the parked car.": 1} and drives.sources == {"plan": 1}
    assert summary.controller.answers == 29
    assert sum(camera.broken_images for camera in summary.cameras) == 1


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self._path,)


def test_pickles_stay_closed(entries: list[logging_pb2.LogEntry], tmp_path: Path) -> None:
    trap = tmp_path / "sprung"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        data = pickle.dumps({"reasoning_text": Trap(trap)}, protocol=protocol)
        assert debug_info(data) == ("pickle" if protocol >= 2 else "other", {})
        (answer,) = copies(of_kind(entries, "driver_return")[:1])
        answer.driver_return.debug_info.unstructured_debug_info = data
        summary_of(tmp_path / "trap.asl", [answer])
    assert not trap.exists()
    pickle.loads(data)
    assert trap.exists(), "the trap works"


def test_a_log_of_ours_has_a_map_and_its_reasoning(tmp_path: Path) -> None:
    record = record_of(example_scene(), steps=40)
    path = tmp_path / "ours.asl"
    write_asl(path, record)
    summary = summarise_log(path)
    driven = sum(drive.source != "reference" for drive in record.drives)
    assert summary.drives.answers == summary.drives.requests == driven
    assert list(summary.drives.reasoning) == ["Keep the lane because the road ahead is clear."]
    assert summary.drives.debug_info == {"json": driven}
    moving = {actor.actor_id: actor.moving for actor in summary.actors}
    assert moving["EGO"] and moving["pedestrian"] and not moving["cone"]
    assert summary.cameras == () and summary.unknown_fields == {}
    assert summary.incidents.off_road is not None, "its map is that of its scene's id"


def test_pictures_asked_for_in_a_batch_count_too(tmp_path: Path) -> None:
    request = sensorsim_pb2.RGBRenderRequest(resolution_w=576, resolution_h=320, frame_end_us=5)
    request.camera_intrinsics.logical_id = "camera_rear_tele_30fov"
    batch = sensorsim_pb2.BatchRGBRenderRequest()
    batch.items.add(camera_name="a", request=request)
    aggregated = sensorsim_pb2.AggregatedRenderRequest(rgb_requests=[request])
    summary = summary_of(
        tmp_path / "batch.asl",
        [
            logging_pb2.LogEntry(batch_render_request=batch),
            logging_pb2.LogEntry(aggregated_render_request=aggregated),
            logging_pb2.LogEntry(render_request=request),
        ],
    )
    (camera,) = summary.cameras
    assert camera.requested_sizes == {"576x320": 3} and camera.rate_hz is None and camera.model == ""
    assert summary.session is None and summary.duration_s is None
    assert "expected rollout_metadata, got none" in summary.incidents.why_unknown


def test_fields_of_versions_to_come_are_counted_by_their_place(
    entries: list[logging_pb2.LogEntry], tmp_path: Path
) -> None:
    changed = copies(entries)
    for entry in of_kind(changed, "controller_return"):
        entry.controller_return.states[0].MergeFromString(b"\x35\x00\x00\x80\x3f")  # field 6, a float
    changed.append(logging_pb2.LogEntry.FromString(b"\xfa\x01\x03abc"))
    summary = summary_of(tmp_path / "newer.asl", changed)
    assert summary.unknown_fields == {"31": 1, "controller_return.states.6": 30}
    assert summary.entries[UNKNOWN_ENTRY].count == 1


def test_the_report_says_it_all(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["asl", str(log)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    for words in (
        "467 entries, 1.18 MB, 3.2 s from 2023-11-14 22:13:20 UTC",
        "synthetic-straight-left-0001, rollout 0",
        "controller 0.71.0 (API 0.54.0)",
        "without physics, traffic, video_model",
        "30 driven of 30 planned, 100 ms each; 32 instants with poses; the planner takes over at 1.9 s",
        "ftheta 1920x1080; 31 of 1900x1080 asked, 31 of 384x216 sent, 10.00 Hz",
        "4.50 x 1.90 x 1.60 m  automobile, static, 32 poses",
        "plans reach 6.4 s, 65 points each",
        "30 pickles, which are never opened",
        "30 steps of 0.1 s, all answered, at 8 m/s",
        "collision: none (nearest 23.9",
        "off-road: unknown (no map in the log)",
        "never 4 m away",
        "scene score: 0.198 if without offroad",
        "unknown fields  none",
    ):
        assert words in out, words
    assert max(map(len, out.splitlines())) < 130


def test_json_holds_the_same(log: Path, golden: LogSummary, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["asl", str(log), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == json.loads(json.dumps(golden.as_dict()))
    assert told["drives"]["horizon_s"] == {"least": 6.4, "median": 6.4, "greatest": 6.4}
    assert told["incidents"]["off_road"] is None


def test_a_crashed_rollouts_log_is_summarised_as_far_as_it_goes(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "crashed.asl"
    path.write_bytes(log.read_bytes()[:-100_000])
    summary = summarise_log(path)
    assert summary.cut_off and 400 < sum(each.count for each in summary.entries.values()) < 467
    assert summary.incidents.progress == pytest.approx(0.14, abs=0.02), "what is whole is scored"
    assert main(["asl", str(path)]) == 1
    out, err = capsys.readouterr()
    assert ", CUT OFF" in out.splitlines()[0] and "plans reach 6.4 s" in out
    assert "of the file" in out.splitlines()[-1] and "of the file" in err
    assert main(["asl", str(path), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["cut_off"] is True
    path.write_bytes(log.read_bytes()[:200_000] + bytes(64))
    assert main(["asl", str(path)]) == 1


def test_what_is_no_log_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.asl"

    def refused(data: bytes | None) -> str:
        if data is not None:
            path.write_bytes(data)
        assert main(["asl", str(path)]) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.startswith("alpamayo asl: log")
        return err

    assert "expected an .asl file" in refused(None)
    assert "got an empty file" in refused(b"")
    assert "entry 0 at byte 0: expected a length" in refused(b"\xff" * 40)
    assert "entry 0 at byte 0: expected" in refused(np.random.default_rng(5).bytes(5000))
    assert "entry 0 at byte 0: expected a length" in refused(bytes(500))
    assert "entry 0 at byte 0: expected" in refused(b"# A text\n" * 20)
    assert "entry 0 at byte 0: expected 4 bytes of length" in refused(b"\x00\x00")
    with pytest.raises(InvalidInput, match="got an empty file"):
        path.write_bytes(b"")
        summarise_log(path)


def test_random_entries_never_crash(tmp_path: Path) -> None:
    """Entries that parse, with nothing or nonsense in them."""
    rng = np.random.default_rng(3)
    kinds = [field.name for field in logging_pb2.LogEntry.DESCRIPTOR.fields]
    for round_ in range(30):
        made = []
        for kind in rng.permutation(kinds)[:12]:
            entry = logging_pb2.LogEntry()
            field = logging_pb2.LogEntry.DESCRIPTOR.fields_by_name[kind]
            if field.message_type is None:
                setattr(entry, kind, rng.bytes(5))
            else:
                getattr(entry, kind).SetInParent()
            made.append(entry)
        made.append(
            logging_pb2.LogEntry(
                egomotion_estimate_error=common_pb2.PoseAtTime(timestamp_us=int(rng.integers(2**63)))
            )
        )
        summary = summary_of(tmp_path / "random.asl", made)
        assert sum(each.count for each in summary.entries.values()) == 13, round_


def test_exchanges_written_by_us_are_cameras(golden_dir: Path, tmp_path: Path) -> None:
    record = record_of(example_scene(), steps=25)
    golden = list(read_entries(golden_dir / "alpasim" / "rollout.asl"))
    request = of_kind(golden, "render_request")[0].render_request
    image = of_kind(golden, "driver_camera_image")[0].driver_camera_image.camera_image.image_bytes
    exchanges = []
    for state in record.ego:
        asked = sensorsim_pb2.RGBRenderRequest()
        asked.CopyFrom(request)
        asked.frame_end_us, asked.frame_start_us = state.time_us, state.time_us - 30_000
        exchanges.append(RenderExchange(asked, image))
    summary = summary_of(tmp_path / "ours.asl", list(log_entries(record, exchanges=exchanges)))
    (camera,) = summary.cameras
    assert camera.requests == camera.images == len(record.ego)
    assert camera.rate_hz == pytest.approx(10.0)
