"""Observation assembly: frames, odometry and an instruction in, observations by the timing contract out.

The contract: t0 is the stamp of the newest frame of the rig's reference camera for which every camera
has a frame within the tolerance; frames are those nearest to t0 - 0.3, 0.2, 0.1, 0 s; odometry is
interpolated at t0 - 1.5 ... 0 s. What has not arrived yet is waited for, what cannot come any more is
refused, once for each t0, with a reason.

Frames may be added decoded, or announced as they arrive: then `demands` says which of them to decode. What
is chosen is the same either way.

No ROS and no clock of its own: stamps come with the inputs, and `now_ns` (of any clock, used for
differences only) with each call of take. Any thread may call anything.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.sensing.ego_history import EgoHistory
from alpamayo_ros.sensing.frame_demand import Announced, Demand, FrameDemands
from alpamayo_ros.sensing.frame_matching import FrameBuffer, decoded_frame
from alpamayo_ros.sensing.frame_stack import stack_frames
from alpamayo_ros.sensing.input_statistics import (
    ODOMETRY,
    InputCounters,
    InputStatistics,
    missing_inputs,
)
from alpamayo_ros.sensing.odometry_frames import OdometryFrames
from alpamayo_ros.sensing.rig import Rig
from alpamayo_ros.sensing.rigid import Matrix4, require_rigid
from alpamayo_ros.sensing.stamped_buffer import Added, StampedBuffer
from alpamayo_ros.sensing.t0_state import NoT0, Pending, Ready, T0State, Waiting, judge_t0
from alpamayo_ros.sensing.timing import (
    NS_PER_MS,
    BackwardJump,
    ObservationRefused,
    TimingConfig,
    require_stamp,
)
from alpamayo_ros.types import InvalidInput, Observation, UInt8Array, require_array


class ObservationAssembler:
    """Assembles observations. Thread-safe; frames and poses must not be written to once they were added.

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
        self._frames = {camera_id: FrameBuffer(span_ns) for camera_id in rig.camera_ids}
        self._demands = FrameDemands(self._frames, reference_id=rig.reference_camera_id, timing=self.timing)
        self._ego = EgoHistory(self.timing)
        self._odometry_frames = OdometryFrames(rig)
        self._counters = InputCounters([camera.name for camera in rig.cameras] + [ODOMETRY])
        self._instruction: str | None = None
        self._epoch = 0
        self._backward_jumps = 0
        self._reset()

    def _reset(self) -> None:
        self._newest_observation: Observation | None = None
        self._taken_ns = 0  # t0 of the newest observation taken
        self._started_ns: int | None = None  # the first t0 that had enough of everything
        self._closed: set[int] = set()  # t0s after it that were refused or passed over
        self._pending: dict[int, Pending] = {}
        self._demands.clear(self._epoch)

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

    def add_frame(
        self, camera_id: int, stamp_ns: int, frame: UInt8Array, *, epoch: int | None = None
    ) -> Added | None:
        """Add a frame, uint8 RGB [3, H, W], or put it in the place of the one that was announced.

        Args:
            camera_id: a camera of the rig.
            stamp_ns: when it was taken.
            frame: the image, which is kept and must not change.
            epoch: the assembler's epoch when the message arrived; if that has passed, the frame belongs to
                the time before a clear and is dropped (returns None).

        Raises:
            InvalidInput: for a camera that the rig lacks, a stamp that is not positive, or another shape
                or dtype.
        """
        name = self.rig.camera(camera_id).name
        try:
            stamp_ns = require_stamp(f"stamp of {name}", stamp_ns)
            require_array(f"frame of {name}", frame, (3, None, None), np.uint8)
        except InvalidInput:
            with self._lock:
                self._counters.rejected(name)
            raise
        with self._lock:
            if epoch is not None and epoch != self._epoch:
                self._counters.stale(name)
                return None
            buffer = self._frames[camera_id]
            if stamp_ns in buffer and isinstance(buffer.at(stamp_ns), Announced):
                buffer.replace(stamp_ns, frame)
                return Added.KEPT
            added, jump = self._add(name, buffer, stamp_ns, frame)
        self._report(jump)
        return added

    def announce(
        self, camera_id: int, stamp_ns: int, payload: object, *, epoch: int | None = None
    ) -> Added | None:
        """Add a frame that is not decoded yet; `demands` gives `payload` back when it is to be.

        `add_frame` with its stamp then puts the frame in its place, `withdraw` takes it away.

        Arguments and errors are those of add_frame.
        """
        name = self.rig.camera(camera_id).name
        with self._lock:
            try:
                stamp_ns = require_stamp(f"stamp of {name}", stamp_ns)
            except InvalidInput:
                self._counters.rejected(name)
                raise
            if epoch is not None and epoch != self._epoch:
                self._counters.stale(name)
                return None
            buffer = self._frames[camera_id]
            added, jump = self._add(name, buffer, stamp_ns, Announced(payload))
            if added is Added.KEPT and stamp_ns in buffer:
                self._demands.announced(camera_id, stamp_ns)
        self._report(jump)
        return added

    def withdraw(self, camera_id: int, stamp_ns: int, *, epoch: int | None = None) -> None:
        """Take away an announced frame that cannot be decoded, as if it had never come."""
        buffer = self._frames[self.rig.camera(camera_id).camera_id]
        with self._lock:
            if epoch is not None and epoch != self._epoch:
                return
            if stamp_ns in buffer and isinstance(buffer.at(stamp_ns), Announced):
                buffer.remove(stamp_ns)

    def demands(self) -> list[Demand]:
        """Return the announced frames that are to be decoded now, each once, in the order of their asking.

        They come about with `announce` (what a plan is going to use, as far as is known) and with `take`
        (what one needs after all), and are to be fetched after both.
        """
        with self._lock:
            return self._demands.pop()

    def add_odometry(self, stamp_ns: int, pose_of_child_in_odom: Matrix4, *, child_frame: str) -> Added:
        """Add a pose [4, 4] of a body frame in the odometry frame; it is brought to the rig frame.

        Raises:
            ObservationRefused: if nobody said where `child_frame` sits on the rig (reason
                odometry_frame/NAME).
            InvalidInput: for a stamp that is not positive or a matrix that is not a rigid transform.
        """
        with self._lock:
            try:
                stamp_ns = require_stamp("odometry stamp", stamp_ns)
                pose = require_rigid("odometry pose", pose_of_child_in_odom)
                rig_pose = self._odometry_frames.rig_pose(stamp_ns, pose, child_frame)
            except InvalidInput:
                self._counters.rejected(ODOMETRY)
                raise
            added, jump = self._add(ODOMETRY, self._ego.buffer, stamp_ns, rig_pose)
        self._report(jump)
        return added

    def child_from_rig(self, stamp_ns: int, child_frame: str) -> Matrix4 | None:
        """Return the rig's pose in a body frame of odometry, None where that is the rig frame itself.

        Raises:
            ObservationRefused: if nobody said where `child_frame` sits on the rig.
        """
        with self._lock:
            return self._odometry_frames.child_from_rig(stamp_ns, child_frame)

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

    def _add(
        self, name: str, buffer: StampedBuffer[Any], stamp_ns: int, item: object
    ) -> tuple[Added, BackwardJump | None]:
        newest_ns = buffer.newest_ns
        jump = None
        if newest_ns is not None and stamp_ns < newest_ns - self.timing.max_out_of_order_ms * NS_PER_MS:
            jump = BackwardJump(source=name, from_ns=newest_ns, to_ns=stamp_ns)
            self.clear()
            self._backward_jumps += 1
        behind = jump is None and newest_ns is not None and stamp_ns < newest_ns
        added = buffer.add(stamp_ns, item)
        self._counters.added(name, added, behind=behind)
        return added, jump

    def _report(self, jump: BackwardJump | None) -> None:
        if jump is not None and self._on_backward_jump is not None:
            self._on_backward_jump(jump)  # outside the lock: it may call anything

    # --- observations ----------------------------------------------------------------------------

    def take(self, now_ns: int) -> Observation | None:
        """Return the newest observation not yet taken, or None if there is none or it is waited for.

        Taking one drops all older t0s. Call it whenever an input has arrived, and now and then without.

        Args:
            now_ns: the time, of any clock that runs with the inputs (ROS time, or a session's own); waits
                are measured by it.

        Raises:
            ObservationRefused: once for each t0 that cannot be had, oldest first, one a call; a t0 older
                than an observation that was taken is not reported any more.
        """
        with self._lock:
            if any(buffer.first_ns is None for _, buffer, _ in self._inputs()):
                return None  # an input has not begun at all; waiting_for() names it
            refusal: ObservationRefused | None = None
            for t0_ns in self._candidates():  # newest first
                state = self._resolve(t0_ns, now_ns)
                if isinstance(state, Ready):
                    return self._make(t0_ns, state)
                if self._demands.waiting:
                    return None  # all of it is there: it goes first, once decoded
                refusal = state or refusal
            if refusal is not None:
                self._closed.add(refusal.t0_ns)
                raise refusal
            return None

    def waits_on(self, camera_id: int | None) -> bool:
        """Return whether what a camera (None: odometry) has just brought may be what a t0 has waited for.

        If not, there is no need to take before a frame is decoded or a wait is over.
        """
        with self._lock:
            buffer: object = self._ego.buffer if camera_id is None else self._frames[camera_id]
            open_ = [p for t0, p in self._pending.items() if t0 > self._taken_ns and t0 not in self._closed]
            unknown = not self._pending  # nothing has been looked at yet
            return unknown or any(p.waiting is None or p.waiting.on is buffer for p in open_)

    def newest(self) -> Observation | None:
        """Return the observation taken last, None before the first and after a clear."""
        with self._lock:
            return self._newest_observation

    def odometry_sources(self, t0_ns: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return stamps int64 [N] and poses [N, 4, 4] of the rig that the history up to t0 is made from."""
        with self._lock:
            return self._ego.sources(t0_ns)

    def _candidates(self) -> list[int]:
        """Return the reference camera's stamps that may become a t0, newest first."""
        stamps = self._frames[self.rig.reference_camera_id].stamps
        self._closed.intersection_update(stamps)
        self._pending = {t0: pending for t0, pending in self._pending.items() if t0 >= stamps[0]}
        open_ns = [s for s in reversed(stamps) if s > self._taken_ns and s not in self._closed]
        return [s for s in open_ns if self._demands.may_be_t0(s)]

    def _resolve(self, t0_ns: int, now_ns: int) -> Ready | ObservationRefused | None:
        """Return what a t0 has become by now; None while it is waited for, or if it was passed over."""
        pending = self._pending.get(t0_ns)
        if pending is None:
            pending = self._pending[t0_ns] = Pending(first_seen_ns=now_ns)
        pending.first_seen_ns = min(pending.first_seen_ns, now_ns)  # a clock that was set back waits anew
        state: T0State | None = pending.waiting
        if pending.waiting is None or pending.waiting.on.version != pending.version:
            state = self._judge(t0_ns)
        if isinstance(state, Waiting):
            pending.waiting, pending.version = state, state.on.version
            waited_ns = now_ns - pending.first_seen_ns
            if waited_ns < state.wait_ms * NS_PER_MS:
                return None
            state = state.otherwise or self._judge(t0_ns, good_enough=True)
            if isinstance(state, Waiting):  # frames that are good enough, but only now needed
                if waited_ns < 2 * state.wait_ms * NS_PER_MS:
                    return None
                state = state.otherwise
        if isinstance(state, NoT0):
            self._closed.add(t0_ns)
            return None
        assert isinstance(state, (Ready, ObservationRefused))
        return state

    def _judge(self, t0_ns: int, *, good_enough: bool = False) -> T0State:
        state = judge_t0(
            t0_ns,
            frames=self._frames,
            ego=self._ego,
            timing=self.timing,
            last_good_ns=self._taken_ns or self._started_ns,
            good_enough=good_enough,
        )
        if self._started_ns is None and not (isinstance(state, NoT0) and state.starting):
            self._started_ns = t0_ns
        for camera_id, stamp_ns in state.undecoded if isinstance(state, Waiting) else ():
            self._demands.ask(camera_id, stamp_ns)
        fate = state.otherwise if isinstance(state, Waiting) else state
        if isinstance(fate, NoT0) and not fate.starting:
            self._demands.passed_over()
        return state

    def _make(self, t0_ns: int, ready: Ready) -> Observation:
        ids = self.rig.camera_ids
        frames = [[decoded_frame(self._frames[i], stamp) for stamp in ready.stamps_ns[i]] for i in ids]
        observation = Observation(
            t0_ns=t0_ns,
            camera_ids=ids,
            frames=stack_frames(frames),
            frame_stamps_ns=np.array([ready.stamps_ns[i] for i in ids], dtype=np.int64),
            history_xyz_in_rig_t0=ready.history.xyz_in_rig_t0,
            history_rot_in_rig_t0=ready.history.rot_in_rig_t0,
            rig_pose_in_odom_at_t0=ready.history.rig_pose_in_odom_at_t0,
            instruction=self._instruction,
        )
        self._taken_ns = t0_ns
        self._demands.taken(t0_ns)
        self._newest_observation = observation
        return observation

    # --- how things stand ------------------------------------------------------------------------

    def waiting_for(self) -> list[str]:
        """Return which inputs are missing or behind, one line each; empty when all run."""
        with self._lock:
            return missing_inputs(list(self._inputs()), timing=self.timing)

    def _inputs(self) -> list[tuple[str, StampedBuffer[Any], str]]:
        """Return name, buffer and topic of every input."""
        cameras: list[tuple[str, StampedBuffer[Any], str]] = [
            (camera.name, self._frames[camera.camera_id], camera.topic) for camera in self.rig.cameras
        ]
        return [*cameras, (ODOMETRY, self._ego.buffer, self.rig.odometry_topic)]

    def camera_statistics(self, camera_id: int) -> InputStatistics:
        """Return the statistics of a camera; raises InvalidInput for one that the rig lacks."""
        name = self.rig.camera(camera_id).name
        with self._lock:
            return self._counters.of(name, self._frames[camera_id])

    def odometry_statistics(self) -> InputStatistics:
        """Return the statistics of odometry."""
        with self._lock:
            return self._counters.of(ODOMETRY, self._ego.buffer)
