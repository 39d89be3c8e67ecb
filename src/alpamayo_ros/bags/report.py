"""summary.png: what the cameras saw, what was planned, what the vehicle did, and what the model said."""

from __future__ import annotations

import textwrap
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from alpamayo_ros.bags.pictures import pictures_at
from alpamayo_ros.bags.reader import BagReader
from alpamayo_ros.bags.run import FloatArray, PlanRecord, Run
from alpamayo_ros.bags.views import recorded_views
from alpamayo_ros.sensing.rig import CameraConfig, Rig
from alpamayo_ros.sensing.view import View
from alpamayo_ros.types import NUM_WAYPOINTS, WAYPOINT_INTERVAL_S
from alpamayo_ros.viz.colours import rgb
from alpamayo_ros.viz.drawing import PlanDrawing
from alpamayo_ros.viz.overlay import OverlayStyle, draw_plan_overlay

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOMENTS = 4
"""Plans that are shown in full."""

_INK, _FAINT, _PLAN, _OTHERS, _DRIVEN, _WARN = (
    "#1d2330",
    "#8a93a3",
    "#e4572e",
    "#f4b6a3",
    "#1b7f5c",
    "#c62f3e",
)
_STAGE_COLOURS = {
    "preprocess": "#9db4c0",
    "vision": "#5c7c8a",
    "prefill": "#3d5a80",
    "reasoning": "#7a6fb0",
    "denoise": "#e4946e",
}
_ROLE_ORDER = (
    "cross_left",
    "front_wide",
    "cross_right",
    "front_tele",
    "rear_left",
    "rear_tele",
    "rear_right",
)
_TIMES_S: FloatArray = np.arange(1, NUM_WAYPOINTS + 1, dtype=np.float64) * WAYPOINT_INTERVAL_S
_VEHICLE_M = (4.9, 1.9, 1.0)
_OVERLAY = OverlayStyle(
    track_width_m=1.6,
    track_opacity=0.5,
    opacity=0.5,
    path_colour=rgb(_PLAN),
    future_colour=rgb(_DRIVEN),
    labels=False,
)
_TEXT_WIDTH = 132


def draw_report(path: str | Path, run: Run, rig: Rig, *, summary: Mapping[str, Any]) -> None:
    """Draw the report of a recorded run.

    Args:
        path: PNG to write.
        run: as recorded.
        rig: its cameras are shown.
        summary: as summarise() made it.

    Raises:
        BagError: where the recording cannot be read.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    moments = choose_moments(run.plans, MOMENTS)
    with BagReader(run.path) as bag:
        images = pictures_at(bag, rig, [plan.t0_ns for plan in moments])
        views = recorded_views(bag, rig)
    rows = max(len(moments), 1)
    figure = Figure(figsize=(17.0, 2.1 + 3.25 * rows + 3.0), facecolor="white")
    FigureCanvasAgg(figure)
    heights = [0.55, *([3.25] * rows), 2.6]
    grid = figure.add_gridspec(
        len(heights), 1, height_ratios=heights, left=0.035, right=0.985, top=0.985, bottom=0.045, hspace=0.16
    )
    _draw_header(figure, grid[0], summary)
    if not moments:
        axes = figure.add_subplot(grid[1])
        axes.axis("off")
        axes.text(0.5, 0.5, "no plan was published", ha="center", fontsize=18, color=_WARN)
    for index, plan in enumerate(moments):
        _draw_moment(figure, grid[1 + index], run, rig, plan, images.get(plan.t0_ns, {}), views)
    _draw_footer(figure, grid[len(heights) - 1], run)
    figure.savefig(path, dpi=100)


def choose_moments(plans: Sequence[PlanRecord], number: int) -> list[PlanRecord]:
    """Return up to `number` plans, evenly spread over the run's time."""
    if not plans:
        return []
    stamps = [plan.t0_ns for plan in plans]
    wanted = np.linspace(stamps[0], stamps[-1], number + 2)[1:-1] if len(plans) > number else stamps
    chosen = {min(bisect_left(stamps, int(stamp)), len(plans) - 1) for stamp in wanted}
    return [plans[i] for i in sorted(chosen)]


def _draw_header(figure: Figure, cell: Any, summary: Mapping[str, Any]) -> None:
    axes = figure.add_subplot(cell)
    axes.axis("off")
    name = Path(str(summary.get("bag", ""))).name
    axes.text(0, 0.78, f"Alpamayo on {name}", fontsize=22, weight="bold", color=_INK, va="center")
    publish = summary["latency_ms"].get("publish", {})
    facts = [
        f"{summary['plans_published']} plans in {summary['bag_s']:.1f} s",
        f"{sum(summary['refusals'].values())} refusals, {summary.get('stops', 0)} stops sent",
        f"plan {publish['p50']:.0f} ms after t0 (p50), {publish['p99']:.0f} ms (p99)"
        if publish
        else "no latency",
        str(summary.get("model", "")),
    ]
    axes.text(0, 0.1, "   ·   ".join(facts), fontsize=12, color=_FAINT, va="center")
    if summary.get("random_weights"):
        axes.text(
            1.0,
            0.78,
            "RANDOM WEIGHTS: plans and reasoning mean nothing",
            fontsize=13,
            weight="bold",
            color="white",
            ha="right",
            va="center",
            bbox={"boxstyle": "round,pad=0.45", "facecolor": _WARN, "edgecolor": "none"},
        )


def _draw_moment(
    figure: Figure,
    cell: Any,
    run: Run,
    rig: Rig,
    plan: PlanRecord,
    images: Mapping[int, Any],
    views: Mapping[int, View],
) -> None:
    columns = cell.subgridspec(1, 2, width_ratios=[3.55, 1.0], wspace=0.07)
    cameras = sorted(rig.cameras, key=lambda c: _ROLE_ORDER.index(c.name))
    left = columns[0].subgridspec(2, 1, height_ratios=[2.0, 1.0], hspace=0.04)
    strip = left[0].subgridspec(1, len(cameras), wspace=0.02)
    for position, camera in enumerate(cameras):
        image = images.get(camera.camera_id)
        if image is not None and camera.camera_id in views:
            image = _painted(views[camera.camera_id], run, plan, image)
        _draw_camera(figure.add_subplot(strip[position]), camera, image)
    _draw_text(figure.add_subplot(left[1]), run, plan)
    _draw_birds_eye(figure.add_subplot(columns[1]), run, plan)


def _draw_camera(axes: Axes, camera: CameraConfig, image: Any) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    if image is None:
        axes.text(0.5, 0.5, "no image", ha="center", va="center", color=_FAINT)
    else:
        axes.imshow(image, interpolation="antialiased", aspect="equal")
    axes.set_title(camera.name, fontsize=9, color=_FAINT, pad=3)


def _painted(view: View, run: Run, plan: PlanRecord, image: Any) -> Any:
    """Return a picture with the plan and the drive on the road that it shows."""
    driven = run.track.future_in_rig_t0(plan, _TIMES_S)
    driven = np.concatenate([np.zeros((1, 3)), driven[np.isfinite(driven).all(axis=1)]])
    drawing = PlanDrawing.of_lines(
        plan.xyz_in_rig_t0[plan.chosen][None], plan.speed_mps[plan.chosen][None], chosen=0, future=driven
    )
    return draw_plan_overlay(image, view=view, drawing=drawing, style=_OVERLAY)


def _draw_text(axes: Axes, run: Run, plan: PlanRecord) -> None:
    axes.axis("off")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    speed = plan.speed_mps[plan.chosen]
    start_ns = run.track.stamps_ns[0] if len(run.track.stamps_ns) else run.start_ns
    facts = [
        f"t0 = {(plan.t0_ns - start_ns) * 1e-9:.2f} s",
        plan.status,
        f"{speed[0] * 3.6:.0f} km/h, planned {speed[30] * 3.6:.0f} in 3 s and {speed[-1] * 3.6:.0f} in 6.4 s",
        f"{plan.publish_latency_ms:.0f} ms after t0",
        f"{plan.tokens} tokens",
    ]
    if plan.instruction:
        facts.append(f"instruction: {plan.instruction}")
    axes.text(0.0, 0.86, "   ·   ".join(facts), fontsize=10, color=_FAINT, va="center")
    problem = plan.status_reason or plan.contradiction
    if problem:
        shown = textwrap.shorten(problem, _TEXT_WIDTH, placeholder=" …").replace("$", r"\$")
        axes.text(0.0, 0.99, shown, fontsize=10, color=_WARN, va="center")
    quoted = f"“{plan.reasoning}”" if plan.reasoning else "no reasoning: its end token never came"
    lines = textwrap.wrap(quoted, _TEXT_WIDTH)
    if len(lines) > 3:
        lines = [*lines[:2], lines[2][: _TEXT_WIDTH - 2] + " …"]
    # Not from the model's hand to matplotlib's: a dollar sign would start a formula.
    text = "\n".join(lines).replace("$", r"\$")
    axes.text(0.0, 0.64, text, fontsize=12, color=_INK, va="top", style="italic", linespacing=1.35)


def _draw_birds_eye(axes: Axes, run: Run, plan: PlanRecord) -> None:
    """Draw in the rig frame at t0, x (forward) upwards and y (left) to the left."""
    from matplotlib.patches import Rectangle

    driven = run.track.future_in_rig_t0(plan, np.concatenate([[0.0], _TIMES_S]))
    driven = driven[np.isfinite(driven).all(axis=1)]
    for index, line in enumerate(plan.xyz_in_rig_t0):
        if index != plan.chosen:
            axes.plot(-line[:, 1], line[:, 0], color=_OTHERS, linewidth=1.2, zorder=2)
    chosen = np.concatenate([np.zeros((1, 3)), plan.xyz_in_rig_t0[plan.chosen]])
    if len(driven) > 1:
        axes.plot(
            -driven[:, 1], driven[:, 0], color=_DRIVEN, linewidth=5, alpha=0.45, zorder=3, label="driven"
        )
        axes.plot(-driven[::10, 1], driven[::10, 0], "o", color=_DRIVEN, markersize=5, zorder=4)
    axes.plot(-chosen[:, 1], chosen[:, 0], color=_PLAN, linewidth=2.2, zorder=5, label="plan")
    axes.plot(-chosen[::10, 1], chosen[::10, 0], "o", color=_PLAN, markersize=4, zorder=6)
    length, width, overhang = _VEHICLE_M
    axes.add_patch(Rectangle((-width / 2, -overhang), width, length, color=_INK, zorder=7))
    everything = np.concatenate([chosen[:, :2], driven[:, :2]])
    everything = everything[np.isfinite(everything).all(axis=1)]
    reach_m = max(float(everything[:, 0].max(initial=0.0)), 12.0)
    side_m = max(float(np.abs(everything[:, 1]).max(initial=0.0)) * 1.15, 0.36 * reach_m, 6.0)
    behind_m = min(-4.0, float(everything[:, 0].min(initial=0.0)) * 1.1)
    # The least that is shown; equal scales decide the rest.
    axes.plot([-side_m, side_m], [behind_m, reach_m * 1.06], alpha=0)
    axes.margins(0.0)
    axes.set_aspect("equal", adjustable="datalim")
    axes.grid(color="#e7eaef", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8, colors=_FAINT, length=0)
    axes.yaxis.tick_right()
    axes.xaxis.set_major_formatter(lambda value, _: f"{abs(value):g}")
    axes.legend(loc="upper left", fontsize=8, frameon=False, handlelength=1.4)
    axes.set_title("m, a dot a second", fontsize=8, color=_FAINT, pad=3)
    for spine in axes.spines.values():
        spine.set_color("#d5dae2")


def _draw_footer(figure: Figure, cell: Any, run: Run) -> None:
    columns = cell.subgridspec(1, 3, width_ratios=[1.25, 1.0, 1.0], wspace=0.16)
    stamps = run.track.stamps_ns
    start_ns = int(stamps[0]) if len(stamps) else run.start_ns
    times_s = np.array([(p.t0_ns - start_ns) * 1e-9 for p in run.plans])
    _draw_latency(figure.add_subplot(columns[0]), run.plans, times_s)
    _draw_speed(figure.add_subplot(columns[1]), run, times_s, start_ns)
    _draw_map(figure.add_subplot(columns[2]), run)


def _style(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=10, color=_INK, loc="left")
    axes.grid(color="#e7eaef", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8, colors=_FAINT, length=0)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color("#d5dae2")


def _draw_latency(axes: Axes, plans: Sequence[PlanRecord], times_s: FloatArray) -> None:
    _style(axes, "latency of each plan by stage, ms, over bag time, s")
    if not plans:
        return
    base = np.zeros(len(plans))
    width = float(np.median(np.diff(times_s))) * 0.9 if len(plans) > 1 else 0.1
    for stage, colour in _STAGE_COLOURS.items():
        values = np.array([p.stages_ms[stage] for p in plans])
        axes.bar(times_s, values, width, bottom=base, color=colour, label=stage)
        base += values
    publish = [p.publish_latency_ms for p in plans]
    axes.plot(times_s, publish, ".", color=_INK, markersize=4, label="t0 to arrival")
    axes.set_ylim(0, float(np.percentile(publish, 98)) * 1.45)
    axes.legend(fontsize=8, frameon=False, ncol=3, loc="upper left")


def _draw_speed(axes: Axes, run: Run, times_s: FloatArray, start_ns: int) -> None:
    _style(axes, "speed, m/s: odometry, and where each plan starts and leads in 3 s")
    if len(run.track.stamps_ns):
        axes.plot(
            (run.track.stamps_ns - start_ns) * 1e-9,
            run.track.speed_mps,
            color=_DRIVEN,
            linewidth=3,
            alpha=0.5,
        )
    for time_s, plan in zip(times_s, run.plans, strict=True):
        line = plan.speed_mps[plan.chosen]
        axes.plot(
            time_s + np.arange(31) * WAYPOINT_INTERVAL_S, line[:31], color=_PLAN, linewidth=0.6, alpha=0.35
        )
        axes.plot(time_s, line[0], ".", color=_PLAN, markersize=4)


def _draw_map(axes: Axes, run: Run) -> None:
    _style(axes, "the drive and its plans, odometry frame, m")
    for plan in run.plans:
        line = np.concatenate([np.zeros((1, 3)), plan.xyz_in_rig_t0[plan.chosen]])
        world = line @ plan.odom_from_rig_t0[:3, :3].T + plan.odom_from_rig_t0[:3, 3]
        axes.plot(world[:, 0], world[:, 1], color=_PLAN, linewidth=0.6, alpha=0.35)
    track = run.track.odom_from_child[:, :2, 3]
    if len(track):
        axes.plot(track[:, 0], track[:, 1], color=_DRIVEN, linewidth=3, alpha=0.7)
        axes.plot(*track[0], "o", color=_DRIVEN, markersize=7)
    axes.set_aspect("equal", adjustable="datalim")
