"""What of a corridor a picture shows, pixel by pixel: rays of the test's own lenses meet the ground."""

from __future__ import annotations

import math
from itertools import product

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_lenses import (
    Rays,
    arc,
    depth_within_arc,
    ideal_f_theta_rays,
    ideal_pinhole_rays,
    mounted,
)

from alpamayo_ros.sensing.camera_models import Fisheye, FTheta, Pinhole
from alpamayo_ros.sensing.view import View
from alpamayo_ros.types import InvalidInput
from alpamayo_ros.viz.lens_sight import project_points, sight_rad
from alpamayo_ros.viz.ribbon import Ribbons

WIDTH, HEIGHT = 160, 96
HALF_M, LENGTH_M = 0.95, 40.0


def pinhole(fov_deg: float) -> tuple[Pinhole, Rays]:
    focal = WIDTH / 2 / math.tan(math.radians(fov_deg) / 2)
    model = Pinhole(WIDTH, HEIGHT, focal, focal, (WIDTH - 1) / 2, (HEIGHT - 1) / 2)
    return model, ideal_pinhole_rays(WIDTH, HEIGHT, focal)


def f_theta(fov_deg: float) -> tuple[FTheta, Rays]:
    scale = WIDTH / math.radians(fov_deg)
    model = FTheta(WIDTH, HEIGHT, (WIDTH - 1) / 2, (HEIGHT - 1) / 2, angle_to_pixeldist=(0.0, scale))
    return model, ideal_f_theta_rays(WIDTH, HEIGHT, scale)


def painted(view: View, line: np.ndarray, width_m: float = 2 * HALF_M) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    for outline in Ribbons.along([line], width_m=width_m).outlines(view, size=(WIDTH, HEIGHT)):
        assert np.isfinite(outline).all()
        assert np.abs(outline).max() < 30 * WIDTH  # never so far out that drawing would suffer
        cv2.fillPoly(mask, [np.round(outline * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    return mask > 127


def expected(view: View, rays: Rays, curvature_per_m: float) -> np.ndarray:
    """1 where the ground in a pixel is surely in the corridor, 0 where surely not, -1 too near to tell."""
    rotation, place = view.rig_from_camera[:3, :3], view.rig_from_camera[:3, 3]
    u, v = np.meshgrid(np.arange(WIDTH, dtype=float), np.arange(HEIGHT, dtype=float))
    depths, places = [], []
    # All of the pixel's surroundings, so that what is within a pixel of an edge is left out.
    for du, dv in product(np.linspace(-1.2, 1.2, 7), repeat=2):
        direction = rays(u + du, v + dv) @ rotation.T
        down = direction[..., 2] < -1e-9
        t = np.where(down, -place[2] / np.where(down, direction[..., 2], -1.0), np.inf)
        with np.errstate(invalid="ignore"):
            x, y = place[0] + t * direction[..., 0], place[1] + t * direction[..., 1]
            depth = depth_within_arc(x, y, curvature_per_m, length_m=LENGTH_M, half_m=HALF_M)
        depths.append(np.where(down, depth, -np.inf))
        places.append(np.where(down[..., None], np.stack([x, y], axis=-1), np.nan))
    most, above = np.max(depths, axis=0), ~np.isfinite(depths).any(axis=0)
    # No place of a pixel is farther from one of these 49 than they are from each other; a place moved by a
    # metre changes its depth by no more.
    apart_m = np.linalg.norm(np.ptp(places, axis=0), axis=-1) / 6
    result = np.full((HEIGHT, WIDTH), -1, np.int8)
    result[np.min(depths, axis=0) > 0] = 1
    result[above | (most < -apart_m)] = 0
    return result


@settings(max_examples=25, deadline=None)
@given(
    lens=st.sampled_from(
        [pinhole(30), pinhole(70), pinhole(120), f_theta(70), f_theta(120), f_theta(170), f_theta(230)]
    ),
    curvature_per_m=st.sampled_from([0.0, 0.02, -0.03, 0.07]),
    height_m=st.floats(0.6, 3.0),
    x_m=st.floats(-1.0, 2.5),
    y_m=st.floats(-1.2, 1.2),
    yaw_deg=st.floats(-180.0, 180.0),
    pitch_deg=st.floats(-20.0, 40.0),
    roll_deg=st.floats(-12.0, 12.0),
)
def test_every_pixel_of_the_ground_is_painted_or_not(
    lens, curvature_per_m, height_m, x_m, y_m, yaw_deg, pitch_deg, roll_deg
) -> None:
    model, rays = lens
    view = mounted(model, (x_m, y_m, height_m), yaw_deg=yaw_deg, pitch_deg=pitch_deg, roll_deg=roll_deg)
    is_painted = painted(view, arc(curvature_per_m, LENGTH_M))
    truth = expected(view, rays, curvature_per_m)
    wrong = ((truth == 1) & ~is_painted) | ((truth == 0) & is_painted)
    assert wrong.sum() == 0, f"{wrong.sum()} pixels, e.g. {np.argwhere(wrong)[:5].tolist()}"


@settings(max_examples=60, deadline=None)
@given(
    fov_deg=st.floats(25.0, 150.0),
    pitch_deg=st.floats(-30.0, 30.0),
    roll_deg=st.floats(-20.0, 20.0),
    curvature_per_m=st.floats(-0.02, 0.02),
)
def test_what_is_behind_the_camera_never_appears(fov_deg, pitch_deg, roll_deg, curvature_per_m) -> None:
    for model in (pinhole(min(fov_deg, 120.0))[0], f_theta(fov_deg)[0]):
        view = mounted(model, pitch_deg=pitch_deg, roll_deg=roll_deg)
        behind = arc(curvature_per_m, 60.0, points=65) * (-1, 1, 1) - (30.0, 0, 0)
        assert not painted(view, behind).any()
        pixels, seen = project_points(view, behind, model=model)
        assert not seen.any()
        assert np.isnan(pixels).all()


def test_nothing_is_painted_beyond_what_a_lens_maps() -> None:
    lens = Fisheye(WIDTH, HEIGHT, 60.0, 60.0, 79.5, 47.5, max_angle_rad=math.radians(40.0))
    view = mounted(lens, pitch_deg=20.0)
    radius = np.hypot(*np.meshgrid(np.arange(WIDTH) - 79.5, np.arange(HEIGHT) - 47.5))
    mask = painted(view, arc(0.0, LENGTH_M, points=65), width_m=30.0)
    assert mask.any()
    assert not mask[radius > 60.0 * math.radians(40.0) + 1.0].any()
    assert sight_rad(lens) <= math.radians(40.0)


def test_a_crest_is_the_horizon_of_what_lies_behind_it() -> None:
    s = np.linspace(0.0, 80.0, 161)
    up, down = np.minimum(s, 40.0), np.maximum(s - 40.0, 0.0)
    hill = np.stack([s, np.zeros_like(s), 0.04 * up - 0.12 * down], axis=1)
    view = mounted(pinhole(60)[0])
    until_crest = painted(view, hill[s <= 40.0])
    assert until_crest.any()
    assert np.array_equal(painted(view, hill), until_crest)


def test_under_a_bridge_the_road_above_is_not_painted() -> None:
    line = arc(0.0, LENGTH_M, points=65) + np.array([0, 0, 6.0])
    assert not painted(mounted(pinhole(90)[0], pitch_deg=-20.0), line).any()


def test_uphill_is_painted_above_the_camera_too() -> None:
    s = np.linspace(0.0, 60.0, 121)
    hill = np.stack([s, np.zeros_like(s), 0.15 * s], axis=1)
    rows = np.flatnonzero(painted(mounted(pinhole(60)[0]), hill).any(axis=1))
    assert rows.min() < (HEIGHT - 1) / 2 - 2  # above the horizon of flat ground


def test_a_path_that_comes_back_over_itself_does_not_cancel_itself() -> None:
    there = arc(0.0, 20.0, points=41) + np.array([4.0, 0, 0])
    view = mounted(pinhole(90)[0])
    both, one = painted(view, np.concatenate([there, there[::-1]])), painted(view, there)
    assert (both != one).sum() < 0.03 * one.sum()  # where it turns, its edges cross


def test_numbers_that_are_none_leave_a_gap_and_a_short_line_is_nothing() -> None:
    view = mounted(pinhole(90)[0])
    line = arc(0.0, LENGTH_M, points=65)
    gap = line.copy()
    gap[20:24] = np.nan
    assert (painted(view, gap) != painted(view, line)).sum() <= 5  # rounding at the edges
    assert not painted(view, line[:1]).any()
    assert not painted(view, np.full((64, 3), np.nan)).any()
    assert not painted(view, 0.001 * line + (5.0, 0, 0)).any()


@pytest.mark.parametrize("width_m", [0.0, -1.0, math.nan])
def test_a_ribbon_without_width_is_refused(width_m: float) -> None:
    with pytest.raises(InvalidInput, match="width_m: expected a positive number"):
        Ribbons.along([arc(0.0, 10.0)], width_m=width_m)


def test_a_line_in_two_dimensions_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"line_in_rig: expected shape \[N, 3\], got \[400, 2\]"):
        Ribbons.along([arc(0.0, 10.0)[:, :2]], width_m=1.0)
