"""The planner: a lifecycle node that turns cameras and odometry into plans.

Executor: receives, publishes, answers. Decode threads: images to frames, frames to observations. One
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
from rclpy.task import Future

from alpamayo_ros.ros import autoware, parameters
from alpamayo_ros.ros.conversions import stamp_from_ns, text_to_ros
from alpamayo_ros.ros.diagnostics import PlanStatistics, Status, to_message
from alpamayo_ros.ros.inference import AnswerOutcome, InferenceWorker, PlanOutcome
from alpamayo_ros.ros.lifecycle import BackgroundLifecycleNode
from alpamayo_ros.ros.plan_conversions import PlanStatus, PublishedPlan, plan_to_msg, stage_times_to_msg
from alpamayo_ros.ros.plan_outputs import PlanOutputs, footprint
from alpamayo_ros.ros.planner_backend import PlannerBackend, load_alpamayo
from alpamayo_ros.ros.planner_inputs import WARN_PERIOD_S, PlannerInputs
from alpamayo_ros.ros.planner_parameters import (
    PARAMETERS,
    PlannerSettings,
    check_change,
    plan_options,
    timing_config,
)
from alpamayo_ros.ros.planner_status import planner_statuses
from alpamayo_ros.ros.qos import output_qos
from alpamayo_ros.ros.runner import run_node
from alpamayo_ros.ros.sensor_feed import FeedListener, SensorFeed
from alpamayo_ros.sensing.assembly import BackwardJump
from alpamayo_ros.sensing.rig import Rig, load_rig
from alpamayo_ros.sensing.timing import ObservationRefused, TimingConfig
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
class _Prepared:
    """What the slow part of configuring makes."""

    settings: PlannerSettings
    timing: TimingConfig
    rig: Rig
    backend: PlannerBackend


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
        self._settings: PlannerSettings | None = None
        self._backend: PlannerBackend | None = None
        self._worker: InferenceWorker | None = None
        self._feed: SensorFeed | None = None
        self._inputs: PlannerInputs | None = None
        self._outputs: PlanOutputs | None = None
        self._active = False
        self._activated_ns = 0
        self._failure = ""
        self._jumps: JumpHandle | None = None
        self.statistics = PlanStatistics()

        parameters.declare(self, PARAMETERS)
        self.add_on_set_parameters_callback(self._on_set_parameters)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", output_qos())
        self.create_service(Ask, "ask", self._on_ask, callback_group=ReentrantCallbackGroup())
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

    def prepare(self) -> Callable[[], _Prepared]:
        values = parameters.values(self, PARAMETERS)
        settings = PlannerSettings.from_values(values)
        options, timing = plan_options(values), timing_config(values)
        rig = load_rig(settings.rig)
        if settings.rig_frame:
            rig = replace(rig, rig_frame=settings.rig_frame)
        footprint(settings)
        if settings.publish_trajectory:
            autoware.load_messages()
        for warning in rig.warnings:
            self.get_logger().warning(warning)
        self._failure = ""
        return lambda: _Prepared(settings, timing, rig, self._load(settings, options))

    def configure(self, prepared: _Prepared) -> None:
        self._settings = prepared.settings
        self._backend = prepared.backend
        self._worker = InferenceWorker(prepared.backend, on_plan=self._on_plan_done)
        self._outputs = PlanOutputs(self, prepared.settings, missed=self._on_missed_deadlines)
        self._feed = SensorFeed(
            prepared.rig,
            timing=prepared.timing,
            prepare_frame=prepared.backend.prepare_frame,
            decode_threads=prepared.settings.decode_threads,
            now_ns=self._now_ns,
            listener=FeedListener(
                self._on_observation, self._on_refused, self._on_image_refused, self._on_backward_jump
            ),
        )
        self._inputs = PlannerInputs(
            self, self._feed, is_active=lambda: self._active, instruct=self._on_instruction
        )
        self._failure = ""
        # What was set while it loaded counts too.
        prepared.backend.set_options(plan_options(parameters.values(self, PARAMETERS)))
        self.get_logger().info(f"configured: {prepared.backend.model_id} with rig {prepared.rig.name}")

    def activate(self) -> None:
        self._restart()
        self._activated_ns = self._now_ns()
        self._active = True

    def deactivate(self) -> None:
        self._active = False
        self._restart()

    def cleanup(self) -> None:
        self._active = False
        for part in (self._inputs, self._outputs):
            if part is not None:
                part.destroy()
        if self._feed is not None:
            self._feed.close()
        if self._worker is not None and not self._worker.close(timeout_s=_CLOSE_TIMEOUT_S):
            self.get_logger().warning("a plan is still being computed; the model is freed when it is done")
        self._inputs = self._outputs = self._feed = self._worker = self._backend = self._settings = None

    def discard(self, prepared: _Prepared) -> None:
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
        """Forget everything that is on its way: frames, poses, observations, plans."""
        if self._worker is not None:
            self._worker.clear()
        if self._feed is not None:
            self._feed.clear()
        if self._inputs is not None:
            self._inputs.restart()

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
            if self._worker is not None:
                self._worker.clear()

        self.post(forget)

    def _poll(self) -> None:
        if self._active and self._feed is not None:
            self._feed.poll()

    # Observations; called in decode threads.

    def _on_observation(self, observation: Observation, epoch: int) -> None:
        worker, inputs, feed, settings = self._worker, self._inputs, self._feed, self._settings
        if worker is None or inputs is None or feed is None or settings is None or not self._active:
            return
        self.statistics.observed(observation.t0_ns)
        try:
            self._check_age("observation", observation.t0_ns, settings)
        except InvalidInput as error:
            self._refuse("observation_age", error)
            return
        if worker.offer(observation, context=(feed, epoch, inputs.odometry_frame)):
            self.statistics.count("superseded")

    def _on_refused(self, refusal: ObservationRefused) -> None:
        self._refuse(refusal.reason, refusal)

    def _on_image_refused(self, camera: str, error: Exception) -> None:
        self.get_logger().warning(
            f"camera {camera}: image refused: {error}", throttle_duration_sec=WARN_PERIOD_S
        )

    def _check_age(self, what: str, t0_ns: int, settings: PlannerSettings) -> None:
        """Raise InvalidInput if t0 is too old to plan from, or so far ahead that clocks must differ."""
        age_s = (self._now_ns() - t0_ns) / 1e9
        if abs(age_s) > settings.max_plan_age:
            raise InvalidInput(
                f"{what}: expected an age of at most {settings.max_plan_age:g} s, got {age_s:.3f} s"
            )

    def _refuse(self, reason: str, error: Exception) -> None:
        self.statistics.refused(reason, str(error))
        self.get_logger().warning(f"refused ({reason}): {error}", throttle_duration_sec=WARN_PERIOD_S)

    # Plans.

    def _on_plan_done(self, outcome: PlanOutcome) -> None:
        self.post(partial(self._publish, outcome))

    def _publish(self, outcome: PlanOutcome) -> None:
        outputs, settings, feed = self._outputs, self._settings, self._feed
        origin, epoch, odometry_frame = outcome.context
        if not self._active or outputs is None or settings is None or feed is None:
            self.statistics.count("discarded")
            return
        if origin is not feed or epoch != feed.assembler.epoch:  # time has jumped since, or the node was off
            self.statistics.count("discarded")
            return
        if outcome.plan is None:
            reason = "observation_refused" if isinstance(outcome.error, InvalidInput) else "inference_error"
            self._refuse(reason, outcome.error or InvalidInput("plan: expected a plan, got none"))
            return
        published = PublishedPlan(
            plan=outcome.plan,
            rig_frame=feed.rig.rig_frame,
            odometry_frame=odometry_frame,
            odom_from_rig_t0=outcome.observation.rig_pose_in_odom_at_t0,
            valid_until_ns=outcome.plan.t0_ns + settings.max_plan_age_ns,
            status=PlanStatus.UNCHECKED,
            instruction=outcome.observation.instruction or "",
        )
        try:
            message = plan_to_msg(published)
        except InvalidInput as error:
            self._refuse("plan_invalid", error)
            return
        try:
            self._check_age("plan", outcome.plan.t0_ns, settings)
        except InvalidInput as error:
            self._refuse("plan_age", error)
            return
        outputs.publish(message, published, now_ns=self._now_ns())
        self.statistics.planned(published.status.name.lower(), latency_ms=outcome.latency_ms)

    def _on_missed_deadlines(self, number: int) -> None:
        if self._active:
            self.statistics.count("deadlines_missed", number)

    # Instruction and questions.

    def _on_instruction(self, text: str) -> None:
        feed, backend = self._feed, self._backend
        if feed is None or backend is None:
            return
        text = text.strip()
        try:
            if text:
                backend.check_instruction(text)
        except InvalidInput as error:
            self._refuse("instruction", error)
            return
        feed.assembler.set_instruction(text or None)
        self.get_logger().info(f"instruction: {text!r}" if text else "instruction cleared")

    async def _on_ask(self, request: Any, response: Any) -> Any:
        feed, backend, worker = self._feed, self._backend, self._worker
        try:
            if not self._active or feed is None or backend is None or worker is None:
                raise InvalidInput(
                    f"question: expected an active planner, got one that is {self.lifecycle_state}"
                )
            backend.check_question(request.question)
            observation = feed.assembler.newest()
            if observation is None:
                missing = ", ".join(feed.assembler.waiting_for()) or "a first observation"
                raise InvalidInput(
                    f"question: expected an observation to ask about, got none; waiting for {missing}"
                )
            answered: Future = Future()

            def on_answer(outcome: AnswerOutcome) -> None:
                self.post(partial(answered.set_result, outcome))

            worker.ask(request.question, observation, on_answer=on_answer)
        except InvalidInput as error:
            response.success, response.message = False, str(error)
            return response
        outcome = await answered
        response.success = outcome.error is None
        if outcome.error is not None:
            response.message = f"{type(outcome.error).__name__}: {outcome.error}"
        elif not outcome.answer.complete:
            response.message = "the answer did not come to its end; this is all that was generated"
        response.answer = text_to_ros(outcome.answer.text)
        response.stamp = stamp_from_ns(outcome.observation.t0_ns)
        response.times = stage_times_to_msg(outcome.times)
        return response

    # Parameters and diagnostics.

    def _on_set_parameters(self, changes: Sequence[Any]) -> Any:
        from rcl_interfaces.msg import SetParametersResult

        unconfigured = self.lifecycle_state == "unconfigured" and not self.preparing
        try:
            for change in changes:
                check_change(change.name, change.value, unconfigured=unconfigured)
            values = {**parameters.values(self, PARAMETERS), **{c.name: c.value for c in changes}}
            options = plan_options(values)
        except InvalidInput as error:
            return SetParametersResult(successful=False, reason=str(error))
        if self._backend is not None:
            self._backend.set_options(options)
        return SetParametersResult(successful=True)

    def _report(self) -> None:
        now_ns = self._now_ns()
        statuses: list[Status] = planner_statuses(
            state="configuring" if self.preparing else self.lifecycle_state,
            failure=self._failure,
            statistics=self.statistics,
            feed=self._feed,
            odometry=None if self._inputs is None else self._inputs.odometry,
            backend=self._backend,
            busy=self._worker is not None and self._worker.busy,
            now_ns=now_ns,
        )
        self._diagnostics.publish(to_message(statuses, stamp_ns=max(now_ns, 0)))
        if self._active and self._feed is not None:
            if self._activated_ns <= 0:
                self._activated_ns = now_ns  # simulated time had not begun when it was activated
            newest_ns = max(self.statistics.newest_t0_ns, self._activated_ns)
            if now_ns - newest_ns > _SILENCE_NS:
                missing = "; ".join(self._feed.assembler.waiting_for()) or "a new frame"
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
