"""Half an hour of faults, one after the other, alone and together, in one process: nothing may pile up.

ALPAMAYO_SOAK_S says for how many seconds, ALPAMAYO_FAULTS_SEED which faults.
"""

from __future__ import annotations

import gc
import os
import random
import statistics
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from bench import Bench, Verdict, running_bench
from planner_harness import wait_for
from table import write_section
from together import draw, try_together

SOAK_S = float(os.environ.get("ALPAMAYO_SOAK_S", "1800"))
SEED = int(os.environ.get("ALPAMAYO_FAULTS_SEED", "5"))
MAX_GROWTH_MIB = 20.0
_KEPT_S = 3.0


@dataclass(frozen=True)
class Usage:
    """What the process has, at a moment when the planner is well.

    Attributes:
        at_s: since the soak began.
        memory_mib: resident set.
    """

    at_s: float
    memory_mib: float
    threads: int
    files: int

    @classmethod
    def now(cls, at_s: float) -> Usage:
        gc.collect()  # rings of Python objects that wait for their collection are no leak
        fields = dict(
            line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line
        )
        return cls(
            at_s,
            memory_mib=int(fields["VmRSS"].split()[0]) / 1024,
            threads=int(fields["Threads"]),
            files=sum(1 for _ in Path("/proc/self/fd").iterdir()),
        )


@dataclass(frozen=True)
class Growth:
    """What the last fifth of a soak has more than the first fifth after its warm-up."""

    memory_mib: float
    threads: int
    files: int

    @classmethod
    def of(cls, usage: list[Usage]) -> Growth:
        begin_s, end_s = usage[0].at_s, usage[-1].at_s
        fifth_s = (end_s - begin_s) / 5
        first = [u for u in usage if u.at_s <= begin_s + fifth_s]
        last = [u for u in usage if u.at_s >= end_s - fifth_s]
        return cls(
            statistics.median(u.memory_mib for u in last) - statistics.median(u.memory_mib for u in first),
            min(u.threads for u in last) - max(u.threads for u in first),
            min(u.files for u in last) - max(u.files for u in first),
        )


def forget(bench: Bench) -> None:
    """Drop what was heard, but for the last seconds."""
    since_s = time.time() - _KEPT_S
    bench.heard[:] = [heard for heard in bench.heard if heard.sent_s >= since_s]
    bench.world.stalls.clear()
    bench.diagnostics[:] = [entry for entry in bench.diagnostics if entry[0] >= since_s]


def soak(bench: Bench, *, seconds: float, seed: int) -> tuple[list[Verdict], list[Usage]]:
    """Inject faults until the time is over; returns what became of each, and the usage after each."""
    rng = random.Random(seed)
    began_s = time.monotonic()
    verdicts, usage = [], []
    while (at_s := time.monotonic() - began_s) < seconds:
        verdict = try_together(bench, draw(rng, rng.choice((1, 1, 1, 2, 2, 3))))
        verdicts.append(verdict)
        for problem in verdict.problems:
            print(f"{at_s:.0f} s: {verdict.fault.name}: {problem}", flush=True)
        forget(bench)
        wait_for(lambda: bench.valid_since(time.time() - 1.0), "valid plans after a fault", timeout_s=60)
        usage.append(Usage.now(time.monotonic() - began_s))
        print(f"{usage[-1]} {verdict.fault.name}", flush=True)
        time.sleep(rng.uniform(0.0, 2.0))
    return verdicts, usage


def report(verdicts: list[Verdict], usage: list[Usage], growth: Growth) -> str:
    recovered = [v.recovered_s for v in verdicts if v.recovered_s is not None]
    alone = sum(" + " not in v.fault.name for v in verdicts)
    lines = [
        f"{usage[-1].at_s / 60:.0f} minutes, seed {SEED}: {alone} faults alone and {len(verdicts) - alone} "
        f"times two or three at once; {sum(v.valid_plans for v in verdicts)} VALID plans and "
        f"{sum(v.stops for v in verdicts)} stops while they lasted and until each was over; "
        f"**{sum(len(v.problems) for v in verdicts)} violations**; oldest VALID plan "
        f"{max(v.oldest_s for v in verdicts):.2f} s when it was published; VALID again after "
        f"{statistics.median(recovered):.2f} s (median), {max(recovered):.2f} s (slowest).",
        "",
        f"Growth after the warm-up (the first sixth): memory {growth.memory_mib:+.1f} MiB, threads "
        f"{growth.threads:+d}, file descriptors {growth.files:+d}.",
        "",
        "| minute | memory MiB | threads | file descriptors |",
        "|---|---|---|---|",
    ]
    step = max(1, len(usage) // 12)
    lines += [
        f"| {u.at_s / 60:.1f} | {u.memory_mib:.1f} | {u.threads} | {u.files} |"
        for u in [*usage[:-1:step], usage[-1]]
    ]
    return "\n".join(lines)


@pytest.mark.long
@pytest.mark.timeout(SOAK_S + 900)
def test_nothing_piles_up_while_faults_keep_coming(tmp_path: Path, calm_model: Any) -> None:
    with running_bench(tmp_path, calm_model, audit_log=str(tmp_path / "audit")) as bench:
        verdicts, usage = soak(bench, seconds=SOAK_S, seed=SEED)
    growth = Growth.of([u for u in usage if u.at_s >= SOAK_S / 6])
    text = report(verdicts, usage, growth)
    print(text)
    write_section("Soak", text)
    problems = Counter(f"{v.fault.name}: {problem}" for v in verdicts for problem in v.problems)
    assert not problems, "\n".join(problems)
    assert growth.memory_mib <= MAX_GROWTH_MIB
    assert growth.threads <= 0
    assert growth.files <= 0


def test_growth_is_seen() -> None:
    """A process that leaks a little is told from one that goes up and down."""
    noisy = [Usage(float(i), 500.0 + 5 * (i % 3), 40 + i % 2, 60 + i % 4) for i in range(300)]
    growth = Growth.of(noisy)
    assert growth.memory_mib <= 1.0 and growth.threads <= 0 and growth.files <= 0
    leaking = [
        Usage(u.at_s, u.memory_mib + 0.1 * u.at_s, u.threads + i // 50, u.files + i)
        for i, u in enumerate(noisy)
    ]
    growth = Growth.of(leaking)
    assert growth.memory_mib > MAX_GROWTH_MIB and growth.threads > 0 and growth.files > 0
