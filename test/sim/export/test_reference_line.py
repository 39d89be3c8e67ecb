"""Polylines as lines and arcs: how close, how smooth, and how few."""

from __future__ import annotations

import numpy as np
import pytest

from alpamayo_ros.sim.export.reference_line import Piece, cubics, fit_arcs, fit_lines
from alpamayo_ros.sim.scenes.paths import from_curvature
from alpamayo_ros.types import InvalidInput


def _path(*pieces: tuple[float, float, float], yaw_rad: float = 2.9):
    path = from_curvature((30.0, -20.0, yaw_rad), pieces)
    return path.sample(np.linspace(0.0, path.length_m, round(path.length_m / 2) + 1))


@pytest.mark.parametrize(
    "pieces",
    [
        [(200.0, 0.0, 0.0)],
        [(60.0, 1 / 40, 1 / 40)],
        [(90.0, 0.0, 1 / 60), (90.0, 1 / 60, -1 / 45), (60.0, -1 / 45, 0.0)],
    ],
)
def test_arcs_follow_points_and_headings(pieces):
    xy, yaw, _ = _path(*pieces)
    line = fit_arcs(xy, yaw)
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(xy, axis=0), axis=1))])
    dense, heading = line.sample(np.linspace(0.0, line.length_m, 20_000))
    gaps = np.linalg.norm(xy[:, None] - dense[None], axis=2)
    assert gaps.min(axis=1).max() < 0.01
    nearest = gaps.argmin(axis=1)
    turned = (heading[nearest] - yaw + np.pi) % (2 * np.pi) - np.pi
    assert np.abs(turned).max() < 2e-3
    assert 0.0 <= line.length_m - along[-1] < 1e-3 * along[-1]  # chords are shorter


def test_pieces_begin_where_the_last_ended():
    xy, yaw, _ = _path((90.0, 0.0, 1 / 60), (90.0, 1 / 60, -1 / 45))
    line = fit_arcs(xy, yaw)
    for piece, following in zip(line.pieces[:-1], line.pieces[1:], strict=True):
        end, heading = piece.sample(np.array([piece.length_m]))
        np.testing.assert_allclose(end[0], (following.x_m, following.y_m), atol=1e-9)
        assert abs((heading[0] - following.yaw_rad + np.pi) % (2 * np.pi) - np.pi) < 1e-9
        assert following.s_m == piece.s_m + piece.length_m


def test_a_straight_is_few_lines_and_a_circle_few_arcs():
    straight, circle = (fit_arcs(*_path((200.0, k, k))[:2]) for k in (0.0, 1 / 50))
    assert len(straight.pieces) <= 5 and not any(piece.curvature_per_m for piece in straight.pieces)
    assert len(circle.pieces) <= 5
    np.testing.assert_allclose([piece.curvature_per_m for piece in circle.pieces], 1 / 50, rtol=1e-3)


def test_lines_pass_through_all_points():
    xy = np.array([[0.0, 0.0], [3.0, 4.0], [3.0, 10.0]])
    line = fit_lines(xy)
    assert line.length_m == 11.0
    np.testing.assert_allclose(line.sample(np.array([0.0, 5.0, 11.0]))[0], xy, atol=1e-12)


def test_cubics_match_value_and_slope_at_their_ends():
    line = fit_lines(np.array([[0.0, 0.0], [35.0, 0.0]]))

    def profile(xy, yaw):
        return np.stack([np.sin(xy[:, 0] / 20), np.cos(xy[:, 0] / 20) / 20], axis=-1)

    found = cubics(line, 10.0, profile)
    assert [entry[0] for entry in found] == [0.0, 8.75, 17.5, 26.25]
    for s, a, b, c, d in found:
        ds = np.linspace(0.0, 8.75, 50)
        np.testing.assert_allclose(a + b * ds + c * ds**2 + d * ds**3, np.sin((s + ds) / 20), atol=2e-4)


def test_a_piece_has_a_length():
    with pytest.raises(InvalidInput, match=r"length_m: expected a positive number, got 0\.0"):
        Piece(0.0, 1.0, 2.0, 0.0, 0.0, 0.0)
