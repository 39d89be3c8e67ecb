"""Scores of a rollout.asl, ours or AlpaSim's.

A log holds no map. That of a log of ours comes from its scene's id; in others, what needs one stays unknown.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.sim.asl_log import session_uuid
from alpamayo_ros.sim.cameras import LOGICAL_IDS
from alpamayo_ros.sim.export.members import EXPORTER
from alpamayo_ros.sim.protocol.asl import read_entries
from alpamayo_ros.sim.protocol.generated import common_pb2, egodriver_pb2, logging_pb2
from alpamayo_ros.sim.roads import Float64Array
from alpamayo_ros.sim.scene import EGO_ID, Scene, family_and_seed
from alpamayo_ros.sim.scenes import make_scene
from alpamayo_ros.sim.scoring import ActorInput, DriveInput, RolloutScore, ScoreInput, score_input
from alpamayo_ros.sim.trajectories import interpolate_poses
from alpamayo_ros.types import InvalidInput

_SAME_DRIVE_M = 0.5
"""AlpaSim smooths the recorded drive, by 0.2 m at the most."""
_BLACK = 10
"""AlpaSim drops a rollout in which a front-wide image has no brighter value."""


def score_log(path: Path) -> RolloutScore:
    """Return the scores of one log.

    Raises:
        InvalidInput: for a file that is no log, or has no metadata, no poses of the ego or no recorded drive.
    """
    return score_input(read_log(path))


def read_log(path: Path) -> ScoreInput:
    """Return a log as input of the scores; raises InvalidInput as score_log does."""
    return read_log_entries(read_entries(path), path)


def read_log_entries(entries: Iterable[logging_pb2.LogEntry], path: Path) -> ScoreInput:
    """Return a log's entries as input of the scores, `path` for messages; raises InvalidInput likewise."""
    metadata: logging_pb2.RolloutMetadata | None = None
    poses: list[logging_pb2.ActorPoses] = []
    drives: list[DriveInput] = []
    asked_us: int | None = None
    has_black_image = False
    for entry in entries:
        kind = entry.WhichOneof("log_entry")
        if kind == "rollout_metadata":
            metadata = entry.rollout_metadata
        elif kind == "actor_poses":
            poses.append(entry.actor_poses)
        elif kind == "driver_request":
            asked_us = entry.driver_request.time_now_us
        elif kind == "driver_return" and asked_us is not None:
            drive = _drive(entry.driver_return, asked_us)
            drives += [drive] if drive is not None else []
        elif kind == "driver_camera_image":
            image = entry.driver_camera_image.camera_image
            has_black_image |= image.logical_id == LOGICAL_IDS[1] and _is_black(image.image_bytes)
    if metadata is None:
        raise InvalidInput(f"log {path}: expected rollout_metadata, got none")
    return _score_input(path, metadata, poses, tuple(drives), has_black_image=has_black_image)


def _score_input(
    path: Path,
    metadata: logging_pb2.RolloutMetadata,
    poses: Sequence[logging_pb2.ActorPoses],
    drives: tuple[DriveInput, ...],
    *,
    has_black_image: bool,
) -> ScoreInput:
    session = metadata.session_metadata
    steps = [{pose.actor_id: pose.actor_pose for pose in step.actor_poses} for step in poses]
    driven = [index for index, step in enumerate(steps) if EGO_ID in step]
    reference = metadata.ego_rig_recorded_ground_truth_trajectory
    if not driven or len(reference.poses) < 2:
        raise InvalidInput(
            f"log {path}: expected poses of {EGO_ID} and a recorded drive, "
            f"got {len(driven)} and {len(reference.poses)} poses"
        )
    ego = np.array([_xyz_yaw(steps[index][EGO_ID]) for index in driven])
    ahead_m = float(metadata.transform_ego_coords_rig_to_aabb.vec.x)
    recorded = np.array([_xyz_yaw(each.pose) for each in reference.poses])[:, [0, 1, 3]]
    recorded[:, 0] += ahead_m * np.cos(recorded[:, 2])
    recorded[:, 1] += ahead_m * np.sin(recorded[:, 2])
    sizes = {each.actor_id: each.aabb for each in metadata.actor_definitions.actor_aabb}
    ego_size = sizes.pop(EGO_ID, None)
    if ego_size is None:
        raise InvalidInput(f"log {path}: expected the size of {EGO_ID} among the actors, got none")
    scene = own_scene(metadata)
    return ScoreInput(
        scene_id=session.scene_id,
        stamps_us=np.array([poses[index].timestamp_us for index in driven], np.int64),
        ego_boxes=ego,
        reference_stamps_us=np.array([each.timestamp_us for each in reference.poses], np.int64),
        reference_boxes=recorded,
        handover_us=session.render_start_timestamp_us + metadata.force_gt_duration,
        start_us=session.start_timestamp_us,
        actors=tuple(
            ActorInput(actor_id, size.size_x, size.size_y, _track(steps, driven, actor_id))
            for actor_id, size in sorted(sizes.items())
        ),
        road=None if scene is None else scene.road,
        family="recorded" if scene is None else scene.family,
        drives=drives,
        rollout_index=metadata.rollout_index,
        planner=metadata.version_ids.egodriver_version.version_id,
        ego_size_m=(ego_size.size_x, ego_size.size_y),
        box_ahead_of_rig_m=ahead_m,
        has_black_image=has_black_image,
    )


def own_scene(metadata: logging_pb2.RolloutMetadata) -> Scene | None:
    """Return the scene of a log of one of ours, driven here or, exported, in AlpaSim; None for another's."""
    session = metadata.session_metadata
    written_here = session.session_uuid == session_uuid(session.scene_id, metadata.rollout_index)
    if not written_here and not session.nre_version.startswith(EXPORTER):
        return None
    try:
        family_and_seed(session.scene_id)
    except InvalidInput:
        return None  # recorded elsewhere, replayed here
    scene = make_scene(session.scene_id)
    return scene if written_here or _is_recorded_drive(metadata, scene) else None


def _is_recorded_drive(metadata: logging_pb2.RolloutMetadata, scene: Scene) -> bool:
    """Return whether the log's recorded drive begins and ends as the scene's: other versions make others."""
    drive = metadata.ego_rig_recorded_ground_truth_trajectory.poses
    stamps_us = np.array([drive[0].timestamp_us, drive[-1].timestamp_us], np.int64)
    have = np.array([_xyz_yaw(each.pose)[:2] for each in (drive[0], drive[-1])])
    want = interpolate_poses(scene.reference.stamps_us, scene.reference.local_from_rig, stamps_us)[:, :2, 3]
    return bool(np.abs(have - want).max() <= _SAME_DRIVE_M)


def _track(steps: Sequence[dict[str, common_pb2.Pose]], driven: Sequence[int], actor_id: str) -> Float64Array:
    track = np.full((len(driven), 3), np.nan)
    for row, index in enumerate(driven):
        pose = steps[index].get(actor_id)
        if pose is not None:
            x, y, _, yaw = _xyz_yaw(pose)
            track[row] = x, y, yaw
    return track


def _drive(answer: egodriver_pb2.DriveResponse, asked_us: int) -> DriveInput | None:
    """Return a driver's answer; None for an empty one."""
    stamps_us, poses = _trajectory(answer.trajectory)
    if not len(stamps_us):
        return None
    sampled = [_trajectory(each) for each in answer.debug_info.sampled_trajectories]
    # All samples are of the first one's stamps; another driver's that are not are left out.
    stamps = sampled[0][0] if sampled else np.zeros(0, np.int64)
    same = [rows for own, rows in sampled if np.array_equal(own, stamps)]
    return DriveInput(
        time_us=asked_us,
        stamps_us=stamps_us,
        rig_poses=poses,
        from_planner=_source(answer.debug_info.unstructured_debug_info) == "plan",
        candidate_stamps_us=stamps,
        candidates=np.stack(same) if same else np.zeros((0, 0, 3)),
    )


def _source(debug_info: bytes) -> str:
    """Return what made a plan, as our logs say in JSON; others' are pickles, never to be opened."""
    try:
        told = json.loads(debug_info)
    except ValueError:
        return "plan"
    return str(told.get("source", "plan")) if isinstance(told, dict) else "plan"


def _trajectory(trajectory: common_pb2.Trajectory) -> tuple[NDArray[np.int64], Float64Array]:
    stamps_us = np.array([each.timestamp_us for each in trajectory.poses], np.int64)
    rows = np.array([_xyz_yaw(each.pose) for each in trajectory.poses]).reshape(-1, 4)
    return stamps_us, rows[:, [0, 1, 3]]


def _xyz_yaw(pose: common_pb2.Pose) -> tuple[float, float, float, float]:
    q, p = pose.quat, pose.vec
    yaw = np.arctan2(2 * (q.w * q.z + q.x * q.y), 1 - 2 * (q.y * q.y + q.z * q.z))
    return p.x, p.y, p.z, float(yaw)


def _is_black(image_bytes: bytes) -> bool:
    image = cv2.imdecode(np.frombuffer(image_bytes, np.uint8), cv2.IMREAD_COLOR) if image_bytes else None
    return image is not None and int(image.max()) <= _BLACK
