"""A plan against the one before it."""

from __future__ import annotations

import numpy as np
import pytest
from evaluation_factory import T0_NS, circle_track, plan_of, truth_of

from alpamayo_ros.evaluation.consistency import PlacedPlan, inconsistency

TRACK = circle_track(radius_m=60.0, speed_mps=9.0)


def placed(time_s: float, *, left_m: float = 0.0) -> PlacedPlan:
    truth = truth_of(TRACK, time_s)
    xyz = plan_of(truth, left_m=left_m).xyz_in_rig_t0[0]
    return PlacedPlan(truth.observation.t0_ns, truth.observation.rig_pose_in_odom_at_t0, xyz)


def test_who_keeps_to_a_plan_does_not_change_it() -> None:
    found = inconsistency(placed(2.0), placed(2.5))
    assert found["change_m"] == pytest.approx(0.0, abs=1e-3) and found["gap_s"] == pytest.approx(0.5)
    # Between waypoints the earlier plan is interpolated along chords: they are 3 mm off the circle.
    between = inconsistency(placed(2.0), placed(2.55))
    assert between["change_max_m"] == pytest.approx(0.0, abs=5e-3)


def test_a_shift_is_measured_in_the_world() -> None:
    assert inconsistency(placed(2.0), placed(2.5, left_m=0.7))["change_m"] == pytest.approx(0.7, abs=5e-3)
    assert inconsistency(placed(2.0, left_m=0.7), placed(3.0))["change_m"] == pytest.approx(0.7, abs=0.02)


def test_plans_far_apart_and_the_first_one_are_not_compared() -> None:
    assert inconsistency(None, placed(2.0)) == {"change_m": None, "change_max_m": None, "gap_s": None}
    assert inconsistency(placed(2.0), placed(4.5))["change_m"] is None
    assert inconsistency(placed(2.5), placed(2.0))["change_m"] is None


def test_only_the_common_time_is_compared() -> None:
    before = placed(2.0)
    later = PlacedPlan(T0_NS + 3_500_000_000, before.odom_from_rig_t0, before.xyz_in_rig_t0.copy())
    changed = later.xyz_in_rig_t0.copy()
    changed[49:] += 1000.0  # behind the earlier plan's end, 4.9 s later
    same = inconsistency(before, later)
    assert same == inconsistency(before, PlacedPlan(later.t0_ns, later.odom_from_rig_t0, changed))
    assert np.isfinite(same["change_m"] or np.nan)
