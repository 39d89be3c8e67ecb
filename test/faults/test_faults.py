"""Fault by fault: a planner that is well, a disturbance, and all that must hold until it is well again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from bench import Bench, Fault, Verdict, running_bench, try_fault
from planner_faults import DISK_FAULTS, INFERENCE_FAULTS, OPERATION_FAULTS
from sensor_faults import CAMERA_FAULTS, CLOCK_FAULTS, ODOMETRY_FAULTS
from table import table, write_section

QUICK = {
    "reference camera lost",
    "other camera frozen",
    "camera late by 80 ms",
    "camera at half rate",
    "duplicated stamps",
    "truncated JPEG",
    "wrong encoding",
    "black pictures",
    "odometry lost",
    "odometry jumps by 1 m",
    "odometry NaN",
    "odometry in another frame",
    "odometry with a zero quaternion",
    "odometry stamps that go back",
    "clock goes back (bag loop)",
    "clock stands",
    "inference slower than a plan may be old",
    "inference raises",
    "out of GPU memory",
    "plan of NaN",
    "plan that starts 10 m away",
    "plan that runs backwards",
    "instruction of 1 MB",
    "instruction with <|cot_end|>",
    "parameters out of range",
    "disk full for the audit log",
}
"""The half that `make test` runs."""

WALL_FAULTS = (*CAMERA_FAULTS, *ODOMETRY_FAULTS, *INFERENCE_FAULTS, *OPERATION_FAULTS)
ALL = (*WALL_FAULTS, *CLOCK_FAULTS, *DISK_FAULTS)
VERDICTS: list[Verdict] = []


def _params(faults: Sequence[Fault]) -> list[Any]:
    """The quick half first: so it is one run of one node, whatever is deselected."""
    ordered = sorted(faults, key=lambda fault: fault.name not in QUICK)
    return [
        pytest.param(fault, id=fault.name, marks=[] if fault.name in QUICK else [pytest.mark.long])
        for fault in ordered
    ]


@pytest.fixture(scope="module")
def wall_bench(tmp_path_factory: pytest.TempPathFactory, calm_model: Any) -> Iterator[Bench]:
    with running_bench(tmp_path_factory.mktemp("wall"), calm_model) as bench:
        yield bench


@pytest.fixture(scope="module")
def sim_bench(tmp_path_factory: pytest.TempPathFactory, calm_model: Any) -> Iterator[Bench]:
    with running_bench(tmp_path_factory.mktemp("sim"), calm_model, sim_time=True) as bench:
        yield bench


@pytest.fixture(scope="module")
def disk_bench(tmp_path_factory: pytest.TempPathFactory, calm_model: Any) -> Iterator[Bench]:
    folder: Path = tmp_path_factory.mktemp("disk")
    with running_bench(folder, calm_model, audit_log=str(folder / "audit")) as bench:
        yield bench


@pytest.fixture(scope="module", autouse=True)
def page() -> Iterator[None]:
    """Write what was found where the environment asks for it."""
    yield
    if VERDICTS:
        write_section("Faults, one by one", table(VERDICTS))


def judge(bench: Bench, fault: Fault) -> None:
    verdict = try_fault(bench, fault)
    VERDICTS.append(verdict)
    assert not verdict.problems, "\n".join(verdict.problems)


@pytest.mark.parametrize("fault", _params(WALL_FAULTS))
def test_fault(wall_bench: Bench, fault: Fault) -> None:
    judge(wall_bench, fault)


@pytest.mark.parametrize("fault", _params(CLOCK_FAULTS))
def test_fault_of_the_clock(sim_bench: Bench, fault: Fault) -> None:
    judge(sim_bench, fault)


@pytest.mark.parametrize("fault", _params(DISK_FAULTS))
def test_fault_of_the_disk(disk_bench: Bench, fault: Fault) -> None:
    judge(disk_bench, fault)


def test_there_are_enough_of_them() -> None:
    names = [fault.name for fault in ALL]
    assert len(names) == len(set(names)) >= 40
    assert set(names) >= QUICK and len(QUICK) >= len(names) * 0.4
