"""Colours and small habits that all drawings of the report share."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, FAINT, GRID = "#1d2330", "#6b7585", "#e7eaef"
PLAN, CANDIDATES, DRIVEN, REFERENCE, WARM_UP, WARN = (
    "#e4572e",
    "#f2a58f",
    "#0e7a5a",
    "#3a6fb7",
    "#7d8796",
    "#c62f3e",
)
SOURCE_COLOURS = {"plan": DRIVEN, "stop": WARN, "reference": WARM_UP}
"""Of the driven path, by who moved the ego."""
ACTOR_COLOURS = {
    "car": "#33598f",
    "van": "#5b4f96",
    "truck": "#7a4a6b",
    "pedestrian": "#c2185b",
    "cyclist": "#00838f",
    "cone": "#ef6c00",
}
GROUND = "#e9eee4"
SURFACE_COLOURS = {
    "road": "#b4bac3",
    "sidewalk": "#d9d5cc",
    "island": "#c3d3b5",
    "parking": "#c6cad1",
    "dirt": "#d9c8a9",
}
LIGHT_COLOURS = {"green": "#19a35b", "yellow": "#f0b400", "red": "#d92b2b"}
MARKING_COLOURS = {"white": "#ffffff", "yellow": "#e6ab00"}
PROP_COLOURS = {
    "building": "#cfc3b6",
    "tree": "#9dbf8a",
    "bush": "#aecb9c",
    "barrier": "#8c939e",
}
"""Scenery that a map shows; what is missing is too thin to be seen from above."""


def style_axes(axes: Axes, title: str) -> None:
    """Give a plot over time the report's plain look."""
    axes.set_title(title, fontsize=9, color=INK, loc="left", pad=4)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8, colors=FAINT, length=0)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color("#d5dae2")
