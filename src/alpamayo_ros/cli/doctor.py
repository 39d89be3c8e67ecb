"""Say what is installed, what is missing, and the remedy, one line a thing.

FAIL means that the stack cannot run; WARN that something is slower or not available. The exit code is 0
unless something FAILs.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict

from alpamayo_ros.cli import doctor_model, doctor_ros, doctor_sim
from alpamayo_ros.cli.doctor_report import Finding, Status, format_line

CHECKS: tuple[Callable[[], Finding], ...] = (
    doctor_model.check_python,
    doctor_model.check_libraries,
    doctor_ros.check_ros,
    doctor_ros.check_rmw,
    doctor_ros.check_messages,
    doctor_ros.check_transport,
    doctor_ros.check_shared_memory,
    doctor_ros.check_profile,
    doctor_model.check_bags,
    doctor_model.check_torch,
    doctor_model.check_gpu,
    doctor_model.check_transformers,
    doctor_model.check_hub,
    doctor_sim.check_egl,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `alpamayo doctor`."""
    parser.add_argument("--json", action="store_true", help="print a JSON object instead of lines")


def run(arguments: argparse.Namespace, checks: Iterable[Callable[[], Finding]] = CHECKS) -> int:
    """Print the findings and return 0 if the stack can run, else 1."""
    findings: list[Finding] = []
    for check in checks:
        findings.append(check())
        if not arguments.json:
            print(format_line(findings[-1], colour=sys.stdout.isatty()), flush=True)
    failed = [finding.name for finding in findings if finding.status is Status.FAIL]
    if arguments.json:
        lines = [{**asdict(finding), "status": finding.status.value} for finding in findings]
        print(json.dumps({"can_run": not failed, "findings": lines}, indent=2))
    else:
        print("\nThe stack can run." if not failed else f"\nThe stack cannot run: {', '.join(failed)}.")
    return 1 if failed else 0
