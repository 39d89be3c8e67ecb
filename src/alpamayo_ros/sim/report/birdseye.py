"""A rollout from above, drawn with matplotlib over its scene: what was driven, planned, met and hit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from alpamayo_ros.sim.record import ActorTrack, DriveRecord, RolloutRecord
from alpamayo_ros.sim.report.plan_frame import PlanFrame, box_outline
from alpamayo_ros.sim.report.scene_plan import draw_scene, lines, polygons
from alpamayo_ros.sim.report.style import (
    ACTOR_COLOURS,
    CANDIDATES,
    DRIVEN,
    INK,
    PLAN,
    REFERENCE,
    SOURCE_COLOURS,
    WARN,
)
from alpamayo_ros.sim.roads import Float64Array
from alpamayo_ros.sim.scene import EGO_SIZE_XYZ_M
from alpamayo_ros.sim.state import EgoState
from alpamayo_ros.types import InvalidInput

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["PlanFrame", "draw_actors", "draw_drive", "draw_ego", "draw_rollout", "draw_scene", "fit_view"]

_MOVED_M = 1.0
"""An actor that moved less over a rollout gets no trail."""


def draw_actors(axes: Axes, record: RolloutRecord, step: int, *, frame: PlanFrame | None = None) -> None:
    """Draw the boxes of all actors at a step, each with a notch at its front."""
    frame = frame or PlanFrame()
    for colour, boxes in _boxes_by_colour(record.actors.values(), step, frame).items():
        polygons(axes, boxes, facecolor=colour, edgecolor="white", linewidth=0.5, zorder=6)


def draw_ego(
    axes: Axes, ego: EgoState, *, frame: PlanFrame | None = None, filled: bool = True, colour: str = INK
) -> None:
    """Draw the ego's box."""
    box = _box(ego.local_from_box, EGO_SIZE_XYZ_M, frame or PlanFrame())
    face = (
        {"facecolor": colour, "edgecolor": "white"} if filled else {"facecolor": "none", "edgecolor": colour}
    )
    polygons(axes, [box], linewidth=0.8, zorder=8 if filled else 7, **face)


def draw_drive(axes: Axes, drive: DriveRecord, *, frame: PlanFrame | None = None) -> None:
    """Draw the trajectory that was driven from a step on, over all that were sampled."""
    frame = frame or PlanFrame()
    start = drive.local_from_rig[0, :3, 3]
    for index, line in enumerate(drive.candidates):
        if index != drive.chosen:
            xy = frame.points(np.concatenate([start[None], line]))
            axes.plot(xy[:, 0], xy[:, 1], color=CANDIDATES, linewidth=1.0, zorder=9)
    xy = frame.points(drive.local_from_rig[:, :3, 3])
    axes.plot(xy[:, 0], xy[:, 1], color=PLAN, linewidth=2.2, zorder=10, solid_capstyle="round")


def draw_rollout(
    axes: Axes,
    record: RolloutRecord,
    *,
    frame: PlanFrame | None = None,
    step: int | None = None,
    plan_step: int | None = None,
    trails: bool = True,
) -> None:
    """Draw one rollout over its scene: reference, driven path, actors and their trails, how it ended.

    Args:
        axes: to draw on, over draw_scene().
        record: the rollout.
        frame: to draw in; local by default.
        step: at which actors and ego are drawn in full; the last by default.
        plan_step: whose plan is drawn with its candidates; none by default.
        trails: whether the paths of moving actors are drawn.

    Raises:
        InvalidInput: for a step that the rollout does not have.
    """
    frame = frame or PlanFrame()
    last = len(record.ego) - 1
    step = last if step is None else step
    for name, value in (("step", step), ("plan_step", plan_step)):
        if value is not None and not 0 <= value <= last:
            raise InvalidInput(f"{name}: expected 0 … {last}, got {value}")
    reference = frame.points(record.scene.reference.local_from_rig[:, :3, 3])
    axes.plot(*reference.T, color=REFERENCE, linewidth=1.3, linestyle=(0, (4, 2)), zorder=4)
    if trails:
        for track in record.actors.values():
            _draw_trail(axes, track, frame)
    _draw_path(axes, record, frame)
    draw_actors(axes, record, step, frame=frame)
    for index in range(0, len(record.ego), 20):
        draw_ego(axes, record.ego[index], frame=frame, filled=False, colour=DRIVEN)
    draw_ego(axes, record.ego[step], frame=frame)
    if plan_step is not None and plan_step < len(record.drives):
        draw_drive(axes, record.drives[plan_step], frame=frame)
    if record.end_reason in ("collision", "off_road", "failed"):
        x, y = frame.points(record.ego[-1].local_from_box[:2, 3])
        axes.plot(x, y, marker="X", markersize=13, color=WARN, markeredgecolor="white", zorder=12)
        text = {"collision": "collision", "off_road": "off the road", "failed": "failed"}[record.end_reason]
        axes.annotate(
            text,
            (float(x), float(y)),
            xytext=(10, 10),
            textcoords="offset points",
            fontsize=9,
            weight="bold",
            color="white",
            zorder=12,
            bbox={"boxstyle": "round,pad=0.25", "facecolor": WARN, "edgecolor": "none"},
        )


def fit_view(axes: Axes, lines: Iterable[Float64Array], *, frame: PlanFrame, margin_m: float = 12.0) -> None:
    """Set the axes' limits so that polylines [N, 2 or more] in local are seen, with a margin."""
    xy = np.concatenate([frame.points(line) for line in lines])
    xy = xy[np.isfinite(xy).all(axis=1)]
    low, high = xy.min(axis=0) - margin_m, xy.max(axis=0) + margin_m
    axes.set_xlim(low[0], high[0])
    axes.set_ylim(low[1], high[1])


def _draw_trail(axes: Axes, track: ActorTrack, frame: PlanFrame) -> None:
    seen = track.local_from_box[track.present]
    if len(seen) < 2 or float(np.linalg.norm(np.ptp(seen[:, :2, 3], axis=0))) < _MOVED_M:
        return
    xy = frame.points(track.local_from_box[:, :2, 3])
    axes.plot(*xy.T, color=ACTOR_COLOURS[track.kind], linewidth=1.0, alpha=0.55, zorder=4.5)


def _draw_path(axes: Axes, record: RolloutRecord, frame: PlanFrame) -> None:
    """Draw where the rear axle went, in the colour of what moved it."""
    xy = frame.points(np.array([state.xy_m for state in record.ego]))
    for source, colour in SOURCE_COLOURS.items():
        pieces = [xy[i : i + 2] for i, drive in enumerate(record.drives) if drive.source == source]
        lines(axes, pieces, color=colour, linewidth=3.2, alpha=0.9, zorder=5, capstyle="round")


def _boxes_by_colour(
    tracks: Iterable[ActorTrack], step: int, frame: PlanFrame
) -> dict[str, list[Float64Array]]:
    boxes: dict[str, list[Float64Array]] = {}
    for track in tracks:
        if track.present[step]:
            box = _box(track.local_from_box[step], track.size_xyz_m, frame)
            boxes.setdefault(ACTOR_COLOURS[track.kind], []).append(box)
    return boxes


def _box(local_from_box: Float64Array, size_xyz_m: Sequence[float], frame: PlanFrame) -> Float64Array:
    return frame.points(box_outline(local_from_box, size_xyz_m))
