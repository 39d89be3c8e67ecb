"""Faults in random combinations, drawn by a seed (ALPAMAYO_FAULTS_SEED)."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bench import Bench, Fault, Verdict, running_bench
from table import table, write_section
from together import GROUPS, draw, news_of, try_together

SEED = int(os.environ.get("ALPAMAYO_FAULTS_SEED", "5"))
NUMBER = 30
VERDICTS: list[Verdict] = []


def _combinations() -> list[list[Fault]]:
    rng = random.Random(SEED)
    return [draw(rng, 2 + index % 2) for index in range(NUMBER)]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, calm_model: Any) -> Iterator[Bench]:
    folder: Path = tmp_path_factory.mktemp("together")
    with running_bench(folder, calm_model, audit_log=str(folder / "audit")) as bench:
        yield bench
    if VERDICTS:
        write_section("Faults at once", f"Drawn with seed {SEED}. {table(VERDICTS)}")


@pytest.mark.long
@pytest.mark.parametrize("faults", _combinations(), ids=lambda faults: " + ".join(f.name for f in faults))
def test_faults_at_once(bench: Bench, faults: list[Fault]) -> None:
    verdict = try_together(bench, faults)
    VERDICTS.append(verdict)
    assert not verdict.problems, "\n".join([f"seed {SEED}", *verdict.problems])


def test_the_same_seed_draws_the_same_faults_of_different_groups() -> None:
    one, other = (draw(random.Random(3), 4) for _ in range(2))
    assert [f.name for f in one] == [f.name for f in other]
    groups = [next(i for i, group in enumerate(GROUPS) if fault in group) for fault in one]
    assert len(set(groups)) == 4


def test_a_counter_that_has_not_grown_is_no_news() -> None:
    before = "1 late | state=active refusals/plan_age=3 overruns=12"
    assert not news_of("refusals/plan_age=[1-9]", before, before)
    assert not news_of("out_of_memory=[1-9]", before, before)
    grown = before.replace("age=3", "age=31")
    assert news_of("refusals/plan_age=[1-9]", before, grown) == "refusals/plan_age=31"
    assert news_of("refusals/.*=[1-9]", before, grown)
    assert news_of("state=active", before, before) == "state=active"
    assert not news_of("s old: check", before, before)
    assert (
        news_of("s old: check", before, "2 camera: newest message is 1.4 s old: check it") == "s old: check"
    )
