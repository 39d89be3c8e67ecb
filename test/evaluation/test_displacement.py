"""Distances from the drive: known ones, and what must hold for any."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpamayo_ros.evaluation.displacement import HORIZONS_S, displacement, distances_m
from alpamayo_ros.types import InvalidInput


def test_a_plan_that_drifts_away_steadily() -> None:
    driven = np.zeros((64, 3), np.float32)
    driven[:, 0] = np.arange(1, 65)
    plan = np.repeat(driven[None], 2, axis=0)
    plan[0, :, 1] = 0.05 * np.arange(1, 65)  # 0.5 m a second
    plan[1, :, 1] = -1.0
    plan[:, :, 2] = 7.0  # heights do not count
    found = displacement(distances_m(plan, driven), 0)
    assert found["fde@1s"] == pytest.approx(0.5) and found["fde@6.4s"] == pytest.approx(3.2)
    assert found["ade@3s"] == pytest.approx(0.05 * np.arange(1, 31).mean())
    assert found["min_ade@6.4s"] == pytest.approx(1.0) and found["min_ade@1s"] == pytest.approx(0.275)
    assert found["one_ade@6.4s"] == pytest.approx((0.05 * 32.5 + 1.0) / 2)
    assert (found["miss@3s"], found["miss@5s"], found["min_miss@6.4s"]) == (0.0, 1.0, 0.0)
    assert displacement(distances_m(plan, driven), 0, miss_m=0.4)["miss@1s"] == 1.0


@pytest.mark.parametrize(("known", "horizons"), [(64, 4), (63, 3), (50, 3), (49, 2), (10, 1), (9, 0)])
def test_a_horizon_that_the_drive_does_not_reach_is_unknown(known: int, horizons: int) -> None:
    found = displacement(np.ones((3, known)), 1)
    for row, horizon_s in enumerate(HORIZONS_S):
        value = found[f"ade@{horizon_s:g}s"]
        assert (value == 1.0) if row < horizons else (value is None)


@given(st.integers(1, 6), st.integers(10, 64), st.integers(0, 2**32 - 1))
def test_the_best_is_never_worse_than_any(candidates: int, known: int, seed: int) -> None:
    distance = np.random.default_rng(seed).exponential(2.0, (candidates, known))
    for chosen in range(candidates):
        found = displacement(distance, chosen)
        for horizon in ("@1s", "@3s", "@5s", "@6.4s"):
            if found[f"ade{horizon}"] is None:
                continue
            assert found[f"min_ade{horizon}"] <= found[f"ade{horizon}"]  # type: ignore[operator]
            assert found[f"min_ade{horizon}"] <= found[f"one_ade{horizon}"] + 1e-12  # type: ignore[operator]
            assert found[f"min_miss{horizon}"] <= found[f"miss{horizon}"]  # type: ignore[operator]


def test_a_drive_longer_than_the_plan_is_refused() -> None:
    with pytest.raises(InvalidInput, match="expected at most 64 waypoints, got 65"):
        distances_m(np.zeros((1, 64, 3), np.float32), np.zeros((65, 3), np.float32))
