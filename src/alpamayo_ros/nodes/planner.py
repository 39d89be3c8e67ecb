"""The planner: a lifecycle node that turns cameras and odometry into plans, or into stops.

Executor: receives, judges, publishes, answers. Decode threads: images to frames, frames to observations. One
inference thread: the model. One thread while configuring: loads it.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType, JumpHandle, JumpThreshold, TimeJump
from rclpy.duration import Duration

from alpamayo_ros.ros import autoware, parameters
from alpamayo_ros.ros.diagnostics import PlanStatistics, to_message
from alpamayo_ros.ros.engagement import Engagement
from alpamayo_ros.ros.inference import PlanOutcome
from alpamayo_ros.ros.lifecycle import BackgroundLifecycleNode
from alpamayo_ros.ros.plan_outputs import footprint
from alpamayo_ros.ros.planner_backend import PlannerBackend, load_alpamayo
from alpamayo_ros.ros.planner_inputs import WARN_PERIOD_S
from alpamayo_ros.ros.planner_parameters import (
    PARAMETERS,
    PlannerSettings,
    check_change,
    plan_options,
    timing_config,
)
from alpamayo_ros.ros.planner_parts import PartsListener, PlannerParts, Prepared
from alpamayo_ros.ros.planner_status import ClockWatch, PlannerView, blind_cameras, planner_statuses
from alpamayo_ros.ros.qos import no_publisher_events, output_qos
from alpamayo_ros.ros.questions import QuestionDesk
from alpamayo_ros.ros.recommended import RecommendedSampling
from alpamayo_ros.ros.runner import run_node
from alpamayo_ros.ros.safety_parameters import safety_settings
from alpamayo_ros.ros.sensor_feed import FeedListener
from alpamayo_ros.sensing.rig import load_rig
from alpamayo_ros.sensing.timing import BackwardJump, ObservationRefused
from alpamayo_ros.types import InvalidInput, Observation, Planner, PlanOptions

_DIAGNOSTICS_PERIOD_S = 1.0
_POLL_PERIOD_S = 0.05
_SILENCE_NS = 2_000_000_000
_CLOSE_TIMEOUT_S = 10.0
# /clock runs forwards; a step back this small is two publishers' disagreement, not a bag that begins again.
_CLOCK_JUMP = JumpThreshold(
    min_forward=None, min_backward=Duration(nanoseconds=-100_000_000), on_clock_change=True
)

LoadBackend = Callable[[PlannerSettings, PlanOptions], PlannerBackend]


@dataclass(frozen=True)
class _Offered:
    """What an observation is offered to the model with."""

    parts: PlannerParts
    epoch: int
    observation_ms: float


class PlannerNode(BackgroundLifecycleNode):
    """See the module; parameters in ros/planner_parameters.py.

    Args:
        planner: plans instead of the checkpoint that the parameters name.
        load: makes the planner instead, in a thread, when the node is configured.
        kwargs: as of rclpy's Node, e.g. `namespace`, `parameter_overrides`.

    Attributes:
        statistics: what /diagnostics says about observations, plans and refusals.

    Raises:
        InvalidInput: for parameters of a wrong type or out of range.
    """

    def __init__(
        self, *, planner: Planner | None = None, load: LoadBackend | None = None, **kwargs: Any
    ) -> None:
        super().__init__("planner", **kwargs)
        from diagnostic_msgs.msg import DiagnosticArray

        from alpamayo_ros.srv import Ask

        self._load = load or load_alpamayo
        if planner is not None:
            self._load = lambda settings, options: PlannerBackend(planner)
        self._parts: PlannerParts | None = None
        self._active = False
        self._activated_ns = 0
        self._clock_watch = ClockWatch()
        self._failure = ""
        self._jumps: JumpHandle | None = None
        self.statistics = PlanStatistics()

        parameters.declare(self, PARAMETERS)
        self._recommended = RecommendedSampling(self)
        self.add_on_set_parameters_callback(self._on_set_parameters)
        quiet = no_publisher_events()
        self._diagnostics = self.create_publisher(
            DiagnosticArray, "/diagnostics", output_qos(), event_callbacks=quiet
        )
        self.create_service(Ask, "ask", self._on_ask, callback_group=ReentrantCallbackGroup())
        self._engagement = Engagement(self, now_ns=self._now_ns, refusal=self._engage_refusal)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(_DIAGNOSTICS_PERIOD_S, self._report, clock=steady)
        self.create_timer(_POLL_PERIOD_S, self._poll, clock=steady)
        self._jumps = self.get_clock().create_jump_callback(_CLOCK_JUMP, post_callback=self._on_clock_jump)
        if self.get_parameter("autostart").value:
            self.start_automatically()

    def destroy_node(self) -> None:
        """Stop the threads, free the model, and take the node off the graph."""
        if self._jumps is not None:  # else a parameter was refused, and the node never came to be
            self._jumps.unregister()
            self._jumps = None
        self.close()
        super().destroy_node()

    # Lifecycle, see BackgroundLifecycleNode.

    def prepare(self) -> Callable[[], Prepared]:
        values = parameters.values(self, PARAMETERS)
        settings = PlannerSettings.from_values(values)
        options, timing = plan_options(values), timing_config(values)
        rig = load_rig(settings.rig)
        if settings.rig_frame:
            rig = replace(rig, rig_frame=settings.rig_frame)
        footprint(settings)
        safety_settings(values)
        if settings.publish_trajectory:
            autoware.load_messages()
        for warning in rig.warnings:
            self.get_logger().warning(warning)
        self._failure = ""
        return lambda: Prepared(settings, timing, rig, self._load(settings, options))

    def configure(self, prepared: Prepared) -> None:
        self._recommended.apply(prepared.backend.recommended)
        values = parameters.values(self, PARAMETERS)
        self._parts = PlannerParts(
            self,
            prepared,
            values=values,
            listener=PartsListener(
                feed=FeedListener(
                    self._on_observation, self._on_refused, self._on_image_refused, self._on_backward_jump
                ),
                planned=self._on_plan_done,
                instruct=self._on_instruction,
                missed=self._on_missed_deadlines,
                is_active=lambda: self._active,
                now_ns=self._now_ns,
                refuse=self._refuse,
            ),
            engagement=self._engagement,
            statistics=self.statistics,
        )
        self._failure = ""
        # What was set while it loaded counts too.
        prepared.backend.set_options(plan_options(values))
        self.get_logger().info(f"configured: {prepared.backend.model_id} with rig {prepared.rig.name}")

    def activate(self) -> None:
        self._restart()
        self._activated_ns = self._now_ns()
        self._active = True
        self._engagement.activated()
        self._tell_audit("activated")

    def deactivate(self) -> None:
        self._active = False
        self._engagement.deactivated("deactivated")
        self._tell_audit("deactivated")
        self._restart()

    def cleanup(self) -> None:
        if self._active:  # closed without having been deactivated
            self._engagement.deactivated("ended")
        self._active = False
        parts, self._parts = self._parts, None
        if parts is not None and not parts.close():
            self.get_logger().warning("a plan is still being computed; the model is freed when it is done")

    def discard(self, prepared: Prepared) -> None:
        prepared.backend.close()

    def failed(self, transition: str, error: Exception) -> None:
        self._failure = f"{transition} failed: {error}"
        self._report()

    def state_changed(self) -> None:
        self.get_logger().info("configuring" if self.preparing else self.lifecycle_state)
        self._report()

    # Time.

    def _now_ns(self) -> int:
        return int(self.get_clock().now().nanoseconds)

    def _restart(self) -> None:
        if self._parts is not None:
            self._parts.restart()

    def _on_clock_jump(self, jump: TimeJump) -> None:
        self.get_logger().warning("the clock jumped back or changed: every buffer is cleared")
        self.statistics.count("clock_jumps")
        self._restart()
        self._activated_ns = 0

    def _on_backward_jump(self, jump: BackwardJump) -> None:
        """Stamps went back without /clock: the feed has cleared itself, the rest is for us to forget."""

        def forget() -> None:
            self.get_logger().warning(
                f"{jump.source}: stamps jumped back by {(jump.from_ns - jump.to_ns) / 1e9:.3f} s: "
                "every buffer was cleared"
            )
            self.statistics.count("backward_jumps")
            if self._parts is not None:
                self._parts.restart_after_feed()

        self.post(forget)

    def _poll(self) -> None:
        self._clock_watch.stands_s(self._now_ns())  # seen between reports too: they are a second apart
        if self._active and self._parts is not None:
            self._parts.feed.poll()
            self._parts.beat()

    # Observations; called in decode threads.

    def _on_observation(self, observation: Observation, epoch: int) -> None:
        parts = self._parts
        if parts is None or not self._active:
            return
        self.statistics.observed(observation.t0_ns)
        if parts.audit is not None:
            parts.audit.observed(observation, assembler=parts.feed.assembler, epoch=epoch)
        now_ns = self._now_ns()
        try:
            parts.desk.check_age("observation", observation.t0_ns, now_ns)
        except InvalidInput as error:
            self._refuse_observation("observation_age", error, observation.t0_ns, observation)
            return
        if parts.settings.refuse_blind_cameras:
            for name, shows in blind_cameras(parts.feed, speed_mps=parts.inputs.speed_mps()).items():
                problem = InvalidInput(f"camera {name}: expected pictures of the road, got none: {shows}")
                self._refuse_observation(f"camera_blind/{name}", problem, observation.t0_ns, observation)
                return
        offered = _Offered(parts, epoch, observation_ms=(now_ns - observation.t0_ns) / 1e6)
        if parts.worker.offer(observation, context=offered):
            self.statistics.count("superseded")

    def _on_refused(self, refusal: ObservationRefused) -> None:
        self._refuse_observation(refusal.reason, refusal, refusal.t0_ns)

    def _refuse_observation(
        self, slug: str, error: Exception, t0_ns: int, observation: Observation | None = None
    ) -> None:
        self._refuse(slug, error)

        def note() -> None:
            if self._active and self._parts is not None:
                self._parts.desk.observation_refused(slug, error, t0_ns=t0_ns, observation=observation)

        self.post(note)

    def _on_image_refused(self, camera: str, error: Exception) -> None:
        self.get_logger().warning(
            f"camera {camera}: image refused: {error}", throttle_duration_sec=WARN_PERIOD_S
        )

    def _refuse(self, reason: str, error: Exception) -> None:
        self.statistics.refused(reason, str(error))
        self.get_logger().warning(f"refused ({reason}): {error}", throttle_duration_sec=WARN_PERIOD_S)

    # Plans.

    def _on_plan_done(self, outcome: PlanOutcome) -> None:
        self.post(partial(self._publish, outcome))

    def _publish(self, outcome: PlanOutcome) -> None:
        parts, offered = self._parts, outcome.context
        if parts is None:
            self.statistics.count("discarded")
        elif not self._active:
            parts.desk.discard(outcome, "the planner was deactivated meanwhile")
        elif offered.parts is not parts or offered.epoch != parts.feed.assembler.epoch:
            parts.desk.discard(outcome, "time has jumped meanwhile, or the planner was off")
        else:
            parts.desk.take(outcome, observation_ms=offered.observation_ms)

    def _on_missed_deadlines(self, number: int) -> None:
        if self._active:
            self.statistics.count("deadlines_missed", number)

    # Engagement.

    def _engage_refusal(self) -> str:
        """Return why the planner cannot be engaged now, "" if it can."""
        if not self._active or self._parts is None:
            return f"engage: expected an active planner, got one that is {self.lifecycle_state}"
        safety = self._parts.desk.safety
        if safety is None:
            return "engage: expected a planner with a safety gate, got safety_gate:=false"
        return safety.engage_refusal(self._now_ns())

    def _tell_audit(self, name: str) -> None:
        if self._parts is not None:
            self._parts.desk.event(name)

    # Instruction and questions.

    def _on_instruction(self, text: str) -> None:
        parts = self._parts
        if parts is None:
            return
        text = text.strip()
        try:
            if text:
                parts.backend.check_instruction(text)
        except InvalidInput as error:
            self._refuse("instruction", error)
            return
        parts.feed.assembler.set_instruction(text or None)
        self.get_logger().info(f"instruction: {text!r}" if text else "instruction cleared")

    async def _on_ask(self, request: Any, response: Any) -> Any:
        parts = self._parts
        if not self._active or parts is None:
            response.message = f"question: expected an active planner, got one that is {self.lifecycle_state}"
            return response
        desk = QuestionDesk(parts.feed.assembler, backend=parts.backend, worker=parts.worker, post=self.post)
        return await desk.answer(request, response)

    # Parameters and diagnostics.

    def _on_set_parameters(self, changes: Sequence[Any]) -> Any:
        from rcl_interfaces.msg import SetParametersResult

        unconfigured = self.lifecycle_state == "unconfigured" and not self.preparing
        try:
            for change in changes:
                check_change(change.name, change.value, unconfigured=unconfigured)
            values = {**parameters.values(self, PARAMETERS), **{c.name: c.value for c in changes}}
            options, safety = plan_options(values), safety_settings(values)
        except InvalidInput as error:
            return SetParametersResult(successful=False, reason=str(error))
        self._recommended.changed(change.name for change in changes)
        if self._parts is not None:
            self._parts.backend.set_options(options)
            self._parts.change(safety, values, changed={change.name: change.value for change in changes})
        return SetParametersResult(successful=True)

    def _report(self) -> None:
        now_ns, parts = self._now_ns(), self._parts
        view = PlannerView(
            state="configuring" if self.preparing else self.lifecycle_state,
            failure=self._failure,
            statistics=self.statistics,
            parts=parts,
            engaged=self._engagement.engaged,
            engagement=self._engagement.reason,
            now_ns=now_ns,
            clock_stands_s=self._clock_watch.stands_s(now_ns),
            recommended=self._recommended.in_force,
            watched=self.count_publishers("plan") > (0 if parts is None else 1),
        )
        statuses = planner_statuses(view)
        self._diagnostics.publish(to_message(statuses, stamp_ns=max(now_ns, 0)))
        if self._active and parts is not None:
            if self._activated_ns <= 0:
                self._activated_ns = now_ns  # simulated time had not begun when it was activated
            newest_ns = max(self.statistics.newest_t0_ns, self._activated_ns)
            if now_ns - newest_ns > _SILENCE_NS:
                missing = "; ".join(parts.feed.assembler.waiting_for()) or "a new frame"
                self.get_logger().warning(
                    f"no observation for 2 s; waiting for {missing}", throttle_duration_sec=WARN_PERIOD_S
                )


def main(args: Sequence[str] | None = None) -> int:
    """Run the planner until it is told to stop; returns the process's exit code."""
    if args is None:
        # run_node catches these while it runs, and gives back what was there before: a second SIGINT, as
        # some launchers send, must not kill an interpreter that is on its way out.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
    return run_node(PlannerNode, args)


if __name__ == "__main__":
    sys.exit(main())
