"""The desk between a planner and its topics: what is sent, refused and written down."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "audit"))  # for decisions without a model

from audit_making import SPEED_MPS, T0_NS, observation, odometry, plan

from alpamayo_ros.audit.decision import Decision, Outcome
from alpamayo_ros.ros import plan_desk
from alpamayo_ros.ros.diagnostics import PlanStatistics
from alpamayo_ros.ros.inference import PlanOutcome
from alpamayo_ros.ros.plan_desk import PlanDesk
from alpamayo_ros.ros.planner_safety import Frames, SafetyStage, StopRhythm
from alpamayo_ros.safety.supervisor import SafetySettings
from alpamayo_ros.sensing.ego_motion import EgoMotion, Twist

MAX_AGE_NS = 10**9


class Outputs:
    """Keeps what is published."""

    def __init__(self) -> None:
        self.published: list[Any] = []

    def publish(self, message: Any, published: Any, *, now_ns: int) -> None:
        self.published.append(published)

    def record_rejected(self, message: Any) -> None:
        pass

    def record_times(self, message: Any) -> None:
        pass


class Corner:
    """A desk with a real safety stage; time is what the test says, also while it works."""

    def __init__(self) -> None:
        self.instants_ns: list[int] = []
        self.now_ns = T0_NS
        self.outputs, self.refused, self.written = Outputs(), [], []
        motion = EgoMotion()
        window = odometry(T0_NS)
        for stamp_ns, pose in zip(window.stamps_ns.tolist(), window.odom_from_rig, strict=True):
            motion.add(stamp_ns, pose, Twist(np.array([SPEED_MPS, 0.0, 0.0]), np.zeros(3)))
        self.desk = PlanDesk(
            SimpleNamespace(max_plan_age=1.0, max_plan_age_ns=MAX_AGE_NS, plan_period_ms=100.0),  # type: ignore[arg-type]
            outputs=self.outputs,  # type: ignore[arg-type]
            safety=SafetyStage(SafetySettings(), rhythm=StopRhythm(10**8), motion=motion),
            engagement=SimpleNamespace(engaged=True),  # type: ignore[arg-type]
            statistics=PlanStatistics(),
            frames=lambda: Frames("base_link", "odom"),
            now_ns=self.clock,
            refuse=lambda slug, error: self.refused.append((slug, str(error))),
            audit=self,  # type: ignore[arg-type]
        )

    def clock(self) -> int:
        if self.instants_ns:
            self.now_ns = self.instants_ns.pop(0)
        return self.now_ns

    def decided(self, decision: Decision, *, outcome: PlanOutcome | None = None) -> None:
        self.written.append(decision)

    def event(self, name: str, details: Any, *, now_ns: int) -> None:
        pass

    def take(self) -> None:
        self.desk.take(PlanOutcome(observation(T0_NS), None, plan(T0_NS), None, 50.0))


def test_a_plan_that_passes_in_time_is_sent_and_written_down() -> None:
    corner = Corner()
    corner.now_ns = T0_NS + 100_000_000
    corner.take()
    (sent,) = corner.outputs.published
    assert sent.status.name == "VALID" and sent.valid_until_ns == T0_NS + MAX_AGE_NS
    (written,) = corner.written
    assert written.outcome is Outcome.VALID and written.judgement.drives and not corner.refused


def test_a_plan_that_grows_old_while_it_is_judged_is_not_sent_and_its_judgement_is_written_down() -> None:
    """The monitor remembers what it judged: without this record, later verdicts would not come out again."""
    corner = Corner()
    judged_ns, late_ns = T0_NS + 100_000_000, T0_NS + MAX_AGE_NS + 1
    corner.instants_ns = [judged_ns, late_ns]
    corner.take()
    assert corner.refused and corner.refused[0][0] == "plan_age"
    assert [sent.status.name for sent in corner.outputs.published] == ["FALLBACK"]
    late, stop = corner.written
    assert (late.outcome, stop.outcome) == (Outcome.LATE, Outcome.STOP)
    assert late.judgement is not None and late.judgement.drives and late.published_ns is None
    assert late.decided_ns == judged_ns and "expected an age of at most 1 s" in late.reason


def test_a_plan_that_grows_old_while_it_is_made_a_message_is_not_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A process that is stopped there, and goes on seconds later, must not send what it had in hand."""
    corner = Corner()
    corner.now_ns = T0_NS + 100_000_000
    serialize = plan_desk.serialize_message

    def hangs(message: Any) -> bytes:
        corner.now_ns = T0_NS + 3 * MAX_AGE_NS
        return bytes(serialize(message))

    monkeypatch.setattr(plan_desk, "serialize_message", hangs)
    corner.take()
    assert [sent.status.name for sent in corner.outputs.published] == ["FALLBACK"]
    assert corner.written[0].outcome is Outcome.LATE


def test_a_plan_that_comes_too_late_is_not_even_judged() -> None:
    corner = Corner()
    corner.now_ns = T0_NS + MAX_AGE_NS + 1
    corner.take()
    assert corner.written[0].outcome is Outcome.LATE and corner.written[0].judgement is None
    assert [sent.status.name for sent in corner.outputs.published] == ["FALLBACK"]


def test_without_odometry_around_t0_nothing_is_judged_and_the_vehicle_stops() -> None:
    corner = Corner()
    corner.now_ns = T0_NS + 100_000_000
    corner.desk.safety.motion.clear()  # type: ignore[union-attr]
    corner.take()
    assert corner.refused[0][0] == "not_judged" and corner.written[0].outcome is Outcome.REJECTED
    assert [sent.status.name for sent in corner.outputs.published] == ["FALLBACK"]
