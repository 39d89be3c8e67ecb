"""Observations straight from a rollout, without ROS in between.

In our simulator the odometry frame is local itself, so the rig's pose in it is the ego's true pose.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.sensing.rigid import invert
from alpamayo_ros.sim.state import EgoState
from alpamayo_ros.types import (
    NUM_FRAMES,
    NUM_HISTORY_POSES,
    InvalidInput,
    Observation,
    PrepareFrame,
    UInt8Array,
    camera_name,
)

BLANK_CAMERA_ID = 1


def decode_rgb(image_bytes: bytes) -> UInt8Array:
    """Return a JPEG or PNG as contiguous uint8 RGB [3, H, W].

    Raises:
        InvalidInput: for bytes that OpenCV cannot decode.
    """
    bgr = cv2.imdecode(np.frombuffer(image_bytes, np.uint8), cv2.IMREAD_COLOR) if image_bytes else None
    if bgr is None:
        raise InvalidInput(f"image: expected a JPEG or PNG, got {len(image_bytes)} other bytes")
    return np.ascontiguousarray(bgr[..., ::-1].transpose(2, 0, 1))


class FrameHistory:
    """The newest four frames of each camera, decoded once.

    Args:
        camera_ids: Alpamayo camera ids, ascending.
        prepare_frame: the model's (`Alpamayo.prepare_frame`), or None to keep frames as they are.
    """

    def __init__(self, camera_ids: Sequence[int], prepare_frame: PrepareFrame | None = None) -> None:
        self.camera_ids = tuple(camera_ids)
        self._prepare = prepare_frame
        self._stamps_us: list[int] = []
        self._frames: dict[int, list[UInt8Array]] = {camera_id: [] for camera_id in self.camera_ids}

    def add(self, time_us: int, images: Mapping[int, bytes]) -> None:
        """Take one step's encoded images by camera id.

        Raises:
            InvalidInput: for a missing camera, a stamp that does not rise, or a size that changes.
        """
        missing = [camera_name(i) for i in self.camera_ids if i not in images]
        if missing:
            raise InvalidInput(f"frames: expected an image of each camera, got none of {', '.join(missing)}")
        if self._stamps_us and time_us <= self._stamps_us[-1]:
            raise InvalidInput(f"frames: expected a stamp after {self._stamps_us[-1]} us, got {time_us} us")
        for camera_id in self.camera_ids:
            frame = decode_rgb(images[camera_id])
            if self._prepare is not None:
                frame = self._prepare(frame)
            kept = self._frames[camera_id]
            if kept and kept[-1].shape != frame.shape:
                raise InvalidInput(
                    f"frames of {camera_name(camera_id)}: expected {_size(kept[-1])} as before, "
                    f"got {_size(frame)}"
                )
            self._frames[camera_id] = [*kept, frame][-NUM_FRAMES:]
        self._stamps_us = [*self._stamps_us, time_us][-NUM_FRAMES:]

    @property
    def complete(self) -> bool:
        """Whether there are four frames a camera."""
        return len(self._stamps_us) == NUM_FRAMES

    def frames(self) -> UInt8Array | tuple[UInt8Array, ...]:
        """Return the frames as Observation takes them, oldest first."""
        stacks = tuple(np.stack(self._frames[camera_id]) for camera_id in self.camera_ids)
        same = all(stack.shape == stacks[0].shape for stack in stacks)
        return np.stack(stacks) if same else stacks

    def stamps_ns(self) -> NDArray[np.int64]:
        """Return int64 [C, 4]."""
        return np.tile(np.array(self._stamps_us, np.int64) * 1000, (len(self.camera_ids), 1))


def observe(
    history: Sequence[EgoState], frames: FrameHistory | None, *, instruction: str = ""
) -> Observation:
    """Return the observation at the newest of the ego's states.

    Args:
        history: at least 16 states 0.1 s apart, oldest first.
        frames: the cameras' four newest frames, the last of them of the newest state's time. None for a
            planner that looks at no pictures: Observation asks for frames, so it gets one camera of single
            black pixels.
        instruction: navigation text, "" for none.

    Raises:
        InvalidInput: for a history that is too short, or frames that are missing or of another time.
    """
    if len(history) < NUM_HISTORY_POSES:
        raise InvalidInput(f"history: expected {NUM_HISTORY_POSES} states, got {len(history)}")
    states = history[-NUM_HISTORY_POSES:]
    now = states[-1]
    poses = invert(now.local_from_rig) @ np.stack([state.local_from_rig for state in states])
    poses[-1] = np.eye(4)
    if frames is None:
        camera_ids: tuple[int, ...] = (BLANK_CAMERA_ID,)
        pixels: UInt8Array | tuple[UInt8Array, ...] = np.zeros((1, NUM_FRAMES, 3, 1, 1), np.uint8)
        stamps_ns = np.array([[state.time_us * 1000 for state in states[-NUM_FRAMES:]]], np.int64)
    else:
        if not frames.complete:
            raise InvalidInput(f"frames: expected {NUM_FRAMES} of each camera, got fewer")
        camera_ids, pixels, stamps_ns = frames.camera_ids, frames.frames(), frames.stamps_ns()
        if stamps_ns[0, -1] != now.time_us * 1000:
            raise InvalidInput(
                f"frames: expected the newest at t0, {now.time_us * 1000} ns, got {stamps_ns[0, -1]} ns"
            )
    return Observation(
        t0_ns=now.time_us * 1000,
        camera_ids=camera_ids,
        frames=pixels,
        frame_stamps_ns=stamps_ns,
        history_xyz_in_rig_t0=poses[:, :3, 3].astype(np.float32),
        history_rot_in_rig_t0=poses[:, :3, :3].astype(np.float32),
        rig_pose_in_odom_at_t0=np.array(now.local_from_rig, np.float64),
        instruction=instruction or None,
    )


def _size(frame: UInt8Array) -> str:
    return f"{frame.shape[2]}x{frame.shape[1]}"
