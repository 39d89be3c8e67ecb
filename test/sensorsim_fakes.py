"""A renderer that does as it is told: real gRPC, pictures of one colour, and every fault that is asked for.

As a program it serves until it is killed: `python sensorsim_fakes.py PORT DELAY_S`.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

import cv2
import grpc
import numpy as np

from alpamayo_ros.sim.cameras import LOGICAL_IDS, default_cameras
from alpamayo_ros.sim.protocol.convert import camera_spec, pose_message, trajectory_message, version_message
from alpamayo_ros.sim.protocol.generated import common_pb2, sensorsim_pb2_grpc
from alpamayo_ros.sim.protocol.generated import sensorsim_pb2 as pb
from alpamayo_ros.sim.protocol.server import RunningServer, ServerTls, serve

FOREIGN_SCENE = "clipgt-0001"
START_US = 1_600_000_000_000_000


@lru_cache
def jpeg(width: int, height: int, *, grey: int = 90) -> bytes:
    """Return a grey picture."""
    ok, data = cv2.imencode(".jpg", np.full((height, width, 3), grey, np.uint8))
    assert ok
    return bytes(data)


def grey_at(time_us: int) -> int:
    """Return how bright the picture of a time is: one that stays the same is a broken camera's."""
    return 60 + (time_us // 50_000) % 120


def drive_message(*, seconds: float = 22.0, speed_mps: float = 10.0, stamp_us: int = START_US):
    """Return a straight recorded drive, a pose every 100 ms."""
    count = round(seconds * 10) + 1
    poses = np.tile(np.eye(4), (count, 1, 1))
    poses[:, 0, 3] = speed_mps * 0.1 * np.arange(count)
    return trajectory_message(stamp_us + 100_000 * np.arange(count), poses)


class ScriptedRenderer(sensorsim_pb2_grpc.SensorsimServiceServicer):
    """Answers as its attributes say, which a test may change at any time.

    Attributes:
        version_id: of get_version.
        scene_ids: that are listed.
        cameras: the answer of get_available_cameras.
        drives: trajectories of every scene.
        batches: whether it knows batch_render_rgb.
        size: of the pictures; None is as asked.
        sizes: of the pictures of some cameras, by logical id.
        spoil: changes a batch's items before they are sent.
        failures: statuses with details; each call that comes is answered by the next, while there are any.
        delay_s: how long each call takes.
        requests: every RGBRenderRequest that came.
        calls: how often each method was called.
        entered: set when a call has come.
    """

    def __init__(self, *, logical_ids: Sequence[str] = LOGICAL_IDS) -> None:
        self.version_id = "somebodys-renderer-2.0"
        self.scene_ids: Sequence[str] = (FOREIGN_SCENE,)
        self.cameras = pb.AvailableCamerasReturn()
        for camera in default_cameras():
            if camera.logical_id in logical_ids:
                self.cameras.available_cameras.add(
                    logical_id=camera.logical_id,
                    intrinsics=camera_spec(camera.model, camera.logical_id),
                    rig_to_camera=pose_message(camera.rig_from_camera),
                )
        self.drives = [drive_message()]
        self.batches = True
        self.size: tuple[int, int] | None = None
        self.sizes: Mapping[str, tuple[int, int]] = {}
        self.spoil: Callable[[list[pb.BatchRGBRenderReturnItem]], None] = lambda items: None
        self.failures: list[tuple[grpc.StatusCode, str]] = []
        self.delay_s = 0.0
        self.requests: list[pb.RGBRenderRequest] = []
        self.calls: Counter[str] = Counter()
        self.entered = threading.Event()
        self.released = threading.Event()

    def release(self) -> None:
        """End all delays: the server is to stop."""
        self.released.set()

    def _enter(self, method: str, context: grpc.ServicerContext) -> None:
        self.calls[method] += 1
        self.entered.set()
        if self.delay_s:
            self.released.wait(self.delay_s)
        if self.failures:
            context.abort(*self.failures.pop(0))

    def get_version(self, request, context):
        self._enter("get_version", context)
        return version_message(self.version_id, git_hash="abc")

    def get_available_scenes(self, request, context):
        self._enter("get_available_scenes", context)
        return common_pb2.AvailableScenesReturn(scene_ids=self.scene_ids)

    def get_loaded_scenes(self, request, context):
        self._enter("get_loaded_scenes", context)
        scenes = [pb.LoadedSceneEntry(scene_id=FOREIGN_SCENE, loaded_instance_count=2)]
        return pb.LoadedScenesReturn(scenes=scenes, loaded_instance_capacity=3)

    def get_available_ego_masks(self, request, context):
        self._enter("get_available_ego_masks", context)
        masks = pb.AvailableEgoMasksReturn()
        mask = masks.ego_mask_metadata.add().ego_mask_id
        mask.camera_logical_id, mask.rig_config_id = LOGICAL_IDS[1], "hyperion_8_1"
        return masks

    def get_available_cameras(self, request, context):
        self._enter("get_available_cameras", context)
        return self.cameras

    def get_available_trajectories(self, request, context):
        self._enter("get_available_trajectories", context)
        answer = pb.AvailableTrajectoriesReturn()
        for drive in self.drives:
            answer.available_trajectories.add(trajectory=drive)
        return answer

    def render_rgb(self, request, context):
        self._enter("render_rgb", context)
        return self._draw(request)

    def batch_render_rgb(self, request, context):
        if not self.batches:
            self.calls["batch_render_rgb"] += 1
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "no batches here")
        self._enter("batch_render_rgb", context)
        items = [
            pb.BatchRGBRenderReturnItem(
                camera_name=item.camera_name, result=self._draw(item.request), success=True
            )
            for item in request.items
        ]
        self.spoil(items)
        return pb.BatchRGBRenderReturn(items=items)

    def _draw(self, request: pb.RGBRenderRequest) -> pb.RGBRenderReturn:
        self.requests.append(request)
        asked = self.size or (request.resolution_w, request.resolution_h)
        width, height = self.sizes.get(request.camera_intrinsics.logical_id, asked)
        return pb.RGBRenderReturn(image_bytes=jpeg(width, height, grey=grey_at(request.frame_end_us)))


def start(servicer: ScriptedRenderer, *, port: int = 0, tls: ServerTls | None = None) -> RunningServer:
    """Serve it."""
    return serve(
        lambda server: sensorsim_pb2_grpc.add_SensorsimServiceServicer_to_server(servicer, server),
        port=port,
        tls=tls,
        workers=4,
        on_stop=servicer.release,
    )


if __name__ == "__main__":
    told = ScriptedRenderer()
    told.delay_s = float(sys.argv[2])
    running = start(told, port=int(sys.argv[1]))
    print(running.port, flush=True)
    threading.Event().wait()
