"""One rollout over topics: state and images out, the plan of that very time in, then everything moves on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from alpamayo_ros.ros.plan_conversions import PlanStatus, PublishedPlan
from alpamayo_ros.ros.sim_messages import NS_PER_US
from alpamayo_ros.ros.sim_outputs import SimOutputs
from alpamayo_ros.ros.sim_plans import Interrupted, PlanInbox, require_drivable
from alpamayo_ros.ros.sim_stages import StageClock
from alpamayo_ros.sim.record import RolloutRecord
from alpamayo_ros.sim.renderer_link import RENDERER_ERRORS
from alpamayo_ros.sim.rollout import ClosedLoop
from alpamayo_ros.sim.state import ActorState, EgoState
from alpamayo_ros.sim.trajectories import candidates_in_local, plan_in_local
from alpamayo_ros.types import InvalidInput

_LOOK_S = 0.5
"""How often a wait looks whether there is still a planner."""


class ImageSource(Protocol):
    """What the images come from."""

    def render(self, time_us: int, ego: EgoState, actors: Sequence[ActorState]) -> Mapping[int, bytes]:
        """Return one compressed image a camera, by camera id.

        Raises InvalidInput or one of RENDERER_ERRORS where it cannot.
        """
        ...

    @property
    def sizes(self) -> Mapping[int, tuple[int, int]]:
        """(width, height) of the images by camera id; none before the first, then always the same."""
        ...


class PlannerGone(RuntimeError):
    """Nobody plans any more."""


class PlansMissing(RuntimeError):
    """A planner is there, but too many steps in a row had no plan of its that could be driven."""


FAILURES: tuple[type[Exception], ...] = (InvalidInput, PlannerGone, PlansMissing, *RENDERER_ERRORS)
"""What can end a rollout without being a bug."""


class Planners(Protocol):
    """Who plans, seen from the rollout."""

    @property
    def gone(self) -> bool:
        """Whether nobody publishes plans any more."""
        ...

    def moving(self) -> AbstractContextManager[None]:
        """Keep a planner that knows the world from looking at it while it moves."""
        ...

    def think_ahead(self, loop: ClosedLoop) -> None:
        """Let a planner that looks at no images begin before they are there."""
        ...


@dataclass(frozen=True)
class StepRules:
    """How a rollout waits; see the bridge's parameters of the same names."""

    plan_timeout_s: float
    max_missed_plans: int
    realtime_factor: float = 0.0


@dataclass(frozen=True, eq=False)
class Answer:
    """What the planner says to one step.

    Attributes:
        published: a plan or a stop to drive by; None where there is neither.
        reason: why it is no plan; "" for one.
        goes_on: whether the last plan still holds.
    """

    published: PublishedPlan | None
    reason: str
    goes_on: bool = False


class TopicRollout:
    """Runs one ClosedLoop over topics.

    Args:
        loop: the rollout, at its start.
        images: where its images come from.
        outputs: the vehicle's topics.
        inbox: where plans arrive.
        planners: who plans.
        rules: how long to wait for what.
        stop: set when the rollout is to end early; the inbox must be interrupted too.
        warn: told what is worth knowing and no failure.

    Attributes:
        stages: where the wall time went, warm-up left out.
        refusals: why plans were refused, newest last.
        missed: steps driven by a stop for want of a plan, the planner's own stops among them.
        held: steps driven by the last plan, as that of the step was rejected.
        failure: what ended it, where it failed.
    """

    def __init__(
        self,
        loop: ClosedLoop,
        *,
        images: ImageSource,
        outputs: SimOutputs,
        inbox: PlanInbox,
        planners: Planners,
        rules: StepRules,
        stop: threading.Event,
        warn: Callable[[str], None],
    ) -> None:
        self.loop = loop
        self.stages = StageClock()
        self.refusals: list[str] = []
        self.missed = 0
        self.held = 0
        self.failure: Exception | None = None
        self._images = images
        self._outputs = outputs
        self._inbox = inbox
        self._planners = planners
        self._rules = rules
        self._stop = stop
        self._warn = warn
        self._sized = False
        self._missed_in_a_row = 0
        self._began_s = time.monotonic()

    def run(self) -> RolloutRecord:
        """Drive to the end and return what happened; a failure is part of it ("failed", with the error)."""
        loop = self.loop
        with ThreadPoolExecutor(1, thread_name_prefix="images") as self._renderer:
            try:
                self._outputs.scene(loop.scene)
                while not loop.done:
                    self._step()
                self._outputs.state(loop.ego)
            except Interrupted:
                loop.finish("interrupted")
            except FAILURES as error:
                # What was told to end fails in its own ways: a call of the renderer is cancelled.
                if self._stop.is_set():
                    loop.finish("interrupted")
                else:
                    self.failure = error
                    loop.finish("failed", str(error))
        return loop.record()

    def _step(self) -> None:
        if self._stop.is_set():
            raise Interrupted
        if self.loop.warming_up:
            self._show_and_publish(StageClock())
            with self._planners.moving():
                self.loop.follow_reference()
            return
        stages = self.stages
        with stages.step():
            self._show_and_publish(stages)
            asked_s = time.monotonic()
            with stages.stage("plan"):
                answer = self._await_answer()
            latency_ms = (time.monotonic() - asked_s) * 1e3
            with stages.stage("drive"), self._planners.moving():
                self._drive(answer, latency_ms)

    def _show_and_publish(self, stages: StageClock) -> None:
        """Publish the present state and its images."""
        loop, outputs = self.loop, self._outputs
        with stages.stage("pace"):
            self._keep_pace()
        time_us, ego, actors = loop.time_us, loop.ego, loop.actors
        rendering = self._renderer.submit(self._images.render, time_us, ego, actors)
        self._inbox.expect(time_us * NS_PER_US)
        if not loop.warming_up:
            self._planners.think_ahead(loop)
        with stages.stage("publish"):
            # While the renderer draws; what comes first must be there when the images are.
            outputs.state(ego)
            outputs.instruct(loop.instruction())
            outputs.actors(actors, ego, loop.scene)
        with stages.stage("render"):
            images = rendering.result()
        with stages.stage("publish"):
            if not self._sized:
                self._sized = True
                for problem in outputs.resize(self._images.sizes):
                    self._warn(problem)
            outputs.images(time_us, images)

    def _keep_pace(self) -> None:
        if not self._rules.realtime_factor:
            return
        simulated_s = (self.loop.time_us - self.loop.scene.start_us) / 1e6
        due_s = self._began_s + simulated_s / self._rules.realtime_factor
        if self._stop.wait(max(0.0, due_s - time.monotonic())):
            raise Interrupted

    def _await_answer(self) -> Answer:
        """Return the planner's answer to now."""
        loop, timeout_s = self.loop, self._rules.plan_timeout_s
        deadline_s = time.monotonic() + timeout_s
        message = None
        while message is None:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                return Answer(None, f"no plan within {timeout_s:g} s")
            message = self._inbox.wait(timeout_s=min(left_s, _LOOK_S))
            if message is None and self._planners.gone:
                raise PlannerGone("planner: expected one that publishes plans, got none any more")
        if message.status == PlanStatus.REJECTED:
            self.refusals.append(message.status_reason)
            return Answer(None, message.status_reason, goes_on=True)
        try:
            plan = require_drivable(
                message,
                t0_ns=loop.time_us * NS_PER_US,
                rig_frame=self._outputs.rig.rig_frame,
                local_from_rig_t0=loop.ego.local_from_rig,
            )
        except InvalidInput as error:
            self.refusals.append(str(error))
            return Answer(None, str(error))
        return Answer(plan, plan.status_reason)

    def _drive(self, answer: Answer, latency_ms: float) -> None:
        loop, published = self.loop, answer.published
        if answer.goes_on and loop.go_on(answer.reason) is not None:
            self.held += 1
            return
        if published is None or published.status is PlanStatus.FALLBACK:
            self._count_missed(answer.reason)
        if published is None:
            loop.stop(answer.reason)
            return
        plan, here = published.plan, loop.ego.local_from_rig
        stamps_us, poses = plan_in_local(plan, here)
        if published.status is PlanStatus.FALLBACK:
            loop.stop(answer.reason, along=(stamps_us, poses))
            return
        self._missed_in_a_row = 0
        loop.drive(
            stamps_us,
            poses,
            candidates=candidates_in_local(plan, here),
            chosen=plan.chosen,
            reasoning=plan.reasoning[plan.chosen],
            instruction=published.instruction,
            latency_ms=latency_ms,
        )

    def _count_missed(self, reason: str) -> None:
        """Count a step without a plan; raises PlansMissing after too many in a row."""
        if not self._missed_in_a_row:
            self._warn(f"stopping, as there is no plan to drive by: {reason}")
        self.missed += 1
        self._missed_in_a_row += 1
        if self._missed_in_a_row >= self._rules.max_missed_plans:
            raise PlansMissing(
                f"planner: expected plans, got {self._missed_in_a_row} steps in a row without one; "
                f"last: {reason}"
            )
