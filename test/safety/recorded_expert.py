"""The expert, with what it saw and planned kept."""

from __future__ import annotations

from alpamayo_ros.sim.planner_sources import ExpertSource
from alpamayo_ros.sim.world import ProceduralWorld
from alpamayo_ros.types import Observation, Plan, Planner, PrepareFrame


class RecordingSource:
    """Makes experts. `plans` are the observations and plans of all of them, in the order of planning."""

    name = "expert"
    camera_ids: tuple[int, ...] = ()

    def __init__(self) -> None:
        self.plans: list[tuple[Observation, Plan]] = []

    def start(self, world: ProceduralWorld, *, seed: int) -> Planner:
        expert, plans = ExpertSource().start(world, seed=seed), self.plans

        class Recording:
            def plan(self, observation: Observation) -> Plan:
                plan = expert.plan(observation)
                plans.append((observation, plan))
                return plan

        return Recording()

    def prepare_frame(self) -> PrepareFrame | None:
        return None
