"""The pictures of a clip's video, one after the other, each with its stamp."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.datasets.errors import DatasetError


def decoded_frames(
    video: bytes, *, count: int, wanted: NDArray[np.bool_] | None = None
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield index and picture, uint8 RGB [H, W, 3], of a video's frames in the order of showing.

    The package's own reader jumps to frames by their time, which pays for a few of them; for all of them,
    each is decoded once here. Picture i belongs to the clip's frame timestamp i.

    Args:
        video: the file (MP4, H.264 or whatever FFmpeg knows).
        count: how many frames it must hold: one a timestamp.
        wanted: [count], which of them to yield; all if None.

    Raises:
        DatasetError: for a video that cannot be read, has damaged frames, or another number of frames.
    """
    import av

    index = 0
    try:
        with av.open(io.BytesIO(video)) as container:
            if not container.streams.video:
                raise DatasetError("video: expected a stream of pictures, got none in it")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            for frame in container.decode(stream):
                if index < count:
                    if frame.is_corrupt:
                        raise DatasetError(f"video: expected whole frames, got a damaged one: frame {index}")
                    if wanted is None or wanted[index]:
                        yield index, frame.to_ndarray(format="rgb24")
                index += 1
    except av.FFmpegError as error:
        raise DatasetError(
            f"video: expected a video that can be decoded, got {error} after {index} of {count} frames"
        ) from error
    if index != count:
        raise DatasetError(f"video: expected {count} frames, one for each timestamp, got {index}")


def nearest_to_ticks(
    stamps_us: NDArray[np.int64], rate_hz: float | None, *, origin_us: int
) -> NDArray[np.bool_]:
    """Return which of the pictures [N] to keep so that about `rate_hz` remain a second (None: all).

    Those nearest to the ticks of a clock that runs through `origin_us`, as far as there are pictures half
    a picture's time from a tick; cameras thinned by the same clock stay as close to each other as they were.
    """
    if rate_hz is None:
        return np.ones(len(stamps_us), np.bool_)
    period_us = 1e6 / rate_hz
    reach_us = (np.median(np.diff(stamps_us)) if len(stamps_us) > 1 else period_us) / 2
    first = np.ceil((stamps_us[0] - reach_us - origin_us) / period_us)
    last = np.floor((stamps_us[-1] + reach_us - origin_us) / period_us)
    ticks_us = origin_us + np.arange(first, last + 1) * period_us
    after = np.clip(np.searchsorted(stamps_us, ticks_us), 1, max(len(stamps_us) - 1, 1))
    before = after - 1
    after = np.minimum(after, len(stamps_us) - 1)
    nearer = np.where(ticks_us - stamps_us[before] <= stamps_us[after] - ticks_us, before, after)
    keep = np.zeros(len(stamps_us), np.bool_)
    keep[nearer] = True
    return keep
