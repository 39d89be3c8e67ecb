"""The vehicle's pictures in a rollout: asked of any renderer that speaks AlpaSim's protocol."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import grpc
import numpy as np

from alpamayo_ros.sensing.rigid import from_quaternion
from alpamayo_ros.sim.asl_log import RenderExchange, pose_messages
from alpamayo_ros.sim.cameras import LOGICAL_IDS
from alpamayo_ros.sim.protocol.generated import common_pb2, sensorsim_pb2, sensorsim_pb2_grpc
from alpamayo_ros.sim.roads import Float64Array
from alpamayo_ros.sim.state import ActorState, EgoState
from alpamayo_ros.sim.trajectories import interpolate_poses
from alpamayo_ros.types import InvalidInput, camera_name

SHUTTER_US = 30_000
JPEG_QUALITY = 95.0
MESSAGE_BYTES = 64 * 1024 * 1024
CONNECT_TIMEOUT_S = 30.0
CALL_TIMEOUT_S = 300.0
"""AlpaSim's own: a renderer may load a scene in the first call."""


class RenderFailed(RuntimeError):
    """The renderer did not answer, or not with the pictures that it was asked for."""


@contextmanager
def connect(address: str) -> Iterator[sensorsim_pb2_grpc.SensorsimServiceStub]:
    """Yield a renderer at HOST:PORT, or for "" one of our own in a child process, which ends with the block.

    Raises:
        RenderFailed: if nothing answers at the address.
    """
    if not address:
        from alpamayo_ros.sim.render.process import RendererProcess

        with RendererProcess() as own, connect(own.address) as stub:
            yield stub
        return
    options = [
        ("grpc.max_receive_message_length", MESSAGE_BYTES),
        ("grpc.max_send_message_length", MESSAGE_BYTES),
    ]
    with grpc.insecure_channel(address, options=options) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=CONNECT_TIMEOUT_S)
        except grpc.FutureTimeoutError as error:
            raise RenderFailed(f"renderer: nothing answers at {address}") from error
        yield sensorsim_pb2_grpc.SensorsimServiceStub(channel)


class SceneCameras:
    """The cameras of one rollout.

    Args:
        stub: the renderer.
        scene_id: a scene that it knows.
        width, height: of the pictures in pixels.

    Attributes:
        exchanges: every picture that was asked for, for the rollout's log.
    """

    def __init__(
        self, stub: sensorsim_pb2_grpc.SensorsimServiceStub, scene_id: str, *, width: int, height: int
    ) -> None:
        self._stub, self._scene_id, self._size = stub, scene_id, (width, height)
        self._batches = True
        self._last: tuple[EgoState, Mapping[str, ActorState]] | None = None
        self.exchanges: list[RenderExchange] = []
        request = sensorsim_pb2.AvailableCamerasRequest(scene_id=scene_id)
        answer = self._call(stub.get_available_cameras, request)
        self._cameras = {camera.logical_id: camera for camera in answer.available_cameras}

    def render(
        self, ego: EgoState, actors: Sequence[ActorState], *, camera_ids: Sequence[int]
    ) -> dict[int, bytes]:
        """Return JPEG images by camera id, of the ego's instant.

        Only actors that can move are sent: the others are part of the scene.

        Raises:
            InvalidInput: for a camera that the renderer does not have.
            RenderFailed: where a picture does not come.
        """
        moving = {actor.actor_id: actor for actor in actors if not actor.is_static}
        objects = self._objects(ego, moving)
        requests = {LOGICAL_IDS[i]: self._request(i, ego, objects) for i in camera_ids}
        images = self._render(requests)
        self._last = (ego, moving)
        self.exchanges += [RenderExchange(request, images[name]) for name, request in requests.items()]
        return {camera_id: images[LOGICAL_IDS[camera_id]] for camera_id in camera_ids}

    def _request(
        self, camera_id: int, ego: EgoState, objects: Sequence[sensorsim_pb2.DynamicObject]
    ) -> sensorsim_pb2.RGBRenderRequest:
        name = LOGICAL_IDS[camera_id]
        if name not in self._cameras:
            raise InvalidInput(
                f"camera {camera_name(camera_id)}: expected one of the renderer's "
                f"{', '.join(self._cameras) or '(none)'}, got {name}"
            )
        camera = self._cameras[name]
        rig_from_camera = _matrix(camera.rig_to_camera)
        before = ego if self._last is None else self._last[0]
        width, height = self._size
        return sensorsim_pb2.RGBRenderRequest(
            scene_id=self._scene_id,
            resolution_h=height,
            resolution_w=width,
            camera_intrinsics=camera.intrinsics,
            frame_start_us=ego.time_us - SHUTTER_US,
            frame_end_us=ego.time_us,
            sensor_pose=_pair(
                before.time_us,
                before.local_from_rig @ rig_from_camera,
                ego.time_us,
                ego.local_from_rig @ rig_from_camera,
            ),
            dynamic_objects=objects,
            image_format=sensorsim_pb2.JPEG,
            image_quality=JPEG_QUALITY,
        )

    def _objects(self, ego: EgoState, moving: Mapping[str, ActorState]) -> list[sensorsim_pb2.DynamicObject]:
        last_us, last = (
            (ego.time_us, moving) if self._last is None else (self._last[0].time_us, self._last[1])
        )
        objects = []
        for actor_id, actor in sorted(moving.items()):
            before = last.get(actor_id, actor)
            pair = _pair(last_us, before.local_from_box, ego.time_us, actor.local_from_box)
            objects.append(sensorsim_pb2.DynamicObject(track_id=actor_id, pose_pair=pair))
        return objects

    def _render(self, requests: Mapping[str, sensorsim_pb2.RGBRenderRequest]) -> dict[str, bytes]:
        """Return images by logical id: in one call, or one by one where the renderer knows no batches."""
        if self._batches:
            batch = sensorsim_pb2.BatchRGBRenderRequest(
                items=[
                    sensorsim_pb2.BatchRGBRenderRequestItem(camera_name=name, request=request)
                    for name, request in requests.items()
                ]
            )
            try:
                answer = self._stub.batch_render_rgb(batch, timeout=CALL_TIMEOUT_S)
            except grpc.RpcError as error:
                if error.code() != grpc.StatusCode.UNIMPLEMENTED:
                    raise _failed(error) from error
                self._batches = False
            else:
                return _batch_images(answer, tuple(requests))
        return {
            name: self._call(self._stub.render_rgb, request).image_bytes for name, request in requests.items()
        }

    @staticmethod
    def _call(method: Any, request: Any) -> Any:
        try:
            return method(request, timeout=CALL_TIMEOUT_S)
        except grpc.RpcError as error:
            raise _failed(error) from error


def _batch_images(answer: sensorsim_pb2.BatchRGBRenderReturn, names: Sequence[str]) -> dict[str, bytes]:
    """Return a batch's images; it must hold each camera that was asked for once, and no other."""
    got = [item.camera_name for item in answer.items]
    if sorted(got) != sorted(names):
        raise RenderFailed(f"renderer: expected images of {', '.join(names)}, got {', '.join(got) or 'none'}")
    for item in answer.items:
        if not item.success:
            raise RenderFailed(f"renderer: {item.camera_name}: {item.error_message or 'failed'}")
    return {item.camera_name: item.result.image_bytes for item in answer.items}


def _failed(error: grpc.RpcError) -> RenderFailed:
    return RenderFailed(f"renderer: {error.code().name}: {error.details()}")


def _pair(from_us: int, before: Float64Array, to_us: int, now: Float64Array) -> sensorsim_pb2.PosePair:
    """Return the poses at shutter open and close of what moves from one pose to another."""
    opened = now
    if from_us < to_us:
        stamps_us = np.array([from_us, to_us], np.int64)
        opened = interpolate_poses(stamps_us, np.stack([before, now]), np.array([to_us - SHUTTER_US]))[0]
    start, end = pose_messages(np.stack([opened, now]))
    return sensorsim_pb2.PosePair(start_pose=start, end_pose=end)


def _matrix(pose: common_pb2.Pose) -> Float64Array:
    """Return a pose message as a matrix [4, 4]."""
    vec, quat = pose.vec, pose.quat
    return from_quaternion((vec.x, vec.y, vec.z), (quat.x, quat.y, quat.z, quat.w))
