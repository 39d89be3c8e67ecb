"""A scene from above, drawn with matplotlib: ground, lanes, markings, crossings, signals, larger scenery."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from alpamayo_ros.sim.report.plan_frame import PlanFrame
from alpamayo_ros.sim.report.style import (
    GROUND,
    INK,
    LIGHT_COLOURS,
    MARKING_COLOURS,
    PROP_COLOURS,
    SURFACE_COLOURS,
)
from alpamayo_ros.sim.roads import Float64Array, Marking, RoadNetwork
from alpamayo_ros.sim.scene import Scene

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_scene(
    axes: Axes, scene: Scene, *, frame: PlanFrame | None = None, time_s: float | None = 0.0
) -> None:
    """Draw what is fixed: ground, lanes, markings, crossings, signals and the larger scenery.

    Args:
        axes: to draw on; its limits are left alone.
        scene: its road may be unknown (None): then only scenery is drawn.
        frame: to draw in; local by default.
        time_s: since the scene's start, for the colours of traffic lights; None draws them grey.
    """
    frame = frame or PlanFrame()
    axes.set_facecolor(GROUND)
    axes.set_aspect("equal")
    _draw_props(axes, scene, frame)
    if scene.road is not None:
        _draw_ground(axes, scene.road, frame)
        _draw_paint(axes, scene.road, frame)
        _draw_signals(axes, scene.road, frame, time_s)


def _draw_props(axes: Axes, scene: Scene, frame: PlanFrame) -> None:
    from matplotlib.collections import EllipseCollection

    for kind in ("building", "barrier"):
        boxes = []
        for prop in scene.props:
            if prop.kind == kind:
                pose = np.eye(4)
                c, s = np.cos(prop.yaw_rad), np.sin(prop.yaw_rad)
                pose[:2, :2], pose[:2, 3] = [[c, -s], [s, c]], (prop.x_m, prop.y_m)
                boxes.append(_rectangle(pose, prop.size_xyz_m, frame))
        polygons(axes, boxes, facecolor=PROP_COLOURS[kind], edgecolor="#b3a797", linewidth=0.5, zorder=1.5)
    for kind in ("tree", "bush"):
        round_ones = [prop for prop in scene.props if prop.kind == kind]
        if round_ones:
            across = [max(prop.size_xyz_m[:2]) for prop in round_ones]
            where = frame.points(np.array([(prop.x_m, prop.y_m) for prop in round_ones]))
            axes.add_collection(
                EllipseCollection(
                    across,
                    across,
                    np.zeros(len(across)),
                    units="xy",
                    offsets=where,
                    offset_transform=axes.transData,
                    facecolor=PROP_COLOURS[kind],
                    edgecolor="none",
                    zorder=1.4,
                )
            )


def _draw_ground(axes: Axes, road: RoadNetwork, frame: PlanFrame) -> None:
    for order, surface in enumerate(road.surfaces):
        polygons(
            axes,
            [frame.points(surface.polygon)],
            facecolor=SURFACE_COLOURS[surface.kind],
            edgecolor="none",
            zorder=2 + order * 1e-4,
        )
    if not any(surface.kind == "road" for surface in road.surfaces):
        lanes = [frame.points(np.concatenate([lane.left, lane.right[::-1]])) for lane in road.lanes]
        polygons(axes, lanes, facecolor=SURFACE_COLOURS["road"], edgecolor="none", zorder=2.5)
    lines(axes, [frame.points(edge) for edge in road.edges], color="#5d6673", linewidth=0.9, zorder=3.2)


def _draw_paint(axes: Axes, road: RoadNetwork, frame: PlanFrame) -> None:
    for colour in ("white", "yellow"):
        for style in ("solid", "dashed"):
            chosen = [m for m in road.markings if m.colour == colour and m.style == style]
            pieces = [piece for marking in chosen for piece in _paint(marking, frame)]
            polygons(axes, pieces, facecolor=MARKING_COLOURS[colour], edgecolor="none", zorder=3)
    stripes = [
        stripe for crossing in road.crosswalks for stripe in _stripes(crossing.polygon, crossing.yaw_rad)
    ]
    polygons(axes, [frame.points(s) for s in stripes], facecolor="white", edgecolor="none", zorder=3.1)


def _draw_signals(axes: Axes, road: RoadNetwork, frame: PlanFrame, time_s: float | None) -> None:
    for light in road.lights:
        colour = "#8a93a3" if time_s is None else LIGHT_COLOURS[light.colour_at(time_s)]
        axes.plot(*frame.points(light.stop_line).T, color=colour, linewidth=3.0, zorder=3.5)
        heads = frame.points(light.heads)
        axes.plot(
            *heads.T,
            linestyle="none",
            marker="o",
            markersize=5,
            color=colour,
            markeredgecolor=INK,
            markeredgewidth=0.7,
            zorder=5,
        )
    for sign in road.stop_signs:
        axes.plot(*frame.points(sign.stop_line).T, color="white", linewidth=2.5, zorder=3.5)
        where = frame.points(np.array(sign.position_yaw[:2]))
        axes.plot(
            *where,
            marker=(8, 0, 22.5),
            markersize=8,
            color=LIGHT_COLOURS["red"],
            markeredgecolor="white",
            markeredgewidth=1.0,
            zorder=5,
        )


def _rectangle(pose: Float64Array, size_xyz_m: Sequence[float], frame: PlanFrame) -> Float64Array:
    x, y = size_xyz_m[0] / 2, size_xyz_m[1] / 2
    corners = np.array([(x, y), (-x, y), (-x, -y), (x, -y)])
    return frame.points(corners @ pose[:2, :2].T + pose[:2, 3])


def _paint(marking: Marking, frame: PlanFrame) -> list[Float64Array]:
    """Return the polygons of a marking: one, or one a dash. Thin ones are drawn at least 0.2 m wide."""
    xy = np.asarray(marking.points)[:, :2]
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(xy, axis=0), axis=1))])
    half = max(marking.width_m, 0.2) / 2
    if marking.style == "solid":
        spans = [(0.0, along[-1])]
    else:
        starts = np.arange(0.0, along[-1], marking.dash_m + marking.gap_m)
        spans = [(start, min(start + marking.dash_m, along[-1])) for start in starts]
    pieces = []
    for start, end in spans:
        inner = along[(along > start) & (along < end)]
        at = np.concatenate([[start], inner, [end]])
        line = np.stack([np.interp(at, along, xy[:, i]) for i in range(2)], axis=1)
        direction = np.gradient(line, axis=0)
        direction /= np.maximum(np.linalg.norm(direction, axis=1, keepdims=True), 1e-9)
        normal = np.stack([-direction[:, 1], direction[:, 0]], axis=1) * half
        pieces.append(frame.points(np.concatenate([line + normal, (line - normal)[::-1]])))
    return pieces


def _stripes(polygon: Float64Array, yaw_rad: float, *, stripe_m: float = 0.5) -> list[Float64Array]:
    """Return the stripes [4, 2] of a zebra crossing, parallel to yaw, half of its area."""
    c, s = np.cos(yaw_rad), np.sin(yaw_rad)
    to_stripes = np.array([[c, -s], [s, c]])
    turned = polygon @ to_stripes
    (x0, y0), (x1, y1) = turned.min(axis=0), turned.max(axis=0)
    return [
        np.array([(x0, y), (x1, y), (x1, min(y + stripe_m, y1)), (x0, min(y + stripe_m, y1))]) @ to_stripes.T
        for y in np.arange(y0, y1, 2 * stripe_m)
    ]


def polygons(axes: Axes, outlines: Sequence[Float64Array], **style: object) -> None:
    """Draw filled outlines [N, 2] of one style at once."""
    from matplotlib.collections import PolyCollection

    if outlines:
        axes.add_collection(PolyCollection(outlines, **style))  # type: ignore[arg-type]


def lines(axes: Axes, polylines: Sequence[Float64Array], **style: object) -> None:
    """Draw polylines [N, 2] of one style at once."""
    from matplotlib.collections import LineCollection

    if polylines:
        axes.add_collection(LineCollection(polylines, **style))  # type: ignore[arg-type]
