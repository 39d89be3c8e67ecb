"""An EgodriverService that answers well, but for what a test breaks."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import grpc

from alpamayo_ros.sim.protocol.generated import common_pb2, egodriver_pb2, egodriver_pb2_grpc
from alpamayo_ros.sim.protocol.server import serve

Break: TypeAlias = Callable[[egodriver_pb2.DriveResponse], None]
STEP_US = 100_000


def nothing(answer: egodriver_pb2.DriveResponse) -> None:
    """Break nothing."""


class ScriptedDriver(egodriver_pb2_grpc.EgodriverServiceServicer):
    """Stands still at the newest pose, for 6.4 s; lets `spoil` change an answer before it goes out.

    Attributes:
        spoil: changes each answer.
        refuse: methods that answer INTERNAL.
        lenient: neither refuses a session that is there already nor one that is not there.
        on_route: called while a route is taken.
        told: method -> how often it was called.
        orders: session -> the methods in the order in which they came.
        seeds: of the sessions.
        most_at_once: sessions that were there at a time.
    """

    def __init__(self) -> None:
        self.spoil: Break = nothing
        self.refuse: set[str] = set()
        self.lenient = False
        self.on_route: Callable[[], None] = lambda: None
        self.told: Counter[str] = Counter()
        self.orders: dict[str, list[str]] = {}
        self.seeds: list[int] = []
        self.most_at_once = 0
        self._rigs: dict[str, common_pb2.PoseAtTime] = {}
        self._open: set[str] = set()
        self._lock = threading.Lock()

    def _note(self, method: str, request: Any, context: grpc.ServicerContext, *, names: str = "") -> None:
        with self._lock:
            self.told[method] += 1
            uuid = getattr(request, "session_uuid", "")
            self.orders.setdefault(uuid, []).append(names or method)
            missing = bool(uuid) and uuid not in self._open and method != "start_session"
        if method in self.refuse:
            context.abort(grpc.StatusCode.INTERNAL, "broken on purpose")
        if missing and not self.lenient:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such session")

    def get_version(self, request: Any, context: grpc.ServicerContext) -> common_pb2.VersionId:
        self._note("get_version", request, context)
        return common_pb2.VersionId(version_id="scripted")

    def start_session(self, request: Any, context: grpc.ServicerContext) -> common_pb2.SessionRequestStatus:
        self._note("start_session", request, context)
        with self._lock:
            there = request.session_uuid in self._open
            self._open.add(request.session_uuid)
            self.seeds.append(request.random_seed)
            self.most_at_once = max(self.most_at_once, len(self._open))
        if there and not self.lenient:
            context.abort(grpc.StatusCode.ALREADY_EXISTS, "there already")
        return common_pb2.SessionRequestStatus()

    def close_session(self, request: Any, context: grpc.ServicerContext) -> common_pb2.Empty:
        self._note("close_session", request, context)
        with self._lock:
            self._open.discard(request.session_uuid)
        return common_pb2.Empty()

    def submit_image_observation(self, request: Any, context: grpc.ServicerContext) -> common_pb2.Empty:
        name = request.camera_image.logical_id
        self._note("submit_image_observation", request, context, names=name)
        return common_pb2.Empty()

    def submit_egomotion_observation(self, request: Any, context: grpc.ServicerContext) -> common_pb2.Empty:
        self._note("submit_egomotion_observation", request, context)
        with self._lock:
            self._rigs[request.session_uuid] = request.trajectory.poses[-1]
        return common_pb2.Empty()

    def submit_route(self, request: Any, context: grpc.ServicerContext) -> common_pb2.Empty:
        self._note("submit_route", request, context)
        self.on_route()
        with self._lock:
            self.told["route taken"] += 1
        return common_pb2.Empty()

    def submit_recording_ground_truth(self, request: Any, context: grpc.ServicerContext) -> common_pb2.Empty:
        self._note("submit_recording_ground_truth", request, context)
        return common_pb2.Empty()

    def drive(self, request: Any, context: grpc.ServicerContext) -> egodriver_pb2.DriveResponse:
        self._note("drive", request, context)
        with self._lock:
            rig = self._rigs.get(request.session_uuid)
        pose = common_pb2.Pose(quat=common_pb2.Quat(w=1.0)) if rig is None else rig.pose
        answer = good_answer(request.time_now_us, pose)
        self.spoil(answer)
        return answer


def good_answer(now_us: int, pose: common_pb2.Pose) -> egodriver_pb2.DriveResponse:
    """Return an answer that breaks no rule: standing at a pose."""
    poses = [common_pb2.PoseAtTime(pose=pose, timestamp_us=now_us + STEP_US * i) for i in range(65)]
    standing = common_pb2.Trajectory(poses=poses)
    return egodriver_pb2.DriveResponse(
        trajectory=standing,
        debug_info=egodriver_pb2.DriveResponse.DebugInfo(
            unstructured_debug_info=b'{"reasoning_text": "Stand."}',
            sampled_trajectories=[standing, standing],
        ),
    )


@contextmanager
def serving(driver: ScriptedDriver) -> Iterator[str]:
    """Serve a driver at the address that this yields."""

    def register(server: grpc.Server) -> None:
        egodriver_pb2_grpc.add_EgodriverServiceServicer_to_server(driver, server)

    with serve(register) as server:
        yield server.address
