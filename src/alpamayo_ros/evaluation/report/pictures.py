"""Pictures of one instant: what the cameras saw with plan and drive painted in, and both from above."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from alpamayo_ros.evaluation.report.moments import Moment
from alpamayo_ros.sensing.rig import Rig
from alpamayo_ros.sim.report.pictures import strip
from alpamayo_ros.types import UInt8Array
from alpamayo_ros.viz.birds_eye import LIGHT, draw_birds_eye
from alpamayo_ros.viz.drawing import PlanDrawing
from alpamayo_ros.viz.overlay import OverlayStyle, draw_plan_overlay

PLAN_RGB, DRIVEN_RGB, CANDIDATE_RGB = (228, 87, 46), (27, 127, 92), (246, 190, 170)
_ORDER = ("cross_left", "front_wide", "cross_right", "front_tele", "rear_left", "rear_tele", "rear_right")
_STRIP_PX = 1480
_MAX_HEIGHT_PX = 300
_MIN_HEIGHT_PX = 160
"""Strips that are lower become two rows."""
_GAP_PX = 6
_STYLE = OverlayStyle(
    track_width_m=1.2,
    track_opacity=0.55,
    opacity=0.4,
    path_colour=PLAN_RGB,
    candidate_colour=CANDIDATE_RGB,
    future_colour=DRIVEN_RGB,
    labels=False,
)

_ABOVE = replace(LIGHT, future=DRIVEN_RGB)


def drawing_of(moment: Moment) -> PlanDrawing:
    """Return plan, candidates, history and drive of an instant, in the rig frame at t0."""
    here = np.zeros((1, 3))
    return PlanDrawing.of_plan(
        moment.plan,
        status=moment.row.status.upper() or "UNCHECKED",
        future=np.concatenate([here, moment.driven.xyz_in_rig_t0.astype(np.float64)]),
        history=moment.history.xyz_in_rig_t0.astype(np.float64),
    )


def camera_strip(moment: Moment, rig: Rig) -> UInt8Array | None:
    """Return the cameras side by side, [H, W, 3] RGB; None where the bag has no picture of the instant.

    Into cameras whose lens and place are known the plan (orange), its candidates (pale) and the drive (green)
    are painted; the others are shown as they are.
    """
    cameras = sorted(rig.cameras, key=lambda camera: _ORDER.index(camera.name))
    shown = [camera for camera in cameras if camera.camera_id in moment.pictures]
    if not shown:
        return None
    shapes = [moment.pictures[camera.camera_id].shape for camera in shown]
    columns = len(shown)
    height = _height(shapes, columns)
    if height < _MIN_HEIGHT_PX and len(shown) > 1:
        columns = (len(shown) + 1) // 2
        height = _height(shapes, columns)
    drawing = drawing_of(moment)
    images = []
    for camera in shown:
        picture = moment.pictures[camera.camera_id]
        width = round(height * picture.shape[1] / picture.shape[0])
        smaller = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
        view = moment.views.get(camera.camera_id)
        label = camera.name if view is not None else f"{camera.name} (no calibration)"
        images.append(
            draw_plan_overlay(
                np.asarray(smaller, np.uint8), view=view, drawing=drawing, style=_STYLE, label=label
            )
        )
    rows = [strip(images[first : first + columns]) for first in range(0, len(images), columns)]
    widest = max(row.shape[1] for row in rows)
    padded = [_padded(row, widest, gap=number > 0) for number, row in enumerate(rows)]
    return np.concatenate(padded, axis=0)


def _height(shapes: Sequence[tuple[int, ...]], columns: int) -> int:
    """Return how high pictures may be, of which `columns` stand in a row."""
    ratio = sum(shape[1] / shape[0] for shape in shapes[:columns])
    return min(_MAX_HEIGHT_PX, round((_STRIP_PX - _GAP_PX * (columns - 1)) / ratio))


def _padded(row: UInt8Array, width: int, *, gap: bool) -> UInt8Array:
    """Return a row of pictures on white, of a width, with a gap above or none."""
    result = np.full((row.shape[0] + _GAP_PX * gap, width, 3), 255, np.uint8)
    result[_GAP_PX * gap :, : row.shape[1]] = row
    return result


def birds_eye(moment: Moment, *, size: tuple[int, int]) -> UInt8Array:
    """Return plan, candidates and drive from above, [H, W, 3] RGB of a size (width, height)."""
    return draw_birds_eye(drawing_of(moment), size=size, style=_ABOVE)
