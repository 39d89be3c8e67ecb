"""A camera that sees nothing is told from one that does."""

from __future__ import annotations

import numpy as np
import pytest

from alpamayo_ros.sensing.frame_health import FrameWatch
from alpamayo_ros.types import InvalidInput


def noisy(seed: int, *, level: float = 90.0) -> np.ndarray:
    values = np.random.default_rng(seed).normal(level, 2.0, (3, 320, 576))
    return np.clip(values, 0, 255).astype(np.uint8)


STEP_NS = 100_000_000


def test_frames_of_a_sensor_are_neither_black_nor_the_same() -> None:
    watch = FrameWatch()
    for seed in range(10):
        health = watch.see(seed * STEP_NS, noisy(seed))
    assert (health.black_ms, health.same_ms) == (0, 0)
    assert health.brightness == pytest.approx(90.0, abs=1.0)


def test_a_picture_that_is_sent_again_is_timed_until_another_comes() -> None:
    watch = FrameWatch()
    assert [watch.see(i * STEP_NS, noisy(1)).same_ms for i in range(5)] == [0, 100, 200, 300, 400]
    assert watch.see(5 * STEP_NS, noisy(2)).same_ms == 0


def test_one_that_is_sent_six_times_at_a_higher_rate_is_not_old() -> None:
    watch = FrameWatch()
    seen = [watch.see(i * STEP_NS // 6, noisy(i // 6)).same_ms for i in range(60)]
    assert max(seen) < 100


def test_black_is_black_and_night_is_not() -> None:
    watch = FrameWatch()
    black = np.zeros((3, 320, 576), np.uint8)
    assert [watch.see(i * STEP_NS, black).black_ms for i in range(3)] == [0, 100, 200]
    assert watch.see(3 * STEP_NS, noisy(3, level=12.0)).black_ms == 0


def test_a_clear_forgets() -> None:
    watch = FrameWatch()
    for i in range(3):
        watch.see(i * STEP_NS, noisy(1))
    watch.clear()
    assert watch.health.same_ms == 0
    assert watch.see(9 * STEP_NS, noisy(1)).same_ms == 0


def test_what_is_no_frame_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"expected \[3, H, W\], got 2 dimensions"):
        FrameWatch().see(0, np.zeros((4, 4), np.uint8))
