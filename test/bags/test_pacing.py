"""The pacer lets any planner keep up, and never plays faster than asked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpamayo_ros.bags.pacing import Pacer
from alpamayo_ros.types import InvalidInput


def simulate(pacer: Pacer, plan_s: float, *, bag_s: float) -> tuple[list[float], float]:
    """Play `bag_s` to a planner that takes `plan_s`, newest frame first; return plan ages and wall time."""
    step_s = 0.002
    wall_s = bag_now_s = 0.0
    ages: list[float] = []
    t0_s: float | None = None
    done_s = 0.0
    taken = -1
    pacer.expect_plans(0.0)
    while bag_now_s < bag_s:
        wall_s += step_s
        bag_now_s += step_s * pacer.rate(wall_s)
        if t0_s is not None and wall_s >= done_s:
            ages.append(bag_now_s - t0_s)
            pacer.planned(wall_s, took_s=plan_s)
            t0_s = None
        newest = int(bag_now_s / 0.1 + 1e-9)
        if t0_s is None and newest > taken:
            taken, t0_s, done_s = newest, newest * 0.1, wall_s + plan_s
    return ages, wall_s


@pytest.mark.parametrize("plan_s", [0.01, 0.05, 0.12, 0.6, 1.5])
def test_nearly_every_frame_is_planned_and_no_plan_is_old(plan_s: float) -> None:
    ages, _ = simulate(Pacer(), plan_s, bag_s=6.0)
    assert len(ages) >= 0.9 * 60
    assert max(ages[3:]) < 0.3


def test_a_fast_planner_runs_in_real_time() -> None:
    _, wall_s = simulate(Pacer(), 0.03, bag_s=6.0)
    assert wall_s == pytest.approx(6.0, rel=0.1)


def test_before_plans_can_come_the_bag_plays_at_full_rate() -> None:
    assert Pacer(max_rate=2.0).rate(100.0) == 2.0


def test_a_planner_that_never_answers_does_not_stop_the_bag() -> None:
    pacer = Pacer(min_rate=0.05)
    pacer.expect_plans(0.0)
    assert pacer.rate(1e6) == 0.05


def test_when_no_more_plan_is_to_be_expected() -> None:
    pacer = Pacer()
    assert pacer.overdue(0.0)
    pacer.planned(10.0, took_s=2.0)
    assert not pacer.overdue(15.0)
    assert pacer.overdue(17.0)


@given(st.lists(st.floats(0, 100), max_size=20), st.floats(0, 1e4))
def test_the_rate_stays_within_its_bounds(takes: list[float], wall_s: float) -> None:
    pacer = Pacer(max_rate=1.0, min_rate=0.1)
    for i, took_s in enumerate(takes):
        pacer.planned(float(i), took_s=took_s)
    assert 0.1 <= pacer.rate(wall_s) <= 1.0


def test_impossible_bounds_are_refused() -> None:
    with pytest.raises(InvalidInput, match=r"expected 0 < min_rate <= max_rate, got 2.0 and 1.0"):
        Pacer(min_rate=2.0)
    with pytest.raises(InvalidInput, match="took_s: expected zero or more, got -1"):
        Pacer().planned(0.0, took_s=-1)
