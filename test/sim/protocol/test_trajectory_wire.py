"""Trajectories written as rows of bytes are what protobuf itself writes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from alpamayo_ros.sim.protocol.convert import pose_messages, trajectory_message, trajectory_messages
from alpamayo_ros.sim.protocol.generated import common_pb2
from alpamayo_ros.types import InvalidInput


def one_by_one(stamps_us: np.ndarray, poses: np.ndarray) -> common_pb2.Trajectory:
    trajectory = common_pb2.Trajectory()
    for stamp_us, pose in zip(stamps_us.tolist(), pose_messages(poses), strict=True):
        trajectory.poses.add(timestamp_us=stamp_us, pose=pose)
    return trajectory


@given(st.integers(0, 2**32 - 1), st.integers(0, 70))
def test_rows_are_the_same_message_and_the_same_bytes_as_field_by_field(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    poses = np.tile(np.eye(4), (count, 1, 1))
    if count:
        poses[:, :3, :3] = Rotation.random(count, random_state=seed).as_matrix()
    poses[:, :3, 3] = rng.normal(scale=1e4, size=(count, 3)) * rng.integers(0, 2, (count, 3))
    poses[: count // 3, :3, :3] = np.eye(3)
    stamps_us = rng.integers(0, 2**63, count)
    rows, fields = trajectory_message(stamps_us, poses), one_by_one(stamps_us, poses)
    assert rows == fields
    assert rows.SerializeToString(deterministic=True) == fields.SerializeToString(deterministic=True)


def test_several_at_once_are_what_each_is_alone() -> None:
    poses = np.tile(np.eye(4), (9, 1, 1))
    poses[:, :3, :3] = Rotation.random(9, random_state=3).as_matrix()
    parts = [(np.arange(n) + 5, poses[n : 2 * n]) for n in (3, 0, 4, 1)]
    assert trajectory_messages(parts) == [trajectory_message(*part) for part in parts]
    assert trajectory_messages([]) == [] and not trajectory_messages([parts[1]])[0].poses


def test_what_is_no_trajectory_is_refused() -> None:
    poses = np.tile(np.eye(4), (2, 1, 1))
    with pytest.raises(InvalidInput, match=r"expected stamps in us from 0 on, got -1"):
        trajectory_message(np.array([-1, 2]), poses)
    with pytest.raises(InvalidInput, match="expected 3 poses, one a stamp, got 2"):
        trajectory_message(np.array([1, 2, 3]), poses)
