from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from alpamayo_ros.model.config import HistoryTokenizerConfig
from alpamayo_ros.model.history_tokens import HistoryTokenizer
from alpamayo_ros.types import InvalidInput

RELEASED = HistoryTokenizer(HistoryTokenizerConfig())


def test_bins_and_ids_are_the_references(golden) -> None:
    tokenizer = HistoryTokenizer(golden.config.history_tokenizer)
    xyz = golden.history[0].numpy()
    assert tokenizer.encode(xyz).tolist() == golden["space.history_tokens"][0].tolist()
    places = golden["plain.input_ids"][0] == golden.tokenizer.id_of("traj_history")
    ids = tokenizer.token_ids(xyz, first_id=golden.tokenizer.history_token_start)
    assert list(ids) == golden["plain.fused_ids"][0][places].tolist()


def test_standing_still_lies_on_a_tie_and_rounds_to_even() -> None:
    assert RELEASED.encode(np.zeros((16, 3), np.float32)).tolist() == [500] * 48


def test_first_difference_is_the_oldest_position_and_is_clamped() -> None:
    xyz = np.zeros((16, 3), np.float32)
    xyz[:, 0] = np.arange(-15, 1, dtype=np.float32)  # 10 m/s
    bins = RELEASED.encode(xyz).reshape(16, 3)
    assert bins[0, 0] == 0
    assert set(bins[1:, 0].tolist()) == {round((1 + 4) / 8 * 999)}


@given(steps=arrays(np.float32, (16, 3), elements=st.floats(-3.875, 3.875, width=32)))
def test_decoding_gives_the_path_back_within_the_bins(steps) -> None:
    xyz = np.cumsum(steps, axis=0, dtype=np.float32)
    decoded = RELEASED.decode(RELEASED.encode(xyz))
    half_bin = np.array([4, 4, 10]) / 999
    assert np.all(np.abs(np.diff(decoded, axis=0) - np.diff(xyz, axis=0)) <= half_bin + 1e-4)


@given(xyz=arrays(np.float32, (2, 3, 16, 3), elements=st.floats(-(2.0**100), 2.0**100, width=32)))
def test_any_finite_history_gives_bins_in_range(xyz) -> None:
    bins = RELEASED.encode(xyz)
    assert bins.shape == (2, 3, 48) and bins.dtype == np.int64
    assert bins.min() >= 0 and bins.max() <= 999
    assert np.array_equal(bins[1, 2], RELEASED.encode(xyz[1, 2]))


@pytest.mark.parametrize(
    ("xyz", "message"),
    [
        (np.zeros((16, 3)), "history_xyz_in_rig_t0: expected a float32 array, got float64"),
        ([[0.0] * 3] * 16, "history_xyz_in_rig_t0: expected a float32 array, got list"),
        (np.zeros((15, 3), np.float32), r"expected shape \[..., 16, 3\], got \[15, 3\]"),
        (np.full((16, 3), np.nan, np.float32), r"expected finite values, got nan at index \[0, 0\]"),
    ],
)
def test_refuses_other_histories(xyz, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        RELEASED.encode(xyz)


def test_refuses_other_bins_and_batches() -> None:
    with pytest.raises(InvalidInput, match=r"bins: expected shape \[..., 48\], got \[47\]"):
        RELEASED.decode(np.zeros(47, np.int64))
    with pytest.raises(InvalidInput, match=r"bins: expected 0 ... 999, got 0 ... 1000"):
        RELEASED.decode(np.r_[np.zeros(47, np.int64), 1000])
    with pytest.raises(InvalidInput, match=r"expected one history \[16, 3\], got shape \[1, 16, 3\]"):
        RELEASED.token_ids(np.zeros((1, 16, 3), np.float32), first_id=0)
