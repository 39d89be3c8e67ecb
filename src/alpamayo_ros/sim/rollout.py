"""One rollout in closed loop: reference, planner, controller and world in turn, every 100 ms.

The timeline is AlpaSim's. A rollout begins at scene.start_us, where the ego follows the reference drive for
FORCE_GT_US (AlpaSim's force-GT; here *warm-up*), then it follows what the planner says until ROLLOUT_US. It
ends early by a collision of any kind, by leaving the drivable area, and at the goal, the reference's end.
Whoever runs the loop (the headless runner, the ROS bridge) asks for pictures and plans and calls, at each
step, one of `follow_reference()`, `drive(...)` and `stop(...)`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.sim.ego import EgoDynamics
from alpamayo_ros.sim.record import ActorTrack, DriveRecord, DriveSource, EndReason, RolloutRecord
from alpamayo_ros.sim.reference import ReferenceCourse
from alpamayo_ros.sim.roads import Float64Array
from alpamayo_ros.sim.scene import FORCE_GT_US, ROLLOUT_US, STEP_US
from alpamayo_ros.sim.scoring.events import StepChecker
from alpamayo_ros.sim.state import ActorState, EgoState, World
from alpamayo_ros.sim.trajectories import Trajectory, require_trajectory, stop_trajectory
from alpamayo_ros.types import InvalidInput

_PLAN_STEPS = 64


class LoopEnded(RuntimeError):
    """A step was asked of a rollout that is over."""


class Dynamics(Protocol):
    """What moves the ego: sim.ego.EgoDynamics, or another simulator's vehicle."""

    @property
    def state(self) -> EgoState: ...

    def place(self, state: EgoState) -> EgoState | None: ...

    def advance(self, stamps_us: NDArray[np.int64], local_from_rig: Float64Array, to_us: int) -> EgoState: ...


class ClosedLoop:
    """The state machine of one rollout.

    Args:
        world: everything around the ego, at its start; one world a rollout.
        rollout_index: of several in one scene.
        planner: what drives, for the record.
        dynamics: makes what moves the ego from its initial state; by default AlpaSim's controller and vehicle
            on the scene's terrain.
        clock: wall time in s, for the record only.
    """

    def __init__(
        self,
        world: World,
        *,
        rollout_index: int = 0,
        planner: str = "",
        dynamics: Callable[[EgoState], Dynamics] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.world = world
        self.scene = world.scene
        self.rollout_index = rollout_index
        self.planner = planner
        self.course = ReferenceCourse(self.scene)
        if world.time_us != self.scene.start_us:
            raise InvalidInput(
                f"world: expected one at its start, {self.scene.start_us} us, got {world.time_us} us"
            )
        start = self.course.state_at(self.scene.start_us)
        self._dynamics: Dynamics = (
            EgoDynamics(self.scene.terrain, start) if dynamics is None else dynamics(start)
        )
        self._checker = StepChecker(self.scene)
        self._states = [self._dynamics.state]
        self._actors = [world.actors]
        self._drives: list[DriveRecord] = []
        self._end: EndReason | None = None
        self._error = ""
        self._clock = clock
        self._started_s = clock()
        self._wall_s = 0.0

    @property
    def time_us(self) -> int:
        """The present instant."""
        return self._states[-1].time_us

    @property
    def ego(self) -> EgoState:
        """The ego at the present instant."""
        return self._states[-1]

    @property
    def actors(self) -> tuple[ActorState, ...]:
        """The world's actors at the present instant."""
        return self._actors[-1]

    @property
    def warming_up(self) -> bool:
        """Whether the ego still follows the reference, whatever a planner says."""
        return self.time_us < self.scene.start_us + FORCE_GT_US

    @property
    def end_us(self) -> int:
        """When the rollout ends at the latest."""
        return self.scene.start_us + ROLLOUT_US

    @property
    def done(self) -> bool:
        """Whether the rollout is over."""
        return self._end is not None

    @property
    def end_reason(self) -> EndReason | None:
        """Why it is over, or None."""
        return self._end

    @property
    def drives(self) -> tuple[DriveRecord, ...]:
        """What was driven so far, one a step."""
        return tuple(self._drives)

    def instruction(self) -> str:
        """Return navigation text for the ego's place on the route, "" if none."""
        return self.world.instruction(self.ego)

    def history(self, count: int) -> tuple[EgoState, ...]:
        """Return the last states, 100 ms apart, oldest first, the present one last; fewer at the start."""
        return tuple(self._states[-count:])

    def follow_reference(self) -> EgoState:
        """Move on by one step along the reference; returns the new state.

        Raises:
            LoopEnded: where the rollout is over.
            InvalidInput: after warm-up.
        """
        self._require_running()
        if not self.warming_up:
            raise InvalidInput("follow_reference: expected to be called in warm-up, got a call after it")
        stamps_us = self.time_us + STEP_US * np.arange(_PLAN_STEPS + 1, dtype=np.int64)
        drive = self._drive("reference", (stamps_us, self.course.poses_at(stamps_us)))
        return self._step(drive, lambda to_us: self._place(self.course.state_at(to_us)))

    def drive(
        self,
        stamps_us: NDArray[np.int64],
        local_from_rig: Float64Array,
        *,
        candidates: Float64Array | None = None,
        chosen: int = 0,
        reasoning: str = "",
        instruction: str = "",
        latency_ms: float = 0.0,
    ) -> EgoState:
        """Move on by one step along a planned trajectory; returns the new state.

        In warm-up the plan is put on record, and the ego follows the reference all the same.

        Args:
            stamps_us: int64 [P], rising, the first is now.
            local_from_rig: float64 [P, 4, 4], poses of the rig.
            candidates: xyz [K, 64, 3] in local of all samples; none by default.
            chosen: index of the one that is driven.
            reasoning: its Chain-of-Causation.
            instruction: navigation text that the planner was given.
            latency_ms: wall time from asking to having the plan.

        Raises:
            LoopEnded: where the rollout is over.
            InvalidInput: for a trajectory that cannot be followed (see require_trajectory).
        """
        self._require_running()
        require_trajectory("drive", stamps_us, local_from_rig, now_us=self.time_us)
        drive = DriveRecord(
            time_us=self.time_us,
            source="reference" if self.warming_up else "plan",
            stamps_us=stamps_us,
            local_from_rig=local_from_rig,
            candidates=np.zeros((0, _PLAN_STEPS, 3)) if candidates is None else candidates,
            chosen=chosen,
            reasoning=reasoning,
            instruction=instruction,
            latency_ms=latency_ms,
        )
        if self.warming_up:
            return self._step(drive, lambda to_us: self._place(self.course.state_at(to_us)))
        return self._step(drive, lambda to_us: self._dynamics.advance(stamps_us, local_from_rig, to_us))

    def stop(self, reason: str, *, along: Trajectory | None = None) -> EgoState:
        """Move on by one step of a stop; returns the new state.

        Args:
            reason: why there is no plan; kept in the record.
            along: the planner's own stop, its first pose where the ego is now; by default a comfortable one
                along what was driven last.

        Raises:
            LoopEnded: where the rollout is over.
            InvalidInput: for a stop that cannot be followed (see require_trajectory).
        """
        self._require_running()
        if self.warming_up:
            return self.follow_reference()
        if along is None:
            path = self._drives[-1].local_from_rig[:, :3, 3] if self._drives else None
            along = stop_trajectory(self.ego, path)
        stamps_us, poses = along
        require_trajectory("stop", stamps_us, poses, now_us=self.time_us)
        drive = self._drive("stop", (stamps_us, poses), reason=reason)
        return self._step(drive, lambda to_us: self._dynamics.advance(stamps_us, poses, to_us))

    def go_on(self, reason: str) -> EgoState | None:
        """Move on by one step along the last plan; None where there is none, or too little is left of it.

        Args:
            reason: why there is no newer one; kept in the record.

        Raises:
            LoopEnded: where the rollout is over.
        """
        self._require_running()
        if self.warming_up or not self._drives or self._drives[-1].source != "plan":
            return None
        last = self._drives[-1]
        ahead = last.stamps_us > self.time_us
        stamps_us = np.concatenate([[self.time_us], last.stamps_us[ahead]])
        poses = np.concatenate([self.ego.local_from_rig[None], last.local_from_rig[ahead]])
        try:
            require_trajectory("plan", stamps_us, poses, now_us=self.time_us)
        except InvalidInput:
            return None
        drive = replace(last, time_us=self.time_us, stamps_us=stamps_us, local_from_rig=poses, reason=reason)
        return self._step(drive, lambda to_us: self._dynamics.advance(stamps_us, poses, to_us))

    def finish(self, reason: EndReason, error: str = "") -> None:
        """End the rollout from outside: "terminated", "interrupted", or "failed" with an error."""
        if self._end is None:
            self._end, self._error = reason, error
            self._wall_s = self._clock() - self._started_s

    def record(self) -> RolloutRecord:
        """Return what the rollout left behind.

        Raises:
            InvalidInput: while it is running (`finish` it first).
        """
        if self._end is None:
            raise InvalidInput("record: expected a rollout that is over, got one that is running")
        return RolloutRecord(
            scene=self.scene,
            rollout_index=self.rollout_index,
            planner=self.planner,
            ego=tuple(self._states),
            actors=_tracks(self._actors),
            drives=tuple(self._drives),
            end_reason=self._end,
            error=self._error,
            wall_s=self._wall_s,
            unsolved_steps=self._dynamics.unsolved_steps if isinstance(self._dynamics, EgoDynamics) else None,
        )

    def _drive(self, source: DriveSource, trajectory: Trajectory, reason: str = "") -> DriveRecord:
        return DriveRecord(self.time_us, source, *trajectory, instruction=self.instruction(), reason=reason)

    def _place(self, state: EgoState) -> EgoState:
        self._dynamics.place(state)
        return self._dynamics.state

    def _step(self, drive: DriveRecord, move: Callable[[int], EgoState]) -> EgoState:
        now, to_us = self.ego, self.time_us + STEP_US
        moved = move(to_us)
        self.world.step(now, to_us)
        if moved.time_us != to_us or self.world.time_us != to_us:
            raise InvalidInput(
                f"step: expected ego and world at {to_us} us, got {moved.time_us} and {self.world.time_us} us"
            )
        self._drives.append(drive)
        self._states.append(moved)
        self._actors.append(self.world.actors)
        reason = self._ending()
        if reason is not None:
            self.finish(reason)
        return moved

    def _ending(self) -> EndReason | None:
        """Return why the rollout ends at the present instant, or None."""
        if self.time_us >= self.scene.start_us + FORCE_GT_US:
            if self._checker.collision(self.ego, self.actors) is not None:
                return "collision"
            if self._checker.off_road(self.ego):
                return "off_road"
            if self.course.is_passed(self.ego):
                return "goal"
        return "time" if self.time_us >= self.end_us else None

    def _require_running(self) -> None:
        if self._end is not None:
            raise LoopEnded(
                f"rollout {self.scene.scene_id}: over ({self._end}), a further step was asked for"
            )


def _tracks(steps: list[tuple[ActorState, ...]]) -> dict[str, ActorTrack]:
    """Return the actors of all steps as tracks, by id in order."""
    first: dict[str, ActorState] = {}
    for actors in steps:
        for actor in actors:
            first.setdefault(actor.actor_id, actor)
    present = {actor_id: np.zeros(len(steps), bool) for actor_id in first}
    poses = {actor_id: np.full((len(steps), 4, 4), np.nan) for actor_id in first}
    for index, actors in enumerate(steps):
        for actor in actors:
            present[actor.actor_id][index] = True
            poses[actor.actor_id][index] = actor.local_from_box
    return {
        actor_id: ActorTrack(
            actor_id=actor_id,
            kind=actor.kind,
            size_xyz_m=actor.size_xyz_m,
            is_static=actor.is_static,
            present=present[actor_id],
            local_from_box=poses[actor_id],
        )
        for actor_id, actor in sorted(first.items())
    }
