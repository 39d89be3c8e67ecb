"""SensorsimService as a client sees it: what is answered, and what is refused by which name."""

from __future__ import annotations

import re
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
from wire import FRONT, SIZE, batch, image_of, make_plain, pair, request

from alpamayo_ros.sim.cameras import LOGICAL_IDS
from alpamayo_ros.sim.protocol.channel import MAX_MESSAGE_BYTES
from alpamayo_ros.sim.protocol.convert import API_VERSION, camera_model, matrix_of
from alpamayo_ros.sim.protocol.generated import common_pb2, sensorsim_pb2_grpc
from alpamayo_ros.sim.protocol.generated import sensorsim_pb2 as pb
from alpamayo_ros.sim.render.scene_store import SceneStore
from alpamayo_ros.sim.render.server import serve_store
from alpamayo_ros.sim.scene import FAMILIES
from alpamayo_ros.types import InvalidInput

CAPACITY = 3


@pytest.fixture(scope="module")
def store(render_thread):
    return SceneStore(render_thread, make_plain, capacity=CAPACITY)


@pytest.fixture(scope="module")
def server(store):
    with serve_store(store) as running:
        yield running


@pytest.fixture(scope="module")
def stub(server):
    limits = [("grpc.max_receive_message_length", MAX_MESSAGE_BYTES)]
    with grpc.insecure_channel(server.address, limits) as channel:
        yield sensorsim_pb2_grpc.SensorsimServiceStub(channel)


def refused(call, message):
    with pytest.raises(grpc.RpcError) as error:
        call(message)
    return error.value.code().name, error.value.details()


# ------------------------------------------------------------------------------------------------ images


@pytest.mark.parametrize("image_format", [pb.PNG, pb.JPEG])
@pytest.mark.parametrize("size", [SIZE, (97, 61)])
def test_an_image_comes_in_the_size_and_format_asked_for(stub, size, image_format):
    data = stub.render_rgb(request(size=size, image_format=image_format)).image_bytes
    assert data.startswith(b"\x89PNG" if image_format == pb.PNG else b"\xff\xd8")
    assert image_of(data).shape == (size[1], size[0], 3)


def test_quality_sets_the_size_of_a_jpeg_and_zero_is_95(stub):
    sizes = [
        len(stub.render_rgb(request(image_format=pb.JPEG, image_quality=quality)).image_bytes)
        for quality in (30, 95, 0)
    ]
    assert sizes[0] < 0.6 * sizes[1]
    assert sizes[1] == sizes[2]


def test_batch_and_single_give_the_same_bytes_in_the_order_asked_for(stub):
    wanted = {"b": request("plain-1"), "a": request("plain-0"), "c": request("plain-1", size=(64, 48))}
    answer = stub.batch_render_rgb(batch(**wanted))
    assert [item.camera_name for item in answer.items] == ["b", "a", "c"]
    for item in answer.items:
        assert item.success and not item.error_message
        assert item.result == stub.render_rgb(wanted[item.camera_name])


def test_an_ego_mask_that_is_asked_for_is_left_out(stub):
    assert not stub.get_available_ego_masks(common_pb2.Empty()).ego_mask_metadata
    masked = request(insert_ego_mask=True, ego_mask_id=pb.EgoMaskId(camera_logical_id="x", rig_config_id="y"))
    assert stub.render_rgb(masked) == stub.render_rgb(request())


def test_only_the_end_of_the_exposure_counts(stub):
    turned = FRONT.rig_from_camera.copy()
    turned[:3, 3] += (-3.0, 0.0, 0.0)
    moving = request(sensor_pose=pair(FRONT.rig_from_camera, turned))
    assert stub.render_rgb(moving) == stub.render_rgb(request())


# ---------------------------------------------------------------------------------------------- refusals


def object_at(track_id, **fields):
    pose = np.eye(4)
    pose[:3, 3] = 10.0, 0.0, 0.8
    return pb.DynamicObject(**{"track_id": track_id, "pose_pair": pair(pose), **fields})


def spec_without_lens():
    return pb.CameraSpec(logical_id="camera_x", resolution_w=100, resolution_h=100)


def spec_with_windshield():
    spec = request().camera_intrinsics
    spec.bivariate_windshield_model_param.horizontal_poly.append(1.0)
    return spec


def bad_quaternion():
    message = pair(FRONT.rig_from_camera)
    message.end_pose.quat.w = 5.0
    return message


def not_a_number():
    message = pair(FRONT.rig_from_camera)
    message.end_pose.vec.x = float("nan")
    return message


REFUSALS = {
    "scene": (request("nowhere-1"), "NOT_FOUND", "scene_id: .*nowhere-1"),
    "no scene": (request(""), "NOT_FOUND", "scene_id: .*''"),
    "track": (request(dynamic_objects=[object_at("ghost")]), "NOT_FOUND", "dynamic object.*'ghost'"),
    "track twice": (
        request(dynamic_objects=[object_at("car"), object_at("car")]),
        "INVALID_ARGUMENT",
        "dynamic object 'car'.*twice",
    ),
    "track nowhere": (
        request(dynamic_objects=[object_at("car", pose_pair=None)]),
        "INVALID_ARGUMENT",
        "dynamic object 'car': expected an end_pose",
    ),
    "width": (request(size=(0, 100)), "INVALID_ARGUMENT", "resolution_w: expected 1 ... 8192 pixels, got 0"),
    "height": (request(size=(100, 9000)), "INVALID_ARGUMENT", "resolution_h: .*got 9000"),
    "no format": (request(image_format=pb.UNDEFINED), "INVALID_ARGUMENT", "image_format: .*got UNDEFINED"),
    "format": (request(image_format=pb.JPEG2000), "INVALID_ARGUMENT", "image_format: .*got JPEG2000"),
    "unknown format": (request(image_format=77), "INVALID_ARGUMENT", "image_format: .*got 77"),
    "quality": (request(image_quality=101), "INVALID_ARGUMENT", "image_quality: .*got 101"),
    "lens": (request(camera_intrinsics=spec_without_lens()), "INVALID_ARGUMENT", "camera 'camera_x': .*none"),
    "windshield": (
        request(camera_intrinsics=spec_with_windshield()),
        "INVALID_ARGUMENT",
        "expected no external distortion, got bivariate_windshield_model_param",
    ),
    "no camera": (request(camera_intrinsics=None), "INVALID_ARGUMENT", "camera_intrinsics: "),
    "no pose": (request(sensor_pose=None), "INVALID_ARGUMENT", "sensor_pose: expected an end_pose"),
    "quaternion": (request(sensor_pose=bad_quaternion()), "INVALID_ARGUMENT", "sensor_pose: "),
    "not a number": (request(sensor_pose=not_a_number()), "INVALID_ARGUMENT", "sensor_pose: "),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_cannot_be_drawn_is_refused_by_name(stub, case):
    message, code, text = REFUSALS[case]
    got = refused(stub.render_rgb, message)
    assert got[0] == code
    assert re.search(text, got[1]), got[1]


@pytest.mark.parametrize("case", REFUSALS)
def test_in_a_batch_it_is_a_failed_item_and_the_others_are_drawn(stub, case):
    message, code, text = REFUSALS[case]
    answer = stub.batch_render_rgb(batch(good=request(), bad=message, fine=request(size=(64, 48))))
    good, bad, fine = answer.items
    assert (good.success, bad.success, fine.success) == (True, False, True)
    assert not bad.result.image_bytes
    assert re.search(f"{code}: .*{text}", bad.error_message), bad.error_message
    assert good.result == stub.render_rgb(request())


def test_an_item_without_a_request_fails_and_an_empty_batch_is_empty(stub):
    lone = pb.BatchRGBRenderRequest(items=[pb.BatchRGBRenderRequestItem(camera_name="x")])
    (item,) = stub.batch_render_rgb(lone).items
    assert not item.success and "request: expected one" in item.error_message
    assert not stub.batch_render_rgb(pb.BatchRGBRenderRequest()).items


def test_lidar_and_aggregated_are_not_served(stub):
    assert refused(stub.render_lidar, pb.LidarRenderRequest())[0] == "UNIMPLEMENTED"
    code, details = refused(stub.render_aggregated, pb.AggregatedRenderRequest())
    assert code == "UNIMPLEMENTED" and "batch_render_rgb" in details


# ----------------------------------------------------------------------------------------------- answers


def test_version(stub):
    version = stub.get_version(common_pb2.Empty())
    assert version.version_id.startswith("alpamayo_ros-")
    api = version.grpc_api_version
    assert (api.major, api.minor, api.patch) == API_VERSION


def test_the_first_hundred_of_each_family_are_listed(stub):
    scenes = list(stub.get_available_scenes(common_pb2.Empty()).scene_ids)
    assert len(scenes) == len(set(scenes)) == 100 * len(FAMILIES)
    assert {"straight-0", "rain_dark-99"} <= set(scenes)


def test_cameras_of_a_scene(stub):
    answer = stub.get_available_cameras(pb.AvailableCamerasRequest(scene_id="plain-0"))
    assert [camera.logical_id for camera in answer.available_cameras] == list(LOGICAL_IDS)
    front = answer.available_cameras[1]
    assert np.allclose(matrix_of(front.rig_to_camera, "pose"), FRONT.rig_from_camera, atol=1e-6)
    rays = np.random.default_rng(0).normal((0.0, 0.0, 1.5), size=(100, 3))
    got, expected = (m.project(rays)[0] for m in (camera_model(front.intrinsics), FRONT.model))
    assert np.allclose(got, expected, atol=1e-6, equal_nan=True)


def test_recorded_drive_of_a_scene(stub):
    answer = stub.get_available_trajectories(pb.AvailableTrajectoriesRequest(scene_id="plain-0"))
    (drive,) = answer.available_trajectories
    reference = make_plain("plain-0").reference
    assert [pose.timestamp_us for pose in drive.trajectory.poses] == list(reference.stamps_us)
    assert np.isclose(drive.trajectory.poses[50].pose.vec.x, reference.local_from_rig[50, 0, 3])


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("get_available_cameras", pb.AvailableCamerasRequest(scene_id="nowhere-1")),
        ("get_available_trajectories", pb.AvailableTrajectoriesRequest(scene_id="nowhere-1")),
    ],
)
def test_questions_about_an_unknown_scene(stub, method, message):
    code, details = refused(getattr(stub, method), message)
    assert code == "NOT_FOUND" and "nowhere-1" in details


def test_loaded_scenes_are_the_last_used_ones(stub):
    for seed in range(5):
        stub.render_rgb(request(f"plain-{seed}"))
    loaded = stub.get_loaded_scenes(common_pb2.Empty())
    assert loaded.loaded_instance_capacity == CAPACITY
    assert {scene.scene_id for scene in loaded.scenes} == {"plain-2", "plain-3", "plain-4"}
    assert all(s.loaded_instance_count == s.reusable_instance_count == 1 for s in loaded.scenes)


# --------------------------------------------------------------------------------------------- many at once


def test_concurrent_clients_get_what_each_asked_for(server, stub):
    """Eight clients, more scenes than there is room for: nobody gets another one's picture."""
    wanted = [request(f"plain-{k % 5}", size=(96 + 16 * (k % 3), 64)) for k in range(24)]
    alone = [stub.render_rgb(message).image_bytes for message in wanted]
    start = threading.Barrier(8)

    def client(index):
        with grpc.insecure_channel(server.address) as channel:
            own = sensorsim_pb2_grpc.SensorsimServiceStub(channel)
            start.wait()
            return [own.render_rgb(message).image_bytes for message in wanted[index::8]]

    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(client, range(8)))
    for index in range(8):
        assert got[index] == alone[index::8]


def test_a_port_that_is_taken_is_refused(server, store):
    with pytest.raises(InvalidInput, match=f"expected an address that is free, got 127.0.0.1:{server.port}"):
        serve_store(store, port=server.port)
