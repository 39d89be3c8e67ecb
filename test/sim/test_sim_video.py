"""A rollout's video: it plays, and has the frames and the size that it should have."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from rollout_factory import FlatPictures, example_scene, record_of

from alpamayo_ros.sim.report.video import write_video, write_webm
from alpamayo_ros.types import InvalidInput
from alpamayo_ros.viz.text import font, wrapped


def test_webm_has_a_frame_a_step_and_plays_in_real_time(tmp_path: Path) -> None:
    record = record_of(example_scene(), steps=30, end_reason="collision", reasoning="Stop. " * 200)
    done: list[tuple[int, int]] = []
    write_video(
        tmp_path / "film.webm", record, images=FlatPictures(), progress=lambda *counts: done.append(counts)
    )
    film = cv2.VideoCapture(str(tmp_path / "film.webm"))
    assert film.get(cv2.CAP_PROP_FPS) == pytest.approx(10.0)
    frames = []
    while True:
        there, frame = film.read()
        if not there:
            break
        frames.append(frame)
    assert len(frames) == 30
    assert done[-1] == (30, 30)
    assert all(frame.shape == (540, 960, 3) for frame in frames)
    assert np.abs(frames[5].astype(int) - frames[25]).mean() > 0.5
    # The camera's picture, grey, is where it belongs, and the header is not.
    assert frames[5][100, 100] == pytest.approx([120, 120, 120], abs=6)
    assert frames[5][4, 4].max() < 70


def test_webp_has_a_frame_every_second_step(tmp_path: Path) -> None:
    write_video(tmp_path / "film.webp", record_of(example_scene(), steps=11), images=FlatPictures())
    with Image.open(tmp_path / "film.webp") as film:
        assert film.n_frames == 6  # type: ignore[attr-defined]
        assert film.size == (768, 432)


def test_other_names_and_no_frames_are_refused(tmp_path: Path) -> None:
    record = record_of(example_scene(), steps=5)
    with pytest.raises(InvalidInput, match=r"expected a name that ends in \.webm or \.webp, got film\.mp4"):
        write_video(tmp_path / "film.mp4", record, images=FlatPictures())
    with pytest.raises(InvalidInput, match="at least one frame"):
        write_webm(tmp_path / "film.webm", [], frames_a_second=10.0)


def test_long_texts_are_cut_with_an_ellipsis() -> None:
    face = font(14)
    lines = wrapped("one two three four five six seven", face, width_px=80, lines=2)
    assert len(lines) == 2
    assert lines[-1].endswith("…")
    assert all(face.getlength(line) <= 80 for line in lines)
    assert wrapped("", face, width_px=80, lines=2) == []
