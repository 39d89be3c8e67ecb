"""A plan painted into what a camera sees: as wide as the vehicle on the road, with status and words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from alpamayo_ros.sensing.camera_models import CameraModel
from alpamayo_ros.sensing.view import View
from alpamayo_ros.types import InvalidInput, UInt8Array
from alpamayo_ros.viz.colours import RGB, STATUS_COLOURS
from alpamayo_ros.viz.drawing import PlanDrawing
from alpamayo_ros.viz.labels import paint_labels
from alpamayo_ros.viz.ribbon import Points, edges, fitted, outlines, project_points

_SHIFT = 4
_WHITE: RGB = (255, 255, 255)
_STANDS_MPS = 0.3
_BAR_M = 0.6


@dataclass(frozen=True)
class OverlayStyle:
    """How a plan is painted.

    Attributes:
        vehicle_width_m: width of the chosen path's corridor.
        candidate_width_m, track_width_m: of the other candidates, and of where the vehicle has been.
        opacity, candidate_opacity, track_opacity: of their fills, 0 … 1.
        path_colour, candidate_colour, history_colour, future_colour: RGB; the path's is its status' where
            None.
        ticks: whether a line across the corridor marks each second.
        labels: whether status, speed, latency and reasoning are written.
        reasoning_lines: the most lines of reasoning; what does not fit ends in an ellipsis.

    Raises:
        InvalidInput: for a width that is not positive, an opacity out of range, or no line of reasoning.
    """

    vehicle_width_m: float = 1.9
    candidate_width_m: float = 0.2
    track_width_m: float = 0.35
    opacity: float = 0.45
    candidate_opacity: float = 0.45
    track_opacity: float = 0.6
    path_colour: RGB | None = None
    candidate_colour: RGB = (214, 226, 255)
    history_colour: RGB = (255, 214, 64)
    future_colour: RGB = (14, 122, 90)
    ticks: bool = True
    labels: bool = True
    reasoning_lines: int = 3

    def __post_init__(self) -> None:
        for name in ("vehicle_width_m", "candidate_width_m", "track_width_m"):
            if not getattr(self, name) > 0:
                raise InvalidInput(f"{name}: expected a positive number, got {getattr(self, name)}")
        for name in ("opacity", "candidate_opacity", "track_opacity"):
            if not 0 <= getattr(self, name) <= 1:
                raise InvalidInput(f"{name}: expected 0 … 1, got {getattr(self, name)}")
        if self.reasoning_lines < 1:
            raise InvalidInput(f"reasoning_lines: expected at least 1, got {self.reasoning_lines}")


DEFAULT_STYLE = OverlayStyle()


def draw_plan_overlay(
    image_rgb: UInt8Array,
    *,
    view: View | None,
    drawing: PlanDrawing,
    style: OverlayStyle = DEFAULT_STYLE,
    label: str = "",
) -> UInt8Array:
    """Return a picture with a plan painted on the road that it shows.

    Args:
        image_rgb: uint8 [H, W, 3]; it is left as it is.
        view: the camera that took it, of any calibrated size; None where it is not known: only the words are
            written then.
        drawing: the plan in the rig frame at the time of the picture.
        style: widths, colours, what is shown.
        label: a word for the upper right corner, e.g. the camera's name.

    Raises:
        InvalidInput: for a picture of another shape or dtype.
    """
    if (
        not isinstance(image_rgb, np.ndarray)
        or image_rgb.dtype != np.uint8
        or image_rgb.ndim != 3
        or image_rgb.shape[2] != 3
    ):
        got = f"{getattr(image_rgb, 'dtype', type(image_rgb).__name__)} {list(np.shape(image_rgb))}"
        raise InvalidInput(f"image_rgb: expected uint8 [H, W, 3], got {got}")
    image = np.array(image_rgb, order="C")
    if view is not None:
        paint_lines(image, view=view, drawing=drawing, style=style)
    if style.labels or label:
        paint_labels(
            image, drawing if style.labels else None, reasoning_lines=style.reasoning_lines, corner=label
        )
    return image


def paint_lines(
    image_rgb: UInt8Array, *, view: View, drawing: PlanDrawing, style: OverlayStyle = DEFAULT_STYLE
) -> None:
    """Paint tracks, candidates and the corridor of the chosen path into a picture, without words."""
    size = (image_rgb.shape[1], image_rgb.shape[0])

    def paint(lines: Sequence[Points], *, width_m: float, colour: RGB, opacity: float) -> None:
        found = [outline for line in lines for outline in outlines(view, line, width_m=width_m, size=size)]
        _fill(image_rgb, found, colour, opacity)

    paint(
        [drawing.history],
        width_m=style.track_width_m,
        colour=style.history_colour,
        opacity=style.track_opacity,
    )
    paint(
        [drawing.future], width_m=style.track_width_m, colour=style.future_colour, opacity=style.track_opacity
    )
    paint(
        drawing.candidates,
        width_m=style.candidate_width_m,
        colour=style.candidate_colour,
        opacity=style.candidate_opacity,
    )
    colour = style.path_colour or STATUS_COLOURS[drawing.status]
    corridor = outlines(view, drawing.path, width_m=style.vehicle_width_m, size=size)
    _fill(image_rgb, corridor, colour, style.opacity)
    thick = max(1, round(size[1] / 320))
    for outline in corridor:
        cv2.polylines(image_rgb, [_fixed(outline)], True, colour, thick, cv2.LINE_AA, _SHIFT)
    if corridor and style.ticks:
        _paint_ticks(image_rgb, view, drawing, model=fitted(view.model, *size), width_m=style.vehicle_width_m)


def _paint_ticks(
    image: UInt8Array, view: View, drawing: PlanDrawing, *, model: CameraModel, width_m: float
) -> None:
    """Paint a line across the corridor at each whole second, and a bar where the path ends standing."""
    times = drawing.path_times_s
    left, right = edges(drawing.path, width_m=width_m)
    seconds = np.arange(np.floor(times[0]) + 1, np.floor(times[-1]) + 1)
    # Where the vehicle stands, seconds pass without a way: one line would hide the other.
    seconds = seconds[np.interp(seconds, times, drawing.path_speed_mps) > _STANDS_MPS]
    ends = np.concatenate(
        [
            np.stack([np.interp(seconds, times, side[:, axis]) for axis in range(3)], axis=1)
            for side in (left, right)
        ]
    )
    stops = bool(drawing.path_speed_mps[-1] <= _STANDS_MPS)
    if stops:
        ends = np.concatenate([ends[: len(seconds)], left[-1:], ends[len(seconds) :], right[-1:]])
    if not len(ends):
        return
    pixels, seen = project_points(view, ends, model=model)
    count = len(ends) // 2
    thin = max(1, round(image.shape[0] / 400))
    for number in range(count):
        if seen[number] and seen[count + number]:
            a, b = _fixed(pixels[[number, count + number]])
            thick = 4 * thin if stops and number == count - 1 else thin
            cv2.line(image, a.tolist(), b.tolist(), _WHITE, thick, cv2.LINE_AA, _SHIFT)


def _fill(image: UInt8Array, polygons: Sequence[Points], colour: RGB, opacity: float) -> None:
    """Fill polygons [N, 2] in pixels; whole-number pixels are pixel centres, here and in OpenCV."""
    if not polygons or opacity == 0:
        return
    height, width = image.shape[:2]
    low = np.min([polygon.min(axis=0) for polygon in polygons], axis=0) - 1
    high = np.max([polygon.max(axis=0) for polygon in polygons], axis=0) + 2
    x0, y0 = np.clip(np.floor(low), 0, (width, height)).astype(int).tolist()
    x1, y1 = np.clip(np.ceil(high), 0, (width, height)).astype(int).tolist()
    if x0 >= x1 or y0 >= y1:
        return
    region = image[y0:y1, x0:x1]
    painted = region.copy()
    for polygon in polygons:
        cv2.fillPoly(painted, [_fixed(polygon - (x0, y0))], colour, cv2.LINE_AA, _SHIFT)
    region[:] = cv2.addWeighted(painted, opacity, region, 1 - opacity, 0)


def _fixed(points: Points) -> np.ndarray:
    return np.round(points * 2**_SHIFT).astype(np.int32)
