"""Which frames are worth decoding: by their stamps alone, before they are.

Cameras are often faster than plans. With a rhythm of 0.1 s a camera of 30 Hz has one frame of three that
stands for an instant of some plan; the others need not be decoded. Stamps are known when a message arrives,
so the choice is the assembler's own (frame_matching, on frames that are decoded or not), and what is asked
here is only what it is going to choose: decoding begins on arrival, and a frame that turns out to be needed
after all is decoded late.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from alpamayo_ros.sensing.stamped_buffer import StampedBuffer
from alpamayo_ros.sensing.timing import FRAME_OFFSETS_NS, TimingConfig
from alpamayo_ros.types import InvalidInput

# A camera whose interval is at least this share of the rhythm's is slow: each of its frames may be a t0.
_SLOW_SHARE = 0.75


@dataclass(eq=False)
class Announced:
    """A frame that has arrived and is not decoded: the message as it came, and whether it was asked for."""

    payload: object
    asked: bool = field(default=False)


@dataclass(frozen=True)
class Demand:
    """A frame that is to be decoded; `epoch` is the assembler's, with which to add it."""

    camera_id: int
    stamp_ns: int
    payload: object
    epoch: int = 0


@dataclass(frozen=True)
class Rhythm:
    """The instants at which there should be a t0: anchor, and every interval after it.

    Attributes:
        anchor_ns: a t0, or the reference camera's first frame.
        interval_ns: from one to the next.

    Raises:
        InvalidInput: for an interval that is not positive.
    """

    anchor_ns: int
    interval_ns: float

    def __post_init__(self) -> None:
        if not self.interval_ns > 0:
            raise InvalidInput(f"rhythm: expected a positive interval, got {self.interval_ns} ns")

    def nearest_beat(self, stamp_ns: int) -> int:
        """Return the beat nearest to a stamp, the anchor at the earliest."""
        count = max(0, math.floor((stamp_ns - self.anchor_ns) / self.interval_ns + 0.5))
        return self.anchor_ns + round(count * self.interval_ns)

    def instants_near(self, stamp_ns: int, reach_ns: int) -> list[int]:
        """Return the instants within reach of a stamp for which a t0 on a beat wants a frame."""
        found: set[int] = set()
        for offset_ns in FRAME_OFFSETS_NS:
            first = self.anchor_ns + offset_ns
            low = max(0, math.ceil((stamp_ns - reach_ns - first) / self.interval_ns))
            high = math.floor((stamp_ns + reach_ns - first) / self.interval_ns)
            found.update(first + round(n * self.interval_ns) for n in range(low, high + 1))
        return sorted(found)


def stands_for(buffer: StampedBuffer[Any], stamp_ns: int, instant_ns: int) -> bool:
    """Return whether a stamp of the buffer is the one nearest to an instant, and no nearer one is expected.

    Of two equally near the older is, as in frame_matching.
    """
    before, after = buffer.around(instant_ns)
    stamps = [stamp for stamp in (before, after) if stamp is not None]
    if not stamps or min(stamps, key=lambda s: (abs(s - instant_ns), s)) != stamp_ns:
        return False
    newest_ns, interval_ns = buffer.newest_ns, buffer.interval_ns()
    if newest_ns is None or newest_ns >= instant_ns or interval_ns is None:
        return True
    return abs(newest_ns + interval_ns - instant_ns) >= abs(stamp_ns - instant_ns)


def is_slow(buffer: StampedBuffer[Any], interval_ns: float) -> bool:
    """Return whether a camera is so slow, or so new, that each of its frames counts at a rhythm."""
    own_ns = buffer.interval_ns()
    return own_ns is None or own_ns >= _SLOW_SHARE * interval_ns


def is_on_beat(buffer: StampedBuffer[Any], stamp_ns: int, rhythm: Rhythm) -> bool:
    """Return whether a frame of the reference camera is the one for a beat of the rhythm."""
    return is_slow(buffer, rhythm.interval_ns) or stands_for(buffer, stamp_ns, rhythm.nearest_beat(stamp_ns))


def can_be_used(
    stamp_ns: int,
    *,
    camera: StampedBuffer[Any],
    reference: StampedBuffer[Any],
    rhythm: Rhythm,
    tolerance_ns: int,
) -> bool:
    """Return whether a t0 that is still to come will want a frame, as far as can be known by now.

    Args:
        stamp_ns: of a frame in `camera`.
        camera: the buffer of the frame's camera.
        reference: that of the reference camera, which may be the same.
        rhythm: of the t0s; where the reference camera is slow, its own frames are the t0s.
        tolerance_ns: how far a frame may be from its instant.
    """
    if is_slow(camera, rhythm.interval_ns):
        return True
    if is_slow(reference, rhythm.interval_ns):
        own_ns, newest_ns = reference.interval_ns(), reference.newest_ns
        if own_ns is None or newest_ns is None:
            return True
        # Any of its frames may be a t0, those that have come and those that will.
        rhythm = Rhythm(newest_ns - round(4 * own_ns), own_ns)
    instants_ns = rhythm.instants_near(stamp_ns, tolerance_ns)
    return any(stands_for(camera, stamp_ns, instant_ns) for instant_ns in instants_ns)


class FrameDemands:
    """Which frames of an assembler may be a t0, and which are to be decoded. Not thread-safe.

    Args:
        frames: the cameras' buffers by camera id.
        reference_id: of the reference camera.
        timing: the contract's numbers.
    """

    def __init__(
        self, frames: Mapping[int, StampedBuffer[Any]], *, reference_id: int, timing: TimingConfig
    ) -> None:
        self._frames = frames
        self._reference = frames[reference_id]
        self._timing = timing
        self.clear()

    def clear(self, epoch: int = 0) -> None:
        """Forget what was asked for, and the rhythm; what is asked for from now on is of `epoch`."""
        self._epoch = epoch
        self._demands: list[Demand] = []
        self._taken_ns: int | None = None
        self._off_beat = False

    def taken(self, t0_ns: int) -> None:
        """Note a t0 of which there was an observation: the rhythm goes on from there."""
        self._taken_ns, self._off_beat = t0_ns, False

    def passed_over(self) -> None:
        """Note that a t0 was none as cameras were out of step: the next best one is taken."""
        self._off_beat = True

    def may_be_t0(self, stamp_ns: int) -> bool:
        """Return whether a frame of the reference camera may become a t0."""
        rhythm = self._rhythm()
        if rhythm is None or (self._off_beat and stamp_ns >= rhythm.anchor_ns + rhythm.interval_ns):
            return True
        return is_on_beat(self._reference, stamp_ns, rhythm)

    def announced(self, camera_id: int, stamp_ns: int) -> None:
        """Ask for what can be used, now that a frame has come: itself, or one beside it."""
        rhythm, buffer = self._rhythm(), self._frames[camera_id]
        for near_ns in buffer.neighbours(stamp_ns):
            if rhythm is None or can_be_used(
                near_ns,
                camera=buffer,
                reference=self._reference,
                rhythm=rhythm,
                tolerance_ns=self._timing.sync_tolerance_ns,
            ):
                self.ask(camera_id, near_ns)

    def ask(self, camera_id: int, stamp_ns: int) -> None:
        """Ask for a frame of a buffer to be decoded, unless it is or was asked for."""
        frame = self._frames[camera_id].at(stamp_ns)
        if isinstance(frame, Announced) and not frame.asked:
            frame.asked = True
            self._demands.append(Demand(camera_id, stamp_ns, frame.payload, self._epoch))

    @property
    def waiting(self) -> bool:
        """Whether something was asked for since the last `pop`."""
        return bool(self._demands)

    def pop(self) -> list[Demand]:
        """Return what was asked for since the last call."""
        demands, self._demands = self._demands, []
        return demands

    def _rhythm(self) -> Rhythm | None:
        """Return when t0s are to be expected, None where any frame may be one."""
        anchor_ns = self._reference.first_ns if self._taken_ns is None else self._taken_ns
        if not self._timing.t0_interval_ns or anchor_ns is None:
            return None
        return Rhythm(anchor_ns, self._timing.t0_interval_ns)
