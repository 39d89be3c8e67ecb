"""What a driver tells whoever watches its sessions: a mirror into ROS, a node graph that plans, a test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from alpamayo_ros.safety.supervisor import Judgement, Stop
from alpamayo_ros.sensing.rigid import Matrix4
from alpamayo_ros.sim.driver.navigation import Guidance
from alpamayo_ros.sim.protocol.egodriver_messages import DriveSession, Egomotion
from alpamayo_ros.sim.trajectories import Trajectory
from alpamayo_ros.types import Plan

Source = Literal["plan", "held_plan", "warm_up", "stop"]
"""What an answer is: a plan made for it, an earlier one's rest, constant speed while history or pictures are
still too few, or a stop where there is no plan that may be driven."""

Status = Literal["valid", "unchecked", "fallback"]
"""Plan's statuses: passed the gate, was not judged as the gate is off, or is driven for want of a plan."""


@dataclass(frozen=True, eq=False)
class DriveOutcome:
    """One answer to `drive`.

    Attributes:
        now_us: time_now of the request; the trajectory begins there.
        source: what the trajectory is.
        reason: why it is no plan made for this request; "" for one.
        trajectory: as answered: stamps int64 [P] in us, poses float64 [P, 4, 4] of the rig in local.
        local_from_rig_now: where the rig is at now_us.
        plan: the plan behind the trajectory, its `chosen` the one that is driven; None in a warm-up or stop.
        local_from_rig_t0: where the rig was at the plan's t0; None without a plan.
        stop: the stop behind the trajectory; None in all other answers.
        judgement: of the plan that was made for this request, driven or not; None where none was made, and
            where the gate is off.
        judged_at: where the rig was at the t0 of the plan that was made for this request; None without one.
        plan_judgement: of the plan behind the trajectory; None where the gate is off, and without a plan.
        instruction: the navigation text that the plan was made with, "" for none.
        inference_ms: how long the planner took, its queue included; 0 where it was not asked.
        total_ms: how long the whole answer took.
    """

    now_us: int
    source: Source
    reason: str
    trajectory: Trajectory
    local_from_rig_now: Matrix4
    plan: Plan | None = None
    local_from_rig_t0: Matrix4 | None = None
    stop: Stop | None = None
    judgement: Judgement | None = None
    judged_at: Matrix4 | None = None
    plan_judgement: Judgement | None = None
    instruction: str = ""
    inference_ms: float = 0.0
    total_ms: float = 0.0

    @property
    def status(self) -> Status:
        """What the answer is to whoever drives by it."""
        if self.plan is None:
            return "fallback"
        return "unchecked" if self.plan_judgement is None else "valid"


class SessionWatcher(Protocol):
    """Watches one session. Called in the server's threads, several at once: return at once, raise nothing.

    What it raises all the same is logged and counted, and the session goes on.
    """

    def frame(self, camera_id: int, stamp_us: int, image_bytes: bytes) -> None:
        """Take a picture of one of the rig's cameras that could be decoded, stamped at its exposure's end."""
        ...

    def egomotion(self, egomotion: Egomotion) -> None:
        """Take poses as they have come."""
        ...

    def route(self, time_us: int, guidance: Guidance) -> None:
        """Take what was made of a route."""
        ...

    def driving(self, now_us: int) -> None:
        """Take notice that all of a step has come and its answer is about to be made."""
        ...

    def drove(self, outcome: DriveOutcome) -> None:
        """Take an answer."""
        ...

    def close(self) -> None:
        """End: so has the session."""
        ...


class DriverWatcher(Protocol):
    """Watches a driver."""

    def opened(self, session: DriveSession) -> SessionWatcher:
        """Return who watches a session that has begun."""
        ...
