"""A driver of constant velocity behind EgodriverService."""

from __future__ import annotations

import threading

import numpy as np

from alpamayo_ros.sensing.rigid import invert
from alpamayo_ros.sim.observations import FrameHistory, observe
from alpamayo_ros.sim.planners import ConstantVelocityPlanner
from alpamayo_ros.sim.protocol.egodriver import StillWanted
from alpamayo_ros.sim.protocol.egodriver_messages import (
    CameraFrame,
    DriveAnswer,
    DriveSession,
    Egomotion,
    Route,
)
from alpamayo_ros.sim.state import EgoState
from alpamayo_ros.sim.trajectories import Trajectory, candidates_in_local, plan_in_local
from alpamayo_ros.types import NUM_HISTORY_POSES, InvalidInput, Planner

STEP_US = 100_000


class ConstantDriver:
    """Makes a session around the constant-velocity planner; remembers what it was told."""

    def __init__(self) -> None:
        self.sessions: dict[str, ConstantSession] = {}

    def start(self, session: DriveSession) -> ConstantSession:
        made = self.sessions[session.session_uuid] = ConstantSession(session, ConstantVelocityPlanner())
        return made


class ConstantSession:
    """Plans from egomotion alone."""

    def __init__(self, session: DriveSession, planner: Planner) -> None:
        self.session, self.frames = session, list[CameraFrame]()
        self.routes, self.closed = list[Route](), False
        self._planner = planner
        self._stamps_us, self._poses = np.zeros(0, np.int64), np.zeros((0, 4, 4))
        self._decoded: FrameHistory | None = None
        self._lock = threading.Lock()

    def add_frame(self, frame: CameraFrame) -> None:
        if frame.logical_id not in self.session.cameras:
            known = ", ".join(self.session.cameras)
            raise InvalidInput(f"camera_image.logical_id: expected one of {known}, got {frame.logical_id!r}")
        with self._lock:
            self.frames.append(frame)

    def add_egomotion(self, egomotion: Egomotion) -> None:
        if len(self._stamps_us) and egomotion.stamps_us[0] <= self._stamps_us[-1]:
            raise InvalidInput(
                f"trajectory: expected stamps after {self._stamps_us[-1]} us, got earlier ones"
            )
        self._stamps_us = np.concatenate([self._stamps_us, egomotion.stamps_us])
        self._poses = np.concatenate([self._poses, egomotion.local_from_rig])

    def set_route(self, route: Route) -> None:
        self.routes.append(route)

    def drive(self, now_us: int, query_us: int, *, still_wanted: StillWanted) -> DriveAnswer:
        if not len(self._stamps_us) or self._stamps_us[-1] != now_us:
            raise InvalidInput(f"time_now_us: expected the newest egomotion's stamp, got {now_us} us")
        wanted = now_us - STEP_US * np.arange(NUM_HISTORY_POSES - 1, -1, -1)
        rows = np.searchsorted(self._stamps_us, wanted)
        here = self._poses[-1]
        if not np.array_equal(self._stamps_us[np.minimum(rows, len(self._stamps_us) - 1)], wanted):
            return DriveAnswer(self._straight(now_us))
        states = [EgoState(int(t), self._poses[row]) for t, row in zip(wanted, rows, strict=True)]
        plan = self._planner.plan(observe(states, None))
        stamps_us = now_us + STEP_US * np.arange(1, 65, dtype=np.int64)
        samples = np.tile(np.eye(4), (1, 64, 1, 1))
        samples[:, :, :3, 3] = candidates_in_local(plan, here)
        return DriveAnswer(
            plan_in_local(plan, here, local_from_rig_now=here),
            samples=((stamps_us, samples[0]),),
            debug_info=b'{"reasoning_text": "Keep going straight at the current speed."}',
        )

    def close(self) -> None:
        self.closed = True

    def _straight(self, now_us: int) -> Trajectory:
        """Return constant speed along the heading, while the history is too short to plan from."""
        speed = 0.0
        if len(self._stamps_us) > 1:
            step = (invert(self._poses[-2]) @ self._poses[-1])[0, 3]
            speed = float(step) / ((self._stamps_us[-1] - self._stamps_us[-2]) / 1e6)
        times_s = np.arange(65) * 0.1
        poses = np.tile(np.eye(4), (65, 1, 1))
        poses[:, 0, 3] = times_s * speed
        return now_us + (times_s * 1e6).round().astype(np.int64), self._poses[-1] @ poses
