"""A whole rollout from above as one picture, of a shape that suits its drive."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from alpamayo_ros.sim.record import RolloutRecord
from alpamayo_ros.sim.report.birdseye import draw_rollout, draw_scene
from alpamayo_ros.sim.report.plan_frame import PlanFrame
from alpamayo_ros.sim.report.style import FAINT, INK
from alpamayo_ros.sim.roads import Float64Array
from alpamayo_ros.types import UInt8Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDTH_IN = 11.0
_HEIGHTS_IN = (2.6, 6.4)
_MARGIN_M = 14.0


def map_picture(record: RolloutRecord, *, plan_step: int | None = None) -> UInt8Array:
    """Return a rollout over its scene from above, the drive from left to right, uint8 RGB [H, 1430, 3].

    Args:
        record: the rollout; its actors are drawn where they were at its end.
        plan_step: whose plan is drawn too, with its candidates.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    reference = record.scene.reference.local_from_rig[:, :2, 3]
    driven = np.array([state.xy_m for state in record.ego])
    frame = PlanFrame.along(reference if np.ptp(reference, axis=0).max() > 5 else driven)
    seen = frame.points(np.concatenate([reference, driven]))
    low, high = seen.min(axis=0) - _MARGIN_M, seen.max(axis=0) + _MARGIN_M
    size = np.maximum(high - low, [60.0, 20.0])
    height_in = float(np.clip(_WIDTH_IN * size[1] / size[0], *_HEIGHTS_IN))
    metres_an_inch = max(size[0] / _WIDTH_IN, size[1] / height_in)
    half = metres_an_inch * np.array([_WIDTH_IN, height_in]) / 2
    centre = (low + high) / 2

    figure = Figure(figsize=(_WIDTH_IN, height_in), dpi=130, facecolor="white")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    end_s = (record.ego[-1].time_us - record.scene.start_us) * 1e-6
    draw_scene(axes, record.scene, frame=frame, time_s=end_s)
    draw_rollout(axes, record, frame=frame, plan_step=plan_step)
    axes.set_xlim(centre[0] - half[0], centre[0] + half[0])
    axes.set_ylim(centre[1] - half[1], centre[1] + half[1])
    axes.set_axis_off()
    axes.add_artist(axes.patch)  # the ground stays though the axes are off
    _draw_scale(axes, centre - half)
    canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])


def _draw_scale(axes: Axes, corner: Float64Array) -> None:
    x, y = float(corner[0]) + 4.0, float(corner[1]) + 3.0
    axes.plot([x, x + 20], [y, y], color=INK, linewidth=2, zorder=13)
    axes.text(x + 10, y + 1, "20 m", ha="center", va="bottom", fontsize=8, color=FAINT, zorder=13)
