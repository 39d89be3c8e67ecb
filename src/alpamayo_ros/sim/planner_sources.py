"""The planners that need no model, as `alpamayo sim --planner` names them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from alpamayo_ros.sim.planners import ConstantVelocityPlanner, ExpertPlanner
from alpamayo_ros.sim.rollout_driver import PlannerSource
from alpamayo_ros.sim.world import ProceduralWorld
from alpamayo_ros.types import Planner, PrepareFrame


@dataclass(frozen=True)
class ExpertSource:
    """The privileged expert; looks at the world itself, at no pictures."""

    name: str = "expert"
    camera_ids: ClassVar[tuple[int, ...]] = ()

    def start(self, world: ProceduralWorld, *, seed: int) -> Planner:
        """Return an expert of this world; it draws nothing at random."""
        return ExpertPlanner(world)

    def prepare_frame(self) -> PrepareFrame | None:
        return None


@dataclass(frozen=True)
class ConstantSource:
    """Constant velocity; looks at nothing."""

    name: str = "constant"
    camera_ids: ClassVar[tuple[int, ...]] = ()

    def start(self, world: ProceduralWorld, *, seed: int) -> Planner:
        """Return the planner; it draws nothing at random."""
        return ConstantVelocityPlanner()

    def prepare_frame(self) -> PrepareFrame | None:
        return None


SOURCES: dict[str, PlannerSource] = {"expert": ExpertSource(), "constant": ConstantSource()}
