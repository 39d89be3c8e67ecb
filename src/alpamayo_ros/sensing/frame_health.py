"""Cameras that deliver, but do not see: black pictures, and the same picture again and again."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from alpamayo_ros.types import InvalidInput, UInt8Array

_SUBSAMPLE = 8
_BLACK_LEVEL = 4.0
"""Mean grey value. A sensor in the dark has noise and lights; a covered lens or a dead sensor has neither."""


@dataclass(frozen=True)
class FrameHealth:
    """What a camera's newest frames show.

    Attributes:
        brightness: mean value of the newest frame, 0 ... 255.
        black_ms: for how long, by the frames' stamps, every frame has been black.
        same_ms: for how long every frame has shown exactly the same.
    """

    brightness: float = 0.0
    black_ms: float = 0.0
    same_ms: float = 0.0


class FrameWatch:
    """Watches the frames of one camera. Not thread-safe.

    Each frame is looked at on a grid of every eighth pixel. A sensor's noise makes no two frames alike, so a
    grid that repeats bit by bit is a picture that was sent again. That a standing vehicle's simulated camera
    does the same is for whoever knows the speed to take into account.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget the frames so far."""
        self.health = FrameHealth()
        self._checksum: int | None = None
        self._same_since_ns = 0
        self._black_since_ns: int | None = None

    def see(self, stamp_ns: int, frame: UInt8Array) -> FrameHealth:
        """Look at the next frame, uint8 [3, H, W]; returns how things stand."""
        if frame.ndim != 3:
            raise InvalidInput(f"frame: expected [3, H, W], got {frame.ndim} dimensions")
        grid = frame[:, ::_SUBSAMPLE, ::_SUBSAMPLE]
        checksum = zlib.crc32(grid.tobytes())
        brightness = float(grid.mean())
        if checksum != self._checksum:
            self._checksum, self._same_since_ns = checksum, stamp_ns
        if brightness >= _BLACK_LEVEL:
            self._black_since_ns = None
        elif self._black_since_ns is None:
            self._black_since_ns = stamp_ns
        black_since_ns = stamp_ns if self._black_since_ns is None else self._black_since_ns
        self.health = FrameHealth(
            brightness=brightness,
            black_ms=max(0.0, (stamp_ns - black_since_ns) / 1e6),
            same_ms=max(0.0, (stamp_ns - self._same_since_ns) / 1e6),
        )
        return self.health
