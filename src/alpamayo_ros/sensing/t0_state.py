"""What may become of a frame of the reference camera: an observation, a wait, a refusal, or nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from alpamayo_ros.sensing.ego_history import EgoHistory, History, NotArrived, NotStarted, Unusable
from alpamayo_ros.sensing.frame_matching import FrameBuffer, Match, Matched, Missing, Starting, match_frames
from alpamayo_ros.sensing.timing import NS_PER_S, ObservationRefused, TimingConfig, seconds
from alpamayo_ros.types import camera_name

# How long no t0 may be found merely because cameras are out of step before that is refused.
_OUT_OF_STEP_LIMIT_NS = NS_PER_S // 2


@dataclass(frozen=True)
class Ready:
    """Everything for the observation is there: four stamps of each camera, and the history."""

    stamps_ns: Mapping[int, tuple[int, ...]]
    history: History


@dataclass(frozen=True)
class Waiting:
    """Something may still arrive. `wait_ms` after the t0 was first seen it becomes `otherwise`."""

    wait_ms: float
    otherwise: Ready | ObservationRefused


@dataclass(frozen=True)
class NoT0:
    """The frame is no t0 and never will be, and that is no fault: silently passed over.

    Either the inputs do not reach back far enough yet (`starting`), or a camera is out of step with this
    very frame, as happens all the time when cameras run at different rates.
    """

    starting: bool


T0State = Ready | Waiting | NoT0 | ObservationRefused


def judge_t0(
    t0_ns: int,
    *,
    frames: Mapping[int, FrameBuffer],
    ego: EgoHistory,
    timing: TimingConfig,
    last_good_ns: int | None,
) -> T0State:
    """Return what can be made of a t0 from what has arrived.

    Args:
        t0_ns: stamp of a frame of the reference camera.
        frames: the cameras' buffers by camera id.
        ego: the vehicle's poses.
        timing: the contract.
        last_good_ns: t0 of the last observation taken, or the first t0 that had enough of every input.
    """
    history = ego.at(t0_ns)
    matches = {camera_id: match_frames(buffer, t0_ns, timing) for camera_id, buffer in frames.items()}
    if isinstance(history, NotStarted) or any(isinstance(m, Starting) for m in matches.values()):
        return NoT0(starting=True)
    waiting: Waiting | None = None
    for camera_id, match in matches.items():
        if isinstance(match, Missing):
            state = _judge_missing(t0_ns, camera_id, match, timing, last_good_ns)
            if not isinstance(state, Waiting):
                return state
            waiting = waiting or state
    if waiting is not None:
        return waiting
    if isinstance(history, Unusable):
        return _refuse(t0_ns, history.reason, history.problem)
    if isinstance(history, NotArrived):
        problem = (
            f"odometry: expected a pose at or after t0 within {timing.odometry_wait_ms:g} ms, "
            f"got the newest {history.behind_ms:.0f} ms before t0"
        )
        return Waiting(timing.odometry_wait_ms, _refuse(t0_ns, "odometry_late", problem))
    return _judge_frames(t0_ns, frames, matches, history, timing)


def _judge_missing(
    t0_ns: int, camera_id: int, match: Missing, timing: TimingConfig, last_good_ns: int | None
) -> Waiting | NoT0 | ObservationRefused:
    name = camera_name(camera_id)
    refusal = _refuse(t0_ns, f"camera_{match.kind}/{name}", f"{name}: {match.problem}")
    if match.may_come:
        return Waiting(timing.frame_wait_ms, refusal)
    lasts_ns = 0 if last_good_ns is None else t0_ns - last_good_ns
    if match.kind == "out_of_step" and lasts_ns <= _OUT_OF_STEP_LIMIT_NS:
        return NoT0(starting=False)
    return refusal


def _judge_frames(
    t0_ns: int,
    frames: Mapping[int, FrameBuffer],
    matches: Mapping[int, Match],
    history: History,
    timing: TimingConfig,
) -> Ready | Waiting | ObservationRefused:
    stamps_ns: dict[int, tuple[int, ...]] = {}
    may_improve = False
    for camera_id, match in matches.items():
        assert isinstance(match, Matched)
        sizes = {frames[camera_id].at(stamp).shape[1:] for stamp in match.stamps_ns}
        if len(sizes) > 1:
            name, shown = camera_name(camera_id), " and ".join(f"{w}x{h}" for h, w in sorted(sizes))
            problem = f"{name}: expected four frames of one size, got {shown}"
            return _refuse(t0_ns, f"camera_size/{name}", problem)
        stamps_ns[camera_id] = match.stamps_ns
        may_improve |= match.may_improve
    ready = Ready(stamps_ns=stamps_ns, history=history)
    return Waiting(timing.frame_wait_ms, ready) if may_improve else ready


def _refuse(t0_ns: int, reason: str, problem: str) -> ObservationRefused:
    return ObservationRefused(reason, f"observation at t0 {seconds(t0_ns)}: {problem}", t0_ns=t0_ns)
