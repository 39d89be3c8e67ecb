"""One bag evaluated: plans made or read, the drive that followed, and rows of both and of the baselines."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from alpamayo_ros.bags.errors import BagError
from alpamayo_ros.bags.reader import BagReader
from alpamayo_ros.evaluation.baselines import ConstantTurnPlanner
from alpamayo_ros.evaluation.displacement import waypoints_until
from alpamayo_ros.evaluation.drive import INSTRUCTION_TOPIC, BagDrive, read_track, rig_in_bag
from alpamayo_ros.evaluation.manoeuvre import manoeuvre_of, speed_band
from alpamayo_ros.evaluation.plan_store import PlanStore
from alpamayo_ros.evaluation.recorded import recorded_plans
from alpamayo_ros.evaluation.row import Row, Scorer, Truth, driven_comfort, is_finite, sightless
from alpamayo_ros.evaluation.track import DriveTrack
from alpamayo_ros.evaluation.work import (
    CONSTANT_TURN,
    CONSTANT_VELOCITY,
    POLICY,
    BagWork,
    EvaluationSettings,
    Instants,
    Policy,
    Progress,
)
from alpamayo_ros.safety.kinematics import speed_of_history
from alpamayo_ros.sensing.rig import Rig
from alpamayo_ros.sensing.timing import HISTORY_OFFSETS_NS
from alpamayo_ros.sim.planners import ConstantVelocityPlanner
from alpamayo_ros.types import NUM_WAYPOINTS, InvalidInput, Plan, Planner

LEAST_KNOWN_S = 1.0
"""Instants of which less of the future is known are left out: no horizon is reached."""
_WAY_BEHIND_S = 4.0
"""So much of the drive behind a plan's end is still path to measure along."""
_GRID_NS = 100_000_000
_HISTORY_NS = -HISTORY_OFFSETS_NS[0]

NOT_FINITE = "a plan that is not finite"
NO_HISTORY = "no history of odometry before it"


@dataclass(frozen=True)
class Instant:
    """One plan of the policy, or an instant without one (baselines alone)."""

    t0_ns: int
    plan: Plan | None
    instruction: str
    status: str = ""


@dataclass(frozen=True, eq=False)
class BagResult:
    """What became of one bag.

    Attributes:
        name, path: of the bag.
        facts: as JSON holds them: stamps, length, distance, counts of instants and of what was left out.
        rows: of every planner, by t0.
        driven: t0_ns -> comfort of the drive itself.
        wall_ms: of the plans that were made here.
        published_ms: of recorded plans.
    """

    name: str
    path: str
    facts: dict[str, Any]
    rows: tuple[Row, ...]
    driven: dict[int, dict[str, float]]
    wall_ms: tuple[float, ...] = ()
    published_ms: tuple[float, ...] = ()


def check_bag(work: BagWork, rig: Rig, settings: EvaluationSettings) -> dict[str, Any]:
    """Return what identifies a bag, having checked that there is something to evaluate.

    Raises:
        BagError: for a bag that cannot be read, without odometry or what the mode needs, or too short.
    """
    with BagReader(work.path) as bag:
        rig = rig_in_bag(bag, rig, odometry=settings.odometry or None)
        if settings.mode == "checkpoint":
            BagDrive(bag, rig)
        track = read_track(bag, rig, left_out=Counter())
        _require_length(work, track, settings)
        return {
            "start_ns": bag.start_ns,
            "messages": bag.message_count,
            "odometry": rig.odometry_topic,
            "seconds": round(bag.duration_s, 3),
        }


def _require_length(work: BagWork, track: DriveTrack, settings: EvaluationSettings) -> None:
    need_s = _HISTORY_NS * 1e-9 + LEAST_KNOWN_S
    expected = f"expected at least {need_s:g} s of odometry, a history and a first horizon"
    if len(track.stamps_ns) < 2:
        raise BagError(f"bag {work.path}: {expected}, got {len(track.stamps_ns)} messages that are poses")
    begin_ns, until_ns = _window(track, settings)
    first_ns, last_ns = (int(stamp) for stamp in track.stamps_ns[[0, -1]])
    earliest_ns = max(begin_ns, first_ns + _HISTORY_NS)
    if min(until_ns, last_ns - round(LEAST_KNOWN_S * 1e9)) < earliest_ns:
        part = "" if begin_ns == first_ns and until_ns == last_ns else " in the part that is looked at"
        raise BagError(
            f"bag {work.path}: {expected}{part}, got a drive of {(last_ns - first_ns) * 1e-9:.1f} s"
        )


def evaluate_bag(
    work: BagWork,
    rig: Rig,
    settings: EvaluationSettings,
    *,
    policy: Policy | None,
    folder: Path,
    jobs: int = 1,
    progress: Progress = lambda name, done_s, all_s, plans: None,
) -> BagResult:
    """Make or read a bag's plans, and return their rows and the baselines'.

    Args:
        work: the bag.
        rig: names its topics.
        settings: what is looked at.
        policy: who plans, in mode "checkpoint".
        folder: for the plans; those that are there already stay.
        jobs: how many processes share the machine.
        progress: told how far it is.

    Raises:
        BagError: as check_bag does.
        InvalidInput: what the policy raises.
    """
    left_out: Counter[str] = Counter()
    with BagReader(work.path) as bag:
        rig = rig_in_bag(bag, rig, odometry=settings.odometry or None)
        track = read_track(bag, rig, left_out=left_out)
        wall_ms: list[float] = []
        published_ms: list[float] = []
        if settings.mode == "checkpoint":
            assert policy is not None
            store = PlanStore(folder / f"{work.name}.jsonl")
            _make_plans(
                work,
                bag,
                rig,
                settings,
                track=track,
                policy=policy,
                store=store,
                jobs=jobs,
                progress=progress,
            )
            left_out += store.left_out
            instants: Iterator[Instant] = _stored(store, wall_ms)
        elif settings.mode == "recorded":
            instants = _recorded(bag, track, settings, left_out, published_ms)
        else:
            instants = _grid(bag, track, settings)
        rows, driven = _rows(work, instants, track, settings, left_out=left_out)
        facts = _facts(bag, track, rig, rows, left_out)
    progress(work.name, facts["seconds"], facts["seconds"], len(driven))
    return BagResult(
        work.name, str(work.path), facts, tuple(rows), driven, tuple(wall_ms), tuple(published_ms)
    )


def _make_plans(
    work: BagWork,
    bag: BagReader,
    rig: Rig,
    settings: EvaluationSettings,
    *,
    track: DriveTrack,
    policy: Policy,
    store: PlanStore,
    jobs: int,
    progress: Progress,
) -> None:
    """Plan at every instant behind the last one in the store."""
    if store.is_done:
        return
    begin_ns, until_ns = _window(track, settings)
    instants = Instants(begin_ns, settings.period_ns)
    if store.count:
        instants.passed(store.last_t0_ns)
    drive = BagDrive(bag, rig, policy.prepare_frame())
    plan_of = policy.start(jobs=jobs)
    observations = drive.observations(
        left_out=store.left_out,
        after_ns=max(store.last_t0_ns, begin_ns - 1),
        until_ns=until_ns,
        least_apart_ns=0,
        progress=lambda done, total: progress(
            work.name, bag.duration_s * done / max(total, 1), bag.duration_s, store.count
        ),
    )
    with store:
        for observation in observations:
            if not instants.chooses(observation.t0_ns):
                continue
            started_s = time.perf_counter()
            plan = plan_of(observation)
            took_ms = (time.perf_counter() - started_s) * 1e3
            store.add(plan, instruction=observation.instruction or "", wall_ms=took_ms)
        store.finish()


def _stored(store: PlanStore, wall_ms: list[float]) -> Iterator[Instant]:
    for plan, instruction, took_ms in store.plans():
        wall_ms.append(took_ms)
        yield Instant(plan.t0_ns, plan, instruction)


def _recorded(
    bag: BagReader,
    track: DriveTrack,
    settings: EvaluationSettings,
    left_out: Counter[str],
    published_ms: list[float],
) -> Iterator[Instant]:
    begin_ns, until_ns = _window(track, settings)
    chosen = Instants(begin_ns, settings.period_ns)
    for each in recorded_plans(bag, settings.plan_topic, left_out=left_out):
        if each.plan.t0_ns <= until_ns and chosen.chooses(each.plan.t0_ns):
            published_ms.append(each.published_ms)
            yield Instant(each.plan.t0_ns, each.plan, each.instruction, each.status)


def _grid(bag: BagReader, track: DriveTrack, settings: EvaluationSettings) -> Iterator[Instant]:
    """Yield the instants of a run without plans: of a grid of time, 0.1 s apart where every one is asked."""
    begin_ns, until_ns = _window(track, settings)
    period_ns = settings.period_ns if settings.hz is not None else _GRID_NS
    told = _instructions(bag)
    for t0_ns in range(begin_ns, min(until_ns, int(track.stamps_ns[-1])) + 1, period_ns):
        before = [text for stamp_ns, text in told if stamp_ns <= t0_ns]
        yield Instant(t0_ns, None, before[-1] if before else "")


def _instructions(bag: BagReader) -> list[tuple[int, str]]:
    if INSTRUCTION_TOPIC not in bag.topics:
        return []
    return [(m.stamp_ns, str(bag.decode(m).data).strip()) for m in bag.messages([INSTRUCTION_TOPIC])]


def _rows(
    work: BagWork,
    instants: Iterator[Instant],
    track: DriveTrack,
    settings: EvaluationSettings,
    *,
    left_out: Counter[str],
) -> tuple[list[Row], dict[int, dict[str, float]]]:
    """Return the rows of policy and baselines, and what the drive itself asks for."""

    def scorer(name: str) -> Scorer:
        return Scorer(name, work.name, speaks=name == POLICY, miss_m=settings.miss_m)

    mine = scorer(POLICY)
    baselines: list[tuple[Scorer, Planner]] = [
        (scorer(CONSTANT_VELOCITY), ConstantVelocityPlanner()),
        (scorer(CONSTANT_TURN), ConstantTurnPlanner()),
    ]
    rows: list[Row] = []
    driven: dict[int, dict[str, float]] = {}
    for instant in instants:
        truth = _truth(instant, track, left_out)
        if truth is None:
            continue
        if instant.plan is not None:
            if not is_finite(instant.plan):
                left_out[NOT_FINITE] += 1
                continue
            rows.append(mine.row(instant.plan, truth, status=instant.status))
        for judge, planner in baselines:
            rows.append(judge.row(planner.plan(truth.observation), truth))
        asked = driven_comfort(truth)
        if asked is not None:
            driven[instant.t0_ns] = asked
    return rows, driven


def _truth(instant: Instant, track: DriveTrack, left_out: Counter[str]) -> Truth | None:
    """Return what is known of an instant; None, counted, where that is too little."""
    try:
        history = track.history(instant.t0_ns)
    except InvalidInput:
        left_out[NO_HISTORY] += 1
        return None
    pose = history.rig_pose_in_odom_at_t0
    driven = track.known_future(instant.t0_ns, pose)
    if len(driven) < waypoints_until(LEAST_KNOWN_S):
        left_out[f"{driven.why_cut} (under {LEAST_KNOWN_S:g} s)"] += 1
        return None
    end_ns = instant.t0_ns + round((0.1 * NUM_WAYPOINTS + _WAY_BEHIND_S) * 1e9)
    xyz, rot = history.xyz_in_rig_t0, history.rot_in_rig_t0
    speed_mps = speed_of_history(xyz, rot)
    return Truth(
        observation=sightless(
            instant.t0_ns, xyz, rot, odom_from_rig_t0=pose, instruction=instant.instruction or None
        ),
        driven=driven,
        way_xyz_in_rig_t0=track.way_after(instant.t0_ns, pose, until_ns=end_ns),
        manoeuvre=manoeuvre_of(driven, speed_mps=speed_mps, instruction=instant.instruction),
        speed_band=speed_band(abs(speed_mps)),
    )


def _window(track: DriveTrack, settings: EvaluationSettings) -> tuple[int, int]:
    """Return the first and the last stamp that may be a t0, by odometry's own clock."""
    first_ns, last_ns = (int(stamp) for stamp in track.stamps_ns[[0, -1]])
    begin_ns = first_ns + round(settings.start_s * 1e9)
    if settings.duration_s is None:
        return begin_ns, last_ns
    return begin_ns, min(last_ns, begin_ns + round(settings.duration_s * 1e9))


def _facts(
    bag: BagReader, track: DriveTrack, rig: Rig, rows: list[Row], left_out: Counter[str]
) -> dict[str, Any]:
    scored = [row for row in rows if row.planner == CONSTANT_VELOCITY]
    xy = track.odom_from_rig[:, :2, 3]
    step_m = np.linalg.norm(np.diff(xy, axis=0), axis=1) if len(xy) > 1 else np.zeros(0)
    status = Counter(row.status for row in rows if row.status)
    apart_s = [(b.t0_ns - a.t0_ns) * 1e-9 for a, b in pairwise(scored)]
    return {
        "start_ns": bag.start_ns,
        "messages": bag.message_count,
        "odometry": rig.odometry_topic,
        "seconds": round(bag.duration_s, 3),
        "distance_m": round(float(step_m.sum()), 1),
        "instants": len(scored),
        "apart_s": round(float(np.median(apart_s)), 3) if apart_s else None,
        "left_out": dict(sorted(left_out.items())),
        "status": dict(sorted(status.items())),
    }
