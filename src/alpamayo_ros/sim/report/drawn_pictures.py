"""The embedded renderer as a source of pictures, in this process: no server is needed to make a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType

import numpy as np

from alpamayo_ros.sim.cameras import SimCamera, default_cameras
from alpamayo_ros.sim.record import ActorTrack, RolloutRecord
from alpamayo_ros.sim.render.renderer import SceneRenderer
from alpamayo_ros.sim.render.view import View
from alpamayo_ros.sim.roads import Float64Array
from alpamayo_ros.sim.scene import Scene
from alpamayo_ros.types import UInt8Array

_HIDDEN_M = 100.0
"""How far below the ground an actor is put that is not there: AlpaSim's way of hiding one."""
_STANDING_MPS = 0.2


class DrawnPictures:
    """Draws a rollout's moments with SceneRenderer. Keeps one scene at a time; close() it in the end."""

    def __init__(self) -> None:
        self._cameras = {camera.camera_id: camera for camera in default_cameras()}
        self._renderer: SceneRenderer | None = None

    def __enter__(self) -> DrawnPictures:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def cameras(self) -> Mapping[int, SimCamera]:
        """The default vehicle's cameras."""
        return self._cameras

    def close(self) -> None:
        """Free what the last scene holds on the GPU."""
        if self._renderer is not None:
            self._renderer.release()
            self._renderer = None

    def render(
        self, record: RolloutRecord, step: int, *, camera_ids: Sequence[int], width: int, height: int
    ) -> dict[int, UInt8Array]:
        """See PictureSource.render."""
        ego = record.ego[step]
        poses = {actor_id: _pose(track, step) for actor_id, track in record.actors.items()}
        standing = frozenset(
            actor_id for actor_id, track in record.actors.items() if _stands(track.local_from_box, step)
        )
        views = [
            View(
                model=self._cameras[camera_id].model.scaled_to(width, height),
                local_from_camera=ego.local_from_rig @ self._cameras[camera_id].rig_from_camera,
                time_us=ego.time_us,
                poses=poses,
                standing=standing,
            )
            for camera_id in camera_ids
        ]
        images = self._of(record.scene).render(views)
        return dict(zip(camera_ids, images, strict=True))

    def _of(self, scene: Scene) -> SceneRenderer:
        if self._renderer is None or self._renderer.scene is not scene:
            self.close()
            self._renderer = SceneRenderer(scene)
        return self._renderer


def _pose(track: ActorTrack, step: int) -> Float64Array:
    """Return where an actor is drawn at a step."""
    if track.present[step]:
        return np.asarray(track.local_from_box[step])
    pose = np.array(track.local_from_box[track.present][0])
    pose[2, 3] -= _HIDDEN_M
    return pose


def _stands(local_from_box: Float64Array, step: int) -> bool:
    """Return whether an actor stands still at a step, by where it was just before."""
    if step == 0:
        return False
    moved_m = float(np.linalg.norm(local_from_box[step, :2, 3] - local_from_box[step - 1, :2, 3]))
    return moved_m < 0.1 * _STANDING_MPS  # a step takes 0.1 s; NaN is no stand
