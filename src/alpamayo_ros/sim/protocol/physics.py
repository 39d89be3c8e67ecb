"""AlpaSim's PhysicsService: bodies put on the ground. A client, and a server around any ground.

Poses are of boxes' centres, [4, 4] in local.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import grpc
import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.sensing.rigid import Matrix4
from alpamayo_ros.sim.protocol.channel import Connection, Service
from alpamayo_ros.sim.protocol.convert import (
    Vector3,
    matrices_of,
    matrix_of,
    pose_message,
    size_message,
    size_of,
    trajectory_message,
    trajectory_of,
    version_message,
)
from alpamayo_ros.sim.protocol.generated import common_pb2, physics_pb2, physics_pb2_grpc
from alpamayo_ros.sim.protocol.server import answering
from alpamayo_ros.sim.protocol.service import OUR_VERSION, ServiceVersion, reading
from alpamayo_ros.sim.roads import Float64Array
from alpamayo_ros.types import InvalidInput, require_array

PHYSICS = Service("physics", physics_pb2_grpc.PhysicsServiceStub)

STATUSES: tuple[str, ...] = (
    "SUCCESSFUL_UPDATE",
    "UNKNOWN",
    "INSUFFICIENT_POINTS_FITPLANE",
    "HIGH_TRANSLATION",
    "HIGH_ROTATION",
)
"""What became of a pose, by their numbers on the wire; all but the first leave it as it was."""


@dataclass(frozen=True, eq=False)
class Body:
    """A box: its size, and N poses [N, 4, 4] of its centre that are to be put on the ground."""

    size_xyz_m: Vector3
    local_from_box: Float64Array

    def __post_init__(self) -> None:
        require_array("body: local_from_box", self.local_from_box, (None, 4, 4), np.float64)


@dataclass(frozen=True, eq=False)
class GroundRequest:
    """What is to stand on a scene's ground.

    Attributes:
        scene_id: whose ground.
        now_us, future_us: the step that is simulated.
        ego: the ego's box at `ego_stamps_us` (int64 [N], rising), or None.
        others: other boxes, one pose each: that at future_us.
    """

    scene_id: str
    now_us: int
    future_us: int
    ego_stamps_us: NDArray[np.int64]
    ego: Body | None
    others: tuple[Body, ...] = ()

    def __post_init__(self) -> None:
        count = 0 if self.ego is None else len(self.ego.local_from_box)
        require_array("ego_stamps_us", self.ego_stamps_us, (count,), np.int64)
        for index, body in enumerate(self.others):
            require_array(f"others[{index}]: local_from_box", body.local_from_box, (1, 4, 4), np.float64)


@dataclass(frozen=True, eq=False)
class Grounded:
    """Poses on the ground [N, 4, 4], and what became of each (of STATUSES)."""

    local_from_box: Float64Array
    statuses: tuple[str, ...]

    def __post_init__(self) -> None:
        require_array("grounded: local_from_box", self.local_from_box, (len(self.statuses), 4, 4), np.float64)


class PhysicsHandler(Protocol):
    """What a server of PhysicsService is made around."""

    def scene_ids(self) -> Sequence[str]:
        """Return the scenes that are listed; "*" for any."""
        ...

    def put_on_ground(self, scene_id: str, body: Body) -> Grounded:
        """Put a body's poses on a scene's ground; raises NotFound for a scene that is not known."""
        ...


class PhysicsServicer(physics_pb2_grpc.PhysicsServiceServicer):
    """Serves a PhysicsHandler."""

    def __init__(self, handler: PhysicsHandler, *, version_id: str = OUR_VERSION) -> None:
        self._handler, self._version_id = handler, version_id

    def register(self, server: grpc.Server) -> None:
        """Add this to a server; see server.serve."""
        physics_pb2_grpc.add_PhysicsServiceServicer_to_server(self, server)

    def get_version(self, request: common_pb2.Empty, context: grpc.ServicerContext) -> common_pb2.VersionId:
        """Say what this is."""
        return version_message(self._version_id)

    def get_available_scenes(
        self, request: common_pb2.Empty, context: grpc.ServicerContext
    ) -> common_pb2.AvailableScenesReturn:
        """List scenes."""
        return common_pb2.AvailableScenesReturn(scene_ids=self._handler.scene_ids())

    def ground_intersection(
        self, request: physics_pb2.PhysicsGroundIntersectionRequest, context: grpc.ServicerContext
    ) -> physics_pb2.PhysicsGroundIntersectionReturn:
        """Put everything on the ground."""
        with answering(context):
            wanted = ground_request_of(request)
            answer = physics_pb2.PhysicsGroundIntersectionReturn()
            if wanted.ego is not None:
                ego = self._handler.put_on_ground(wanted.scene_id, wanted.ego)
                answer.ego_trajectory_aabb.CopyFrom(
                    trajectory_message(wanted.ego_stamps_us, ego.local_from_box)
                )
                answer.ego_status.extend(STATUSES.index(status) for status in ego.statuses)
            for body in wanted.others:
                other = self._handler.put_on_ground(wanted.scene_id, body)
                answer.other_poses.add(
                    pose=pose_message(other.local_from_box[0]), status=STATUSES.index(other.statuses[0])
                )
            return answer


class PhysicsClient:
    """Asks one ground, over a connection made with PHYSICS. Calls raise ServiceError and BadAnswer."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def version(self) -> ServiceVersion:
        """Return what answers."""
        return ServiceVersion.of(self.connection.call("get_version", common_pb2.Empty()))

    def scene_ids(self) -> tuple[str, ...]:
        """Return the scenes that are listed; "*" stands for any."""
        return tuple(self.connection.call("get_available_scenes", common_pb2.Empty()).scene_ids)

    def put_on_ground(self, request: GroundRequest) -> tuple[Grounded | None, tuple[Grounded, ...]]:
        """Return the ego on the ground (None where none was asked for), and the others in order."""
        answer = self.connection.call("ground_intersection", ground_request_message(request))
        with reading(self.connection, "ground_intersection"):
            return _grounded_of(answer, request)


def ground_request_message(request: GroundRequest) -> physics_pb2.PhysicsGroundIntersectionRequest:
    """Return a request as a message."""
    message = physics_pb2.PhysicsGroundIntersectionRequest(
        scene_id=request.scene_id, now_us=request.now_us, future_us=request.future_us
    )
    if request.ego is not None:
        message.ego_data.aabb.CopyFrom(size_message(request.ego.size_xyz_m))
        message.ego_data.ego_trajectory_aabb.CopyFrom(
            trajectory_message(request.ego_stamps_us, request.ego.local_from_box)
        )
    for body in request.others:
        pose = pose_message(body.local_from_box[0])
        message.other_objects.add(
            aabb=size_message(body.size_xyz_m),
            pose_pair=physics_pb2.PhysicsGroundIntersectionRequest.PosePair(now_pose=pose, future_pose=pose),
        )
    return message


def ground_request_of(message: physics_pb2.PhysicsGroundIntersectionRequest) -> GroundRequest:
    """Return a message as a request; raises InvalidInput naming the field that is wrong."""
    ego, stamps_us = None, np.zeros(0, np.int64)
    if message.HasField("ego_data"):
        size = size_of(message.ego_data.aabb, "ego_data.aabb")
        stamps_us, poses = trajectory_of(
            message.ego_data.ego_trajectory_aabb, "ego_data.ego_trajectory_aabb", allow_empty=False
        )
        ego = Body(size, poses)
    others = []
    for index, each in enumerate(message.other_objects):
        name = f"other_objects[{index}]"
        pose: Matrix4 = matrix_of(each.pose_pair.future_pose, f"{name}.pose_pair.future_pose")
        others.append(Body(size_of(each.aabb, f"{name}.aabb"), pose[None]))
    return GroundRequest(message.scene_id, message.now_us, message.future_us, stamps_us, ego, tuple(others))


def _grounded_of(
    answer: physics_pb2.PhysicsGroundIntersectionReturn, request: GroundRequest
) -> tuple[Grounded | None, tuple[Grounded, ...]]:
    """Return an answer; raises InvalidInput unless it is of what was asked for, pose by pose."""
    ego = None
    if request.ego is not None:
        stamps_us, poses = trajectory_of(answer.ego_trajectory_aabb, "ego_trajectory_aabb")
        if not np.array_equal(stamps_us, request.ego_stamps_us) or len(answer.ego_status) != len(poses):
            raise InvalidInput(
                f"ego_trajectory_aabb: expected {len(request.ego_stamps_us)} poses at the stamps asked for, "
                f"each with a status, got {len(poses)} and {len(answer.ego_status)}"
            )
        ego = Grounded(poses, tuple(_status(number) for number in answer.ego_status))
    if len(answer.other_poses) != len(request.others):
        raise InvalidInput(
            f"other_poses: expected {len(request.others)}, one an object, got {len(answer.other_poses)}"
        )
    poses = matrices_of((each.pose for each in answer.other_poses), "other_poses")
    others = [
        Grounded(pose[None], (_status(each.status),))
        for pose, each in zip(poses, answer.other_poses, strict=True)
    ]
    return ego, tuple(others)


def _status(number: int) -> str:
    return STATUSES[number] if 0 <= number < len(STATUSES) else "UNKNOWN"
