"""Whether a log is whole, and whether its verdicts follow from what it says they were made from.

Needs nothing but the log: the chain of hashes, and gate and monitor asked again in the order of the records.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from alpamayo_ros.audit.codec import to_json
from alpamayo_ros.audit.decision import Outcome
from alpamayo_ros.audit.reader import LogContent
from alpamayo_ros.audit.record import NO_RECORD, DecisionRecord, Entry, EventRecord
from alpamayo_ros.audit.session import AuditSession
from alpamayo_ros.safety.supervisor import Supervisor
from alpamayo_ros.types import InvalidInput


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
    """Check the chain of a log and all its verdicts."""
    problems = list(_chain_problems(content))
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


def _verdict_problems(content: LogContent) -> Iterator[str]:
    """Yield, for each plan that was judged, what differs when it is judged again; "" for nothing."""
    supervisor = Supervisor()
    for entry in entries(content):
        body = entry.body
        if isinstance(body, EventRecord) and body.name == "cleared":
            supervisor.clear()
        if not isinstance(body, DecisionRecord) or body.judgement is None:
            continue
        yield _judge_again(supervisor, body)


def _judge_again(supervisor: Supervisor, record: DecisionRecord) -> str:
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
    for name, have, want in (
        ("gate", to_json(old.decision), to_json(new.decision)),
        ("monitor", to_json(old.monitor), to_json(new.monitor)),
        ("refusal", old.refusal, new.refusal),
        ("chosen", plan.chosen, new.plan.chosen),
    ):
        if have != want:
            return f"{where}: {name}: expected {_short(want)}, as it comes out again, got {_short(have)}"
    published = record.outcome in (Outcome.VALID, Outcome.WAITING)
    if published == bool(new.refusal):
        return f"{where}: expected an outcome that fits the verdict, got {record.outcome.value}"
    return ""


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 200 else text[:200] + "…"
