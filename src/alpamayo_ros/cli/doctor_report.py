"""What `alpamayo doctor` finds: one line a thing, with its remedy."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

REINSTALL = "run `make setup`, or `pip install .` again"


class Status(Enum):
    """What a finding means for running the stack."""

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"


@dataclass(frozen=True)
class Finding:
    """One line of the report: what was looked at, what was found, and what to do about it."""

    name: str
    status: Status
    detail: str
    remedy: str = ""

    def __post_init__(self) -> None:
        if self.status is not Status.OK and not self.remedy:
            raise ValueError(f"{self.name}: expected a remedy with {self.status.value}, got none")


def ok(name: str, detail: str) -> Finding:
    """Return a finding that needs no remedy."""
    return Finding(name, Status.OK, detail)


def warn(name: str, detail: str, remedy: str) -> Finding:
    """Return a finding that the stack can run with."""
    return Finding(name, Status.WARN, detail, remedy)


def fail(name: str, detail: str, remedy: str) -> Finding:
    """Return a finding that the stack cannot run with."""
    return Finding(name, Status.FAIL, detail, remedy)


def format_line(finding: Finding, *, colour: bool) -> str:
    """Return the line of one finding."""
    label = f"{finding.status.value:<4}"
    if colour:
        code = {Status.OK: 32, Status.WARN: 33, Status.FAIL: 31}[finding.status]
        label = f"\033[{code}m{label}\033[0m"
    line = f"{label}  {finding.name:<17} {finding.detail}"
    return f"{line} -> {finding.remedy}" if finding.remedy else line
