"""A rollout over time: speed, acceleration, steering."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from alpamayo_ros.sim.record import RolloutRecord
from alpamayo_ros.sim.report.moments import Moment
from alpamayo_ros.sim.report.style import DRIVEN, FAINT, INK, PLAN, REFERENCE, WARM_UP, WARN, style_axes
from alpamayo_ros.sim.roads import Float64Array
from alpamayo_ros.types import UInt8Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LON_LIMIT_MPS2, _LAT_LIMIT_MPS2 = 4.0, 4.9
"""The comfort score's."""


def seconds(record: RolloutRecord) -> Float64Array:
    """Return the time [S] of each step since the scene's start, in s."""
    return np.asarray((record.stamps_us - record.scene.start_us) * 1e-6, np.float64)


def draw_speed(axes: Axes, record: RolloutRecord) -> None:
    """Draw the speed beside the reference's at the same time."""
    style_axes(axes, "speed, km/h")
    reference = record.scene.reference
    times_s = (reference.stamps_us - record.scene.start_us) * 1e-6
    axes.plot(times_s, reference.speed_mps * 3.6, color=REFERENCE, linewidth=1.2, linestyle=(0, (4, 2)))
    axes.plot(seconds(record), [state.speed_mps * 3.6 for state in record.ego], color=DRIVEN, linewidth=2.0)
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    axes.margins(x=0)


def draw_acceleration(axes: Axes, record: RolloutRecord) -> None:
    """Draw longitudinal and lateral acceleration with the limits of comfort."""
    style_axes(axes, "acceleration, m/s²: along (dark), across (light)")
    accel = np.array([state.accel_in_rig_mps2 for state in record.ego])
    axes.plot(seconds(record), accel[:, 1], color="#8fb3a5", linewidth=1.4)
    axes.plot(seconds(record), accel[:, 0], color=DRIVEN, linewidth=1.6)
    for limit in (-_LON_LIMIT_MPS2, _LON_LIMIT_MPS2):
        axes.axhline(limit, color=WARN, linewidth=0.8, linestyle=(0, (2, 2)))
    reach = max(_LAT_LIMIT_MPS2, float(np.abs(accel).max(initial=0.0))) * 1.05
    axes.set_ylim(-reach, reach)
    axes.margins(x=0)


def draw_steering(axes: Axes, record: RolloutRecord) -> None:
    """Draw the front wheels' angle."""
    style_axes(axes, "steering, degrees (left is positive)")
    degrees = np.degrees([state.steer_rad for state in record.ego])
    axes.plot(seconds(record), degrees, color=INK, linewidth=1.4)
    reach = max(5.0, float(np.abs(degrees[np.isfinite(degrees)]).max(initial=0.0)) * 1.1)
    axes.set_ylim(-reach, reach)
    axes.margins(x=0)


def draw_latency(axes: Axes, record: RolloutRecord) -> None:
    """Draw how long each plan took."""
    style_axes(axes, "plan, ms of wall time")
    planned = [(i, drive.latency_ms) for i, drive in enumerate(record.drives) if drive.latency_ms > 0]
    times_s = seconds(record)
    axes.plot([times_s[i] for i, _ in planned], [ms for _, ms in planned], ".", color=PLAN, markersize=3)
    axes.set_ylim(bottom=0)
    axes.margins(x=0)


def timeline_picture(record: RolloutRecord, moments: Iterable[Moment]) -> UInt8Array:
    """Return all of it over one time axis, with who drove as shade and moments as lines, RGB [H, W, 3]."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.4, 4.6), dpi=130, facecolor="white")
    canvas = FigureCanvasAgg(figure)
    draw_timeline(figure, record, moments)
    canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])


def draw_timeline(figure: Figure, record: RolloutRecord, moments: Iterable[Moment] = ()) -> None:
    """Draw a rollout's plots below each other into an empty figure."""
    drawers = [draw_speed, draw_acceleration]
    if any(np.isfinite(state.steer_rad) for state in record.ego):
        drawers.append(draw_steering)
    if any(drive.latency_ms > 0 for drive in record.drives):
        drawers.append(draw_latency)
    rows = len(drawers)
    all_axes = figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0]
    times_s = seconds(record)
    for axes, draw in zip(all_axes, drawers, strict=True):
        draw(axes, record)
        for source, group in groupby(range(len(record.drives)), key=lambda i: record.drives[i].source):
            steps = list(group)
            colour = {"reference": WARM_UP, "stop": WARN}.get(source)
            if colour:
                axes.axvspan(times_s[steps[0]], times_s[steps[-1] + 1], color=colour, alpha=0.13, linewidth=0)
        for moment in moments:
            axes.axvline(times_s[moment.step], color=PLAN, linewidth=0.8, alpha=0.7)
    all_axes[0].set_xlim(0, max(float(times_s[-1]), 1.0))
    all_axes[-1].set_xlabel("s", fontsize=8, color=FAINT)
    figure.subplots_adjust(left=0.07, right=0.985, top=0.95, bottom=0.09, hspace=0.5)
