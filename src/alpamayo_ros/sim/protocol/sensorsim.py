"""A client of AlpaSim's SensorsimService: which scenes and cameras there are, and pictures of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import grpc
import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.sensing.camera_models import CameraModel
from alpamayo_ros.sensing.rigid import Matrix4
from alpamayo_ros.sim.protocol.channel import Connection, Service, ServiceError
from alpamayo_ros.sim.protocol.convert import camera_model, matrix_of, trajectory_of
from alpamayo_ros.sim.protocol.generated import common_pb2, sensorsim_pb2, sensorsim_pb2_grpc
from alpamayo_ros.sim.roads import Float64Array
from alpamayo_ros.types import InvalidInput

SENSORSIM = Service("renderer", sensorsim_pb2_grpc.SensorsimServiceStub)
OURS = "alpamayo_ros"
"""What the version of a renderer of ours begins with."""

_log = logging.getLogger(__name__)


class RenderError(RuntimeError):
    """A renderer answered, but not with what it was asked for; the message names the camera."""


@dataclass(frozen=True)
class RendererVersion:
    """What a renderer says of itself; `api` is (major, minor, patch) of the protocol."""

    version_id: str
    git_hash: str
    api: tuple[int, int, int]

    @property
    def is_ours(self) -> bool:
        """Whether it draws our procedural scenes."""
        return self.version_id.startswith(OURS)


@dataclass(frozen=True, eq=False)
class AvailableCamera:
    """A camera of a scene.

    Attributes:
        logical_id: its name on the wire.
        intrinsics: as the renderer gave them, to be sent back with requests.
        model: the lens at its native size, without what is mounted before it (see has_windshield).
        rig_from_camera: pose [4, 4] in the rig of its optical frame (x right, y down, z forward).
    """

    logical_id: str
    intrinsics: sensorsim_pb2.CameraSpec
    rig_from_camera: Matrix4
    model: CameraModel = field(init=False)

    def __post_init__(self) -> None:
        bare = sensorsim_pb2.CameraSpec()
        bare.CopyFrom(self.intrinsics)
        bare.logical_id = self.logical_id
        bare.ClearField("bivariate_windshield_model_param")
        object.__setattr__(self, "model", camera_model(bare))

    @property
    def has_windshield(self) -> bool:
        """Whether pictures are bent by a windshield too, of which `model` knows nothing."""
        return self.intrinsics.WhichOneof("external_distortion") is not None


@dataclass(frozen=True)
class LoadedScenes:
    """Scenes that are ready, with the number of their instances, and how many there is room for."""

    instances: Mapping[str, int]
    capacity: int


class SensorsimClient:
    """Asks one renderer.

    Args:
        connection: to it, made with SENSORSIM.
        warn: told what is worth knowing and no error.
    """

    def __init__(self, connection: Connection, *, warn: Callable[[str], None] = _log.warning) -> None:
        self.connection = connection
        self._warn = warn
        self._batches = True

    def version(self, *, deadline_s: float | None = None) -> RendererVersion:
        """Return the renderer's version; raises ServiceError."""
        answer = self.connection.call("get_version", common_pb2.Empty(), deadline_s=deadline_s)
        api = answer.grpc_api_version
        return RendererVersion(answer.version_id, answer.git_hash, (api.major, api.minor, api.patch))

    def scene_ids(self) -> tuple[str, ...]:
        """Return the scenes that the renderer lists; raises ServiceError."""
        return tuple(self.connection.call("get_available_scenes", common_pb2.Empty()).scene_ids)

    def loaded_scenes(self) -> LoadedScenes:
        """Return the scenes that are ready; raises ServiceError."""
        answer = self.connection.call("get_loaded_scenes", common_pb2.Empty())
        instances = {scene.scene_id: scene.loaded_instance_count for scene in answer.scenes}
        return LoadedScenes(instances, answer.loaded_instance_capacity)

    def ego_masks(self) -> tuple[tuple[str, str], ...]:
        """Return of which (camera's logical id, rig's id) there is a mask of the ego; raises ServiceError.

        Empty, too, where the renderer does not know the question.
        """
        try:
            answer = self.connection.call("get_available_ego_masks", common_pb2.Empty())
        except ServiceError as error:
            if error.code != grpc.StatusCode.UNIMPLEMENTED:
                raise
            return ()
        ids = [mask.ego_mask_id for mask in answer.ego_mask_metadata]
        return tuple((mask.camera_logical_id, mask.rig_config_id) for mask in ids)

    def cameras(self, scene_id: str, wanted: Sequence[str] | None = None) -> dict[str, AvailableCamera]:
        """Return a scene's cameras by logical id.

        Args:
            scene_id: of the scene.
            wanted: logical ids; others are left out, and may have lenses that we do not know.

        Raises:
            InvalidInput: for a wanted camera that is not there.
            RenderError: for a camera that is there twice, or is not as the protocol has it.
            ServiceError: where the renderer refuses.
        """
        request = sensorsim_pb2.AvailableCamerasRequest(scene_id=scene_id)
        listed = self.connection.call("get_available_cameras", request).available_cameras
        ids = [camera.logical_id for camera in listed]
        missing = [name for name in wanted or () if name not in ids]
        if missing:
            raise InvalidInput(
                f"cameras of {scene_id}: expected {', '.join(missing)} among the renderer's, "
                f"got {', '.join(ids) or 'none'}"
            )
        cameras: dict[str, AvailableCamera] = {}
        for camera in listed:
            name = camera.logical_id
            if wanted is not None and name not in wanted:
                continue
            if name in cameras:
                raise RenderError(f"cameras of {scene_id}: expected each once, got {name} twice")
            try:
                pose = matrix_of(camera.rig_to_camera, f"camera {name!r}: rig_to_camera")
                cameras[name] = AvailableCamera(name, camera.intrinsics, pose)
            except InvalidInput as error:
                raise RenderError(f"cameras of {scene_id}: {error}") from error
        return cameras

    def trajectories(self, scene_id: str) -> tuple[tuple[NDArray[np.int64], Float64Array], ...]:
        """Return a scene's recorded drives: stamps int64 [N] in us and poses of the rig [N, 4, 4] in local.

        Raises:
            RenderError: for a drive that is not as the protocol has it.
            ServiceError: where the renderer refuses.
        """
        request = sensorsim_pb2.AvailableTrajectoriesRequest(scene_id=scene_id)
        answer = self.connection.call("get_available_trajectories", request)
        try:
            return tuple(
                trajectory_of(each.trajectory, f"recorded drive {index}")
                for index, each in enumerate(answer.available_trajectories)
            )
        except InvalidInput as error:
            raise RenderError(f"trajectories of {scene_id}: {error}") from error

    def render(
        self, requests: Mapping[str, sensorsim_pb2.RGBRenderRequest], *, deadline_s: float | None = None
    ) -> dict[str, bytes]:
        """Return encoded pictures by camera, of requests by camera.

        In one call; one by one where the renderer knows no batches.

        Args:
            requests: one a camera.
            deadline_s: for all of them; the connection's policy by default.

        Raises:
            RenderError: where a picture failed, is missing or empty, comes twice or was not asked for.
            ServiceError: where the renderer refuses or does not answer.
        """
        limit_s = self.connection.policy.deadline_s if deadline_s is None else deadline_s
        ends_s = time.monotonic() + limit_s
        if self._batches:
            try:
                return self._render_batch(requests, limit_s)
            except ServiceError as error:
                if error.code != grpc.StatusCode.UNIMPLEMENTED:
                    raise
            self._batches = False
            self._warn(
                f"renderer at {self.connection.address}: no batch_render_rgb; asking for one image at a time"
            )
        return self._render_singly(requests, limit_s=limit_s, ends_s=ends_s)

    def _render_batch(
        self, requests: Mapping[str, sensorsim_pb2.RGBRenderRequest], limit_s: float
    ) -> dict[str, bytes]:
        batch = sensorsim_pb2.BatchRGBRenderRequest()
        for name, request in requests.items():
            batch.items.add(camera_name=name).request.CopyFrom(request)
        answer = self.connection.call("batch_render_rgb", batch, deadline_s=limit_s)
        return images_of_batch(answer, tuple(requests))

    def _render_singly(
        self, requests: Mapping[str, sensorsim_pb2.RGBRenderRequest], *, limit_s: float, ends_s: float
    ) -> dict[str, bytes]:
        images: dict[str, bytes] = {}
        for name, request in requests.items():
            left_s = max(0.0, ends_s - time.monotonic())
            try:
                images[name] = self.connection.call("render_rgb", request, deadline_s=left_s).image_bytes
            except ServiceError as error:
                if error.code != grpc.StatusCode.DEADLINE_EXCEEDED:
                    raise
                came = f"{len(images)} of {len(requests)} images within {limit_s:g} s"
                raise ServiceError(
                    f"renderer at {error.address}: render_rgb: {came} ({error.details or 'deadline'})",
                    code=error.code,
                    service=error.service,
                    address=error.address,
                    method=error.method,
                    details=error.details,
                ) from error
            if not images[name]:
                raise RenderError(f"renderer: {name}: expected an image, got no bytes")
        return images


def images_of_batch(answer: sensorsim_pb2.BatchRGBRenderReturn, names: Sequence[str]) -> dict[str, bytes]:
    """Return a batch's pictures by camera.

    Raises:
        RenderError: unless it holds each camera that was asked for once, successfully, and no other; it names
            all that is wrong.
    """
    images: dict[str, bytes] = {}
    faults: list[str] = []
    for item in answer.items:
        name = item.camera_name
        if name not in names:
            faults.append(f"{name}: not asked for")
        elif name in images:
            faults.append(f"{name}: came twice")
        elif not item.success:
            faults.append(f"{name}: {item.error_message or 'failed, it does not say why'}")
        elif not item.result.image_bytes:
            faults.append(f"{name}: no bytes")
        images[name] = item.result.image_bytes
    faults += [f"{name}: missing" for name in names if name not in images]
    if faults:
        raise RenderError(f"renderer: expected an image of each of {', '.join(names)}; {'; '.join(faults)}")
    return images
