"""Prompts that are read in two parts, the first of them before the plan is asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from model_helpers import drive

from alpamayo_ros.model import Alpamayo, PlanOptions
from alpamayo_ros.model.prompt_start import StartLayout, StartStatistics
from alpamayo_ros.model.speed import SpeedOptions
from alpamayo_ros.types import InvalidInput, Plan

OPTIONS = PlanOptions(num_samples=2, seed=4, temperature=1.0, max_reasoning_tokens=10)
Load = Callable[[], Alpamayo]


@pytest.fixture(params=["off", "buffers"], ids=["lean", "buffers"])
def load(request: pytest.FixtureRequest, random_folder: Path) -> Load:
    """Models that read in two parts, on both of our runners."""
    speed = SpeedOptions(read_ahead=True, graphs=request.param)
    return lambda: Alpamayo.from_pretrained(
        random_folder, device="cpu", dtype="float32", speed=speed, progress=False
    )


def assert_same(a: Plan, b: Plan) -> None:
    assert a.token_ids == b.token_ids
    np.testing.assert_array_equal(a.normalised_action, b.normalised_action)
    np.testing.assert_array_equal(a.xyz_in_rig_t0, b.xyz_in_rig_t0)


@pytest.mark.parametrize(("samples", "guidance"), [(1, None), (2, None), (2, 1.5)])
def test_plans_are_the_same_bit_by_bit_whether_their_start_was_read_or_not(
    load: Load, random_alpamayo: Alpamayo, samples: int, guidance: float | None
) -> None:
    ahead, at_once = load(), load()
    options = dataclasses.replace(OPTIONS, num_samples=samples, guidance_weight=guidance)
    for tick, observation in enumerate(drive(4, instruction="Turn left" if guidance else None)):
        assert ahead.read_ahead() == (tick > 0)
        plan = ahead.plan(observation, options)
        assert_same(plan, at_once.plan(observation, options))
        # In one piece it is the same up to the rounding of products of another shape.
        whole = random_alpamayo.plan(observation, options)
        assert plan.token_ids == whole.token_ids
        np.testing.assert_allclose(plan.xyz_in_rig_t0, whole.xyz_in_rig_t0, atol=1e-4)
    assert ahead.start_statistics == StartStatistics(ahead=3, used=3)
    assert at_once.start_statistics == StartStatistics(ahead=0, used=0)
    assert random_alpamayo.start_statistics is None
    assert not random_alpamayo.read_ahead()


def test_a_start_is_read_once(load: Load) -> None:
    model, (first, second) = load(), drive(2)
    assert not model.read_ahead(), "nobody knows the cameras yet"
    model.plan(first, OPTIONS)
    assert model.read_ahead()
    assert not model.read_ahead()
    model.plan(second, OPTIONS)
    assert model.start_statistics == StartStatistics(ahead=1, used=1)


def test_the_frame_that_comes_in_between_does_not_take_the_start_away(load: Load) -> None:
    model, (first, second) = load(), drive(2)
    model.plan(first, OPTIONS)
    assert model.read_ahead()
    newest = second.frames[0][3]
    assert model.encode_ahead(second.camera_ids[0], int(second.frame_stamps_ns[0, 3]), newest)
    assert model.read_ahead(), "that of the plan after the next: both are kept"
    model.plan(second, OPTIONS)
    assert model.start_statistics == StartStatistics(ahead=2, used=1)


def test_a_start_of_other_frames_is_not_taken(load: Load) -> None:
    model, fresh, ticks = load(), load(), drive(3)
    model.plan(ticks[0], OPTIONS)
    assert model.read_ahead()
    assert_same(model.plan(ticks[2], OPTIONS), fresh.plan(ticks[2], OPTIONS))  # a tick was left out
    assert model.read_ahead()
    ticks[2].frames[0][2, :, 8:24] ^= 255  # the same stamp, another picture
    changed = dataclasses.replace(ticks[2], t0_ns=ticks[2].t0_ns)
    assert_same(model.plan(changed, OPTIONS), fresh.plan(changed, OPTIONS))
    assert model.start_statistics == StartStatistics(ahead=2, used=0)


def test_a_rig_of_other_cameras_has_other_starts(load: Load) -> None:
    model, fresh, (first, second) = load(), load(), drive(2)
    model.plan(first, OPTIONS)
    assert model.read_ahead()
    rest = slice(1, None)
    fewer = dataclasses.replace(
        second,
        camera_ids=second.camera_ids[rest],
        frames=second.frames[rest],
        frame_stamps_ns=second.frame_stamps_ns[rest],
    )
    assert_same(model.plan(fewer, OPTIONS), fresh.plan(fewer, OPTIONS))
    assert model.start_statistics == StartStatistics(ahead=1, used=0)
    assert model.read_ahead(), "for the first camera of these"


def test_a_question_is_read_behind_the_same_start(load: Load) -> None:
    model, fresh, (first, second) = load(), load(), drive(2)
    model.plan(first, OPTIONS)
    assert model.read_ahead()
    question = "What is ahead of the ego vehicle?"
    assert model.ask(second, question, OPTIONS) == fresh.ask(second, question, OPTIONS)
    assert model.start_statistics == StartStatistics(ahead=1, used=1)


def test_a_closed_model_reads_nothing(load: Load) -> None:
    model = load()
    model.plan(drive(1)[0], OPTIONS)
    model.close()
    with pytest.raises(RuntimeError, match="closed"):
        model.read_ahead()


def test_frames_that_are_no_longer_held_are_not_read(random_folder: Path) -> None:
    speed = SpeedOptions(read_ahead=True, vision_cache_images=2)
    model = Alpamayo.from_pretrained(random_folder, device="cpu", dtype="float32", speed=speed)
    model.plan(drive(1)[0], OPTIONS)
    assert not model.read_ahead()


@pytest.mark.parametrize("without", [{"lean": False}, {"vision_cache_images": 0}])
def test_what_cannot_read_ahead_refuses_to(without: dict[str, int]) -> None:
    with pytest.raises(InvalidInput, match="read_ahead: expected off without lean layers and a vision cache"):
        SpeedOptions(read_ahead=True, **without)


def test_a_prompt_without_a_camera_has_no_start() -> None:
    with pytest.raises(ValueError, match="grids: expected those of 4 images or more, got 3"):
        StartLayout.of(0, (1, 9, 9, 9), [(1, 1)] * 3, image_token_id=9)
    layout = StartLayout.of(0, (1, 9, 9, 2, 9, 9, 2, 9, 9, 2, 9, 9), [(1, 2)] * 4, image_token_id=9)
    assert layout.token_ids == (1, 9, 9, 2, 9, 9, 2, 9, 9, 2)
