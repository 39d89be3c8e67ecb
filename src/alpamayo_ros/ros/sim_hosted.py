"""A baseline planner inside the bridge's process: the real planner node, whose backend knows the world."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np

from alpamayo_ros.ros.planner_backend import PlannerBackend
from alpamayo_ros.ros.planner_parameters import PlannerSettings
from alpamayo_ros.ros.sim_messages import NS_PER_US
from alpamayo_ros.sim.planners import ConstantVelocityPlanner, ExpertPlanner
from alpamayo_ros.sim.scene import FORCE_GT_US
from alpamayo_ros.sim.state import World
from alpamayo_ros.sim.world import ProceduralWorld
from alpamayo_ros.types import InvalidInput, Observation, Plan, Planner, PlanOptions

_SAME_M = 1e-3
"""Observations whose poses differ by less are of the same drive: they travel as float32 in part."""


class HostedPlanner:
    """Plans for whatever rollout is on: the privileged expert, or constant velocity.

    The expert reads the world, which rests while a plan is waited for, and moves in between: `moving()` keeps
    the two apart. As it looks at no images, it can think while they are drawn (`think_ahead`). In warm-up
    nobody drives by a plan and the world does not wait: plans are at constant velocity then.

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
        self._thinking = ThreadPoolExecutor(1, thread_name_prefix="expert")
        self._ahead: tuple[Observation, Future[Plan]] | None = None

    def begin(self, world: World) -> None:
        """Plan for the rollout of this world from now on; InvalidInput for an expert in a recorded one."""
        with self._resting:
            self._world, self._ahead = world, None
            if self.kind == "expert":
                if not isinstance(world, ProceduralWorld):
                    raise InvalidInput(
                        "planner: expected a procedural scene for the expert, got a recorded one"
                    )
                self._planner = ExpertPlanner(world)

    def close(self) -> None:
        """End the thread that thinks ahead."""
        self._thinking.shutdown()

    @contextmanager
    def moving(self) -> Iterator[None]:
        """Hold plans back while the world moves."""
        with self._resting:
            yield

    def think_ahead(self, expected: Observation) -> None:
        """Begin to plan for the observation that is to come; its images do not matter."""
        if self.kind == "expert":
            self._ahead = (expected, self._thinking.submit(self._plan, expected))

    def plan(self, observation: Observation) -> Plan:
        """Return the plan; raises InvalidInput for another time than the world's."""
        ahead = self._ahead
        if ahead is not None and _same_drive(ahead[0], observation):
            return ahead[1].result()
        return self._plan(observation)

    def _plan(self, observation: Observation) -> Plan:
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


def _same_drive(one: Observation, other: Observation) -> bool:
    """Return whether two observations are of the same time and of the same poses until then."""
    return one.t0_ns == other.t0_ns and all(
        np.allclose(getattr(one, name), getattr(other, name), rtol=0.0, atol=_SAME_M)
        for name in ("rig_pose_in_odom_at_t0", "history_xyz_in_rig_t0")
    )
