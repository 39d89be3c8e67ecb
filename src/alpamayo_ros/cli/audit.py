"""Show a planner's decision log, or verify that it is whole and that its decisions come out the same.

alpamayo audit show LOG [--outcome rejected]
alpamayo audit verify LOG [--bag BAG] [--checkpoint DIR] [--every N | --decision T0]

Exit code of verify: 0 the same, 1 something differs, 2 it cannot be compared.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alpamayo_ros.audit.reader import LogContent
    from alpamayo_ros.audit.record import DecisionRecord

SAME, DIFFERENT, UNCOMPARABLE = 0, 1, 2
_SAMPLE = 10
"""Decisions that are recomputed unless --every or --decision says otherwise."""
_MARKS = {"SAME": "same", "CLOSE": "close", "DIFFERENT": "DIFFERENT", "UNKNOWN": "unknown"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    show = actions.add_parser("show", help="print the decisions of a log")
    show.add_argument("log", type=Path, metavar="LOG", help="an .mcap of the planner's audit_log folder")
    show.add_argument("--outcome", help="only those, e.g. valid, rejected, stop, 'inference failed'")
    verify = actions.add_parser("verify", help="check a log, and recompute its decisions from a bag")
    verify.add_argument("log", type=Path, metavar="LOG")
    verify.add_argument("--bag", type=Path, help="the recording that the planner was fed with")
    verify.add_argument("--checkpoint", help="where the model is now, if not where it was")
    verify.add_argument(
        "--tolerance",
        type=float,
        default=0.05,
        metavar="M",
        help="how far waypoints may lie apart where bits do not repeat: on a GPU, in bfloat16, or with other "
        "versions than the log's (default: 0.05)",
    )
    which = verify.add_mutually_exclusive_group()
    which.add_argument("--every", type=int, metavar="N", help="recompute every Nth decision (1 is all)")
    which.add_argument("--decision", type=int, metavar="T0", help="recompute the one of this t0 in ns")


def run(arguments: argparse.Namespace) -> int:
    """Run the action and return the exit code."""
    from alpamayo_ros.audit.reader import read_log

    content = read_log(arguments.log)
    if arguments.action == "show":
        return _show(content, arguments.outcome)
    code = _verify_log(content)
    if code == SAME and arguments.bag is not None:
        code = _verify_bag(content, arguments)
    return code


def _decisions(content: LogContent) -> list[DecisionRecord]:
    from alpamayo_ros.audit.record import DecisionRecord
    from alpamayo_ros.audit.verify import entries

    return [entry.body for entry in entries(content) if isinstance(entry.body, DecisionRecord)]


def _show(content: LogContent, outcome: str | None) -> int:
    from alpamayo_ros.audit.verify import session_of

    session = session_of(content)
    print(f"model     {session.model.model_id} on {session.model.device}, {session.model.dtype}")
    print(f"rig       {session.rig_path}")
    for record in _decisions(content):
        if outcome is not None and record.outcome.value != outcome:
            continue
        text = record.reason
        if not text and record.plan is not None:
            text = record.plan.reasoning[record.plan.chosen]
        engaged = "engaged" if record.engaged else ""
        print(f"{record.t0_ns}  {record.outcome.value:<20} {record.latency_ms:7.1f} ms {engaged:<8} {text}")
    if content.problem:
        print(f"the log ends early: {content.problem}")
    return SAME


def _verify_log(content: LogContent) -> int:
    from alpamayo_ros.audit.verify import check_log

    found = check_log(content)
    counted = ", ".join(f"{number} {outcome}" for outcome, number in found.decisions.items()) or "none"
    end = "closed in order" if found.closed else "not closed: the planner was killed, or still runs"
    if content.problem:
        end += f" ({content.problem})"
    print(f"log        {content.path}: {found.records} records, {end}")
    print(f"decisions  {counted}" + (f"; {found.lost} lost, as the log says" if found.lost else ""))
    print(f"verdicts   {found.judged} of gate and monitor judged again")
    for problem in found.problems:
        print(f"DIFFERENT  {problem}")
    print("chain and verdicts are " + ("NOT as they were written" if found.problems else "whole"))
    return DIFFERENT if found.problems else SAME


def _verify_bag(content: LogContent, arguments: argparse.Namespace) -> int:
    from alpamayo_ros.audit.replan import BagDecisions, Verdict, load_model
    from alpamayo_ros.audit.verify import session_of, weights_of
    from alpamayo_ros.bags.reader import BagReader

    planned = [r for r in _decisions(content) if r.observation is not None and r.plan is not None]
    chosen = _choose(planned, every=arguments.every, t0_ns=arguments.decision)
    if not chosen:
        print("decisions  none with a plan to recompute")
        return UNCOMPARABLE
    session = session_of(content)
    model, doubt = load_model(session, weights_of(content), checkpoint=arguments.checkpoint)
    counts = dict.fromkeys(Verdict, 0)
    try:
        with BagReader(arguments.bag) as bag:
            again = BagDecisions(session, bag, model=model, tolerance_m=arguments.tolerance if doubt else 0.0)
            for record in chosen:
                found = again.recompute(record)
                counts[found.verdict] += 1
                said = f"frames {found.frames}; history {found.history}; plan {found.plan}"
                print(f"{_MARKS[found.verdict.name]:<10} {found.t0_ns}  {said}")
    finally:
        model.close()
    counted = ", ".join(f"{number} {verdict.value}" for verdict, number in counts.items() if number)
    print(f"recomputed {len(chosen)} of {len(planned)} plans: {counted}")
    if doubt:
        print(f"note       not bit by bit, but within {arguments.tolerance:g} m: {doubt}")
    if counts[Verdict.DIFFERENT]:
        return DIFFERENT
    return UNCOMPARABLE if counts[Verdict.UNKNOWN] else SAME


def _choose(records: list[DecisionRecord], *, every: int | None, t0_ns: int | None) -> list[DecisionRecord]:
    if t0_ns is not None:
        return [record for record in records if record.t0_ns == t0_ns]
    step = every if every is not None else max(1, len(records) // _SAMPLE)
    return records[:: max(1, step)]
