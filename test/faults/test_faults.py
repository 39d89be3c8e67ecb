"""Fault by fault: a planner that is well, a disturbance, and all that must hold until it is well again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
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


class Benches:
    """One bench at a time: a second planner beside it would be a load of its own."""

    def __init__(self, tmp_path_factory: pytest.TempPathFactory, model: Any) -> None:
        self._factory, self._model = tmp_path_factory, model
        self._stack = ExitStack()
        self._kind, self._bench = "", None

    def of(self, kind: str) -> Bench:
        """Return the bench of wall time, of simulated time ("sim"), or with an audit log ("disk")."""
        if kind != self._kind or self._bench is None:
            self.close()
            folder: Path = self._factory.mktemp(kind)
            more: dict[str, Any] = {"audit_log": str(folder / "audit")} if kind == "disk" else {}
            bench = running_bench(folder, self._model, sim_time=kind == "sim", **more)
            self._kind, self._bench = kind, self._stack.enter_context(bench)
        return self._bench

    def close(self) -> None:
        """End the one that runs."""
        self._kind, self._bench = "", None
        self._stack.close()


@pytest.fixture(scope="module")
def benches(tmp_path_factory: pytest.TempPathFactory, calm_model: Any) -> Iterator[Benches]:
    made = Benches(tmp_path_factory, calm_model)
    yield made
    made.close()


@pytest.fixture(scope="module", autouse=True)
def page() -> Iterator[None]:
    """Write what was found where the environment asks for it."""
    yield
    if VERDICTS:
        write_section("Faults, one by one", table(VERDICTS))


def judge(bench: Bench, fault: Fault) -> None:
    verdict = try_fault(bench, fault)
    VERDICTS.append(verdict)
    if verdict.excused:  # all that is judged by its content holds; of times nothing can be said here
        pytest.skip(f"the machine stalled in each of {verdict.tries} tries, for {verdict.stalled_s:.1f} s")
    assert not verdict.problems, "\n".join(verdict.problems)


@pytest.mark.parametrize("fault", _params(WALL_FAULTS))
def test_fault(benches: Benches, fault: Fault) -> None:
    judge(benches.of("wall"), fault)


@pytest.mark.parametrize("fault", _params(CLOCK_FAULTS))
def test_fault_of_the_clock(benches: Benches, fault: Fault) -> None:
    judge(benches.of("sim"), fault)


@pytest.mark.parametrize("fault", _params(DISK_FAULTS))
def test_fault_of_the_disk(benches: Benches, fault: Fault) -> None:
    judge(benches.of("disk"), fault)


def test_there_are_enough_of_them() -> None:
    names = [fault.name for fault in ALL]
    assert len(names) == len(set(names)) >= 40
    assert set(names) >= QUICK and len(QUICK) >= len(names) * 0.4
