"""The vehicle's pictures in a rollout: asked of any renderer that speaks AlpaSim's protocol."""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy.spatial.transform import Rotation

from alpamayo_ros.sim.asl_log import RenderExchange
from alpamayo_ros.sim.cameras import LOGICAL_IDS
from alpamayo_ros.sim.protocol.convert import pose_messages
from alpamayo_ros.sim.protocol.generated import sensorsim_pb2
from alpamayo_ros.sim.protocol.sensorsim import AvailableCamera, RenderError, SensorsimClient
from alpamayo_ros.sim.roads import Float64Array
from alpamayo_ros.sim.scene import Scene
from alpamayo_ros.sim.state import ActorState, EgoState
from alpamayo_ros.types import InvalidInput, camera_name

SHUTTER_US = 30_000
JPEG_QUALITY = 95.0
HIDDEN_M = 100.0
"""How far below its place AlpaSim puts an object that is not to be seen: a renderer draws one that is not
listed where the recording had it."""

EGO_MASK_RIG_ID = "hyperion_8_1"
"""The rig whose masks AlpaSim asks for: what the cameras of Alpamayo's training data see of their own car."""

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8"
_JPEG_SIZES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
"""Markers behind which a JPEG's size stands: all kinds of start of frame."""

_log = logging.getLogger(__name__)


class SceneCameras:
    """The cameras of one rollout.

    Args:
        client: of the renderer.
        scene_id: a scene that it knows.
        width, height: of the pictures to ask for, in pixels.
        cameras: as the client gave them, by logical id; asked for by default.
        movers: a pose [4, 4] of each actor that the scene has and that moves: it is hidden while it is not
            there (see movers_of).
        deadline_s: for one set of pictures, retries included; the connection's policy by default.
        keep: whether to keep `exchanges`.
        warn: told once of pictures of another size than asked for.

    Attributes:
        exchanges: every picture that was asked for, for the rollout's log.
        sizes: (width, height) of the pictures that came, by camera id.
    """

    def __init__(
        self,
        client: SensorsimClient,
        scene_id: str,
        *,
        width: int,
        height: int,
        cameras: Mapping[str, AvailableCamera] | None = None,
        movers: Mapping[str, Float64Array] | None = None,
        deadline_s: float | None = None,
        keep: bool = True,
        warn: Callable[[str], None] = _log.warning,
    ) -> None:
        self._client, self._scene_id, self._size = client, scene_id, (width, height)
        self._cameras = client.cameras(scene_id) if cameras is None else dict(cameras)
        self._masked = {camera for camera, rig in client.ego_masks() if rig == EGO_MASK_RIG_ID}
        self._last_pose = dict(movers or {})
        self._deadline_s, self._keep, self._warn = deadline_s, keep, warn
        self._last: tuple[EgoState, Mapping[str, Float64Array]] | None = None
        self._size_told = False
        self.exchanges: list[RenderExchange] = []
        self.sizes: dict[int, tuple[int, int]] = {}

    @property
    def available(self) -> Mapping[str, AvailableCamera]:
        """What the renderer says of its cameras, by logical id."""
        return self._cameras

    def render(
        self, ego: EgoState, actors: Sequence[ActorState], *, camera_ids: Sequence[int]
    ) -> dict[int, bytes]:
        """Return encoded images by camera id, of the ego's instant.

        Only actors that move are sent, with those that are gone: the others are part of the scene.

        Raises:
            InvalidInput: for a camera that the renderer does not have.
            RenderError: where a picture does not come, is none, or has another size than the one before.
            ServiceError: where the renderer refuses or does not answer.
        """
        moving = {actor.actor_id: actor.local_from_box for actor in actors if not actor.is_static}
        requests = self._requests(ego, moving, camera_ids)
        images = self._client.render(requests, deadline_s=self._deadline_s)
        self._last = (ego, moving)
        self._last_pose.update(moving)
        by_id = {camera_id: images[LOGICAL_IDS[camera_id]] for camera_id in camera_ids}
        self._check_sizes(by_id)
        if self._keep:
            self.exchanges += [RenderExchange(request, images[name]) for name, request in requests.items()]
        return by_id

    def _requests(
        self, ego: EgoState, moving: Mapping[str, Float64Array], camera_ids: Sequence[int]
    ) -> dict[str, sensorsim_pb2.RGBRenderRequest]:
        """Return one request a camera, by logical id."""
        cameras = [self._camera(camera_id) for camera_id in camera_ids]
        last, last_moving = (ego, moving) if self._last is None else self._last
        gone = {name: _hidden(pose) for name, pose in self._last_pose.items() if name not in moving}
        bodies = sorted({*moving, *gone})
        now = [ego.local_from_rig @ camera.rig_from_camera for camera in cameras]
        before = [last.local_from_rig @ camera.rig_from_camera for camera in cameras]
        for name in bodies:
            now.append(moving[name] if name in moving else gone[name])
            # Who appears or goes does not fly through the ground while the shutter is open.
            before.append(last_moving[name] if name in moving and name in last_moving else now[-1])
        pairs = _shutter_pairs(before, now, since_us=ego.time_us - last.time_us)
        objects = [
            sensorsim_pb2.DynamicObject(track_id=name, pose_pair=pair)
            for name, pair in zip(bodies, pairs[len(cameras) :], strict=True)
        ]
        return {
            camera.logical_id: self._request(camera, pair, objects, time_us=ego.time_us)
            for camera, pair in zip(cameras, pairs, strict=False)
        }

    def _request(
        self,
        camera: AvailableCamera,
        pose: sensorsim_pb2.PosePair,
        objects: Sequence[sensorsim_pb2.DynamicObject],
        *,
        time_us: int,
    ) -> sensorsim_pb2.RGBRenderRequest:
        width, height = self._size
        request = sensorsim_pb2.RGBRenderRequest(
            scene_id=self._scene_id,
            resolution_h=height,
            resolution_w=width,
            camera_intrinsics=camera.intrinsics,
            frame_start_us=time_us - SHUTTER_US,
            frame_end_us=time_us,
            sensor_pose=pose,
            dynamic_objects=objects,
            image_format=sensorsim_pb2.JPEG,
            image_quality=JPEG_QUALITY,
        )
        if camera.logical_id in self._masked:
            request.insert_ego_mask = True
            request.ego_mask_id.camera_logical_id = camera.logical_id
            request.ego_mask_id.rig_config_id = EGO_MASK_RIG_ID
        return request

    def _camera(self, camera_id: int) -> AvailableCamera:
        name = LOGICAL_IDS[camera_id]
        if name not in self._cameras:
            raise InvalidInput(
                f"camera {camera_name(camera_id)}: expected one of the renderer's "
                f"{', '.join(self._cameras) or '(none)'}, got {name}"
            )
        return self._cameras[name]

    def _check_sizes(self, images: Mapping[int, bytes]) -> None:
        """Raise RenderError for no image, or a changed size; say once if it is not the one asked for."""
        other: list[str] = []
        for camera_id, data in images.items():
            name = camera_name(camera_id)
            try:
                size = image_size(data)
            except InvalidInput as error:
                raise RenderError(f"renderer: {name}: {error}") from error
            known = self.sizes.setdefault(camera_id, size)
            if size != known:
                raise RenderError(
                    f"renderer: {name}: expected images of {_size(known)} as before, got {_size(size)}"
                )
            if size != self._size:
                other.append(f"{name} {_size(size)}")
        if other and not self._size_told:
            self._size_told = True
            got = ", ".join(other)
            self._warn(f"renderer: asked for {_size(self._size)}, got {got}; taken as they are")


def movers_of(scene: Scene) -> dict[str, Float64Array]:
    """Return a pose [4, 4] of each actor of a scene that moves, by id."""
    return {
        actor.actor_id: actor.track.local_from_box[0]
        for actor in scene.actors.values()
        if not actor.is_static
    }


def image_size(data: bytes) -> tuple[int, int]:
    """Return width and height of a JPEG or PNG from its header; raises InvalidInput for other bytes."""
    size = None
    if data.startswith(_PNG) and data[12:16] == b"IHDR" and len(data) >= 24:
        size = struct.unpack_from(">II", data, 16)
    elif data.startswith(_JPEG):
        size = _jpeg_size(data)
    if size is None or not all(size):
        raise InvalidInput(f"image: expected a JPEG or PNG, got {len(data)} bytes that begin {data[:8]!r}")
    return int(size[0]), int(size[1])


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Return the size behind a JPEG's start of frame; its segments are [0xFF, marker, length, ...]."""
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # filling
            at += 1
            continue
        if marker in _JPEG_SIZES:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        (length,) = struct.unpack_from(">H", data, at + 2)
        at += 2 + length
    return None


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _hidden(pose: Float64Array) -> Float64Array:
    below = pose.copy()
    below[2, 3] -= HIDDEN_M
    return below


def _shutter_pairs(
    before: Sequence[Float64Array], now: Sequence[Float64Array], *, since_us: int
) -> list[sensorsim_pb2.PosePair]:
    """Return the poses at shutter open and close of bodies that moved from one pose to the other.

    Args:
        before: poses [4, 4], `since_us` ago.
        now: as many poses, at shutter close.
        since_us: 0 for bodies of which only now is known: they are taken to stand.
    """
    ends = np.stack(now)
    starts = ends
    if since_us > 0:
        starts = _between(np.stack(before), ends, share=max(0.0, 1.0 - SHUTTER_US / since_us))
    return [
        sensorsim_pb2.PosePair(start_pose=start, end_pose=end)
        for start, end in zip(pose_messages(starts), pose_messages(ends), strict=True)
    ]


def _between(before: Float64Array, now: Float64Array, *, share: float) -> Float64Array:
    """Return poses [N, 4, 4] that are `share` of the way from one to the other: linear, and slerp."""
    result = np.array(now)
    result[:, :3, 3] = (1 - share) * before[:, :3, 3] + share * now[:, :3, 3]
    start = Rotation.from_matrix(before[:, :3, :3])
    turn = (start.inv() * Rotation.from_matrix(now[:, :3, :3])).as_rotvec()
    result[:, :3, :3] = (start * Rotation.from_rotvec(share * turn)).as_matrix()
    return result
