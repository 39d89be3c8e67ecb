"""A rollout as AlpaSim's runtime would run it: driver, controller, physics and traffic, each over gRPC."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import grpc
import numpy as np
import pytest
from constant_driver import ConstantDriver
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from alpamayo_ros.sensing.rigid import invert
from alpamayo_ros.sim.protocol.channel import Connection, ServiceError
from alpamayo_ros.sim.protocol.controller import (
    CONTROLLER,
    ControllerClient,
    ControllerServicer,
    ControlRequest,
    RigState,
)
from alpamayo_ros.sim.protocol.convert import RigMotion
from alpamayo_ros.sim.protocol.egodriver import EGODRIVER, EgodriverClient, EgodriverServicer
from alpamayo_ros.sim.protocol.egodriver_messages import DriveSession, Egomotion
from alpamayo_ros.sim.protocol.generated import controller_pb2, egodriver_pb2, physics_pb2, traffic_pb2
from alpamayo_ros.sim.protocol.physics import PHYSICS, Body, GroundRequest, PhysicsClient, PhysicsServicer
from alpamayo_ros.sim.protocol.server import serve
from alpamayo_ros.sim.protocol.service import OUR_VERSION
from alpamayo_ros.sim.protocol.traffic import (
    TRAFFIC,
    LoggedObject,
    TrafficClient,
    TrafficRollout,
    TrafficServicer,
)
from alpamayo_ros.sim.scene import EGO_BOX_IN_RIG_M, EGO_ID, EGO_SIZE_XYZ_M, STEP_US, Track
from alpamayo_ros.sim.scenes import make_scene
from alpamayo_ros.sim.served_controller import ServedController
from alpamayo_ros.sim.served_physics import ServedGround
from alpamayo_ros.sim.served_traffic import ReactiveTraffic

SCENE_ID, SESSION = "hills-3", "rollout-1"
RIG_FROM_BOX = np.eye(4)
RIG_FROM_BOX[:3, 3] = EGO_BOX_IN_RIG_M


@pytest.fixture
def services() -> Iterator[tuple[EgodriverClient, ControllerClient, PhysicsClient, TrafficClient]]:
    """All four on one port."""
    servicers = (
        EgodriverServicer(ConstantDriver()),
        ControllerServicer(ServedController()),
        PhysicsServicer(ServedGround(make_scene)),
        TrafficServicer(ReactiveTraffic(make_scene)),
    )

    def register(server: grpc.Server) -> None:
        for servicer in servicers:
            servicer.register(server)

    with ExitStack() as stack:
        address = stack.enter_context(serve(register)).address
        driver, controller, physics, traffic = (
            stack.enter_context(Connection(address, service=service))
            for service in (EGODRIVER, CONTROLLER, PHYSICS, TRAFFIC)
        )
        client = EgodriverClient(driver)
        stack.callback(client.close)
        yield client, ControllerClient(controller), PhysicsClient(physics), TrafficClient(traffic)


class Noise:
    """Fills messages with extremes, by their descriptors; the session's id is often one that is open."""

    NUMBERS = (0.0, 1.0, -1.0, 1e30, float("nan"), float("inf"), 1e-30)
    STAMPS = (0, 1, 1_700_000_000_000_000, 1_700_000_000_100_000, 2**63 - 1)

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def fill(self, message: Message) -> None:
        for field in message.DESCRIPTOR.fields:
            if field.name == "session_uuid":
                setattr(message, field.name, self._one((SESSION, SESSION, "other")))
            elif self._rng.random() > 0.15:
                self._set(message, field)

    def _set(self, message: Message, field: FieldDescriptor) -> None:
        values = getattr(message, field.name)
        if hasattr(values, "extend"):
            for _ in range(self._rng.integers(3)):
                if field.message_type is not None:
                    self.fill(values.add())
                else:
                    values.append(self._scalar(field))
        elif field.message_type is not None:
            getattr(message, field.name).SetInParent()
            self.fill(getattr(message, field.name))
        else:
            setattr(message, field.name, self._scalar(field))

    def _scalar(self, field: FieldDescriptor) -> object:
        kind = field.cpp_type
        if kind in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE):
            return self._one(self.NUMBERS)
        if kind == field.CPPTYPE_STRING:
            text = self._one(("", "EGO", SCENE_ID, "x"))
            return text.encode() if field.type == field.TYPE_BYTES else text
        if kind in (field.CPPTYPE_BOOL, field.CPPTYPE_ENUM):
            return int(self._rng.integers(2))
        if kind in (field.CPPTYPE_INT32, field.CPPTYPE_UINT32):
            return int(self._rng.integers(2**31))
        return self._one((*self.STAMPS, 2**64 - 1) if kind == field.CPPTYPE_UINT64 else self.STAMPS)

    def _one(self, values: Sequence[Any]) -> Any:
        return values[int(self._rng.integers(len(values)))]


def test_noise_is_refused_and_nothing_breaks(
    services: tuple[EgodriverClient, ControllerClient, PhysicsClient, TrafficClient],
) -> None:
    driver, controller, physics, _ = services
    driver.start_session(DriveSession(SESSION, 1, SCENE_ID, {}))
    controller.start_session(SESSION)
    codes = Counter[str]()
    modules = (egodriver_pb2, controller_pb2, physics_pb2, traffic_pb2)
    for client, module in zip(services, modules, strict=True):
        (service,) = module.DESCRIPTOR.services_by_name.values()
        for method in service.methods:
            if method.name.startswith("get_") or method.name == "close_session":
                continue
            for seed in range(40):
                request = getattr(module, method.input_type.name)()
                Noise(seed).fill(request)
                try:
                    client.connection.call(method.name, request, deadline_s=20.0)
                    codes["OK"] += 1
                except ServiceError as error:
                    refusals = ("INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS")
                    assert error.code.name in refusals, (method.name, seed, error)
                    codes[error.code.name] += 1
    assert set(codes) == {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS"}, codes
    assert physics.version().version_id == OUR_VERSION


def test_a_rollout_through_all_services(
    services: tuple[EgodriverClient, ControllerClient, PhysicsClient, TrafficClient],
) -> None:
    driver, controller, physics, traffic = services
    scene = make_scene(SCENE_ID)
    drive = scene.reference
    track = Track(drive.stamps_us, drive.local_from_rig @ RIG_FROM_BOX)
    objects = {EGO_ID: LoggedObject(EGO_SIZE_XYZ_M, "", False, track)} | {
        actor_id: LoggedObject(spec.size_xyz_m, spec.kind, spec.is_static, spec.track)
        for actor_id, spec in scene.actors.items()
    }
    handover_us = scene.start_us + 17 * STEP_US
    driver.start_session(DriveSession(SESSION, 1, SCENE_ID, {}))
    controller.start_session(SESSION)
    traffic.start_session(TrafficRollout(SESSION, SCENE_ID, 1, objects, handover_us))

    history = slice(0, 18)
    egomotion = Egomotion(drive.stamps_us[history], drive.local_from_rig[history])
    pose, now_us = drive.local_from_rig[17], int(drive.stamps_us[17])
    state = RigState(now_us, pose, RigMotion(velocity_mps=(float(drive.speed_mps[17]), 0.0, 0.0)))
    for _ in range(30):
        answer = driver.step(
            SESSION, now_us, frames=(), egomotion=egomotion, route=None, query_us=now_us + STEP_US
        )
        stamps_us, plan = answer.trajectory
        request = ControlRequest(state, stamps_us, invert(pose) @ plan, to_us=now_us + STEP_US)
        (moved,) = controller.advance(SESSION, request)
        now_us = moved.true.time_us
        box = Body(EGO_SIZE_XYZ_M, (moved.true.local_from_rig @ RIG_FROM_BOX)[None])
        standing, _ = physics.put_on_ground(
            GroundRequest(SCENE_ID, now_us - STEP_US, now_us, np.array([now_us], np.int64), box)
        )
        assert standing is not None and standing.statuses == ("SUCCESSFUL_UPDATE",)
        others = traffic.simulate(
            SESSION, now_us, {EGO_ID: Track(np.array([now_us], np.int64), standing.local_from_box)}
        )
        assert set(others) == set(scene.actors)
        pose = standing.local_from_box[0] @ invert(RIG_FROM_BOX)
        state = RigState(now_us, pose, moved.true.motion)
        egomotion = Egomotion(np.array([now_us], np.int64), pose[None], (moved.true.motion,))
    for client in (driver, controller, traffic):
        client.close_session(SESSION)

    # Constant velocity from the reference's own speed: about as far, and on the ground all the way.
    assert now_us == handover_us + 30 * STEP_US
    way_m = np.linalg.norm(pose[:2, 3] - drive.local_from_rig[17, :2, 3])
    assert way_m == pytest.approx(3.0 * drive.speed_mps[17], rel=0.1)
    assert pose[2, 3] == pytest.approx(float(scene.terrain.height_m(pose[:2, 3])), abs=0.05)
    assert abs(pose[2, 3] - drive.local_from_rig[17, 2, 3]) > 0.02, "these are hills"
