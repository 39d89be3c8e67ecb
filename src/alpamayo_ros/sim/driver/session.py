"""One session of a driver: what it has been told, what it planned last, and an answer at every `drive`."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace

from alpamayo_ros.sim.driver.answers import MadePlan, straight_on
from alpamayo_ros.sim.driver.debug_info import describe, encode
from alpamayo_ros.sim.driver.events import DriveOutcome, SessionWatcher
from alpamayo_ros.sim.driver.fitness import Fitness, basic_fitness, with_fit_choice
from alpamayo_ros.sim.driver.inputs import Lacking, SessionInputs
from alpamayo_ros.sim.driver.navigation import Guidance
from alpamayo_ros.sim.driver.planners import OneThread
from alpamayo_ros.sim.driver.settings import DriverSettings
from alpamayo_ros.sim.driver.statistics import DriverStatistics
from alpamayo_ros.sim.protocol.egodriver import StillWanted
from alpamayo_ros.sim.protocol.egodriver_messages import CameraFrame, DriveAnswer, Egomotion, Route
from alpamayo_ros.sim.protocol.server import Unwanted
from alpamayo_ros.sim.state import EgoState
from alpamayo_ros.sim.trajectories import Trajectory, stop_trajectory
from alpamayo_ros.types import InvalidInput, Observation, Planner, camera_name

_log = logging.getLogger(__name__)


class DrivingSession:
    """A DriverSession (see sim/protocol/egodriver.py) around a planner.

    Every `drive` is answered, in this order of preference: a plan for the newest pictures; the rest of the
    last one, while it is young enough; constant speed, in the first seconds; a stop along the last path.

    Args:
        inputs: of this session alone.
        planner: of this session alone; what it shares with others is asked in `thread`.
        thread: where plans are made.
        settings: how to drive.
        navigate: whether routes become navigation text.
        num_samples: how many trajectories go along with every answer.
        statistics: of the driver.
        watcher: told of everything; None for nobody.
        fitness: which samples may be driven.
        on_close: called once, at the end.
    """

    def __init__(
        self,
        inputs: SessionInputs,
        planner: Planner,
        *,
        thread: OneThread,
        settings: DriverSettings,
        navigate: bool,
        num_samples: int = 1,
        statistics: DriverStatistics,
        watcher: SessionWatcher | None = None,
        fitness: Fitness = basic_fitness,
        on_close: Callable[[], None] = lambda: None,
    ) -> None:
        self._inputs, self._planner, self._thread = inputs, planner, thread
        self._settings, self._navigate, self._statistics = settings, navigate, statistics
        self._num_samples = num_samples
        self._watcher, self._fitness, self._on_close = watcher, fitness, on_close
        self._first_us: int | None = None
        self._last: tuple[int, DriveAnswer] | None = None
        self._planned_t0_ns = -1
        self._made: MadePlan | None = None
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
            return observation.reason, observation.starting, 0.0
        age_s = (now_us * 1000 - observation.t0_ns) / 1e9
        if age_s > self._settings.max_plan_age_s:
            limit_s = self._settings.max_plan_age_s
            return f"expected pictures at most {limit_s:g} s old, got {age_s:.2f} s", False, 0.0
        if observation.t0_ns <= self._planned_t0_ns:
            return f"expected newer pictures than {age_s:.2f} s ago, got none", False, 0.0
        self._planned_t0_ns = observation.t0_ns
        started_s = time.perf_counter()
        reason = self._ask(observation, still_wanted)
        return reason, False, (time.perf_counter() - started_s) * 1e3

    def _ask(self, observation: Observation, still_wanted: StillWanted) -> str:
        """Ask the planner, and keep what may be driven; returns why there is nothing, "" if there is."""
        try:
            plan = self._thread.run(lambda: self._planner.plan(observation), still_wanted=still_wanted)
        except Unwanted:
            self._planned_t0_ns = -1  # nobody saw an answer: whoever asks again gets it planned
            raise
        except Exception as error:
            reason = "observation_refused" if isinstance(error, InvalidInput) else "inference_error"
            problem = f"{type(error).__name__}: {error}"
            self._statistics.refused(reason, problem)
            if not isinstance(error, InvalidInput):
                _log.exception("while planning")
            return problem
        if plan.t0_ns != observation.t0_ns:
            problem = f"plan: expected t0 {observation.t0_ns} ns, got {plan.t0_ns} ns"
            self._statistics.refused("plan_invalid", problem)
            return problem
        return self._keep(MadePlan(plan, observation.rig_pose_in_odom_at_t0, observation.instruction or ""))

    def _keep(self, drawn: MadePlan) -> str:
        """Keep a plan, to drive if it may be driven; returns why it may not, "" if it may."""
        self._drawn = drawn
        plan = drawn.plan
        t0 = self._inputs.ego_at(drawn.t0_us)
        try:
            fit = self._fitness(plan, t0.speed_mps) & drawn.motions
        except Exception as error:  # an injected gate's; what it did not pass is not driven
            self._statistics.refused("fitness_error", f"{type(error).__name__}: {error}")
            _log.exception("while judging a plan")
            return f"{type(error).__name__}: {error}"
        chosen = with_fit_choice(plan, fit)
        if chosen is None:
            problem = f"plan: expected a sample that may be driven, got none of {plan.num_samples}"
            self._statistics.refused("plan_unfit", problem)
            return problem
        if chosen is not plan:
            self._drawn = MadePlan(chosen, drawn.local_from_rig_t0, drawn.instruction)
        self._made = self._drawn
        return ""

    def _choose(self, ego: EgoState, reason: str, *, starting: bool) -> DriveOutcome:
        """Return the answer to give."""
        assert self._first_us is not None
        made, settings, now_us = self._made, self._settings, ego.time_us
        if made is not None and made.age_s(now_us) <= settings.max_plan_age_s:
            return DriveOutcome(
                now_us=now_us,
                source="held_plan" if reason else "plan",
                reason=reason,
                trajectory=made.trajectory(ego),
                local_from_rig_now=ego.local_from_rig,
                plan=made.plan,
                local_from_rig_t0=made.local_from_rig_t0,
                instruction=made.instruction,
            )
        if starting and now_us - self._first_us <= settings.warm_up_s * 1e6:
            trajectory = straight_on(ego)
        else:
            starting = False
            trajectory = stop_trajectory(ego, None if made is None else made.path_xyz())
        return DriveOutcome(
            now_us=now_us,
            source="warm_up" if starting else "stop",
            reason=reason,
            trajectory=trajectory,
            local_from_rig_now=ego.local_from_rig,
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
