"""Images are encoded once, and nobody can tell by the plan."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from model_helpers import drive, make_observation

from alpamayo_ros.model import Alpamayo, PlanOptions
from alpamayo_ros.model.network import VisualFeatures
from alpamayo_ros.model.speed import SpeedOptions
from alpamayo_ros.model.vision_cache import VisionCache, joined
from alpamayo_ros.types import InvalidInput, Plan, UInt8Array

OPTIONS = PlanOptions(num_samples=2, seed=4, temperature=1.0, max_reasoning_tokens=10)


@pytest.fixture(scope="module")
def uncached(random_folder: Path) -> Alpamayo:
    speed = SpeedOptions(vision_cache_images=0)
    return Alpamayo.from_pretrained(random_folder, device="cpu", dtype="float32", speed=speed)


@pytest.fixture
def cached(random_folder: Path) -> Alpamayo:
    return Alpamayo.from_pretrained(random_folder, device="cpu", dtype="float32")


def assert_same(a: Plan, b: Plan) -> None:
    assert a.token_ids == b.token_ids
    np.testing.assert_array_equal(a.normalised_action, b.normalised_action)
    np.testing.assert_array_equal(a.xyz_in_rig_t0, b.xyz_in_rig_t0)


def test_plans_of_a_drive_are_the_same_bit_by_bit(cached: Alpamayo, uncached: Alpamayo) -> None:
    for tick, observation in enumerate(drive(4)):
        assert_same(cached.plan(observation, OPTIONS), uncached.plan(observation, OPTIONS))
        assert cached.vision_statistics.misses == 16 + 4 * tick
    assert cached.vision_statistics.hits == 3 * 12
    assert uncached.vision_statistics.hits == uncached.vision_statistics.images == 0


def test_frames_that_were_encoded_ahead_give_the_same_plans_bit_by_bit(
    cached: Alpamayo, uncached: Alpamayo
) -> None:
    for observation in drive(3):
        seen = zip(observation.camera_ids, observation.frame_stamps_ns, observation.frames, strict=True)
        for camera_id, stamps_ns, frames in seen:
            for stamp_ns, frame in zip(stamps_ns, frames, strict=True):
                # As a decoder gives it, interleaved in memory, not as the observation holds it.
                told = np.ascontiguousarray(frame.transpose(1, 2, 0)).transpose(2, 0, 1)
                cached.encode_ahead(camera_id, int(stamp_ns), told)
        assert_same(cached.plan(observation, OPTIONS), uncached.plan(observation, OPTIONS))
    statistics = cached.vision_statistics
    assert (statistics.hits, statistics.misses, statistics.ahead) == (3 * 16, 0, 16 + 2 * 4)
    frame = observation.frames[0][0]
    assert not cached.encode_ahead(observation.camera_ids[0], int(observation.frame_stamps_ns[0, 0]), frame)
    assert not uncached.encode_ahead(0, 1, frame), "where nothing is kept it would be for nothing"
    assert uncached.vision_statistics.ahead == 0


def test_a_picture_that_changed_after_it_was_encoded_ahead_is_encoded_anew(
    cached: Alpamayo, uncached: Alpamayo
) -> None:
    observation = drive(1)[0]
    camera_id, stamp_ns = observation.camera_ids[1], int(observation.frame_stamps_ns[1, 2])
    cached.encode_ahead(camera_id, stamp_ns, observation.frames[1][2])
    observation.frames[1][2, :, 8:24] ^= 255
    assert_same(cached.plan(observation, OPTIONS), uncached.plan(observation, OPTIONS))
    assert (cached.vision_statistics.hits, cached.vision_statistics.misses) == (0, 16)


def test_a_changed_picture_under_an_old_stamp_is_encoded_anew(cached: Alpamayo, uncached: Alpamayo) -> None:
    observation = drive(1)[0]
    before = cached.plan(observation, OPTIONS)
    observation.frames[1][2, :, 8:24] ^= 255  # in place
    changed = cached.plan(observation, OPTIONS)
    assert cached.vision_statistics.misses == 17
    assert_same(changed, uncached.plan(observation, OPTIONS))
    assert np.abs(changed.normalised_action - before.normalised_action).max() > 0
    # The picture as it was is still there as well.
    observation.frames[1][2, :, 8:24] ^= 255
    assert_same(cached.plan(observation, OPTIONS), before)
    assert cached.vision_statistics.misses == 17


def test_company_does_not_change_features(random_alpamayo: Alpamayo) -> None:
    """What the library's tower makes of all images at once is what it makes of each, up to rounding."""
    images = random_alpamayo.image_preparer
    frames = [images.prepare_frames(camera) for camera in make_observation(2).frames]
    with torch.inference_mode():
        together = random_alpamayo.network.encode_images(*images.patchify(frames))
        singles = [random_alpamayo._reader.look(image) for camera in frames for image in camera]
    alone = joined(singles)
    torch.testing.assert_close(alone.embeds, together.embeds, atol=1e-5, rtol=0)
    for ours, theirs in zip(alone.deepstack, together.deepstack, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def test_a_closed_model_keeps_no_features(cached: Alpamayo) -> None:
    cached.plan(drive(1)[0], OPTIONS)
    assert cached.vision_statistics.images == 16
    cached.close()
    assert cached.vision_statistics.held_bytes == 0


def test_a_model_that_nobody_has_is_freed_at_once(random_folder: Path) -> None:
    model = Alpamayo.from_pretrained(random_folder, device="cpu", dtype="float32")
    model.plan(drive(1)[0], OPTIONS)
    network = weakref.ref(model.network)
    gc.disable()
    try:
        del model
        assert network() is None
    finally:
        gc.enable()


class Encoder:
    """Counts; an image's features are its mean."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, image: UInt8Array) -> VisualFeatures:
        self.calls += 1
        mean = torch.full((1, 4), float(image.mean()))
        return VisualFeatures(mean, (mean,))


def picture(value: int) -> UInt8Array:
    return np.full((3, 2, 2), value, np.uint8)


def test_bounds_hold_and_the_least_recently_used_go_first() -> None:
    encode = Encoder()
    cache = VisionCache(encode, max_images=3, max_bytes=10_000)
    for value in range(3):
        cache.features(0, value, picture(value))
    cache.features(0, 0, picture(0))  # used again
    cache.features(0, 3, picture(3))  # number 1 goes
    assert cache.statistics.images == 3
    cache.features(0, 0, picture(0))
    assert encode.calls == 4
    cache.features(0, 1, picture(1))
    assert encode.calls == 5
    each = picture(0).nbytes + 2 * 16
    narrow = VisionCache(encode, max_images=100, max_bytes=2 * each)
    for value in range(5):
        narrow.features(0, value, picture(value))
        assert narrow.statistics.held_bytes <= 2 * each
    too_narrow = VisionCache(encode, max_images=100, max_bytes=each - 1)
    too_narrow.features(0, 0, picture(0))
    assert too_narrow.statistics.images == 0


def test_drives_with_the_same_stamps_keep_theirs_side_by_side() -> None:
    encode = Encoder()
    cache = VisionCache(encode, max_images=10, max_bytes=10_000)
    for _ in range(3):
        for session in (1, 2):
            features = cache.features(0, 100, picture(session))
            assert float(features.embeds[0, 0]) == session
    assert encode.calls == 2


@pytest.mark.parametrize("name", ["vision_cache_images", "vision_cache_bytes"])
def test_negative_bounds_are_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="expected zero or more, got -1"):
        SpeedOptions(**{name: -1})
