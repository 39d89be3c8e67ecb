"""A baseline planner inside the bridge's process: the real planner node, whose backend knows the world."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from alpamayo_ros.ros.planner_backend import PlannerBackend
from alpamayo_ros.ros.planner_parameters import PlannerSettings
from alpamayo_ros.ros.sim_messages import NS_PER_US
from alpamayo_ros.sim.planners import ConstantVelocityPlanner, ExpertPlanner
from alpamayo_ros.sim.scene import FORCE_GT_US
from alpamayo_ros.sim.state import World
from alpamayo_ros.sim.world import ProceduralWorld
from alpamayo_ros.types import InvalidInput, Observation, Plan, Planner, PlanOptions


class HostedPlanner:
    """Plans for whatever rollout is on: the privileged expert, or constant velocity.

    The expert reads the world, which rests while a plan is waited for, and moves in between: `moving()` keeps
    the two apart. In warm-up nobody drives by a plan and the world does not wait: plans are at constant
    velocity then.

    Args:
        kind: "expert" or "constant".

    Raises:
        InvalidInput: for another kind.
    """

    def __init__(self, kind: str) -> None:
        if kind not in ("expert", "constant"):
            raise InvalidInput(f"planner: expected expert or constant, got {kind!r}")
        self.kind = kind
        self._constant = ConstantVelocityPlanner()
        self._planner: Planner = self._constant
        self._world: World | None = None
        self._resting = threading.Lock()

    def begin(self, world: World) -> None:
        """Plan for the rollout of this world from now on; InvalidInput for an expert in a recorded one."""
        with self._resting:
            self._world = world
            if self.kind == "expert":
                if not isinstance(world, ProceduralWorld):
                    raise InvalidInput(
                        "planner: expected a procedural scene for the expert, got a recorded one"
                    )
                self._planner = ExpertPlanner(world)

    @contextmanager
    def moving(self) -> Iterator[None]:
        """Hold plans back while the world moves."""
        with self._resting:
            yield

    def plan(self, observation: Observation) -> Plan:
        """Return the plan; raises InvalidInput for another time than the world's."""
        with self._resting:
            if self._world is None:
                raise InvalidInput("observation: expected one of a rollout, got one before any began")
            if observation.t0_ns < (self._world.scene.start_us + FORCE_GT_US) * NS_PER_US:
                return self._constant.plan(observation)
            now_ns = self._world.time_us * NS_PER_US
            if observation.t0_ns != now_ns:
                raise InvalidInput(
                    f"observation: expected the world's time, {now_ns} ns, got t0 {observation.t0_ns} ns"
                )
            return self._planner.plan(observation)

    def load(self, settings: PlannerSettings, options: PlanOptions) -> PlannerBackend:
        """Return the backend for PlannerNode(load=...)."""
        return PlannerBackend(self, model_id=self.kind)
