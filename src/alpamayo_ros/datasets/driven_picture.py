"""One look at a bag and its rig file: where the vehicle went, painted on the road that its cameras show.

Calibration that is wrong, a camera that is taken for another, left for right, stamps that are late: none of
it fails a check, all of it is seen here.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import cv2
import numpy as np

from alpamayo_ros.bags.errors import BagError
from alpamayo_ros.bags.reader import BagReader, RawMessage
from alpamayo_ros.bags.views import recorded_views
from alpamayo_ros.evaluation.drive import read_track
from alpamayo_ros.evaluation.track import DriveTrack
from alpamayo_ros.sensing.images import decode_compressed
from alpamayo_ros.sensing.rig import Rig
from alpamayo_ros.sensing.rigid import Matrix4
from alpamayo_ros.sim.trajectories import interpolate_poses
from alpamayo_ros.types import UInt8Array
from alpamayo_ros.viz.drawing import PlanDrawing
from alpamayo_ros.viz.overlay import OverlayStyle, draw_plan_overlay

_AHEAD_NS = 6_400_000_000
_WHEN = 0.4
"""Which picture of the drive: some way in, with most of the drive to come."""
_SLACK_NS = 100_000_000
_STYLE = OverlayStyle(labels=False, track_width_m=1.8, track_opacity=0.5)


def write_driven_picture(path: Path, rig: Rig, file: Path) -> None:
    """Write driven_picture() of a bag as JPEG; raises BagError also where the file cannot be written."""
    with BagReader(path) as bag:
        picture = driven_picture(bag, rig)
    if not cv2.imwrite(str(file), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 90]):
        raise BagError(f"picture {file}: expected a file that can be written, got none")


def driven_picture(bag: BagReader, rig: Rig, *, width: int = 960) -> UInt8Array:
    """Return the pictures of one moment, uint8 RGB [H, W, 3], two beside each other, with the way ahead.

    Args:
        bag: open for reading; its cameras send CompressedImage.
        rig: its rig, with lenses and mounts, or a bag that has them (CameraInfo, /tf_static).
        width: of each picture.

    Raises:
        BagError: for a bag without pictures of a camera at that moment, or odometry around it.
    """
    track = read_track(bag, rig, left_out=Counter[str]())
    views = recorded_views(bag, rig)
    reference = [m.stamp_ns for m in bag.messages([rig.camera(rig.reference_camera_id).topic])]
    if not reference:
        raise BagError(f"bag {bag.path}: expected pictures of the reference camera, got none")
    at_ns = reference[int(_WHEN * (len(reference) - 1))]
    tiles = []
    for camera in rig.cameras:
        message = _nearest(bag, camera.topic, at_ns)
        content = bag.decode(message)
        rgb = np.moveaxis(decode_compressed(bytes(content.data), format=content.format), 0, 2)
        scale = width / rgb.shape[1]
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        small = cv2.resize(rgb, (width, round(scale * rgb.shape[0])), interpolation=method)
        taken_ns = message.stamp_ns
        way = track.way_after(taken_ns, _pose(bag, track, taken_ns), until_ns=taken_ns + _AHEAD_NS)
        tiles.append(
            draw_plan_overlay(
                small,
                view=views.get(camera.camera_id),
                drawing=PlanDrawing(future=way),
                style=_STYLE,
                label=camera.name,
            )
        )
    return _tiled(tiles)


def _nearest(bag: BagReader, topic: str, at_ns: int) -> RawMessage:
    near = list(bag.messages([topic], start_ns=at_ns - _SLACK_NS, stop_ns=at_ns + _SLACK_NS))
    if not near:
        raise BagError(f"bag {bag.path}: expected a picture on {topic} around {at_ns} ns, got none")
    return min(near, key=lambda message: abs(message.stamp_ns - at_ns))


def _pose(bag: BagReader, track: DriveTrack, at_ns: int) -> Matrix4:
    stamps = track.stamps_ns
    if len(stamps) < 2 or not stamps[0] <= at_ns <= stamps[-1]:
        raise BagError(f"bag {bag.path}: expected odometry at {at_ns} ns, got none around it")
    at_us = np.zeros(1, np.int64)
    return np.asarray(interpolate_poses((stamps - at_ns) // 1000, track.odom_from_rig, at_us)[0], np.float64)


def _tiled(tiles: list[UInt8Array]) -> UInt8Array:
    height = max(tile.shape[0] for tile in tiles)
    padded = [cv2.copyMakeBorder(t, 0, height - t.shape[0], 0, 0, cv2.BORDER_CONSTANT) for t in tiles]
    if len(padded) % 2 and len(padded) > 1:
        padded.append(np.zeros_like(padded[0]))
    columns = min(2, len(padded))
    rows = [np.hstack(padded[i : i + columns]) for i in range(0, len(padded), columns)]
    return np.asarray(np.vstack(rows), np.uint8)
