"""What a rollout leaves behind: scores, logs, reports and videos are made from it alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.sim.roads import Float64Array
from alpamayo_ros.sim.scene import ActorKind, Scene
from alpamayo_ros.sim.state import EgoState

EndReason = Literal["time", "goal", "collision", "off_road", "terminated", "failed", "interrupted"]
DriveSource = Literal["plan", "stop", "reference"]
"""Who moved the ego in a step: the planner, a stop for want of a plan, or the reference (warm-up)."""


@dataclass(frozen=True, eq=False)
class DriveRecord:
    """One step's plan.

    Attributes:
        time_us: t0 of the plan.
        source: what moved the ego from here to the next step.
        stamps_us: int64 [P], of the trajectory that was driven; the first is time_us.
        local_from_rig: float64 [P, 4, 4], poses of the rig along it.
        candidates: all sampled trajectories as xyz [K, 64, 3] in local (0.1 s apart, from time_us + 0.1 s).
        chosen: index of the one that was driven.
        reasoning: its Chain-of-Causation.
        instruction: navigation text that the planner was given.
        latency_ms: wall time from asking to having the plan.
        reason: why there was no plan, where source is "stop".
    """

    time_us: int
    source: DriveSource
    stamps_us: NDArray[np.int64]
    local_from_rig: Float64Array
    candidates: Float64Array = field(default_factory=lambda: np.zeros((0, 64, 3)))
    chosen: int = 0
    reasoning: str = ""
    instruction: str = ""
    latency_ms: float = 0.0
    reason: str = ""


@dataclass(frozen=True, eq=False)
class ActorTrack:
    """One actor as it was in the rollout: by step, presence [S] and box poses [S, 4, 4] (NaN if absent)."""

    actor_id: str
    kind: ActorKind
    size_xyz_m: tuple[float, float, float]
    is_static: bool
    present: NDArray[np.bool_]
    local_from_box: Float64Array


@dataclass(frozen=True, eq=False)
class RolloutRecord:
    """One rollout.

    Attributes:
        scene: what it ran in.
        rollout_index: of several in one scene.
        planner: what drove, for people.
        ego: states at the steps, S of them, 100 ms apart, from scene.start_us on.
        actors: by id.
        drives: one a step but the last.
        end_reason: why it ended.
        error: what failed, where end_reason is "failed".
        wall_s: how long it took.
        unsolved_steps: steps in which the controller found no command and braked instead; None where the
            ego was moved by another one than ours.
    """

    scene: Scene
    rollout_index: int
    planner: str
    ego: tuple[EgoState, ...]
    actors: Mapping[str, ActorTrack]
    drives: tuple[DriveRecord, ...]
    end_reason: EndReason
    error: str = ""
    wall_s: float = 0.0
    unsolved_steps: int | None = None

    @property
    def stamps_us(self) -> NDArray[np.int64]:
        """Stamps [S] of the steps."""
        return np.array([state.time_us for state in self.ego], dtype=np.int64)
