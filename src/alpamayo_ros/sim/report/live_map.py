"""The surroundings of the ego from above, its heading upwards, fast enough for every frame of a video.

The scene is drawn once, by the same code as the report's maps, into one large picture; each frame is a turned
cut-out of it with what moves on top.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import cv2
import numpy as np

from alpamayo_ros.sim.record import DriveRecord, RolloutRecord
from alpamayo_ros.sim.report.plan_frame import PlanFrame, box_outline
from alpamayo_ros.sim.report.scene_plan import draw_scene
from alpamayo_ros.sim.report.style import (
    ACTOR_COLOURS,
    CANDIDATES,
    DRIVEN,
    GROUND,
    INK,
    LIGHT_COLOURS,
    PLAN,
    WARN,
)
from alpamayo_ros.sim.roads import Float64Array
from alpamayo_ros.sim.scene import EGO_SIZE_XYZ_M, Scene
from alpamayo_ros.types import UInt8Array
from alpamayo_ros.viz.colours import rgb
from alpamayo_ros.viz.paint import dot, fill, polyline

ToPixels: TypeAlias = Callable[[Float64Array], Float64Array]
"""From points [..., 2 or more] in local to a view's pixels [..., 2]."""

_BORDER_M = 70.0
_LARGEST_PX = 4000
_SMALLEST_M = 0.7
"""Cones and people are drawn at least this wide, or they would not be seen."""


class LiveMap:
    """A scene's map, from which views around the ego are cut.

    Args:
        scene: what to draw.
        seen: [N, 2 or more] in local: where the ego will be.
        pixels_a_metre: of the views.
    """

    def __init__(self, scene: Scene, seen: Float64Array, *, pixels_a_metre: float = 8.0) -> None:
        self._scene = scene
        self._scale = pixels_a_metre
        low, high = seen[:, :2].min(axis=0) - _BORDER_M, seen[:, :2].max(axis=0) + _BORDER_M
        self._raster_scale = min(pixels_a_metre, _LARGEST_PX / float((high - low).max()))
        self._corner = np.array([low[0], high[1]])  # upper left
        self._raster = _rasterise(scene, low, high, pixels_a_metre=self._raster_scale)

    def view(
        self, record: RolloutRecord, step: int, *, width: int, height: int, behind_m: float = 14.0
    ) -> UInt8Array:
        """Return uint8 RGB [height, width, 3]: the ego's surroundings at a step, with its plan."""
        ego = record.ego[step]
        frame = PlanFrame.heading_up(ego)
        image = self._cut(frame, width=width, height=height, behind_m=behind_m)

        def pixels(points: Float64Array) -> Float64Array:
            x, y = np.moveaxis(frame.points(points), -1, 0)
            return np.stack(
                [x * self._scale + (width - 1) / 2, height - 1 - (y + behind_m) * self._scale], axis=-1
            )

        self._draw_lights(image, pixels, (ego.time_us - record.scene.start_us) * 1e-6)
        driven = np.array([state.xy_m for state in record.ego[: step + 1]])
        if len(driven) > 1:
            polyline(image, pixels(driven), rgb(DRIVEN), thickness=3)
        if step < len(record.drives):
            _draw_drive(image, pixels, record.drives[step])
        for track in record.actors.values():
            if track.present[step]:
                size = np.maximum(track.size_xyz_m, _SMALLEST_M)
                outline = box_outline(track.local_from_box[step], size.tolist())
                _fill(image, pixels(outline), ACTOR_COLOURS[track.kind], edge="#ffffff")
        _fill(image, pixels(box_outline(ego.local_from_box, EGO_SIZE_XYZ_M)), INK, edge="#ffffff")
        return image

    def _cut(self, frame: PlanFrame, *, width: int, height: int, behind_m: float) -> UInt8Array:
        """Return the part of the raster that a view shows, turned."""
        # From a view's pixels to the raster's: both are similar to local; three points decide.
        corners = np.array([(0.0, 0.0), (width - 1.0, 0.0), (0.0, height - 1.0)])
        x = (corners[:, 0] - (width - 1) / 2) / self._scale
        y = (height - 1 - corners[:, 1]) / self._scale - behind_m
        c, s = np.cos(frame.turn_rad), np.sin(frame.turn_rad)
        local = np.stack([c * x + s * y, -s * x + c * y], axis=1) + frame.origin_xy_m
        raster = (local - self._corner) * (self._raster_scale, -self._raster_scale) - 0.5
        matrix = cv2.getAffineTransform(corners.astype(np.float32), raster.astype(np.float32))
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return np.asarray(
            cv2.warpAffine(self._raster, matrix, (width, height), flags=flags, borderValue=rgb(GROUND))
        )

    def _draw_lights(self, image: UInt8Array, pixels: ToPixels, time_s: float) -> None:
        if self._scene.road is None:
            return
        for light in self._scene.road.lights:
            colour = LIGHT_COLOURS[light.colour_at(time_s)]
            polyline(image, pixels(light.stop_line[:, :2]), rgb(colour), thickness=5)
            for centre in pixels(light.heads[:, :2]):
                dot(image, centre, rgb(INK), radius=7.0)
                dot(image, centre, rgb(colour), radius=5.0)


def _rasterise(scene: Scene, low: Float64Array, high: Float64Array, *, pixels_a_metre: float) -> UInt8Array:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    width, height = (max(round(v), 16) for v in (high - low) * pixels_a_metre)
    figure = Figure(figsize=(width / 100, height / 100), dpi=100)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    draw_scene(axes, scene, time_s=None)
    axes.set_aspect("auto")
    axes.set_xlim(low[0], low[0] + width / pixels_a_metre)
    axes.set_ylim(high[1] - height / pixels_a_metre, high[1])
    canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])


def _draw_drive(image: UInt8Array, pixels: ToPixels, drive: DriveRecord) -> None:
    start = drive.local_from_rig[0, :3, 3]
    for index, line in enumerate(drive.candidates):
        if index != drive.chosen:
            polyline(image, pixels(np.concatenate([start[None], line])), rgb(CANDIDATES), thickness=1)
    colour = {"plan": PLAN, "stop": WARN}.get(drive.source)
    if colour is not None:
        polyline(image, pixels(drive.local_from_rig[:, :3, 3]), rgb(colour), thickness=3)
        if drive.source == "plan":
            for point in pixels(drive.local_from_rig[10::10, :3, 3]):
                dot(image, point, rgb(colour), radius=3.0)


def _fill(image: UInt8Array, points: Float64Array, colour: str, *, edge: str) -> None:
    fill(image, [points], rgb(colour))
    polyline(image, points, rgb(edge), closed=True)
