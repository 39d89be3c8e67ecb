"""What becomes of what the model made: judged, published, counted, written down. Or a stop in its place.

All of it runs on the executor.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from rclpy.serialization import serialize_message

from alpamayo_ros.audit.decision import Decision, Outcome
from alpamayo_ros.ros.audit_log import PlannerAudit
from alpamayo_ros.ros.diagnostics import PlanStatistics
from alpamayo_ros.ros.engagement import Engagement
from alpamayo_ros.ros.inference import PlanOutcome
from alpamayo_ros.ros.inference_health import FailureKind
from alpamayo_ros.ros.plan_conversions import (
    MonitorStatus,
    plan_to_msg,
    stage_times_stamped_to_msg,
)
from alpamayo_ros.ros.plan_outputs import PlanOutputs
from alpamayo_ros.ros.planner_parameters import PlannerSettings
from alpamayo_ros.ros.planner_safety import Frames, SafetyStage, published_plan, published_stop
from alpamayo_ros.safety.supervisor import Judgement
from alpamayo_ros.types import InvalidInput, Observation

Refuse = Callable[[str, Exception], None]


class PlanDesk:
    """Takes outcomes and refusals of one configured planner, and sends what the vehicle is to follow.

    Args:
        settings: of the node.
        outputs: the topics.
        safety: judges plans and makes stops; None where that is switched off.
        engagement: whether the planner is engaged.
        statistics: what is counted.
        frames: the frames that plans are in now.
        now_ns: the clock of the messages.
        refuse: counts and logs a refusal, by its slug.
        audit: writes every decision down; None for no log.
    """

    def __init__(
        self,
        settings: PlannerSettings,
        *,
        outputs: PlanOutputs,
        safety: SafetyStage | None,
        engagement: Engagement,
        statistics: PlanStatistics,
        frames: Callable[[], Frames],
        now_ns: Callable[[], int],
        refuse: Refuse,
        audit: PlannerAudit | None = None,
    ) -> None:
        self._settings = settings
        self._outputs = outputs
        self.safety = safety
        self._engagement = engagement
        self._statistics = statistics
        self._frames = frames
        self._now_ns = now_ns
        self._refuse = refuse
        self._audit = audit

    def clear(self) -> None:
        """Begin a new drive: time has jumped, or the node was activated."""
        if self.safety is not None:
            self.safety.clear()
        self.event("cleared")

    def event(self, name: str, **details: Any) -> None:
        """Write down something that decisions depend on."""
        if self._audit is not None:
            self._audit.event(name, details, now_ns=self._now_ns())

    def discard(self, outcome: PlanOutcome, reason: str) -> None:
        """Take an outcome that nobody wants any more."""
        self._statistics.count("discarded")
        self._write(Outcome.DISCARDED, reason, outcome=outcome)

    def take(self, outcome: PlanOutcome, *, observation_ms: float = 0.0) -> None:
        """Take the outcome of an inference: publish its plan, or say why not, and stop if there is no other.

        `observation_ms` is how long after its t0 the observation was complete.
        """
        began_s = time.perf_counter()
        observation = outcome.observation
        if outcome.plan is None:
            slug = (outcome.kind or FailureKind.ERROR).value
            error = outcome.error or InvalidInput("plan: expected a plan, got none")
            self._fail(slug, error, Outcome.INFERENCE_FAILED, outcome)
            return
        self._statistics.inferred(outcome.latency_ms, period_ms=self._settings.plan_period_ms)
        now_ns = self._now_ns()
        judgement: Judgement | None = None
        try:
            self.check_age("plan", observation.t0_ns, now_ns)
        except InvalidInput as error:
            self._fail("plan_age", error, Outcome.LATE, outcome)
            return
        if self.safety is not None:
            try:
                judgement = self.safety.judge(outcome, now_ns=now_ns)
            except InvalidInput as error:
                self._fail("not_judged", error, Outcome.REJECTED, outcome)
                return
            self._count(judgement)
            if judgement.refusal:
                self._reject(outcome, judgement, now_ns)
                return
            if not judgement.drives:
                self._statistics.count("plans_waiting")
                self._write(
                    Outcome.WAITING,
                    judgement.state.reason,
                    outcome=outcome,
                    judgement=judgement,
                    at_ns=now_ns,
                )
                self.tick()
                return
        published = published_plan(
            outcome,
            judgement,
            frames=self._frames(),
            lifetime_ns=self._settings.max_plan_age_ns,
            engaged=self._engagement.engaged,
        )
        try:  # to bytes, the slowest part of publishing, before it is asked how old the plan is
            message = serialize_message(plan_to_msg(published))
        except InvalidInput as error:  # without a gate, whatever the model made comes as far as here
            self._fail("plan_invalid", error, Outcome.REJECTED, outcome)
            return
        try:  # a busy computer may have taken its time meanwhile
            self.check_age("plan", observation.t0_ns, self._now_ns())
        except InvalidInput as error:
            self._fail("plan_age", error, Outcome.LATE, outcome, judgement=judgement, judged_ns=now_ns)
            return
        self._outputs.publish(message, published, now_ns=now_ns)
        self._statistics.planned(published.status.name.lower())
        kind = Outcome.UNCHECKED if judgement is None else Outcome.VALID
        self._write(kind, "", outcome=outcome, judgement=judgement, at_ns=now_ns, published_ns=now_ns)
        self._record_times(outcome, observation_ms, began_s)

    def observation_refused(
        self, slug: str, error: Exception, *, t0_ns: int | None, observation: Observation | None = None
    ) -> None:
        """Take note of an observation that is not planned from; it has been counted."""
        now_ns = self._now_ns()
        if self.safety is not None:
            self.safety.supervisor.refused(str(error), t0_ns=t0_ns, now_ns=now_ns)
        reason = f"{slug}: {error}"
        self._write(Outcome.OBSERVATION_REFUSED, reason, t0_ns=t0_ns, observation=observation)
        self.tick()

    def tick(self) -> None:
        """Publish a stop if one is due; to be called at least once a period while the node is active."""
        now_ns = self._now_ns()
        if self.safety is None or now_ns <= 0:  # simulated time that has not begun
            return
        stop = self.safety.due_stop(now_ns)
        if stop is None:
            return
        published = published_stop(
            stop,
            frames=self._frames(),
            lifetime_ns=self._settings.max_plan_age_ns,
            engaged=self._engagement.engaged,
        )
        self._outputs.publish(plan_to_msg(published), published, now_ns=now_ns)
        self._statistics.count("stops")
        if self._audit is not None:
            self._audit.decided(
                Decision(
                    outcome=Outcome.STOP,
                    decided_ns=now_ns,
                    reason=stop.reason,
                    t0_ns=stop.plan.t0_ns,
                    plan=stop.plan,
                    odom_from_rig=stop.odom_from_rig,
                    arbiter=self.safety.supervisor.state,
                    engaged=self._engagement.engaged,
                    published_ns=now_ns,
                )
            )

    def check_age(self, what: str, t0_ns: int, now_ns: int) -> None:
        """Raise InvalidInput if t0 is too old to plan from, or so far ahead that clocks must differ."""
        age_s = (now_ns - t0_ns) / 1e9
        if abs(age_s) > self._settings.max_plan_age:
            raise InvalidInput(
                f"{what}: expected an age of at most {self._settings.max_plan_age:g} s, got {age_s:.3f} s"
            )

    def _fail(
        self,
        slug: str,
        error: Exception,
        kind: Outcome,
        outcome: PlanOutcome,
        *,
        judgement: Judgement | None = None,
        judged_ns: int = 0,
    ) -> None:
        """Take note of an observation that comes to no plan; the monitor remembers what it judged of it."""
        self._refuse(slug, error)
        if self.safety is not None:
            t0_ns = outcome.observation.t0_ns
            self.safety.supervisor.refused(f"{slug}: {error}", t0_ns=t0_ns, now_ns=self._now_ns())
        self._write(kind, f"{slug}: {error}", outcome=outcome, judgement=judgement, at_ns=judged_ns)
        self.tick()

    def _reject(self, outcome: PlanOutcome, judgement: Judgement, now_ns: int) -> None:
        gate_refused = not judgement.decision.passed
        self._refuse("gate" if gate_refused else "contradiction", InvalidInput(judgement.refusal))
        self._statistics.count("plans_rejected")
        published = published_plan(
            outcome, judgement, frames=self._frames(), lifetime_ns=0, engaged=self._engagement.engaged
        )
        published = replace(published, valid_until_ns=self._held_until_ns())
        try:
            self._outputs.record_rejected(plan_to_msg(published))
        except InvalidInput:
            self._statistics.count("rejected_unpublishable")  # not finite: a message cannot carry it
        self._write(Outcome.REJECTED, judgement.refusal, outcome=outcome, judgement=judgement, at_ns=now_ns)
        self.tick()

    def _held_until_ns(self) -> int:
        """Return until when the last valid plan is to be driven on, 0 where none holds any more."""
        valid_t0_ns = None if self.safety is None else self.safety.supervisor.valid_t0_ns
        return 0 if valid_t0_ns is None else valid_t0_ns + self._settings.max_plan_age_ns

    def _count(self, judgement: Judgement) -> None:
        for name in judgement.decision.failures():
            self._statistics.count(f"gate/{name}")
        if judgement.monitor is not None:
            verdict = MonitorStatus.of(judgement.monitor).name.lower()
            self._statistics.monitored(verdict, judgement.monitor.reason)

    def _record_times(self, outcome: PlanOutcome, observation_ms: float, began_s: float) -> None:
        done_ns = self._now_ns()
        self._outputs.record_times(
            stage_times_stamped_to_msg(
                outcome,
                observation_ms=observation_ms,
                output_ms=(time.perf_counter() - began_s) * 1e3,
                age_ms=(done_ns - outcome.observation.t0_ns) / 1e6,
            )
        )

    def _write(
        self,
        kind: Outcome,
        reason: str,
        *,
        outcome: PlanOutcome | None = None,
        judgement: Judgement | None = None,
        at_ns: int = 0,
        published_ns: int | None = None,
        t0_ns: int | None = None,
        observation: Observation | None = None,
    ) -> None:
        if self._audit is None:
            return
        self._audit.decided(
            Decision(
                outcome=kind,
                decided_ns=at_ns or self._now_ns(),
                reason=reason,
                t0_ns=t0_ns,
                observation=observation,
                judgement=judgement,
                settings=None if self.safety is None else self.safety.supervisor.settings,
                arbiter=None if self.safety is None else self.safety.supervisor.state,
                engaged=self._engagement.engaged,
                published_ns=published_ns,
            ),
            outcome=outcome,
        )
