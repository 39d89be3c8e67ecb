"""Observation assembly: frames, odometry and an instruction in, observations by the timing contract out.

The contract: t0 is the stamp of the newest frame of the rig's reference camera for which every camera
has a frame within the tolerance; frames are those nearest to t0 - 0.3, 0.2, 0.1, 0 s; odometry is
interpolated at t0 - 1.5 ... 0 s. What has not arrived yet is waited for, what cannot come any more is
refused, once for each t0, with a reason.

No ROS and no clock of its own: stamps come with the inputs, and `now_ns` (of any clock, used for
differences only) with each call of take. Any thread may call anything.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from alpamayo_ros.sensing.ego_history import EgoHistory, History, NotArrived, NotStarted, Unusable
from alpamayo_ros.sensing.frame_matching import FrameBuffer, Matched, Missing, Starting, match_frames
from alpamayo_ros.sensing.odometry_frames import OdometryFrames
from alpamayo_ros.sensing.rig import Rig
from alpamayo_ros.sensing.rigid import Matrix4, require_rigid
from alpamayo_ros.sensing.stamped_buffer import Added
from alpamayo_ros.sensing.timing import (
    FRAME_OFFSETS_NS,
    HISTORY_OFFSETS_NS,
    NS_PER_MS,
    NS_PER_S,
    ObservationRefused,
    TimingConfig,
    require_stamp,
    seconds,
)
from alpamayo_ros.types import InvalidInput, Observation, UInt8Array, camera_name, require_array

ODOMETRY = "odometry"
"""The name of odometry among the inputs; cameras go by their names."""

# How long no t0 may be found merely because cameras are out of step before that is refused.
_OUT_OF_STEP_LIMIT_NS = NS_PER_S // 2


@dataclass(frozen=True)
class BackwardJump:
    """A stamp far behind its input's newest: the clock was set back, all buffers were cleared."""

    source: str
    from_ns: int
    to_ns: int


@dataclass(frozen=True)
class InputStatistics:
    """Counts of one input since the start (a clear leaves them), and how it stands now.

    Attributes:
        received: accepted messages, duplicates and late ones not among them.
        duplicates, out_of_order, too_old, rejected: messages whose stamp was there already (left out); that
            came after a newer one (used); that came too late to be used (left out); that were refused.
        newest_ns: the newest stamp in the buffer, None if it is empty.
        rate_hz: the usual rate, 0 before it is known.
    """

    received: int = 0
    duplicates: int = 0
    out_of_order: int = 0
    too_old: int = 0
    rejected: int = 0
    newest_ns: int | None = None
    rate_hz: float = 0.0


@dataclass(frozen=True)
class _Ready:
    stamps_ns: dict[int, tuple[int, ...]]
    history: History


@dataclass(frozen=True)
class _Waiting:
    deadline_ms: float  # since the t0 was first seen
    refusal: ObservationRefused  # what it becomes then
    fallback: _Ready | None = None  # or what it is good enough for


class _NoT0:
    """Before enough of every input has arrived, a frame of the reference camera is no t0."""


class ObservationAssembler:
    """Assembles observations. Thread-safe; frames and poses that were added must not be written to afterwards.

    Args:
        rig: which cameras there are, which is the reference, and where odometry's body frames sit.
        timing: the contract's numbers.
        on_backward_jump: called (in the thread that added the input) after a backward jump has cleared
            everything.
    """

    def __init__(
        self,
        rig: Rig,
        timing: TimingConfig | None = None,
        *,
        on_backward_jump: Callable[[BackwardJump], None] | None = None,
    ) -> None:
        self.rig = rig
        self.timing = timing or TimingConfig()
        self._on_backward_jump = on_backward_jump
        self._lock = threading.RLock()
        span_ns = round(self.timing.frame_buffer_ms * NS_PER_MS)
        self._frames: dict[int, FrameBuffer] = {camera_id: FrameBuffer(span_ns) for camera_id in rig.camera_ids}
        self._ego = EgoHistory(self.timing)
        self._odometry_frames = OdometryFrames(rig)
        self._statistics = {name: InputStatistics() for name in (*map(camera_name, rig.camera_ids), ODOMETRY)}
        self._instruction: str | None = None
        self._epoch = 0
        self._backward_jumps = 0
        self._reset()

    def _reset(self) -> None:
        self._newest_observation: Observation | None = None
        self._taken_ns = 0  # t0 of the newest observation taken
        self._started_ns: int | None = None  # the first t0 that had enough of everything
        self._closed: set[int] = set()  # t0s after it that were refused or passed over
        self._first_seen_ns: dict[int, int] = {}  # t0 -> now_ns of the take() that saw it first

    # --- inputs ----------------------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        """Rises with every clear. A frame that began to be decoded in an earlier epoch is to be dropped."""
        with self._lock:
            return self._epoch

    @property
    def backward_jumps(self) -> int:
        """How many backward jumps of the clock there were."""
        with self._lock:
            return self._backward_jumps

    def add_frame(self, camera_id: int, stamp_ns: int, frame: UInt8Array, *, epoch: int | None = None) -> Added | None:
        """Add a frame, uint8 RGB [3, H, W].

        Args:
            camera_id: a camera of the rig.
            stamp_ns: when it was taken.
            frame: the image, which is kept and must not change.
            epoch: the assembler's epoch when the message arrived; if that has passed, the frame belongs to
                the time before a clear and is dropped (returns None).

        Raises:
            InvalidInput: for a camera that the rig lacks, a stamp that is not positive, or another shape or dtype.
        """
        name = self.rig.camera(camera_id).name
        try:
            stamp_ns = require_stamp(f"stamp of {name}", stamp_ns)
            require_array(f"frame of {name}", frame, (3, None, None), np.uint8)
        except InvalidInput:
            self._count(name, rejected=1)
            raise
        with self._lock:
            if epoch is not None and epoch != self._epoch:
                return None
            buffer = self._frames[camera_id]
            newest_ns = buffer.newest_ns
            jump = self._check_jump(name, newest_ns, stamp_ns)
            added = buffer.add(stamp_ns, frame)
            self._count_added(name, added, late=jump is None and newest_ns is not None and stamp_ns < newest_ns)
        self._report(jump)
        return added

    def add_odometry(self, stamp_ns: int, pose_of_child_in_odom: Matrix4, *, child_frame: str) -> Added:
        """Add a pose [4, 4] of a body frame in the odometry frame; it is brought to the rig frame.

        Raises:
            ObservationRefused: if nobody said where `child_frame` sits on the rig (reason odometry_frame/NAME).
            InvalidInput: for a stamp that is not positive or a matrix that is not a rigid transform.
        """
        try:
            stamp_ns = require_stamp("odometry stamp", stamp_ns)
            pose = require_rigid("odometry pose", pose_of_child_in_odom)
            with self._lock:
                rig_pose = self._odometry_frames.rig_pose(stamp_ns, pose, child_frame)
        except InvalidInput:
            self._count(ODOMETRY, rejected=1)
            raise
        with self._lock:
            newest_ns = self._ego.buffer.newest_ns
            jump = self._check_jump(ODOMETRY, newest_ns, stamp_ns)
            added = self._ego.add(stamp_ns, rig_pose)
            self._count_added(ODOMETRY, added, late=jump is None and newest_ns is not None and stamp_ns < newest_ns)
        self._report(jump)
        return added

    def set_rig_from_child(self, frame: str, rig_from_child: Matrix4) -> None:
        """Say where a body frame sits: its pose [4, 4] in the rig frame, as static TF gives it.

        What the rig file says goes first. Raises InvalidInput for a matrix that is not a rigid transform.
        """
        with self._lock:
            self._odometry_frames.set_from_tf(frame, rig_from_child)

    def set_instruction(self, instruction: str | None) -> None:
        """Set the navigation text of the observations to come; None or blank clears it."""
        with self._lock:
            self._instruction = (instruction or "").strip() or None

    def clear(self) -> None:
        """Forget all frames, poses and observations; the instruction and body frames stay."""
        with self._lock:
            for buffer in self._frames.values():
                buffer.clear()
            self._ego.clear()
            self._epoch += 1
            self._reset()

    def _check_jump(self, source: str, newest_ns: int | None, stamp_ns: int) -> BackwardJump | None:
        limit_ns = self.timing.max_out_of_order_ms * NS_PER_MS
        if newest_ns is None or stamp_ns >= newest_ns - limit_ns:
            return None
        self.clear()
        self._backward_jumps += 1
        return BackwardJump(source=source, from_ns=newest_ns, to_ns=stamp_ns)

    def _report(self, jump: BackwardJump | None) -> None:
        if jump is not None and self._on_backward_jump is not None:
            self._on_backward_jump(jump)

    def _count_added(self, name: str, added: Added, *, late: bool) -> None:
        if added is Added.DUPLICATE:
            self._count(name, duplicates=1)
        elif added is Added.TOO_OLD:
            self._count(name, too_old=1)
        else:
            self._count(name, received=1, out_of_order=int(late))

    def _count(self, name: str, **increments: int) -> None:
        with self._lock:
            old = self._statistics[name]
            self._statistics[name] = replace(
                old, **{key: getattr(old, key) + increment for key, increment in increments.items()}
            )

    # --- observations ----------------------------------------------------------------------------

    def take(self, now_ns: int) -> Observation | None:
        """Return the newest observation not yet taken, or None if there is none or it is being waited for.

        Taking one drops all older t0s. Call it whenever an input has arrived, and now and then without.

        Args:
            now_ns: the time, of any clock that runs with the inputs (ROS time, or a session's own); waits are
                measured by it.

        Raises:
            ObservationRefused: once for each t0 that cannot be had, unless a newer one was taken before.
        """
        with self._lock:
            self._forget_old_candidates()
            refusal: ObservationRefused | None = None
            for t0_ns in self._candidates():  # newest first
                state = self._resolve(t0_ns, now_ns)
                if isinstance(state, _Ready):
                    return self._make(t0_ns, state)
                if isinstance(state, ObservationRefused):
                    refusal = state  # at the end, the oldest: refusals come in order
            if refusal is not None:
                self._closed.add(refusal.t0_ns)
                raise refusal
            return None

    def newest(self) -> Observation | None:
        """Return the observation taken last, None before the first and after a clear."""
        with self._lock:
            return self._newest_observation

    def _candidates(self) -> list[int]:
        stamps = self._frames[self.rig.reference_camera_id].stamps
        return [s for s in reversed(stamps) if s > self._taken_ns and s not in self._closed]

    def _forget_old_candidates(self) -> None:
        stamps = self._frames[self.rig.reference_camera_id].stamps
        oldest_ns = stamps[0] if stamps else 0
        self._closed = {t0 for t0 in self._closed if t0 >= oldest_ns}
        self._first_seen_ns = {t0: seen for t0, seen in self._first_seen_ns.items() if t0 >= oldest_ns}

    def _resolve(self, t0_ns: int, now_ns: int) -> _Ready | ObservationRefused | None:
        """Return what a t0 has become by now; None while it is waited for, or if it is no t0 (then it is closed)."""
        first_seen_ns = self._first_seen_ns.setdefault(t0_ns, now_ns)
        if now_ns < first_seen_ns:  # the clock was set back: wait anew
            self._first_seen_ns[t0_ns] = first_seen_ns = now_ns
        state = self._state(t0_ns)
        if isinstance(state, _Waiting):
            if now_ns - first_seen_ns < state.deadline_ms * NS_PER_MS:
                return None
            state = state.fallback or state.refusal
        if isinstance(state, _NoT0):
            self._closed.add(t0_ns)
            return None
        return state

    def _state(self, t0_ns: int) -> _Ready | _Waiting | _NoT0 | ObservationRefused:
        history = self._ego.at(t0_ns)
        matches = {camera_id: match_frames(self._frames[camera_id], t0_ns, self.timing) for camera_id in self._frames}
        if isinstance(history, NotStarted) or any(isinstance(m, Starting) for m in matches.values()):
            # An input that has not begun at all may still begin: only what lies before its begin is lost.
            never = self._ego.buffer.first_ns is None or any(b.first_ns is None for b in self._frames.values())
            return _Waiting(np.inf, self._refuse(t0_ns, "starting", "inputs are missing")) if never else _NoT0()
        if self._started_ns is None:
            self._started_ns = t0_ns
        waiting: _Waiting | None = None
        for camera_id, match in matches.items():
            if isinstance(match, Missing):
                state = self._missing(t0_ns, camera_id, match)
                if not isinstance(state, _Waiting):
                    return state
                waiting = state
        if waiting is not None:
            return waiting
        if isinstance(history, Unusable):
            return self._refuse(t0_ns, history.reason, history.problem)
        if isinstance(history, NotArrived):
            return _Waiting(
                self.timing.odometry_wait_ms,
                self._refuse(
                    t0_ns,
                    "odometry_late",
                    f"odometry: expected a pose at or after t0 within {self.timing.odometry_wait_ms:g} ms, got the "
                    f"newest {history.behind_ms:.0f} ms before t0",
                ),
            )
        return self._frames_ready(t0_ns, matches, history)

    def _missing(self, t0_ns: int, camera_id: int, match: Missing) -> _Waiting | _NoT0 | ObservationRefused:
        name = camera_name(camera_id)
        refusal = self._refuse(t0_ns, f"camera_{match.kind}/{name}", f"{name}: {match.problem}")
        if match.may_come:
            return _Waiting(self.timing.frame_wait_ms, refusal)
        since_ns = max(self._taken_ns, self._started_ns or 0)
        if match.kind == "out_of_step" and t0_ns - since_ns <= _OUT_OF_STEP_LIMIT_NS:
            return _NoT0()  # among reference frames at a higher rate or drifting phase, another will match
        return refusal

    def _frames_ready(self, t0_ns: int, matches: dict, history: History) -> _Ready | _Waiting | ObservationRefused:
        stamps: dict[int, tuple[int, ...]] = {}
        improving = False
        for camera_id, match in matches.items():
            assert isinstance(match, Matched)
            sizes = {self._frames[camera_id].at(stamp).shape[1:] for stamp in match.stamps_ns}
            if len(sizes) > 1:
                name, shown = camera_name(camera_id), " and ".join(f"{w}x{h}" for h, w in sorted(sizes))
                problem = f"{name}: expected four frames of one size, got {shown}"
                return self._refuse(t0_ns, f"camera_size/{name}", problem)
            stamps[camera_id] = match.stamps_ns
            improving |= match.may_improve
        ready = _Ready(stamps_ns=stamps, history=history)
        if improving:
            return _Waiting(self.timing.frame_wait_ms, self._refuse(t0_ns, "frames", "frames are late"), ready)
        return ready

    def _refuse(self, t0_ns: int, reason: str, problem: str) -> ObservationRefused:
        return ObservationRefused(reason, f"observation at t0 {seconds(t0_ns)}: {problem}", t0_ns=t0_ns)

    def _make(self, t0_ns: int, ready: _Ready) -> Observation:
        ids = self.rig.camera_ids
        frames = [[self._frames[i].at(stamp) for stamp in ready.stamps_ns[i]] for i in ids]
        observation = Observation(
            t0_ns=t0_ns,
            camera_ids=ids,
            frames=_stack(frames),
            frame_stamps_ns=np.array([ready.stamps_ns[i] for i in ids], dtype=np.int64),
            history_xyz_in_rig_t0=ready.history.xyz_in_rig_t0,
            history_rot_in_rig_t0=ready.history.rot_in_rig_t0,
            rig_pose_in_odom_at_t0=ready.history.rig_pose_in_odom_at_t0,
            instruction=self._instruction,
        )
        self._taken_ns = t0_ns
        self._closed.clear()
        self._newest_observation = observation
        return observation

    # --- how things stand ------------------------------------------------------------------------

    def waiting_for(self) -> list[str]:
        """Return which inputs are missing or behind, one line each; empty when all run."""
        with self._lock:
            newest = {camera_name(i): b.newest_ns for i, b in self._frames.items()}
            newest[ODOMETRY] = self._ego.buffer.newest_ns
            latest_ns = max((stamp for stamp in newest.values() if stamp is not None), default=0)
            lines = []
            for name, newest_ns in newest.items():
                buffer = self._ego.buffer if name == ODOMETRY else self._frames[_id_of(name)]
                offsets = HISTORY_OFFSETS_NS if name == ODOMETRY else FRAME_OFFSETS_NS
                need_s = -offsets[0] / NS_PER_S
                if newest_ns is None or buffer.first_ns is None:
                    lines.append(f"{name}: expected {need_s:g} s, got nothing yet on {self._topic(name)}")
                elif latest_ns - newest_ns > NS_PER_S:
                    behind_s = (latest_ns - newest_ns) / NS_PER_S
                    hint = "; do the clocks agree?" if behind_s > 3600 else ""
                    lines.append(f"{name}: its newest stamp is {behind_s:.1f} s behind the newest input{hint}")
                elif newest_ns - buffer.first_ns < -offsets[0] - self.timing.sync_tolerance_ns:
                    have_s = (newest_ns - buffer.first_ns) / NS_PER_S
                    lines.append(f"{name}: expected {need_s:g} s, got {have_s:.2f} s so far")
            return lines

    def _topic(self, name: str) -> str:
        return self.rig.odometry_topic if name == ODOMETRY else self.rig.camera(_id_of(name)).topic

    def camera_statistics(self, camera_id: int) -> InputStatistics:
        """Return the statistics of a camera; raises InvalidInput for one that the rig lacks."""
        return self._statistics_of(self.rig.camera(camera_id).name, self._frames[camera_id])

    def odometry_statistics(self) -> InputStatistics:
        """Return the statistics of odometry."""
        return self._statistics_of(ODOMETRY, self._ego.buffer)

    def _statistics_of(self, name: str, buffer: object) -> InputStatistics:
        from alpamayo_ros.sensing.stamped_buffer import StampedBuffer

        assert isinstance(buffer, StampedBuffer)
        with self._lock:
            return replace(self._statistics[name], newest_ns=buffer.newest_ns, rate_hz=buffer.rate_hz())


def _id_of(name: str) -> int:
    from alpamayo_ros.types import CAMERA_NAMES

    return CAMERA_NAMES.index(name)


def _stack(frames: list[list[UInt8Array]]) -> UInt8Array | tuple[UInt8Array, ...]:
    """Return frames [C][T] of [3, H, W] as one array [C, T, 3, H, W], or a tuple where cameras differ in size.

    Pixels stay interleaved in memory ([.., H, W, 3], as decoders give them): resizing is faster so.
    """
    if len({camera[0].shape for camera in frames}) > 1:
        return tuple(_interleaved([camera])[0] for camera in frames)
    return _interleaved(frames)


def _interleaved(frames: list[list[UInt8Array]]) -> UInt8Array:
    _, height, width = frames[0][0].shape
    pixels = np.empty((len(frames), len(frames[0]), height, width, 3), np.uint8)
    for c, camera in enumerate(frames):
        for t, frame in enumerate(camera):
            pixels[c, t] = frame.transpose(1, 2, 0)
    return pixels.transpose(0, 1, 4, 2, 3)
