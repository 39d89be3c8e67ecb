from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpamayo_ros.training.trainer_data import SampleOrder
from alpamayo_ros.types import InvalidInput


@given(
    count=st.integers(1, 20), seed=st.integers(0, 100), start=st.integers(0, 60), length=st.integers(1, 30)
)
def test_the_order_can_be_read_from_anywhere(count: int, seed: int, start: int, length: int) -> None:
    whole = SampleOrder(count, seed=seed).indices(0, start + length)
    assert SampleOrder(count, seed=seed).indices(start, length) == whole[start:]
    for epoch in range((start + length) // count):
        assert sorted(whole[epoch * count : (epoch + 1) * count]) == list(range(count))


def test_epochs_and_seeds_differ() -> None:
    orders = [SampleOrder(30, seed=seed).indices(start, 30) for seed in (0, 1) for start in (0, 30)]
    assert len({tuple(order) for order in orders}) == 4


def test_weights_say_how_often() -> None:
    drawn = SampleOrder(4, seed=0, weights=np.array([0.0, 1.0, 1.0, 2.0])).indices(0, 8000)
    shares = np.bincount(drawn, minlength=4) / len(drawn)
    np.testing.assert_allclose(shares, [0, 0.25, 0.25, 0.5], atol=0.03)
    again = SampleOrder(4, seed=0, weights=np.array([0.0, 1.0, 1.0, 2.0])).indices(100, 50)
    assert again == drawn[100:150]


@pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0], [0.0, 0.0], [1.0, float("nan")]])
def test_refuses(weights: list[float]) -> None:
    with pytest.raises(InvalidInput, match="weights: expected 2 numbers from zero up"):
        SampleOrder(2, seed=0, weights=np.array(weights))
    with pytest.raises(InvalidInput, match="samples: expected at least 1, got 0"):
        SampleOrder(0, seed=0)
