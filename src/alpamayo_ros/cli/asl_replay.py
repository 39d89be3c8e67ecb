"""Replay a log's driver calls into a driver of AlpaSim, any that speaks its protocol, and check each answer.

Each step's pictures, egomotion and route are told at once, in a shuffled order, and when all have been taken
the driver is asked, as AlpaSim's runtime does. The exit code is 1 where a rule of the contract is broken or
nobody listens.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from alpamayo_ros.types import InvalidInput

if TYPE_CHECKING:
    from alpamayo_ros.sim.protocol.channel import ClientTls
    from alpamayo_ros.sim.replay.run import ReplayReport

EXIT_BROKEN, EXIT_INTERRUPTED = 1, 130
_LEAVE_OUT = ("images", "route", "ground-truth")
_TEXT_SHOWN = 200
"""Characters of what was got; --json has all."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `alpamayo asl replay` takes."""
    parser.add_argument("log", type=Path, metavar="LOG", help="rollout.asl, of AlpaSim or of `alpamayo sim`")
    parser.add_argument("--driver", required=True, metavar="HOST:PORT", help="who is asked")
    parser.add_argument("--sessions", type=int, default=1, metavar="N", help="at once (default: 1)")
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="how often (default: once)")
    parser.add_argument(
        "--compare",
        action="store_true",
        help="drive a session alone first, and hold the others' answers to its, byte for byte",
    )
    parser.add_argument("--strict", action="store_true", help="let warnings count for the exit code")
    parser.add_argument(
        "--shuffle-seed", type=int, default=0, metavar="SEED", help="of the order of calls (default: 0)"
    )
    parser.add_argument(
        "--seed", type=int, metavar="SEED", help="random_seed of the sessions (default: the recorded one)"
    )
    parser.add_argument(
        "--without", action="append", default=[], choices=_LEAVE_OUT, help="leave these out; repeatable"
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=math.inf,
        metavar="S",
        help="of each call (default: none, as AlpaSim)",
    )
    parser.add_argument(
        "--connect-timeout",
        type=float,
        default=30.0,
        metavar="S",
        help="how long to wait for somebody who listens (default: 30)",
    )
    parser.add_argument(
        "--out", type=Path, metavar="LOG", help="write the log with the first session's answers in it"
    )
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    tls = parser.add_argument_group("TLS to the driver (PEM files; without any the connection is plain)")
    tls.add_argument("--tls-ca", type=Path, metavar="FILE", help="who signed its certificate")
    tls.add_argument("--tls-cert", type=Path, metavar="FILE", help="our certificate, where it asks for one")
    tls.add_argument("--tls-key", type=Path, metavar="FILE", help="our private key")


def run(arguments: argparse.Namespace) -> int:
    """Replay, print what came of it, and return the exit code."""
    from alpamayo_ros.sim.protocol.channel import ServiceError
    from alpamayo_ros.sim.replay.answers_log import write_answers
    from alpamayo_ros.sim.replay.calls import read_driver_log
    from alpamayo_ros.sim.replay.run import replay_log
    from alpamayo_ros.sim.replay.session import ReplayOptions

    options = ReplayOptions(
        shuffle_seed=arguments.shuffle_seed, random_seed=arguments.seed, timeout_s=arguments.timeout
    )
    tls = _tls(arguments)
    if arguments.out is not None and not arguments.out.parent.is_dir():
        raise InvalidInput(f"--out: expected a file in a folder that is there, got {arguments.out}")
    log = read_driver_log(arguments.log, without=arguments.without)
    if log.cut_off:
        print(f"alpamayo asl replay: only what is whole is told: {log.cut_off}", file=sys.stderr)
    try:
        report = replay_log(
            log,
            arguments.driver,
            sessions=arguments.sessions,
            repeat=arguments.repeat,
            compare=arguments.compare,
            options=options,
            tls=tls,
            connect_timeout_s=arguments.connect_timeout,
        )
    except ServiceError as error:
        print(f"alpamayo asl replay: {error}", file=sys.stderr)
        return EXIT_BROKEN
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    if arguments.out is not None:
        write_answers(
            arguments.out, recorded=arguments.log, record=report.records[0], random_seed=arguments.seed
        )
    print(json.dumps(report.as_dict(), indent=2) if arguments.json else describe(report))
    return 0 if report.passes(strict=arguments.strict) else EXIT_BROKEN


def describe(report: ReplayReport) -> str:
    """Return a report for a terminal: each rule, how often it was broken, and where first."""
    from alpamayo_ros.sim.replay.contract import RULES

    completed = sum(record.completed for record in report.records)
    lines = [
        f"driver {report.address}: {report.version or 'of no version'}",
        f"{len(report.records)} sessions, {completed} told to the end; {report.answers} of {report.drives} "
        f"drives answered in {report.wall_s:.1f} s",
    ]
    latency = report.latency
    if latency is not None:
        lines.append(
            f"drive: p50 {latency.p50_ms:.1f} ms, p99 {latency.p99_ms:.1f} ms, most {latency.max_ms:.1f} ms"
        )
    broken = report.broken()
    for name, rule in RULES.items():
        if name == "same_answers" and not report.compared:
            continue
        if name not in broken:
            seen = "ok" if report.answers or not rule.of_answers else "unseen"
            lines.append(f"  {seen:<8} {name:<16} {rule.expected}")
            continue
        count, first = broken[name]
        got = first.got if len(first.got) <= _TEXT_SHOWN else first.got[:_TEXT_SHOWN] + "..."
        where = f"; first in {first.where}" if first.where else ""
        lines += [
            f"  {'warning' if rule.warning else 'BROKEN':<8} {name:<16} {count} x expected {rule.expected}, "
            f"got {got}{where}",
            f"{'':<28}AlpaSim: {rule.otherwise}",
        ]
    errors = sum(not each.warning for each in report.findings)
    lines.append(f"{errors} errors, {len(report.findings) - errors} warnings")
    return "\n".join(lines)


def _tls(arguments: argparse.Namespace) -> ClientTls | None:
    """Read the files of the options; None without them."""
    from alpamayo_ros.sim.protocol.channel import ClientTls

    authority, certificate, key = arguments.tls_ca, arguments.tls_cert, arguments.tls_key
    if authority is None and certificate is None and key is None:
        return None
    return ClientTls.from_files(authority=authority, certificate=certificate, key=key)
