"""What may become of a frame of the reference camera: an observation, a wait, a refusal, or nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from alpamayo_ros.sensing.ego_history import EgoHistory, History, NotArrived, NotStarted, Unusable
from alpamayo_ros.sensing.frame_demand import Announced
from alpamayo_ros.sensing.frame_matching import FrameBuffer, Matched, Missing, Starting, match_frames
from alpamayo_ros.sensing.stamped_buffer import StampedBuffer
from alpamayo_ros.sensing.timing import NS_PER_S, ObservationRefused, TimingConfig, seconds
from alpamayo_ros.types import camera_name

# How long no t0 may be found merely because cameras are out of step before that is refused.
_OUT_OF_STEP_LIMIT_NS = NS_PER_S // 2


@dataclass(frozen=True)
class Ready:
    """Four stamps of each camera, oldest first, and the history: all that an observation needs."""

    stamps_ns: Mapping[int, tuple[int, ...]]
    history: History


@dataclass(frozen=True)
class NoT0:
    """The frame is no t0 and never will be, and that is no fault: silently passed over.

    Either the inputs do not reach back far enough yet (`starting`), or a camera is out of step with this
    very frame, as happens all the time when cameras run at different rates.
    """

    starting: bool


@dataclass(frozen=True)
class Waiting:
    """Something may still arrive.

    Attributes:
        on: the buffer that it would arrive in; until then, nothing changes.
        wait_ms: how long after the t0 was first seen it is given up.
        otherwise: what the t0 is then; None if what is there is good enough.
        undecoded: frames, camera ids and stamps, that are all there and only need to be decoded.
    """

    on: StampedBuffer[Any]
    wait_ms: float
    otherwise: ObservationRefused | NoT0 | None
    undecoded: tuple[tuple[int, int], ...] = ()


@dataclass
class Pending:
    """A t0 since take saw it first, and what it was waiting for when it was judged last."""

    first_seen_ns: int
    waiting: Waiting | None = None
    version: int = -1  # of the buffer that is waited on


T0State = Ready | Waiting | NoT0 | ObservationRefused


def judge_t0(
    t0_ns: int,
    *,
    frames: Mapping[int, FrameBuffer],
    ego: EgoHistory,
    timing: TimingConfig,
    last_good_ns: int | None,
    good_enough: bool = False,
) -> T0State:
    """Return what can be made of a t0 from what has arrived.

    Args:
        t0_ns: stamp of a frame of the reference camera.
        frames: the cameras' buffers by camera id.
        ego: the vehicle's poses.
        timing: the contract.
        last_good_ns: t0 of the last observation taken, or the first t0 that had enough of every input.
        good_enough: take frames within the tolerance even if nearer ones are about to come.
    """
    lack = ego.lacks(t0_ns)
    matches = {camera_id: match_frames(buffer, t0_ns, timing) for camera_id, buffer in frames.items()}
    if isinstance(lack, NotStarted) or any(isinstance(m, Starting) for m in matches.values()):
        return NoT0(starting=True)
    waiting: Waiting | None = None
    for camera_id, match in matches.items():
        if isinstance(match, Missing):
            outcome = _judge_missing(t0_ns, camera_id, match, last_good_ns)
            if not match.may_come:
                return outcome
            waiting = waiting or Waiting(frames[camera_id], timing.frame_wait_ms, outcome)
    if waiting is not None:
        return waiting
    if isinstance(lack, Unusable):
        return _refuse(t0_ns, lack.reason, lack.problem)
    if isinstance(lack, NotArrived):
        problem = (
            f"odometry: expected a pose at or after t0 within {timing.odometry_wait_ms:g} ms, "
            f"got the newest {lack.behind_ms:.0f} ms before t0"
        )
        refusal = _refuse(t0_ns, "odometry_late", problem)
        return Waiting(ego.buffer, timing.odometry_wait_ms, refusal)
    stamps_ns: dict[int, tuple[int, ...]] = {}
    for camera_id, match in matches.items():
        assert isinstance(match, Matched)
        if match.may_improve and not good_enough:
            return Waiting(frames[camera_id], timing.frame_wait_ms, None)
        stamps_ns[camera_id] = match.stamps_ns
    undecoded = _undecoded(t0_ns, stamps_ns, frames, timing)
    return undecoded or _complete(t0_ns, stamps_ns, frames, ego)


def _judge_missing(
    t0_ns: int, camera_id: int, match: Missing, last_good_ns: int | None
) -> NoT0 | ObservationRefused:
    lasts_ns = 0 if last_good_ns is None else t0_ns - last_good_ns
    if match.kind == "out_of_step" and lasts_ns <= _OUT_OF_STEP_LIMIT_NS:
        return NoT0(starting=False)
    name = camera_name(camera_id)
    return _refuse(t0_ns, f"camera_{match.kind}/{name}", f"{name}: {match.problem}")


def _undecoded(
    t0_ns: int,
    stamps_ns: Mapping[int, tuple[int, ...]],
    frames: Mapping[int, FrameBuffer],
    timing: TimingConfig,
) -> Waiting | None:
    """Return the wait for chosen frames that are not decoded yet, None if all are."""
    undecoded = tuple(
        (camera_id, stamp_ns)
        for camera_id, stamps in stamps_ns.items()
        for stamp_ns in stamps
        if isinstance(frames[camera_id].at(stamp_ns), Announced)
    )
    if not undecoded:
        return None
    camera_id = undecoded[0][0]
    name = camera_name(camera_id)
    problem = (
        f"{name}: expected its frames decoded within {timing.frame_wait_ms:g} ms, "
        f"got {len(undecoded)} that are not"
    )
    refusal = _refuse(t0_ns, f"camera_undecoded/{name}", problem)
    return Waiting(frames[camera_id], timing.frame_wait_ms, refusal, undecoded)


def _complete(
    t0_ns: int, stamps_ns: Mapping[int, tuple[int, ...]], frames: Mapping[int, FrameBuffer], ego: EgoHistory
) -> Ready | ObservationRefused:
    """Return the t0 with its history, if frames and history hold what they promise."""
    for camera_id, stamps in stamps_ns.items():
        items = [frames[camera_id].at(stamp) for stamp in stamps]
        sizes = {item.shape[1:] for item in items if not isinstance(item, Announced)}
        if len(sizes) > 1:
            name, shown = camera_name(camera_id), " and ".join(f"{w}x{h}" for h, w in sorted(sizes))
            problem = f"{name}: expected four frames of one size, got {shown}"
            return _refuse(t0_ns, f"camera_size/{name}", problem)
    history = ego.at(t0_ns)
    if isinstance(history, Unusable):
        return _refuse(t0_ns, history.reason, history.problem)
    assert isinstance(history, History)
    return Ready(stamps_ns=stamps_ns, history=history)


def _refuse(t0_ns: int, reason: str, problem: str) -> ObservationRefused:
    return ObservationRefused(reason, f"observation at t0 {seconds(t0_ns)}: {problem}", t0_ns=t0_ns)
