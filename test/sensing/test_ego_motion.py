"""Ego motion against closed forms: arcs, lever arms, braking, gaps, and what a twist is worth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from sensing_events import MS, START_NS, Arc, S, ticks

from alpamayo_ros.sensing.ego_motion import EgoMotion, Motion, Twist, TwistUse
from alpamayo_ros.sensing.rigid import compose, invert
from alpamayo_ros.types import InvalidInput

SPEEDS_MPS = st.floats(-5.0, 40.0)
YAW_RATES_RADPS = st.floats(-0.8, 0.8)
ANGLES_RAD = st.floats(-np.pi, np.pi)
METRES = st.floats(-5.0, 5.0)


def twist(
    forward_mps: float = 0.0, yaw_rate_radps: float = 0.0, *, left_mps: float = 0.0, up_mps: float = 0.0
) -> Twist:
    return Twist(np.array([forward_mps, left_mps, up_mps]), np.array([0.0, 0.0, yaw_rate_radps]))


def motion_of(
    arc: Arc, stamps: list[int], *, twists: bool = False, use: TwistUse = TwistUse.AUTO
) -> EgoMotion:
    motion = EgoMotion(twist=use)
    for stamp_ns in stamps:
        of_rig = twist(arc.speed_mps, arc.yaw_rate_rps) if twists else None
        motion.add(stamp_ns, arc.pose((stamp_ns - START_NS) / S), of_rig)
    return motion


def at(motion: EgoMotion, instant_ns: int) -> Motion:
    found = motion.at(instant_ns)
    assert found is not None
    return found


# Lever arms.


@given(SPEEDS_MPS, YAW_RATES_RADPS, ANGLES_RAD, ANGLES_RAD, st.tuples(METRES, METRES, METRES))
def test_a_twist_of_another_frame_is_brought_to_the_rig(speed, yaw_rate, yaw, roll, position) -> None:
    """What a body frame measures, and how the rig's own pose moves, by differences over 2 ms."""
    arc = Arc(speed_mps=speed, yaw_rate_rps=yaw_rate)
    child_from_rig = compose(Rotation.from_euler("zx", [yaw, roll]).as_matrix(), position)
    of_rig = twist(speed, yaw_rate).at_rig(child_from_rig)

    half_s = 1e-3
    rig = [arc.pose(time_s) @ child_from_rig for time_s in (1.0 - half_s, 1.0, 1.0 + half_s)]
    velocity_in_odom = (rig[2][:3, 3] - rig[0][:3, 3]) / (2 * half_s)
    np.testing.assert_allclose(of_rig.linear_mps, rig[1][:3, :3].T @ velocity_in_odom, atol=1e-4)
    turn = Rotation.from_matrix(rig[0][:3, :3].T @ rig[2][:3, :3]).as_rotvec() / (2 * half_s)
    np.testing.assert_allclose(of_rig.angular_radps, turn, atol=1e-6)


@given(SPEEDS_MPS, YAW_RATES_RADPS, ANGLES_RAD, st.tuples(METRES, METRES, METRES))
def test_to_the_rig_and_back_is_the_same_twist(speed, yaw_rate, yaw, position) -> None:
    child_from_rig = compose(Rotation.from_euler("z", yaw).as_matrix(), position)
    back = twist(speed, yaw_rate).at_rig(child_from_rig).at_rig(invert(child_from_rig))
    np.testing.assert_allclose(back.linear_mps, [speed, 0, 0], atol=1e-9)
    np.testing.assert_allclose(back.angular_radps, [0, 0, yaw_rate], atol=1e-12)


def test_a_rig_ahead_of_the_centre_of_gravity_moves_aside_in_a_turn() -> None:
    ahead = twist(10.0, 0.5).at_rig(compose(np.eye(3), [2.0, 0.0, 0.0]))
    np.testing.assert_allclose(ahead.linear_mps, [10.0, 1.0, 0.0])
    to_the_left = twist(10.0, 0.5).at_rig(compose(np.eye(3), [0.0, 2.0, 0.0]))
    np.testing.assert_allclose(to_the_left.linear_mps, [9.0, 0.0, 0.0])  # the inner side is slower
    assert twist(10.0, 0.5).at_rig(None).linear_mps[0] == 10.0


@pytest.mark.parametrize(
    ("linear", "angular"),
    [
        (np.array([np.nan, 0, 0]), np.zeros(3)),
        (np.zeros(3), np.array([0, 0, np.inf])),
        (np.zeros(2), np.zeros(3)),
        (np.zeros(3, np.float32), np.zeros(3)),
    ],
)
def test_a_twist_that_is_none_is_refused(linear, angular) -> None:
    with pytest.raises(InvalidInput, match="twist"):
        Twist(linear, angular)


# Speed and yaw rate.


@pytest.mark.parametrize("rate_hz", [200, 100, 50, 20, 10])
@settings(max_examples=20)
@given(SPEEDS_MPS, YAW_RATES_RADPS, st.integers(1100, 1900))
def test_poses_on_an_arc_give_its_speed_and_yaw_rate(rate_hz, speed, yaw_rate, instant_ms) -> None:
    """A chord of at most 0.2 s is shorter than its arc by a share of (0.1 w)^2 / 6."""
    motion = motion_of(Arc(speed_mps=speed, yaw_rate_rps=yaw_rate), ticks(rate_hz, 2))
    found = at(motion, START_NS + instant_ms * MS)
    assert not found.measured
    assert found.speed_mps == pytest.approx(speed, abs=abs(speed) * (0.1 * yaw_rate) ** 2 / 6 + 1e-6)
    assert found.yaw_rate_radps == pytest.approx(yaw_rate, abs=1e-6)
    assert found.accel_mps2 == pytest.approx(0.0, abs=0.05)


@settings(max_examples=20)
@given(SPEEDS_MPS.filter(lambda speed: abs(speed) > 1e-3), YAW_RATES_RADPS, st.integers(0, 2000))
def test_a_twist_is_taken_as_it_is(speed, yaw_rate, instant_ms) -> None:
    motion = motion_of(Arc(speed_mps=speed, yaw_rate_rps=yaw_rate), ticks(50, 2), twists=True)
    found = at(motion, START_NS + instant_ms * MS)
    assert found.measured and motion.reads_twist
    assert found.speed_mps == pytest.approx(speed, rel=1e-9)
    assert found.yaw_rate_radps == pytest.approx(yaw_rate, rel=1e-9, abs=1e-12)


def test_stamps_that_jitter_do_not_make_the_speed_jitter() -> None:
    rng = np.random.default_rng(4)
    stamps = [stamp + int(rng.integers(-8, 9)) * MS for stamp in ticks(50, 2)]
    motion = motion_of(Arc(), stamps)
    for instant_ms in range(200, 1900, 7):
        assert at(motion, START_NS + instant_ms * MS).speed_mps == pytest.approx(12.0, abs=0.01)


def test_far_from_the_origin_no_precision_is_lost() -> None:
    shift, arc, motion = compose(np.eye(3), [600_000.0, 5_400_000.0, 300.0]), Arc(), EgoMotion()
    for stamp_ns in ticks(100, 2):
        motion.add(stamp_ns, shift @ arc.pose((stamp_ns - START_NS) / S), None)
    assert at(motion, START_NS + S).speed_mps == pytest.approx(12.0, abs=0.002)


def test_backwards_is_negative_and_to_the_left_is_positive() -> None:
    for twists in (False, True):
        found = motion_of(Arc(speed_mps=-2.0, yaw_rate_rps=0.3), ticks(50, 1), twists=twists).newest()
        assert found is not None
        assert found.speed_mps == pytest.approx(-2.0, abs=0.01)
        assert found.yaw_rate_radps == pytest.approx(0.3, abs=0.01)


@given(st.floats(-8.0, 4.0))
def test_braking_and_accelerating(accel_mps2) -> None:
    """15 m/s, then faster or slower: by twist exactly, by poses 50 ms late at the newest of them."""
    by_twist, by_poses = EgoMotion(), EgoMotion()
    for stamp_ns in ticks(50, 1):
        time_s = (stamp_ns - START_NS) / S
        pose = compose(np.eye(3), [15.0 * time_s + 0.5 * accel_mps2 * time_s**2, 0.0, 0.0])
        by_twist.add(stamp_ns, pose, twist(15.0 + accel_mps2 * time_s))
        by_poses.add(stamp_ns, pose, None)
    middle_ns = START_NS + 700 * MS
    assert at(by_twist, middle_ns).speed_mps == pytest.approx(15.0 + 0.7 * accel_mps2, abs=1e-6)
    assert at(by_twist, middle_ns).accel_mps2 == pytest.approx(accel_mps2, abs=1e-6)
    assert at(by_poses, middle_ns).speed_mps == pytest.approx(15.0 + 0.7 * accel_mps2, abs=1e-6)
    newest = by_poses.newest()
    assert newest is not None
    assert newest.speed_mps == pytest.approx(15.0 + accel_mps2, abs=0.051 * abs(accel_mps2) + 1e-6)
    # Nothing is known of the time before the first sample.
    assert at(by_twist, START_NS + 200 * MS).accel_mps2 == 0.0


def test_standing_is_no_motion() -> None:
    motion = motion_of(Arc(speed_mps=0.0, yaw_rate_rps=0.0), ticks(50, 1))
    found = motion.newest()
    assert found is not None
    assert (found.speed_mps, found.yaw_rate_radps) == pytest.approx((0.0, 0.0), abs=1e-9)


def test_of_one_sample_there_is_no_speed_yet() -> None:
    motion = EgoMotion()
    assert motion.newest() is None
    motion.add(START_NS, Arc().pose(0.0), None)
    found = motion.newest()
    assert found is not None
    assert (found.speed_mps, found.yaw_rate_radps, found.accel_mps2) == (0.0, 0.0, 0.0)
    np.testing.assert_array_equal(found.odom_from_rig, Arc().pose(0.0))


# Poses, order, gaps.


@settings(max_examples=40)
@given(st.integers(0, 2000), st.sampled_from([200, 50, 20, 10]))
def test_a_pose_between_two_samples_is_on_the_arc(instant_ms, rate_hz) -> None:
    found = at(motion_of(Arc(), ticks(rate_hz, 2)), START_NS + instant_ms * MS)
    true = Arc().pose(instant_ms / 1e3)
    sagitta_m = 12.0 * 0.25 / rate_hz**2 / 8
    np.testing.assert_allclose(found.odom_from_rig[:3, 3], true[:3, 3], atol=sagitta_m + 1e-6)
    np.testing.assert_allclose(found.odom_from_rig[:3, :3], true[:3, :3], atol=1e-6)
    assert found.stamp_ns == START_NS + instant_ms * MS


@settings(max_examples=20)
@given(st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter(random) -> None:
    stamps = ticks(50, 1)
    shuffled = list(stamps)
    random.shuffle(shuffled)
    one, other = (motion_of(Arc(), order, twists=True) for order in (stamps, shuffled))
    for instant_ms in (0, 333, 511, 1000):
        instant_ns = START_NS + instant_ms * MS
        first, second = at(one, instant_ns), at(other, instant_ns)
        assert (first.speed_mps, first.accel_mps2) == (second.speed_mps, second.accel_mps2)
        np.testing.assert_array_equal(first.odom_from_rig, second.odom_from_rig)


@pytest.mark.parametrize(("gap_ms", "is_known"), [(240, True), (250, True), (260, False), (900, False)])
def test_a_gap_is_not_interpolated_over(gap_ms, is_known) -> None:
    before, after = 1000, 1000 + gap_ms
    stamps = [*ticks(50, 1), *(START_NS + ms * MS for ms in range(after, after + 500, 20))]
    motion = motion_of(Arc(), stamps)
    assert (motion.at(START_NS + (before + gap_ms // 2) * MS) is not None) == is_known
    # At both ends it is known what happened there; the speed is of the poses on one side.
    for edge_ms in (before, after, after + 100):
        assert at(motion, START_NS + edge_ms * MS).speed_mps == pytest.approx(12.0, abs=0.02)


def test_nothing_is_known_of_before_and_after() -> None:
    motion = motion_of(Arc(), ticks(50, 1))
    assert motion.at(START_NS - 1) is None
    assert motion.at(START_NS + S + 1) is None
    assert at(motion, START_NS + S).stamp_ns == START_NS + S


# Whether a twist is there.


def test_zeros_are_no_twist_until_there_was_one() -> None:
    arc, motion = Arc(), EgoMotion()
    stamps = ticks(50, 2)
    for stamp_ns in stamps[:50]:
        motion.add(stamp_ns, arc.pose((stamp_ns - START_NS) / S), twist())
    found = motion.newest()
    assert found is not None and not found.measured and not motion.reads_twist
    assert found.speed_mps == pytest.approx(12.0, abs=0.02)
    for stamp_ns in stamps[50:75]:
        motion.add(stamp_ns, arc.pose((stamp_ns - START_NS) / S), twist(12.5))
    found = motion.newest()
    assert found is not None and found.measured
    assert found.speed_mps == 12.5
    for stamp_ns in stamps[75:]:
        motion.add(stamp_ns, arc.pose((stamp_ns - START_NS) / S), twist())
    found = motion.newest()
    assert found is not None and found.measured
    assert found.speed_mps == 0.0  # whoever fills in twists means it


def test_a_twist_that_is_ignored_or_required() -> None:
    ignored = motion_of(Arc(), ticks(50, 1), twists=True, use=TwistUse.IGNORED)
    assert not ignored.wants_twist and not ignored.reads_twist
    assert not at(ignored, START_NS + S // 2).measured
    required = EgoMotion(twist=TwistUse.REQUIRED)
    with pytest.raises(InvalidInput, match="expected one in each message, got none"):
        required.add(START_NS, np.eye(4), None)
    assert required.newest() is None
    required.add(START_NS, np.eye(4), twist())
    found = required.newest()
    assert found is not None and found.measured


def test_after_a_clear_nothing_is_known_but_that_twists_are_filled_in() -> None:
    motion = motion_of(Arc(), ticks(50, 1), twists=True)
    motion.clear()
    assert motion.newest() is None
    assert motion.reads_twist
    motion.add(START_NS, np.eye(4), twist())
    found = motion.newest()
    assert found is not None and found.measured
