"""Pictures of a rollout, asked of renderers that behave and of some that do not."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent import futures

import cv2
import grpc
import numpy as np
import pytest

from alpamayo_ros.sim.cameras import LOGICAL_IDS
from alpamayo_ros.sim.images import RenderFailed, SceneCameras, connect
from alpamayo_ros.sim.protocol.generated import sensorsim_pb2 as pb
from alpamayo_ros.sim.protocol.generated import sensorsim_pb2_grpc
from alpamayo_ros.sim.render.gpu import RendererUnavailable
from alpamayo_ros.sim.render.render_thread import shared_thread
from alpamayo_ros.sim.rollout import ClosedLoop
from alpamayo_ros.sim.scenes import make_scene
from alpamayo_ros.sim.world import ProceduralWorld
from alpamayo_ros.types import InvalidInput

_Spoil = Callable[[list[pb.BatchRGBRenderReturnItem]], None]


class _Renderer(sensorsim_pb2_grpc.SensorsimServiceServicer):
    """Answers with the camera's name as image; `spoil` changes the batch, `batches` says if it knows any."""

    def __init__(self) -> None:
        self.spoil: _Spoil = lambda items: None
        self.batches = True
        self.requests: list[pb.RGBRenderRequest] = []

    def get_available_cameras(self, request, context):
        cameras = pb.AvailableCamerasReturn()
        for name in (LOGICAL_IDS[1], LOGICAL_IDS[6]):
            camera = cameras.available_cameras.add(logical_id=name)
            camera.intrinsics.logical_id = name
            camera.rig_to_camera.quat.w = 1.0
            camera.rig_to_camera.vec.x = 2.0
        return cameras

    def render_rgb(self, request, context):
        self.requests.append(request)
        return pb.RGBRenderReturn(image_bytes=request.camera_intrinsics.logical_id.encode())

    def batch_render_rgb(self, request, context):
        if not self.batches:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "no batches")
        items = [
            pb.BatchRGBRenderReturnItem(
                camera_name=item.camera_name, result=self.render_rgb(item.request, context), success=True
            )
            for item in request.items
        ]
        self.spoil(items)
        return pb.BatchRGBRenderReturn(items=items)


@pytest.fixture
def renderer() -> Iterator[tuple[_Renderer, str]]:
    server = grpc.server(futures.ThreadPoolExecutor(2))
    servicer = _Renderer()
    sensorsim_pb2_grpc.add_SensorsimServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield servicer, f"127.0.0.1:{port}"
    server.stop(None).wait()


@pytest.fixture
def loop() -> ClosedLoop:
    return ClosedLoop(ProceduralWorld(make_scene("lead_braking-9")))


@pytest.mark.parametrize("batches", [True, False])
def test_asks_for_the_cameras_where_they_are_and_for_what_moves(renderer, loop, batches: bool) -> None:
    servicer, address = renderer
    servicer.batches = batches
    with connect(address) as stub:
        cameras = SceneCameras(stub, "lead_braking-9", width=576, height=320)
        cameras.render(loop.ego, loop.actors, camera_ids=(1,))
        before = loop.ego
        loop.follow_reference()
        images = cameras.render(loop.ego, loop.actors, camera_ids=(1, 6))
    assert images == {1: LOGICAL_IDS[1].encode(), 6: LOGICAL_IDS[6].encode()}
    request = servicer.requests[-1]
    assert (request.resolution_w, request.resolution_h, request.image_quality) == (576, 320, 95.0)
    assert request.frame_end_us == loop.time_us == request.frame_start_us + 30_000
    end, start = request.sensor_pose.end_pose.vec, request.sensor_pose.start_pose.vec
    camera = loop.ego.local_from_rig @ np.array([2.0, 0, 0, 1])
    np.testing.assert_allclose([end.x, end.y, end.z], camera[:3], atol=1e-3)
    moved = loop.ego.xy_m - before.xy_m
    np.testing.assert_allclose([end.x - start.x, end.y - start.y], 0.3 * moved, atol=1e-2)
    moving = {actor.actor_id for actor in loop.actors if not actor.is_static}
    assert moving and {each.track_id for each in request.dynamic_objects} == moving
    assert len(cameras.exchanges) == 3 and cameras.exchanges[-1].image_bytes == images[6]


def _failed(items: list[pb.BatchRGBRenderReturnItem]) -> None:
    items[1].success, items[1].error_message = False, "out of paint"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda items: items.pop(), "expected images of"),
        (lambda items: items.append(items[0]), "expected images of"),
        (lambda items: setattr(items[0], "camera_name", "camera_roof"), "camera_roof"),
        (_failed, "camera_front_tele_30fov: out of paint"),
    ],
)
def test_a_batch_that_is_not_what_was_asked_for_is_an_error(
    renderer, loop, spoil: _Spoil, message: str
) -> None:
    servicer, address = renderer
    servicer.spoil = spoil
    with connect(address) as stub:
        cameras = SceneCameras(stub, "lead_braking-9", width=576, height=320)
        with pytest.raises(RenderFailed, match=message):
            cameras.render(loop.ego, loop.actors, camera_ids=(1, 6))


def test_missing_cameras_and_renderers_are_named(renderer, loop, monkeypatch: pytest.MonkeyPatch) -> None:
    _, address = renderer
    with connect(address) as stub:
        cameras = SceneCameras(stub, "lead_braking-9", width=576, height=320)
        with pytest.raises(InvalidInput, match="camera cross_left: expected one of the renderer's"):
            cameras.render(loop.ego, loop.actors, camera_ids=(0, 1))
    monkeypatch.setattr("alpamayo_ros.sim.images.CONNECT_TIMEOUT_S", 0.3)
    with pytest.raises(RenderFailed, match=r"nothing answers at 127\.0\.0\.1:1"), connect("127.0.0.1:1"):
        pass


def test_the_embedded_renderer_serves_a_rollout(loop: ClosedLoop) -> None:
    try:
        shared_thread()
    except RendererUnavailable as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    with connect("") as stub:
        cameras = SceneCameras(stub, loop.scene.scene_id, width=192, height=108)
        images = cameras.render(loop.ego, loop.actors, camera_ids=(0, 1, 2, 6))
    assert set(images) == {0, 1, 2, 6}
    for data in images.values():
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        assert image.shape == (108, 192, 3) and image.std() > 5
