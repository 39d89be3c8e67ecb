"""A rollout as a film: WebM, which browsers play, or an animated WebP, which they show as a picture."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import cv2
import numpy as np

from alpamayo_ros.sim.record import RolloutRecord
from alpamayo_ros.sim.report.film import film_frames
from alpamayo_ros.sim.report.pictures import PictureSource
from alpamayo_ros.sim.scene import STEP_US
from alpamayo_ros.sim.scoring import RolloutScore
from alpamayo_ros.types import InvalidInput, UInt8Array

_WEBM_SCALE = 0.75
"""OpenCV sets VP8's bit rate by the number of pixels: at full size 22 s would come to more than 10 MB."""
_WEBP_SCALE, _WEBP_EVERY, _WEBP_QUALITY = 0.6, 2, 60


def write_video(
    path: Path,
    record: RolloutRecord,
    *,
    images: PictureSource,
    score: RolloutScore | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Film a rollout in real time.

    Args:
        path: to write; its suffix chooses: .webm (VP8, 960 x 540, a frame a step) or .webp (animated,
            768 x 432, a frame every second step).
        record: the rollout.
        images: renders the front camera.
        score: of the rollout, for how it ended.
        progress: told the number of frames done and of all.

    Raises:
        InvalidInput: for another suffix, or where this OpenCV cannot write WebM (then .webp can be written).
    """
    writers = {".webm": (write_webm, 1), ".webp": (write_webp, _WEBP_EVERY)}
    if path.suffix not in writers:
        raise InvalidInput(f"video: expected a name that ends in .webm or .webp, got {path.name}")
    write, every = writers[path.suffix]
    total = len(range(0, len(record.ego), every))

    def counted() -> Iterator[UInt8Array]:
        for number, frame in enumerate(film_frames(record, images, score=score, every=every), start=1):
            yield frame
            progress(number, total)

    write(path, counted(), frames_a_second=1e6 / STEP_US / every)


def write_webm(path: Path, frames: Iterable[UInt8Array], *, frames_a_second: float) -> None:
    """Write uint8 RGB [H, W, 3] frames as VP8 in WebM, a little smaller.

    Raises:
        InvalidInput: for no frame, or where this OpenCV has no VP8.
    """
    first, frames = _first_of(frames)
    width, height = _even(first.shape[1] * _WEBM_SCALE), _even(first.shape[0] * _WEBM_SCALE)
    with _silent_stderr():
        fourcc = cv2.VideoWriter.fourcc(*"VP80")
        writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, fourcc, frames_a_second, (width, height))
    try:
        if not writer.isOpened():
            raise InvalidInput("video: expected an OpenCV that writes VP8 in WebM; write .webp with this one")
        # The next frame is drawn while one is encoded: either takes about as long.
        with ThreadPoolExecutor(1) as encoder:
            busy: Future[None] | None = None
            for frame in frames:
                small = np.asarray(cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
                if busy is not None:
                    busy.result()
                busy = encoder.submit(_encode, writer, small)
            if busy is not None:
                busy.result()
    finally:
        writer.release()


def write_webp(path: Path, frames: Iterable[UInt8Array], *, frames_a_second: float) -> None:
    """Write uint8 RGB [H, W, 3] frames as animated WebP, smaller; raises InvalidInput for no frame."""
    from PIL import Image

    def small() -> Iterator[Image.Image]:
        for frame in frames:
            size = (round(frame.shape[1] * _WEBP_SCALE), round(frame.shape[0] * _WEBP_SCALE))
            yield Image.fromarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA))

    _, frames = _first_of(frames)
    images = small()
    next(images).save(
        path,
        save_all=True,
        append_images=images,
        duration=round(1000 / frames_a_second),
        loop=0,
        quality=_WEBP_QUALITY,
        method=2,
    )


def _encode(writer: cv2.VideoWriter, frame: UInt8Array) -> None:
    writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))


def _even(pixels: float) -> int:
    return 2 * round(pixels / 2)


def _first_of(frames: Iterable[UInt8Array]) -> tuple[UInt8Array, Iterator[UInt8Array]]:
    iterator = iter(frames)
    first = next(iterator, None)
    if first is None:
        raise InvalidInput("video: expected at least one frame, got none")
    return first, chain([first], iterator)


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Keep FFmpeg's remark that WebM has no codec tags, made on stderr at every opening, off the terminal."""
    kept = os.dup(2)
    nothing = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(nothing)
        os.close(kept)
