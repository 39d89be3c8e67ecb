"""One session of a driver: what it has been told, what it planned last, and an answer at every `drive`."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace

from alpamayo_ros.safety.supervisor import Judgement, Stop
from alpamayo_ros.sim.driver.answers import MadePlan, straight_on
from alpamayo_ros.sim.driver.debug_info import describe, encode
from alpamayo_ros.sim.driver.events import DriveOutcome, SessionWatcher
from alpamayo_ros.sim.driver.inputs import Lacking, SessionInputs
from alpamayo_ros.sim.driver.navigation import Guidance
from alpamayo_ros.sim.driver.planners import OneThread, PlannerStops
from alpamayo_ros.sim.driver.safety import SessionSafety, Verdict
from alpamayo_ros.sim.driver.settings import DriverSettings
from alpamayo_ros.sim.driver.statistics import DriverStatistics
from alpamayo_ros.sim.protocol.egodriver import StillWanted
from alpamayo_ros.sim.protocol.egodriver_messages import CameraFrame, DriveAnswer, Egomotion, Route
from alpamayo_ros.sim.protocol.server import Unwanted
from alpamayo_ros.sim.state import EgoState
from alpamayo_ros.sim.trajectories import Trajectory
from alpamayo_ros.types import InvalidInput, Observation, Plan, Planner, camera_name

_log = logging.getLogger(__name__)


class DrivingSession:
    """A DriverSession (see sim/protocol/egodriver.py) around a planner.

    Every `drive` is answered, in this order of preference: a plan for the newest pictures, if it may be
    driven; the rest of the last one, while that holds; constant speed, in the first seconds; a stop along the
    last path. Which of these it is the session's safety stage says.

    Args:
        inputs: of this session alone.
        planner: of this session alone; what it shares with others is asked in `thread`.
        thread: where plans are made.
        safety: of this session alone.
        settings: how to drive.
        navigate: whether routes become navigation text.
        num_samples: how many trajectories go along with every answer.
        statistics: of the driver.
        watcher: told of everything; None for nobody.
        on_close: called once, at the end.
    """

    def __init__(
        self,
        inputs: SessionInputs,
        planner: Planner,
        *,
        thread: OneThread,
        safety: SessionSafety,
        settings: DriverSettings,
        navigate: bool,
        num_samples: int = 1,
        statistics: DriverStatistics,
        watcher: SessionWatcher | None = None,
        on_close: Callable[[], None] = lambda: None,
    ) -> None:
        self._inputs, self._planner, self._thread, self._safety = inputs, planner, thread, safety
        self._settings, self._navigate, self._statistics = settings, navigate, statistics
        self._num_samples = num_samples
        self._watcher, self._on_close = watcher, on_close
        self._first_us: int | None = None
        self._last: tuple[int, DriveAnswer] | None = None
        self._planned_t0_ns = -1
        self._verdict: Verdict | None = None
        """Of the plan made for this request."""
        self._driven_judgement: Judgement | None = None
        self._told_stop: Stop | None = None
        """The planner's own answer to this request."""
        self._drawn: MadePlan | None = None
        """The newest plan, which may be none that can be driven: its samples go along all the same."""

    # What comes in.

    def add_frame(self, frame: CameraFrame) -> None:
        """Take a picture; see SessionInputs.add_frame."""
        try:
            camera_id = self._inputs.add_frame(frame)
        except InvalidInput as error:
            self._statistics.refused("image", str(error))
            raise
        if camera_id is not None:
            self._statistics.frame(camera_name(camera_id))
            self._tell(lambda watcher: watcher.frame(camera_id, frame.end_us, frame.image_bytes))

    def add_egomotion(self, egomotion: Egomotion) -> None:
        """Take poses."""
        self._inputs.add_egomotion(egomotion)
        self._tell(lambda watcher: watcher.egomotion(egomotion))

    def set_route(self, route: Route) -> None:
        """Take a route."""
        guidance = self._inputs.add_route(route)
        self._tell(lambda watcher: watcher.route(route.time_us, guidance))

    # What goes out.

    def drive(self, now_us: int, query_us: int, *, still_wanted: StillWanted) -> DriveAnswer:
        """Return a trajectory from now on; the same question again gets the same answer.

        Raises:
            InvalidInput: for a time before the last one's, or before any pose.
            Unwanted: where the client has gone before its turn came.
        """
        started_s = time.perf_counter()
        if self._last is not None:
            last_us, last_answer = self._last
            if now_us == last_us:
                return last_answer
            if now_us < last_us:
                raise InvalidInput(f"time_now_us: expected {last_us} us or later, got {now_us} us")
        ego = self._inputs.ego_at(now_us)
        self._tell(lambda watcher: watcher.driving(now_us))
        if self._first_us is None:
            self._first_us = now_us
        guidance = self._inputs.guidance_at(now_us)
        self._verdict, self._told_stop = None, None
        reason, starting, inference_ms = self._plan(now_us, guidance, still_wanted)
        outcome = self._choose(ego, reason, starting=starting)
        samples, chosen_sample = self._samples(ego, outcome)
        outcome = replace(
            outcome, inference_ms=inference_ms, total_ms=(time.perf_counter() - started_s) * 1e3
        )
        info = describe(
            outcome,
            maneuver="none" if guidance is None else guidance.maneuver,
            chosen_sample=chosen_sample,
        )
        answer = DriveAnswer(
            outcome.trajectory, samples=samples, debug_info=encode(info, self._settings.debug_info)
        )
        self._last = (now_us, answer)
        problem = "" if outcome.source in ("plan", "warm_up") else f"{outcome.source}: {outcome.reason}"
        self._statistics.drove(
            outcome.source, total_ms=outcome.total_ms, inference_ms=inference_ms, problem=problem
        )
        self._tell(lambda watcher: watcher.drove(outcome))
        return answer

    def _plan(
        self, now_us: int, guidance: Guidance | None, still_wanted: StillWanted
    ) -> tuple[str, bool, float]:
        """Make a plan if there is something to make one from.

        Returns:
            Why there is none ("" if there is), whether that is for inputs that only begin, and how long the
            planner took in ms.
        """
        text = guidance.instruction if guidance is not None and self._navigate else ""
        observation = self._inputs.observe(now_us, instruction=text)
        if isinstance(observation, Lacking):
            self._safety.refused(observation.reason, now_us=now_us)
            return observation.reason, observation.starting, 0.0
        age_s = (now_us * 1000 - observation.t0_ns) / 1e9
        limit_s, reason = self._settings.max_plan_age_s, ""
        if age_s > limit_s:
            reason = f"expected pictures at most {limit_s:g} s old, got {age_s:.2f} s"
        elif observation.t0_ns <= self._planned_t0_ns:
            reason = f"expected newer pictures than {age_s:.2f} s ago, got none"
        if reason:
            self._safety.refused(reason, now_us=now_us)
            return reason, False, 0.0
        self._planned_t0_ns = observation.t0_ns
        started_s = time.perf_counter()
        plan = self._ask(observation, still_wanted, now_us)
        inference_ms = (time.perf_counter() - started_s) * 1e3
        if isinstance(plan, str):
            return plan, False, inference_ms
        return self._judge(plan, observation, now_us), False, inference_ms

    def _ask(self, observation: Observation, still_wanted: StillWanted, now_us: int) -> Plan | str:
        """Return the planner's plan, or why there is none."""
        try:
            plan = self._thread.run(lambda: self._planner.plan(observation), still_wanted=still_wanted)
        except Unwanted:
            self._planned_t0_ns = -1  # nobody saw an answer: whoever asks again gets it planned
            raise
        except PlannerStops as stops:
            self._told_stop = stops.stop
            self._safety.stopped()
            return self._refuse("planner_stops", stops.stop.reason, observation, now_us)
        except InvalidInput as error:
            return self._refuse("observation_refused", f"InvalidInput: {error}", observation, now_us)
        except Exception as error:
            _log.exception("while planning")
            return self._refuse("inference_error", f"{type(error).__name__}: {error}", observation, now_us)
        if plan.t0_ns != observation.t0_ns:
            problem = f"plan: expected t0 {observation.t0_ns} ns, got {plan.t0_ns} ns"
            return self._refuse("plan_invalid", problem, observation, now_us)
        return plan

    def _refuse(self, slug: str, problem: str, observation: Observation, now_us: int) -> str:
        """Count that an observation got no plan that could be judged, and return why."""
        self._statistics.refused(slug, problem)
        self._safety.refused(problem, now_us=now_us, t0_ns=observation.t0_ns)
        return problem

    def _judge(self, plan: Plan, observation: Observation, now_us: int) -> str:
        """Judge a plan; returns why it is not driven, "" if it is."""
        made = MadePlan(plan, observation.rig_pose_in_odom_at_t0, observation.instruction or "")
        self._drawn = made
        motion = self._inputs.motion_at(made.t0_us)
        if motion is None:
            problem = "egomotion: expected poses around t0 to judge the plan's speed by, got none"
            return self._refuse("unjudged", problem, observation, now_us)
        try:
            verdict = self._safety.judge(made, observation, speed_mps=motion.speed_mps, now_us=now_us)
        except Exception as error:  # what the gate did not pass is not driven
            _log.exception("while judging a plan")
            return self._refuse("unjudged", f"{type(error).__name__}: {error}", observation, now_us)
        self._drawn, self._verdict = verdict.made, verdict
        self._statistics.judged(verdict.judgement)
        if verdict.refusal:
            gate_passed = verdict.judgement is not None and verdict.judgement.decision.passed
            self._statistics.refused("contradiction" if gate_passed else "gate", verdict.refusal)
            return verdict.refusal
        if not verdict.drives:
            self._statistics.waited()
            assert verdict.judgement is not None  # without a gate whatever is not refused drives
            state = verdict.judgement.state
            return f"valid again, {state.row} in a row so far, after: {state.reason}"
        self._driven_judgement = verdict.judgement
        return ""

    def _choose(self, ego: EgoState, reason: str, *, starting: bool) -> DriveOutcome:
        """Return the answer to give."""
        assert self._first_us is not None
        now_us = ego.time_us
        outcome = DriveOutcome(
            now_us=now_us,
            source="warm_up",
            reason=reason,
            trajectory=straight_on(ego),
            local_from_rig_now=ego.local_from_rig,
            judgement=None if self._verdict is None else self._verdict.judgement,
            judged_at=None if self._verdict is None else self._verdict.made.local_from_rig_t0,
        )
        made = self._safety.driven(now_us)
        if made is not None:
            return replace(
                outcome,
                source="held_plan" if reason else "plan",
                trajectory=made.trajectory(ego),
                plan=made.plan,
                local_from_rig_t0=made.local_from_rig_t0,
                plan_judgement=self._driven_judgement,
                instruction=made.instruction,
            )
        if starting and now_us - self._first_us <= self._settings.warm_up_s * 1e6:
            return outcome
        stop = self._told_stop or self._safety.stop(self._inputs.state_at(ego))
        pose = ego.local_from_rig if stop.odom_from_rig is None else stop.odom_from_rig
        return replace(
            outcome,
            source="stop",
            reason=reason or stop.reason,
            trajectory=MadePlan(stop.plan, pose, "").trajectory(ego),
            stop=stop,
        )

    def _samples(self, ego: EgoState, outcome: DriveOutcome) -> tuple[tuple[Trajectory, ...], int | None]:
        """Return what the planner drew last, all of it, and which of these is driven, None for none.

        AlpaSim's minADE judges the planner by them. Where there is nothing of the last second, it is what is
        driven instead. AlpaSim's videos want as many in every answer: what is missing is filled up with
        repeats, which change no minimum.
        """
        drawn = self._drawn
        if drawn is None or drawn.age_s(ego.time_us) > self._settings.max_plan_age_s or not drawn.indices:
            return (outcome.trajectory,) * self._num_samples, 0
        samples = drawn.samples(ego)
        driven = outcome.plan is drawn.plan
        chosen = drawn.indices.index(drawn.plan.chosen) if driven else None
        repeats = max(0, self._num_samples - len(samples))
        return samples + (samples[chosen or 0],) * repeats, chosen

    # The end.

    def close(self) -> None:
        """End; the server closes each session once."""
        close = getattr(self._planner, "close", None)
        try:
            if close is not None:
                close()
        finally:
            self._tell(lambda watcher: watcher.close())
            self._watcher = None
            self._on_close()

    def _tell(self, what: Callable[[SessionWatcher], None]) -> None:
        """Tell the watcher; what it raises is its own fault, and no reason not to drive."""
        if self._watcher is None:
            return
        try:
            what(self._watcher)
        except Exception as error:
            self._statistics.refused("watcher", f"{type(error).__name__}: {error}")
            _log.exception("while telling the watcher")
