"""Ego history: interpolation against closed-form motion, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation, Slerp
from sensing_events import MS, START_NS, Arc, S, ticks

from alpamayo_ros.sensing.ego_history import EgoHistory, History, NotArrived, NotStarted, Unusable
from alpamayo_ros.sensing.rigid import compose, from_quaternion, invert
from alpamayo_ros.sensing.stamped_buffer import Added, StampedBuffer
from alpamayo_ros.types import InvalidInput

T0_NS = START_NS + 2 * S + 37 * MS


def history_of(arc: Arc, stamps: list[int], t0_ns: int = T0_NS) -> object:
    ego = EgoHistory()
    for stamp_ns in stamps:
        ego.add(stamp_ns, arc.pose((stamp_ns - START_NS) / S))
    return ego.at(t0_ns)


@pytest.mark.parametrize(
    ("rate_hz", "bound_m"), [(200, 5e-5), (100, 2e-4), (50, 5e-4), (20, 2e-3), (10, 8e-3)]
)
def test_an_arc_is_reproduced(rate_hz: float, bound_m: float) -> None:
    """12 m/s at 0.25 rad/s, banked and climbing: within mm, at the roll and pitch of the road."""
    arc = Arc()
    history = history_of(arc, ticks(rate_hz, 3))
    assert isinstance(history, History)
    inverse = invert(arc.pose(2.037))
    for i in range(16):
        true = inverse @ arc.pose(2.037 - 0.1 * (15 - i))
        np.testing.assert_allclose(history.xyz_in_rig_t0[i], true[:3, 3], atol=bound_m)
        np.testing.assert_allclose(history.rot_in_rig_t0[i], true[:3, :3], atol=1e-6)
    np.testing.assert_allclose(history.rig_pose_in_odom_at_t0, arc.pose(2.037), atol=bound_m)


def test_the_last_pose_is_exactly_the_identity() -> None:
    history = history_of(Arc(), ticks(33.3, 3))
    assert isinstance(history, History)
    np.testing.assert_array_equal(history.xyz_in_rig_t0[-1], np.zeros(3))
    np.testing.assert_array_equal(history.rot_in_rig_t0[-1], np.eye(3))
    assert history.xyz_in_rig_t0.dtype == history.rot_in_rig_t0.dtype == np.float32


def test_far_from_the_origin_no_precision_is_lost() -> None:
    """UTM coordinates are millions of metres: differences must be taken before going to float32."""
    ego, arc = EgoHistory(), Arc()
    shift = compose(np.eye(3), [600_000.0, 5_400_000.0, 300.0])
    for stamp_ns in ticks(50, 3):
        ego.add(stamp_ns, shift @ arc.pose((stamp_ns - START_NS) / S))
    far, near = ego.at(T0_NS), history_of(arc, ticks(50, 3))
    assert isinstance(far, History)
    assert isinstance(near, History)
    np.testing.assert_allclose(far.xyz_in_rig_t0, near.xyz_in_rig_t0, atol=1e-6)


def test_rotation_is_interpolated_by_slerp() -> None:
    start, end = Rotation.from_euler("xyz", [0.3, -0.2, 3.0]), Rotation.from_euler("xyz", [-0.1, 0.4, -3.0])
    ego = EgoHistory()
    stamps = [START_NS + i * 200 * MS for i in range(9)]
    for i, stamp_ns in enumerate(stamps):
        ego.add(stamp_ns, compose((start if i % 2 == 0 else end).as_matrix(), [float(i), 0, 0]))
    history = ego.at(START_NS + 1550 * MS)
    assert isinstance(history, History)
    expected = Slerp([0, 1], Rotation.concatenate([end, start]))(0.75)
    np.testing.assert_allclose(history.rig_pose_in_odom_at_t0[:3, :3], expected.as_matrix(), atol=1e-12)
    np.testing.assert_allclose(history.rig_pose_in_odom_at_t0[:3, 3], [7.75, 0, 0], atol=1e-12)


def test_it_is_never_extrapolated() -> None:
    ego = EgoHistory()
    assert ego.at(T0_NS) == NotStarted(have_s=0.0)
    for stamp_ns in ticks(50, 2):
        ego.add(stamp_ns, Arc().pose((stamp_ns - START_NS) / S))
    assert ego.at(START_NS + 2 * S + 1) == NotArrived(behind_ms=1e-6)
    assert isinstance(ego.at(START_NS + 2 * S), History)
    assert isinstance(ego.at(START_NS + 1500 * MS), History)
    assert ego.at(START_NS + 1500 * MS - 1) == NotStarted(have_s=pytest.approx(1.5))


@pytest.mark.parametrize(("gap_ms", "good"), [(240, True), (250, True), (251, False), (600, False)])
def test_a_gap_over_a_quarter_second_is_refused(gap_ms: int, good: bool) -> None:
    begin = START_NS + S
    stamps = [s for s in ticks(100, 3) if not begin < s < begin + gap_ms * MS] + [begin + gap_ms * MS]
    history = history_of(Arc(), sorted(set(stamps)))
    assert isinstance(history, History) == good
    if not good:
        assert isinstance(history, Unusable)
        assert history.reason == "odometry_gap"
        assert f"expected no gap over 250 ms, got one of {gap_ms} ms" in history.problem
    # Once the gap lies before the history, it does not matter.
    assert isinstance(history_of(Arc(), stamps, begin + gap_ms * MS + 1500 * MS), History) == (gap_ms <= 500)


def test_a_late_pose_closes_a_gap() -> None:
    ego, arc = EgoHistory(), Arc()
    stamps = ticks(10, 3)
    for stamp_ns in [s for s in stamps if s not in (stamps[10], stamps[11])]:
        ego.add(stamp_ns, arc.pose((stamp_ns - START_NS) / S))
    assert isinstance(ego.at(T0_NS), Unusable)
    for stamp_ns in (stamps[11], stamps[10]):
        assert ego.add(stamp_ns, arc.pose((stamp_ns - START_NS) / S)) is Added.KEPT
    assert ego.add(stamps[11], arc.pose(0.0)) is Added.DUPLICATE
    assert isinstance(ego.at(T0_NS), History)


def test_poses_that_cannot_be_are_refused() -> None:
    ego = EgoHistory()
    for bad in (np.zeros((4, 4)), np.eye(4) * np.nan, np.eye(3), "pose"):
        with pytest.raises((InvalidInput, ValueError)):
            ego.add(START_NS, bad)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="odometry stamp: expected a positive stamp in ns, got 0"):
        ego.add(0, np.eye(4))


def test_quaternions() -> None:
    matrix = from_quaternion([1, 2, 3], [0, 0, np.sqrt(0.5), np.sqrt(0.5)])
    np.testing.assert_allclose(matrix @ [1, 0, 0, 1], [1, 3, 3, 1], atol=1e-12)
    np.testing.assert_allclose(from_quaternion([0, 0, 0], [0, 0, 0, -1.004]), np.eye(4), atol=1e-12)
    for bad in ([0, 0, 0, 0], [0, 0, 0, 1.2], [np.nan, 0, 0, 1], [0, 0, 1]):
        with pytest.raises(InvalidInput, match="quaternion: expected"):
            from_quaternion([0, 0, 0], bad)
    with pytest.raises(InvalidInput, match="translation: expected finite"):
        from_quaternion([0, np.inf, 0], [0, 0, 0, 1])


@settings(max_examples=60, deadline=None)
@given(stamps=st.lists(st.integers(1, 3000), min_size=1, max_size=60), instant=st.integers(0, 3100))
def test_a_buffer_is_sorted_and_finds_neighbours(stamps: list[int], instant: int) -> None:
    buffer: StampedBuffer[int] = StampedBuffer(span_ns=1000)
    kept: set[int] = set()
    for stamp in stamps:
        added = buffer.add(stamp, -stamp)
        newest = max(kept, default=0)
        if stamp in kept:
            assert added is Added.DUPLICATE
        elif stamp < newest - 1000:
            assert added is Added.TOO_OLD
        else:
            assert added is Added.KEPT
            kept.add(stamp)
        kept = {s for s in kept if s >= max(kept) - 1000}
    assert list(buffer.stamps) == sorted(kept)
    assert [buffer.at(s) for s in buffer.stamps] == [-s for s in sorted(kept)]
    before, after = buffer.around(instant)
    assert before == max((s for s in kept if s <= instant), default=None)
    assert after == min((s for s in kept if s >= instant), default=None)
    assert buffer.within(instant, 50) == sorted(s for s in kept if abs(s - instant) <= 50)
    if instant not in kept:
        with pytest.raises(KeyError):
            buffer.at(instant)


def test_the_usual_interval_ignores_drops() -> None:
    buffer: StampedBuffer[None] = StampedBuffer(span_ns=5 * S)
    assert buffer.rate_hz() == 0.0
    for i in range(40):
        if i % 7:
            buffer.add(START_NS + i * 100 * MS, None)
    assert buffer.rate_hz() == pytest.approx(10.0)
