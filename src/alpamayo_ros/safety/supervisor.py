"""What a drive may follow: gate, monitor, arbiter and fallback put together, with the memory of one drive.

Used by the planner node for its vehicle and by the simulation's driver for each of its sessions. It has no
clock of its own: whoever calls says what time it is, in the clock of the observations' stamps.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from alpamayo_ros.safety.arbiter import Arbiter, ArbiterSettings, ArbiterState, Mode
from alpamayo_ros.safety.fallback import StopSettings, ValidPath, VehicleState, stop_plan
from alpamayo_ros.safety.gate import GateDecision, GateSettings, PlanGate
from alpamayo_ros.safety.limits import VehicleLimits, require_positive
from alpamayo_ros.safety.monitor import Agreement, Monitor, MonitorVerdict, judge_reasoning
from alpamayo_ros.safety.prediction import Followed
from alpamayo_ros.sensing.rigid import Matrix4
from alpamayo_ros.types import Observation, Plan, medoid


@dataclass(frozen=True)
class SafetySettings:
    """Settings of all that stands between a planner and a vehicle.

    Attributes:
        limits: what the vehicle can do.
        gate, stop, arbiter: of the parts.
        reject_contradictions: whether a plan that does not do what its reasoning says is refused; otherwise
            it is reported.
        max_odometry_age_ms: a stop begins from a measured state that is no older; from an older one it
            begins where a vehicle would be that has followed what was published last.

    Raises:
        InvalidInput: for an age that is not a number above zero.
    """

    limits: VehicleLimits = field(default_factory=VehicleLimits)
    gate: GateSettings = field(default_factory=GateSettings)
    stop: StopSettings = field(default_factory=StopSettings)
    arbiter: ArbiterSettings = field(default_factory=ArbiterSettings)
    reject_contradictions: bool = False
    max_odometry_age_ms: float = 250.0

    def __post_init__(self) -> None:
        require_positive("max_odometry_age_ms", self.max_odometry_age_ms)


@dataclass(frozen=True, eq=False)
class Judgement:
    """What became of a plan.

    Attributes:
        plan: as it was made, `chosen` set by the gate where a candidate passed.
        decision: of the gate.
        monitor: of the chosen candidate; None if none passed the gate.
        refusal: why it must not be driven, "" if it may.
        drives: whether it is what drives now: it passed, and the arbiter lets it.
        state: of the arbiter, after this plan.
        odometry_speed_mps: what the gate compared the plan's speed with.
    """

    plan: Plan
    decision: GateDecision
    monitor: MonitorVerdict | None
    refusal: str
    drives: bool
    state: ArbiterState
    odometry_speed_mps: float


@dataclass(frozen=True, eq=False)
class Stop:
    """A stop to follow now.

    Attributes:
        plan: of one candidate; its t0 is the time of the state that it begins from.
        odom_from_rig: float64 [4, 4], pose at that time; None where nobody has ever said where the vehicle
            is: then the plan is to stand.
        reason: why there is nothing better.
        decided_ns: t0 of the newest observation that has been decided about, 0 before there was one.
    """

    plan: Plan
    odom_from_rig: Matrix4 | None
    reason: str
    decided_ns: int


class Supervisor:
    """Supervises one drive. Not thread-safe."""

    def __init__(self, settings: SafetySettings | None = None) -> None:
        self._monitor = Monitor()
        self._arbiter = Arbiter()
        self._path: ValidPath | None = None
        self._followed: Followed | None = None
        self._decided_ns = 0
        self.settings = settings or SafetySettings()

    @property
    def settings(self) -> SafetySettings:
        """The settings; they may be changed during a drive."""
        return self._settings

    @settings.setter
    def settings(self, settings: SafetySettings) -> None:
        self._settings = settings
        self._gate = PlanGate(settings.limits, settings.gate)
        self._arbiter.settings = settings.arbiter

    @property
    def state(self) -> ArbiterState:
        """What drives, since when and why."""
        return self._arbiter.state

    @property
    def decided_ns(self) -> int:
        """t0 of the newest observation that has been decided about, 0 before there was one."""
        return self._decided_ns

    @property
    def valid_t0_ns(self) -> int | None:
        """t0 of the plan that drives; None while a stop does."""
        drives = self._arbiter.state.mode is Mode.VALID and self._path is not None
        return self._path.t0_ns if drives and self._path is not None else None

    def clear(self) -> None:
        """Begin a new drive: after activation, and when time went backwards."""
        self._monitor.clear()
        self._arbiter.clear()
        self._path = self._followed = None
        self._decided_ns = 0

    def judge(
        self, plan: Plan, observation: Observation, *, odometry_speed_mps: float, now_ns: int
    ) -> Judgement:
        """Judge a plan, and remember it for the stops to come if it passed.

        Args:
            plan: as the model made it.
            observation: what it was made from.
            odometry_speed_mps: forward speed at t0, measured apart from the history.
            now_ns: the time, of t0's clock.

        Raises:
            InvalidInput: for a plan of another observation, or a speed that is not finite.
        """
        decision = self._gate.judge(plan, observation, odometry_speed_mps=odometry_speed_mps, now_ns=now_ns)
        self._decided_ns = max(self._decided_ns, plan.t0_ns)
        verdict, refusal = None, decision.reason
        if decision.passed:
            plan = decision.apply(plan)
            verdict = self._monitor.judge(plan, observation)
            if verdict.agreement is Agreement.CONTRADICTS and self._settings.reject_contradictions:
                plan, verdict = self._without_contradiction(plan, observation, decision, verdict)
                refusal = verdict.reason
        if refusal:
            state = self._arbiter.refused(now_ns, refusal)
        else:
            state = self._arbiter.valid(now_ns, t0_ns=plan.t0_ns)
            self._path = ValidPath.of(plan, observation.rig_pose_in_odom_at_t0)
        drives = not refusal and state.mode is Mode.VALID
        if drives:
            self._followed = Followed(plan, observation.rig_pose_in_odom_at_t0)
        return Judgement(plan, decision, verdict, refusal, drives, state, odometry_speed_mps)

    def refused(self, reason: str, *, t0_ns: int | None, now_ns: int) -> ArbiterState:
        """Take note that an observation was refused, or that the planner failed on one.

        Args:
            reason: for people.
            t0_ns: of the observation, None where there is none.
            now_ns: the time, of t0's clock.
        """
        if t0_ns is not None:
            self._decided_ns = max(self._decided_ns, t0_ns)
        return self._arbiter.refused(now_ns, reason)

    def tick(self, now_ns: int) -> ArbiterState:
        """Take note of the time; to be called at least once a period."""
        return self._arbiter.tick(now_ns)

    def stop(self, state: VehicleState | None, *, now_ns: int) -> Stop | None:
        """Return the stop to follow now, or None while the last valid plan holds.

        Args:
            state: of the vehicle, as measured last; None if it never was.
            now_ns: the time, of the states' clock.
        """
        arbiter = self.tick(now_ns)
        if arbiter.mode is Mode.VALID:
            return None
        begin, note = self._begin(state, now_ns)
        reason = arbiter.reason + note
        if begin is None:
            standing = VehicleState(now_ns, np.eye(4), 0.0)
            return Stop(stop_plan(standing, None, self._settings.stop), None, reason, self._decided_ns)
        path = self._path
        if path is not None and begin.stamp_ns < path.t0_ns:
            path = None  # an older state than the path's: odometry has gone back behind it
        plan = stop_plan(begin, path, self._settings.stop)
        self._followed = Followed(plan, begin.odom_from_rig)
        return Stop(plan, begin.odom_from_rig, reason, self._decided_ns)

    def _begin(self, state: VehicleState | None, now_ns: int) -> tuple[VehicleState | None, str]:
        """Return the state that a stop begins from, and what there is to say about it."""
        limit_ms = self._settings.max_odometry_age_ms
        if state is not None:
            age_ms = (now_ns - state.stamp_ns) / 1e6
            if abs(age_ms) <= limit_ms:
                return state, ""
            old = f"; odometry is {age_ms:.0f} ms old (expected at most {limit_ms:g} ms): "
        else:
            old = "; no odometry yet: "
        if self._followed is not None and now_ns >= self._followed.plan.t0_ns:
            return self._followed.state_at(now_ns), old + "the stop begins where the last plan leads"
        if state is not None:
            return replace(state, stamp_ns=now_ns), old + "the stop begins where it was seen last"
        return None, old + "the stop is to stand"

    def _without_contradiction(
        self, plan: Plan, observation: Observation, decision: GateDecision, verdict: MonitorVerdict
    ) -> tuple[Plan, MonitorVerdict]:
        """Return the plan with a candidate chosen that does what it says, if there is one that passed."""
        verdicts = {
            index: judge_reasoning(plan, observation, index=index)
            for index, passed in enumerate(decision.verdicts)
            if passed.passed and index != plan.chosen
        }
        fit = [i for i, found in verdicts.items() if found.agreement is not Agreement.CONTRADICTS]
        if not fit:
            return plan, verdict
        chosen = fit[medoid(plan.xyz_in_rig_t0[fit])]
        return replace(plan, chosen=chosen), verdicts[chosen]
