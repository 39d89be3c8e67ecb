from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from alpamayo_ros.model.config import ActionSpaceConfig, FutureTokenizerConfig
from alpamayo_ros.model.trajectory_tokens import FutureTokenizer
from alpamayo_ros.types import InvalidInput

SPACE = ActionSpaceConfig(accel_mean=0.029, accel_std=0.68, curvature_mean=0.00027, curvature_std=0.026)
RELEASED = FutureTokenizer(
    FutureTokenizerConfig(action_space=SPACE, dims_min=(-10, -10), dims_max=(10, 10), num_bins=3000)
)


def test_bins_are_the_references(golden) -> None:
    tokenizer = FutureTokenizer(golden.config.future_tokenizer)
    xyz, rot = golden.history
    bins = tokenizer.encode(
        xyz[None], rot[None], future_xyz=golden["space.future_xyz"], future_rot=golden["space.future_rot"]
    )
    assert torch.equal(bins, golden["space.future_tokens"])
    assert bins.shape == (1, golden.config.tokens_per_future_traj)


def test_decoded_future_is_near_the_reference(golden) -> None:
    tokenizer = FutureTokenizer(golden.config.future_tokenizer)
    xyz, rot = golden.history
    decoded = tokenizer.decode(golden["space.future_tokens"][0], xyz, history_rot=rot)
    # Half a bin of acceleration, 0.023 m/s² with 300 bins, over 6.4 s.
    offset = (decoded.xyz_in_rig_t0 - golden["space.back_xyz"][0]).norm(dim=-1)
    assert float(offset[9]) < 0.1 and float(offset.max()) < 1.0


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**16), lead=st.sampled_from([(), (2,), (2, 3)]))
def test_actions_come_back_within_half_a_bin(seed: int, lead: tuple[int, ...]) -> None:
    action = 5 * torch.randn(*lead, 64, 2, generator=torch.Generator().manual_seed(seed))
    action = action.clamp(-10, 10)
    bins = RELEASED.encode_action(action)
    assert bins.dtype == torch.int64 and bins.shape == (*lead, 128)
    decoded = RELEASED.decode_action(bins)
    assert float((decoded - action).abs().max()) <= 10 / 2999 + 1e-5
    assert torch.equal(RELEASED.encode_action(decoded), bins)


def test_acceleration_and_curvature_take_turns() -> None:
    action = torch.zeros(64, 2)
    action[0], action[1] = torch.tensor([-10.0, 10.0]), torch.tensor([-99.0, 1e30])
    assert RELEASED.encode_action(action)[:4].tolist() == [0, 2999, 0, 2999]


def test_refuses_wrong_bins_and_actions() -> None:
    with pytest.raises(InvalidInput, match=r"bins: expected 0 ... 2999, got 0 ... 3000"):
        RELEASED.decode_action(torch.tensor([0] * 127 + [3000]))
    with pytest.raises(
        InvalidInput, match=r"bins: expected integers of shape \[..., 128\], got torch.int64 \[127\]"
    ):
        RELEASED.decode_action(torch.zeros(127, dtype=torch.int64))
    with pytest.raises(InvalidInput, match=r"bins: expected integers"):
        RELEASED.decode_action(torch.zeros(128))
    with pytest.raises(InvalidInput, match=r"action: expected shape \[..., 64, 2\], got \[2, 64\]"):
        RELEASED.encode_action(torch.zeros(2, 64))
    with pytest.raises(InvalidInput, match="action: expected finite values"):
        RELEASED.encode_action(torch.full((64, 2), torch.nan))
