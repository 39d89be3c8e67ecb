"""How hard a future brakes."""

from __future__ import annotations

import numpy as np
import pytest

from alpamayo_ros.training.braking import braking_of


def future(decel_mps2: float, *, speed_mps: float = 15.0, from_s: float = 0.0) -> np.ndarray:
    """A straight future that keeps its speed, then brakes to a stop."""
    times_s = np.arange(0, 6.45, 0.01)
    speed = np.clip(speed_mps - decel_mps2 * np.clip(times_s - from_s, 0, None), 0, None)
    xyz = np.zeros((64, 3), np.float32)
    xyz[:, 0] = np.cumsum(speed * 0.01)[9::10][:64]
    return xyz


@pytest.mark.parametrize(
    ("decel_mps2", "expected"),
    [(-2.0, "none"), (0.0, "none"), (0.8, "none"), (1.2, "soft"), (2.3, "soft"), (2.7, "firm"), (4.3, "firm"),
     (4.7, "hard"), (8.0, "hard")],
)  # fmt: skip
def test_by_its_strongest_half_second(decel_mps2: float, expected: str) -> None:
    assert braking_of(future(decel_mps2)) == expected
    assert braking_of(future(decel_mps2, from_s=1.5)) == expected


def test_what_is_further_than_three_seconds_away_does_not_count() -> None:
    assert braking_of(future(6.0, from_s=3.2)) == "none"


def test_a_turn_is_no_braking_and_neither_is_standing() -> None:
    angle = 0.8 * np.arange(1, 65) * 0.1
    turn = np.stack([10 * np.sin(angle), 10 * (1 - np.cos(angle)), np.zeros(64)], axis=1).astype(np.float32)
    assert braking_of(turn) == "none"
    assert braking_of(np.zeros((64, 3), np.float32)) == "none"
