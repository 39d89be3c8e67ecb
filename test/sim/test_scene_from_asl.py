"""Scenes from AlpaSim logs: the road under the drive, actors by class, and what is no log."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from alpamayo_ros.sim.protocol.asl import write_entries
from alpamayo_ros.sim.protocol.convert import pose_message, size_message, trajectory_message
from alpamayo_ros.sim.protocol.generated import logging_pb2
from alpamayo_ros.sim.scene_from_asl import LANE_M, actor_kind, scene_from_asl
from alpamayo_ros.types import InvalidInput

START_US = 1_600_000_000_000_000


def drive(*, slope=0.0, at=(0.0, 0.0, 0.0)) -> np.ndarray:
    """Poses [100, 4, 4] of 10 m/s along a bend to the left, up a slope along x."""
    heading = np.linspace(0.0, 0.8, 100)
    poses = np.tile(np.eye(4), (100, 1, 1))
    c, s = np.cos(heading), np.sin(heading)
    poses[:, 0, 0], poses[:, 0, 1], poses[:, 1, 0], poses[:, 1, 1] = c, -s, s, c
    poses[:, 0, 3], poses[:, 1, 3] = np.cumsum(c), np.cumsum(s)
    poses[:, 2, 3] = slope * poses[:, 0, 3]
    poses[:, :3, 3] += at
    return poses


def log_of(folder: Path, poses: np.ndarray, **actors: tuple[str, float, bool]) -> Path:
    """Write a log of a drive and of actors (label, length, moves) that stand or drive beside it."""
    stamps = START_US + 100_000 * np.arange(len(poses))
    metadata = logging_pb2.RolloutMetadata(
        ego_rig_recorded_ground_truth_trajectory=trajectory_message(stamps, poses)
    )
    metadata.session_metadata.scene_id = "some-scene"
    for actor_id, (label, length, _) in {"EGO": ("automobile", 5.0, True), **actors}.items():
        metadata.actor_definitions.actor_aabb.add(
            actor_id=actor_id, actor_label=label, aabb=size_message((length, 1.9, 1.6))
        )
    entries = [logging_pb2.LogEntry(rollout_metadata=metadata)]
    for index in (0, 10, 20):
        step = logging_pb2.ActorPoses(timestamp_us=int(stamps[index]))
        for actor_id, (_, _, moves) in actors.items():
            pose = poses[index if moves else 0].copy()
            pose[1, 3] += 3.0
            step.actor_poses.add(actor_id=actor_id, actor_pose=pose_message(pose))
        entries.append(logging_pb2.LogEntry(actor_poses=step))
    path = folder / "rollout.asl"
    write_entries(path, entries)
    return path


@pytest.mark.parametrize(("slope", "at"), [(0.0, (0, 0, 0)), (0.04, (2500.0, -800.0, 31.0))])
def test_the_road_lies_under_the_drive(tmp_path: Path, slope: float, at: tuple[float, float, float]) -> None:
    poses = drive(slope=slope, at=at)
    scene = scene_from_asl(log_of(tmp_path, poses)).scene
    assert scene.scene_id == "some-scene"
    driven = poses[:, :3, 3]
    assert np.abs(scene.terrain.height_m(driven[:, :2]) - driven[:, 2]).max() < 0.15
    own = next(lane for lane in scene.road.lanes if lane.lane_id == "drive")
    away = np.linalg.norm(own.centre[:, None, :2] - driven[None, :, :2], axis=2).min(axis=0)
    assert away.max() < 1.1  # points are 2 m apart
    assert np.allclose(np.linalg.norm(own.left[20:60] - own.right[20:60], axis=1), LANE_M, atol=0.05)
    assert np.allclose(own.centre[:, 2], scene.terrain.height_m(own.centre[:, :2]))


def test_actors_have_their_sizes_and_what_never_moves_is_static(tmp_path: Path) -> None:
    path = log_of(
        tmp_path,
        drive(),
        lead=("automobile", 4.5, True),
        box=("trailer", 9.0, False),
        gone=("car", 4.0, True),
    )
    scene = scene_from_asl(path).scene
    assert set(scene.actors) == {"lead", "box", "gone"}  # and not the ego
    lead, box = scene.actors["lead"], scene.actors["box"]
    assert (lead.kind, box.kind) == ("car", "truck")
    assert lead.size_xyz_m == pytest.approx((4.5, 1.9, 1.6))
    assert (lead.is_static, box.is_static) == (False, True)
    assert len(lead.track.stamps_us) == 3 and len(box.track.stamps_us) == 1


@pytest.mark.parametrize(
    ("label", "length_m", "kind"),
    [
        ("Automobile", 4.5, "car"),
        ("heavy_truck", 9.0, "truck"),
        ("bus", 12.0, "truck"),
        ("minivan", 5.0, "van"),
        ("motorcycle", 2.0, "cyclist"),
        ("person", 0.6, "pedestrian"),
        ("traffic_cone", 0.4, "cone"),
        ("protruding_object", 1.0, "cone"),
        ("?", 10.0, "truck"),
        ("?", 4.0, "car"),
        ("?", 0.5, "pedestrian"),
    ],
)
def test_labels_are_matched_by_word_and_unknown_ones_by_length(
    label: str, length_m: float, kind: str
) -> None:
    assert actor_kind(label, length_m=length_m) == kind


def test_what_is_no_log_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"nothing\.asl"):
        scene_from_asl(tmp_path / "nothing.asl")
    empty = tmp_path / "empty.asl"
    write_entries(empty, [logging_pb2.LogEntry(actor_poses=logging_pb2.ActorPoses())])
    with pytest.raises(InvalidInput, match="expected a log with rollout metadata, got none"):
        scene_from_asl(empty)
    with pytest.raises(InvalidInput, match="recorded drive of at least 2 poses, got 1"):
        scene_from_asl(_short(tmp_path))


def _short(folder: Path) -> Path:
    stamps = np.array([START_US])
    metadata = logging_pb2.RolloutMetadata(
        ego_rig_recorded_ground_truth_trajectory=trajectory_message(stamps, drive()[:1])
    )
    path = folder / "short.asl"
    write_entries(path, [logging_pb2.LogEntry(rollout_metadata=metadata)])
    return path
