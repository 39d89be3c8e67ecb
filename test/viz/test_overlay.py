"""Overlays and bird's-eye views: what is painted where, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from plain_lenses import arc, mounted

from alpamayo_ros.sensing.camera_models import Pinhole
from alpamayo_ros.sensing.rigid import compose
from alpamayo_ros.types import InvalidInput
from alpamayo_ros.viz.birds_eye import DARK, LIGHT, draw_birds_eye
from alpamayo_ros.viz.colours import STATUS_COLOURS, STATUSES, speed_colours
from alpamayo_ros.viz.drawing import PlanDrawing
from alpamayo_ros.viz.overlay import OverlayStyle, draw_plan_overlay

VIEW = mounted(Pinhole(320, 180, 160.0, 160.0, 159.5, 89.5))
GREY = np.full((180, 320, 3), 90, np.uint8)
PLAIN = OverlayStyle(labels=False, ticks=False)


def plan(speed_mps: float = 8.0, **said) -> PlanDrawing:
    length = 6.4 * speed_mps
    lines = np.stack([arc(k, length, points=65)[1:] for k in (0.0, 0.02)])
    speeds = np.full((2, 65), speed_mps)
    return PlanDrawing.of_lines(lines, speeds, chosen=0, **{"status": "VALID", **said})


def test_the_corridor_has_the_colour_of_its_status() -> None:
    for status in STATUSES:
        image = draw_plan_overlay(
            GREY, view=VIEW, drawing=plan(status=status), style=replace(PLAIN, opacity=1.0)
        )
        assert tuple(image[150, 160]) == STATUS_COLOURS[status]
        assert tuple(image[10, 160]) == (90, 90, 90)
    assert (GREY == 90).all()


def test_candidates_are_fainter_than_the_plan() -> None:
    image = draw_plan_overlay(GREY, view=VIEW, drawing=plan(), style=PLAIN).astype(int)
    alone = replace(plan(), candidates=())
    without = draw_plan_overlay(GREY, view=VIEW, drawing=alone, style=PLAIN).astype(int)
    candidate, corridor = np.abs(image - without).sum(axis=2), np.abs(without - GREY).sum(axis=2)
    assert 0 < (candidate > 0).sum() < (corridor > 0).sum()


def test_without_a_camera_only_words_are_written() -> None:
    drawing = plan(reasoning="Keep the lane since the road is free.")
    image = draw_plan_overlay(GREY, view=None, drawing=drawing)
    assert (image[30:140] == 90).all()
    assert (image[:12] != 90).any() and (image[-16:] != 90).any()
    assert np.array_equal(draw_plan_overlay(GREY, view=None, drawing=drawing, style=PLAIN), GREY)


def test_long_reasoning_stays_within_its_lines() -> None:
    words = "Slow down because " + "of the pedestrian and " * 40
    drawing = plan(reasoning=words, status="VALID")
    image = draw_plan_overlay(GREY, view=None, drawing=drawing)
    assert (image[60:100] == 90).all()
    one = draw_plan_overlay(GREY, view=None, drawing=drawing, style=OverlayStyle(reasoning_lines=1))
    assert (one[:, :] != image).any()


def test_a_stop_says_why_and_no_plan_says_so() -> None:
    said = draw_plan_overlay(GREY, view=None, drawing=PlanDrawing(status="NONE", reason="no plan for 2.1 s"))
    silent = draw_plan_overlay(GREY, view=None, drawing=PlanDrawing(status="NONE"))
    assert (said[-16:] != silent[-16:]).any()
    stop = plan(status="FALLBACK", reason="a gap in odometry", reasoning="Go on.")
    same = replace(stop, reasoning="Something else.")
    assert np.array_equal(
        draw_plan_overlay(GREY, view=VIEW, drawing=stop), draw_plan_overlay(GREY, view=VIEW, drawing=same)
    )


def test_what_has_been_driven_is_left_out_and_the_plan_stays_on_the_road() -> None:
    lines, speeds = arc(0.0, 51.2, points=65)[1:][None], np.full((1, 65), 8.0)
    later = PlanDrawing.of_lines(
        lines,
        speeds,
        chosen=0,
        elapsed_s=1.25,
        rig_from_rig_t0=compose(np.eye(3), (-10.0, 0, 0)),
        status="VALID",
    )
    assert later.path[0] == pytest.approx([0.0, 0, 0], abs=1e-9)
    assert later.path[-1] == pytest.approx([41.2, 0, 0])
    assert later.path_times_s[0] == 0.0 and later.path_times_s[-1] == pytest.approx(5.15)
    assert later.path_speed_mps == pytest.approx(8.0)
    over = PlanDrawing.of_lines(lines, speeds, chosen=0, elapsed_s=7.0)
    assert len(over.path) == 0
    before = PlanDrawing.of_lines(lines, speeds, chosen=0, elapsed_s=-0.2)
    assert len(before.path) == 65


def test_a_plan_that_stops_is_marked_where_it_stands() -> None:
    speeds = np.linspace(8.0, 0.0, 65)[None]
    travelled = np.cumsum(0.05 * (speeds[0, 1:] + speeds[0, :-1]))
    line = np.stack([travelled, np.zeros(64), np.zeros(64)], axis=1)[None]
    stops = PlanDrawing.of_lines(line, speeds, chosen=0, status="VALID")
    goes = replace(stops, path_speed_mps=np.full(65, 8.0))
    style = OverlayStyle(labels=False)
    a, b = (draw_plan_overlay(GREY, view=VIEW, drawing=d, style=style) for d in (stops, goes))
    # The end is 25.6 m ahead of the rear axle, 23.8 before the camera: a bar lies there, else a thin line.
    row = round(89.5 + 160 * 1.5 / 23.8)
    white = [(image[row - 3 : row + 4, 159].min(axis=1) > 200).sum() for image in (a, b)]
    assert white[0] >= 4 > white[1]


@pytest.mark.parametrize(
    ("image", "got"),
    [
        (np.zeros((4, 4), np.uint8), r"uint8 \[4, 4\]"),
        (np.zeros((4, 4, 3), np.float32), r"float32 \[4, 4, 3\]"),
        (np.zeros((4, 4, 4), np.uint8), r"uint8 \[4, 4, 4\]"),
    ],
)
def test_another_picture_is_refused(image, got: str) -> None:
    with pytest.raises(InvalidInput, match=r"image_rgb: expected uint8 \[H, W, 3\], got " + got):
        draw_plan_overlay(image, view=VIEW, drawing=plan())


def test_drawings_and_styles_that_cannot_be_are_refused() -> None:
    with pytest.raises(InvalidInput, match=r"status: expected one of VALID, .*, got 'FINE'"):
        PlanDrawing(status="FINE")
    with pytest.raises(InvalidInput, match=r"history: expected shape \[N, 3\], got \[5, 2\]"):
        PlanDrawing(history=np.zeros((5, 2)))
    with pytest.raises(InvalidInput, match=r"path_times_s: expected \[3\] as path, got \[2\]"):
        PlanDrawing(path=np.zeros((3, 3)), path_times_s=np.zeros(2), path_speed_mps=np.zeros(3))
    with pytest.raises(InvalidInput, match=r"chosen: expected an index in 0 … 0, got 1"):
        PlanDrawing.of_lines(np.zeros((1, 64, 3)), np.zeros((1, 65)), chosen=1)
    with pytest.raises(InvalidInput, match=r"speed \[K, N \+ 1\], got \[1, 64, 3\] and \[1, 64\]"):
        PlanDrawing.of_lines(np.zeros((1, 64, 3)), np.zeros((1, 64)), chosen=0)
    with pytest.raises(InvalidInput, match=r"opacity: expected 0 … 1, got 1\.5"):
        OverlayStyle(opacity=1.5)
    with pytest.raises(InvalidInput, match="size: expected at least 32 x 32, got 10 x 10"):
        draw_birds_eye(plan(), size=(10, 10))
    with pytest.raises(InvalidInput, match="ahead_m: expected a positive number, got 0"):
        draw_birds_eye(plan(), size=(100, 100), ahead_m=0)


def test_from_above_the_plan_lies_where_its_metres_say() -> None:
    size, ahead_m = (400, 480), 60.0
    drawing = replace(plan(), candidates=())
    bare = replace(DARK, labels=False)
    with_plan = draw_birds_eye(drawing, size=size, ahead_m=ahead_m, style=bare)
    without = draw_birds_eye(PlanDrawing(status="VALID"), size=size, ahead_m=ahead_m, style=bare)
    rows, columns = np.nonzero((with_plan != without).any(axis=2))
    scale = 479 / (ahead_m * 1.2)
    assert rows.min() == pytest.approx(
        479 - (51.2 + 3.9 + 12.0) * scale, abs=35
    )  # the last whole second's box
    assert columns.mean() == pytest.approx(199.5, abs=1.0)
    assert (columns.max() - columns.min()) / scale == pytest.approx(1.9, abs=0.4)
    left = replace(drawing, path=arc(0.03, 51.2, points=65))
    _, columns = np.nonzero(
        (draw_birds_eye(left, size=size, ahead_m=ahead_m, style=bare) != without).any(axis=2)
    )
    assert columns.min() < 120  # left is left


def test_from_above_everything_fits_without_being_asked() -> None:
    for speed in (1.0, 8.0, 25.0):
        bare = replace(LIGHT, labels=False)
        image = draw_birds_eye(plan(speed), size=(300, 300), style=bare)
        empty = draw_birds_eye(plan(speed), size=(300, 300), style=replace(bare, candidate=(1, 2, 3)))
        assert image.shape == (300, 300, 3)
        assert np.array_equal(image[0], empty[0])  # no candidate reaches beyond


def test_speed_has_its_colours() -> None:
    slow, fast, beyond, back, none = speed_colours(np.array([0.0, 15.0, 40.0, -15.0, np.nan])).tolist()
    assert slow[0] > 200 > fast[0]
    assert fast == beyond == back
    assert none == slow
