"""Camera pictures for the web page, with the plan painted in where no visualizer does it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.bags.run import PlanRecord, Track
from alpamayo_ros.bags.views import Parents, add_transforms, camera_info_of, fixed_transform
from alpamayo_ros.sensing.camera_info import CameraInfo, model_from_camera_info
from alpamayo_ros.sensing.images import decode_compressed, decode_image
from alpamayo_ros.sensing.rig import CameraConfig
from alpamayo_ros.sensing.view import View
from alpamayo_ros.types import InvalidInput, UInt8Array
from alpamayo_ros.view.web_messages import shown_status, stamp_ns
from alpamayo_ros.viz.drawing import PlanDrawing
from alpamayo_ros.viz.overlay import OverlayStyle, draw_plan_overlay

WIDTH = 640
"""Of the pictures that the page is sent, at most."""

JPEG_QUALITY = 80
IMAGE_TYPE, COMPRESSED_TYPE = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"

_STYLE = OverlayStyle(labels=False)
_POSES = 100
_LONGEST_PLAN_NS = 6_400_000_000


@dataclass(frozen=True)
class Picture:
    """A picture to be shown.

    Attributes:
        camera: its name.
        stamp_ns: when it was taken.
        media_type: of `data`, e.g. "image/jpeg".
        data: the encoded picture.
        plan: whether a plan is painted into it.
    """

    camera: str
    stamp_ns: int
    media_type: str
    data: bytes
    plan: bool


def as_it_is(camera: str, message: Any) -> Picture:
    """Return a sensor_msgs/CompressedImage as it came; raises InvalidInput for what no browser shows."""
    name = str(message.format).lower()
    for word, media_type in (("png", "image/png"), ("jpeg", "image/jpeg"), ("jpg", "image/jpeg")):
        if word in name:
            data = bytes(memoryview(message.data))
            return Picture(camera, stamp_ns(message.header.stamp), media_type, data, True)
    raise InvalidInput(f"overlay/{camera}: expected jpeg or png, got format {message.format!r}")


class PlanPainter:
    """Paints the newest plan into camera pictures; knows where the cameras stand from what it is told.

    Args:
        rig_frame: TF name of the rig frame, in which cameras are placed.
    """

    def __init__(self, *, rig_frame: str = "base_link") -> None:
        self._rig_frame = rig_frame
        self._parents: Parents = {}
        self._infos: dict[str, tuple[CameraInfo, str]] = {}
        self._views: dict[str, View | None] = {}
        self._poses: deque[tuple[int, NDArray[np.float64]]] = deque(maxlen=_POSES)
        self._plan: PlanRecord | None = None

    def forget(self) -> None:
        """Forget plan and poses: time has jumped. Cameras stay where they are."""
        self._poses.clear()
        self._plan = None

    def transforms(self, message: Any) -> None:
        """Take a tf2_msgs/TFMessage of /tf_static."""
        add_transforms(self._parents, message)
        self._views.clear()

    def info(self, camera: str, message: Any) -> None:
        """Take a camera's sensor_msgs/CameraInfo."""
        told = (camera_info_of(message), str(message.header.frame_id).removeprefix("/"))
        if self._infos.get(camera) != told:
            self._infos[camera] = told
            self._views.pop(camera, None)

    def pose(self, stamp_ns: int, odom_from_child: NDArray[np.float64]) -> None:
        """Take where the vehicle is; what is older than the newest is left out."""
        if not self._poses or stamp_ns > self._poses[-1][0]:
            self._poses.append((stamp_ns, odom_from_child))

    def plan(self, plan: PlanRecord) -> None:
        """Take a plan to paint from now on."""
        self._plan = plan

    def picture(self, camera: CameraConfig, message: Any) -> Picture:
        """Return a camera's picture at the page's size, with the plan where it can be placed.

        Args:
            camera: whose.
            message: its sensor_msgs/Image or CompressedImage.

        Raises:
            InvalidInput: for a picture that cannot be decoded.
        """
        taken_ns = stamp_ns(message.header.stamp)
        if camera.transport == "raw":
            chw = decode_image(
                message.data,
                height=message.height,
                width=message.width,
                step=message.step,
                encoding=message.encoding,
                is_bigendian=bool(message.is_bigendian),
            )
        else:
            chw = decode_compressed(message.data, format=str(message.format))
        rgb = _at_most(chw.transpose(1, 2, 0), WIDTH)
        drawing = self._drawing(taken_ns)
        view = None if drawing is None else self._view(camera)
        if drawing is not None and view is not None:
            rgb = draw_plan_overlay(rgb, view=view, drawing=drawing, style=_STYLE)
        bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
        _, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        painted = drawing is not None and view is not None
        return Picture(camera.name, taken_ns, "image/jpeg", jpeg.tobytes(), painted)

    def _view(self, camera: CameraConfig) -> View | None:
        """Return how a camera sees; None where nobody has told."""
        if camera.name not in self._views:
            self._views[camera.name] = self._new_view(camera)
        return self._views[camera.name]

    def _new_view(self, camera: CameraConfig) -> View | None:
        model, pose = camera.intrinsics, camera.rig_from_camera
        told = self._infos.get(camera.name)
        if told is not None:
            info, frame = told
            if model is None:
                try:
                    model = model_from_camera_info(info, rectified=camera.rectified)
                except InvalidInput:  # a lens that we do not know: pictures are shown without the plan
                    return None
            if pose is None:
                pose = fixed_transform(self._parents, self._rig_frame, frame)
        return None if model is None or pose is None else View(model, pose)

    def _drawing(self, taken_ns: int) -> PlanDrawing | None:
        """Return the plan as seen from where the vehicle was at a time; None where that is not known."""
        plan = self._plan
        if plan is None or abs(taken_ns - plan.t0_ns) > _LONGEST_PLAN_NS:
            return None
        if taken_ns == plan.t0_ns:
            moved = np.eye(4)
        else:
            at_t0, now = self._pose_at(plan.t0_ns), self._pose_at(taken_ns)
            if at_t0 is None or now is None:
                return None
            # Odometry may speak of another body frame: what is between them is told by the plan's own pose.
            child_from_rig = np.linalg.inv(at_t0) @ plan.odom_from_rig_t0
            moved = np.linalg.inv(now @ child_from_rig) @ plan.odom_from_rig_t0
        return PlanDrawing.of_lines(
            plan.xyz_in_rig_t0,
            plan.speed_mps,
            chosen=plan.chosen,
            rig_from_rig_t0=moved,
            elapsed_s=(taken_ns - plan.t0_ns) / 1e9,
            status=shown_status(plan),
        )

    def _pose_at(self, stamp_ns: int) -> NDArray[np.float64] | None:
        if not self._poses:
            return None
        stamps, poses = zip(*self._poses, strict=True)
        if stamp_ns > stamps[-1]:  # a picture may overtake its odometry: no more than a frame is missed
            return poses[-1] if stamp_ns - stamps[-1] <= 150_000_000 else None
        if stamp_ns == stamps[0]:
            return poses[0]
        return Track(np.array(stamps, np.int64), np.array(poses), np.zeros(len(stamps))).pose(stamp_ns)


def _at_most(image: UInt8Array, width: int) -> UInt8Array:
    if image.shape[1] <= width:
        return np.ascontiguousarray(image)
    height = max(1, round(image.shape[0] * width / image.shape[1]))
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
