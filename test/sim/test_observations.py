"""Observations made from a rollout's states and encoded images."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from alpamayo_ros.sim.observations import FrameHistory, decode_rgb, observe
from alpamayo_ros.sim.roads import Terrain, TerrainWave
from alpamayo_ros.sim.scene import START_US, STEP_US
from alpamayo_ros.sim.state import EgoState
from alpamayo_ros.types import InvalidInput

HILLY = Terrain((TerrainWave(1.5, 0.05, 0.02),))


def _states(count: int = 16, speed_mps: float = 8.0) -> list[EgoState]:
    return [
        EgoState(START_US + i * STEP_US, HILLY.pose_on_ground(10 + 0.1 * speed_mps * i, 4.0, 0.02 * i))
        for i in range(count)
    ]


def _image(value: int, width: int = 8, height: int = 6) -> bytes:
    bgr = np.zeros((height, width, 3), np.uint8)
    bgr[..., 2] = value
    return cv2.imencode(".png", bgr)[1].tobytes()


def test_history_is_in_the_rig_at_t0_and_ends_in_the_identity() -> None:
    states = _states(20)
    observation = observe(states, None, instruction="Turn left in 30m")
    assert observation.t0_ns == states[-1].time_us * 1000
    assert observation.instruction == "Turn left in 30m"
    np.testing.assert_array_equal(observation.rig_pose_in_odom_at_t0, states[-1].local_from_rig)
    for index in range(16):
        local = observation.rig_pose_in_odom_at_t0 @ np.array(
            [*observation.history_xyz_in_rig_t0[index].astype(float), 1.0]
        )
        np.testing.assert_allclose(local[:3], states[4 + index].local_from_rig[:3, 3], atol=1e-5)
    assert observe(states, None).instruction is None


def test_frames_are_rgb_oldest_first_and_prepared_once() -> None:
    calls = []

    def prepare(frame: np.ndarray) -> np.ndarray:
        calls.append(frame.shape)
        return np.ascontiguousarray(frame[:, ::2, ::2])

    frames = FrameHistory((1, 6), prepare)
    states = _states(18)
    for index, state in enumerate(states[-6:]):
        assert frames.complete == (index >= 4)
        frames.add(state.time_us, {6: _image(100 + index), 1: _image(index)})
    observation = observe(states, frames)
    assert isinstance(observation.frames, np.ndarray)
    assert observation.frames.shape == (2, 4, 3, 3, 4)
    assert observation.frames[0, :, 0, 0, 0].tolist() == [2, 3, 4, 5]
    assert observation.frames[1, :, 0, 0, 0].tolist() == [102, 103, 104, 105]
    assert not observation.frames[:, :, 1:].any(), "red comes first"
    assert observation.frame_stamps_ns[1].tolist() == [s.time_us * 1000 for s in states[-4:]]
    assert len(calls) == 12


def test_cameras_of_different_size_stay_apart() -> None:
    frames = FrameHistory((0, 1))
    states = _states()
    for state in states[-4:]:
        frames.add(state.time_us, {0: _image(1, 8, 6), 1: _image(2, 10, 4)})
    observation = observe(states, frames)
    assert isinstance(observation.frames, tuple)
    assert [stack.shape for stack in observation.frames] == [(4, 3, 6, 8), (4, 3, 4, 10)]


def test_what_is_missing_or_changes_is_refused() -> None:
    frames = FrameHistory((0, 1))
    with pytest.raises(InvalidInput, match="got none of front_wide"):
        frames.add(START_US, {0: _image(1)})
    frames.add(START_US, {0: _image(1), 1: _image(1)})
    with pytest.raises(InvalidInput, match="expected a stamp after"):
        frames.add(START_US, {0: _image(1), 1: _image(1)})
    with pytest.raises(InvalidInput, match="frames of front_wide: expected 8x6 as before, got 9x6"):
        frames.add(START_US + STEP_US, {0: _image(1), 1: _image(1, 9)})
    with pytest.raises(InvalidInput, match="expected a JPEG or PNG, got 3 other bytes"):
        decode_rgb(b"abc")
    with pytest.raises(InvalidInput, match="expected a JPEG or PNG, got 0 other bytes"):
        decode_rgb(b"")
    with pytest.raises(InvalidInput, match="expected 16 states, got 15"):
        observe(_states(15), None)
    with pytest.raises(InvalidInput, match="expected 4 of each camera, got fewer"):
        observe(_states(), frames)


def test_frames_of_another_time_are_refused() -> None:
    frames = FrameHistory((1,))
    states = _states(17)
    for state in states[-5:-1]:
        frames.add(state.time_us, {1: _image(1)})
    with pytest.raises(InvalidInput, match="expected the newest at t0"):
        observe(states, frames)
