"""Which of a camera's frames stand for t0 - 0.3 s ... t0."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from alpamayo_ros.sensing.frame_demand import Announced
from alpamayo_ros.sensing.stamped_buffer import StampedBuffer
from alpamayo_ros.sensing.timing import FRAME_OFFSETS_NS, NS_PER_MS, NS_PER_S, TimingConfig
from alpamayo_ros.types import UInt8Array

FrameBuffer = StampedBuffer[UInt8Array | Announced]
"""Frames of a camera, decoded or not; which ones match is a question of their stamps alone."""


def decoded_frame(buffer: FrameBuffer, stamp_ns: int) -> UInt8Array:
    """Return a frame of the buffer; KeyError where it is not there, RuntimeError where it is not decoded."""
    frame = buffer.at(stamp_ns)
    if isinstance(frame, Announced):
        raise RuntimeError(f"frame at {stamp_ns} ns: expected it decoded")
    return frame


@dataclass(frozen=True)
class Matched:
    """The stamps of the four frames, oldest first. `may_improve`: a nearer frame is about to come."""

    stamps_ns: tuple[int, ...]
    may_improve: bool


@dataclass(frozen=True)
class Starting:
    """The frames would begin before the camera's first."""

    have_s: float


@dataclass(frozen=True)
class Missing:
    """An instant has no frame.

    Attributes:
        kind: "too_slow" (the camera's rate cannot meet the tolerance), "dropped" (frames are missing where
            the camera's rate says there should be some), "out_of_step" (none is missing, but none is near
            enough either), or "missing" (the camera has stopped or is late).
        problem: what was expected and what was there.
        may_come: the frame can still arrive.
    """

    kind: str
    problem: str
    may_come: bool


Match = Matched | Starting | Missing


def match_frames(buffer: FrameBuffer, t0_ns: int, timing: TimingConfig) -> Match:
    """Return the frames nearest to t0 - 0.3, 0.2, 0.1, 0 s within the tolerance, each used once.

    Where two instants share their nearest frame, the assignment with the least sum of distances is
    taken. Of two frames equally near, the older is taken: it need not be waited for.
    """
    first_ns = buffer.first_ns
    if first_ns is None:
        return Starting(have_s=0.0)
    interval_ns = buffer.interval_ns()
    if interval_ns is not None and interval_ns > NS_PER_S / timing.slowest_camera_hz:
        return _too_slow(buffer, interval_ns, t0_ns, timing)
    tolerance_ns = timing.sync_tolerance_ns
    candidates = [buffer.within(t0_ns + offset, tolerance_ns) for offset in FRAME_OFFSETS_NS]
    stamps = _assign(candidates, t0_ns)
    if stamps is not None:
        return Matched(stamps_ns=stamps, may_improve=_may_improve(buffer, t0_ns, stamps[-1], interval_ns))
    return _why_missing(buffer, t0_ns, candidates, interval_ns, timing)


def _assign(candidates: list[list[int]], t0_ns: int) -> tuple[int, ...] | None:
    """Return strictly rising stamps, one of each instant's candidates, of least total distance."""
    if not all(candidates):
        return None
    instants = [t0_ns + offset for offset in FRAME_OFFSETS_NS]
    nearest = tuple(
        min(stamps, key=lambda s: (abs(s - instant), s))
        for stamps, instant in zip(candidates, instants, strict=True)
    )
    if all(a < b for a, b in itertools.pairwise(nearest)):
        return nearest
    best: dict[int, tuple[int, tuple[int, ...]]] = {-1: (0, ())}  # by the last stamp: cost and stamps so far
    for stamps, instant in zip(candidates, instants, strict=True):
        extended: dict[int, tuple[int, tuple[int, ...]]] = {}
        for stamp in stamps:
            earlier = [path for last, path in best.items() if last < stamp]
            if earlier:
                cost, path = min(earlier)
                extended[stamp] = (cost + abs(stamp - instant), (*path, stamp))
        best = extended
    return min(best.values())[1] if best else None


def _may_improve(buffer: FrameBuffer, t0_ns: int, chosen_ns: int, interval_ns: float | None) -> bool:
    """Whether the camera's next frame should lie nearer to t0 than the chosen one."""
    newest = buffer.newest_ns
    if newest is None or newest >= t0_ns or interval_ns is None:
        return False
    return abs(newest + interval_ns - t0_ns) < abs(chosen_ns - t0_ns)


def _too_slow(
    buffer: FrameBuffer, interval_ns: float, t0_ns: int, timing: TimingConfig
) -> Missing | Starting:
    first_ns = buffer.first_ns
    if first_ns is None or first_ns > t0_ns + FRAME_OFFSETS_NS[0]:
        return Starting(have_s=0.0 if first_ns is None else max(0, t0_ns - first_ns) / NS_PER_S)
    problem = (
        f"expected at least {timing.slowest_camera_hz:.2f} Hz, which a tolerance of "
        f"{timing.sync_tolerance_ms:g} ms needs, got {NS_PER_S / interval_ns:.2f} Hz: too slow"
    )
    return Missing(kind="too_slow", problem=problem, may_come=False)


def _why_missing(
    buffer: FrameBuffer,
    t0_ns: int,
    candidates: list[list[int]],
    interval_ns: float | None,
    timing: TimingConfig,
) -> Missing | Starting:
    """Explain the newest instant that has no frame of its own."""
    tolerance_ns = timing.sync_tolerance_ns
    first_ns, newest_ns = buffer.first_ns, buffer.newest_ns
    assert first_ns is not None and newest_ns is not None
    # If no instant is empty, two compete for one frame: the oldest goes without.
    empty = [i for i, stamps in enumerate(candidates) if not stamps] or [0]
    if first_ns > t0_ns + FRAME_OFFSETS_NS[empty[0]]:
        return Starting(have_s=max(0, t0_ns - first_ns) / NS_PER_S)
    offset_ns = FRAME_OFFSETS_NS[empty[-1]]
    instant_ns = t0_ns + offset_ns
    before, after = buffer.around(instant_ns)
    found = ", ".join(f"{(s - instant_ns) / NS_PER_MS:+.0f} ms" for s in (before, after) if s is not None)
    if after is None:
        kind, may_come = "missing", True
    else:
        gap_ns = after - before if before is not None else 0
        dropped = interval_ns is None or gap_ns > 1.5 * interval_ns
        kind = "dropped" if dropped else "out_of_step"
        # Frames may overtake each other by as much as is not yet a backward jump of the clock.
        may_come = newest_ns - timing.max_out_of_order_ms * NS_PER_MS < instant_ns + tolerance_ns
    rate = f", at {NS_PER_S / interval_ns:.2f} Hz" if interval_ns else ""
    problem = (
        f"expected a frame of its own within {timing.sync_tolerance_ms:g} ms of "
        f"t0 {offset_ns / NS_PER_S:+.1f} s, got the nearest at {found or 'none'}{rate}"
    )
    return Missing(kind=kind, problem=problem, may_come=may_come)
