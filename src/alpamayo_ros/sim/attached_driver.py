"""A driver behind AlpaSim's EgodriverService drives our scenes: what AlpaSim's runtime would tell it, we do.

In each step, the warm-up's too, it is told pictures, egomotion and route, all at once, and then asked for a
trajectory. So any driver that AlpaSim takes can be tried on our scenes, without AlpaSim.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from alpamayo_ros.sim.asl_log import RouteAhead
from alpamayo_ros.sim.cameras import LOGICAL_IDS, USUAL_CAMERA_IDS
from alpamayo_ros.sim.images import SHUTTER_US
from alpamayo_ros.sim.protocol.channel import CallPolicy, ClientTls, Connection, ServiceError
from alpamayo_ros.sim.protocol.convert import RigMotion
from alpamayo_ros.sim.protocol.egodriver import EGODRIVER, EgodriverClient
from alpamayo_ros.sim.protocol.egodriver_messages import (
    CameraFrame,
    DriveAnswer,
    DriveSession,
    Egomotion,
    route_of,
)
from alpamayo_ros.sim.protocol.sensorsim import AvailableCamera
from alpamayo_ros.sim.roads import Float64Array
from alpamayo_ros.sim.rollout import ClosedLoop
from alpamayo_ros.sim.scene import STEP_US
from alpamayo_ros.sim.state import ActorState, EgoState
from alpamayo_ros.sim.trajectories import Trajectory
from alpamayo_ros.types import NUM_WAYPOINTS, InvalidInput

_POINT_STAMPS_US = STEP_US * np.arange(1, NUM_WAYPOINTS + 1, dtype=np.int64)


class VehicleCameras(Protocol):
    """The cameras of the vehicle: what is said of them, and their pictures."""

    @property
    def available(self) -> Mapping[str, AvailableCamera]:
        """Lens and mount by logical id."""
        ...

    def render(
        self, ego: EgoState, actors: Sequence[ActorState], *, camera_ids: Sequence[int]
    ) -> Mapping[int, bytes]:
        """Return encoded images by camera id, of the ego's instant."""
        ...


@dataclass(frozen=True)
class AttachedDriver:
    """A driver by its address; see rollout_driver.drive_rollout.

    Attributes:
        address: HOST:PORT.
        name: what it calls itself.
        camera_ids: whose pictures it gets, ascending.
        tls: None is plain.
        policy: how long its answers may take; None is AlpaSim's client policy. A drive may take for ever.
    """

    address: str
    name: str
    camera_ids: tuple[int, ...] = USUAL_CAMERA_IDS
    tls: ClientTls | None = None
    policy: CallPolicy | None = None

    @classmethod
    def reach(
        cls,
        address: str,
        *,
        camera_ids: tuple[int, ...] = USUAL_CAMERA_IDS,
        tls: ClientTls | None = None,
        policy: CallPolicy | None = None,
    ) -> AttachedDriver:
        """Ask a driver what it is; raises InvalidInput for what is no address, ServiceError for no answer."""
        with Connection(address, service=EGODRIVER, tls=tls, policy=policy) as connection:
            client = EgodriverClient(connection)
            try:
                version = client.version()
            finally:
                client.close()
        return cls(address, version.version_id or address, camera_ids, tls, policy)

    @contextmanager
    def session(self, loop: ClosedLoop, cameras: VehicleCameras, *, seed: int) -> Iterator[AttachedSession]:
        """Open a session for a rollout, and close it at its end.

        Raises:
            ServiceError: where the driver does not answer, or refuses.
        """
        with Connection(self.address, service=EGODRIVER, tls=self.tls, policy=self.policy) as connection:
            client = EgodriverClient(connection)
            try:
                started = DriveSession(str(uuid.uuid4()), seed, loop.scene.scene_id, cameras.available)
                client.start_session(started)
                yield AttachedSession(client, started.session_uuid, loop, cameras, camera_ids=self.camera_ids)
                with suppress(ServiceError):  # it ends sessions that nobody calls, and may be gone itself
                    client.close_session(started.session_uuid)
            finally:
                client.close()


class AttachedSession:
    """One rollout's driver."""

    def __init__(
        self,
        client: EgodriverClient,
        session_uuid: str,
        loop: ClosedLoop,
        cameras: VehicleCameras,
        *,
        camera_ids: Sequence[int],
    ) -> None:
        self._client, self._uuid, self._loop = client, session_uuid, loop
        self._cameras, self._camera_ids = cameras, camera_ids
        self._route = RouteAhead(loop.scene)

    def step(self) -> None:
        """Tell, ask, and move on by a step.

        Raises:
            InvalidInput, ServiceError, BadAnswer: for pictures that do not come, and answers that do not, or
                that nobody could follow.
        """
        loop, now_us = self._loop, self._loop.time_us
        pictures = self._cameras.render(loop.ego, loop.actors, camera_ids=self._camera_ids)
        started_s = time.perf_counter()
        answer = self._client.step(
            self._uuid,
            now_us,
            frames=[
                CameraFrame(LOGICAL_IDS[camera_id], now_us - SHUTTER_US, now_us, image)
                for camera_id, image in pictures.items()
            ],
            egomotion=Egomotion(
                np.array([now_us], np.int64), loop.ego.local_from_rig[None], (RigMotion.of(loop.ego),)
            ),
            route=route_of(self._route.message(loop.ego)),
            query_us=now_us + STEP_US,
        )
        latency_ms = (time.perf_counter() - started_s) * 1e3
        if answer.terminate:
            loop.finish("terminated")
            return
        told = told_by(answer)
        chosen = told.get("select_ix")
        if not isinstance(chosen, int) or not 0 <= chosen < len(answer.samples):
            chosen = 0
        loop.drive(
            *answer.trajectory,
            candidates=candidates_of(answer.samples),
            chosen=chosen,
            reasoning=str(told.get("reasoning_text", "")),
            instruction=str(told.get("instruction", "")),
            latency_ms=latency_ms,
        )


def told_by(answer: DriveAnswer) -> Mapping[str, object]:
    """Return what an answer's debug info says, nothing where it is no JSON object; a pickle is not opened."""
    try:
        told = json.loads(answer.debug_info)
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def candidates_of(samples: Sequence[Trajectory]) -> Float64Array:
    """Return samples as xyz [K, 64, 3] in local, 0.1 s apart from 0.1 s on, the last place held.

    Raises:
        InvalidInput: for a sample without a pose.
    """
    found = np.zeros((len(samples), NUM_WAYPOINTS, 3))
    for index, (stamps_us, poses) in enumerate(samples):
        if not len(stamps_us):
            raise InvalidInput(f"sampled_trajectories[{index}]: expected poses, got none")
        at_us = (stamps_us[0] + _POINT_STAMPS_US).astype(np.float64)
        for axis in range(3):
            found[index, :, axis] = np.interp(at_us, stamps_us.astype(np.float64), poses[:, axis, 3])
    return found
