"""Several faults at once, drawn by a seed, and what /diagnostics says of them that it did not say before."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from bench import Bench, Fault, Verdict, try_fault
from news import news_of, text_of
from planner_faults import DISK_FAULTS, INFERENCE_FAULTS, OPERATION_FAULTS
from sensor_faults import CAMERA_FAULTS, ODOMETRY_FAULTS
from world import STALL_S

GROUPS: tuple[tuple[Fault, ...], ...] = (
    CAMERA_FAULTS,
    tuple(fault for fault in ODOMETRY_FAULTS if "cameras" not in fault.name),
    INFERENCE_FAULTS,
    OPERATION_FAULTS,
    tuple(fault for fault in DISK_FAULTS if "audit" in fault.name),
)
"""Two faults of one group would undo each other: they disturb the same thing."""
_REPORT_S = 2.5


def draw(rng: random.Random, number: int) -> list[Fault]:
    """Return so many faults that can be there at once; of the first groups as often as of the last."""
    return [rng.choice(group) for group in rng.sample(GROUPS, number)]


def try_together(bench: Bench, faults: Sequence[Fault]) -> Verdict:
    """Inject faults at the same time, and judge as `bench.try_fault` does.

    One may hide another (a plan that is never made is not refused), so /diagnostics must tell something new
    of one of them at least. With several, whether there must be a stop is what the strictest of them says.
    """
    expectations = {fault.stops for fault in faults}
    stops = True if True in expectations else (False if len(faults) == 1 and False in expectations else None)

    @contextmanager
    def inject(bench: Bench) -> Iterator[None]:
        with ExitStack() as stack:
            for fault in faults:
                stack.enter_context(fault.inject(bench))
            yield

    whole = Fault(
        " + ".join(fault.name for fault in faults),
        inject,
        max(fault.lasts_s for fault in faults),
        status="inference",
        says="state=active",
        stops=stops,
        pose_tolerance_m=max(fault.pose_tolerance_m for fault in faults),
    )
    before = {fault.status: text_of(bench.status(fault.status)) for fault in faults}
    began_s = time.time()
    verdict = try_fault(bench, whole)
    said = _first_news(bench, faults, before, began_s)
    if said:
        status, news = said
        return replace(verdict, fault=replace(whole, status=status), said=news)
    problem = "/diagnostics: expected news of one of the faults, got none"
    if verdict.stalled_s > STALL_S:
        return replace(verdict, said="", late=(*verdict.late, problem))
    return replace(verdict, said="", problems=(*verdict.problems, problem))


def _first_news(
    bench: Bench, faults: Sequence[Fault], before: dict[str, str], since_s: float
) -> tuple[str, str] | None:
    deadline_s = time.time() + _REPORT_S
    while True:
        for at_s, statuses in list(bench.diagnostics):
            for fault in faults:
                if at_s >= since_s and fault.status in statuses:
                    found = news_of(fault.says, before[fault.status], text_of(statuses[fault.status]))
                    if found:
                        return fault.status, found
        if time.time() > deadline_s:
            return None
        time.sleep(0.05)
