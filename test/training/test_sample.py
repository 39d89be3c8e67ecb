"""A training sample refuses what cannot be learned from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from alpamayo_ros.training.sample import ReasoningSource, TrainingSample
from alpamayo_ros.types import InvalidInput, Observation


def observation() -> Observation:
    xyz = np.zeros((16, 3), np.float32)
    xyz[:, 0] = np.arange(-15, 1)
    return Observation(
        t0_ns=10**9,
        camera_ids=(1,),
        frames=np.zeros((1, 4, 3, 8, 8), np.uint8),
        frame_stamps_ns=np.arange(4, dtype=np.int64)[None] * 10**8,
        history_xyz_in_rig_t0=xyz,
        history_rot_in_rig_t0=np.tile(np.eye(3, dtype=np.float32), (16, 1, 1)),
    )


def sample() -> TrainingSample:
    xyz = np.zeros((64, 3), np.float32)
    xyz[:, 0] = np.arange(1, 65)
    return TrainingSample("episode/0", observation(), xyz, np.tile(np.eye(3, dtype=np.float32), (64, 1, 1)))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"sample_id": ""}, "sample_id: expected a name"),
        ({"future_xyz_in_rig_t0": np.zeros((63, 3), np.float32)}, r"expected shape \[64, 3\], got \[63, 3\]"),
        ({"future_xyz_in_rig_t0": np.full((64, 3), np.nan, np.float32)}, "expected finite values"),
        ({"future_rot_in_rig_t0": np.zeros((64, 3, 3), np.float32)}, "expected rotation matrices"),
        ({"reasoning": "Stop for the light."}, "got source 'none' and 19 characters"),
        ({"source": ReasoningSource.HUMAN}, "got source 'human' and 0 characters"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(change: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        replace(sample(), **change)


def test_reasoning_goes_with_its_source() -> None:
    said = replace(sample(), reasoning="Keep lane since the road is clear.", source=ReasoningSource.AUTOMATIC)
    assert said.source is ReasoningSource.AUTOMATIC
