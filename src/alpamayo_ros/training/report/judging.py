"""One plan held against one sample: how far off its way is, whether its reasoning names what matters.

Distances are in the ground plane, in metres, to the sample's future: in simulated data that is the expert's
plan from this very state. ADE@T is the mean distance over the waypoints up to T seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from alpamayo_ros.evaluation.component import component_of_text
from alpamayo_ros.evaluation.displacement import HORIZONS_S, distances_m, waypoints_until
from alpamayo_ros.safety.monitor import judge_reasoning
from alpamayo_ros.training.report.draw import Drawn
from alpamayo_ros.training.sample import SampleSource, TrainingSample
from alpamayo_ros.types import InvalidInput, Observation, Plan, Planner, require_finite

UNNAMED = "nothing"
"""In place of a component, where a reasoning names none."""
MID_GREY = 128

Planning: TypeAlias = Callable[[TrainingSample], Plan]
"""How a plan for a sample is come by; a policy looks at its observation alone."""


@dataclass(frozen=True)
class Judged:
    """What a plan was worth in one sample.

    Attributes:
        sample_id, scene_id, family, recovery: which sample; recovery is its tag, "" if it has none.
        ade_m: of the chosen candidate, by horizon in HORIZONS_S.
        one_ade_m: likewise, the mean over all K candidates: what is to be expected of a single one.
        min_ade_m: minADE_K: the least of the K candidates' ADE over the whole 6.4 s.
        component: the critical one by the sample's tag, "" if it has none.
        named: the one that the chosen candidate's reasoning names first, or UNNAMED.
        agreement: of the reasoning with its own waypoints, by the safety monitor (safety.monitor.Agreement).
        fits_expert: of the reasoning with the sample's future instead, likewise.
        reasoning: of the chosen candidate.
    """

    sample_id: str
    scene_id: str
    family: str
    recovery: str
    ade_m: tuple[float, ...]
    one_ade_m: tuple[float, ...]
    min_ade_m: float
    component: str
    named: str
    agreement: str
    fits_expert: str
    reasoning: str

    def __post_init__(self) -> None:
        for name in ("ade_m", "one_ade_m"):
            if len(getattr(self, name)) != len(HORIZONS_S):
                raise InvalidInput(
                    f"{name}: expected {len(HORIZONS_S)} distances, got {len(getattr(self, name))}"
                )

    @property
    def is_right(self) -> bool | None:
        """Whether the reasoning names the right component; None where nobody knows which it is."""
        return self.named == self.component if self.component else None


def judge(sample: TrainingSample, plan: Plan, *, scene_id: str) -> Judged:
    """Return what a plan is worth in a sample.

    A sample stands alone, so a nudge is judged as one that has just been announced.

    Raises:
        InvalidInput: for a plan of another t0, or one that is not finite.
    """
    if plan.t0_ns != sample.observation.t0_ns:
        raise InvalidInput(
            f"{sample.sample_id}: expected a plan of t0 {sample.observation.t0_ns} ns, got {plan.t0_ns}"
        )
    require_finite(f"{sample.sample_id}: xyz_in_rig_t0", plan.xyz_in_rig_t0)
    distance_m = distances_m(plan.xyz_in_rig_t0, sample.future_xyz_in_rig_t0)
    ade_m = np.stack([distance_m[:, : waypoints_until(horizon_s)].mean(axis=1) for horizon_s in HORIZONS_S])
    named = component_of_text(plan.reasoning[plan.chosen])
    k = plan.num_samples
    as_expert = replace(
        plan,
        xyz_in_rig_t0=np.repeat(sample.future_xyz_in_rig_t0[None], k, axis=0),
        rot_in_rig_t0=np.repeat(sample.future_rot_in_rig_t0[None], k, axis=0),
    )
    return Judged(
        sample_id=sample.sample_id,
        scene_id=scene_id,
        family=sample.tags.get("family", ""),
        recovery=sample.tags.get("recovery", ""),
        ade_m=tuple(float(value) for value in ade_m[:, plan.chosen]),
        one_ade_m=tuple(float(value) for value in ade_m.mean(axis=1)),
        min_ade_m=float(ade_m[-1].min()),
        component=sample.tags.get("component", ""),
        named=UNNAMED if named is None else named.value,
        agreement=judge_reasoning(plan, sample.observation).agreement.value,
        fits_expert=judge_reasoning(as_expert, sample.observation).agreement.value,
        reasoning=plan.reasoning[plan.chosen],
    )


def judge_all(
    planning: Planning,
    samples: SampleSource,
    drawn: Sequence[Drawn],
    *,
    progress: Callable[[], None] = lambda: None,
) -> tuple[Judged, ...]:
    """Return what the plans are worth in the drawn samples, in order; `progress` is told each.

    Raises:
        InvalidInput: what `planning` or judge() raises.
    """
    found = []
    for each in drawn:
        sample = samples[each.index]
        found.append(judge(sample, planning(sample), scene_id=each.scene_id))
        progress()
    return tuple(found)


def seeing(planner: Planner) -> Planning:
    """Return the planner at work as always."""
    return lambda sample: planner.plan(sample.observation)


def blindfolded(planner: Planner) -> Planning:
    """Return the planner at work with blank cameras: all else that it is told stays."""
    return lambda sample: planner.plan(blanked(sample.observation))


def blanked(observation: Observation) -> Observation:
    """Return an observation whose pixels are all mid-grey."""
    frames = observation.frames
    if isinstance(frames, np.ndarray):
        return replace(observation, frames=np.full_like(frames, MID_GREY))
    return replace(observation, frames=tuple(np.full_like(each, MID_GREY) for each in frames))
