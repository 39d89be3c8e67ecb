"""Render requests of AlpaSim's protocol, checked and brought to views."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from alpamayo_ros.sensing.rigid import Matrix4
from alpamayo_ros.sim.protocol.convert import camera_model, matrix_of
from alpamayo_ros.sim.protocol.generated import sensorsim_pb2
from alpamayo_ros.sim.render.brake_lamps import STANDING_MPS
from alpamayo_ros.sim.render.lens import gpu_lens
from alpamayo_ros.sim.render.view import View
from alpamayo_ros.types import InvalidInput

MAX_SIDE_PX = 8192
DEFAULT_QUALITY = 95

ImageFormat = Literal["JPEG", "PNG"]


@dataclass(frozen=True, eq=False)
class RenderRequest:
    """What is to be drawn and how it is to be encoded."""

    scene_id: str
    view: View
    image_format: ImageFormat
    quality: int


def parse_request(request: sensorsim_pb2.RGBRenderRequest) -> RenderRequest:
    """Check a request; raises InvalidInput naming the field.

    The pose at the end of the exposure counts, for the camera and for objects: the shutter is global. An ego
    mask is not drawn (get_available_ego_masks lists none). Quality 0, proto3's "not set", is 95.
    """
    size = request.resolution_w, request.resolution_h
    for name, value in zip(("resolution_w", "resolution_h"), size, strict=True):
        if not 1 <= value <= MAX_SIDE_PX:
            raise InvalidInput(f"{name}: expected 1 ... {MAX_SIDE_PX} pixels, got {value}")
    model = camera_model(request.camera_intrinsics).scaled_to(*size)
    gpu_lens(model)  # is it one that can be drawn with?
    formats: dict[int, ImageFormat] = {sensorsim_pb2.JPEG: "JPEG", sensorsim_pb2.PNG: "PNG"}
    if request.image_format not in formats:
        name = (
            sensorsim_pb2.ImageFormat.Name(request.image_format)
            if request.image_format in sensorsim_pb2.ImageFormat.values()
            else str(request.image_format)
        )
        raise InvalidInput(f"image_format: expected JPEG or PNG, got {name}")
    quality = request.image_quality or DEFAULT_QUALITY
    if not 1 <= quality <= 100:
        raise InvalidInput(f"image_quality: expected 1 ... 100 (or 0 for {DEFAULT_QUALITY}), got {quality}")
    if not request.HasField("sensor_pose") or not request.sensor_pose.HasField("end_pose"):
        raise InvalidInput("sensor_pose: expected an end_pose, got none")
    poses: dict[str, Matrix4] = {}
    standing: set[str] = set()
    seconds = (request.frame_end_us - request.frame_start_us) * 1e-6
    for item in request.dynamic_objects:
        name = f"dynamic object {item.track_id!r}"
        if item.track_id in poses:
            raise InvalidInput(f"{name}: expected each track id once, got it twice")
        if not item.pose_pair.HasField("end_pose"):
            raise InvalidInput(f"{name}: expected an end_pose, got none")
        poses[item.track_id] = matrix_of(item.pose_pair.end_pose, name)
        if seconds > 0 and item.pose_pair.HasField("start_pose"):
            a, b = item.pose_pair.start_pose.vec, item.pose_pair.end_pose.vec
            if np.hypot(b.x - a.x, b.y - a.y) < STANDING_MPS * seconds:
                standing.add(item.track_id)
    view = View(
        model=model,
        local_from_camera=matrix_of(request.sensor_pose.end_pose, "sensor_pose"),
        time_us=request.frame_end_us,
        poses=poses,
        standing=frozenset(standing),
    )
    return RenderRequest(request.scene_id, view, formats[request.image_format], round(quality))
