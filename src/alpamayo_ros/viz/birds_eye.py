"""A plan from above: the vehicle's way upwards, coloured by speed, on a grid of metres."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.types import InvalidInput, UInt8Array
from alpamayo_ros.viz.colours import FAST_MPS, RGB, STATUS_COLOURS, speed_colours
from alpamayo_ros.viz.drawing import PlanDrawing
from alpamayo_ros.viz.footprint import PASSENGER_CAR, Footprint
from alpamayo_ros.viz.labels import paint_chip, paint_state
from alpamayo_ros.viz.lens_sight import Points
from alpamayo_ros.viz.paint import fill, polyline
from alpamayo_ros.viz.ribbon import clean_line, edges, level_rotations

_REACHES_M = (20.0, 30.0, 40.0, 60.0, 80.0, 120.0, 160.0, 240.0)
_GRID_STEPS_M = (5.0, 10.0, 20.0, 50.0)
_GRID_LINES = 6
_BEHIND_SHARE = 0.2
_SMALLEST_PX = 32


@dataclass(frozen=True)
class BirdsEyeStyle:
    """Colours and sizes of a bird's-eye view; the defaults are for a dark page.

    Attributes:
        footprint: the vehicle's outline.
        background, grid, ink, vehicle, candidate, history, future: RGB.
        labels: whether status, speed and latency are written.
    """

    footprint: Footprint = PASSENGER_CAR
    background: RGB = (20, 24, 32)
    grid: RGB = (46, 54, 68)
    ink: RGB = (150, 160, 178)
    vehicle: RGB = (238, 241, 246)
    candidate: RGB = (120, 136, 170)
    history: RGB = (255, 214, 64)
    future: RGB = (40, 170, 130)
    labels: bool = True


DARK = BirdsEyeStyle()
LIGHT = BirdsEyeStyle(
    background=(255, 255, 255),
    grid=(226, 230, 236),
    ink=(107, 117, 133),
    vehicle=(29, 35, 48),
    candidate=(190, 198, 214),
    history=(205, 150, 0),
    future=(27, 127, 92),
)


@dataclass(frozen=True)
class _Frame:
    """How the rig frame lies in the picture: x upwards, y to the left."""

    width: int
    height: int
    scale: float
    behind_m: float

    def pixels(self, points: Points) -> NDArray[np.float64]:
        """Return the pixels [..., 2] of points [..., 2 or more] in the rig frame."""
        u = (self.width - 1) / 2 - points[..., 1] * self.scale
        v = self.height - 1 - (points[..., 0] + self.behind_m) * self.scale
        return np.stack([u, v], axis=-1)


def draw_birds_eye(
    drawing: PlanDrawing,
    *,
    size: tuple[int, int],
    ahead_m: float | None = None,
    style: BirdsEyeStyle = DARK,
) -> UInt8Array:
    """Return a plan from above, uint8 RGB [H, W, 3].

    Args:
        drawing: the plan in the rig frame, which is at the lower middle of the picture and looks upwards.
        size: width and height, px.
        ahead_m: how far the picture reaches ahead; by default so far that the plan and what was driven fit,
            in few steps, so that pictures of a drive do not jitter. A fifth of it is shown behind.
        style: colours; DARK or LIGHT, or your own.

    Raises:
        InvalidInput: for a picture of less than 32 pixels, or a reach that is not positive.
    """
    width, height = size
    if min(size) < _SMALLEST_PX:
        raise InvalidInput(f"size: expected at least {_SMALLEST_PX} x {_SMALLEST_PX}, got {width} x {height}")
    if ahead_m is not None and not ahead_m > 0:
        raise InvalidInput(f"ahead_m: expected a positive number, got {ahead_m}")
    reach_m = _reach_m(drawing, width / height, style.footprint) if ahead_m is None else ahead_m
    scale = (height - 1) / (reach_m * (1 + _BEHIND_SHARE))
    frame = _Frame(width, height, scale, reach_m * _BEHIND_SHARE)
    image = np.full((height, width, 3), style.background, np.uint8)
    _draw_grid(image, frame, reach_m, style)
    thin = max(1, round(height / 480))
    for line, colour, thickness in (
        (drawing.future, style.future, 3 * thin),
        (drawing.history, style.history, 2 * thin),
        *((line, style.candidate, thin) for line in drawing.candidates),
    ):
        line = clean_line(line)
        if len(line):
            polyline(image, frame.pixels(line), colour, thickness=thickness)
    _draw_path(image, frame, drawing, style, thin)
    fill(image, [frame.pixels(style.footprint.corners_in_rig()[:4])], style.vehicle)
    if style.labels:
        _draw_scale(image, style)
        paint_state(image, drawing)
    return image


def _reach_m(drawing: PlanDrawing, aspect: float, footprint: Footprint) -> float:
    """Return how far ahead a picture of a width over height has to reach to show everything ahead."""
    lines = [drawing.path, drawing.future, *drawing.candidates]
    points = np.concatenate([line[:, :2] for line in lines])
    points = points[np.isfinite(points).all(axis=1)]
    ahead_m = float(points[:, 0].max(initial=0.0)) * 1.02 + footprint.length_m
    side_m = float(np.abs(points[:, 1]).max(initial=0.0)) * 1.1
    wanted = max(ahead_m, 2 * side_m / (aspect * (1 + _BEHIND_SHARE)))
    return next((reach for reach in _REACHES_M if reach >= wanted), _REACHES_M[-1])


def _draw_grid(image: UInt8Array, frame: _Frame, reach_m: float, style: BirdsEyeStyle) -> None:
    step_m = next((s for s in _GRID_STEPS_M if reach_m / s <= _GRID_LINES), _GRID_STEPS_M[-1])
    half_m = frame.width / 2 / frame.scale
    far, near = np.ceil(reach_m / step_m), np.ceil(frame.behind_m / step_m)
    text_px = max(9, round(frame.height / 40))
    for number in range(-int(near), int(far) + 1):
        x = number * step_m
        ends = frame.pixels(np.array([[x, half_m], [x, -half_m]]))
        polyline(image, ends, style.grid)
        if 0 < x < reach_m and style.labels:
            paint_chip(
                image, f"{x:g} m", at=(2, round(float(ends[0, 1])) + 1), size_px=text_px, ink=style.ink
            )
    for number in range(-int(half_m / step_m), int(half_m / step_m) + 1):
        y = number * step_m
        polyline(image, frame.pixels(np.array([[-frame.behind_m, y], [reach_m, y]])), style.grid)


def _draw_path(
    image: UInt8Array, frame: _Frame, drawing: PlanDrawing, style: BirdsEyeStyle, thin: int
) -> None:
    """Draw the chosen path as wide as the vehicle, by speed (or by status, where it is not to be driven)."""
    line = drawing.path
    known = np.isfinite(line).all(axis=1)
    if known.sum() < 2:
        return
    line, times, speed = line[known], drawing.path_times_s[known], drawing.path_speed_mps[known]
    left, right = edges(line, width_m=style.footprint.width_m)
    if drawing.status in ("VALID", "UNCHECKED"):
        colours = speed_colours(0.5 * (speed[:-1] + speed[1:]))
    else:
        colours = np.tile(np.array(STATUS_COLOURS[drawing.status], np.uint8), (len(line) - 1, 1))
    band = image.copy()
    quads = frame.pixels(np.stack([left[:-1], left[1:], right[1:], right[:-1]], axis=1))
    for quad, colour in zip(quads, colours.tolist(), strict=True):
        fill(band, [quad], tuple(colour))
    image[:] = cv2.addWeighted(band, 0.5, image, 0.5, 0)
    middle = frame.pixels(line)
    for start, colour in enumerate(colours.tolist()):
        polyline(image, middle[start : start + 2], tuple(colour), thickness=2 * thin)
    seconds = np.arange(1.0, np.floor(times[-1]) + 1)
    seconds = seconds[seconds > times[0]]
    places = np.stack([np.interp(seconds, times, line[:, axis]) for axis in range(3)], axis=1)
    rotations = level_rotations(line)[np.searchsorted(times, seconds).clip(max=len(line) - 1)]
    for corners in style.footprint.corners_at(places, rotations):
        polyline(image, frame.pixels(corners), style.ink, thickness=thin)


def _draw_scale(image: UInt8Array, style: BirdsEyeStyle) -> None:
    """Draw what the colours mean: a bar from standing to fast, in km/h."""
    height, width = image.shape[:2]
    text_px = max(9, round(height / 40))
    bar_width, bar_height = min(140, width // 3), max(4, text_px // 2)
    x, y = width - bar_width - text_px, height - bar_height - text_px // 2
    bar = speed_colours(np.linspace(0.0, FAST_MPS, bar_width))
    image[y : y + bar_height, x : x + bar_width] = bar[None]
    above = y - round(1.8 * text_px)
    paint_chip(image, "0", at=(x - text_px // 2, above), size_px=text_px, ink=style.ink)
    text = f"{FAST_MPS * 3.6:.0f} km/h"
    paint_chip(image, text, at=(width - text_px // 3, above), size_px=text_px, ink=style.ink, right=True)
