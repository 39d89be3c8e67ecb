"""The safety stage of the planner node: what the supervisor decides, published and counted.

All of it runs on the executor.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from alpamayo_ros.ros.inference import PlanOutcome
from alpamayo_ros.ros.plan_conversions import MonitorStatus, PlanStatus, PublishedPlan
from alpamayo_ros.safety.arbiter import Mode
from alpamayo_ros.safety.fallback import VehicleState
from alpamayo_ros.safety.gate import Check
from alpamayo_ros.safety.supervisor import Judgement, SafetySettings, Stop, Supervisor
from alpamayo_ros.sensing.ego_motion import EgoMotion
from alpamayo_ros.types import InvalidInput

_TICK_NS = 50_000_000


@dataclass(frozen=True)
class Frames:
    """Names of the frames that plans are in; odometry's is "" before there is any."""

    rig: str
    odometry: str


@dataclass(frozen=True)
class StopRhythm:
    """How often stops go out, in ns of the node's clock."""

    period_ns: int


class SafetyStage:
    """Judges plans and makes the stops in their place.

    Args:
        settings: of the supervisor.
        rhythm: of the stops.
        motion: how the vehicle moves, as odometry says it.
    """

    def __init__(self, settings: SafetySettings, *, rhythm: StopRhythm, motion: EgoMotion) -> None:
        self.supervisor = Supervisor(settings)
        self.rhythm = rhythm
        self.motion = motion
        self._last_stop_ns: int | None = None
        self._decided_ns = 0

    def clear(self) -> None:
        """Begin a new drive; `motion` is cleared by whoever feeds it."""
        self.supervisor.clear()
        self._last_stop_ns = None
        self._decided_ns = 0

    def judge(self, outcome: PlanOutcome, *, now_ns: int) -> Judgement:
        """Judge the plan of an outcome that has one.

        Raises:
            InvalidInput: where it cannot be judged: it has no plan, is one of another observation, or
                nobody measured the speed at t0.
        """
        if outcome.plan is None:
            raise InvalidInput("plan: expected a plan, got none")
        t0_ns = outcome.observation.t0_ns
        motion = self.motion.at(t0_ns)
        if motion is None:
            raise InvalidInput("odometry: expected messages around t0 to judge the plan's speed by, got none")
        return self.supervisor.judge(
            outcome.plan, outcome.observation, odometry_speed_mps=motion.speed_mps, now_ns=now_ns
        )

    def due_stop(self, now_ns: int) -> Stop | None:
        """Return the stop that is to be published now, if one is: no plan is valid, and it is time.

        It is time when a fallback begins, when an observation was decided about, and once a period.
        """
        if self.supervisor.tick(now_ns).mode is Mode.VALID:
            self._last_stop_ns = None
            return None
        decided = self.supervisor.decided_ns
        waited_ns = None if self._last_stop_ns is None else now_ns - self._last_stop_ns
        # The timer that asks is coarse: half a tick early is nearer to the period than half a tick late.
        early = self.rhythm.period_ns - _TICK_NS // 2
        if waited_ns is not None and 0 <= waited_ns < early and decided == self._decided_ns:
            return None
        stop = self.supervisor.stop(self._state(), now_ns=now_ns)
        if stop is not None:
            self._last_stop_ns, self._decided_ns = now_ns, decided
        return stop

    def _state(self) -> VehicleState | None:
        motion = self.motion.newest()
        if motion is None:
            return None
        return VehicleState(
            motion.stamp_ns,
            motion.odom_from_rig,
            motion.speed_mps,
            accel_mps2=motion.accel_mps2,
            yaw_rate_radps=motion.yaw_rate_radps,
        )

    @property
    def drives_by_plan(self) -> bool:
        """Whether a valid plan drives, not a stop."""
        return self.supervisor.state.mode is Mode.VALID

    def engage_refusal(self, now_ns: int) -> str:
        """Return why plans cannot be engaged now, "" if they can."""
        state = self.supervisor.tick(now_ns)
        return "" if self.drives_by_plan else f"engage: expected a valid plan, got a stop: {state.reason}"


def published_plan(
    outcome: PlanOutcome,
    judgement: Judgement | None,
    *,
    frames: Frames,
    lifetime_ns: int,
    engaged: bool,
) -> PublishedPlan:
    """Return what goes out of a plan: VALID, REJECTED, or UNCHECKED where nobody has judged it."""
    observation = outcome.observation
    plan = outcome.plan if judgement is None else judgement.plan
    if plan is None:
        raise InvalidInput("plan: expected a plan, got none")
    status, verdict = PlanStatus.UNCHECKED, None
    checks: tuple[Check, ...] = ()
    if judgement is not None:
        status = PlanStatus.REJECTED if judgement.refusal else PlanStatus.VALID
        verdict = judgement.monitor
        checks = judgement.decision.verdicts[judgement.decision.chosen or 0].checks
    return PublishedPlan(
        plan=plan,
        rig_frame=frames.rig,
        odometry_frame=frames.odometry,
        odom_from_rig_t0=observation.rig_pose_in_odom_at_t0,
        valid_until_ns=plan.t0_ns + lifetime_ns,
        status=status,
        status_reason="" if judgement is None else judgement.refusal,
        instruction=observation.instruction or "",
        engaged=engaged,
        decided_ns=plan.t0_ns,
        checks=checks,
        monitor=MonitorStatus.of(verdict),
        monitor_reason="" if verdict is None else verdict.reason,
    )


def published_stop(stop: Stop, *, frames: Frames, lifetime_ns: int, engaged: bool) -> PublishedPlan:
    """Return what goes out of a stop."""
    known = stop.odom_from_rig is not None
    return PublishedPlan(
        plan=stop.plan,
        rig_frame=frames.rig,
        odometry_frame=frames.odometry if known else "",
        odom_from_rig_t0=stop.odom_from_rig if stop.odom_from_rig is not None else np.eye(4),
        valid_until_ns=stop.plan.t0_ns + lifetime_ns,
        status=PlanStatus.FALLBACK,
        status_reason=stop.reason,
        engaged=engaged,
        decided_ns=stop.decided_ns,
    )
