"""Along and across: a bend does not turn one into the other."""

from __future__ import annotations

import numpy as np
import pytest
from evaluation_factory import circle_track, truth_of
from scipy.spatial.transform import Rotation

from alpamayo_ros.evaluation.path_frame import DrivenPath, path_errors
from alpamayo_ros.evaluation.row import Truth


def errors_of(truth: Truth, radius_m: float, arc_m: np.ndarray, aside_m: float) -> dict[str, float | None]:
    """Errors of a plan on the circle at arc lengths [64], beside it by aside_m to the left."""
    yaw = arc_m / radius_m
    xyz = np.zeros((64, 3))
    reach = radius_m - aside_m
    xyz[:, 0], xyz[:, 1] = reach * np.sin(yaw), radius_m - reach * np.cos(yaw)
    rot = Rotation.from_euler("z", yaw[:, None]).as_matrix()
    return path_errors(
        xyz.astype(np.float32),
        rot.astype(np.float32),
        truth.driven,
        way_xyz_in_rig_t0=truth.way_xyz_in_rig_t0,
    )


@pytest.mark.parametrize("radius_m", [25.0, -40.0])
@pytest.mark.parametrize("speed_share", [0.5, 0.9, 1.0, 1.3])
@pytest.mark.parametrize("aside_m", [-2.0, 0.0, 1.5])
def test_on_a_circle_errors_are_arc_and_radius(radius_m: float, speed_share: float, aside_m: float) -> None:
    truth = truth_of(circle_track(radius_m=radius_m, speed_mps=8.0), 2.0)
    times = 0.1 * np.arange(1, 65)
    found = errors_of(truth, radius_m, 8.0 * speed_share * times, aside_m)
    for horizon_s in (1.0, 3.0, 5.0, 6.4):
        ahead = 8.0 * (speed_share - 1.0) * horizon_s
        assert found[f"longitudinal_m@{horizon_s:g}s"] == pytest.approx(ahead, abs=0.1)
        assert found[f"lateral_m@{horizon_s:g}s"] == pytest.approx(aside_m, abs=0.03)
        turned = (np.degrees(ahead / radius_m) + 180) % 360 - 180
        assert found[f"heading_deg@{horizon_s:g}s"] == pytest.approx(turned, abs=0.2)


def test_who_stands_looks_along_the_path() -> None:
    path = DrivenPath(np.zeros((200, 2)) + 1e-3)
    along, left = path.place(np.array([[3.0, 1.0], [-2.0, -0.5]]))
    assert along == pytest.approx([3.0, -2.0]) and left == pytest.approx([1.0, -0.5])


def test_beyond_its_ends_the_path_goes_on_straight() -> None:
    path = DrivenPath(np.array([[1.0, 0.0], [2.0, 0.0], [2.0, 1.0]]))
    along, left = path.place(np.array([[-4.0, 1.0], [1.0, 5.0]]))
    assert along == pytest.approx([-4.0, 7.0]) and left == pytest.approx([1.0, 1.0])


def test_a_drive_that_ends_early_has_no_late_errors() -> None:
    truth = truth_of(circle_track(radius_m=50.0, speed_mps=8.0, seconds=6.0), 2.0)
    assert len(truth.driven) < 50
    found = errors_of(truth, 50.0, 0.8 * np.arange(1, 65), 0.0)
    assert found["lateral_m@3s"] == pytest.approx(0.0, abs=0.02) and found["lateral_m@5s"] is None
