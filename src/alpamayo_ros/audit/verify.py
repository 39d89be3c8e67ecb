"""Whether a log is whole, and whether its verdicts follow from what it says they were made from.

Needs nothing but the log: the chain of hashes, histories from the odometry beside them, and gate and monitor
asked again in the order of the records.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from alpamayo_ros.audit.codec import to_json
from alpamayo_ros.audit.decision import Outcome
from alpamayo_ros.audit.reader import AuditError, LogContent, read_log
from alpamayo_ros.audit.record import NO_RECORD, DecisionRecord, Entry, EventRecord
from alpamayo_ros.audit.session import AuditSession
from alpamayo_ros.safety.gate import GateDecision
from alpamayo_ros.safety.intent import Action
from alpamayo_ros.safety.supervisor import Supervisor
from alpamayo_ros.sensing.ego_history import EgoHistory, History
from alpamayo_ros.sensing.timing import TimingConfig
from alpamayo_ros.types import InvalidInput

_ANY_ODOMETRY = TimingConfig(odometry_max_gap_ms=5000.0, odometry_buffer_ms=60_000.0, max_speed_mps=1e6)
"""What was interpolated over was allowed then."""


@dataclass(frozen=True)
class LogFindings:
    """What became of a log's own consistency.

    Attributes:
        records: that were read.
        decisions: number by outcome.
        judged: plans whose gate and monitor verdicts were computed again.
        lost: decisions that the log itself says are missing.
        closed: whether it was closed in order; a log that was not ends where the process was killed.
        problems: what is wrong, one line each; empty for a log that is whole.
    """

    records: int
    decisions: Mapping[str, int]
    judged: int
    lost: int
    closed: bool
    problems: tuple[str, ...] = field(default_factory=tuple)


def check_log(content: LogContent) -> LogFindings:
    """Check a log's chain, to the file that it continues too where that is there, and all its verdicts."""
    problems = [*_chain_problems(content), *_continuation_problems(content)]
    decisions: dict[str, int] = {}
    lost, closed = 0, False
    for entry in entries(content):
        body = entry.body
        if isinstance(body, DecisionRecord):
            decisions[body.outcome.value] = decisions.get(body.outcome.value, 0) + 1
        elif isinstance(body, EventRecord):
            lost += int(body.details.get("count", 0)) if body.name == "lost" else 0
            closed |= body.name == "closed"
    judged = 0
    for problem in _verdict_problems(content):
        judged += 1
        if problem:
            problems.append(problem)
    for entry in entries(content):
        if isinstance(entry.body, DecisionRecord):
            problem = history_problem(entry.body)
            if problem:
                problems.append(f"decision of t0 {entry.body.t0_ns} ns: {problem}")
    return LogFindings(len(content.records), decisions, judged, lost, closed, tuple(problems))


def session_of(content: LogContent) -> AuditSession:
    """Return a log's first record; raises InvalidInput where that is another kind."""
    for entry in entries(content):
        if isinstance(entry.body, AuditSession):
            return entry.body
        break
    raise InvalidInput(f"{content.path}: expected a log that begins with a session, got another record")


def weights_of(content: LogContent) -> Mapping[str, Any]:
    """Return the hashes of the model's files, "checkpoint" and "backbone"; {} before they were made."""
    for entry in entries(content):
        if isinstance(entry.body, EventRecord) and entry.body.name == "weights":
            return entry.body.details
    return {}


def entries(content: LogContent) -> Iterator[Entry]:
    """Yield the records that can be read."""
    for stored in content.records:
        if stored.entry is not None:
            yield stored.entry


def _chain_problems(content: LogContent) -> Iterator[str]:
    expected, sequence = NO_RECORD, 0
    for number, stored in enumerate(content.records):
        if stored.problem:
            yield f"record {number}: {stored.problem}"
        if stored.entry is None:
            expected = ""
            sequence += 1
            continue
        entry = stored.entry
        if entry.sequence != sequence:
            yield f"record {number}: expected sequence {sequence}, got {entry.sequence}: records are missing"
        if expected and entry.previous_sha256 != expected:
            yield (
                f"record {number}: expected the hash {expected[:12]}… of the record before, got "
                f"{entry.previous_sha256[:12]}…: one of the two was changed, or others stood between"
            )
        expected, sequence = stored.sha256, entry.sequence + 1


def _continuation_problems(content: LogContent) -> Iterator[str]:
    for entry in entries(content):
        body = entry.body
        if not isinstance(body, EventRecord) or body.name != "continues":
            continue
        name, head = Path(str(body.details.get("file", ""))).name, str(body.details.get("head", ""))
        before = content.path.parent / name
        if not before.is_file():
            continue
        try:
            found = read_log(before).records[-1].sha256
        except AuditError as error:
            yield f"continues {name}: {error}"
            continue
        if found != head:
            yield (
                f"continues {name}: expected its last record to have the hash {head[:12]}…, got "
                f"{found[:12]}…: its end is missing or was changed"
            )


def _verdict_problems(content: LogContent) -> Iterator[str]:
    """Yield, for each plan that was judged, what differs when it is judged again; "" for nothing."""
    supervisor = Supervisor()
    remembers = True
    for entry in entries(content):
        body = entry.body
        if isinstance(body, EventRecord):
            if body.name == "cleared":
                supervisor.clear()
            remembers = (remembers or body.name == "cleared") and body.name not in ("lost", "continues")
        elif isinstance(body, DecisionRecord) and body.judgement is not None:
            yield _judge_again(supervisor, body, remembers=remembers)


def _judge_again(supervisor: Supervisor, record: DecisionRecord, *, remembers: bool) -> str:
    where = f"decision of t0 {record.t0_ns} ns"
    old, plan, observation = record.judgement, record.plan, record.observation
    if old is None or plan is None or observation is None or record.settings is None:
        return (
            f"{where}: expected plan, observation and settings beside the verdict, got some of them missing"
        )
    supervisor.settings = record.settings
    try:
        new = supervisor.judge(
            plan,
            observation.observation(),
            odometry_speed_mps=old.odometry_speed_mps,
            now_ns=record.decided_ns,
        )
    except InvalidInput as error:
        return f"{where}: expected a plan that can be judged, got {error}"
    if to_json(old.decision) != to_json(new.decision):
        return f"{where}: gate: {_first_difference(old.decision, new.decision)}"
    # How long a nudge has been announced is not known where the records before it are lost.
    announced = [*(old.monitor.intents if old.monitor else ()), *(new.monitor.intents if new.monitor else ())]
    if remembers or not any(intent.action is Action.NUDGE for intent in announced):
        for name, have, want in (
            ("monitor", to_json(old.monitor), to_json(new.monitor)),
            ("refusal", old.refusal, new.refusal),
            ("chosen", plan.chosen, new.plan.chosen),
        ):
            if have != want:
                return f"{where}: {name}: expected {_short(want)}, as it comes out again, got {_short(have)}"
    fits = {
        Outcome.VALID: old.drives and not old.refusal,
        Outcome.WAITING: not old.drives and not old.refusal,
        Outcome.REJECTED: bool(old.refusal),
        Outcome.UNCHECKED: False,
    }
    if not fits.get(record.outcome, True):
        said = old.refusal or ("drives" if old.drives else "passed, but does not drive yet")
        return f"{where}: expected an outcome that fits the verdict ({said}), got {record.outcome.value}"
    return ""


def _first_difference(old: GateDecision, new: GateDecision) -> str:
    """Say which check comes out otherwise."""
    for number, (before, after) in enumerate(zip(old.verdicts, new.verdicts, strict=False)):
        for have, want in zip(before.checks, after.checks, strict=False):
            if to_json(have) != to_json(want):
                texts = [f"{c.name} {c.value:.6g} (limit {c.limit:.6g})" for c in (want, have)]
                return f"candidate {number}: expected {texts[0]}, as it comes out again, got {texts[1]}"
        if len(before.checks) != len(after.checks):
            return f"candidate {number}: expected {len(after.checks)} checks, got {len(before.checks)}"
    return (
        f"expected {len(new.verdicts)} candidates and {new.chosen} chosen, "
        f"got {len(old.verdicts)} and {old.chosen}"
    )


def history_problem(record: DecisionRecord) -> str:
    """Return what differs when a decision's history is made again from its odometry; "" for nothing."""
    observation, window = record.observation, record.odometry
    if observation is None or window is None or not len(window.stamps_ns):
        return ""
    ego = EgoHistory(_ANY_ODOMETRY)
    try:
        for stamp_ns, pose in zip(window.stamps_ns.tolist(), window.odom_from_rig, strict=True):
            ego.add(stamp_ns, pose)
    except InvalidInput as error:
        return str(error)
    history = ego.at(observation.t0_ns)
    if not isinstance(history, History):
        return f"history: expected one from the odometry beside it, got {history}"
    for name in ("history_xyz_in_rig_t0", "history_rot_in_rig_t0", "rig_pose_in_odom_at_t0"):
        have, want = getattr(observation, name), getattr(history, name.removeprefix("history_"))
        if not np.array_equal(have, want):
            off = float(np.abs(have - want).max())
            return f"{name}: expected what the odometry beside it gives, got one that is {off:.3g} off"
    return ""


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 200 else text[:200] + "…"
