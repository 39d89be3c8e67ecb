"""Plots of an evaluation, as pictures [H, W, 3] RGB for a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from alpamayo_ros.evaluation.displacement import HORIZONS_S
from alpamayo_ros.evaluation.row import Row
from alpamayo_ros.evaluation.track import DriveTrack
from alpamayo_ros.evaluation.work import CONSTANT_TURN, CONSTANT_VELOCITY, POLICY
from alpamayo_ros.safety.monitor import Agreement
from alpamayo_ros.sim.report.style import DRIVEN, FAINT, INK, PLAN, REFERENCE, WARM_UP, WARN, style_axes
from alpamayo_ros.types import UInt8Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {POLICY: PLAN, CONSTANT_VELOCITY: WARM_UP, CONSTANT_TURN: REFERENCE}
_DPI = 170


def horizons_chart(content: Mapping[str, Any], titles: Mapping[str, str]) -> UInt8Array:
    """Return ADE, lateral and longitudinal error over the horizon, of every planner, with intervals."""
    figure = _figure(11.2, 3.0)
    panels = (
        ("ade", "mean distance from the drive (ADE), m"),
        ("lateral_m", "error across the path, m"),
        ("longitudinal_m", "error along the path, m"),
    )
    for column, (name, title) in enumerate(panels):
        axes = figure.add_subplot(1, 3, column + 1)
        style_axes(axes, title)
        for planner, figures in content["figures"].items():
            _line_over_horizons(axes, figures, name, colour=COLOURS[planner], label=titles[planner])
            if name == "ade" and planner == POLICY and set(content["counts"]["candidates"]) != {"1"}:
                _line_over_horizons(
                    axes, figures, "min_ade", colour=PLAN, label="best candidate (minADE)", style="--"
                )
        axes.set_xlabel("horizon, s", fontsize=8, color=FAINT)
        axes.set_xticks(list(HORIZONS_S))
        axes.set_ylim(bottom=0)
    _legend(figure, loc="upper left")
    return _picture(figure)


def spread_chart(rows: Sequence[Row], metrics: Sequence[str], titles: Mapping[str, str]) -> UInt8Array:
    """Return which share of the plans is within how many metres, a panel a metric."""
    figure = _figure(11.2, 2.7)
    for column, metric in enumerate(metrics):
        axes = figure.add_subplot(1, len(metrics), column + 1)
        style_axes(axes, f"share of plans whose {metric.replace('ade', 'ADE')} is at most … m")
        for planner, title in titles.items():
            known = _over_time([row for row in rows if row.planner == planner], metric)
            values = np.sort([value for _, value in known])
            if len(values):
                share = np.arange(1, len(values) + 1) / len(values)
                axes.step(
                    np.concatenate([[0.0], values]),
                    np.concatenate([[0.0], share]),
                    where="post",
                    color=COLOURS[planner],
                    linewidth=1.8,
                    label=title,
                )
        axes.set_ylim(0, 1.02)
        axes.set_xlim(left=0)
    _legend(figure, loc="lower right")
    return _picture(figure)


def kinds_chart(content: Mapping[str, Any], metric: str, titles: Mapping[str, str]) -> UInt8Array:
    """Return a metric by manoeuvre and by speed, a bar a planner, with intervals."""
    figure = _figure(11.2, 3.0)
    for column, key in enumerate(("by_manoeuvre", "by_speed")):
        kinds = content[key]
        axes = figure.add_subplot(1, 2, column + 1)
        style_axes(axes, f"{_metric_title(metric)} {key.replace('_', ' ')}")
        width = 0.8 / max(len(titles), 1)
        for number, (planner, title) in enumerate(titles.items()):
            estimates = [each["figures"].get(planner, {}).get(metric, {}) for each in kinds.values()]
            places = np.arange(len(kinds)) + (number - (len(titles) - 1) / 2) * width
            heights = [estimate.get("value") or 0.0 for estimate in estimates]
            axes.bar(places, heights, width * 0.92, color=COLOURS[planner], label=title)
            for place, estimate in zip(places, estimates, strict=True):
                if estimate.get("ci95"):
                    axes.plot([place, place], estimate["ci95"], color=INK, linewidth=1.0, alpha=0.7)
        labels = [f"{kind}\n{each['n']}" for kind, each in kinds.items()]
        axes.set_xticks(np.arange(len(kinds)), labels, fontsize=7.5)
        axes.grid(axis="x", visible=False)
    _legend(figure, loc="best")
    return _picture(figure)


def drive_chart(rows: Sequence[Row], track: DriveTrack, metric: str, titles: Mapping[str, str]) -> UInt8Array:
    """Return a bag's drive from above, the error over its time, and its speed."""
    figure = _figure(11.2, 3.1)
    grid = figure.add_gridspec(2, 2, width_ratios=[1.0, 2.3], height_ratios=[1.7, 1.0])
    start_ns = int(track.stamps_ns[0])
    planner = next(iter(titles))
    mine = [row for row in rows if row.planner == planner]
    _draw_map(figure.add_subplot(grid[:, 0]), mine, track, metric)
    axes = figure.add_subplot(grid[0, 1])
    style_axes(axes, f"{_metric_title(metric)} over the drive's time, s")
    for name in reversed(list(titles)):
        known = _over_time([row for row in rows if row.planner == name], metric)
        if known:
            times_s = [(t0_ns - start_ns) * 1e-9 for t0_ns, _ in known]
            axes.plot(
                times_s,
                [value for _, value in known],
                ".-",
                color=COLOURS[name],
                markersize=3,
                linewidth=1.4 if name == planner else 0.9,
                label=titles[name],
            )
    for row in mine:
        if row.said is not None and row.said.agreement == Agreement.CONTRADICTS.value:
            axes.axvline((row.t0_ns - start_ns) * 1e-9, color=WARN, linewidth=0.8, alpha=0.5)
    axes.set_ylim(0, 1.25 * axes.get_ylim()[1])  # room for the legend
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=7.5, frameon=False, loc="upper left", ncol=3)
    below = figure.add_subplot(grid[1, 1], sharex=axes)
    style_axes(below, "speed, m/s")
    below.plot(
        [(row.t0_ns - start_ns) * 1e-9 for row in mine],
        [row.speed_mps for row in mine],
        color=DRIVEN,
        linewidth=1.6,
    )
    below.set_ylim(bottom=min(0.0, *(row.speed_mps for row in mine)) if mine else 0.0)
    return _picture(figure)


def _draw_map(axes: Axes, rows: Sequence[Row], track: DriveTrack, metric: str) -> None:
    style_axes(axes, "the drive, a dot a plan, by its error, m")
    xy = track.odom_from_rig[:, :2, 3]
    axes.plot(xy[:, 0], xy[:, 1], color="#cfd5de", linewidth=4, solid_capstyle="round", zorder=1)
    at = [
        (xy[min(int(np.searchsorted(track.stamps_ns, row.t0_ns)), len(xy) - 1)], value)
        for row in rows
        if (value := row.values.get(metric)) is not None
    ]
    if at:
        places = np.array([place for place, _ in at])
        values = [value for _, value in at]
        dots = axes.scatter(
            places[:, 0],
            places[:, 1],
            c=values,
            cmap="YlOrRd",
            s=14,
            zorder=3,
            edgecolors=INK,
            linewidths=0.2,
        )
        axes.figure.colorbar(dots, ax=axes, shrink=0.75, pad=0.02).ax.tick_params(labelsize=7, colors=FAINT)
    axes.plot(*xy[0], "o", color=DRIVEN, markersize=7, zorder=4)
    axes.set_aspect("equal", adjustable="datalim")


def _over_time(rows: Sequence[Row], metric: str) -> list[tuple[int, float]]:
    """Return t0 and value of those rows that have one."""
    return [(row.t0_ns, value) for row in rows if (value := row.values.get(metric)) is not None]


def _line_over_horizons(
    axes: Axes, figures: Mapping[str, Any], name: str, *, colour: str, label: str, style: str = "-"
) -> None:
    known = [
        (horizon_s, estimate)
        for horizon_s in HORIZONS_S
        if (estimate := figures[f"{name}@{horizon_s:g}s"])["value"] is not None
    ]
    if not known:
        return
    at = [horizon_s for horizon_s, _ in known]
    axes.plot(at, [each["value"] for _, each in known], "o" + style, color=colour, markersize=4, label=label)
    sure = [(horizon_s, each["ci95"]) for horizon_s, each in known if each["ci95"]]
    if sure:
        low, high = zip(*(ci95 for _, ci95 in sure), strict=True)
        axes.fill_between([at for at, _ in sure], low, high, color=colour, alpha=0.12, linewidth=0)


def _metric_title(metric: str) -> str:
    name, _, horizon = metric.partition("@")
    return f"{ {'ade': 'ADE', 'min_ade': 'minADE', 'fde': 'FDE'}.get(name, name) }@{horizon}, m,"


def _legend(figure: Figure, *, loc: Literal["lower right", "upper left", "best"]) -> None:
    """Say in the first panel that shows something which line is whose."""
    for axes in figure.axes:
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=8, frameon=False, loc=loc)
            return


def _figure(width_in: float, height_in: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _picture(figure: Figure) -> UInt8Array:
    figure.set_dpi(_DPI)
    canvas: Any = figure.canvas
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
