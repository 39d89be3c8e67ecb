"""Where a recording's cameras stand and how they see, so that plans can be drawn into their images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from alpamayo_ros.bags.reader import BagReader
from alpamayo_ros.sensing.camera_info import CameraInfo, model_from_camera_info
from alpamayo_ros.sensing.frame_pipeline import FramePipeline
from alpamayo_ros.sensing.rig import CameraConfig, Rig
from alpamayo_ros.sensing.view import View
from alpamayo_ros.types import InvalidInput, UInt8Array

Parents: TypeAlias = dict[str, tuple[str, NDArray[np.float64]]]
"""Frame -> its parent, and its pose [4, 4] in it."""


def recorded_views(bag: BagReader, rig: Rig) -> Mapping[int, View]:
    """Return camera id -> View of the cameras whose lens and place the rig file or the bag tells.

    Lens: the rig file's, else the first CameraInfo. Place: the rig file's, else /tf_static. A camera whose
    images are not of that lens and place, as CameraInfo it cannot be read, is left out.
    """
    parents = recorded_parents(bag)
    views = {}
    for camera in rig.cameras:
        try:
            view = _view(bag, rig, camera, parents)
        except InvalidInput:
            continue
        if view is not None:
            views[camera.camera_id] = view
    return views


def frame_of(content: Any, pipeline: FramePipeline) -> UInt8Array:
    """Return the frame uint8 RGB [3, h, w] that a camera's pipeline makes of its recorded message.

    Args:
        content: sensor_msgs/CompressedImage or Image, as the camera's transport says.
        pipeline: the camera's.

    Raises:
        InvalidInput: for an image that cannot be read.
    """
    if pipeline.camera.transport == "compressed":
        return pipeline.process_compressed(bytes(content.data), format=content.format).frame
    return pipeline.process_image(
        bytes(content.data),
        encoding=content.encoding,
        height=content.height,
        width=content.width,
        step=content.step,
        is_bigendian=bool(content.is_bigendian),
    ).frame


def recorded_parents(bag: BagReader) -> Parents:
    """Return the fixed frames of a recording, as its /tf_static gives them."""
    parents: Parents = {}
    for message in bag.messages(["/tf_static"]):
        add_transforms(parents, bag.decode(message))
    return parents


def add_transforms(parents: Parents, message: Any) -> None:
    """Add the transforms of a tf2_msgs/TFMessage to the fixed frames that are known."""
    for stamped in message.transforms:
        frame = stamped.child_frame_id.removeprefix("/")
        parents[frame] = (stamped.header.frame_id.removeprefix("/"), _matrix(stamped.transform))


def fixed_transform(parents: Parents, target: str, source: str) -> NDArray[np.float64] | None:
    """Return target_from_source [4, 4] of two fixed frames, None where they are not connected."""
    top = target
    for _ in range(len(parents)):
        top = parents[top][0] if top in parents else top
    top_from_target, top_from_source = (_pose_below(top, frame, parents) for frame in (target, source))
    if top_from_target is None or top_from_source is None:
        return None
    return np.linalg.inv(top_from_target) @ top_from_source


def _view(bag: BagReader, rig: Rig, camera: CameraConfig, parents: Parents) -> View | None:
    model, pose = camera.intrinsics, camera.rig_from_camera
    info = None
    if camera.info_topic is not None and (model is None or pose is None):
        first = next(bag.messages([camera.info_topic]), None)
        info = None if first is None else bag.decode(first)
    if model is None and info is not None:
        model = model_from_camera_info(camera_info_of(info), rectified=camera.rectified)
    if pose is None and info is not None:
        pose = _pose_below(rig.rig_frame, info.header.frame_id.removeprefix("/"), parents)
    return None if model is None or pose is None else View(model, pose)


def _pose_below(root: str, frame: str, parents: Parents) -> NDArray[np.float64] | None:
    """Return root_from_frame [4, 4] where `root` is above `frame` in the tree of frames, else None."""
    pose = np.eye(4)
    for _ in range(len(parents) + 1):  # no longer way exists without a cycle
        if frame == root:
            return pose
        if frame not in parents:
            return None
        frame, parent_from_child = parents[frame]
        pose = parent_from_child @ pose
    return None


def camera_info_of(info: Any) -> CameraInfo:
    """Return the fields of a recorded sensor_msgs/CameraInfo."""
    return CameraInfo(
        width=int(info.width),
        height=int(info.height),
        distortion_model=str(info.distortion_model),
        d=list(info.d),
        k=list(info.k),
        r=list(info.r),
        p=list(info.p),
        binning_x=int(info.binning_x),
        binning_y=int(info.binning_y),
        roi_x_offset=int(info.roi.x_offset),
        roi_y_offset=int(info.roi.y_offset),
        roi_width=int(info.roi.width),
        roi_height=int(info.roi.height),
    )


def _matrix(transform: Any) -> NDArray[np.float64]:
    q, p = transform.rotation, transform.translation
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_quat([q.x, q.y, q.z, q.w]).as_matrix()
    matrix[:3, 3] = (p.x, p.y, p.z)
    return matrix
