"""Pictures of a rollout, asked of renderers that behave and of some that do not."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import replace

import cv2
import numpy as np
import pytest
from sensorsim_fakes import ScriptedRenderer, grey_at, jpeg

from alpamayo_ros.sim.cameras import LOGICAL_IDS
from alpamayo_ros.sim.images import SceneCameras, image_size, movers_of
from alpamayo_ros.sim.protocol.channel import CallPolicy, Connection, ServiceError
from alpamayo_ros.sim.protocol.convert import matrix_of
from alpamayo_ros.sim.protocol.sensorsim import SENSORSIM, RenderError, SensorsimClient
from alpamayo_ros.sim.render.gpu import RendererUnavailable
from alpamayo_ros.sim.render.render_thread import shared_thread
from alpamayo_ros.sim.renderer_connection import connect
from alpamayo_ros.sim.rollout import ClosedLoop
from alpamayo_ros.sim.scenes import make_scene
from alpamayo_ros.sim.world import ProceduralWorld
from alpamayo_ros.types import InvalidInput

SCENE = "lead_braking-9"
Told = tuple[ScriptedRenderer, SensorsimClient]


@pytest.fixture
def told(scripted: tuple[ScriptedRenderer, str]) -> Iterator[Told]:
    servicer, address = scripted
    with Connection(address, service=SENSORSIM, policy=CallPolicy(deadline_s=10.0)) as connection:
        yield servicer, SensorsimClient(connection, warn=lambda text: None)


@pytest.fixture
def loop() -> ClosedLoop:
    return ClosedLoop(ProceduralWorld(make_scene(SCENE)))


@pytest.mark.parametrize("batches", [True, False])
def test_asks_for_the_cameras_where_they_are_and_for_what_moves(
    told: Told, loop: ClosedLoop, batches: bool
) -> None:
    servicer, client = told
    servicer.batches = batches
    cameras = SceneCameras(client, SCENE, width=576, height=320)
    cameras.render(loop.ego, loop.actors, camera_ids=(1,))
    before, stood = loop.ego, {actor.actor_id: actor for actor in loop.actors}
    loop.follow_reference()
    images = cameras.render(loop.ego, loop.actors, camera_ids=(1, 6))
    drawn = jpeg(576, 320, grey=grey_at(loop.time_us))
    assert images == {1: drawn, 6: drawn}
    request = servicer.requests[-2]
    assert (request.resolution_w, request.resolution_h, request.image_quality) == (576, 320, 95.0)
    assert request.scene_id == SCENE and request.camera_intrinsics.logical_id == LOGICAL_IDS[1]
    assert request.frame_end_us == loop.time_us == request.frame_start_us + 30_000
    rig_from_camera = client.cameras(SCENE)[LOGICAL_IDS[1]].rig_from_camera
    end = matrix_of(request.sensor_pose.end_pose, "end")
    np.testing.assert_allclose(end, loop.ego.local_from_rig @ rig_from_camera, atol=1e-3)
    opened = matrix_of(request.sensor_pose.start_pose, "start")
    moved = loop.ego.xy_m - before.xy_m
    np.testing.assert_allclose((end - opened)[:2, 3], 0.3 * moved, atol=1e-2)
    moving = {actor.actor_id: actor for actor in loop.actors if not actor.is_static}
    assert moving and [each.track_id for each in request.dynamic_objects] == sorted(moving)
    for each in request.dynamic_objects:
        now = matrix_of(each.pose_pair.end_pose, each.track_id)
        np.testing.assert_allclose(now, moving[each.track_id].local_from_box, atol=1e-3)
        way = moving[each.track_id].xy_m - stood[each.track_id].xy_m
        opened = matrix_of(each.pose_pair.start_pose, each.track_id)
        np.testing.assert_allclose((now - opened)[:2, 3], 0.3 * way, atol=1e-2)
    assert len(cameras.exchanges) == 3 and cameras.exchanges[-1].image_bytes == images[6]
    assert cameras.exchanges[-1].request == servicer.requests[-1]


def test_the_ego_is_masked_in_where_the_renderer_has_masks(told: Told, loop: ClosedLoop) -> None:
    servicer, client = told
    SceneCameras(client, SCENE, width=64, height=36).render(loop.ego, (), camera_ids=(0, 1))
    without, masked = servicer.requests
    assert not without.insert_ego_mask and not without.HasField("ego_mask_id")
    assert masked.insert_ego_mask and masked.ego_mask_id.camera_logical_id == LOGICAL_IDS[1]
    assert masked.ego_mask_id.rig_config_id == "hyperion_8_1"


def test_the_first_pictures_are_of_a_world_that_stands(told: Told, loop: ClosedLoop) -> None:
    servicer, client = told
    SceneCameras(client, SCENE, width=64, height=36).render(loop.ego, loop.actors, camera_ids=(1,))
    (request,) = servicer.requests
    assert request.sensor_pose.start_pose == request.sensor_pose.end_pose


def test_who_is_not_there_is_hidden_below_the_ground(told: Told, loop: ClosedLoop) -> None:
    servicer, client = told
    cameras = SceneCameras(client, SCENE, width=64, height=36, movers=movers_of(loop.scene))
    first, *others = [actor for actor in loop.actors if not actor.is_static]

    def heights() -> dict[str, tuple[float, float]]:
        return {
            each.track_id: (each.pose_pair.start_pose.vec.z, each.pose_pair.end_pose.vec.z)
            for each in servicer.requests[-1].dynamic_objects
        }

    z = float(first.local_from_box[2, 3])
    below = pytest.approx((z - 100.0, z - 100.0), abs=1.0)
    cameras.render(loop.ego, others, camera_ids=(1,))
    assert heights()[first.actor_id] == below  # not seen yet, and drawn all the same if it were not listed
    loop.follow_reference()
    cameras.render(loop.ego, loop.actors, camera_ids=(1,))
    assert heights()[first.actor_id] == pytest.approx((z, z), abs=1.0)
    loop.follow_reference()
    cameras.render(loop.ego, others, camera_ids=(1,))
    assert heights()[first.actor_id] == below


def test_another_size_than_asked_for_is_taken_and_said_once(told: Told, loop: ClosedLoop) -> None:
    servicer, client = told
    said: list[str] = []
    servicer.sizes = {LOGICAL_IDS[1]: (1916, 1080), LOGICAL_IDS[6]: (960, 540)}
    cameras = SceneCameras(client, SCENE, width=1900, height=1080, warn=said.append)
    for _ in range(3):
        images = cameras.render(loop.ego, loop.actors, camera_ids=(0, 1, 6))
        loop.follow_reference()
    assert image_size(images[1]) == (1916, 1080)
    assert cameras.sizes == {0: (1900, 1080), 1: (1916, 1080), 6: (960, 540)}
    assert said == [
        "renderer: asked for 1900x1080, got front_wide 1916x1080, front_tele 960x540; taken as they are"
    ]


def test_a_size_that_changes_is_a_fault(told: Told, loop: ClosedLoop) -> None:
    servicer, client = told
    cameras = SceneCameras(client, SCENE, width=64, height=36)
    cameras.render(loop.ego, loop.actors, camera_ids=(1,))
    servicer.size = (96, 54)
    with pytest.raises(RenderError, match="front_wide: expected images of 64x36 as before, got 96x54"):
        cameras.render(loop.ego, loop.actors, camera_ids=(1,))


def test_what_is_no_picture_is_a_fault(told: Told, loop: ClosedLoop) -> None:
    servicer, client = told

    def nonsense(items: list) -> None:
        items[0].result.image_bytes = b"<html>"

    servicer.spoil = nonsense
    with pytest.raises(RenderError, match="front_wide: image: expected a JPEG or PNG, got 6 bytes"):
        SceneCameras(client, SCENE, width=64, height=36).render(loop.ego, (), camera_ids=(1,))


def test_cameras_that_are_not_there_are_named(told: Told, loop: ClosedLoop) -> None:
    servicer, client = told
    del servicer.cameras.available_cameras[0]
    cameras = SceneCameras(client, SCENE, width=576, height=320)
    with pytest.raises(InvalidInput, match="camera cross_left: expected one of the renderer's"):
        cameras.render(loop.ego, loop.actors, camera_ids=(0, 1))
    assert not servicer.requests


def test_renderers_that_are_not_there_are_named() -> None:
    with (
        pytest.raises(ServiceError, match=r"nothing answers at 127\.0\.0\.1:1 within 0.3 s"),
        connect("127.0.0.1:1", policy=CallPolicy(connect_timeout_s=0.3)),
    ):
        pass


@pytest.mark.parametrize("extension", [".png", ".jpg"])
@pytest.mark.parametrize("size", [(1, 1), (576, 320), (1916, 1080), (300, 8000)])
def test_sizes_are_read_from_headers(extension: str, size: tuple[int, int]) -> None:
    width, height = size
    image = np.zeros((height, width, 3), np.uint8)
    for options in ([], [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]):
        data = bytes(cv2.imencode(extension, image, options)[1])
        assert image_size(data) == size
    if extension == ".jpg":  # with a segment of metadata and filling before the frame
        comment = b"\xff\xfe" + struct.pack(">H", 1002) + b"\xff\xc0" * 500
        assert image_size(data[:2] + comment + b"\xff\xff" + data[2:]) == size
    for cut in range(20):
        with pytest.raises(InvalidInput, match="expected a JPEG or PNG"):
            image_size(data[:cut])


def test_the_embedded_renderer_serves_a_rollout(loop: ClosedLoop) -> None:
    try:
        shared_thread()
    except RendererUnavailable as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    with connect("") as client:
        assert client.version().is_ours and SCENE in client.scene_ids()
        cameras = SceneCameras(client, SCENE, width=192, height=108, movers=movers_of(loop.scene))
        images = cameras.render(loop.ego, loop.actors, camera_ids=(0, 1, 2, 6))
        hidden = cameras.render(replace(loop.ego, time_us=loop.time_us + 1), (), camera_ids=(0, 1, 2, 6))
    assert set(images) == {0, 1, 2, 6}
    for data in images.values():
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        assert image.shape == (108, 192, 3) and image.std() > 5
    assert hidden[1] != images[1]  # the car in front is out of sight
