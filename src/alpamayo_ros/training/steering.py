"""What is driven in a simulated episode: the expert's plan, now and then disturbed, or a policy's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from alpamayo_ros.sim.rollout import ClosedLoop
from alpamayo_ros.sim.trajectories import Trajectory, plan_in_local
from alpamayo_ros.sim.world import ProceduralWorld
from alpamayo_ros.training.perturb import Disturbances
from alpamayo_ros.types import Plan

if TYPE_CHECKING:
    from alpamayo_ros.training.simulate import EpisodeJob


@dataclass(frozen=True, eq=False)
class Steered:
    """What is driven at a tick, and what its sample is tagged with for it."""

    trajectory: Trajectory
    tags: Mapping[str, str]


class Steering(Protocol):
    """Drives one episode."""

    @property
    def notes(self) -> Mapping[str, str]:
        """For the episode's head, asked when the episode is over."""
        ...

    def look(self, time_us: int, images: Mapping[int, bytes]) -> None:
        """Take a set of pictures by camera id, encoded, as rendered; the first 0.3 s before the handover."""
        ...

    def steer(self, tick: int, loop: ClosedLoop, plan: Plan) -> Steered:
        """Return what is driven at a tick at which the expert has planned `plan`."""
        ...


class Steerer(Protocol):
    """Makes the steering of each episode; picklable. Its repr() belongs to the data set's settings."""

    @property
    def kind(self) -> str:
        """Part of the episodes' names, "" for none."""
        ...

    def start(self, job: EpisodeJob, world: ProceduralWorld, *, seed: int) -> Steering:
        """Return the steering of an episode; what it draws comes from the job and the seed alone."""
        ...


class DisturbedSteering:
    """The expert's plan is driven, disturbed now and then."""

    def __init__(self, disturbances: Disturbances) -> None:
        self._disturbances = disturbances

    @property
    def notes(self) -> Mapping[str, str]:
        """Return the disturbances, for people."""
        return {"disturbances": "; ".join(map(str, self._disturbances.all))}

    def look(self, time_us: int, images: Mapping[int, bytes]) -> None:
        """Look at nothing."""

    def steer(self, tick: int, loop: ClosedLoop, plan: Plan) -> Steered:
        """Return the plan, disturbed if a disturbance is on."""
        trajectory = plan_in_local(plan, loop.ego.local_from_rig)
        disturbance = self._disturbances.at(tick)
        if disturbance is not None:
            trajectory = disturbance.disturbed(trajectory, speed_mps=loop.ego.speed_mps)
        return Steered(trajectory, {"recovery": self._disturbances.recovery(tick)})


@dataclass(frozen=True)
class DisturbedSteerer:
    """The expert drives: variant 0 of a scene undisturbed, each other one disturbed in its own way."""

    kind: str = ""

    def start(self, job: EpisodeJob, world: ProceduralWorld, *, seed: int) -> DisturbedSteering:
        """Return the steering with the disturbances of the job's variant."""
        return DisturbedSteering(Disturbances.drawn(job.scene_id, variant=job.variant, seed=seed))
