"""The report's pictures: distances by family, confusion of components, plans as told and told otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from alpamayo_ros.sim.report.birdseye import draw_scene
from alpamayo_ros.sim.report.film import still
from alpamayo_ros.sim.report.logged import LoggedRollout
from alpamayo_ros.sim.report.map_plot import map_picture
from alpamayo_ros.sim.report.plan_frame import PlanFrame
from alpamayo_ros.sim.report.style import FAINT, GRID, INK, PLAN, REFERENCE, style_axes
from alpamayo_ros.sim.scenes import make_scene
from alpamayo_ros.sim.scoring import RolloutScore
from alpamayo_ros.training.report.figures import MIN_ADE
from alpamayo_ros.training.report.instructions import Followed
from alpamayo_ros.training.report.junctions import RouteJunction
from alpamayo_ros.training.report.rollouts import event_step

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DPI = 120
_TURN_COLOURS = {"left": "#3a6fb7", "right": "#8e44ad", "straight": "#0e7a5a"}
_PANEL_M = 38.0
_SAMPLES_SHOWN = 6
RATIO_METRICS = {MIN_ADE: "minADE at 6.4 s", "ade@3s": "ADE at 3 s"}


def open_loop_chart(path: Path, figures: Mapping[str, Any]) -> None:
    """Draw the ratios to constant velocity by family, with the mark that is asked for.

    Args:
        path: PNG to write.
        figures: figures.open_loop()'s.
    """
    families = list(figures["by_family"])
    figure = _figure(8.0, 0.9 + 0.3 * max(len(families), 3))
    axes = figure.add_subplot()
    rows = np.arange(len(families))
    for offset, (metric, colour) in enumerate(zip(RATIO_METRICS, (PLAN, REFERENCE), strict=True)):
        ratios = [figures["by_family"][family]["ratio"][metric] for family in families]
        values = [np.nan if ratio is None else ratio for ratio in ratios]
        label = RATIO_METRICS[metric]
        axes.barh(rows + (offset - 0.5) * 0.38, values, height=0.36, color=colour, label=label)
    axes.axvline(1.0, color=INK, linewidth=1.0)
    axes.axvline(0.4, color=FAINT, linewidth=1.0, linestyle=(0, (4, 2)))
    axes.set_yticks(rows, families)
    axes.invert_yaxis()
    style_axes(axes, "Distance from the expert's plan over constant velocity's (1; dashed: 0.4)")
    figure.legend(fontsize=8, frameon=False, loc="outside lower center", ncols=2)
    _save(figure, path)


def confusion_chart(path: Path, confusions: Mapping[str, Mapping[str, Mapping[str, int]]]) -> None:
    """Draw confusion tables side by side: rows are the samples' components, columns what was named.

    Args:
        path: PNG to write.
        confusions: by title, figures.reasoning()'s.
    """
    truths = sorted({truth for table in confusions.values() for truth in table})
    named = sorted({name for table in confusions.values() for row in table.values() for name in row})
    columns = [*truths, *(name for name in named if name not in truths)]
    wide = 2.2 + 0.42 * len(columns)
    figure = _figure(wide * len(confusions), 2.0 + 0.34 * len(truths))
    for number, (title, table) in enumerate(confusions.items(), start=1):
        axes = figure.add_subplot(1, len(confusions), number)
        counts = np.array([[table.get(t, {}).get(c, 0) for c in columns] for t in truths], float)
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1.0)
        axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0, aspect="auto")
        for row, column in np.argwhere(counts > 0):
            ink = "white" if shares[row, column] > 0.6 else INK
            text = f"{counts[row, column]:.0f}"
            axes.text(column, row, text, ha="center", va="center", fontsize=7, color=ink)
        axes.set_xticks(range(len(columns)), columns, rotation=60, ha="right")
        axes.set_yticks(range(len(truths)), truths)
        style_axes(axes, title)
        axes.grid(visible=False)
        axes.set_xlabel("named", fontsize=8, color=FAINT)
        if number == 1:
            axes.set_ylabel("critical", fontsize=8, color=FAINT)
    _save(figure, path)


def instruction_chart(path: Path, as_told: Sequence[Followed], swapped: Sequence[Followed]) -> None:
    """Draw junctions from above with the plans for each text: of each scene one sample, the middle one.

    Args:
        path: PNG to write.
        as_told: plans with the samples' own texts, drawn solid; at least one.
        swapped: plans with other ways' texts, drawn dashed.
    """
    by_scene: dict[str, list[Followed]] = {}
    for each in as_told:
        by_scene.setdefault(each.scene_id, []).append(each)
    shown = [mine[len(mine) // 2] for mine in by_scene.values()][:_SAMPLES_SHOWN]
    columns = min(3, len(shown))
    lines = -(-len(shown) // columns)
    figure = _figure(4.0 * columns, 4.1 * lines)
    for number, told in enumerate(shown, start=1):
        axes = figure.add_subplot(lines, columns, number)
        others = [each for each in swapped if each.sample is told.sample]
        _draw_junction(axes, told.sample.junction, told.sample.scene_id, [told, *others])
    _save(figure, path)


def failure_picture(path: Path, logged: LoggedRollout, score: RolloutScore) -> None:
    """Draw a rollout at the moment it went wrong: front camera and from above, or the latter alone.

    Args:
        path: PNG to write.
        logged: the rollout; a log without pictures is drawn from above.
        score: its.
    """
    step = event_step(logged.record, score)
    if logged.pictures is None:
        image = map_picture(logged.record, plan_step=step)
    else:
        image = still(logged.record, step, logged.pictures, score=score)
    path.parent.mkdir(parents=True, exist_ok=True)
    done, data = cv2.imencode(".png", np.ascontiguousarray(image[..., ::-1]))
    if not done:
        raise RuntimeError(f"OpenCV did not encode the picture of {score.name}")
    path.write_bytes(data.tobytes())


def _draw_junction(axes: Axes, junction: RouteJunction, scene_id: str, followed: Sequence[Followed]) -> None:
    x, y, yaw = junction.entry_pose
    frame = PlanFrame((x, y), float(np.pi / 2 - yaw))
    draw_scene(axes, make_scene(scene_id), frame=frame, time_s=None)
    for way in junction.ways:
        line = frame.points(way.line)
        axes.plot(*line.T, color=GRID, linewidth=1.0, zorder=4)
    for each in followed:
        line = frame.points(each.path_xy_m)
        own = each.told == each.sample.told
        axes.plot(
            *line.T,
            color=_TURN_COLOURS[each.told],
            linewidth=2.4,
            linestyle="-" if own else (0, (3, 1.5)),
            label=f"told {each.told}" + ("" if own else " (swapped)"),
            zorder=9,
        )
    axes.plot(*frame.points(followed[0].path_xy_m[:1]).T, marker="o", color=INK, markersize=5, zorder=10)
    axes.set_xlim(-_PANEL_M, _PANEL_M)
    axes.set_ylim(-_PANEL_M * 0.8, _PANEL_M * 1.2)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(scene_id, fontsize=9, color=INK, loc="left")
    axes.legend(fontsize=7, loc="lower left", framealpha=0.9).set_zorder(20)


def _figure(width_in: float, height_in: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width_in, height_in), dpi=_DPI, facecolor="white", layout="constrained")


def _save(figure: Figure, path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    figure.savefig(path)
