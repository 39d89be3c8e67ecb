"""The drive after an instant: as much of it as is known, and no more."""

from __future__ import annotations

import numpy as np
import pytest
from evaluation_factory import T0_NS, circle_track

from alpamayo_ros.evaluation.track import ENDS, GAP, JUMP, DriveTrack
from alpamayo_ros.sensing.timing import TimingConfig
from alpamayo_ros.types import InvalidInput


def straight(stamps_s: np.ndarray, *, jump_at_s: float | None = None) -> DriveTrack:
    poses = np.tile(np.eye(4), (len(stamps_s), 1, 1))
    poses[:, 0, 3] = 5.0 * stamps_s
    if jump_at_s is not None:
        poses[stamps_s > jump_at_s, 1, 3] += 30.0
    return DriveTrack(T0_NS + np.round(stamps_s * 1e9).astype(np.int64), poses, timing=TimingConfig())


def at(time_s: float) -> tuple[int, np.ndarray]:
    pose = np.eye(4)
    pose[0, 3] = 5.0 * time_s
    return T0_NS + round(time_s * 1e9), pose


@pytest.mark.parametrize(
    ("time_s", "known", "why"),
    [(3.0, 64, ""), (5.05, 49, ENDS), (9.95, 0, ENDS), (10.5, 0, ENDS), (-1.0, 0, ENDS)],
)
def test_a_future_ends_where_the_drive_ends(time_s: float, known: int, why: str) -> None:
    future = straight(np.arange(0.0, 10.001, 0.05)).known_future(*at(time_s))
    assert (len(future), future.why_cut) == (known, why)
    np.testing.assert_allclose(future.xyz_in_rig_t0[:, 0], 0.5 * np.arange(1, known + 1), atol=1e-4)


def test_behind_a_gap_or_a_jump_nothing_is_known() -> None:
    stamps_s = np.arange(0.0, 20.0, 0.05)
    gap = straight(stamps_s[(stamps_s < 10.01) | (stamps_s > 10.4)])
    assert (len(gap.known_future(*at(5.0))), gap.known_future(*at(5.0)).why_cut) == (50, GAP)
    assert gap.known_future(*at(11.0)).why_cut == ""
    jump = straight(stamps_s, jump_at_s=10.01)
    assert (len(jump.known_future(*at(5.0))), jump.known_future(*at(5.0)).why_cut) == (50, JUMP)
    way = jump.way_after(*at(5.0), until_ns=T0_NS + 15_000_000_000)
    assert way[-1, 0] == pytest.approx(25.0, abs=0.3) and np.abs(way[:, 1]).max() < 1e-6


def test_a_history_is_what_was_driven_before() -> None:
    history = circle_track(radius_m=30.0, speed_mps=6.0).history(T0_NS + 5_000_000_000)
    assert np.linalg.norm(history.xyz_in_rig_t0[0]) == pytest.approx(
        60.0 * np.sin(6.0 * 1.5 / 30.0 / 2), abs=1e-3
    )
    with pytest.raises(InvalidInput, match=r"expected odometry of 1\.5 s before it"):
        circle_track(radius_m=30.0, speed_mps=6.0).history(T0_NS + 1_000_000_000)
