"""One session's pictures, poses and route: taken in any order, at hand when `drive` comes.

Pictures are decoded and prepared when they arrive, by whichever thread brings them, and only what the planner
sees is kept; whatever comes last of a step has the observation assembled, too. When `drive` comes all of a
step is there: nothing is waited for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from alpamayo_ros.safety.fallback import VehicleState
from alpamayo_ros.sensing.ego_history import EgoHistory
from alpamayo_ros.sensing.ego_motion import EgoMotion, Motion, Twist
from alpamayo_ros.sensing.frame_matching import FrameBuffer, decoded_frame
from alpamayo_ros.sensing.frame_pipeline import FramePipeline
from alpamayo_ros.sensing.frame_stack import stack_frames
from alpamayo_ros.sensing.rig import Rig
from alpamayo_ros.sensing.rigid import Matrix4, invert
from alpamayo_ros.sensing.stamped_buffer import Added, StampedBuffer
from alpamayo_ros.sensing.t0_state import NoT0, Ready, Waiting, judge_t0
from alpamayo_ros.sensing.timing import NS_PER_MS, ObservationRefused, TimingConfig
from alpamayo_ros.sim.driver.navigation import ROUTE_AGE_US, Guidance, guide
from alpamayo_ros.sim.driver.settings import DriverSettings
from alpamayo_ros.sim.images import image_size
from alpamayo_ros.sim.protocol.convert import RigMotion, camera_model
from alpamayo_ros.sim.protocol.egodriver_messages import CameraFrame, DriveSession, Egomotion, Route
from alpamayo_ros.sim.state import EgoState
from alpamayo_ros.sim.trajectories import interpolate_poses
from alpamayo_ros.types import InvalidInput, Observation, PrepareFrame, UInt8Array, camera_name

_NS_PER_US = 1000
_LAST_US = 2**63 // _NS_PER_US - 10_000_000
"""Of stamps: in ns, and with a plan behind them, they are int64."""
_FRAMES_KEPT_MS = 600.0
"""Four frames 0.1 s apart, and as much again for cameras that are out of step."""
_SPEED_OVER_US = 200_000


@dataclass(frozen=True)
class Lacking:
    """Why there is no observation; `starting` where the inputs do not reach back far enough yet."""

    reason: str
    starting: bool


@dataclass(frozen=True, eq=False)
class _Assembled:
    t0_ns: int
    ready: Ready
    frames: UInt8Array | tuple[UInt8Array, ...]


class SessionInputs:
    """What one session has been told. Any thread may call anything.

    Args:
        session: with the cameras that the vehicle has; none where the client does not say.
        rig: the cameras to use. A camera's lens is the session's, where it says one.
        settings: limits, and what cameras are called.
        prepare_frame: the planner's.
        ignored: called for each picture that is not used with its logical id, and with ", again",
            ", too old" or ", at 0 us" behind it where that is why; for a pose with "egomotion, at 0 us".

    Raises:
        InvalidInput: for a vehicle that lacks a camera of the rig, or a lens that cannot be warped from.
    """

    def __init__(
        self,
        session: DriveSession,
        *,
        rig: Rig,
        settings: DriverSettings,
        prepare_frame: PrepareFrame | None,
        ignored: Callable[[str], None] = lambda logical_id: None,
    ) -> None:
        self._rig, self._settings, self._ignored = rig, settings, ignored
        used = {name: i for name, i in settings.camera_ids().items() if i in rig.camera_ids}
        if session.cameras:
            missing = sorted(set(used) - set(session.cameras))
            if missing:
                raise InvalidInput(
                    f"available_cameras: expected the rig's {', '.join(used)}, got none called "
                    f"{', '.join(missing)}, but {', '.join(session.cameras)}"
                )
        self.camera_ids = used
        self._pipelines = {
            camera_id: _pipeline(rig, session, name, camera_id, prepare_frame)
            for name, camera_id in used.items()
        }
        self._timing = TimingConfig(frame_buffer_ms=1000.0)
        self._lock = threading.Lock()
        self._frames = {
            camera_id: FrameBuffer(round(_FRAMES_KEPT_MS * NS_PER_MS)) for camera_id in rig.camera_ids
        }
        self._ego = EgoHistory(self._timing)
        self._motion = EgoMotion()
        self._routes: list[tuple[int, Guidance]] = []
        self._last_t0_ns: int | None = None
        self._assembled: _Assembled | None = None

    def add_frame(self, frame: CameraFrame) -> int | None:
        """Take a picture; returns its camera id, or None if it is of no use.

        That is one of a camera that the rig does not use, one that came before, one of long ago, or one at
        0 us, where a recording may begin.

        Raises:
            InvalidInput: for a picture that is too large or cannot be decoded.
        """
        camera_id = self.camera_ids.get(frame.logical_id)
        if camera_id is None:
            self._ignored(frame.logical_id)
            return None
        if not frame.end_us:
            self._ignored(f"{frame.logical_id}, at 0 us")
            return None
        stamp_ns = _stamp_ns(f"camera_image of {frame.logical_id!r}: frame_end_us", frame.end_us)
        self._check_size(frame)
        try:
            pixels = self._pipelines[camera_id].process_compressed(frame.image_bytes).frame
        except InvalidInput as error:
            raise InvalidInput(f"camera_image of {frame.logical_id!r}: {error}") from error
        with self._lock:
            added = self._frames[camera_id].add(stamp_ns, pixels)
            self._assemble()
        if added is Added.KEPT:
            return camera_id
        self._ignored(f"{frame.logical_id}, {'again' if added is Added.DUPLICATE else 'too old'}")
        return None

    def _check_size(self, frame: CameraFrame) -> None:
        name, limits = f"camera_image of {frame.logical_id!r}", self._settings
        if len(frame.image_bytes) > limits.max_image_bytes:
            raise InvalidInput(
                f"{name}: expected at most {limits.max_image_bytes} bytes, got {len(frame.image_bytes)}"
            )
        try:
            width, height = image_size(frame.image_bytes)
        except InvalidInput as error:
            raise InvalidInput(f"{name}: {error}") from error
        if width * height > limits.max_image_pixels:
            raise InvalidInput(
                f"{name}: expected at most {limits.max_image_pixels} pixels, got {width}x{height}"
            )

    def add_egomotion(self, egomotion: Egomotion) -> None:
        """Take poses; of two with one stamp the first stays. Raises InvalidInput for an impossible stamp.

        One at 0 us, where a recording may begin, is left out: elsewhere 0 is a stamp that was not filled in.
        """
        if not egomotion.stamps_us[0]:
            self._ignored("egomotion, at 0 us")
            if len(egomotion.stamps_us) == 1:
                return
            egomotion = Egomotion(
                egomotion.stamps_us[1:], egomotion.local_from_rig[1:], egomotion.motions[1:]
            )
        for stamp_us in egomotion.stamps_us[[0, -1]].tolist():
            _stamp_ns("trajectory: timestamp_us", stamp_us)
        span_us = round(self._timing.odometry_buffer_ms * 1000)
        first = int(np.searchsorted(egomotion.stamps_us, egomotion.stamps_us[-1] - span_us))
        motions = egomotion.motions or (None,) * len(egomotion.stamps_us)
        with self._lock:
            for stamp_us, pose, motion in zip(
                egomotion.stamps_us[first:].tolist(),
                egomotion.local_from_rig[first:],
                motions[first:],
                strict=True,
            ):
                self._ego.add(stamp_us * _NS_PER_US, pose)
                self._motion.add(stamp_us * _NS_PER_US, pose, _twist(motion))
            self._assemble()

    def add_route(self, route: Route) -> Guidance:
        """Take a route; returns what it says."""
        guidance = guide(route)
        with self._lock:
            routes = {**dict(self._routes), route.time_us: guidance}
            self._routes = sorted(routes.items(), key=lambda item: item[0])[-16:]
        return guidance

    def guidance_at(self, now_us: int) -> Guidance | None:
        """Return what the newest route by then says, None where there is none of the last second."""
        with self._lock:
            for time_us, guidance in reversed(self._routes):
                if time_us <= now_us:
                    return guidance if now_us - time_us <= ROUTE_AGE_US else None
        return None

    def ego_at(self, now_us: int) -> EgoState:
        """Return where the rig is and how it moves, from its poses alone.

        Between two poses it is interpolated; after the newest, that is held.

        Raises:
            InvalidInput: if there is no pose at or before that time, or no such time.
        """
        _stamp_ns("time_now_us", now_us)
        with self._lock:
            pose = self._pose_at(now_us)
            oldest_us = self._ego.buffer.stamps[0] // _NS_PER_US
            before_us = max(now_us - _SPEED_OVER_US, oldest_us)
            if now_us <= before_us:
                return EgoState(now_us, pose)
            step = invert(self._pose_at(before_us)) @ pose
        over_s = (now_us - before_us) / 1e6
        velocity = (float(step[0, 3]) / over_s, float(step[1, 3]) / over_s)
        yaw_rate = float(np.arctan2(step[1, 0], step[0, 0])) / over_s
        return EgoState(now_us, pose, velocity_in_rig_mps=velocity, yaw_rate_radps=yaw_rate)

    def motion_at(self, now_us: int) -> Motion | None:
        """Return how the rig moves as it was measured; None where no poses are told closely around then."""
        with self._lock:
            return self._motion.at(now_us * _NS_PER_US)

    def state_at(self, ego: EgoState) -> VehicleState:
        """Return what a stop begins from: the rig's pose, and the newest motion that is known by then."""
        with self._lock:
            motion = self._motion.at(ego.time_us * _NS_PER_US) or self._motion.newest()
        if motion is None or motion.stamp_ns > ego.time_us * _NS_PER_US:
            speed_mps, accel_mps2, yaw_rate_radps = ego.speed_mps, 0.0, ego.yaw_rate_radps
        else:
            speed_mps, accel_mps2, yaw_rate_radps = (
                motion.speed_mps,
                motion.accel_mps2,
                motion.yaw_rate_radps,
            )
        return VehicleState(
            ego.time_us * _NS_PER_US,
            ego.local_from_rig,
            speed_mps,
            accel_mps2=accel_mps2,
            yaw_rate_radps=yaw_rate_radps,
        )

    def _pose_at(self, now_us: int) -> Matrix4:
        now_ns = now_us * _NS_PER_US
        before_ns, after_ns = self._ego.buffer.around(now_ns)
        if before_ns is None:
            told = "none" if after_ns is None else f"the first at {after_ns // _NS_PER_US} us"
            raise InvalidInput(f"egomotion: expected a pose at or before {now_us} us, got {told}")
        if after_ns is None or after_ns == before_ns:
            return self._ego.buffer.at(before_ns)
        stamps = np.array([before_ns, after_ns], np.int64)
        poses = np.stack([self._ego.buffer.at(before_ns), self._ego.buffer.at(after_ns)])
        return np.asarray(interpolate_poses(stamps, poses, np.array([now_ns]))[0])

    def observe(self, now_us: int, *, instruction: str) -> Observation | Lacking:
        """Return the newest observation by then, at the stamp of a frame of the rig's reference camera."""
        with self._lock:
            return self._observe(now_us * _NS_PER_US, instruction)

    def _assemble(self) -> None:
        """Assemble what an observation at the newest frame is made of, if all is there: `drive` is next."""
        self._assembled = None
        t0_ns = self._frames[self._rig.reference_camera_id].newest_ns
        buffers: list[StampedBuffer[Any]] = [*self._frames.values(), self._ego.buffer]
        if t0_ns is None or any(buffer.newest_ns is None or buffer.newest_ns < t0_ns for buffer in buffers):
            return
        state = self._judge(t0_ns)
        if isinstance(state, Ready):
            self._assembled = _Assembled(t0_ns, state, self._stack(state))

    def _judge(self, t0_ns: int) -> Ready | NoT0 | ObservationRefused:
        state = judge_t0(
            t0_ns,
            frames=self._frames,
            ego=self._ego,
            timing=self._timing,
            last_good_ns=self._last_t0_ns,
            good_enough=True,
        )
        if isinstance(state, Waiting):  # what has not come by now does not come
            return state.otherwise or NoT0(starting=False)
        return state

    def _observe(self, now_ns: int, instruction: str) -> Observation | Lacking:
        assembled, self._assembled = self._assembled, None
        if assembled is not None and assembled.t0_ns <= now_ns:
            return self._make(assembled, instruction)
        problem: Lacking | None = None
        for t0_ns in reversed(self._frames[self._rig.reference_camera_id].stamps):
            if t0_ns > now_ns:
                continue
            state = self._judge(t0_ns)
            if isinstance(state, Ready):
                return self._make(_Assembled(t0_ns, state, self._stack(state)), instruction)
            if problem is None:
                problem = self._explain(state, now_ns)
        return problem or Lacking(self._missing(), starting=True)

    def _explain(self, state: ObservationRefused | NoT0, now_ns: int) -> Lacking:
        if isinstance(state, ObservationRefused):
            return Lacking(str(state), starting=False)
        if state.starting:
            return Lacking(self._missing(), starting=True)
        ages_ms = {
            camera_name(camera_id): (now_ns - buffer.newest_ns) / NS_PER_MS
            for camera_id, buffer in self._frames.items()
            if buffer.newest_ns is not None
        }
        ages = ", ".join(f"{name} {age_ms:.0f}" for name, age_ms in ages_ms.items())
        return Lacking(
            f"expected frames of all cameras in step, got the newest of {ages} ms ago", starting=False
        )

    def _missing(self) -> str:
        """Return what does not reach back far enough."""
        silent = [camera_name(i) for i, buffer in self._frames.items() if buffer.first_ns is None]
        if silent:
            return f"expected frames of every camera, got none of {', '.join(silent)}"
        return "expected 0.3 s of frames and 1.5 s of poses, got less so far"

    def _stack(self, ready: Ready) -> UInt8Array | tuple[UInt8Array, ...]:
        return stack_frames(
            [[decoded_frame(self._frames[i], s) for s in ready.stamps_ns[i]] for i in self._rig.camera_ids]
        )

    def _make(self, assembled: _Assembled, instruction: str) -> Observation:
        self._last_t0_ns = assembled.t0_ns
        ids, ready = self._rig.camera_ids, assembled.ready
        return Observation(
            t0_ns=assembled.t0_ns,
            camera_ids=ids,
            frames=assembled.frames,
            frame_stamps_ns=np.array([ready.stamps_ns[i] for i in ids], np.int64),
            history_xyz_in_rig_t0=ready.history.xyz_in_rig_t0,
            history_rot_in_rig_t0=ready.history.rot_in_rig_t0,
            rig_pose_in_odom_at_t0=ready.history.rig_pose_in_odom_at_t0,
            instruction=instruction or None,
        )


def _stamp_ns(name: str, stamp_us: int) -> int:
    """Return a stamp in ns; raises InvalidInput for one that int64 cannot go on from."""
    if not 0 < stamp_us <= _LAST_US:
        raise InvalidInput(f"{name}: expected a stamp in us from 1 to {_LAST_US}, got {stamp_us}")
    return stamp_us * _NS_PER_US


def _twist(motion: RigMotion | None) -> Twist | None:
    """Return a motion as a twist of the rig; None for one that may not have been filled in.

    AlpaSim's are zero while the ego follows the recording. Of somebody who stands the poses say the same.
    """
    if motion is None:
        return None
    twist = Twist(np.array(motion.velocity_mps), np.array(motion.turn_radps))
    return None if twist.is_zero else twist


def _pipeline(
    rig: Rig, session: DriveSession, logical_id: str, camera_id: int, prepare_frame: PrepareFrame | None
) -> FramePipeline:
    camera = rig.camera(camera_id)
    if camera.model_camera is not None and logical_id in session.cameras:
        try:
            lens = camera_model(session.cameras[logical_id].intrinsics)
        except InvalidInput as error:
            raise InvalidInput(f"available_cameras: {logical_id}: {error}") from error
        camera = replace(camera, intrinsics=lens)
    return FramePipeline(camera, prepare_frame)
