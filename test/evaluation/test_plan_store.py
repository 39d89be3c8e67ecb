"""Plans on disk: what was written is there, whatever ended the writing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from evaluation_factory import circle_track, plan_of, truth_of

from alpamayo_ros.evaluation.plan_store import PlanStore
from alpamayo_ros.types import InvalidInput

TRACK = circle_track(radius_m=60.0, speed_mps=9.0)
PLANS = [plan_of(truth_of(TRACK, time_s), text="Keep läne.", candidates=2) for time_s in (2.0, 3.0, 4.0)]


def written(path: Path, count: int) -> PlanStore:
    store = PlanStore(path)
    with store:
        for plan in PLANS[:count]:
            store.left_out["camera_missing/front_wide"] += 1
            store.add(plan, instruction="Turn left", wall_ms=12.3456)
    return store


def test_plans_come_back_bit_for_bit(tmp_path: Path) -> None:
    path = tmp_path / "plans" / "bag.jsonl"
    written(path, 3)
    found = list(PlanStore(path).plans())
    assert [plan.t0_ns for plan, _, _ in found] == [plan.t0_ns for plan in PLANS]
    for plan, (again, instruction, wall_ms) in zip(PLANS, found, strict=True):
        np.testing.assert_array_equal(again.xyz_in_rig_t0, plan.xyz_in_rig_t0)
        assert (again.reasoning, again.chosen, again.times) == (plan.reasoning, plan.chosen, plan.times)
        assert (instruction, wall_ms) == ("Turn left", 12.346)


@pytest.mark.parametrize("cut", [1, 40, 3000])
def test_a_line_that_was_cut_off_is_taken_off(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "bag.jsonl"
    written(path, 2)
    whole = path.read_bytes()
    written(path, 3)  # goes on behind the two
    path.write_bytes(whole + path.read_bytes()[len(whole) :][:cut])
    store = PlanStore(path)
    assert (store.count, store.last_t0_ns, store.is_done) == (2, PLANS[1].t0_ns, False)
    assert store.left_out == {"camera_missing/front_wide": 2} and path.read_bytes() == whole
    with store:
        store.add(PLANS[2], instruction="", wall_ms=1.0)
        store.finish()
    again = PlanStore(path)
    assert (again.count, again.is_done, len(list(again.plans()))) == (3, True, 3)


def test_nothing_but_half_a_line_is_nothing(tmp_path: Path) -> None:
    path = tmp_path / "bag.jsonl"
    path.write_text('{"t0_ns": 1', encoding="utf-8")
    assert PlanStore(path).count == 0 and path.read_bytes() == b""


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bag.jsonl"
    path.write_text('{"t0_ns": 1}\n', encoding="utf-8")
    with pytest.raises(InvalidInput, match=r"bag\.jsonl:1: expected a plan's line"):
        PlanStore(path)


def test_a_plan_that_is_not_finite_is_kept_as_it_is(tmp_path: Path) -> None:
    xyz = PLANS[0].xyz_in_rig_t0.copy()
    xyz[0, 3, 1] = np.nan
    with PlanStore(tmp_path / "bag.jsonl") as store:
        store.add(replace(PLANS[0], xyz_in_rig_t0=xyz), instruction="", wall_ms=1.0)
    ((plan, _, _),) = PlanStore(tmp_path / "bag.jsonl").plans()
    assert np.isnan(plan.xyz_in_rig_t0[0, 3, 1])
