"""One plan held against the drive: everything that is measured of it, in one row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from alpamayo_ros.evaluation.comfort import COMFORT, comfort_of
from alpamayo_ros.evaluation.component import component_of_text
from alpamayo_ros.evaluation.consistency import PlacedPlan, inconsistency
from alpamayo_ros.evaluation.displacement import HORIZONS_S, MISS_M, displacement, distances_m
from alpamayo_ros.evaluation.path_frame import path_errors
from alpamayo_ros.evaluation.track import Future
from alpamayo_ros.safety.kinematics import speed_of_history
from alpamayo_ros.safety.monitor import Agreement, Monitor, judge_reasoning
from alpamayo_ros.sensing.rigid import Matrix4
from alpamayo_ros.types import NUM_WAYPOINTS, InvalidInput, Observation, Plan

UNNAMED = "nothing"
"""In place of a component, where a text names none."""

_AT = tuple(f"@{horizon_s:g}s" for horizon_s in HORIZONS_S)
METRICS: tuple[str, ...] = (
    *(f"min_ade{at}" for at in reversed(_AT)),
    *(
        f"{name}{at}"
        for name in ("ade", "one_ade", "fde", "min_fde", "miss", "min_miss")
        for at in reversed(_AT)
    ),
    *(f"{name}{at}" for name in ("lateral_m", "longitudinal_m", "heading_deg") for at in reversed(_AT)),
    *COMFORT,
    "comfortable",
    "change_m",
    "change_max_m",
)
"""What a row measures, the first one first."""


@dataclass(frozen=True)
class Said:
    """What the chosen candidate's text is and whether it fits.

    Attributes:
        text: the Chain-of-Causation, "" where its end never came.
        meta_action: the meta action's text.
        component: the critical component that it names first, or UNNAMED.
        agreement: of the text with its own waypoints, by the safety monitor (safety.monitor.Agreement).
        reason: what contradicts what, "" unless it contradicts.
        fits_drive: of the text with what was driven instead, likewise; None where less than 6.4 s are known.
    """

    text: str
    meta_action: str
    component: str
    agreement: str
    reason: str = ""
    fits_drive: str | None = None


@dataclass(frozen=True)
class Row:
    """What one plan is worth.

    Attributes:
        planner: who made it.
        bag: the bag's name in the run.
        t0_ns: of its observation.
        known_s: how much of the drive after t0 is known.
        speed_mps: at t0, of the history.
        speed_band, manoeuvre: of the drive; see evaluation.manoeuvre.
        candidates: K.
        values: METRICS by name; None where the drive is too short, or there is nothing to compare with.
        said: of planners that speak.
        stages_ms: stage -> ms, and tokens; {} for planners whose time nobody took.
        status: of a recorded plan: valid, rejected, ...
    """

    planner: str
    bag: str
    t0_ns: int
    known_s: float
    speed_mps: float
    speed_band: str
    manoeuvre: str
    candidates: int
    values: Mapping[str, float | None]
    said: Said | None = None
    stages_ms: Mapping[str, float] = field(default_factory=dict)
    status: str = ""

    def __post_init__(self) -> None:
        unknown = sorted(set(self.values) - set(METRICS))
        if unknown:
            raise InvalidInput(f"values: expected some of METRICS, got {', '.join(unknown)}")


@dataclass(frozen=True, eq=False)
class Truth:
    """What is known of one instant of the drive.

    Attributes:
        observation: its t0, history and pose; frames are not looked at.
        driven: what followed, at least one waypoint.
        way_xyz_in_rig_t0: [M, 3] m, the driven path, which may go on behind `driven`.
        manoeuvre, speed_band: of it.
    """

    observation: Observation
    driven: Future
    way_xyz_in_rig_t0: np.ndarray
    manoeuvre: str
    speed_band: str

    @property
    def speed_mps(self) -> float:
        """The speed at t0 that the history implies."""
        seen = self.observation
        return speed_of_history(seen.history_xyz_in_rig_t0, seen.history_rot_in_rig_t0)


class Scorer:
    """Scores the plans of one planner over one drive, in their order.

    Args:
        planner: its name.
        bag: the bag's name in the run.
        speaks: whether its texts are to be judged.
        miss_m: how far off is missed.
    """

    def __init__(self, planner: str, bag: str, *, speaks: bool, miss_m: float = MISS_M) -> None:
        self._planner, self._bag, self._speaks, self._miss_m = planner, bag, speaks, miss_m
        self._monitor = Monitor()
        self._before: PlacedPlan | None = None

    def row(self, plan: Plan, truth: Truth, *, status: str = "") -> Row:
        """Return what a plan is worth.

        Raises:
            InvalidInput: for a plan of another t0, or one that is not finite.
        """
        observation, driven, k = truth.observation, truth.driven, plan.chosen
        if plan.t0_ns != observation.t0_ns:
            raise InvalidInput(f"plan: expected one of t0 {observation.t0_ns} ns, got {plan.t0_ns}")
        if not is_finite(plan):
            raise InvalidInput(f"plan of {plan.t0_ns} ns: expected finite waypoints, got some that are not")
        xyz, rot = plan.xyz_in_rig_t0[k], plan.rot_in_rig_t0[k]
        placed = PlacedPlan(plan.t0_ns, observation.rig_pose_in_odom_at_t0, xyz)
        change = inconsistency(self._before, placed)
        self._before = placed
        distance_m = distances_m(plan.xyz_in_rig_t0, driven.xyz_in_rig_t0)
        values: dict[str, float | None] = {
            **displacement(distance_m, k, miss_m=self._miss_m),
            **path_errors(xyz, rot, driven, way_xyz_in_rig_t0=truth.way_xyz_in_rig_t0),
            **comfort_of(xyz, rot, speed_mps=truth.speed_mps),
            **{name: change[name] for name in ("change_m", "change_max_m")},
        }
        return Row(
            planner=self._planner,
            bag=self._bag,
            t0_ns=plan.t0_ns,
            known_s=round(0.1 * len(driven), 1),
            speed_mps=truth.speed_mps,
            speed_band=truth.speed_band,
            manoeuvre=truth.manoeuvre,
            candidates=plan.num_samples,
            values={name: values[name] for name in METRICS},
            said=self._said(plan, observation, driven) if self._speaks else None,
            stages_ms=plan.times.as_dict() if self._speaks else {},
            status=status,
        )

    def _said(self, plan: Plan, observation: Observation, driven: Future) -> Said:
        verdict = self._monitor.judge(plan, observation)
        text = plan.reasoning[plan.chosen]
        named = component_of_text(text)
        return Said(
            text=text,
            meta_action=plan.meta_action[plan.chosen],
            component=UNNAMED if named is None else named.value,
            agreement=verdict.agreement.value,
            reason=verdict.reason if verdict.agreement is Agreement.CONTRADICTS else "",
            fits_drive=_fits_drive(plan, observation, driven),
        )


def driven_comfort(truth: Truth) -> dict[str, float] | None:
    """Return what the drive itself asked for (see comfort_of); None where less than 6.4 s are known."""
    if len(truth.driven) < NUM_WAYPOINTS:
        return None
    return comfort_of(truth.driven.xyz_in_rig_t0, truth.driven.rot_in_rig_t0, speed_mps=truth.speed_mps)


def is_finite(plan: Plan) -> bool:
    """Return whether every candidate's waypoints are finite."""
    return bool(np.isfinite(plan.xyz_in_rig_t0).all() and np.isfinite(plan.rot_in_rig_t0).all())


def sightless(
    t0_ns: int,
    history_xyz_in_rig_t0: np.ndarray,
    history_rot_in_rig_t0: np.ndarray,
    *,
    odom_from_rig_t0: Matrix4,
    instruction: str | None = None,
) -> Observation:
    """Return an observation that tells motion alone: its one picture is a black pixel."""
    stamps = np.array([[t0_ns - i * 100_000_000 for i in (3, 2, 1, 0)]], np.int64)
    return Observation(
        t0_ns=t0_ns,
        camera_ids=(1,),
        frames=np.zeros((1, 4, 3, 1, 1), np.uint8),
        frame_stamps_ns=stamps,
        history_xyz_in_rig_t0=history_xyz_in_rig_t0,
        history_rot_in_rig_t0=history_rot_in_rig_t0,
        rig_pose_in_odom_at_t0=odom_from_rig_t0,
        instruction=instruction,
    )


def _fits_drive(plan: Plan, observation: Observation, driven: Future) -> str | None:
    """Return whether the chosen text fits what was driven; it is judged as one that was just said."""
    if len(driven) < NUM_WAYPOINTS:
        return None
    xyz, rot = plan.xyz_in_rig_t0.copy(), plan.rot_in_rig_t0.copy()
    xyz[plan.chosen], rot[plan.chosen] = driven.xyz_in_rig_t0, driven.rot_in_rig_t0
    as_driven = replace(plan, xyz_in_rig_t0=xyz, rot_in_rig_t0=rot)
    return judge_reasoning(as_driven, observation).agreement.value
