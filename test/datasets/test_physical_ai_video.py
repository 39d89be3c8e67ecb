"""The pictures of a video: those that the package's own reader gives, or a refusal."""

from __future__ import annotations

import io

import numpy as np
import pytest

pytest.importorskip("physical_ai_av", reason="the extra `dataset` is not installed")

import clip_factory as factory
from hypothesis import given
from hypothesis import strategies as st
from physical_ai_av.video import SeekVideoReader

from alpamayo_ros.datasets.errors import DatasetError
from alpamayo_ros.datasets.physical_ai.video import decoded_frames, nearest_to_ticks

CAMERA = "camera_front_wide_120fov"
STAMPS = factory.stamps_us(CAMERA, 1.5)


@pytest.fixture(scope="module")
def film() -> bytes:
    return factory.video(CAMERA, STAMPS)


def test_every_picture_is_the_one_that_the_packages_reader_gives(film: bytes) -> None:
    pictures = dict(decoded_frames(film, count=len(STAMPS)))
    assert list(pictures) == list(range(len(STAMPS)))
    reader = SeekVideoReader(io.BytesIO(film), STAMPS)
    wanted = np.array([0, 1, 17, 18, 30, len(STAMPS) - 1])
    theirs, stamps = reader.decode_images_from_timestamps(STAMPS[wanted])
    np.testing.assert_array_equal(stamps, STAMPS[wanted])
    for index, picture in zip(wanted, theirs, strict=True):
        np.testing.assert_array_equal(pictures[index], picture)


def test_only_those_wanted_are_yielded(film: bytes) -> None:
    wanted = np.zeros(len(STAMPS), bool)
    wanted[[3, 40]] = True
    assert [index for index, _ in decoded_frames(film, count=len(STAMPS), wanted=wanted)] == [3, 40]


def test_another_number_of_frames_is_refused(film: bytes) -> None:
    for count in (len(STAMPS) - 1, len(STAMPS) + 1):
        with pytest.raises(
            DatasetError, match=f"expected {count} frames, one for each timestamp, got {len(STAMPS)}"
        ):
            list(decoded_frames(film, count=count))


@pytest.mark.parametrize("cut", [0, 100, 0.5])
def test_a_video_that_was_cut_off_is_refused(film: bytes, cut: float) -> None:
    data = film[: int(cut * len(film)) if isinstance(cut, float) else cut]
    with pytest.raises(
        DatasetError, match=r"video: expected a video that can be decoded, got .* after 0 of 45 frames"
    ):
        list(decoded_frames(data, count=len(STAMPS)))


@pytest.mark.parametrize("seed", range(6))
def test_a_video_with_damaged_pictures_is_refused(film: bytes, seed: int) -> None:
    """FFmpeg by itself would paint over what is missing."""
    rng = np.random.default_rng(seed)
    start, size = film.index(b"mdat") + 200 + int(rng.integers(0, len(film) // 2)), (20, 400, 3000)[seed % 3]
    data = bytearray(film)
    data[start : start + size] = rng.integers(0, 256, size, np.uint8).tobytes()
    with pytest.raises(DatasetError, match=r"expected whole frames, got a damaged one: frame|can be decoded"):
        list(decoded_frames(bytes(data), count=len(STAMPS)))


@given(
    rate_hz=st.floats(1.0, 30.0),
    offset_us=st.integers(-200_000, 200_000),
    seed=st.integers(0, 99),
)
def test_thinned_pictures_are_those_nearest_to_the_ticks(rate_hz: float, offset_us: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    stamps = np.round(np.arange(60) * 1e6 / 30 + rng.uniform(-3000, 3000, 60)).astype(np.int64)
    keep = nearest_to_ticks(stamps, rate_hz, origin_us=offset_us)
    period = 1e6 / rate_hz
    ticks = offset_us + np.arange(-200, 200) * period
    reach = np.median(np.diff(stamps)) / 2
    ticks = ticks[(ticks >= stamps[0] - reach) & (ticks <= stamps[-1] + reach)]
    nearest = {int(np.abs(stamps - tick).argmin()) for tick in ticks}
    assert set(np.flatnonzero(keep)) == nearest


def test_all_are_kept_where_no_rate_is_asked_for_and_one_alone_is_enough() -> None:
    assert nearest_to_ticks(STAMPS, None, origin_us=0).all()
    assert nearest_to_ticks(STAMPS[:1], 10.0, origin_us=0).tolist() == [True]
