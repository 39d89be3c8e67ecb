"""The moments of a rollout that are worth looking at."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import shapely

from alpamayo_ros.sim.record import EndReason, RolloutRecord
from alpamayo_ros.sim.report.scene_moments import telling_step
from alpamayo_ros.sim.roads import Float64Array
from alpamayo_ros.sim.scene import EGO_SIZE_XYZ_M
from alpamayo_ros.sim.scoring import RolloutScore

HARD_BRAKING_MPS2 = -4.0
"""The comfort score's limit."""
_NEAR_M = 2.5
_SLOW_MPS = 0.3

END_TEXTS: dict[EndReason, str] = {
    "time": "time is up",
    "goal": "goal reached",
    "collision": "collision",
    "off_road": "left the road",
    "terminated": "ended by the planner",
    "failed": "failed",
    "interrupted": "interrupted",
}


@dataclass(frozen=True)
class Moment:
    """A step of a rollout and what happens there; `weight` says how much it matters (more is more)."""

    step: int
    text: str
    weight: float = 0.0


def events(record: RolloutRecord, score: RolloutScore | None = None) -> tuple[Moment, ...]:
    """Return what happened in a rollout, in order: take-over, stops, hard braking, near misses, the end.

    The score, if there is one, tells with whom the ego collided, and whether that was its fault.
    """
    found = [Moment(0, "start, on the reference", 1.0)]
    sources = [drive.source for drive in record.drives]
    for step, (before, now) in enumerate(pairwise(sources), start=1):
        if now == before:
            continue
        if before == "reference":
            found.append(Moment(step, "the planner takes over", 3.0))
        if now == "stop":
            found.append(Moment(step, f"stop for want of a plan: {record.drives[step].reason}", 6.0))
        elif before == "stop":
            found.append(Moment(step, "the planner drives again", 2.0))
    found += _hard_braking(record) + _standing(record) + _nearest(record)
    weight = 9.0 if record.end_reason in ("collision", "off_road", "failed") else 4.0
    found.append(Moment(len(record.ego) - 1, end_text(record, score), weight))
    return tuple(sorted(found, key=lambda moment: (moment.step, -moment.weight)))


def end_text(record: RolloutRecord, score: RolloutScore | None = None) -> str:
    """Return how a rollout ended, for people."""
    text = END_TEXTS[record.end_reason]
    if score is not None and score.collision_with is not None and record.end_reason == "collision":
        fault = score.metrics.get("strict_collision_at_fault")
        blame = "" if fault is None else ", at fault" if fault else ", from behind"
        text += f" with {score.collision_with}{blame}"
    return f"{text}: {record.error}" if record.error else text


def choose_moments(
    record: RolloutRecord, number: int, score: RolloutScore | None = None
) -> tuple[Moment, ...]:
    """Return up to `number` moments to show: what matters most, a second apart, filled up evenly.

    The one at which the scene's family is best recognised is among what matters.
    """
    last = len(record.ego) - 1
    family = Moment(telling_step(record), "", 4.6)
    even = [Moment(int(step), "", -1.0) for step in np.linspace(0, last, number + 2)[1:-1]]
    chosen: list[Moment] = []
    for moment in sorted([*events(record, score), family, *even], key=lambda m: (-m.weight, m.step)):
        if len(chosen) < number and all(abs(moment.step - other.step) >= 10 for other in chosen):
            chosen.append(moment)
    return tuple(sorted(chosen, key=lambda moment: moment.step))


def gaps_m(record: RolloutRecord) -> dict[str, Float64Array]:
    """Return the distance [S] between the ego's box and each actor's at each step; NaN where it is absent."""
    ego = _boxes(np.array([state.local_from_box for state in record.ego]), EGO_SIZE_XYZ_M[:2])
    gaps = {}
    for actor_id, track in record.actors.items():
        gap = np.full(len(ego), np.nan)
        present = np.flatnonzero(track.present)
        boxes = _boxes(track.local_from_box[present], track.size_xyz_m[:2])
        gap[present] = shapely.distance(ego[present], boxes)
        gaps[actor_id] = gap
    return gaps


def _boxes(local_from_box: Float64Array, size_xy_m: tuple[float, ...]) -> np.ndarray:
    half = np.array([(1, 1), (-1, 1), (-1, -1), (1, -1)]) * np.array(size_xy_m) / 2
    corners = np.einsum("nij,kj->nki", local_from_box[:, :2, :2], half) + local_from_box[:, None, :2, 3]
    return np.asarray(shapely.polygons(corners))


def _hard_braking(record: RolloutRecord) -> list[Moment]:
    accel = np.array([state.accel_in_rig_mps2[0] for state in record.ego])
    hard = np.flatnonzero(accel < HARD_BRAKING_MPS2)
    starts = hard[np.diff(hard, prepend=-10) > 5]
    return [Moment(int(step), f"brakes hard ({accel[step]:.1f} m/s²)", 5.0) for step in starts]


def _standing(record: RolloutRecord) -> list[Moment]:
    """Return when the ego comes to a stand, and when it moves off again, for stands of half a second."""
    still = np.array([abs(state.speed_mps) < _SLOW_MPS for state in record.ego])
    edges = np.flatnonzero(np.diff(still.astype(int), prepend=0, append=0))
    found = []
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        if end - start >= 5:
            found.append(Moment(int(start), "stands still", 3.5))
            if end < len(still):
                found.append(Moment(int(end), f"moves off after {(end - start) / 10:.1f} s", 2.5))
    return found


def _nearest(record: RolloutRecord) -> list[Moment]:
    """Return the closest approach to an actor that moves, if it was close, while the ego moved."""
    best: tuple[float, int, str] | None = None
    moving = np.array([abs(state.speed_mps) > _SLOW_MPS for state in record.ego])
    for actor_id, gap in gaps_m(record).items():
        track = record.actors[actor_id]
        if track.is_static or not np.any(moving & np.isfinite(gap)):
            continue
        step = int(np.nanargmin(np.where(moving, gap, np.nan)))
        if gap[step] < _NEAR_M and (best is None or gap[step] < best[0]):
            best = (float(gap[step]), step, f"{track.kind} {actor_id}")
    if best is None or best[0] == 0.0:
        return []
    return [Moment(best[1], f"{best[2]} {best[0]:.1f} m away", 4.5)]
