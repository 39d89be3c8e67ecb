"""What a planner hands to the audit log: one Decision for each thing that it decided, as it has it at hand.

Nothing is copied, hashed or encoded here, so making one costs microseconds; see record.py for what is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.safety.arbiter import ArbiterState
from alpamayo_ros.safety.supervisor import Judgement, SafetySettings
from alpamayo_ros.types import InvalidInput, Observation, Plan, PlanOptions, require_array


class Outcome(Enum):
    """What became of an observation, or what was sent without one."""

    VALID = "valid"  # published, to be driven
    UNCHECKED = "unchecked"  # published while the safety gate is switched off
    WAITING = "waiting"  # passed, but the fallback goes on until enough plans in a row have passed
    REJECTED = "rejected"  # by the gate, or by the monitor
    LATE = "late"  # planned, but too old by then
    DISCARDED = "discarded"  # planned, but time has jumped since, or the planner was deactivated
    INFERENCE_FAILED = "inference failed"
    OBSERVATION_REFUSED = "observation refused"
    STOP = "stop"  # a fallback plan that was published


@dataclass(frozen=True, eq=False)
class OdometryWindow:
    """The poses that a history was interpolated from.

    Attributes:
        stamps_ns: int64 [N], rising.
        odom_from_rig: float64 [N, 4, 4], p_odom = T @ p_rig.

    Raises:
        InvalidInput: for a wrong shape or dtype, or stamps that do not rise.
    """

    stamps_ns: NDArray[np.int64]
    odom_from_rig: NDArray[np.float64]

    def __post_init__(self) -> None:
        require_array("odometry stamps_ns", self.stamps_ns, (None,), np.int64)
        require_array("odometry odom_from_rig", self.odom_from_rig, (len(self.stamps_ns), 4, 4), np.float64)
        if np.any(np.diff(self.stamps_ns) <= 0):
            raise InvalidInput("odometry stamps_ns: expected rising stamps, got some that do not rise")


@dataclass(frozen=True, eq=False, kw_only=True)
class Decision:
    """One decision. Everything is kept by reference: arrays must not be written to afterwards.

    Attributes:
        outcome: what became of it.
        decided_ns: when, in the clock of t0; for a plan that was judged, the `now_ns` that it was judged at.
        reason: why, for people; "" for a plan that is driven.
        t0_ns: of the observation; of a stop, the stamp of the state that it begins from. None: not known.
        observation: what the model saw; None where it was refused before there was one, and of stops.
        epoch: of the assembler. Within one, a camera's stamp stands for one frame, which is hashed once.
        odometry: where the observation's history is from.
        options: what the plan was sampled with; Plan.seed is the seed.
        plan: what was planned or, of a STOP, the stop; None without. A judgement's own goes first.
        judgement: of the supervisor; None where it was not asked.
        settings: of the supervisor at that time.
        arbiter: how things stood afterwards, by default as the judgement says.
        odom_from_rig: pose of the rig [4, 4] that a stop is relative to; of others it is the observation's.
        latency_ms: of the inference.
        engaged: whether the planner was engaged.
        published_ns: when the message went out; None where none did.

    Raises:
        InvalidInput: for a plan of another t0 than the observation's, a stop without its plan, or a judgement
            without its settings.
    """

    outcome: Outcome
    decided_ns: int
    reason: str = ""
    t0_ns: int | None = None
    observation: Observation | None = None
    epoch: int = 0
    odometry: OdometryWindow | None = None
    options: PlanOptions | None = None
    plan: Plan | None = None
    judgement: Judgement | None = None
    settings: SafetySettings | None = None
    arbiter: ArbiterState | None = None
    odom_from_rig: NDArray[np.float64] | None = None
    latency_ms: float = 0.0
    engaged: bool = False
    published_ns: int | None = None

    def __post_init__(self) -> None:
        if self.judgement is not None:
            if self.settings is None:
                raise InvalidInput("settings: expected those that the plan was judged with, got none")
            object.__setattr__(self, "plan", self.judgement.plan)
            object.__setattr__(self, "arbiter", self.arbiter or self.judgement.state)
        if self.observation is not None:
            if self.t0_ns is None:
                object.__setattr__(self, "t0_ns", self.observation.t0_ns)
            for name, t0_ns in (
                ("t0_ns", self.t0_ns),
                ("plan", self.plan and self.plan.t0_ns),
            ):
                if t0_ns is not None and t0_ns != self.observation.t0_ns:
                    raise InvalidInput(
                        f"{name}: expected the observation's t0 {self.observation.t0_ns} ns, got {t0_ns} ns"
                    )
        if self.outcome is Outcome.STOP and self.plan is None:
            raise InvalidInput("decision: expected the plan of a stop, got none")
