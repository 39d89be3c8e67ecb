"""The ground of our scenes over gRPC."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import numpy as np
import pytest

from alpamayo_ros.sim.protocol.channel import Connection, ServiceError
from alpamayo_ros.sim.protocol.generated import physics_pb2, physics_pb2_grpc
from alpamayo_ros.sim.protocol.physics import (
    PHYSICS,
    STATUSES,
    Body,
    GroundRequest,
    PhysicsClient,
    PhysicsServicer,
    ground_request_message,
)
from alpamayo_ros.sim.protocol.server import serve
from alpamayo_ros.sim.protocol.service import OUR_VERSION, BadAnswer
from alpamayo_ros.sim.scene import EGO_SIZE_XYZ_M, Scene
from alpamayo_ros.sim.scenes import make_scene
from alpamayo_ros.sim.served_physics import ServedGround

SCENE_ID = "hills-3"
CAR = (4.6, 1.9, 1.5)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return make_scene(SCENE_ID)


@pytest.fixture
def client(scene: Scene) -> Iterator[PhysicsClient]:
    servicer = PhysicsServicer(ServedGround(make_scene))
    with serve(servicer.register) as server, Connection(server.address, service=PHYSICS) as connection:
        yield PhysicsClient(connection)


def flat_boxes(scene: Scene, *, above_m: float = 0.4) -> np.ndarray:
    """Boxes along the reference, level, a little above the ground."""
    poses = np.array(scene.reference.local_from_rig[::10])
    for pose in poses:
        yaw = np.arctan2(pose[1, 0], pose[0, 0])
        pose[:3, :3] = [[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]]
        pose[2, 3] += CAR[2] / 2 + above_m
    return poses


def request_of(poses: np.ndarray, others: np.ndarray | None = None) -> GroundRequest:
    stamps_us = 1_700_000_000_000_000 + 100_000 * np.arange(len(poses), dtype=np.int64)
    bodies = () if others is None else tuple(Body(CAR, pose[None]) for pose in others)
    ego = Body((EGO_SIZE_XYZ_M[0], EGO_SIZE_XYZ_M[1], CAR[2]), poses)
    return GroundRequest(SCENE_ID, int(stamps_us[0]), int(stamps_us[-1]), stamps_us, ego, bodies)


def test_boxes_stand_on_the_hills_and_lean_with_them(scene: Scene, client: PhysicsClient) -> None:
    poses = flat_boxes(scene)
    ego, others = client.put_on_ground(request_of(poses, poses))
    assert ego is not None and set(ego.statuses) == {"SUCCESSFUL_UPDATE"}
    feet = ego.local_from_box[:, :3, 3] - CAR[2] / 2 * ego.local_from_box[:, :3, 2]
    np.testing.assert_allclose(feet[:, 2], scene.terrain.height_m(feet), atol=1e-3)
    np.testing.assert_allclose(feet[:, :2], poses[:, :2, 3], atol=1e-3)
    slope = scene.terrain.gradient(feet[:, :2])
    assert np.abs(slope).max() > 0.01, "these are hills"
    up = ego.local_from_box[:, :3, 2]
    np.testing.assert_allclose(-up[:, :2] / up[:, 2:], slope, atol=1e-4)
    np.testing.assert_allclose(
        np.arctan2(ego.local_from_box[:, 1, 0], ego.local_from_box[:, 0, 0]),
        np.arctan2(poses[:, 1, 0], poses[:, 0, 0]),
        atol=1e-5,
    )
    for pose, other in zip(ego.local_from_box, others, strict=True):
        np.testing.assert_allclose(other.local_from_box[0], pose, atol=1e-6)
    again, _ = client.put_on_ground(request_of(ego.local_from_box))
    assert again is not None
    np.testing.assert_allclose(again.local_from_box, ego.local_from_box, atol=2e-5)


def test_what_is_hidden_or_upset_is_left_alone(scene: Scene, client: PhysicsClient) -> None:
    hidden, upset = flat_boxes(scene)[:2]
    hidden[2, 3] -= 100.0
    upset[:3, :3] = upset[:3, :3] @ [[1, 0, 0], [0, 0, -1], [0, 1, 0]]
    _, others = client.put_on_ground(request_of(flat_boxes(scene)[:1], np.stack([hidden, upset])))
    assert [other.statuses for other in others] == [("HIGH_TRANSLATION",), ("HIGH_ROTATION",)]
    np.testing.assert_allclose(others[0].local_from_box[0], hidden, atol=1e-4)
    np.testing.assert_allclose(others[1].local_from_box[0], upset, atol=1e-4)


def test_others_alone_have_no_ego(scene: Scene, client: PhysicsClient) -> None:
    (pose,) = flat_boxes(scene)[:1]
    request = GroundRequest(SCENE_ID, 0, 1, np.zeros(0, np.int64), None, (Body(CAR, pose[None]),))
    ego, others = client.put_on_ground(request)
    assert ego is None and len(others) == 1


def test_refusals_name_the_field(scene: Scene, client: PhysicsClient) -> None:
    good = ground_request_message(request_of(flat_boxes(scene)[:3], flat_boxes(scene)[:1]))

    def refused(change: str) -> ServiceError:
        message = physics_pb2.PhysicsGroundIntersectionRequest()
        message.CopyFrom(good)
        poses = message.ego_data.ego_trajectory_aabb.poses
        if change == "scene":
            message.scene_id = "clipgt-1"
        elif change == "falling":
            poses[1].timestamp_us = poses[0].timestamp_us
        elif change == "nan":
            poses[1].pose.vec.x = float("nan")
        elif change == "empty":
            message.ego_data.ego_trajectory_aabb.Clear()
        elif change == "size":
            message.other_objects[0].aabb.size_x = -1
        elif change == "zero":
            message.other_objects[0].pose_pair.future_pose.quat.Clear()
        with pytest.raises(ServiceError) as caught:
            client.connection.call("ground_intersection", message)
        return caught.value

    unknown = refused("scene")
    assert unknown.code == grpc.StatusCode.NOT_FOUND and "clipgt" in unknown.details
    for change, words in {
        "falling": "ego_data.ego_trajectory_aabb[1]: expected rising stamps",
        "nan": "ego_data.ego_trajectory_aabb[1]: expected finite",
        "empty": "ego_data.ego_trajectory_aabb: expected at least one pose",
        "size": "other_objects[0].aabb: expected positive sizes",
        "zero": "other_objects[0].pose_pair.future_pose: quaternion: expected unit length",
    }.items():
        error = refused(change)
        assert error.code == grpc.StatusCode.INVALID_ARGUMENT and words in error.details, change


def test_version_and_scenes(client: PhysicsClient) -> None:
    assert client.version().version_id == OUR_VERSION
    assert SCENE_ID in client.scene_ids()
    assert [physics_pb2.PhysicsGroundIntersectionReturn.Status.Name(i) for i in range(5)] == list(STATUSES)


class Forgetful(physics_pb2_grpc.PhysicsServiceServicer):
    """Answers nothing that it is asked for."""

    def ground_intersection(self, request: object, context: object) -> object:
        return physics_pb2.PhysicsGroundIntersectionReturn()


def test_an_answer_that_is_short_is_said(scene: Scene) -> None:
    def register(server: grpc.Server) -> None:
        physics_pb2_grpc.add_PhysicsServiceServicer_to_server(Forgetful(), server)

    with serve(register) as server, Connection(server.address, service=PHYSICS) as connection:
        client = PhysicsClient(connection)
        with pytest.raises(BadAnswer, match="ego_trajectory_aabb: expected 3 poses at the stamps asked for"):
            client.put_on_ground(request_of(flat_boxes(scene)[:3]))
