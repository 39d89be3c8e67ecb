"""The gate on what NVIDIA's own code made of random weights: recorded plans of both generations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from plan_making import T0_NS, make_observation, motion_of, plan_of
from safetensors.numpy import load_file

from alpamayo_ros.safety.gate import GateDecision, PlanGate
from alpamayo_ros.safety.kinematics import speed_of_history
from alpamayo_ros.types import Observation, Plan


def golden(folder: Path) -> tuple[dict[str, np.ndarray], Observation]:
    tensors = load_file(folder / "golden.safetensors")
    like = make_observation(0.0)
    observation = Observation(
        t0_ns=T0_NS,
        camera_ids=like.camera_ids,
        frames=like.frames,
        frame_stamps_ns=like.frame_stamps_ns,
        history_xyz_in_rig_t0=tensors["ego_history_xyz"][0, 0],
        history_rot_in_rig_t0=tensors["ego_history_rot"][0, 0],
    )
    return tensors, observation


def judge(tensors: dict[str, np.ndarray], observation: Observation, tag: str) -> GateDecision:
    xyz, rot = tensors[f"{tag}.xyz"][0, 0], tensors[f"{tag}.rot"][0, 0]
    speed_mps = float(tensors["space.v0"][0])
    like = plan_of([motion_of(speed_mps, np.zeros(64), np.zeros(64))] * len(xyz))
    plan = Plan(
        **{
            **{name: getattr(like, name) for name in like.__dataclass_fields__},
            "xyz_in_rig_t0": xyz.astype(np.float32),
            "rot_in_rig_t0": rot.astype(np.float32),
        }
    )
    return PlanGate().judge(plan, observation, odometry_speed_mps=speed_mps, now_ns=T0_NS)


@pytest.mark.parametrize("tag", ["plain", "cut", "uneven"])
def test_plans_that_can_be_driven_pass(golden_dir: Path, tag: str) -> None:
    decision = judge(*golden(golden_dir / "alpamayo_r1"), tag)
    assert [verdict.reason for verdict in decision.verdicts] == ["", ""]


@pytest.mark.parametrize("tag", ["plain", "cut", "uneven", "nav", "nav_cfg"])
def test_of_two_plans_the_one_that_would_slide_is_refused(golden_dir: Path, tag: str) -> None:
    """The second bends so sharply that it needs 8 m/s² to the side."""
    decision = judge(*golden(golden_dir / "alpamayo1_5"), tag)
    assert decision.chosen == 0
    assert decision.verdicts[0].passed
    assert [check.name for check in decision.verdicts[1].failed] == ["lateral_accel"]


@pytest.mark.parametrize("model", ["alpamayo_r1", "alpamayo1_5"])
def test_the_speed_of_the_history_is_that_of_the_action_space(golden_dir: Path, model: str) -> None:
    tensors, observation = golden(golden_dir / model)
    implied = speed_of_history(observation.history_xyz_in_rig_t0, observation.history_rot_in_rig_t0)
    assert implied == pytest.approx(float(tensors["space.v0"][0]), abs=1e-3)
