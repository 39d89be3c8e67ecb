"""Requests for pictures of the tests' small scenes, and a server of them."""

from __future__ import annotations

import cv2
import numpy as np
from render_scenes import actor, plain_scene

from alpamayo_ros.sensing.camera_models import FTheta
from alpamayo_ros.sim.cameras import default_cameras
from alpamayo_ros.sim.protocol.convert import camera_spec, pose_message
from alpamayo_ros.sim.protocol.generated import sensorsim_pb2 as pb
from alpamayo_ros.sim.scene import START_US
from alpamayo_ros.types import InvalidInput

FRONT = default_cameras()[1]
SIZE = (192, 108)


def make_plain(scene_id):
    """Scenes plain-0 ... of different cars, in no time; in place of make_scene."""
    name, _, seed = scene_id.partition("-")
    if name != "plain" or not seed.isdecimal():
        raise InvalidInput(f"scene: expected plain-SEED, got {scene_id!r}")
    return plain_scene(
        actor("car", x=12.0, variant=int(seed)), actor("van", "van", x=30.0), scene_id=scene_id
    )


def pair(pose, start=None):
    return pb.PosePair(start_pose=pose_message(pose if start is None else start), end_pose=pose_message(pose))


def request(scene_id="plain-0", *, size=SIZE, model: FTheta = FRONT.model, **fields):
    """A request of the front camera at the origin; `fields` replace others of it."""
    given = {
        "scene_id": scene_id,
        "resolution_w": size[0],
        "resolution_h": size[1],
        "camera_intrinsics": camera_spec(model, FRONT.logical_id),
        "frame_start_us": START_US + 70_000,
        "frame_end_us": START_US + 100_000,
        "sensor_pose": pair(FRONT.rig_from_camera),
        "image_format": pb.PNG,
        "image_quality": 95,
    }
    return pb.RGBRenderRequest(**{**given, **fields})


def batch(**requests):
    return pb.BatchRGBRenderRequest(
        items=[pb.BatchRGBRenderRequestItem(camera_name=name, request=r) for name, r in requests.items()]
    )


def image_of(data):
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return image
