"""A plan painted into what a camera sees: as wide as the vehicle on the road, with status and words."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from alpamayo_ros.sensing.camera_models import CameraModel
from alpamayo_ros.sensing.view import View
from alpamayo_ros.types import InvalidInput, UInt8Array
from alpamayo_ros.viz.colours import RGB, STATUS_COLOURS
from alpamayo_ros.viz.drawing import PlanDrawing
from alpamayo_ros.viz.labels import paint_labels
from alpamayo_ros.viz.lens_sight import Points, fitted, project_points
from alpamayo_ros.viz.paint import fill, polyline
from alpamayo_ros.viz.ribbon import Ribbons, edges

_WHITE: RGB = (255, 255, 255)
_STANDS_MPS = 0.3
_COARSE = 3.0


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
    layers = _layers(drawing, style)
    outlines: list[list[Points]] = [[] for _ in layers.ends]
    for number, outline in layers.ribbons.numbered_outlines(view, size=size):
        outlines[bisect_right(layers.ends, number)].append(outline)
    history, future, candidates, corridor = outlines
    fill(image_rgb, history, style.history_colour, opacity=style.track_opacity)
    fill(image_rgb, future, style.future_colour, opacity=style.track_opacity)
    fill(image_rgb, candidates, style.candidate_colour, opacity=style.candidate_opacity)
    colour = style.path_colour or STATUS_COLOURS[drawing.status]
    fill(image_rgb, corridor, colour, opacity=style.opacity)
    thick = max(1, round(size[1] / 320))
    for outline in corridor:
        polyline(image_rgb, outline, colour, thickness=thick, closed=True)
    if corridor and style.ticks:
        _paint_ticks(image_rgb, view, drawing, model=fitted(view.model, *size), width_m=style.vehicle_width_m)


@dataclass(frozen=True, eq=False)
class _Layers:
    """What of a drawing does not depend on the camera: all ribbons, and the numbers at which a kind ends."""

    ribbons: Ribbons
    ends: tuple[int, ...]


@lru_cache(maxsize=8)
def _layers(drawing: PlanDrawing, style: OverlayStyle) -> _Layers:
    candidates = drawing.candidates if style.candidate_opacity else ()
    parts = [
        Ribbons.along([drawing.history], width_m=style.track_width_m, coarse=_COARSE),
        Ribbons.along([drawing.future], width_m=style.track_width_m, coarse=_COARSE),
        Ribbons.along(candidates, width_m=style.candidate_width_m, coarse=_COARSE),
        Ribbons.along([drawing.path], width_m=style.vehicle_width_m),
    ]
    return _Layers(Ribbons.together(parts), tuple(np.cumsum([len(part) for part in parts]).tolist()))


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
            thick = 4 * thin if stops and number == count - 1 else thin
            polyline(image, pixels[[number, count + number]], _WHITE, thickness=thick)
