"""Frames of several cameras as an observation holds them."""

from __future__ import annotations

import numpy as np

from alpamayo_ros.types import UInt8Array


def stack_frames(frames: list[list[UInt8Array]]) -> UInt8Array | tuple[UInt8Array, ...]:
    """Return frames [C][T] of [3, H, W] as one array [C, T, 3, H, W], or a tuple where sizes differ.

    Pixels stay in memory as the first frame has them: interleaved ([.., H, W, 3]) as decoders give them,
    which the model resizes faster, or in planes as the model gives back what it has resized. Changing that
    takes thirty times as long as copying.
    """
    if len({camera[0].shape for camera in frames}) > 1:
        return tuple(_stacked([camera])[0] for camera in frames)
    return _stacked(frames)


def _stacked(frames: list[list[UInt8Array]]) -> UInt8Array:
    if frames[0][0].flags.c_contiguous:
        return np.array(frames)
    channels, height, width = frames[0][0].shape
    interleaved = np.empty((len(frames), len(frames[0]), height, width, channels), np.uint8)
    for rows, camera in zip(interleaved, frames, strict=True):
        for row, frame in zip(rows, camera, strict=True):
            row[...] = frame.transpose(1, 2, 0)
    return interleaved.transpose(0, 1, 4, 2, 3)
