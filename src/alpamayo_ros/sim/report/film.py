"""The frames of a rollout's video: front camera with the plan, from above, speed and steering, reasoning."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from alpamayo_ros.sim.record import RolloutRecord
from alpamayo_ros.sim.report.live_map import LiveMap
from alpamayo_ros.sim.report.moments import end_text
from alpamayo_ros.sim.report.pictures import PictureSource, painted_pictures
from alpamayo_ros.sim.report.style import FAINT, INK, PLAN, WARM_UP, WARN
from alpamayo_ros.sim.report.timeline import draw_speed, draw_steering, seconds
from alpamayo_ros.sim.scoring import RolloutScore
from alpamayo_ros.types import UInt8Array
from alpamayo_ros.viz.colours import rgb
from alpamayo_ros.viz.text import font, wrapped, write_lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, HEIGHT = 1280, 720
_CAMERA_PX = (880, 495)
_FRONT_WIDE = 1
_GAP = 8
_HEADER = 38
_MARGIN = 18
_DRIVERS = {
    "plan": ("planner drives", PLAN),
    "stop": ("stop: no plan", WARN),
    "reference": ("warm-up on the reference", WARM_UP),
}


@dataclass(frozen=True, eq=False)
class _Plots:
    """The plots over time, drawn once; `times_px` [S] are the columns of the steps' times."""

    image: UInt8Array
    times_px: np.ndarray
    rows_px: tuple[tuple[int, int], ...]


def film_frames(
    record: RolloutRecord, images: PictureSource, *, score: RolloutScore | None = None, every: int = 1
) -> Iterator[UInt8Array]:
    """Yield the frames of a rollout, uint8 RGB [720, 1280, 3], one a step.

    Args:
        record: the rollout.
        images: renders the front camera.
        score: of the rollout, for how it ended.
        every: steps a frame.
    """
    driven = np.array([state.xy_m for state in record.ego])
    live_map = LiveMap(record.scene, driven)
    plots = _draw_plots(record)
    for step in range(0, len(record.ego), every):
        yield film_frame(record, step, images, live_map=live_map, plots=plots, score=score)


def still(
    record: RolloutRecord, step: int, images: PictureSource, *, score: RolloutScore | None = None
) -> UInt8Array:
    """Return one frame of the video as a picture [720, 1280, 3]."""
    driven = np.array([state.xy_m for state in record.ego])
    live_map, plots = LiveMap(record.scene, driven), _draw_plots(record)
    return film_frame(record, step, images, live_map=live_map, plots=plots, score=score)


def film_frame(
    record: RolloutRecord,
    step: int,
    images: PictureSource,
    *,
    live_map: LiveMap,
    plots: _Plots,
    score: RolloutScore | None,
) -> UInt8Array:
    """Return the frame of a step."""
    width, height = _CAMERA_PX
    canvas = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    canvas[:_HEADER] = rgb(INK)
    camera = painted_pictures(images, record, step, camera_ids=(_FRONT_WIDE,), width=width, height=height)
    top = _HEADER
    canvas[top : top + height, :width] = camera[_FRONT_WIDE]
    left = width + _GAP
    canvas[top : top + height, left:] = live_map.view(record, step, width=WIDTH - left, height=height)
    low = top + height + _GAP
    plot = plots.image.copy()
    x = int(plots.times_px[step])
    for first, last in plots.rows_px:
        cv2.line(plot, (x, first), (x, last), rgb(PLAN), 2)
    canvas[low : low + plot.shape[0], : plot.shape[1]] = plot
    return _write(canvas, record, step, left=plot.shape[1] + _MARGIN, low=low, score=score)


def _write(
    canvas: UInt8Array,
    record: RolloutRecord,
    step: int,
    *,
    left: int,
    low: int,
    score: RolloutScore | None,
) -> UInt8Array:
    ego = record.ego[step]
    drive = record.drives[min(step, len(record.drives) - 1)] if record.drives else None
    bold, plain, small = font(17, bold=True), font(15), font(14)
    canvas = write_lines(
        canvas, [record.scene.scene_id], at=(_MARGIN, 9), type_face=bold, colour="#ffffff", line_px=20
    )
    about = wrapped(record.scene.description, plain, width_px=720, lines=1)
    canvas = write_lines(canvas, about, at=(240, 10), type_face=plain, colour="#b9c2d0", line_px=20)
    canvas = write_lines(
        canvas, [record.planner[-24:]], at=(WIDTH - 270, 10), type_face=plain, colour="#b9c2d0", line_px=20
    )
    now = f"{seconds(record)[step]:4.1f} s     {ego.speed_mps * 3.6:.0f} km/h"
    canvas = write_lines(canvas, [now], at=(left, low + 4), type_face=bold, colour=INK, line_px=22)
    if step == len(record.ego) - 1:
        bad = record.end_reason in ("collision", "off_road", "failed")
        says, colour = end_text(record, score), WARN if bad else INK
    else:
        says, colour = _DRIVERS[drive.source] if drive is not None else ("", INK)
    canvas = write_lines(canvas, [says], at=(left + 190, low + 4), type_face=bold, colour=colour, line_px=22)
    if drive is None:
        return canvas
    if drive.instruction:
        told = [f"Instruction: {drive.instruction}"]
        canvas = write_lines(canvas, told, at=(left, low + 34), type_face=small, colour=FAINT, line_px=20)
    spoken = font(16, italic=True)
    text = drive.reasoning or (drive.reason and f"({drive.reason})")
    lines = wrapped(text, spoken, width_px=WIDTH - left - _MARGIN, lines=5)
    return write_lines(canvas, lines, at=(left, low + 60), type_face=spoken, colour=INK, line_px=23)


def _draw_plots(record: RolloutRecord) -> _Plots:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    width, height = 620, HEIGHT - _HEADER - _CAMERA_PX[1] - _GAP
    figure = Figure(figsize=(width / 100, height / 100), dpi=100, facecolor="white")
    canvas = FigureCanvasAgg(figure)
    all_axes: list[Axes] = list(figure.subplots(2, 1, sharex=True))
    draw_speed(all_axes[0], record)
    draw_steering(all_axes[1], record)
    times_s = seconds(record)
    all_axes[0].set_xlim(0, max(float(times_s[-1]), 1.0))
    figure.subplots_adjust(left=0.065, right=0.985, top=0.89, bottom=0.12, hspace=0.62)
    canvas.draw()
    columns = all_axes[0].transData.transform(np.stack([times_s, np.zeros_like(times_s)], axis=1))[:, 0]
    rows = []
    for axes in all_axes:
        box = axes.get_window_extent()
        rows.append((int(height - box.y1), int(height - box.y0)))
    image = np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])
    return _Plots(image, np.round(columns).astype(int), tuple(rows))
