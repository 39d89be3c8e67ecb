"""The timing contract's numbers, and the refusal of an observation that does not meet them."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from alpamayo_ros.types import (
    FRAME_INTERVAL_S,
    HISTORY_INTERVAL_S,
    NUM_FRAMES,
    NUM_HISTORY_POSES,
    InvalidInput,
)

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000

FRAME_OFFSETS_NS = tuple(-round(i * FRAME_INTERVAL_S * NS_PER_S) for i in reversed(range(NUM_FRAMES)))
"""Instants of a camera's frames relative to t0, oldest first: -0.3, -0.2, -0.1, 0 s."""

HISTORY_OFFSETS_NS = tuple(
    -round(i * HISTORY_INTERVAL_S * NS_PER_S) for i in reversed(range(NUM_HISTORY_POSES))
)
"""Instants of the ego history relative to t0, oldest first: -1.5 ... 0 s."""


class ObservationRefused(InvalidInput):
    """An observation that does not meet the timing contract, or an input that cannot be part of one.

    Attributes:
        reason: a stable slug to count by. camera_missing/NAME (it has stopped, or is late),
            camera_dropped/NAME (frames are missing in between), camera_too_slow/NAME,
            camera_out_of_step/NAME (free-running cameras in a phase that the tolerance does not reach),
            camera_size/NAME (its frames changed size), camera_undecoded/NAME (decoding is too slow);
            odometry_late, odometry_gap, odometry_jump, odometry_frame/NAME (unknown body frame);
            frames_behind_odometry.
        t0_ns: the t0 that is refused (for an odometry message that is refused, its stamp).
    """

    def __init__(self, reason: str, message: str, *, t0_ns: int) -> None:
        super().__init__(message)
        self.reason = reason
        self.t0_ns = t0_ns


@dataclass(frozen=True)
class TimingConfig:
    """The timing contract.

    Attributes:
        sync_tolerance_ms: how far a frame may lie from the instant that it stands for.
        frame_wait_ms: how long a t0 waits for a camera that is behind the reference camera, decoding
            included. Generous, as it only delays the refusal: a newer t0 that is complete goes first.
        odometry_wait_ms: how long a t0 waits for odometry that reaches t0. Raise it for odometry
            below 10 Hz, to a period and the transport's delay.
        odometry_max_gap_ms: the longest stretch that odometry is interpolated over.
        max_out_of_order_ms: a stamp further than this behind its input's newest is a backward jump of
            the clock (a bag that starts again), which clears everything; a smaller step is disorder.
        t0_interval_ms: the usual time from one t0 to the next, for cameras that are faster: of theirs, one
            frame each interval is a t0. 0: every frame of the reference camera may be one.
        max_speed_mps: a history that moves faster is a jump of the odometry, and refused.
        frame_buffer_ms, odometry_buffer_ms: how much of each input is kept.

    Raises:
        InvalidInput: for a number out of its range, or a buffer that is shorter than the waits need.
    """

    sync_tolerance_ms: float = 50.0
    frame_wait_ms: float = 500.0
    odometry_wait_ms: float = 120.0
    odometry_max_gap_ms: float = 250.0
    max_out_of_order_ms: float = 250.0
    t0_interval_ms: float = 0.0
    max_speed_mps: float = 100.0
    frame_buffer_ms: float = 1000.0
    odometry_buffer_ms: float = 5000.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not is_number or not np.isfinite(value) or value < 0:
                raise InvalidInput(f"{field.name}: expected a finite number, zero or more, got {value!r}")
        if self.sync_tolerance_ms * NS_PER_MS >= FRAME_INTERVAL_S * NS_PER_S:
            # Beyond the frame interval a frame would be nearer to another instant than to its own.
            raise InvalidInput(
                f"sync_tolerance_ms: expected less than {FRAME_INTERVAL_S * 1e3:g} ms, "
                f"got {self.sync_tolerance_ms:g}"
            )
        for name in ("odometry_max_gap_ms", "max_out_of_order_ms", "max_speed_mps"):
            if getattr(self, name) == 0:
                raise InvalidInput(f"{name}: expected a positive number, got 0")
        wait_ms = max(self.frame_wait_ms, self.odometry_wait_ms)
        frame_span_ms = -FRAME_OFFSETS_NS[0] / NS_PER_MS + self.sync_tolerance_ms + wait_ms
        history_span_ms = -HISTORY_OFFSETS_NS[0] / NS_PER_MS + self.odometry_max_gap_ms + wait_ms
        for name, need_ms in (("frame_buffer_ms", frame_span_ms), ("odometry_buffer_ms", history_span_ms)):
            if getattr(self, name) < need_ms:
                raise InvalidInput(
                    f"{name}: expected at least {need_ms:g} ms, which the waits and the tolerance need, "
                    f"got {getattr(self, name):g}"
                )

    @property
    def sync_tolerance_ns(self) -> int:
        """The sync tolerance in ns."""
        return round(self.sync_tolerance_ms * NS_PER_MS)

    @property
    def t0_interval_ns(self) -> float:
        """The usual time from one t0 to the next in ns."""
        return self.t0_interval_ms * NS_PER_MS

    @property
    def slowest_camera_hz(self) -> float:
        """The rate below which a camera is refused by name.

        Four frames of a camera that is in step with t0 drift from their instants by up to three times
        the difference of its interval to 100 ms; at the default tolerance that allows 8.57 Hz.
        """
        drift_s = self.sync_tolerance_ms / 1e3 / (NUM_FRAMES - 1)
        return 1.0 / (FRAME_INTERVAL_S + drift_s)


def require_stamp(name: str, stamp_ns: object) -> int:
    """Return `stamp_ns` as int; raises InvalidInput unless it is a positive whole number of ns."""
    if isinstance(stamp_ns, bool) or not isinstance(stamp_ns, (int, np.integer)) or stamp_ns <= 0:
        raise InvalidInput(
            f"{name}: expected a positive stamp in ns, got {stamp_ns!r}; is header.stamp filled in?"
        )
    return int(stamp_ns)


def seconds(stamp_ns: int) -> str:
    """Return a stamp for a message, in s to the ms."""
    return f"{stamp_ns / NS_PER_S:.3f} s"


@dataclass(frozen=True)
class BackwardJump:
    """A stamp far behind its input's newest: the clock was set back, all buffers were cleared."""

    source: str
    from_ns: int
    to_ns: int
