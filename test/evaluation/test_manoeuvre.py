"""What was driven, by name."""

from __future__ import annotations

import numpy as np
import pytest
from evaluation_factory import circle_track, truth_of

from alpamayo_ros.evaluation.manoeuvre import MANOEUVRES, manoeuvre_of, speed_band, speed_bands
from alpamayo_ros.evaluation.track import Future


def along(way_m: np.ndarray) -> Future:
    xyz = np.zeros((len(way_m), 3), np.float32)
    xyz[:, 0] = way_m
    return Future(xyz, np.tile(np.eye(3, dtype=np.float32), (len(way_m), 1, 1)))


TIMES = 0.1 * np.arange(1, 65)


@pytest.mark.parametrize(
    ("driven", "speed_mps", "instruction", "expected"),
    [
        (along(0.0 * TIMES), 0.0, "", "stand"),
        (along(0.5 * TIMES**2), 0.0, "", "go"),
        (along(5.0 * np.minimum(TIMES, 5.0) - 0.5 * np.minimum(TIMES, 5.0) ** 2), 5.0, "", "stop"),
        (along(8.0 * TIMES), 8.0, "", "straight"),
        (along(8.0 * TIMES), 8.0, "Change lanes to the left in 50m", "lane change left"),
        (along(8.0 * TIMES), 8.0, "Continue straight", "straight"),
        (along(8.0 * TIMES[:29]), 8.0, "", "unknown"),
        (truth_of(circle_track(radius_m=40.0, speed_mps=8.0), 2.0).driven, 8.0, "", "left"),
        (truth_of(circle_track(radius_m=-40.0, speed_mps=8.0), 2.0).driven, 8.0, "", "right"),
        (truth_of(circle_track(radius_m=-400.0, speed_mps=8.0), 2.0).driven, 8.0, "", "straight"),
    ],
)
def test_each_manoeuvre(driven: Future, speed_mps: float, instruction: str, expected: str) -> None:
    assert manoeuvre_of(driven, speed_mps=speed_mps, instruction=instruction) == expected
    assert expected in MANOEUVRES


def test_speed_bands_are_told_apart() -> None:
    assert [speed_band(v) for v in (0.0, 0.5, 4.9, 5.0, 24.0, 25.0)] == [
        "under 0.5 m/s",
        "0.5-5 m/s",
        "0.5-5 m/s",
        "5-10 m/s",
        "15-25 m/s",
        "over 25 m/s",
    ]
    assert len(set(speed_bands())) == 6
