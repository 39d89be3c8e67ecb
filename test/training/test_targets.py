"""Targets are what inference integrates back to the waypoints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from sft_samples import Samples, make_sample, poses, samples

from alpamayo_ros.model.action_space import UnicycleActionSpace
from alpamayo_ros.model.config import ModelConfig
from alpamayo_ros.model.trajectory_tokens import FutureTokenizer
from alpamayo_ros.training.sample import TrainingSample
from alpamayo_ros.training.targets import ActionStatistics, TargetBuilder, Targets, action_statistics
from alpamayo_ros.types import InvalidInput, Observation

GENERATIONS = ["alpamayo1_5", "alpamayo_r1"]


def builder(golden_dir: Path, generation: str = "alpamayo1_5") -> TargetBuilder:
    config = ModelConfig.from_file(golden_dir / generation / "checkpoint")
    return TargetBuilder(UnicycleActionSpace(config.action_space), FutureTokenizer(config.future_tokenizer))


@pytest.mark.parametrize("generation", GENERATIONS)
def test_targets_are_the_references(golden_dir: Path, generation: str) -> None:
    golden = load_file(golden_dir / generation / "golden.safetensors")
    sample = replace(
        make_sample(0),
        future_xyz_in_rig_t0=golden["space.future_xyz"][0].numpy(),
        future_rot_in_rig_t0=golden["space.future_rot"][0].numpy(),
        observation=Observation(
            t0_ns=0,
            camera_ids=(1,),
            frames=np.zeros((1, 4, 3, 32, 32), np.uint8),
            frame_stamps_ns=np.arange(4)[None],
            history_xyz_in_rig_t0=golden["ego_history_xyz"][0, 0].numpy(),
            history_rot_in_rig_t0=golden["ego_history_rot"][0, 0].numpy(),
        ),
    )
    found = builder(golden_dir, generation).build(sample)
    torch.testing.assert_close(found.action, golden["space.action"][0], rtol=0, atol=1e-4)
    assert torch.equal(found.bins, golden["space.future_tokens"][0])
    off = golden["space.back_xyz"][0, :, :2] - golden["space.future_xyz"][0, :, :2]
    assert found.round_trip_error_m == pytest.approx(float(off.norm(dim=-1).max()), abs=1e-3)


def arc(speed_mps: float, accel_mps2: float, curvature_per_m: float) -> TrainingSample:
    history_xyz, history_rot = poses(speed_mps, 0.0, curvature_per_m, np.arange(-15, 1) * 0.1)
    future_xyz, future_rot = poses(speed_mps, accel_mps2, curvature_per_m, np.arange(1, 65) * 0.1)
    sample = make_sample(0)
    moved = replace(sample.observation, history_xyz_in_rig_t0=history_xyz, history_rot_in_rig_t0=history_rot)
    return replace(
        sample, observation=moved, future_xyz_in_rig_t0=future_xyz, future_rot_in_rig_t0=future_rot
    )


@settings(max_examples=40)
@given(
    speed=st.floats(0, 25),
    accel=st.floats(-3, 2),
    curvature=st.floats(-0.05, 0.05),
)
def test_arcs_come_back(golden_dir: Path, speed: float, accel: float, curvature: float) -> None:
    found = builder(golden_dir).build(arc(speed, accel, curvature))
    assert found.round_trip_error_m < 0.1 + 0.005 * 6.4 * speed


def test_a_future_that_jumps_is_told_by_its_round_trip(golden_dir: Path) -> None:
    sample = make_sample(0)
    beside = sample.future_xyz_in_rig_t0 + np.float32([0, 5, 0])
    assert builder(golden_dir).build(replace(sample, future_xyz_in_rig_t0=beside)).round_trip_error_m > 1


def test_wrong_targets_are_refused() -> None:
    bins = torch.zeros(128, dtype=torch.int64)
    with pytest.raises(
        InvalidInput, match=r"action: expected float32 \[64, 2\], got torch.float32 \[63, 2\]"
    ):
        Targets(torch.zeros(63, 2), bins, 0.0)
    with pytest.raises(InvalidInput, match=r"bins: expected int64 \[128\], got torch.float32 \[128\]"):
        Targets(torch.zeros(64, 2), bins.float(), 0.0)


def test_statistics_bring_actions_to_unit_scale(golden_dir: Path) -> None:
    source = samples(12)
    measured = action_statistics(source)
    config = ModelConfig.from_file(golden_dir / "alpamayo1_5" / "checkpoint")
    space = replace(
        config.action_space,
        accel_mean=measured.accel_mean_mps2,
        accel_std=measured.accel_std_mps2,
        curvature_mean=measured.curvature_mean_per_m,
        curvature_std=measured.curvature_std_per_m,
    )
    targets = TargetBuilder(UnicycleActionSpace(space), FutureTokenizer(config.future_tokenizer))
    actions = torch.cat([targets.build(source[index]).action for index in range(len(source))])
    torch.testing.assert_close(actions.mean(dim=0), torch.zeros(2), rtol=0, atol=1e-3)
    torch.testing.assert_close(actions.std(dim=0), torch.ones(2), rtol=0, atol=1e-2)


def test_statistics_need_samples_and_a_spread() -> None:
    with pytest.raises(InvalidInput, match="samples: expected at least 1, got 0"):
        action_statistics(Samples(()))
    with pytest.raises(InvalidInput, match="accel_std_mps2: expected a positive number, got 0"):
        ActionStatistics(accel_std_mps2=0.0)
    standing = action_statistics(Samples((arc(0.0, 0.0, 0.0),)))
    assert standing.accel_std_mps2 > 0 and standing.curvature_std_per_m > 0
