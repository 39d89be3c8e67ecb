"""Lens and place of each camera of a rig, from the rig file, CameraInfo and static transforms."""

from __future__ import annotations

import threading

from alpamayo_ros.ros.static_transforms import StaticTransforms
from alpamayo_ros.sensing.camera_info import CameraInfo, model_from_camera_info, rectifying_rotation
from alpamayo_ros.sensing.camera_models import CameraModel
from alpamayo_ros.sensing.rig import Rig
from alpamayo_ros.sensing.rigid import Matrix4, compose
from alpamayo_ros.sensing.view import View


class CameraViews:
    """What is known of a rig's cameras by now; thread-safe.

    Lens: the rig file's, else CameraInfo's. Place: the rig file's, else that of the picture's frame in the
    rig frame, by static transforms. A rectified picture looks along CameraInfo's R.
    """

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._lock = threading.Lock()
        self._transforms = StaticTransforms()
        self._lenses: dict[int, CameraModel] = {}
        self._turned: dict[int, Matrix4] = {}
        self._infos: dict[int, CameraInfo] = {}
        self._views: dict[tuple[int, str], View | str] = {}

    def set_info(self, camera_id: int, info: CameraInfo) -> None:
        """Take a camera's CameraInfo; raises InvalidInput for one that cannot be read."""
        if self._infos.get(camera_id) == info:  # it comes with every picture and is always the same
            return
        self._infos[camera_id] = info
        rectified = self._rig.camera(camera_id).rectified
        model = model_from_camera_info(info, rectified=rectified)
        with self._lock:
            self._lenses[camera_id] = model
            if rectified:
                self._turned[camera_id] = compose(rectifying_rotation(info).T, (0.0, 0.0, 0.0))
            self._views.clear()

    @property
    def transforms(self) -> StaticTransforms:
        """Static transforms; tell `transforms_changed` when some were added."""
        return self._transforms

    def transforms_changed(self) -> None:
        """Look for the cameras' places anew."""
        with self._lock:
            self._views.clear()

    def view(self, camera_id: int, frame_id: str) -> View | str:
        """Return the view of a camera whose pictures are in a frame, or what is missing for one."""
        key = (camera_id, frame_id)
        with self._lock:
            found = self._views.get(key)
            if found is None:
                found = self._views[key] = self._find(camera_id, frame_id)
            return found

    def _find(self, camera_id: int, frame_id: str) -> View | str:
        camera = self._rig.camera(camera_id)
        model = camera.intrinsics or self._lenses.get(camera_id)
        if model is None:
            if camera.info_topic is None:
                return "no lens: the rig file gives neither intrinsics nor an info_topic"
            return f"no lens: the rig file has no intrinsics and no CameraInfo came on {camera.info_topic}"
        pose = camera.rig_from_camera
        if pose is None:
            pose = self._transforms.lookup(self._rig.rig_frame, frame_id) if frame_id else None
        if pose is None:
            return (
                f"no place: the rig file has no pose, and no static transform leads from "
                f"{self._rig.rig_frame} to {frame_id or 'the frame that its pictures do not name'}"
            )
        turned = self._turned.get(camera_id)
        return View(model, pose if turned is None else pose @ turned)
