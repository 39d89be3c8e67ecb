"""Which of K samples is driven, and when the expert takes over."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from alpamayo_ros.sim.planners.motion import Motion, make_plan
from alpamayo_ros.training.road_guidance import Guidance, nearest_sample
from alpamayo_ros.types import NUM_WAYPOINTS, InvalidInput, Plan

GUIDANCE = Guidance(num_samples=3)


def straight(*speeds_mps: float) -> Plan:
    """One sample straight ahead for each speed."""
    motions = [
        Motion(
            accel_mps2=np.zeros(NUM_WAYPOINTS),
            yaw_rad=np.zeros(NUM_WAYPOINTS + 1),
            speed_mps=np.full(NUM_WAYPOINTS + 1, speed),
        )
        for speed in speeds_mps
    ]
    return make_plan(motions, t0_ns=5, reasoning=[""] * len(motions), model="test")


def test_the_nearest_sample_and_its_distances_are_exact() -> None:
    found = nearest_sample(straight(8.0, 10.5, 13.0), straight(10.0), guidance=GUIDANCE)
    assert found.index == 1
    assert found.mean_m == pytest.approx(
        0.5 * 1.05, abs=1e-5
    )  # mean of 0.1 ... 2.0 s at half a metre a second
    assert found.off_m == pytest.approx(1.0, abs=1e-5)
    assert found.is_near


def test_it_is_nearest_on_the_way_that_counts() -> None:
    """The best at the horizon's end is not the best over the first half second."""
    expert, samples = straight(10.0), straight(10.2, 10.0)
    samples.xyz_in_rig_t0[1, 5:, 1] = 9.0
    near = Guidance(num_samples=2, compared_s=0.5)
    assert nearest_sample(samples, expert, guidance=near).index == 1
    assert nearest_sample(samples, expert, guidance=replace(near, compared_s=2.0)).index == 0


def test_height_does_not_count() -> None:
    samples = straight(10.0, 10.1, 10.2)
    samples.xyz_in_rig_t0[0, :, 2] = 7.0
    assert nearest_sample(samples, straight(10.0), guidance=GUIDANCE).index == 0


@pytest.mark.parametrize(("offset_m", "is_near"), [(1.49, True), (1.5, True), (1.51, False), (-1.51, False)])
def test_recovery_begins_beyond_the_threshold(offset_m: float, is_near: bool) -> None:
    sample = straight(10.0)
    sample.xyz_in_rig_t0[0, 19, 1] = offset_m
    found = nearest_sample(sample, straight(10.0), guidance=Guidance(num_samples=1, near_m=1.5))
    assert found.is_near is is_near


def test_the_threshold_is_taken_at_its_own_time() -> None:
    sample = straight(11.0)  # 2 m ahead at 2 s, 1 m at 1 s
    for near_at_s, is_near in ((1.0, True), (2.0, False)):
        guidance = Guidance(num_samples=1, near_m=1.5, near_at_s=near_at_s)
        assert nearest_sample(sample, straight(10.0), guidance=guidance).is_near is is_near


def test_it_compares_with_what_the_expert_chose() -> None:
    expert = replace(straight(5.0, 13.0), chosen=1)
    assert nearest_sample(straight(5.0, 9.0, 13.0), expert, guidance=GUIDANCE).index == 2


def test_samples_that_are_no_numbers_are_never_driven() -> None:
    samples = straight(10.0, 10.0, 10.2)
    samples.xyz_in_rig_t0[0, 60] = np.nan
    samples.rot_in_rig_t0[1, 60] = np.inf
    assert nearest_sample(samples, straight(10.0), guidance=GUIDANCE).index == 2
    samples.xyz_in_rig_t0[2, 0] = np.nan
    found = nearest_sample(samples, straight(10.0), guidance=GUIDANCE)
    assert not found.is_near and np.isinf([found.mean_m, found.off_m]).all()


def test_of_equals_the_first_is_taken() -> None:
    assert nearest_sample(straight(9.0, 11.0, 9.0), straight(10.0), guidance=GUIDANCE).index == 0


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"num_samples": 0}, "num_samples: expected at least 1"),
        ({"compared_s": 0.0}, "compared_s: expected 0.1"),
        ({"compared_s": 6.5}, "compared_s: expected 0.1"),
        ({"compared_s": float("nan")}, "compared_s: expected 0.1"),
        ({"near_at_s": 0.25}, r"near_at_s: expected 0.1, 0.2 \.\.\. 6.4 s, got 0.25"),
        ({"near_m": -1.0}, "near_m: expected zero or more"),
        ({"near_m": float("inf")}, "near_m: expected zero or more"),
        ({"recovery_ticks": 0}, r"recovery_ticks: expected 1 \.\.\. 200"),
        ({"recovery_ticks": 201}, "recovery_ticks"),
        ({"held_ticks": 0}, r"held_ticks: expected 1 ... 20"),
    ],
)
def test_guidance_refuses_what_means_nothing(changes: dict[str, float], says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        Guidance(**changes)  # type: ignore[arg-type]


def test_plans_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(InvalidInput, match="policy: expected 3 samples, got 2"):
        nearest_sample(straight(1.0, 2.0), straight(1.0), guidance=GUIDANCE)
    with pytest.raises(InvalidInput, match="policy: expected a plan from the expert's t0, 6 ns, got 5 ns"):
        nearest_sample(straight(1.0, 2.0, 3.0), replace(straight(1.0), t0_ns=6), guidance=GUIDANCE)
