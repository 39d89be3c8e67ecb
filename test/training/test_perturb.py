"""A disturbance drives the vehicle off in the way that it says, the same in every process."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from alpamayo_ros.sim.scene import STEP_US
from alpamayo_ros.sim.trajectories import Trajectory, require_trajectory
from alpamayo_ros.training.perturb import MOST_TURN_RAD, Disturbance, Disturbances
from alpamayo_ros.types import InvalidInput

SPEED_MPS = 10.0


def trajectory(yaw_rad: float = 0.6) -> Trajectory:
    """Straight on at a constant speed, from a place that is not the origin."""
    stamps_us = 5_000_000 + STEP_US * np.arange(65, dtype=np.int64)
    poses = np.tile(np.eye(4), (65, 1, 1))
    poses[:, :3, :3] = Rotation.from_euler("z", yaw_rad).as_matrix()
    along = SPEED_MPS * 0.1 * np.arange(65)
    poses[:, :3, 3] = [20.0, -7.0, 1.0] + along[:, None] * poses[0, :3, 0]
    return stamps_us, poses


@given(st.floats(-2.0, 2.0), st.floats(0.5, 1.5))
def test_it_drifts_and_speeds_as_it_says(drift_mps: float, share: float) -> None:
    stamps_us, poses = trajectory()
    disturbance = Disturbance(0, 10, drift_left_mps=drift_mps, speed_share=share)
    same_stamps_us, changed = disturbance.disturbed((stamps_us, poses), speed_mps=SPEED_MPS)
    require_trajectory("disturbed", same_stamps_us, changed, now_us=int(stamps_us[0]))
    np.testing.assert_array_equal(changed[0], poses[0])
    in_rig = (changed[:, :3, 3] - poses[0, :3, 3]) @ poses[0, :3, :3]
    turn = np.clip(np.arctan2(drift_mps, SPEED_MPS), -MOST_TURN_RAD, MOST_TURN_RAD)
    one_second = in_rig[10]
    assert np.arctan2(one_second[1], one_second[0]) == pytest.approx(turn, abs=1e-6)
    assert np.linalg.norm(one_second) == pytest.approx(share * SPEED_MPS, rel=1e-5)
    yaw = np.arctan2(changed[5, 1, 0], changed[5, 0, 0]) - 0.6
    assert yaw == pytest.approx(turn, abs=1e-6)


def test_one_that_does_nothing_changes_nothing() -> None:
    stamps_us, poses = trajectory()
    np.testing.assert_allclose(
        Disturbance(0, 1).disturbed((stamps_us, poses), speed_mps=5.0)[1], poses, atol=1e-9
    )


def test_a_slow_vehicle_is_turned_no_further_than_the_limit() -> None:
    assert Disturbance(0, 1, drift_left_mps=1.0).turn_rad(0.0) == pytest.approx(MOST_TURN_RAD)
    assert Disturbance(0, 1, drift_left_mps=-1.0).turn_rad(20.0) == pytest.approx(-0.05, abs=1e-3)


def test_variant_nought_is_undisturbed() -> None:
    assert Disturbances.drawn("curve-101", variant=0, seed=5).all == ()


def test_draws_are_repeated_by_scene_variant_and_seed_alone() -> None:
    base = Disturbances.drawn("curve-101", variant=1, seed=5)
    assert Disturbances.drawn("curve-101", variant=1, seed=5) == base
    others = [("curve-121", 1, 5), ("straight-101", 1, 5), ("curve-101", 2, 5), ("curve-101", 1, 6)]
    assert all(Disturbances.drawn(scene, variant=v, seed=s) != base for scene, v, s in others)


def test_draws_go_both_ways_and_leave_time_to_recover() -> None:
    drawn = [Disturbances.drawn(f"curve-{seed}", variant=1, seed=0) for seed in range(101, 301)]
    every = [each for those in drawn for each in those.all]
    assert all(those.all for those in drawn)
    drifts = np.array([each.drift_left_mps for each in every])
    shares = np.array([each.speed_share for each in every])
    assert (drifts > 0).sum() == pytest.approx((drifts < 0).sum(), rel=0.3)
    assert (shares < 1).any() and (shares > 1).any()
    assert all(each.drift_left_mps or each.speed_share != 1 for each in every)
    for those in drawn:
        for one, following in zip(those.all, those.all[1:], strict=False):
            assert following.first_tick - one.end_tick >= 25


def test_samples_are_tagged_by_the_state_that_they_begin_in() -> None:
    those = Disturbances((Disturbance(10, 5, drift_left_mps=0.5), Disturbance(60, 5, speed_share=0.8)))
    told = [those.recovery(tick) for tick in range(100)]
    assert told[:11] == ["none"] * 11  # at tick 10 the ego is where it is to be; it goes wrong from then on
    assert told[11:16] == ["disturbed"] * 5
    assert told[16:46] == ["recovering"] * 30
    assert told[46:61] == ["none"] * 15
    assert told[61] == "disturbed"
    assert [tick for tick in range(100) if those.at(tick)] == [*range(10, 15), *range(60, 65)]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"first_tick": -1, "ticks": 3}, "first tick from 0 on"),
        ({"first_tick": 0, "ticks": 0}, "at least one tick"),
        ({"first_tick": 0, "ticks": 3, "drift_left_mps": 2.5}, "drift_left_mps: expected up to"),
        ({"first_tick": 0, "ticks": 3, "drift_left_mps": float("nan")}, "drift_left_mps: expected up to"),
        ({"first_tick": 0, "ticks": 3, "speed_share": 2.0}, "speed_share: expected"),
    ],
)
def test_what_no_vehicle_stands_is_refused(values: dict[str, float], says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        Disturbance(**values)  # type: ignore[arg-type]


def test_two_at_once_are_refused() -> None:
    with pytest.raises(InvalidInput, match="one after the other, got 12 before 15"):
        Disturbances((Disturbance(10, 5), Disturbance(12, 5)))
