"""Planner and watchdog as processes: one is killed, told to end, or hangs while the vehicle drives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from calm_checkpoint import write_calm_checkpoint
from process_faults import PROCESS_FAULTS, ProcessFault, ProcessVerdict, try_process_fault
from processes import ProcessBench, process_bench
from table import write_section

VERDICTS: list[ProcessVerdict] = []


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessBench]:
    folder = tmp_path_factory.mktemp("processes")
    with process_bench(folder, write_calm_checkpoint(folder / "checkpoint")) as bench:
        yield bench
    if VERDICTS:
        write_section("Processes", table(VERDICTS))


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(fault, id=fault.name, marks=[pytest.mark.long] if number else [])
        for number, fault in enumerate(PROCESS_FAULTS)
    ],
)
def test_what_happens_to_a_process(processes: ProcessBench, fault: ProcessFault) -> None:
    verdict = try_process_fault(processes, fault)
    VERDICTS.append(verdict)
    print(row(verdict))
    problems = [*verdict.problems, *verdict.late]
    assert not problems, "\n".join(problems)
    if verdict.excused:  # all that is judged by its content holds; of these times nothing can be said here
        pytest.skip(f"the machine stalled in each of {verdict.tries} tries: {'; '.join(verdict.excused)}")


def table(verdicts: Sequence[ProcessVerdict]) -> str:
    """Return the rows, and a line that sums them up."""
    violations = sum(len(v.problems) + len(v.late) for v in verdicts)
    lines = [
        f"{len(verdicts)} times a process ended or hung, {sum(v.valid_plans for v in verdicts)} VALID plans "
        f"and {sum(v.stops for v in verdicts)} stops of the watchdog from then until it was over, "
        f"**{violations} violations**. `first stop` counts from what happened, `VALID again` from when the "
        "planner was active again; while it starts and loads, the watchdog's stops go on.",
        "",
        "| what happens | expected | VALID plans | watchdog's stops | violations | oldest VALID plan s "
        "| first stop s | VALID again s | the watchdog's reason |",
        "|---|---|---|---|---|---|---|---|---|",
        *(row(verdict) for verdict in verdicts),
    ]
    return "\n".join(lines)


def row(verdict: ProcessVerdict) -> str:
    def seconds(value: float | None) -> str:
        return "–" if value is None else f"{value:.2f}"

    said = verdict.said or "–"
    if verdict.excused:
        said = f"(times not judged: the machine stalled in {verdict.tries} tries) {said}"
    elif verdict.tries > 1:
        said = f"(try {verdict.tries}, as the machine stalled) {said}"
    return (
        f"| {verdict.fault.name} | {'stop' if verdict.fault.says else 'drive on'} | {verdict.valid_plans} "
        f"| {verdict.stops} | {len(verdict.problems) + len(verdict.late)} | {verdict.oldest_s:.2f} "
        f"| {seconds(verdict.first_stop_s)} | {seconds(verdict.valid_again_s)} | {said} |"
    )
