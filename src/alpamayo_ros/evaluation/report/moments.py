"""The instants that a report shows: where the plan was worst, with what the cameras saw."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from alpamayo_ros.bags.pictures import pictures_at
from alpamayo_ros.bags.reader import BagReader
from alpamayo_ros.bags.views import recorded_views
from alpamayo_ros.evaluation.baselines import ConstantTurnPlanner
from alpamayo_ros.evaluation.displacement import HORIZONS_S
from alpamayo_ros.evaluation.drive import read_track, rig_in_bag
from alpamayo_ros.evaluation.plan_store import PlanStore
from alpamayo_ros.evaluation.recorded import recorded_plans
from alpamayo_ros.evaluation.row import Row, sightless
from alpamayo_ros.evaluation.track import DriveTrack, Future
from alpamayo_ros.evaluation.work import CONSTANT_TURN, CONSTANT_VELOCITY, POLICY
from alpamayo_ros.safety.monitor import Agreement
from alpamayo_ros.sensing.ego_history import History
from alpamayo_ros.sensing.rig import Rig
from alpamayo_ros.sensing.view import View
from alpamayo_ros.sim.planners import ConstantVelocityPlanner
from alpamayo_ros.types import Plan, Planner, UInt8Array

APART_S = 3.0
"""Between two instants of a bag that are shown: the neighbours of a bad plan are bad, too."""
_BASELINES: dict[str, type[Planner]] = {
    CONSTANT_VELOCITY: ConstantVelocityPlanner,
    CONSTANT_TURN: ConstantTurnPlanner,
}


@dataclass(frozen=True, eq=False)
class Moment:
    """One instant to show.

    Attributes:
        row: the plan's figures.
        seconds: since the bag's first odometry.
        plan: what was planned.
        driven: what was driven instead.
        history: of the drive.
        pictures: camera id -> [H, W, 3] RGB.
        views: camera id -> where it stands and how it sees, of those of which that is known.
    """

    row: Row
    seconds: float
    plan: Plan
    driven: Future
    history: History
    pictures: dict[int, UInt8Array]
    views: dict[int, View]


@dataclass(frozen=True, eq=False)
class Drive:
    """A bag's whole drive and the worst of its instants."""

    name: str
    track: DriveTrack
    moments: tuple[Moment, ...]


def shown_planner(rows: Iterable[Row]) -> str:
    """Return whose plans a report is about: the policy's where there is one."""
    return POLICY if any(row.planner == POLICY for row in rows) else CONSTANT_VELOCITY


def ranking_metric(rows: Sequence[Row]) -> str:
    """Return what plans are ranked by: the chosen candidate's ADE at the longest horizon that any reaches."""
    for horizon_s in reversed(HORIZONS_S):
        metric = f"ade@{horizon_s:g}s"
        if any(row.values.get(metric) is not None for row in rows):
            return metric
    return f"ade@{HORIZONS_S[0]:g}s"


def worst_rows(rows: Sequence[Row], count: int) -> list[Row]:
    """Return the plans that are furthest off, the worst first, those of one bag at least APART_S apart."""
    metric = ranking_metric(rows)
    known = [(value, row) for row in rows if (value := row.values.get(metric)) is not None]
    known.sort(key=lambda pair: (-pair[0], pair[1].bag, pair[1].t0_ns))
    return _apart([row for _, row in known], count)


def contradicting_rows(rows: Sequence[Row], count: int, *, but: Sequence[Row]) -> list[Row]:
    """Return plans whose text contradicts their waypoints, in their order, none of them near one in `but`."""
    contradicts = Agreement.CONTRADICTS.value
    found = [row for row in rows if row.said is not None and row.said.agreement == contradicts]
    return _apart(found, count, but=but)


def read_drive(
    name: str,
    path: Path,
    rig: Rig,
    *,
    rows: Sequence[Row],
    plans_folder: Path,
    plan_topic: str,
    odometry: str,
) -> Drive:
    """Read what is to be shown of a bag.

    Args:
        name: the bag's in the run.
        path: the bag.
        rig: names its topics.
        rows: the instants to show, of one planner.
        plans_folder: where the plans are that the run made.
        plan_topic: where the bag's own plans are; "" for none.
        odometry: the topic, "" for the rig's or the bag's only one.

    Raises:
        BagError: for a bag that cannot be read any more.
    """
    with BagReader(path) as bag:
        rig = rig_in_bag(bag, rig, odometry=odometry or None)
        track = read_track(bag, rig, left_out=Counter())
        histories = {row.t0_ns: track.history(row.t0_ns) for row in rows}
        plans = _plans(bag, rows, histories, plans_path=plans_folder / f"{name}.jsonl", plan_topic=plan_topic)
        pictures = pictures_at(bag, rig, [row.t0_ns for row in rows])
        views = dict(recorded_views(bag, rig)) if rows else {}
    moments = [
        Moment(
            row=row,
            seconds=(row.t0_ns - int(track.stamps_ns[0])) * 1e-9,
            plan=plans[row.t0_ns],
            driven=track.known_future(row.t0_ns, histories[row.t0_ns].rig_pose_in_odom_at_t0),
            history=histories[row.t0_ns],
            pictures=pictures.get(row.t0_ns, {}),
            views=views,
        )
        for row in rows
        if row.t0_ns in plans
    ]
    return Drive(name, track, tuple(moments))


def _plans(
    bag: BagReader,
    rows: Sequence[Row],
    histories: dict[int, History],
    *,
    plans_path: Path,
    plan_topic: str,
) -> dict[int, Plan]:
    wanted = {row.t0_ns for row in rows}
    if not rows:
        return {}
    if rows[0].planner in _BASELINES:
        planner: Any = _BASELINES[rows[0].planner]()
        return {t0_ns: planner.plan(_seen(t0_ns, history)) for t0_ns, history in histories.items()}
    if plan_topic:
        every = (each.plan for each in recorded_plans(bag, plan_topic, left_out=Counter()))
    else:
        every = (plan for plan, _, _ in PlanStore(plans_path).plans())
    return {plan.t0_ns: plan for plan in every if plan.t0_ns in wanted}


def _seen(t0_ns: int, history: History) -> Any:
    return sightless(
        t0_ns,
        history.xyz_in_rig_t0,
        history.rot_in_rig_t0,
        odom_from_rig_t0=history.rig_pose_in_odom_at_t0,
    )


def _apart(rows: Sequence[Row], count: int, *, but: Sequence[Row] = ()) -> list[Row]:
    found: list[Row] = []
    for row in rows:
        near = [abs(row.t0_ns - other.t0_ns) for other in (*found, *but) if other.bag == row.bag]
        if len(found) < count and (not near or float(np.min(near)) >= APART_S * 1e9):
            found.append(row)
    return found
