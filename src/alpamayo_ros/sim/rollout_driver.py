"""Drives one rollout headless: pictures where the planner wants any, a plan a step, the record at the end."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeAlias

from alpamayo_ros.sim.attached_driver import AttachedDriver, VehicleCameras
from alpamayo_ros.sim.observations import FrameHistory, observe
from alpamayo_ros.sim.record import RolloutRecord
from alpamayo_ros.sim.rollout import ClosedLoop
from alpamayo_ros.sim.scene import FORCE_GT_US, STEP_US
from alpamayo_ros.sim.scenes import make_scene
from alpamayo_ros.sim.trajectories import candidates_in_local, plan_in_local
from alpamayo_ros.sim.world import ProceduralWorld
from alpamayo_ros.types import NUM_FRAMES, Planner, PrepareFrame


class PlannerSource(Protocol):
    """Makes the planner of each rollout; picklable, as it is sent to worker processes."""

    @property
    def name(self) -> str:
        """What drives, for people and the record."""
        ...

    @property
    def camera_ids(self) -> tuple[int, ...]:
        """The cameras that it looks at, ascending; none for a planner that needs no pictures."""
        ...

    def start(self, world: ProceduralWorld, *, seed: int) -> Planner:
        """Return the planner of a rollout; what it draws at random comes from `seed` alone."""
        ...

    def prepare_frame(self) -> PrepareFrame | None:
        """Return how the planner wants its frames, None for as they are."""
        ...


RolloutSource: TypeAlias = PlannerSource | AttachedDriver
"""What drives rollouts: planners in this process, or a driver behind AlpaSim's protocol."""


@dataclass(frozen=True)
class Job:
    """One rollout to drive.

    Attributes:
        scene_id: where.
        rollout_index: of several in one scene.
        run_seed: of what the planners of a run draw; the scene does not depend on it.
    """

    scene_id: str
    rollout_index: int = 0
    run_seed: int = 0

    @property
    def name(self) -> str:
        """As in RolloutScore."""
        return f"{self.scene_id}#{self.rollout_index}"

    @property
    def folder(self) -> str:
        """Name of the folder of its results."""
        return self.scene_id if self.rollout_index == 0 else f"{self.scene_id}_{self.rollout_index}"

    @property
    def seed(self) -> int:
        """Seed of what its planner draws: of the attributes alone, the same in every process."""
        digest = hashlib.sha256(f"{self.run_seed}/{self.scene_id}/{self.rollout_index}".encode()).digest()
        return int.from_bytes(digest[:7], "big")


def drive_rollout(job: Job, source: RolloutSource, pictures: VehicleCameras | None = None) -> RolloutRecord:
    """Drive one rollout to its end and return its record.

    What fails in between (the planner, the renderer, the controller) ends the rollout as "failed" with the
    error; Ctrl-C as "interrupted".

    Raises:
        Exception: what making the scene, its world or the planner raises: then there is no rollout yet.
    """
    world = ProceduralWorld(make_scene(job.scene_id))
    loop = ClosedLoop(world, rollout_index=job.rollout_index, planner=source.name)
    if source.camera_ids and pictures is None:
        raise ValueError(f"{source.name} looks at cameras, and there is no renderer")
    with ExitStack() as stack:
        if isinstance(source, AttachedDriver):
            assert pictures is not None
            step = stack.enter_context(source.session(loop, pictures, seed=job.seed)).step
        else:
            planner = source.start(world, seed=job.seed)
            frames = FrameHistory(source.camera_ids, source.prepare_frame()) if source.camera_ids else None
            step = partial(_step, loop, planner, frames, pictures)
        _drive(loop, step)
    return loop.record()


def _drive(loop: ClosedLoop, step: Callable[[], None]) -> None:
    try:
        while not loop.done:
            step()
    except KeyboardInterrupt:
        loop.finish("interrupted")
    except Exception as error:
        loop.finish("failed", f"{type(error).__name__}: {error}")


def _step(
    loop: ClosedLoop, planner: Planner, frames: FrameHistory | None, pictures: VehicleCameras | None
) -> None:
    first_frame_us = loop.scene.start_us + FORCE_GT_US - (NUM_FRAMES - 1) * STEP_US
    if frames is not None and pictures is not None and loop.time_us >= first_frame_us:
        frames.add(loop.time_us, pictures.render(loop.ego, loop.actors, camera_ids=frames.camera_ids))
    if loop.warming_up:
        loop.follow_reference()
        return
    instruction = loop.instruction()
    observation = observe(loop.history(16), frames, instruction=instruction)
    started_s = time.perf_counter()
    plan = planner.plan(observation)
    latency_ms = (time.perf_counter() - started_s) * 1e3
    pose = loop.ego.local_from_rig
    stamps_us, poses = plan_in_local(plan, pose)
    loop.drive(
        stamps_us,
        poses,
        candidates=candidates_in_local(plan, pose),
        chosen=plan.chosen,
        reasoning=plan.reasoning[plan.chosen],
        instruction=instruction,
        latency_ms=latency_ms,
    )
