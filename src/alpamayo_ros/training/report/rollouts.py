"""What rollouts on disk tell: scores, the ways through junctions, and those that went wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alpamayo_ros.sim.record import RolloutRecord
from alpamayo_ros.sim.report.logged import LoggedRollout, read_rollout
from alpamayo_ros.sim.report.moments import END_TEXTS, end_text
from alpamayo_ros.sim.roads import Float64Array, Turn
from alpamayo_ros.sim.scoring import RolloutScore, aggregate
from alpamayo_ros.training.closed_loop import read_score
from alpamayo_ros.training.report.figures import family_order
from alpamayo_ros.training.report.foresight import Foresight
from alpamayo_ros.training.report.junctions import (
    RouteJunction,
    Taken,
    junctions_of,
    way_taken,
)
from alpamayo_ros.types import InvalidInput

FAILED_BELOW = 0.5
_LOG, _SCORE = "rollout.asl", "score.json"
_KEPT_OF_AGGREGATE = (
    "scene_score",
    "alpasim_score_at_fault_km",
    "at_fault",
    "offroad",
    "red_light_runs",
    "stop_sign_runs",
    "rollouts_scored",
    "scenes",
    "failed",
    "not_scored",
    "by_family",
)


@dataclass(frozen=True)
class Rollout:
    """A rollout on disk: its folder and its score. The log is read when it is asked for: it is large."""

    folder: Path
    score: RolloutScore

    def read(self) -> LoggedRollout | None:
        """Return what its log tells; None for one that failed before it began, which has none."""
        log = self.folder / _LOG
        return read_rollout(log, self.score) if log.is_file() else None


@dataclass(frozen=True, eq=False)
class Crossed:
    """A junction that a rollout came to under the planner's own steering.

    Attributes:
        name, scene_id: of the rollout.
        told: where the route, and with it the instruction, led.
        taken: where the ego went; undecided if it did not get far enough in.
        turned_deg: how far its heading changed from the entry to where it is looked at, or to its end.
    """

    name: str
    scene_id: str
    told: Turn
    taken: Taken
    turned_deg: float

    def as_dict(self) -> dict[str, object]:
        """Return it as JSON holds it."""
        turned = round(self.turned_deg, 1)
        return {"rollout": self.name, "told": self.told, "taken": self.taken, "turned_deg": turned}


@dataclass(frozen=True)
class Failure:
    """A rollout that went wrong.

    Attributes:
        rollout: which.
        what: what happened, for people.
        reasoning: what the planner said last before it happened, "" if nothing is known.
        picture: file of its picture, relative to the report's folder; "" where there is none.
        foresight: what the plans before a collision made of what was hit.
    """

    rollout: Rollout
    what: str
    reasoning: str = ""
    picture: str = ""
    foresight: Foresight | None = None

    def as_dict(self) -> dict[str, object]:
        """Return it as JSON holds it."""
        score = self.rollout.score
        return {
            "rollout": score.name,
            "family": score.family,
            "scene_score": score.scene_score,
            "what": self.what,
            "time_s": score.event_time_s,
            "reasoning": self.reasoning,
            "picture": self.picture,
            "foresight": None if self.foresight is None else self.foresight.as_dict(),
        }


def find_rollouts(folder: Path) -> tuple[Rollout, ...]:
    """Return the rollouts of a folder that `alpamayo sim` or `alpamayo train evaluate` wrote, by family.

    Of two checkpoints that were evaluated, the baseline's are left out.

    Raises:
        InvalidInput: for a folder without rollouts, or a score that is none.
    """
    places = [folder / "rollouts", folder / "checkpoint" / "rollouts"]
    place = next((each for each in places if each.is_dir()), None)
    found = [] if place is None else sorted(place.glob(f"*/{_SCORE}"))
    if not found:
        raise InvalidInput(
            f"--rollouts: expected a folder that alpamayo sim or alpamayo train evaluate wrote, got {folder}"
        )
    rollouts = [Rollout(path.parent, read_score(path)) for path in found]
    return tuple(
        sorted(
            rollouts,
            key=lambda each: (
                family_order(each.score.family),
                each.score.scene_id,
                each.score.rollout_index,
            ),
        )
    )


def closed_loop(rollouts: Sequence[Rollout]) -> dict[str, object]:
    """Return who drove and the scores that count, as scoring.aggregate names them."""
    scores = [each.score for each in rollouts]
    summary = aggregate(scores)
    planners = sorted({score.planner for score in scores})
    return {"planners": planners, **{name: summary[name] for name in _KEPT_OF_AGGREGATE}}


def crossings_of(record: RolloutRecord, score: RolloutScore) -> tuple[Crossed, ...]:
    """Return the junctions to which a rollout came after the handover; none without a map."""
    driven = [
        state
        for state, drive in zip(record.ego, [*record.drives, None], strict=True)
        if drive is None or drive.source != "reference"
    ]
    if len(driven) < 2:
        return ()
    path = np.array([state.xy_m for state in driven], dtype=np.float64)
    yaw = np.unwrap([state.yaw_rad for state in driven])
    found = []
    for junction in junctions_of(record.scene):
        inside = _rows_inside(junction, path)
        if inside is None or junction.before_entry_m(path[0]) <= 0.0:
            continue
        first, last = inside
        turned_deg = float(np.degrees(yaw[last] - yaw[first]))
        found.append(
            Crossed(
                score.name,
                score.scene_id,
                junction.route_turn,
                way_taken(junction, path),
                turned_deg,
            )
        )
    return tuple(found)


def has_failed(score: RolloutScore) -> bool:
    """Return whether a rollout is a failure to be shown.

    That is a scene score below FAILED_BELOW, a collision at fault or leaving the road, by AlpaSim's rule or
    by the strict one. A rollout that is not scored, because it was interrupted say, is none.
    """
    if not score.scored:
        return False
    incidents = ("collision_at_fault", "strict_collision_at_fault", "offroad", "strict_offroad")
    is_low = score.scene_score is not None and score.scene_score < FAILED_BELOW
    return is_low or any(score.metrics.get(name) for name in incidents)


def what_happened(score: RolloutScore, record: RolloutRecord | None = None) -> str:
    """Return in words why a rollout failed."""
    if record is None:
        end = END_TEXTS.get(score.end_reason, score.end_reason)  # type: ignore[call-overload]
        parts = [f"{end}: {score.error}" if score.error else str(end)]
    else:
        parts = [end_text(record, score)]
    metrics = score.metrics
    if metrics.get("collision_at_fault") and score.end_reason != "collision":
        parts.append(f"collision with {score.collision_with}, at fault")
    if (metrics.get("offroad") or metrics.get("strict_offroad")) and score.end_reason != "off_road":
        parts.append("left the road")
    if score.left_path:
        parts.append("4 m off the recorded drive")
    if metrics.get("red_light_runs"):
        parts.append("ran a red light")
    if metrics.get("stop_sign_runs"):
        parts.append("ran a stop sign")
    progress = metrics.get("progress_score")
    if progress is not None and progress < 1.0:
        parts.append(f"progress {progress:.2f}")
    return ", ".join(parts)


def event_step(record: RolloutRecord, score: RolloutScore) -> int:
    """Return the last step with a plan, and with it pictures, up to what went wrong."""
    last = max(len(record.drives) - 1, 0)
    if score.event_time_s is None:
        return last
    times_s = (record.stamps_us - record.scene.start_us) * 1e-6
    return min(last, max(0, int(np.searchsorted(times_s, score.event_time_s + 1e-6)) - 1))


def _rows_inside(junction: RouteJunction, path: Float64Array) -> tuple[int, int] | None:
    """Return the first and last row of a path from the junction's entry on, as far as it is looked at."""
    before = np.array([junction.before_entry_m(point) for point in path])
    inside = np.flatnonzero((before <= 0.0) & (before > -(junction.exit_s_m - junction.entry_s_m)))
    return None if not len(inside) else (int(inside[0]), int(inside[-1]))
