"""A rollout.asl as a rollout to look at: ours with its scene, another's with what its cameras saw."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.sensing.rigid import invert
from alpamayo_ros.sim.asl_score import own_scene
from alpamayo_ros.sim.cameras import LOGICAL_IDS, SimCamera
from alpamayo_ros.sim.protocol.asl import read_entries
from alpamayo_ros.sim.protocol.convert import matrices_of, matrix_of, trajectory_of
from alpamayo_ros.sim.protocol.generated import egodriver_pb2, logging_pb2
from alpamayo_ros.sim.record import ActorTrack, DriveRecord, DriveSource, RolloutRecord
from alpamayo_ros.sim.report.moments import END_TEXTS
from alpamayo_ros.sim.roads import Float64Array
from alpamayo_ros.sim.scene import EGO_ID, Scene
from alpamayo_ros.sim.scene_from_asl import scene_from_asl
from alpamayo_ros.sim.scoring import RolloutScore
from alpamayo_ros.sim.state import EgoState
from alpamayo_ros.types import InvalidInput, UInt8Array

_GREY = 225
_NEAR_US = 60_000
"""A picture that is further from a step is not of it."""


@dataclass(frozen=True, eq=False)
class LoggedPictures:
    """The pictures that a log holds, as a PictureSource; a step without one is shown grey.

    Attributes:
        cameras: of the log, by camera id.
        images: encoded, by camera id and the stamp in us of their last row.
    """

    cameras: Mapping[int, SimCamera]
    images: Mapping[int, Mapping[int, bytes]]

    def render(
        self, record: RolloutRecord, step: int, *, camera_ids: Sequence[int], width: int, height: int
    ) -> dict[int, UInt8Array]:
        """See PictureSource.render."""
        time_us = record.ego[step].time_us
        return {
            camera_id: _decoded(self.images.get(camera_id, {}), time_us, width, height)
            for camera_id in camera_ids
        }


@dataclass(frozen=True, eq=False)
class LoggedRollout:
    """A log's rollout; `pictures` is None where it holds none of the cameras that a report shows."""

    record: RolloutRecord
    pictures: LoggedPictures | None


def read_rollout(path: Path, score: RolloutScore) -> LoggedRollout:
    """Return what a log tells of a rollout, the end as its score says.

    A log of ours gets its scene back; of another's, the road is unknown and not drawn.

    Raises:
        InvalidInput: for a file that is no log, or has no metadata, no poses of the ego or no recorded drive.
    """
    metadata: logging_pb2.RolloutMetadata | None = None
    steps: list[logging_pb2.ActorPoses] = []
    answers: dict[int, egodriver_pb2.DriveResponse] = {}
    images: dict[int, dict[int, bytes]] = {}
    asked_us = 0
    for entry in read_entries(path):
        kind = entry.WhichOneof("log_entry")
        if kind == "rollout_metadata":
            metadata = entry.rollout_metadata
        elif kind == "actor_poses" and any(each.actor_id == EGO_ID for each in entry.actor_poses.actor_poses):
            steps.append(entry.actor_poses)
        elif kind == "driver_request":
            asked_us = entry.driver_request.time_now_us
        elif kind == "driver_return":
            answers[asked_us] = entry.driver_return
        elif kind == "driver_camera_image":
            image = entry.driver_camera_image.camera_image
            if image.logical_id in LOGICAL_IDS:
                of_camera = images.setdefault(LOGICAL_IDS.index(image.logical_id), {})
                of_camera[image.frame_end_us] = image.image_bytes
    if metadata is None or not steps:
        raise InvalidInput(f"log {path}: expected rollout_metadata and poses of {EGO_ID}, got none")
    fixed = scene_from_asl(path)
    scene = own_scene(metadata) or replace(fixed.scene, road=None, props=())
    ego = _ego(metadata, steps)
    record = RolloutRecord(
        scene=scene,
        rollout_index=metadata.rollout_index,
        planner=score.planner,
        ego=ego,
        actors=_actors(fixed.scene, steps),
        drives=_drives(metadata, scene, ego, answers),
        end_reason=score.end_reason if score.end_reason in END_TEXTS else "time",
        error=score.error,
    )
    cameras = {camera.camera_id: camera for camera in fixed.cameras}
    has_front = 1 in images and 1 in cameras
    return LoggedRollout(record, LoggedPictures(cameras, images) if has_front else None)


def _ego(
    metadata: logging_pb2.RolloutMetadata, steps: Sequence[logging_pb2.ActorPoses]
) -> tuple[EgoState, ...]:
    """Return the ego's states: poses as logged, motion by their differences; steering is not in a log."""
    stamps_us = np.array([step.timestamp_us for step in steps], np.int64)
    boxes = matrices_of(
        (next(each.actor_pose for each in step.actor_poses if each.actor_id == EGO_ID) for step in steps),
        EGO_ID,
    )
    poses = boxes @ invert(matrix_of(metadata.transform_ego_coords_rig_to_aabb, "rig_to_aabb"))
    velocity, yaw_rate, accel = _motion(stamps_us, poses)
    return tuple(
        EgoState(
            int(stamp_us),
            poses[i],
            velocity_in_rig_mps=(float(velocity[i, 0]), float(velocity[i, 1])),
            yaw_rate_radps=float(yaw_rate[i]),
            accel_in_rig_mps2=(float(accel[i, 0]), float(accel[i, 1])),
            steer_rad=np.nan,
        )
        for i, stamp_us in enumerate(stamps_us)
    )


def _motion(
    stamps_us: NDArray[np.int64], poses: Float64Array
) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Return velocity [S, 2] in the rig, yaw rate [S] and acceleration [S, 2] in the rig."""
    if len(stamps_us) < 2:
        return np.zeros((len(stamps_us), 2)), np.zeros(len(stamps_us)), np.zeros((len(stamps_us), 2))
    times_s = (stamps_us - stamps_us[0]) * 1e-6
    in_local = np.gradient(poses[:, :2, 3], times_s, axis=0)
    yaw_rate = np.gradient(np.unwrap(np.arctan2(poses[:, 1, 0], poses[:, 0, 0])), times_s)
    velocity = np.einsum("sji,sj->si", poses[:, :2, :2], in_local)
    accel = np.einsum("sji,sj->si", poses[:, :2, :2], np.gradient(in_local, times_s, axis=0))
    return velocity, yaw_rate, accel


def _actors(scene: Scene, steps: Sequence[logging_pb2.ActorPoses]) -> dict[str, ActorTrack]:
    """Return the actors' tracks over the steps; sizes and kinds are those of the log's own scene."""
    tracks = {}
    for actor_id, actor in scene.actors.items():
        poses = np.full((len(steps), 4, 4), np.nan)
        for row, step in enumerate(steps):
            for each in step.actor_poses:
                if each.actor_id == actor_id:
                    poses[row] = matrix_of(each.actor_pose, actor_id)
        present = np.isfinite(poses[:, 0, 0])
        if present.any():
            tracks[actor_id] = ActorTrack(
                actor_id, actor.kind, actor.size_xyz_m, actor.is_static, present, poses
            )
    return tracks


def _drives(
    metadata: logging_pb2.RolloutMetadata,
    scene: Scene,
    ego: Sequence[EgoState],
    answers: Mapping[int, egodriver_pb2.DriveResponse],
) -> tuple[DriveRecord, ...]:
    """Return what moved the ego in each step: the recorded drive first, then the newest plan."""
    handover_us = metadata.session_metadata.render_start_timestamp_us + metadata.force_gt_duration
    reference = scene.reference
    drives = []
    for state in ego[:-1]:
        asked = [stamp_us for stamp_us in answers if stamp_us <= state.time_us]
        if state.time_us < handover_us or not asked:
            rest = reference.stamps_us >= state.time_us
            stamps_us, poses = reference.stamps_us[rest], reference.local_from_rig[rest]
            if not len(stamps_us):
                stamps_us, poses = np.array([state.time_us]), state.local_from_rig[None]
            drives.append(DriveRecord(state.time_us, "reference", stamps_us, poses))
        else:
            drives.append(_plan(answers[max(asked)], state))
    return tuple(drives)


def _plan(answer: egodriver_pb2.DriveResponse, state: EgoState) -> DriveRecord:
    told = _told(answer.debug_info.unstructured_debug_info)
    stamps_us, poses = trajectory_of(answer.trajectory, "driver_return")
    if not len(stamps_us):
        return DriveRecord(
            state.time_us,
            "stop",
            np.array([state.time_us]),
            state.local_from_rig[None],
            reason="an empty plan",
        )
    lines = [
        np.array([(each.pose.vec.x, each.pose.vec.y, each.pose.vec.z) for each in sampled.poses])
        for sampled in answer.debug_info.sampled_trajectories
    ]
    same = [line for line in lines if len(line) == len(lines[0]) > 0]
    source = told.get("source")
    return DriveRecord(
        state.time_us,
        cast(DriveSource, source) if source in ("plan", "stop", "reference") else "plan",
        stamps_us,
        poses,
        candidates=np.stack(same) if same else np.zeros((0, 64, 3)),
        chosen=int(told.get("chosen", -1)),
        reasoning=str(told.get("reasoning_text", "")),
        instruction=str(told.get("instruction", "")),
        reason=str(told.get("reason", "")),
    )


def _told(debug_info: bytes) -> dict[str, Any]:
    """Return what a driver says in JSON, as ours does; others' are pickles, never to be opened."""
    try:
        told = json.loads(debug_info)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _decoded(images: Mapping[int, bytes], time_us: int, width: int, height: int) -> UInt8Array:
    stamp_us = min(images, key=lambda stamp: abs(stamp - time_us), default=None)
    if stamp_us is not None and abs(stamp_us - time_us) <= _NEAR_US:
        image = cv2.imdecode(np.frombuffer(images[stamp_us], np.uint8), cv2.IMREAD_COLOR)
        if image is not None:
            resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
            return np.ascontiguousarray(resized[..., ::-1])
    return np.full((height, width, 3), _GREY, np.uint8)
