"""How long a plan takes, by a clock that the test sets."""

from __future__ import annotations

import pytest
from report_factory import Knowing, known_samples

from alpamayo_ros.evaluation.machine import machine
from alpamayo_ros.training.report.latency import WARM_UP, latency
from alpamayo_ros.types import InvalidInput, Observation, Plan

SAMPLES, DRAWN = known_samples(13)


class Taking:
    """Takes 1 s to warm up a plan, then 10, 20, … ms."""

    def __init__(self) -> None:
        self.time_s, self.plans = 0.0, 0

    def plan(self, observation: Observation) -> Plan:
        self.plans += 1
        self.time_s += 1.0 if self.plans <= WARM_UP else 0.01 * (self.plans - WARM_UP)
        return Knowing(SAMPLES).plan(observation)


def test_warming_up_is_not_counted() -> None:
    planner = Taking()
    found = latency(planner, SAMPLES, DRAWN, clock=lambda: planner.time_s)
    assert found["plans"] == 10 and planner.plans == 13
    assert found["median_ms"] == pytest.approx(55.0)
    assert found["p90_ms"] == pytest.approx(91.0)
    assert found["max_ms"] == pytest.approx(100.0)


def test_too_few_ticks_are_refused() -> None:
    with pytest.raises(InvalidInput, match="ticks: expected more than the 3 to warm up, got 3"):
        latency(Taking(), SAMPLES, DRAWN[:3])


def test_the_machine_is_told() -> None:
    told = machine()
    assert told["processor"] and told["cores"] >= 1 and told["load"] >= 0
