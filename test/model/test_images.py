from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from alpamayo_ros.model.config import ModelConfig
from alpamayo_ros.model.images import ImagePreparer, model_size
from alpamayo_ros.types import InvalidInput

RELEASED = {"min_pixels": 163_840, "max_pixels": 196_608}


@pytest.fixture
def preparer(raw_config) -> ImagePreparer:
    return ImagePreparer(ModelConfig.from_dict(raw_config))


def frame(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (3, height, width), dtype=np.uint8)


def test_pixel_values_are_the_references(golden) -> None:
    preparer = ImagePreparer(golden.config)
    frames = golden["frames"].numpy()
    one_by_one = [np.stack([preparer.prepare_frame(image) for image in camera]) for camera in frames]
    pixel_values, grid = preparer.patchify(one_by_one)
    assert pixel_values.dtype == torch.float32
    torch.testing.assert_close(pixel_values, golden["pixel_values"], rtol=0, atol=1e-6)
    assert torch.equal(grid, golden["plain.image_grid_thw"])
    at_once, _ = preparer.patchify([preparer.prepare_frames(camera) for camera in frames])
    assert torch.equal(at_once, pixel_values)
    image_pad = golden["plain.input_ids"] == golden.tokenizer.image_pad_id
    assert sum(preparer.image_token_counts(grid)) == int(image_pad.sum())


def test_camera_subset_has_its_cameras_patches(golden) -> None:
    preparer = ImagePreparer(golden.config)
    frames = [preparer.prepare_frames(camera) for camera in golden["frames"].numpy()]
    per_camera = golden["pixel_values"].chunk(len(frames))
    subset, grid = preparer.patchify([frames[0], frames[-1]])
    torch.testing.assert_close(subset, torch.cat([per_camera[0], per_camera[-1]]), rtol=0, atol=1e-6)
    assert len(grid) == 8


def test_cameras_may_differ_in_size(golden) -> None:
    preparer = ImagePreparer(golden.config)
    frames = [np.stack([preparer.prepare_frame(frame(*size))] * 4) for size in ((90, 160), (120, 120))]
    both, grid = preparer.patchify(frames)
    alone = [preparer.patchify([camera])[0] for camera in frames]
    assert torch.equal(both, torch.cat(alone))
    assert len(set(map(tuple, grid.tolist()))) == 2


def test_1080p_becomes_180_tokens(preparer) -> None:
    assert preparer.model_size(1080, 1920) == (320, 576)
    prepared = preparer.prepare_frame(frame(1080, 1920))
    assert prepared.shape == (3, 320, 576)
    _, grid = preparer.patchify(prepared[None, None])
    assert preparer.image_token_counts(grid) == [180]


@pytest.mark.parametrize(
    ("size", "budget", "expected"),
    [
        ((1080, 1920), (163_840, 196_608), (320, 576)),
        ((720, 1280), (163_840, 196_608), (320, 576)),
        ((375, 1242), (163_840, 196_608), (224, 800)),
        ((480, 640), (163_840, 196_608), (384, 512)),
        ((100, 100), (163_840, 196_608), (416, 416)),
        ((90, 160), (4096, 15_360), (96, 160)),
        ((1080, 1920), (4096, 15_360), (64, 160)),
        ((48, 80), (1, 10**9), (64, 64)),  # 1.5 and 2.5 round half to even
        ((8, 3000), (163_840, 196_608), None),
        ((0, 10), (163_840, 196_608), None),
    ],
)
def test_size_rule(size, budget, expected) -> None:
    def apply() -> tuple[int, int]:
        return model_size(*size, min_pixels=budget[0], max_pixels=budget[1])

    if expected is None:
        with pytest.raises(InvalidInput, match=f"image: expected .*, got {size[0]} x {size[1]}"):
            apply()
    else:
        assert apply() == expected


@given(height=st.integers(100, 4000), aspect=st.floats(0.4, 5.0))
def test_size_is_in_budget_and_a_fixed_point(height: int, aspect: float) -> None:
    size = model_size(height, round(height * aspect), **RELEASED)
    assert all(side % 32 == 0 for side in size)
    assert size[0] * size[1] <= RELEASED["max_pixels"]
    assert model_size(*size, **RELEASED) == size


def test_frame_at_the_models_size_is_untouched(preparer) -> None:
    own = frame(320, 576)
    assert preparer.prepare_frame(own) is own
    batch = np.stack([own, own])
    assert preparer.prepare_frames(batch) is batch


def test_memory_layout_does_not_change_the_pixels(preparer) -> None:
    planes = frame(540, 960)
    interleaved = np.ascontiguousarray(planes.transpose(1, 2, 0))
    expected = preparer.prepare_frame(planes)
    assert np.array_equal(preparer.prepare_frame(interleaved.transpose(2, 0, 1)), expected)
    bgr = np.ascontiguousarray(interleaved[:, :, ::-1])
    assert np.array_equal(preparer.prepare_frame(bgr[:, :, ::-1].transpose(2, 0, 1)), expected)
    padded = np.zeros((540, 1000, 3), np.uint8)
    padded[:, :960] = interleaved
    assert np.array_equal(preparer.prepare_frame(padded[:, :960].transpose(2, 0, 1)), expected)


@pytest.mark.filterwarnings("error")
def test_read_only_message_buffer_is_taken_without_a_copy(preparer) -> None:
    planes = frame(540, 960)
    buffer = np.ascontiguousarray(planes.transpose(1, 2, 0)).tobytes()
    view = np.frombuffer(buffer, np.uint8).reshape(540, 960, 3).transpose(2, 0, 1)
    assert not view.flags.writeable
    assert np.array_equal(preparer.prepare_frame(view), preparer.prepare_frame(planes))
    own = np.frombuffer(frame(320, 576).tobytes(), np.uint8).reshape(1, 3, 320, 576)
    preparer.patchify([own])


@given(seed=st.integers(0, 2**16), rows=st.integers(1, 3), columns=st.integers(1, 3))
def test_patches_are_where_the_formula_says(golden_1_5, seed: int, rows: int, columns: int) -> None:
    preparer = ImagePreparer(golden_1_5.config)
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (1, 3, 32 * rows, 32 * columns), dtype=np.uint8)
    values, grid = preparer.patchify([image])
    assert grid.tolist() == [[1, 2 * rows, 2 * columns]]
    y, x, c = (int(rng.integers(n)) for n in (32 * rows, 32 * columns, 3))
    token = (y // 32) * columns + x // 32
    patch = 4 * token + 2 * (y // 16 % 2) + x // 16 % 2
    within = values[patch].reshape(3, 2, 16, 16)[c, :, y % 16, x % 16]
    expected = (np.float32(image[0, c, y, x]) / np.float32(255) - np.float32(0.5)) / np.float32(0.5)
    assert within.tolist() == pytest.approx([float(expected)] * 2, abs=1e-6)


def test_sizes_of_another_vision_tower(golden_1_5) -> None:
    config = dataclasses.replace(golden_1_5.config, min_pixels=28 * 28, max_pixels=56 * 84)
    preparer = ImagePreparer(config, patch_size=14, merge_size=2, temporal_patch_size=1)
    prepared = preparer.prepare_frame(frame(200, 300))
    assert prepared.shape == (3, 56, 84)
    values, grid = preparer.patchify([prepared[None]])
    assert values.shape == (24, 3 * 14 * 14) and grid.tolist() == [[1, 4, 6]]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros((3, 8, 8), np.float32), "frame: expected dtype uint8, got float32"),
        (np.zeros((8, 8, 3), np.uint8), r"frame: expected shape \[3, any, any\], got \[8, 8, 3\]"),
        (np.zeros((3, 0, 8), np.uint8), "image: expected at least one pixel, got 0 x 8"),
        ([[1]], "frame: expected a numpy array, got list"),
    ],
)
def test_refuses_what_is_no_frame(preparer, bad, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        preparer.prepare_frame(bad)


def test_refuses_frames_that_were_not_prepared(preparer) -> None:
    with pytest.raises(
        InvalidInput, match=r"frames\[0\]: expected sides of a multiple of 32 pixels, got 33 x 64"
    ):
        preparer.patchify([np.zeros((1, 3, 33, 64), np.uint8)])
    with pytest.raises(InvalidInput, match=r"frames\[0\]: expected dtype uint8, got float32"):
        preparer.patchify([np.zeros((1, 3, 32, 64), np.float32)])
    with pytest.raises(InvalidInput, match="frames: expected at least one image, got none"):
        preparer.patchify([])
    with pytest.raises(InvalidInput, match="frames: expected dtype uint8, got float64"):
        preparer.prepare_frames(np.zeros((1, 3, 8, 8)))
