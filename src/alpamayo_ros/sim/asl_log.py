"""A rollout's record as AlpaSim's rollout.asl: the entries that AlpaSim's runtime would have logged.

By step: what the renderer and the driver were asked and answered, the controller likewise, and all poses.
In warm-up the driver is not asked. The same record gives the same bytes: ids come from the scene's, and
latencies are left out.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alpamayo_ros import __version__
from alpamayo_ros.sensing.rigid import invert
from alpamayo_ros.sim.protocol.asl import write_entries
from alpamayo_ros.sim.protocol.convert import (
    RigMotion,
    dynamic_state_message,
    pose_message,
    pose_messages,
    size_message,
    trajectory_message,
    vec_message,
    version_message,
)
from alpamayo_ros.sim.protocol.generated import (
    common_pb2,
    controller_pb2,
    egodriver_pb2,
    logging_pb2,
    sensorsim_pb2,
)
from alpamayo_ros.sim.record import DriveRecord, RolloutRecord
from alpamayo_ros.sim.scene import (
    EGO_BOX_IN_RIG_M,
    EGO_ID,
    EGO_SIZE_XYZ_M,
    FORCE_GT_US,
    STEP_US,
    ActorKind,
    Scene,
)
from alpamayo_ros.sim.scoring.shapes import planar_poses
from alpamayo_ros.sim.state import EgoState
from alpamayo_ros.sim.trajectories import headings_along

LABELS: dict[ActorKind, str] = {
    "car": "automobile",
    "van": "automobile",
    "truck": "heavy_truck",
    "pedestrian": "person",
    "cyclist": "rider",
    "cone": "other_object",
}
ROUTE_POINTS, ROUTE_LENGTH_M = 20, 80.0
"""AlpaSim's route message: so many points, evenly, from the ego on."""


@dataclass(frozen=True, eq=False)
class RenderExchange:
    """One picture that was asked for: the request, and the encoded image that came."""

    request: sensorsim_pb2.RGBRenderRequest
    image_bytes: bytes


def session_uuid(scene_id: str, rollout_index: int) -> str:
    """Return the id of a rollout of ours: of scene and index alone."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"alpamayo_ros/{scene_id}/{rollout_index}"))


def write_asl(
    path: Path, record: RolloutRecord, *, exchanges: Sequence[RenderExchange] | None = None
) -> None:
    """Write a record, with the pictures that were rendered for the planner, if any."""
    write_entries(path, log_entries(record, exchanges=exchanges or ()))


def log_entries(
    record: RolloutRecord, *, exchanges: Sequence[RenderExchange] = ()
) -> Iterator[logging_pb2.LogEntry]:
    """Yield the log's entries in AlpaSim's order."""
    session = session_uuid(record.scene.scene_id, record.rollout_index)
    pictures: dict[int, list[RenderExchange]] = {}
    for exchange in exchanges:
        pictures.setdefault(exchange.request.frame_end_us, []).append(exchange)
    yield logging_pb2.LogEntry(rollout_metadata=_metadata(record, session))
    route = RouteAhead(record.scene)
    for step, state in enumerate(record.ego):
        yield _poses(record, step)
        for exchange in pictures.get(state.time_us, ()):
            yield logging_pb2.LogEntry(render_request=exchange.request)
            yield _image(exchange, session)
        yield _egomotion(state, session)
        if step == len(record.drives):
            break
        drive = record.drives[step]
        if drive.source == "reference":
            continue
        yield logging_pb2.LogEntry(
            route_request=egodriver_pb2.RouteRequest(session_uuid=session, route=route.message(state))
        )
        yield logging_pb2.LogEntry(
            driver_request=egodriver_pb2.DriveRequest(
                session_uuid=session, time_now_us=state.time_us, time_query_us=state.time_us + STEP_US
            )
        )
        yield logging_pb2.LogEntry(driver_return=_answer(drive))
        yield logging_pb2.LogEntry(controller_request=_control(drive, state, session))
        yield logging_pb2.LogEntry(controller_return=_controlled(record.ego[step + 1]))


def _metadata(record: RolloutRecord, session: str) -> logging_pb2.RolloutMetadata:
    scene = record.scene
    metadata = logging_pb2.RolloutMetadata(
        session_metadata=logging_pb2.RolloutMetadata.SessionMetadata(
            session_uuid=session,
            scene_id=scene.scene_id,
            batch_size=1,
            n_sim_steps=len(record.drives),
            start_timestamp_us=scene.start_us,
            control_timestep_us=STEP_US,
            render_start_timestamp_us=scene.start_us,
        ),
        force_gt_duration=FORCE_GT_US,
        rollout_index=record.rollout_index,
        transform_ego_coords_rig_to_aabb=common_pb2.Pose(
            vec=vec_message(np.array(EGO_BOX_IN_RIG_M)), quat=common_pb2.Quat(w=1.0)
        ),
        ego_rig_recorded_ground_truth_trajectory=trajectory_message(
            scene.reference.stamps_us, scene.reference.local_from_rig
        ),
    )
    for name, version in (
        ("runtime", __version__),
        ("egodriver", record.planner),
        ("sensorsim", __version__),
        ("traffic", __version__),
        ("controller", __version__),
    ):
        getattr(metadata.version_ids, f"{name}_version").CopyFrom(version_message(version, git_hash="none"))
    define = metadata.actor_definitions.actor_aabb.add
    define(actor_id=EGO_ID, aabb=size_message(EGO_SIZE_XYZ_M))
    for actor_id, track in record.actors.items():
        define(actor_id=actor_id, aabb=size_message(track.size_xyz_m), actor_label=LABELS[track.kind])
    return metadata


def _poses(record: RolloutRecord, step: int) -> logging_pb2.LogEntry:
    poses = logging_pb2.ActorPoses(timestamp_us=record.ego[step].time_us)
    here = {EGO_ID: record.ego[step].local_from_box}
    here |= {
        actor_id: track.local_from_box[step]
        for actor_id, track in record.actors.items()
        if track.present[step]
    }
    for actor_id, pose in zip(here, pose_messages(np.stack(list(here.values()))), strict=True):
        poses.actor_poses.add(actor_id=actor_id, actor_pose=pose)
    return logging_pb2.LogEntry(actor_poses=poses)


def _image(exchange: RenderExchange, session: str) -> logging_pb2.LogEntry:
    request = exchange.request
    image = egodriver_pb2.RolloutCameraImage.CameraImage(
        frame_start_us=request.frame_start_us,
        frame_end_us=request.frame_end_us,
        image_bytes=exchange.image_bytes,
        logical_id=request.camera_intrinsics.logical_id,
    )
    return logging_pb2.LogEntry(
        driver_camera_image=egodriver_pb2.RolloutCameraImage(session_uuid=session, camera_image=image)
    )


def _egomotion(state: EgoState, session: str) -> logging_pb2.LogEntry:
    return logging_pb2.LogEntry(
        driver_ego_trajectory=egodriver_pb2.RolloutEgoTrajectory(
            session_uuid=session,
            trajectory=trajectory_message(np.array([state.time_us]), state.local_from_rig[None]),
            dynamic_states=[dynamic_state_message(RigMotion.of(state))],
        )
    )


def _answer(drive: DriveRecord) -> egodriver_pb2.DriveResponse:
    """Return the driver's answer; its debug info is JSON, not a pickle as AlpaSim's own driver's."""
    told = {
        "source": drive.source,
        "reasoning_text": drive.reasoning,
        "instruction": drive.instruction,
        "chosen": drive.chosen,
        "reason": drive.reason,
    }
    answer = egodriver_pb2.DriveResponse(trajectory=trajectory_message(drive.stamps_us, drive.local_from_rig))
    answer.debug_info.unstructured_debug_info = json.dumps(told, ensure_ascii=False).encode()
    count = drive.candidates.shape[1] if drive.candidates.ndim == 3 else 0
    stamps_us = drive.time_us + STEP_US * np.arange(1, count + 1, dtype=np.int64)
    yaws = headings_along(drive.candidates[..., :2], planar_poses(drive.local_from_rig[:1])[0])
    for candidate, yaw in zip(drive.candidates, yaws, strict=True):
        sampled = answer.debug_info.sampled_trajectories.add()
        for stamp_us, xyz, half in zip(stamps_us.tolist(), candidate.tolist(), yaw / 2, strict=True):
            point = sampled.poses.add(timestamp_us=stamp_us)
            point.pose.vec.x, point.pose.vec.y, point.pose.vec.z = xyz
            point.pose.quat.w, point.pose.quat.z = np.cos(half), np.sin(half)
    return answer


def _control(
    drive: DriveRecord, state: EgoState, session: str
) -> controller_pb2.RunControllerAndVehicleModelRequest:
    in_rig = invert(state.local_from_rig) @ drive.local_from_rig
    return controller_pb2.RunControllerAndVehicleModelRequest(
        session_uuid=session,
        state=common_pb2.StateAtTime(
            timestamp_us=state.time_us,
            pose=pose_message(state.local_from_rig),
            state=dynamic_state_message(RigMotion.of(state)),
        ),
        planned_trajectory_in_rig=trajectory_message(drive.stamps_us, in_rig),
        future_time_us=state.time_us + STEP_US,
    )


def _controlled(state: EgoState) -> controller_pb2.RunControllerAndVehicleModelResponse:
    pose, dynamics = pose_message(state.local_from_rig), dynamic_state_message(RigMotion.of(state))
    return controller_pb2.RunControllerAndVehicleModelResponse(
        states=[
            controller_pb2.RunControllerAndVehicleModelResponse.PropagatedState(
                timestamp_us=state.time_us,
                pose_local_to_rig=pose,
                pose_local_to_rig_estimated=pose,
                dynamic_state=dynamics,
                dynamic_state_estimated=dynamics,
            )
        ]
    )


class RouteAhead:
    """AlpaSim's route messages: evenly spaced points in the rig, flat, NaN where the route ends."""

    def __init__(self, scene: Scene) -> None:
        self._points = scene.route
        steps = np.linalg.norm(np.diff(scene.route[:, :2], axis=0), axis=1)
        self._along_m = np.concatenate([[0.0], np.cumsum(steps)])

    def message(self, state: EgoState) -> egodriver_pb2.Route:
        """Return the route from the ego on."""
        distance = np.linalg.norm(self._points[:, :2] - state.xy_m, axis=1)
        start_m = float(self._along_m[int(np.argmin(distance))])
        wanted = start_m + np.linspace(0.0, ROUTE_LENGTH_M, ROUTE_POINTS)
        local = np.stack([np.interp(wanted, self._along_m, self._points[:, i]) for i in range(3)], axis=-1)
        in_rig = (local - state.local_from_rig[:3, 3]) @ state.local_from_rig[:3, :3]
        in_rig[:, 2] = 0.0
        in_rig[wanted > self._along_m[-1]] = np.nan
        waypoints = [vec_message(point) for point in in_rig]
        return egodriver_pb2.Route(waypoints=waypoints, timestamp_us=state.time_us)
