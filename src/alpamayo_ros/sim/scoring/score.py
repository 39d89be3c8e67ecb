"""One rollout's scores: AlpaSim's metrics and ours."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from alpamayo_ros.sim.record import RolloutRecord
from alpamayo_ros.sim.scoring.alpasim import (
    alpasim_metrics,
    progress_score,
    scene_score,
    unknown_incidents,
)
from alpamayo_ros.sim.scoring.driving import comfort, speeds, time_to_collision
from alpamayo_ros.sim.scoring.inputs import ScoreInput, from_record
from alpamayo_ros.sim.scoring.plans import plan_metrics
from alpamayo_ros.sim.scoring.rules import red_light_runs, stop_sign_runs, strict_off_road

Metric: TypeAlias = float | int | None

METRICS: tuple[str, ...] = (
    "progress_score",
    "collision_any",
    "collision_front",
    "collision_lateral",
    "collision_rear",
    "collision_at_fault",
    "offroad",
    "wrong_lane",
    "offroad_or_collision",
    "offroad_or_collision_at_fault",
    "dist_traveled_m",
    "progress",
    "progress_rel_to_total",
    "progress_rel",
    "dist_to_gt_trajectory",
    "dist_to_gt_location",
    "min_distance_to_obstacle_m",
    "min_distance_to_lane_boundary_m",
    "duration_frac_20s",
    "gt_dist_traveled_m",
    "plan_deviation",
    "open_loop_collision",
    "min_ade@0.5s",
    "min_ade@1s",
    "min_ade@2.5s",
    "min_ade@5s",
    "strict_collision",
    "strict_collision_at_fault",
    "strict_offroad",
    "red_light_runs",
    "stop_sign_runs",
    "accel_lon_over_limit_share",
    "accel_lat_over_limit_share",
    "jerk_over_limit_share",
    "yaw_rate_over_limit_share",
    "uncomfortable_share",
    "ttc_under_1s_share",
    "mean_speed_mps",
    "reference_mean_speed_mps",
    "speed_rel_to_reference",
    "window_s",
)
"""All metrics of a rollout beside its scene score, in the order in which they are reported."""

_DECIMALS = 6


@dataclass(frozen=True)
class RolloutScore:
    """What one rollout is worth; None stands for unknown, never for zero.

    Attributes:
        scene_id, family, rollout_index, planner, end_reason, error: who it was.
        scored: False for a rollout that AlpaSim drops (a black image) or that was interrupted from outside.
        scene_score: 0 … 1; None where it is unknown or the rollout is not scored.
        failure_reason: "collision_at_fault" or "offroad" (AlpaSim's), "failed" for a rollout that could not
            be finished, "not_driven" for one that ended before the planner took over; None else.
        metrics: all of METRICS by name, None where unknown; AlpaSim's have AlpaSim's names.
        collision_with: id of the road user of the first collision, or None.
        event_time_s: when the first collision or leaving of the road was, since the scene's start, or None.
        left_path: whether AlpaSim's metrics end before the rollout because it was 4 m off the recorded drive.
        unknown_incidents: what would make the scene score 0 and is unknown: "offroad" without a map,
            "collision_at_fault" where nothing is known of road users.
        unsolved_steps: steps in which the controller found no command and braked; None where another
            controller drove, or a log was read.
    """

    scene_id: str
    family: str
    rollout_index: int
    planner: str
    end_reason: str
    error: str = ""
    scored: bool = True
    scene_score: float | None = None
    failure_reason: str | None = None
    metrics: dict[str, Metric] = field(default_factory=lambda: dict.fromkeys(METRICS))
    collision_with: str | None = None
    event_time_s: float | None = None
    left_path: bool = False
    unknown_incidents: tuple[str, ...] = ()
    unsolved_steps: int | None = None

    @property
    def name(self) -> str:
        """The rollout's name for people: scene and index."""
        return f"{self.scene_id}#{self.rollout_index}"

    @property
    def failed(self) -> bool:
        """Whether it counts 0 because it could not be driven to an end, whatever was driven."""
        return self.failure_reason in ("failed", "not_driven")

    def as_dict(self) -> dict[str, object]:
        """Return everything as JSON can hold it, metrics at the top level, in a fixed order."""
        return {
            "scene_id": self.scene_id,
            "family": self.family,
            "rollout_index": self.rollout_index,
            "planner": self.planner,
            "end_reason": self.end_reason,
            "error": self.error,
            "scored": self.scored,
            "scene_score": _rounded(self.scene_score),
            "failure_reason": self.failure_reason,
            **{name: _rounded(value) for name, value in self.metrics.items()},
            "collision_with": self.collision_with,
            "event_time_s": _rounded(self.event_time_s),
            "left_path": self.left_path,
            "unknown_incidents": list(self.unknown_incidents),
            "unsolved_steps": self.unsolved_steps,
        }


def score_rollout(record: RolloutRecord) -> RolloutScore:
    """Return the scores of one rollout."""
    return score_input(from_record(record))


def score_input(rollout: ScoreInput) -> RolloutScore:
    """Return the scores of one rollout that is given as arrays."""
    who = (rollout.scene_id, rollout.family, rollout.rollout_index, rollout.planner, rollout.end_reason)
    dropped = rollout.has_black_image or rollout.end_reason == "interrupted"
    alpasim = None if dropped else alpasim_metrics(rollout)
    if alpasim is None:
        reason = "failed" if rollout.end_reason == "failed" else "not_driven"
        return RolloutScore(
            *who,
            error=rollout.error,
            scored=not dropped,
            scene_score=None if dropped else 0.0,
            failure_reason=None if dropped else reason,
            unsolved_steps=rollout.unsolved_steps,
        )
    values = alpasim.values
    score, reason_of_zero = scene_score(values)
    if rollout.end_reason == "failed":
        score, reason_of_zero = 0.0, "failed"

    # AlpaSim's metrics end at 4 m from the recorded drive, and where it sees the road left; ours go on to the
    # first collision or to where the drivable area is left.
    first, hit = alpasim.first_step, alpasim.collision
    last = len(rollout.stamps_us) - 1 if alpasim.collision_step is None else alpasim.collision_step
    strict, last = strict_off_road(rollout, first, last)
    if alpasim.collision_step is not None and alpasim.collision_step > last:
        hit = None
    known = rollout.actors is not None
    found: dict[str, Metric] = {
        "progress_score": progress_score(values),
        **values,
        **_combined(values),
        **plan_metrics(rollout, first, alpasim.last_step),
        "strict_collision": float(hit is not None) if known else None,
        "strict_collision_at_fault": float(hit is not None and hit.at_fault) if known else None,
        "strict_offroad": strict,
        "red_light_runs": red_light_runs(rollout, first, last),
        "stop_sign_runs": stop_sign_runs(rollout, first, last),
        **comfort(rollout, first, last),
        **time_to_collision(rollout, first, last),
        **speeds(rollout, first, last),
    }
    events = [alpasim.last_step] if values["offroad"] else []
    events += [last] if hit or strict else []
    return RolloutScore(
        *who,
        error=rollout.error,
        scene_score=score,
        failure_reason=reason_of_zero,
        metrics={name: found[name] for name in METRICS},
        collision_with=None if hit is None else hit.actor_id,
        event_time_s=float(rollout.stamps_us[min(events)] - rollout.start_us) / 1e6 if events else None,
        left_path=alpasim.left_path,
        unknown_incidents=unknown_incidents(values),
        unsolved_steps=rollout.unsolved_steps,
    )


def _combined(values: dict[str, float | None]) -> dict[str, Metric]:
    """Return AlpaSim's incidents: a collision or off-road, and those that are the ego's fault."""

    def either(first: float | None, second: float | None) -> float | None:
        known = [value for value in (first, second) if value is not None]
        return max(known) if len(known) == 2 or any(known) else None

    return {
        "offroad_or_collision": either(values["collision_any"], values["offroad"]),
        "offroad_or_collision_at_fault": either(values["collision_at_fault"], values["offroad"]),
    }


def _rounded(value: Metric) -> Metric:
    return round(value, _DECIMALS) if isinstance(value, float) else value
