"""Paths: lengths, headings and curvatures of what is built from them."""

from __future__ import annotations

import numpy as np
import pytest

from alpamayo_ros.sim.scenes.paths import Path, connect, from_curvature, join, smooth_step
from alpamayo_ros.types import InvalidInput


def test_an_arc_is_an_arc() -> None:
    path = from_curvature((0.0, 0.0, 0.0), [(50.0 * np.pi / 2, 0.02, 0.02)])
    assert path.xy[-1] == pytest.approx([50.0, 50.0], abs=0.15)
    assert path.length_m == pytest.approx(25 * np.pi, abs=0.2)
    inner = path.offset(3.0)
    assert inner.length_m == pytest.approx(path.length_m * 47 / 50, abs=0.05)
    assert np.median(inner.curvature) == pytest.approx(1 / 47, rel=1e-3)


def test_a_connection_keeps_both_ends() -> None:
    start, end = (0.0, 0.0, 0.3), (16.0, 15.0, 0.3 + np.pi / 2)
    path = connect(start, end, end_curvature=1 / 20)
    assert path.pose(0.0) == pytest.approx(start)
    assert path.pose(path.length_m) == pytest.approx(end)
    assert path.curvature[1] == pytest.approx(0.0, abs=0.02)
    assert path.curvature[-2] == pytest.approx(1 / 20, abs=0.02)
    assert np.abs(path.curvature).max() < 0.16  # a circle through both would have 0.07


def test_there_and_back_and_projection() -> None:
    path = from_curvature((5.0, -3.0, 2.0), [(30.0, 0.0, 0.02), (30.0, 0.02, -0.01)])
    back = path.reverse()
    assert np.allclose(back.reverse().xy, path.xy)
    x, y, _ = path.pose(41.3, 1.7)
    assert path.project(np.array([x, y])) == pytest.approx((41.3, 1.7), abs=0.01)
    s_m, offset_m = back.project(np.array([x, y]))
    assert (s_m, offset_m) == pytest.approx((path.length_m - 41.3, -1.7), abs=0.01)


def test_a_wandering_offset_turns_the_heading() -> None:
    path = from_curvature((0.0, 0.0, 0.0), [(60.0, 0.0, 0.0)])
    moved = path.offset(2.0 * smooth_step(path.s_m, 20.0, 40.0))
    assert moved.xy[0] == pytest.approx([0.0, 0.0])
    assert moved.xy[-1] == pytest.approx([60.0, 2.0])
    course = np.arctan2(*np.diff(moved.xy, axis=0).T[::-1])
    assert np.abs(course - (moved.yaw[1:] + moved.yaw[:-1]) / 2).max() < 2e-3


def test_refusals() -> None:
    arc = from_curvature((0.0, 0.0, 0.0), [(20.0, 0.1, 0.1)])
    with pytest.raises(InvalidInput, match="less than the radius"):
        arc.offset(11.0)
    with pytest.raises(InvalidInput, match="parts that meet"):
        join([arc, arc])
    with pytest.raises(InvalidInput, match="two or more samples"):
        Path(np.zeros((1, 2)), np.zeros(1), np.zeros(1), 0.25)
