"""Scenes and rollouts from above: all families can be drawn, and things are drawn where they are."""

from __future__ import annotations

import time

import cv2
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rollout_factory import example_scene, pose, record_of

from alpamayo_ros.sim.report.birdseye import draw_rollout, draw_scene
from alpamayo_ros.sim.report.live_map import LiveMap
from alpamayo_ros.sim.report.map_plot import map_picture
from alpamayo_ros.sim.report.plan_frame import PlanFrame, box_outline
from alpamayo_ros.sim.report.style import ACTOR_COLOURS, INK, LIGHT_COLOURS
from alpamayo_ros.sim.scene import FAMILIES, START_US
from alpamayo_ros.sim.scenes import make_scene
from alpamayo_ros.sim.state import EgoState
from alpamayo_ros.types import InvalidInput
from alpamayo_ros.viz.colours import rgb


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_can_be_drawn(family: str) -> None:
    record = record_of(make_scene(f"{family}-{FAMILIES.index(family)}"), steps=100)
    figure = Figure(figsize=(2.0, 2.0))
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    draw_scene(axes, record.scene, time_s=5.0)
    draw_rollout(axes, record, plan_step=50)
    axes.set_xlim(record.ego[50].xy_m[0] - 30, record.ego[50].xy_m[0] + 30)
    axes.set_ylim(record.ego[50].xy_m[1] - 30, record.ego[50].xy_m[1] + 30)
    canvas.draw()
    assert len(np.unique(np.asarray(canvas.buffer_rgba())[..., :3].reshape(-1, 3), axis=0)) > 20


def test_a_map_takes_half_a_second_at_most() -> None:
    record = record_of(make_scene("junction_4way-5"))
    map_picture(record)  # matplotlib loads its fonts
    started_s = time.process_time()
    picture = map_picture(record)
    assert time.process_time() - started_s < 0.5
    assert picture.shape[1:] == (1430, 3)


def test_a_frame_along_a_line_lays_it_from_left_to_right() -> None:
    line = np.array([[10.0, 5.0], [10.0, -35.0]])
    assert PlanFrame.along(line).points(line) == pytest.approx(np.array([[-20.0, 0.0], [20.0, 0.0]]))


def test_a_frame_with_the_heading_up_has_left_to_the_left() -> None:
    ego = EgoState(0, pose(3.0, 4.0, np.pi / 6))
    ahead_and_left = ego.local_from_rig @ np.array([[10.0, 0, 0, 1], [0, 2.0, 0, 1]]).T
    assert PlanFrame.heading_up(ego).points(ahead_and_left[:2].T) == pytest.approx(
        np.array([[0.0, 10.0], [-2.0, 0.0]])
    )


def test_a_box_points_forward() -> None:
    outline = box_outline(pose(1.0, 2.0, np.pi / 2), (4.0, 2.0, 1.0))
    assert outline[0] == pytest.approx([1.0, 4.0])
    assert outline.min(axis=0) == pytest.approx([0.0, 0.0])


def test_the_live_map_shows_things_where_they_are() -> None:
    record = record_of(example_scene(), steps=130)
    driven = np.array([state.xy_m for state in record.ego])
    live = LiveMap(record.scene, driven, pixels_a_metre=8.0)
    step = 106  # at x = 84.8 m; the stop line is at 118 m, the light turned green at 9 s
    assert record.ego[step].time_us - START_US > 9_000_000
    image = live.view(record, step, width=400, height=480, behind_m=14.0)
    assert image.shape == (480, 400, 3)

    def at(ahead_m: float, left_m: float) -> tuple[int, ...]:
        return tuple(image[round(479 - (ahead_m + 14) * 8), round(199.5 - left_m * 8)])

    assert at(1.4, 0.6) == rgb(INK)
    assert at(118 - 84.8, 1.2) == rgb(LIGHT_COLOURS["green"])
    oncoming = record.actors["car"].local_from_box[step][:2, 3]
    assert at(oncoming[0] - 84.8 + 1.0, oncoming[1] + 1.75) == rgb(ACTOR_COLOURS["car"])


def test_the_live_map_turns_the_road_with_the_vehicle() -> None:
    record = record_of(example_scene(), steps=130)
    turned = record.ego[100]
    across = EgoState(turned.time_us, pose(80.0, -1.75, np.pi / 2))
    record = record_of(example_scene(), steps=130)
    object.__setattr__(record, "ego", (*record.ego[:100], across, *record.ego[101:]))
    live = LiveMap(record.scene, np.array([[0.0, 0.0], [160.0, 0.0]]), pixels_a_metre=4.0)
    image = live.view(record, 100, width=200, height=200, behind_m=10.0)
    road = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    # The vehicle looks across the road: its edge lies 5.25 m ahead, level in the picture.
    row = round(199 - (10 + 5.25) * 4)
    assert np.ptp(road[row - 4, 130:190].astype(int)) < 12
    assert abs(int(road[row + 8, 160]) - int(road[row - 14, 160])) > 25


def test_a_step_that_a_rollout_lacks_is_refused() -> None:
    axes = Figure().add_subplot()
    with pytest.raises(InvalidInput, match="step: expected 0 … 19, got 20"):
        draw_rollout(axes, record_of(example_scene(), steps=20), step=20)
