"""What the cameras saw in a rollout: rendered again, from its record alone, where a report shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import cv2
import numpy as np

from alpamayo_ros.sensing.view import View
from alpamayo_ros.sim.cameras import SimCamera
from alpamayo_ros.sim.record import RolloutRecord
from alpamayo_ros.sim.report.overlay import paint_drive
from alpamayo_ros.types import UInt8Array

STRIP_CAMERA_IDS: tuple[int, ...] = (0, 1, 2)
"""Cross left, front wide, cross right, from left to right."""
_GAP_PX = 6


class PictureSource(Protocol):
    """Renders a rollout's moments; a renderer in this process or behind an address."""

    @property
    def cameras(self) -> Mapping[int, SimCamera]:
        """The cameras that can be asked for, by camera id."""
        ...

    def render(
        self, record: RolloutRecord, step: int, *, camera_ids: Sequence[int], width: int, height: int
    ) -> Mapping[int, UInt8Array]:
        """Return uint8 RGB [height, width, 3] of cameras at a step of a rollout."""
        ...


def painted_pictures(
    source: PictureSource,
    record: RolloutRecord,
    step: int,
    *,
    camera_ids: Sequence[int],
    width: int,
    height: int,
) -> dict[int, UInt8Array]:
    """Return pictures of a step by camera id, with that step's plan painted on the road.

    The last step has no plan of its own; the one before it is painted where it leads on from there.
    """
    images = source.render(record, step, camera_ids=camera_ids, width=width, height=height)
    ego = record.ego[step]
    drive = record.drives[min(step, len(record.drives) - 1)] if record.drives else None
    painted = {}
    for camera_id in camera_ids:
        camera, image = source.cameras[camera_id], images[camera_id]
        view = View(camera.model.scaled_to(image.shape[1], image.shape[0]), camera.rig_from_camera)
        painted[camera_id] = image if drive is None else paint_drive(image, view, drive=drive, ego=ego)
    return painted


def strip(images: Sequence[UInt8Array]) -> UInt8Array:
    """Return pictures of equal height side by side, with a white gap between."""
    height = images[0].shape[0]
    gap = np.full((height, _GAP_PX, 3), 255, np.uint8)
    parts: list[UInt8Array] = []
    for image in images:
        parts += [gap, image] if parts else [image]
    return np.concatenate(parts, axis=1)


def webp(image: UInt8Array, quality: int = 78) -> bytes:
    """Return a picture [H, W, 3] RGB as WebP: half of a JPEG's bytes, and sharp where it is a drawing."""
    _, data = cv2.imencode(".webp", image[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, quality])
    return data.tobytes()


def jpeg(image: UInt8Array, quality: int = 85) -> bytes:
    """Return a picture [H, W, 3] RGB as JPEG."""
    _, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return data.tobytes()
