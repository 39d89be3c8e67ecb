"""AlpaSim's SensorsimService over our scenes."""

from __future__ import annotations

import logging
from concurrent.futures import Future, ThreadPoolExecutor

import grpc
import numpy as np
from numpy.typing import NDArray

from alpamayo_ros import __version__
from alpamayo_ros.sim.protocol.convert import camera_spec, pose_message, trajectory_message, version_message
from alpamayo_ros.sim.protocol.generated import common_pb2, sensorsim_pb2, sensorsim_pb2_grpc
from alpamayo_ros.sim.protocol.sensorsim import OURS
from alpamayo_ros.sim.protocol.server import RunningServer, ServerTls, answering, serve, status_of
from alpamayo_ros.sim.render.encode import encode_rgba
from alpamayo_ros.sim.render.requests import RenderRequest, parse_request
from alpamayo_ros.sim.render.scene_store import SceneStore, UnknownScene
from alpamayo_ros.types import InvalidInput

_log = logging.getLogger(__name__)


class SensorsimServicer(sensorsim_pb2_grpc.SensorsimServiceServicer):
    """Answers requests from a SceneStore; drawing is done by its one thread, encoding by a few others."""

    def __init__(self, store: SceneStore, *, encoders: int = 2) -> None:
        self._store = store
        self._encoders = ThreadPoolExecutor(encoders, thread_name_prefix="encoder")
        self._masks_mentioned = False

    def close(self) -> None:
        """End the encoding threads."""
        self._encoders.shutdown(wait=False, cancel_futures=True)

    # ------------------------------------------------------------------------------------------------ images

    def render_rgb(
        self, request: sensorsim_pb2.RGBRenderRequest, context: grpc.ServicerContext
    ) -> sensorsim_pb2.RGBRenderReturn:
        """Draw one image."""
        with answering(context):
            self._mention_masks(request)
            parsed = parse_request(request)
            (answer,) = self._draw([parsed])
            return sensorsim_pb2.RGBRenderReturn(image_bytes=answer.result())

    def batch_render_rgb(
        self, request: sensorsim_pb2.BatchRGBRenderRequest, context: grpc.ServicerContext
    ) -> sensorsim_pb2.BatchRGBRenderReturn:
        """Draw several images; an item that is refused is answered as failed, the others all the same."""
        answers: list[Future[bytes] | Exception] = []
        wanted: dict[str, list[tuple[int, RenderRequest]]] = {}
        for index, item in enumerate(request.items):
            try:
                if not item.HasField("request"):
                    raise InvalidInput("request: expected one, got none")
                self._mention_masks(item.request)
                parsed = parse_request(item.request)
                wanted.setdefault(parsed.scene_id, []).append((index, parsed))
                answers.append(Future())
            except InvalidInput as error:
                answers.append(error)
        with answering(context):
            for of_scene in wanted.values():
                for (index, _), answer in zip(
                    of_scene, self._draw_apart([r for _, r in of_scene]), strict=True
                ):
                    answers[index] = answer
            return sensorsim_pb2.BatchRGBRenderReturn(
                items=[_item(i.camera_name, answer) for i, answer in zip(request.items, answers, strict=True)]
            )

    def _draw_apart(self, requests: list[RenderRequest]) -> list[Future[bytes] | Exception]:
        """Draw requests of one scene together; if one of them is refused, each for itself."""
        try:
            return list(self._draw(requests))
        except InvalidInput as error:
            if len(requests) == 1 or isinstance(error, UnknownScene):
                return [error] * len(requests)
        return [answer for request in requests for answer in self._draw_apart([request])]

    def _draw(self, requests: list[RenderRequest]) -> list[Future[bytes]]:
        """Draw requests of one scene; each image is encoded while the next is drawn."""
        encoded: dict[int, Future[bytes]] = {}

        def encode(index: int, image: NDArray[np.uint8]) -> None:
            request = requests[index]
            encoded[index] = self._encoders.submit(
                encode_rgba, image, image_format=request.image_format, quality=request.quality
            )

        with self._store.lease(requests[0].scene_id) as renderer:
            renderer.render_rgba([request.view for request in requests], encode)
        return [encoded[index] for index in range(len(requests))]

    def _mention_masks(self, request: sensorsim_pb2.RGBRenderRequest) -> None:
        if request.insert_ego_mask and not self._masks_mentioned:
            self._masks_mentioned = True
            _log.warning("an ego mask was asked for; there are none here, images are drawn without")

    # ----------------------------------------------------------------------------------------------- answers

    def get_version(self, request: common_pb2.Empty, context: grpc.ServicerContext) -> common_pb2.VersionId:
        """Say what this is."""
        return version_message(f"{OURS}-{__version__}")

    def get_available_scenes(
        self, request: common_pb2.Empty, context: grpc.ServicerContext
    ) -> common_pb2.AvailableScenesReturn:
        """List the scenes of logs and the first 100 of each family; any seed is served."""
        return common_pb2.AvailableScenesReturn(scene_ids=self._store.listed_ids)

    def get_loaded_scenes(
        self, request: common_pb2.Empty, context: grpc.ServicerContext
    ) -> sensorsim_pb2.LoadedScenesReturn:
        """List the scenes that are ready to draw."""
        return sensorsim_pb2.LoadedScenesReturn(
            scenes=[
                sensorsim_pb2.LoadedSceneEntry(
                    scene_id=scene_id, loaded_instance_count=1, reusable_instance_count=int(users == 0)
                )
                for scene_id, users in self._store.loaded.items()
            ],
            loaded_instance_capacity=self._store.capacity,
        )

    def get_available_cameras(
        self, request: sensorsim_pb2.AvailableCamerasRequest, context: grpc.ServicerContext
    ) -> sensorsim_pb2.AvailableCamerasReturn:
        """List a scene's cameras."""
        with answering(context):
            return sensorsim_pb2.AvailableCamerasReturn(
                available_cameras=[
                    sensorsim_pb2.AvailableCamerasReturn.AvailableCamera(
                        intrinsics=camera_spec(camera.model, camera.logical_id),
                        rig_to_camera=pose_message(camera.rig_from_camera),
                        logical_id=camera.logical_id,
                    )
                    for camera in self._store.cameras(request.scene_id)
                ]
            )

    def get_available_trajectories(
        self, request: sensorsim_pb2.AvailableTrajectoriesRequest, context: grpc.ServicerContext
    ) -> sensorsim_pb2.AvailableTrajectoriesReturn:
        """Give the recorded drive of a scene, poses of the rig."""
        with answering(context):
            reference = self._store.scene(request.scene_id).reference
            trajectory = trajectory_message(reference.stamps_us, reference.local_from_rig)
            available = sensorsim_pb2.AvailableTrajectoriesReturn.AvailableTrajectory(trajectory=trajectory)
            return sensorsim_pb2.AvailableTrajectoriesReturn(available_trajectories=[available])

    def get_available_ego_masks(
        self, request: common_pb2.Empty, context: grpc.ServicerContext
    ) -> sensorsim_pb2.AvailableEgoMasksReturn:
        """There are none."""
        return sensorsim_pb2.AvailableEgoMasksReturn()

    def render_lidar(
        self, request: sensorsim_pb2.LidarRenderRequest, context: grpc.ServicerContext
    ) -> sensorsim_pb2.LidarRenderReturn:
        """Not served."""
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "render_lidar: this renderer draws cameras only")

    def render_aggregated(
        self, request: sensorsim_pb2.AggregatedRenderRequest, context: grpc.ServicerContext
    ) -> sensorsim_pb2.AggregatedRenderReturn:
        """Not served."""
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "render_aggregated: ask for batch_render_rgb")


def _item(name: str, answer: Future[bytes] | Exception) -> sensorsim_pb2.BatchRGBRenderReturnItem:
    if isinstance(answer, Exception):
        return sensorsim_pb2.BatchRGBRenderReturnItem(
            camera_name=name, success=False, error_message=f"{status_of(answer).name}: {answer}"
        )
    return sensorsim_pb2.BatchRGBRenderReturnItem(
        camera_name=name, success=True, result=sensorsim_pb2.RGBRenderReturn(image_bytes=answer.result())
    )


def serve_store(
    store: SceneStore,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    tls: ServerTls | None = None,
    workers: int = 16,
) -> RunningServer:
    """Serve a store's scenes and return at once; port 0 takes a free one.

    Raises:
        InvalidInput: if the address cannot be had.
    """
    servicer = SensorsimServicer(store)
    return serve(
        lambda server: sensorsim_pb2_grpc.add_SensorsimServiceServicer_to_server(servicer, server),
        host=host,
        port=port,
        tls=tls,
        workers=workers,
        on_stop=servicer.close,
    )
