"""An episode keeps each picture once, and gives samples that show the right ones."""

from __future__ import annotations

import pickle
from dataclasses import replace

import cv2
import numpy as np
import pytest
from episode_factory import CAMERAS, STEP_NS, episode, moment, picture

from alpamayo_ros.sim.observations import decode_rgb
from alpamayo_ros.sim.scene import FAMILIES, scene_id_of
from alpamayo_ros.training.episode import Episode, EpisodeHead, FrameCodec, split_of
from alpamayo_ros.training.sample import ReasoningSource
from alpamayo_ros.types import InvalidInput


def test_pictures_are_kept_once_and_each_sample_shows_its_own() -> None:
    made = episode(ticks=5)
    assert [len(frames) for frames in made.frames] == [8, 8]  # 5 samples of 4 frames, three of them shared
    for index in range(len(made)):
        sample = made.sample(index)
        assert sample.sample_id == f"straight-100.0/{index}"
        frames = sample.observation.frames
        for row, camera_id in enumerate(CAMERAS):
            for back in range(4):
                np.testing.assert_array_equal(frames[row][back], picture(camera_id, index - 3 + back))
        assert sample.observation.frame_stamps_ns[0, -1] == sample.observation.t0_ns == (index + 20) * STEP_NS


def test_a_sample_says_what_its_moment_says() -> None:
    sample = episode().sample(3)
    assert sample.observation.instruction == "Turn left in 30m"
    assert (sample.reasoning, sample.meta_action) == ("Keep lane, 0 cars ahead.", "keep")
    assert sample.source is ReasoningSource.AUTOMATIC
    tags = {"family": "straight", "recovery": "recovering", "component": "free", "braking": "none"}
    assert sample.tags == tags
    assert episode().sample(2).observation.instruction is None


def test_frames_that_no_sample_shows_are_left_out() -> None:
    whole = episode(ticks=6)
    from alpamayo_ros.training.episode import FrameStore

    store = FrameStore(CAMERAS)
    for row, camera_id in enumerate(CAMERAS):
        for data, stamp in zip(whole.frames[row], whole.frame_stamps_ns[row], strict=True):
            store.add(camera_id, int(stamp), data)
    last = whole.moments[-1]
    stamps = np.stack(
        [stamps[rows] for stamps, rows in zip(whole.frame_stamps_ns, last.frame_index, strict=True)]
    )
    only = store.close(whole.head, [(last, stamps)])
    assert [len(frames) for frames in only.frames] == [4, 4]
    np.testing.assert_array_equal(only.sample(0).observation.frames, whole.sample(5).observation.frames)


def test_png_keeps_every_pixel() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (3, 17, 23), np.uint8)
    np.testing.assert_array_equal(decode_rgb(FrameCodec("png").encode(frame)), frame)


def test_jpeg_keeps_the_colour_of_two_pixels() -> None:
    """A red light of two pixels: at half the colour resolution it would be lost in its grey surroundings."""
    frame = np.full((3, 32, 32), 90, np.uint8)
    frame[:, 16, 16:18] = np.array([[230], [30], [30]], np.uint8)
    kept = decode_rgb(FrameCodec("jpeg", 95).encode(frame))[:, 16, 16].astype(int)
    assert kept[0] - kept[1] > 170  # of 200
    bgr = np.ascontiguousarray(frame.transpose(1, 2, 0)[..., ::-1])
    _, usual = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 95])
    halved = decode_rgb(usual.tobytes())[:, 16, 16].astype(int)
    assert halved[0] - halved[1] < 0.7 * (kept[0] - kept[1])


@pytest.mark.parametrize(("format", "quality"), [("gif", 95), ("jpeg", 0), ("jpeg", 101)])
def test_a_codec_refuses_what_it_cannot(format: str, quality: int) -> None:
    with pytest.raises(InvalidInput, match="expected"):
        FrameCodec(format, quality)  # type: ignore[arg-type]


def test_the_standard_hundred_is_never_trained_on() -> None:
    assert {split_of(seed) for seed in range(100)} == {"test"}
    assert "test" not in {split_of(seed) for seed in range(100, 2000)}


def test_each_split_has_each_family_equally_often() -> None:
    of: dict[str, list[str]] = {"train": [], "validation": []}
    for seed in range(100, 4100):
        of[split_of(seed)].append(scene_id_of(seed).split("-")[0])
    for families in of.values():
        counts = {family: families.count(family) for family in FAMILIES}
        assert len(set(counts.values())) == 1, counts
    assert len(of["validation"]) / 4000 == pytest.approx(0.1, abs=0.01)


def head(**changes: object) -> EpisodeHead:
    values: dict[str, object] = {
        "episode_id": "straight-100.0",
        "origin": "simulation",
        "scene_id": "straight-100",
        "family": "straight",
        "seed": 100,
        "split": "train",
        "camera_ids": CAMERAS,
    }
    return EpisodeHead(**{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"episode_id": "../straight"}, "expected a name of"),
        ({"episode_id": ""}, "expected a name of"),
        ({"split": "other"}, "split: expected one of"),
        ({"split": "validation"}, "expected train of seed 100, got validation"),
        ({"seed": 7}, "expected test of seed 7, got train"),
        ({"camera_ids": (6, 1)}, "expected ascending ids"),
        ({"camera_ids": ()}, "expected ascending ids"),
        ({"camera_ids": (7,)}, "camera id: expected one of"),
    ],
)
def test_a_head_refuses_what_is_none(changes: dict[str, object], says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        head(**changes)


def test_a_head_goes_between_processes() -> None:
    assert pickle.loads(pickle.dumps(head(notes={"end": "goal"}))) == head(notes={"end": "goal"})


def test_an_episode_refuses_what_does_not_fit_together() -> None:
    made = episode()
    with pytest.raises(InvalidInput, match="frames and stamps of 2 cameras, got 1 and 2"):
        Episode(made.head, made.frames[:1], made.frame_stamps_ns, made.moments)
    with pytest.raises(InvalidInput, match=r"expected shape \[8\], got \[7\]"):
        Episode(made.head, made.frames, tuple(s[1:] for s in made.frame_stamps_ns), made.moments)
    with pytest.raises(InvalidInput, match="expected rising stamps"):
        Episode(made.head, made.frames, tuple(s[::-1].copy() for s in made.frame_stamps_ns), made.moments)
    with pytest.raises(InvalidInput, match="expected rising ticks, got 0 after 4"):
        Episode(made.head, made.frames, made.frame_stamps_ns, (*made.moments, made.moments[0]))
    far = replace(made.moments[-1], tick=9, frame_index=made.moments[-1].frame_index + 1)
    with pytest.raises(InvalidInput, match=r"tick 9: expected indices of \[8, 8\] frames"):
        Episode(made.head, made.frames, made.frame_stamps_ns, (*made.moments, far))
    with pytest.raises(InvalidInput, match="expected rising indices"):
        moment(0, frame_index=np.zeros((2, 4), np.int32))
