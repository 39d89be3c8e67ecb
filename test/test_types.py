"""The types refuse what the stack may never compute on, and say what was expected and given."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from alpamayo_ros.types import (
    InvalidInput,
    Observation,
    Plan,
    Planner,
    PlanOptions,
    StageTimes,
    camera_name,
    medoid,
)


def observation_fields(**changes: Any) -> dict[str, Any]:
    history_xyz = np.zeros((16, 3), np.float32)
    history_xyz[:, 0] = np.arange(-15, 1) * 0.8
    fields: dict[str, Any] = {
        "t0_ns": 10**9,
        "camera_ids": (0, 1),
        "frames": np.zeros((2, 4, 3, 32, 64), np.uint8),
        "frame_stamps_ns": np.tile(np.arange(4, dtype=np.int64) * 100_000_000, (2, 1)),
        "history_xyz_in_rig_t0": history_xyz,
        "history_rot_in_rig_t0": np.tile(np.eye(3, dtype=np.float32), (16, 1, 1)),
    }
    return fields | changes


def plan_fields(samples: int = 2, **changes: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "t0_ns": 10**9,
        "xyz_in_rig_t0": np.zeros((samples, 64, 3), np.float32),
        "rot_in_rig_t0": np.zeros((samples, 64, 3, 3), np.float32),
        "accel_mps2": np.zeros((samples, 64), np.float32),
        "curvature_per_m": np.zeros((samples, 64), np.float32),
        "speed_mps": np.zeros((samples, 65), np.float32),
        "normalised_action": np.zeros((samples, 64, 2), np.float32),
        "reasoning": ("keep the lane",) * samples,
        "reasoning_complete": (True,) * samples,
        "meta_action": ("",) * samples,
        "token_ids": ((1, 2),) * samples,
        "sections": (None,) * samples,
    }
    return fields | changes


def test_a_sound_observation_is_taken() -> None:
    observation = Observation(**observation_fields())
    assert observation.frames_of(1).shape == (4, 3, 32, 64)


def test_cameras_may_differ_in_size() -> None:
    frames = (np.zeros((4, 3, 32, 64), np.uint8), np.zeros((4, 3, 64, 96), np.uint8))
    assert Observation(**observation_fields(frames=frames)).frames_of(1).shape == (4, 3, 64, 96)


def _history(**changes: Any) -> dict[str, Any]:
    fields = observation_fields()
    xyz = fields["history_xyz_in_rig_t0"].copy()
    rot = fields["history_rot_in_rig_t0"].copy()
    if "xyz" in changes:
        index, value = changes["xyz"]
        xyz[index] = value
    if "rot" in changes:
        index, value = changes["rot"]
        rot[index] = value
    return {"history_xyz_in_rig_t0": xyz, "history_rot_in_rig_t0": rot}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"frames": np.zeros((2, 3, 3, 32, 64), np.uint8)},
            r"expected shape \[2, 4, 3, any, any\], got \[2, 3,",
        ),
        ({"frames": np.zeros((2, 4, 3, 32, 64), np.float32)}, "expected dtype uint8, got float32"),
        ({"frames": np.zeros((3, 4, 3, 32, 64), np.uint8)}, r"expected shape \[2, 4"),
        ({"frames": (np.zeros((4, 3, 8, 8), np.uint8),)}, "expected 2 cameras as in camera_ids, got 1"),
        ({"frames": (np.zeros((4, 3, 8, 8), np.uint8),) * 3}, "expected 2 cameras as in camera_ids, got 3"),
        (
            {"frames": (np.zeros((4, 3, 8, 8), np.uint8), np.zeros((3, 3, 8, 8), np.uint8))},
            r"frames of camera 1 \(front_wide\): expected shape \[4, 3",
        ),
        ({"camera_ids": (1, 0)}, r"strictly ascending ids, got \[1, 0\]"),
        ({"camera_ids": (1, 1)}, r"strictly ascending ids, got \[1, 1\]"),
        ({"camera_ids": (0, 7)}, "camera id: expected one of 0 cross_left.*got 7"),
        ({"camera_ids": ()}, "at least one camera, got none"),
        ({"frame_stamps_ns": np.zeros((2, 4), np.int64)}, "rising stamps"),
        (
            _history(xyz=(3, np.nan)),
            r"history_xyz_in_rig_t0: expected finite values, got nan at index \[3, 0\]",
        ),
        (_history(rot=(3, np.inf)), "history_rot_in_rig_t0: expected finite values, got inf"),
        (_history(rot=(3, 2 * np.eye(3))), "expected rotation matrices, got one off orthonormal by 3"),
        (_history(rot=(3, np.diag([1, 1, -1]))), "got a reflection"),
        (_history(xyz=(15, 1.0)), "expected the last pose to be the identity"),
        (_history(rot=(15, [[0, -1, 0], [1, 0, 0], [0, 0, 1]])), "expected the last pose to be the identity"),
        ({"history_xyz_in_rig_t0": np.zeros((16, 3))}, "expected dtype float32, got float64"),
        ({"instruction": 3}, "expected str or None, got int"),
        ({"rig_pose_in_odom_at_t0": np.full((4, 4), np.nan)}, "rig_pose_in_odom_at_t0: expected finite"),
    ],
)
def test_an_unsound_observation_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        Observation(**observation_fields(**changes))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_samples": 0}, "num_samples: expected at least 1, got 0"),
        ({"temperature": 0.0}, "temperature: expected a positive number, got 0.0"),
        ({"temperature": float("nan")}, "temperature: expected a positive number, got nan"),
        ({"top_p": 1.5}, r"top_p: expected a number in \(0, 1\], got 1.5"),
        ({"top_k": 0}, "top_k: expected None or at least 1, got 0"),
        ({"max_reasoning_tokens": 0}, "max_reasoning_tokens"),
        ({"flow_steps": 0}, "flow_steps"),
        ({"guidance_weight": float("inf")}, "guidance_weight"),
        ({"noise_temperature": -1.0}, "noise_temperature"),
        ({"seed": -1}, "seed"),
    ],
)
def test_unsound_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        PlanOptions(**options)


def test_a_plan_says_which_part_does_not_fit() -> None:
    assert Plan(**plan_fields()).num_samples == 2
    with pytest.raises(InvalidInput, match=r"speed_mps: expected shape \[2, 65\], got \[2, 64\]"):
        Plan(**plan_fields(speed_mps=np.zeros((2, 64), np.float32)))
    with pytest.raises(InvalidInput, match="reasoning: expected 2 entries, one a sample, got 1"):
        Plan(**plan_fields(reasoning=("one",)))
    with pytest.raises(InvalidInput, match=r"chosen: expected an index in 0 ... 1, got 2"):
        Plan(**plan_fields(chosen=2))


def test_the_medoid_is_the_sample_in_the_middle() -> None:
    offsets = np.array([5.0, 0.0, 1.0, -1.0], np.float32)
    xyz = np.zeros((4, 64, 3), np.float32)
    xyz[..., 1] = offsets[:, None]
    assert medoid(xyz) == 1


def test_the_medoid_leaves_out_broken_samples() -> None:
    xyz = np.zeros((3, 64, 3), np.float32)
    xyz[0, 5, 0] = np.nan
    xyz[2, :, 1] = 1.0
    assert medoid(xyz) == 1
    assert medoid(np.full((2, 64, 3), np.nan, np.float32)) == 0


def test_stage_times_are_named_without_their_unit() -> None:
    assert StageTimes(vision_ms=2.0, tokens=7).as_dict()["vision"] == 2.0


def test_camera_names() -> None:
    assert [camera_name(i) for i in (0, 6)] == ["cross_left", "front_tele"]


def test_anything_with_plan_is_a_planner() -> None:
    class Wrapper:
        def plan(self, observation: Observation) -> Plan:
            raise NotImplementedError

    assert isinstance(Wrapper(), Planner)
