"""AlpaSim's EgodriverService: a client that asks in the runtime's order, and a server around any driver.

In each step the client tells images, egomotion and route, all at once and in no order, and when these have
arrived it asks for a trajectory.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeAlias

import grpc
import numpy as np

from alpamayo_ros.sim.protocol.channel import Connection, Service
from alpamayo_ros.sim.protocol.convert import trajectory_message, version_message
from alpamayo_ros.sim.protocol.egodriver_messages import (
    CameraFrame,
    DriveAnswer,
    DriveSession,
    Egomotion,
    Route,
    answer_message,
    answer_of,
    egomotion_message,
    egomotion_of,
    frame_message,
    frame_of,
    route_message,
    route_of,
    session_message,
    session_of,
)
from alpamayo_ros.sim.protocol.generated import common_pb2, egodriver_pb2, egodriver_pb2_grpc
from alpamayo_ros.sim.protocol.server import Unwanted, answering
from alpamayo_ros.sim.protocol.service import (
    IDLE_S,
    OUR_VERSION,
    Closing,
    ServiceVersion,
    Sessions,
    reading,
    stamp_of,
)
from alpamayo_ros.sim.trajectories import Trajectory, require_trajectory
from alpamayo_ros.types import InvalidInput, require_array, require_finite

EGODRIVER = Service("driver", egodriver_pb2_grpc.EgodriverServiceStub)

MAX_ANSWER_BYTES = 4 * 1024 * 1024 - 1024
"""AlpaSim's runtime receives no more."""


StillWanted: TypeAlias = Callable[[], bool]


class DriverSession(Closing, Protocol):
    """One rollout's driver. All raise InvalidInput for what does not belong here.

    Pictures, poses and routes come in several threads at once and beside `drive`, which is called once at a
    time: an implementation locks for itself.
    """

    def add_frame(self, frame: CameraFrame) -> None:
        """Take a picture."""
        ...

    def add_egomotion(self, egomotion: Egomotion) -> None:
        """Take where the rig was; the first batch holds all poses since the recording began."""
        ...

    def set_route(self, route: Route) -> None:
        """Take the route."""
        ...

    def drive(self, now_us: int, query_us: int, *, still_wanted: StillWanted) -> DriveAnswer:
        """Return a trajectory that begins at `now_us` at the newest egomotion's pose, 2 s long or longer.

        Also where history or pictures are still missing: an error ends the rollout.

        Args:
            now_us: where the trajectory begins.
            query_us: the instant that the client will ask it for; now_us or later.
            still_wanted: whether somebody waits for the answer; a client may die meanwhile.
        """
        ...


class DriverHandler(Protocol):
    """What a server of EgodriverService is made around."""

    def start(self, session: DriveSession) -> DriverSession:
        """Begin a rollout."""
        ...


class EgodriverServicer(egodriver_pb2_grpc.EgodriverServiceServicer):
    """Serves a DriverHandler.

    Its answers are checked: AlpaSim's controller would let a NaN through. The recording's ground truth is
    accepted and goes no further: no planner sees it.
    """

    def __init__(
        self,
        handler: DriverHandler,
        *,
        version_id: str = OUR_VERSION,
        idle_s: float = IDLE_S,
        on_expire: Callable[[], None] = lambda: None,
    ) -> None:
        self._handler, self._version_id = handler, version_id
        self.sessions: Sessions[DriverSession] = Sessions(idle_s=idle_s, on_expire=on_expire)

    def register(self, server: grpc.Server) -> None:
        """Add this to a server; see server.serve, and give it sessions.close_all as `on_stop`."""
        egodriver_pb2_grpc.add_EgodriverServiceServicer_to_server(self, server)

    def get_version(self, request: common_pb2.Empty, context: grpc.ServicerContext) -> common_pb2.VersionId:
        """Say what this is."""
        return version_message(self._version_id)

    def start_session(
        self, request: egodriver_pb2.DriveSessionRequest, context: grpc.ServicerContext
    ) -> common_pb2.SessionRequestStatus:
        """Begin a rollout."""
        with answering(context):
            session = session_of(request)
            self.sessions.start(session.session_uuid, lambda: self._handler.start(session))
            return common_pb2.SessionRequestStatus()

    def close_session(
        self, request: egodriver_pb2.DriveSessionCloseRequest, context: grpc.ServicerContext
    ) -> common_pb2.Empty:
        """End a rollout."""
        with answering(context):
            self.sessions.close(request.session_uuid)
            return common_pb2.Empty()

    def submit_image_observation(
        self, request: egodriver_pb2.RolloutCameraImage, context: grpc.ServicerContext
    ) -> common_pb2.Empty:
        """Take a picture."""
        with answering(context):
            frame = frame_of(request.camera_image)
            with self.sessions.use(request.session_uuid, shared=True) as session:
                session.add_frame(frame)
            return common_pb2.Empty()

    def submit_egomotion_observation(
        self, request: egodriver_pb2.RolloutEgoTrajectory, context: grpc.ServicerContext
    ) -> common_pb2.Empty:
        """Take where the rig was."""
        with answering(context):
            egomotion = egomotion_of(request)
            with self.sessions.use(request.session_uuid, shared=True) as session:
                session.add_egomotion(egomotion)
            return common_pb2.Empty()

    def submit_route(
        self, request: egodriver_pb2.RouteRequest, context: grpc.ServicerContext
    ) -> common_pb2.Empty:
        """Take the route."""
        with answering(context):
            route = route_of(request.route)
            with self.sessions.use(request.session_uuid, shared=True) as session:
                session.set_route(route)
            return common_pb2.Empty()

    def submit_recording_ground_truth(
        self, request: egodriver_pb2.GroundTruthRequest, context: grpc.ServicerContext
    ) -> common_pb2.Empty:
        """Accept the recorded drive, which is the answer, and keep it from the driver."""
        with answering(context), self.sessions.use(request.session_uuid, shared=True):
            return common_pb2.Empty()

    def drive(
        self, request: egodriver_pb2.DriveRequest, context: grpc.ServicerContext
    ) -> egodriver_pb2.DriveResponse:
        """Give a trajectory."""
        with answering(context):
            now_us = stamp_of(request.time_now_us, "time_now_us")
            query_us = stamp_of(request.time_query_us, "time_query_us")
            if query_us < now_us:
                raise InvalidInput(f"time_query_us: expected time_now_us, {now_us}, or later, got {query_us}")
            gone = threading.Event()
            if not context.add_callback(gone.set):
                raise Unwanted("drive: expected a client that waits for the answer, got one that has gone")
            with self.sessions.use(request.session_uuid) as session:
                answer = session.drive(now_us, query_us, still_wanted=lambda: not gone.is_set())
                return _checked_answer(answer, now_us)


class EgodriverClient:
    """Asks one driver, over a connection made with EGODRIVER. Calls raise ServiceError and BadAnswer."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._pool = ThreadPoolExecutor(8, thread_name_prefix="driver-client")

    def close(self) -> None:
        """End the threads; the connection is the caller's."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def version(self) -> ServiceVersion:
        """Return what answers."""
        return ServiceVersion.of(self.connection.call("get_version", common_pb2.Empty()))

    def start_session(self, session: DriveSession) -> None:
        """Begin a rollout."""
        self.connection.call("start_session", session_message(session))

    def close_session(self, session_uuid: str) -> None:
        """End a rollout."""
        request = egodriver_pb2.DriveSessionCloseRequest(session_uuid=session_uuid)
        self.connection.call("close_session", request)

    def submit_frame(self, session_uuid: str, frame: CameraFrame) -> None:
        """Tell a picture."""
        self.connection.call("submit_image_observation", frame_message(session_uuid, frame))

    def submit_egomotion(self, session_uuid: str, egomotion: Egomotion) -> None:
        """Tell where the rig was."""
        self.connection.call("submit_egomotion_observation", egomotion_message(session_uuid, egomotion))

    def submit_route(self, session_uuid: str, route: Route) -> None:
        """Tell the route."""
        self.connection.call("submit_route", route_message(session_uuid, route))

    def submit_ground_truth(self, session_uuid: str, time_us: int, recorded: Trajectory) -> None:
        """Tell the recorded drive."""
        truth = egodriver_pb2.GroundTruth(timestamp_us=time_us, trajectory=trajectory_message(*recorded))
        request = egodriver_pb2.GroundTruthRequest(session_uuid=session_uuid, ground_truth=truth)
        self.connection.call("submit_recording_ground_truth", request)

    def drive(
        self, session_uuid: str, now_us: int, *, query_us: int, deadline_s: float = math.inf
    ) -> DriveAnswer:
        """Ask for a trajectory. As AlpaSim's, this waits for ever by default."""
        request = egodriver_pb2.DriveRequest(
            session_uuid=session_uuid, time_now_us=now_us, time_query_us=query_us
        )
        answer = self.connection.call("drive", request, deadline_s=deadline_s)
        with reading(self.connection, "drive"):
            return answer_of(answer)

    def step(
        self,
        session_uuid: str,
        now_us: int,
        *,
        frames: Sequence[CameraFrame],
        egomotion: Egomotion,
        route: Route | None,
        query_us: int,
        deadline_s: float = math.inf,
    ) -> DriveAnswer:
        """Do one step as the runtime does: tell all at once, and when all is there ask for a trajectory."""
        told = [self._pool.submit(self.submit_frame, session_uuid, frame) for frame in frames]
        told.append(self._pool.submit(self.submit_egomotion, session_uuid, egomotion))
        if route is not None:
            told.append(self._pool.submit(self.submit_route, session_uuid, route))
        for each in told:
            each.result()
        return self.drive(session_uuid, now_us, query_us=query_us, deadline_s=deadline_s)


def _checked_answer(answer: DriveAnswer, now_us: int) -> egodriver_pb2.DriveResponse:
    """Return an answer as a message; raises RuntimeError for one that would ruin the rollout."""
    try:
        if not answer.terminate or len(answer.trajectory[0]):
            require_trajectory("trajectory", *answer.trajectory, now_us=now_us)
        for index, (stamps_us, poses) in enumerate(answer.samples):
            name = f"samples[{index}]"
            require_array(f"{name}: stamps_us", stamps_us, (None,), np.int64)
            require_array(f"{name}: local_from_rig", poses, (len(stamps_us), 4, 4), np.float64)
            require_finite(f"{name}: local_from_rig", poses)
    except InvalidInput as error:
        raise RuntimeError(f"the driver's answer is not one: {error}") from error
    message = answer_message(answer)
    if message.ByteSize() > MAX_ANSWER_BYTES:
        raise RuntimeError(
            f"the driver's answer is not one: expected at most {MAX_ANSWER_BYTES} bytes, "
            f"got {message.ByteSize()}"
        )
    return message
