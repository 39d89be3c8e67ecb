"""AlpaSim's TrafficService: the other road users. A client, and a server around any traffic.

Poses are of boxes' centres, [4, 4] in local. The ego is among the objects, under EGO_ID: the client tells
where it is, the service where the others are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import grpc

from alpamayo_ros.sim.protocol.channel import Connection, Service
from alpamayo_ros.sim.protocol.convert import (
    Vector3,
    size_message,
    size_of,
    trajectory_message,
    trajectory_of,
    version_message,
)
from alpamayo_ros.sim.protocol.generated import common_pb2, traffic_pb2, traffic_pb2_grpc
from alpamayo_ros.sim.protocol.server import answering
from alpamayo_ros.sim.protocol.service import (
    OUR_VERSION,
    Closing,
    ServiceVersion,
    Sessions,
    reading,
    require_uuid,
    stamp_of,
)
from alpamayo_ros.sim.scene import EGO_ID, Track
from alpamayo_ros.types import InvalidInput

TRAFFIC = Service("traffic", traffic_pb2_grpc.TrafficServiceStub)


@dataclass(frozen=True, eq=False)
class LoggedObject:
    """An object of a recording: its box, its class as the recording names it, and where it was."""

    size_xyz_m: Vector3
    label: str
    is_static: bool
    track: Track


@dataclass(frozen=True, eq=False)
class TrafficRollout:
    """What a session begins with.

    Attributes:
        session_uuid, scene_id, random_seed: who it is.
        objects: by id, the ego among them.
        handover_us: until when all follow the recording.
    """

    session_uuid: str
    scene_id: str
    random_seed: int
    objects: Mapping[str, LoggedObject]
    handover_us: int

    @property
    def ego(self) -> LoggedObject:
        """The ego; raises InvalidInput where it is not among the objects."""
        if EGO_ID not in self.objects:
            raise InvalidInput(f"logged_object_trajectories: expected {EGO_ID} among them, got none")
        return self.objects[EGO_ID]


class TrafficSession(Closing, Protocol):
    """The traffic of one rollout."""

    def simulate(self, to_us: int, updates: Mapping[str, Track]) -> Mapping[str, Track]:
        """Move on to `to_us`.

        Args:
            to_us: not before the last call's.
            updates: where objects are, by id, that others decide on: the ego, at to_us.

        Returns:
            Where the others are at to_us, by id; objects that are not there are left out.

        Raises:
            InvalidInput: for updates or times that do not go on from the last.
        """
        ...


class TrafficHandler(Protocol):
    """What a server of TrafficService is made around."""

    minimum_history_us: int
    """How much of the objects' tracks before the handover it needs."""

    def scene_ids(self) -> Sequence[str]:
        """Return the scenes that are listed; "*" for any."""
        ...

    def start(self, rollout: TrafficRollout) -> TrafficSession:
        """Begin a rollout; raises NotFound for a scene or an object that is not known."""
        ...


class TrafficServicer(traffic_pb2_grpc.TrafficServiceServicer):
    """Serves a TrafficHandler."""

    def __init__(self, handler: TrafficHandler, *, version_id: str = OUR_VERSION) -> None:
        self._handler, self._version_id = handler, version_id
        self.sessions: Sessions[TrafficSession] = Sessions()

    def register(self, server: grpc.Server) -> None:
        """Add this to a server; see server.serve, and give it sessions.close_all as `on_stop`."""
        traffic_pb2_grpc.add_TrafficServiceServicer_to_server(self, server)

    def get_metadata(
        self, request: common_pb2.Empty, context: grpc.ServicerContext
    ) -> traffic_pb2.TrafficModuleMetadata:
        """Say what this is."""
        return traffic_pb2.TrafficModuleMetadata(
            version_id=version_message(self._version_id),
            minimum_history_length_us=self._handler.minimum_history_us,
        )

    def get_available_scenes(
        self, request: common_pb2.Empty, context: grpc.ServicerContext
    ) -> common_pb2.AvailableScenesReturn:
        """List scenes."""
        return common_pb2.AvailableScenesReturn(scene_ids=self._handler.scene_ids())

    def start_session(
        self, request: traffic_pb2.TrafficSessionRequest, context: grpc.ServicerContext
    ) -> common_pb2.SessionRequestStatus:
        """Begin a rollout."""
        with answering(context):
            rollout = rollout_of(request)
            self.sessions.start(request.session_uuid, lambda: self._handler.start(rollout))
            return common_pb2.SessionRequestStatus()

    def close_session(
        self, request: traffic_pb2.TrafficSessionCloseRequest, context: grpc.ServicerContext
    ) -> common_pb2.Empty:
        """End a rollout."""
        with answering(context):
            self.sessions.close(request.session_uuid)
            return common_pb2.Empty()

    def simulate(
        self, request: traffic_pb2.TrafficRequest, context: grpc.ServicerContext
    ) -> traffic_pb2.TrafficReturn:
        """Move on."""
        with answering(context):
            to_us = stamp_of(request.time_query_us, "time_query_us")
            updates = updates_of(request.object_trajectory_updates)
            with self.sessions.use(request.session_uuid) as session:
                others = session.simulate(to_us, updates)
            return traffic_pb2.TrafficReturn(object_trajectory_updates=update_messages(others))


class TrafficClient:
    """Asks one traffic, over a connection made with TRAFFIC. Calls raise ServiceError and BadAnswer."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def version(self) -> tuple[ServiceVersion, int]:
        """Return what answers, and how much history of the objects it needs, in us."""
        answer = self.connection.call("get_metadata", common_pb2.Empty())
        return ServiceVersion.of(answer.version_id), int(answer.minimum_history_length_us)

    def scene_ids(self) -> tuple[str, ...]:
        """Return the scenes that are listed; "*" stands for any."""
        return tuple(self.connection.call("get_available_scenes", common_pb2.Empty()).scene_ids)

    def start_session(self, rollout: TrafficRollout) -> None:
        """Begin a rollout."""
        self.connection.call("start_session", rollout_message(rollout))

    def close_session(self, session_uuid: str) -> None:
        """End a rollout."""
        self.connection.call(
            "close_session", traffic_pb2.TrafficSessionCloseRequest(session_uuid=session_uuid)
        )

    def simulate(self, session_uuid: str, to_us: int, updates: Mapping[str, Track]) -> dict[str, Track]:
        """Tell where the ego is at `to_us`, and return where the others are then, by id."""
        request = traffic_pb2.TrafficRequest(
            session_uuid=session_uuid,
            time_query_us=to_us,
            object_trajectory_updates=update_messages(updates),
        )
        answer = self.connection.call("simulate", request)
        with reading(self.connection, "simulate"):
            return updates_of(answer.object_trajectory_updates)


def rollout_message(rollout: TrafficRollout) -> traffic_pb2.TrafficSessionRequest:
    """Return a session's beginning as a message."""
    message = traffic_pb2.TrafficSessionRequest(
        session_uuid=rollout.session_uuid,
        scene_id=rollout.scene_id,
        random_seed=rollout.random_seed,
        handover_time_us=rollout.handover_us,
    )
    for object_id, each in rollout.objects.items():
        message.logged_object_trajectories.add(
            aabb=size_message(each.size_xyz_m),
            trajectory=trajectory_message(each.track.stamps_us, each.track.local_from_box),
            object_id=object_id,
            is_static=each.is_static,
            label_class=each.label,
        )
    return message


def rollout_of(message: traffic_pb2.TrafficSessionRequest) -> TrafficRollout:
    """Return a message as a session's beginning; raises InvalidInput naming the field that is wrong."""
    objects: dict[str, LoggedObject] = {}
    for each in message.logged_object_trajectories:
        name = f"logged object {each.object_id!r}"
        _require_new(name, each.object_id, objects)
        stamps_us, poses = trajectory_of(each.trajectory, f"{name}: trajectory", allow_empty=False)
        objects[each.object_id] = LoggedObject(
            size_of(each.aabb, f"{name}: aabb"), each.label_class, each.is_static, Track(stamps_us, poses)
        )
    return TrafficRollout(
        require_uuid(message.session_uuid),
        message.scene_id,
        message.random_seed,
        objects,
        stamp_of(message.handover_time_us, "handover_time_us"),
    )


def update_messages(tracks: Mapping[str, Track]) -> list[traffic_pb2.ObjectTrajectoryUpdate]:
    """Return where objects are as messages, in the order of the mapping."""
    return [
        traffic_pb2.ObjectTrajectoryUpdate(
            object_id=object_id, trajectory=trajectory_message(track.stamps_us, track.local_from_box)
        )
        for object_id, track in tracks.items()
    ]


def updates_of(messages: Sequence[traffic_pb2.ObjectTrajectoryUpdate]) -> dict[str, Track]:
    """Return messages as where objects are, by id; raises InvalidInput naming the object that is wrong."""
    tracks: dict[str, Track] = {}
    for each in messages:
        name = f"object {each.object_id!r}"
        _require_new(name, each.object_id, tracks)
        tracks[each.object_id] = Track(
            *trajectory_of(each.trajectory, f"{name}: trajectory", allow_empty=False)
        )
    return tracks


def _require_new(name: str, object_id: str, known: Mapping[str, object]) -> None:
    if not object_id:
        raise InvalidInput("object_id: expected an id, got none")
    if object_id in known:
        raise InvalidInput(f"{name}: expected each object once, got it twice")
