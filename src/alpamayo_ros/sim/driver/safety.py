"""What one session may drive: the safety stage of a vehicle, in the session's own time.

With the gate switched off there is no judgement: whatever is a motion drives, and a stop follows the path of
the last one of these.
"""

from __future__ import annotations

from dataclasses import dataclass

from alpamayo_ros.safety.arbiter import Mode
from alpamayo_ros.safety.fallback import ValidPath, VehicleState, stop_plan
from alpamayo_ros.safety.supervisor import Judgement, SafetySettings, Stop, Supervisor
from alpamayo_ros.sim.driver.answers import MadePlan
from alpamayo_ros.sim.driver.fitness import with_fit_choice
from alpamayo_ros.types import InvalidInput, Observation

_US_TO_NS = 1000


@dataclass(frozen=True, eq=False)
class Verdict:
    """What became of a plan.

    Attributes:
        made: the plan, its chosen sample the one to drive if there is one.
        drives: whether it is what drives now.
        refusal: why it must not be driven, "" if it may; one that may, but does not drive, waits until there
            have been enough of its kind.
        judgement: by the gate and the monitor; None where the gate is off.
    """

    made: MadePlan
    drives: bool
    refusal: str
    judgement: Judgement | None


class SessionSafety:
    """Judges one session's plans and makes the stops in their place. Times are the session's, in us.

    Args:
        settings: of the supervisor.
        gate: whether plans are judged.
    """

    def __init__(self, settings: SafetySettings, *, gate: bool) -> None:
        self._settings = settings
        self._supervisor = Supervisor(settings) if gate else None
        self._driven: MadePlan | None = None
        self._holds = True
        self._refusal = ""

    @property
    def gate(self) -> bool:
        """Whether plans are judged."""
        return self._supervisor is not None

    def judge(self, made: MadePlan, observation: Observation, *, speed_mps: float, now_us: int) -> Verdict:
        """Judge a plan, and keep it if it drives.

        Args:
            made: the plan.
            observation: what it was made from.
            speed_mps: forward speed at t0 as the client told it.
            now_us: the time.

        Raises:
            InvalidInput: where it cannot be judged.
        """
        if self._supervisor is None:
            return self._take_unchecked(made)
        judgement = self._supervisor.judge(
            made.plan, observation, odometry_speed_mps=speed_mps, now_ns=now_us * _US_TO_NS
        )
        if judgement.decision.passed:
            made = MadePlan(judgement.plan, made.local_from_rig_t0, made.instruction)
        if judgement.drives:
            self._driven = made
        return Verdict(made, judgement.drives, judgement.refusal, judgement)

    def _take_unchecked(self, made: MadePlan) -> Verdict:
        chosen = with_fit_choice(made.plan, made.motions)
        if chosen is None:
            count = made.plan.num_samples
            refusal = f"plan: expected a sample that is a motion, got none of {count}"
            return Verdict(made, False, refusal, None)
        if chosen is not made.plan:
            made = MadePlan(chosen, made.local_from_rig_t0, made.instruction)
        self._driven, self._holds = made, True
        return Verdict(made, True, "", None)

    def refused(self, reason: str, *, now_us: int, t0_ns: int | None = None) -> None:
        """Take note that there is no plan: an observation that was refused, or a planner that failed."""
        self._refusal = reason
        if self._supervisor is not None:
            self._supervisor.refused(reason, t0_ns=t0_ns, now_ns=now_us * _US_TO_NS)

    def stopped(self) -> None:
        """Take note that the planner has begun to stop by itself: its last plan holds no longer."""
        self._holds = False

    def driven(self, now_us: int) -> MadePlan | None:
        """Return the plan to drive on by, None where the last one is too old or a stop has taken over."""
        if self._driven is None:
            return None
        if self._supervisor is None:
            holds = self._holds and self._driven.age_s(now_us) * 1e3 <= self._settings.arbiter.hold_ms
        else:
            holds = self._supervisor.tick(now_us * _US_TO_NS).mode is Mode.VALID
        return self._driven if holds else None

    def stop(self, state: VehicleState) -> Stop:
        """Return the stop to follow from a state, which is that of now.

        Raises:
            InvalidInput: while a plan holds.
        """
        if self._supervisor is None:
            path = None
            if self._driven is not None:
                path = ValidPath.of(self._driven.plan, self._driven.local_from_rig_t0)
            plan = stop_plan(state, path, self._settings.stop)
            return Stop(plan, state.odom_from_rig, self._refusal, 0)
        stop = self._supervisor.stop(state, now_ns=state.stamp_ns)
        if stop is None:
            raise InvalidInput("stop: expected no valid plan to drive on by, got one that holds")
        return stop
