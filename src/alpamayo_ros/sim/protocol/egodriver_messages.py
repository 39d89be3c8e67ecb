"""What is told to a driver and what it answers, in numpy types, to and from EgodriverService's messages.

Egomotion is in the local frame as the vehicle's localisation has it, the route in the rig at its own stamp,
the answer in the frame of the egomotion.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.sim.protocol.convert import (
    RigMotion,
    dynamic_state_message,
    matrix_of,
    motion_of,
    pose_message,
    trajectory_message,
    trajectory_messages,
    trajectory_of,
    vec_message,
)
from alpamayo_ros.sim.protocol.generated import egodriver_pb2, sensorsim_pb2
from alpamayo_ros.sim.protocol.sensorsim import AvailableCamera
from alpamayo_ros.sim.protocol.service import require_uuid, stamp_of
from alpamayo_ros.sim.roads import Float64Array
from alpamayo_ros.sim.trajectories import Trajectory
from alpamayo_ros.types import InvalidInput, require_array, require_finite


@dataclass(frozen=True, eq=False)
class DriveSession:
    """What a rollout begins with: cameras by logical id; `scene_id` is for people."""

    session_uuid: str
    random_seed: int
    scene_id: str
    cameras: Mapping[str, AvailableCamera]


@dataclass(frozen=True)
class CameraFrame:
    """An encoded picture and its exposure."""

    logical_id: str
    start_us: int
    end_us: int
    image_bytes: bytes = field(repr=False)


@dataclass(frozen=True, eq=False)
class Egomotion:
    """Where the rig was.

    Attributes:
        stamps_us: int64 [N >= 1], rising.
        local_from_rig: float64 [N, 4, 4].
        motions: N, or none where the client does not tell. AlpaSim's are zero while the ego follows the
            recording: take velocities from the poses.
    """

    stamps_us: NDArray[np.int64]
    local_from_rig: Float64Array
    motions: tuple[RigMotion, ...] = ()

    def __post_init__(self) -> None:
        count = len(self.stamps_us)
        require_array("egomotion: stamps_us", self.stamps_us, (None,), np.int64)
        require_array("egomotion: local_from_rig", self.local_from_rig, (count, 4, 4), np.float64)
        if not count:
            raise InvalidInput("egomotion: expected at least one pose, got none")
        if len(self.motions) not in (0, count):
            raise InvalidInput(
                f"dynamic_states: expected {count}, one a pose, or none, got {len(self.motions)}"
            )


@dataclass(frozen=True, eq=False)
class Route:
    """Where to go: points [N, 3] in the rig at `time_us`, the first near the ego. None is no route ahead."""

    time_us: int
    points_in_rig: Float64Array

    def __post_init__(self) -> None:
        require_array("route: points_in_rig", self.points_in_rig, (None, 3), np.float64)
        require_finite("route: points_in_rig", self.points_in_rig)


@dataclass(frozen=True, eq=False)
class DriveAnswer:
    """A driver's trajectory, in the frame of the egomotion.

    Attributes:
        trajectory: stamps int64 [P] in us and poses float64 [P, 4, 4] of the rig.
        samples: other trajectories that it considered; AlpaSim's minADE needs each to reach 5 s ahead.
        debug_info: bytes for whoever reads the log; JSON with `reasoning_text`, not a pickle, from us.
        terminate: whether the rollout is to end here.
    """

    trajectory: Trajectory
    samples: tuple[Trajectory, ...] = ()
    debug_info: bytes = b""
    terminate: bool = False


def session_message(session: DriveSession) -> egodriver_pb2.DriveSessionRequest:
    """Return a session's beginning as a message."""
    message = egodriver_pb2.DriveSessionRequest(
        session_uuid=session.session_uuid,
        random_seed=session.random_seed,
        debug_info=egodriver_pb2.DriveSessionRequest.DebugInfo(scene_id=session.scene_id),
    )
    message.rollout_spec.vehicle.available_cameras.extend(
        sensorsim_pb2.AvailableCamerasReturn.AvailableCamera(
            intrinsics=camera.intrinsics,
            rig_to_camera=pose_message(camera.rig_from_camera),
            logical_id=logical_id,
        )
        for logical_id, camera in session.cameras.items()
    )
    return message


def session_of(message: egodriver_pb2.DriveSessionRequest) -> DriveSession:
    """Return a message as a session's beginning; raises InvalidInput naming what is wrong."""
    cameras: dict[str, AvailableCamera] = {}
    for each in message.rollout_spec.vehicle.available_cameras:
        name = f"camera {each.logical_id!r}"
        if not each.logical_id or each.logical_id in cameras:
            raise InvalidInput(f"{name}: expected each camera once, under an id, got another")
        pose = matrix_of(each.rig_to_camera, f"{name}: rig_to_camera")
        cameras[each.logical_id] = AvailableCamera(each.logical_id, each.intrinsics, pose)
    return DriveSession(
        require_uuid(message.session_uuid), message.random_seed, message.debug_info.scene_id, cameras
    )


def frame_message(session_uuid: str, frame: CameraFrame) -> egodriver_pb2.RolloutCameraImage:
    """Return a picture as a message."""
    image = egodriver_pb2.RolloutCameraImage.CameraImage(
        frame_start_us=frame.start_us,
        frame_end_us=frame.end_us,
        image_bytes=frame.image_bytes,
        logical_id=frame.logical_id,
    )
    return egodriver_pb2.RolloutCameraImage(session_uuid=session_uuid, camera_image=image)


def frame_of(image: egodriver_pb2.RolloutCameraImage.CameraImage) -> CameraFrame:
    """Return a message as a picture; raises InvalidInput for one without name, bytes or order in time."""
    if not image.logical_id:
        raise InvalidInput("camera_image.logical_id: expected a camera, got none")
    if not image.image_bytes:
        raise InvalidInput(f"camera_image of {image.logical_id!r}: expected an encoded image, got no bytes")
    stamp_of(image.frame_end_us, f"camera_image of {image.logical_id!r}: frame_end_us")
    if image.frame_end_us < image.frame_start_us:
        raise InvalidInput(
            f"camera_image of {image.logical_id!r}: expected frame_end_us, {image.frame_start_us} us or "
            f"later, got {image.frame_end_us} us"
        )
    return CameraFrame(image.logical_id, image.frame_start_us, image.frame_end_us, image.image_bytes)


def egomotion_message(session_uuid: str, egomotion: Egomotion) -> egodriver_pb2.RolloutEgoTrajectory:
    """Return egomotion as a message."""
    return egodriver_pb2.RolloutEgoTrajectory(
        session_uuid=session_uuid,
        trajectory=trajectory_message(egomotion.stamps_us, egomotion.local_from_rig),
        dynamic_states=[dynamic_state_message(motion) for motion in egomotion.motions],
    )


def egomotion_of(message: egodriver_pb2.RolloutEgoTrajectory) -> Egomotion:
    """Return a message as egomotion; raises InvalidInput naming what is wrong."""
    stamps_us, poses = trajectory_of(message.trajectory, "trajectory", allow_empty=False)
    motions = tuple(
        motion_of(state, f"dynamic_states[{index}]") for index, state in enumerate(message.dynamic_states)
    )
    return Egomotion(stamps_us, poses, motions)


def route_message(session_uuid: str, route: Route) -> egodriver_pb2.RouteRequest:
    """Return a route as a message."""
    points = [vec_message(point) for point in route.points_in_rig]
    message = egodriver_pb2.Route(waypoints=points, timestamp_us=route.time_us)
    return egodriver_pb2.RouteRequest(session_uuid=session_uuid, route=message)


def route_of(route: egodriver_pb2.Route) -> Route:
    """Return a message as a route without the NaN that pads its end; raises InvalidInput for other NaN."""
    points = np.array([(p.x, p.y, p.z) for p in route.waypoints], np.float64).reshape(-1, 3)
    padding = np.asarray(np.isnan(points[:, :2]).any(axis=1))
    length = len(points) - int(padding.sum())
    if not padding[length:].all():
        first = int(np.argmax(padding))
        raise InvalidInput(f"route.waypoints[{first}]: expected NaN behind the last alone, got it before")
    require_finite("route.waypoints", points[:length])
    return Route(stamp_of(route.timestamp_us, "route.timestamp_us"), points[:length])


def answer_message(answer: DriveAnswer) -> egodriver_pb2.DriveResponse:
    """Return a driver's answer as a message."""
    trajectory, *samples = trajectory_messages([answer.trajectory, *answer.samples])
    return egodriver_pb2.DriveResponse(
        trajectory=trajectory,
        debug_info=egodriver_pb2.DriveResponse.DebugInfo(
            unstructured_debug_info=answer.debug_info,
            sampled_trajectories=samples,
        ),
        terminate_session=answer.terminate,
    )


def answer_of(message: egodriver_pb2.DriveResponse) -> DriveAnswer:
    """Return a message as a driver's answer; raises InvalidInput for an empty or impossible trajectory."""
    return DriveAnswer(
        trajectory_of(message.trajectory, "trajectory", allow_empty=message.terminate_session),
        tuple(
            trajectory_of(each, f"debug_info.sampled_trajectories[{index}]")
            for index, each in enumerate(message.debug_info.sampled_trajectories)
        ),
        message.debug_info.unstructured_debug_info,
        message.terminate_session,
    )
