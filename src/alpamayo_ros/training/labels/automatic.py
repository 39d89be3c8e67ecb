"""Automatic labels: from what the expert knows of the scene, in the words of sim/planners/wording.py."""

from __future__ import annotations

from dataclasses import dataclass

from alpamayo_ros.sim.planners import ExpertPlanner
from alpamayo_ros.sim.planners.reasons import Cause
from alpamayo_ros.sim.planners.wording import sentence
from alpamayo_ros.sim.state import EgoState
from alpamayo_ros.sim.world import ProceduralWorld
from alpamayo_ros.training.labels.meta_action import meta_action_of
from alpamayo_ros.training.simulate import Label
from alpamayo_ros.types import Float32Array, InvalidInput, Plan


def label_of(
    cause: Cause, xyz_in_rig_t0: Float32Array, rot_in_rig_t0: Float32Array, *, seed: int | str | None = None
) -> Label:
    """Return the label of one plan; its tags are "component" and "manoeuvre".

    Args:
        cause: what the plan is about.
        xyz_in_rig_t0: float32 [64, 3] m.
        rot_in_rig_t0: float32 [64, 3, 3].
        seed: chooses the wording, the same one each time; by default the plainest is taken.

    Raises:
        InvalidInput: on waypoints of a wrong shape or dtype, or that are not finite.
    """
    return Label(
        reasoning=sentence(cause, seed=seed),
        meta_action=str(meta_action_of(cause, xyz_in_rig_t0, rot_in_rig_t0)),
        tags={"component": cause.component.value, "manoeuvre": cause.manoeuvre.value},
    )


@dataclass(frozen=True)
class AutomaticLabels:
    """Makes automatic labels (a simulate.Labeller).

    Attributes:
        varied: whether the wording varies from tick to tick; the plainest is taken otherwise.
    """

    varied: bool = True

    def start(self, expert: ExpertPlanner, *, seed: int) -> EpisodeAutomaticLabels:
        """Return the labels of an episode that this expert drives."""
        return EpisodeAutomaticLabels(expert, seed if self.varied else None)


@dataclass(frozen=True, eq=False)
class EpisodeAutomaticLabels:
    """Labels the plans of one episode's expert."""

    expert: ExpertPlanner
    seed: int | None

    def label(self, world: ProceduralWorld, ego: EgoState, plan: Plan) -> Label:
        """Return the label of the chosen candidate of the plan that the expert has just made.

        Raises:
            InvalidInput: for a plan that is not the expert's last one.
        """
        causes = self.expert.causes
        if len(causes) != plan.num_samples or sentence(causes[plan.chosen]) != plan.reasoning[plan.chosen]:
            raise InvalidInput(
                f"plan: expected the expert's last one, {[sentence(cause) for cause in causes]}, "
                f"got one that says {list(plan.reasoning)}"
            )
        seed = None if self.seed is None else f"{self.seed}/{world.scene.scene_id}/{plan.t0_ns}"
        return label_of(
            causes[plan.chosen],
            plan.xyz_in_rig_t0[plan.chosen],
            plan.rot_in_rig_t0[plan.chosen],
            seed=seed,
        )
