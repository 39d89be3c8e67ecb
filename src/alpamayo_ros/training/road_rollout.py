"""A policy's guided rollouts as episodes: what is driven at each tick, and what is told of it.

It plugs into simulate.py, which asks the expert at every tick, labels, stores and leaves out what comes
before a collision: the episodes are of the same kind as those of the expert's own drives.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

from alpamayo_ros.sim.observations import FrameHistory, observe
from alpamayo_ros.sim.roads import Float64Array
from alpamayo_ros.sim.rollout import ClosedLoop
from alpamayo_ros.sim.rollout_driver import Job, PlannerSource
from alpamayo_ros.sim.trajectories import plan_in_local
from alpamayo_ros.sim.world import ProceduralWorld
from alpamayo_ros.training.episode_file import DataSetError, EpisodeFile
from alpamayo_ros.training.road_guidance import Guidance, Nearest, nearest_sample
from alpamayo_ros.training.shards import read_index
from alpamayo_ros.training.simulate import EpisodeJob
from alpamayo_ros.training.steering import Steered
from alpamayo_ros.types import NUM_HISTORY_POSES, InvalidInput, Plan, Planner

RoadTag = Literal["policy", "recovered"]
"""Who drives on from a sample's state: the policy's nearest sample, or the expert's continuation."""

_NOTE = "road"


@dataclass(frozen=True)
class RolloutFigures:
    """What guided rollouts came to; figures of several add up.

    Attributes:
        ticks: driven, 10 a second.
        recovered: of these, in how many the expert drove.
        asked: in how many the policy was asked; in a recovery it is not.
        undrivable: in how many of these none of its samples was finite.
        nearest_m: sum over the others of the nearest sample's mean distance from the expert's continuation.
    """

    ticks: int = 0
    recovered: int = 0
    asked: int = 0
    undrivable: int = 0
    nearest_m: float = 0.0

    def __add__(self, other: RolloutFigures) -> RolloutFigures:
        """Return the figures of both."""
        return RolloutFigures(
            self.ticks + other.ticks,
            self.recovered + other.recovered,
            self.asked + other.asked,
            self.undrivable + other.undrivable,
            self.nearest_m + other.nearest_m,
        )

    @property
    def recovered_share(self) -> float | None:
        """Share of the ticks in which the expert drove, None without ticks."""
        return self.recovered / self.ticks if self.ticks else None

    @property
    def mean_nearest_m(self) -> float | None:
        """Mean distance of the nearest sample, None where there was none."""
        drivable = self.asked - self.undrivable
        return self.nearest_m / drivable if drivable else None

    def as_dict(self) -> dict[str, float | int | None]:
        """Return the counts and both means."""
        return {
            "ticks": self.ticks,
            "recovered": self.recovered,
            "recovered_share": self.recovered_share,
            "asked": self.asked,
            "undrivable": self.undrivable,
            "mean_nearest_m": self.mean_nearest_m,
        }


class GuidedSteering:
    """Drives one rollout of a policy (a simulate.Steering).

    Args:
        planner: the policy.
        frames: collects its pictures; None for one that looks at none.
        guidance: K, distances, recovery.
        iteration: for the tags.
    """

    def __init__(
        self, planner: Planner, frames: FrameHistory | None, *, guidance: Guidance, iteration: int
    ) -> None:
        self._planner, self._frames = planner, frames
        self._guidance, self._iteration = guidance, iteration
        self._left_ticks = 0
        self._held: tuple[Plan, Float64Array, int] | None = None
        self._figures = RolloutFigures()

    @property
    def notes(self) -> Mapping[str, str]:
        """The rollout's figures, to be read by figures_of."""
        return {_NOTE: json.dumps(asdict(self._figures))}

    def look(self, time_us: int, images: Mapping[int, bytes]) -> None:
        """Take a set of pictures as they were rendered; the policy sees them as in `alpamayo sim`."""
        if self._frames is not None:
            self._frames.add(time_us, images)

    def steer(self, tick: int, loop: ClosedLoop, plan: Plan) -> Steered:
        """Return what is driven: the policy's sample nearest to the expert's plan; in a recovery that plan.

        Raises:
            InvalidInput: for another number of samples than the guidance asks for.
        """
        driven, who, from_t0 = plan, "recovered", loop.ego.local_from_rig
        if self._held is not None:
            driven, from_t0, left_ticks = self._held
            who = "policy"
            self._held = (driven, from_t0, left_ticks - 1) if left_ticks > 1 else None
        elif self._left_ticks:
            self._left_ticks -= 1
        else:
            history = loop.history(NUM_HISTORY_POSES)
            sampled = self._planner.plan(observe(history, self._frames, instruction=loop.instruction()))
            nearest = nearest_sample(sampled, plan, guidance=self._guidance)
            self._figures += _asked(nearest)
            if nearest.is_near:
                driven, who = replace(sampled, chosen=nearest.index), "policy"
                if self._guidance.held_ticks > 1:
                    self._held = driven, from_t0, self._guidance.held_ticks - 1
            else:
                self._left_ticks = self._guidance.recovery_ticks - 1
        recovers = who == "recovered"
        self._figures += RolloutFigures(ticks=1, recovered=int(recovers))
        tags = {
            "road": who,
            "iteration": str(self._iteration),
            "recovery": "recovering" if recovers else "none",
        }
        ego = loop.ego
        trajectory = plan_in_local(driven, from_t0, now_us=ego.time_us, local_from_rig_now=ego.local_from_rig)
        return Steered(trajectory, tags)


def _asked(nearest: Nearest) -> RolloutFigures:
    if math.isfinite(nearest.mean_m):
        return RolloutFigures(asked=1, nearest_m=nearest.mean_m)
    return RolloutFigures(asked=1, undrivable=1)


@dataclass(frozen=True)
class GuidedSteerer:
    """Makes the steering of each rollout (a simulate.Steerer); goes to worker processes.

    Attributes:
        source: makes the policy; its plans have guidance.num_samples samples. Left out of the data set's
            settings: which checkpoint it is does not follow from where it lies.
        guidance: of its rollouts.
        iteration: from 1 on.

    Raises:
        InvalidInput: for an iteration below 1.
    """

    source: PlannerSource = field(repr=False)
    guidance: Guidance
    iteration: int
    policy: str = ""

    def __post_init__(self) -> None:
        if self.iteration < 1:
            raise InvalidInput(f"iteration: expected 1 or more, got {self.iteration}")

    @property
    def kind(self) -> str:
        """Part of the episodes' names."""
        return f"road{self.iteration}"

    def start(self, job: EpisodeJob, world: ProceduralWorld, *, seed: int) -> GuidedSteering:
        """Return the steering of an episode; what the policy draws comes from the job and the seed alone."""
        source = self.source
        planner = source.start(world, seed=Job(job.scene_id, job.variant, seed).seed)
        frames = FrameHistory(source.camera_ids, source.prepare_frame()) if source.camera_ids else None
        return GuidedSteering(planner, frames, guidance=self.guidance, iteration=self.iteration)


def figures_of(folder: Path) -> RolloutFigures:
    """Return the figures of all rollouts of a data set.

    Raises:
        DataSetError: for no data set, or one that holds something else than guided rollouts.
    """
    return _sum(_figures(folder / entry.file) for entry in read_index(folder))


def _sum(figures: Iterable[RolloutFigures]) -> RolloutFigures:
    return sum(figures, RolloutFigures())


def _figures(path: Path) -> RolloutFigures:
    note = EpisodeFile(path).head.notes.get(_NOTE)
    if note is None:
        raise DataSetError(f"{path}: expected a guided rollout, got an episode without its figures")
    return RolloutFigures(**json.loads(note))
