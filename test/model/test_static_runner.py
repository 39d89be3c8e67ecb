"""Passes on fixed buffers, padded by length, against the lean network: the same tokens and waypoints."""

from __future__ import annotations

import gc
import logging
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from model_helpers import golden_observation, load_alpamayo, make_observation
from test_lean import assert_near

from alpamayo_ros.model import Alpamayo, PlanOptions
from alpamayo_ros.model.random_checkpoint import write_random_checkpoint
from alpamayo_ros.model.speed import SpeedOptions
from alpamayo_ros.model.static_runner import StaticRunner, entries_bucket, prompt_bucket, tail_bucket

LIVELY = {"temperature": 1.0, "top_p": 1.0, "max_reasoning_tokens": 24}
BUFFERS = SpeedOptions(graphs="buffers")


def load_static(folder: Path, backbone: Path | None = None, dtype: str = "float32") -> Alpamayo:
    return Alpamayo.from_pretrained(
        folder, backbone, device="cpu", dtype=dtype, speed=BUFFERS, progress=False
    )


def runner_of(model: Alpamayo) -> StaticRunner:
    runner = model._reader.engine._runner
    assert isinstance(runner, StaticRunner)
    return runner


@pytest.fixture(scope="module")
def static(random_folder: Path) -> Alpamayo:
    return load_static(random_folder)


@pytest.mark.parametrize("samples", [1, 6])
@pytest.mark.parametrize("guidance", [None, 1.7])
def test_a_stream_of_plans_is_the_lean_networks(
    random_alpamayo: Alpamayo, static: Alpamayo, samples: int, guidance: float | None
) -> None:
    """Prompts of several lengths (images differ in size), words of several lengths, in turns."""
    for tick in range(5):
        text = None if guidance is None else "Turn left" + " now" * tick
        observation = make_observation(tick % 3, instruction=text)
        limit = (24, 3, 12, 24, 1)[tick]
        options = PlanOptions(
            num_samples=samples,
            seed=tick % 2,
            guidance_weight=guidance,
            **{**LIVELY, "max_reasoning_tokens": limit},
        )
        assert_near(static.plan(observation, options), random_alpamayo.plan(observation, options))


def test_golden_plans_are_the_lean_networks(golden, golden_alpamayo: Alpamayo) -> None:
    model = load_static(golden.folder / "checkpoint", golden.folder / "backbone")
    for tag in golden.planning_tags:
        observation = golden_observation(golden, tag)
        guidance = 1.5 if golden.instruction(tag) else None
        for samples in (1, 6):
            options = PlanOptions(num_samples=samples, seed=3, guidance_weight=guidance, **LIVELY)
            ours, theirs = model.plan(observation, options), golden_alpamayo.plan(observation, options)
            assert ours.token_ids == theirs.token_ids
            np.testing.assert_allclose(ours.normalised_action, theirs.normalised_action, atol=1e-5, rtol=0)
    assert runner_of(model).statistics.eager == 0


def test_a_plan_repeats_bit_by_bit_whatever_was_planned_between(static: Alpamayo) -> None:
    observation = make_observation(1, instruction="Turn left")
    options = PlanOptions(num_samples=2, seed=5, guidance_weight=1.5, **LIVELY)
    first = static.plan(observation, options)
    for tick in range(3):
        static.plan(make_observation(tick), PlanOptions(num_samples=1 + tick, seed=tick, **LIVELY))
    again = static.plan(observation, options)
    assert again.token_ids == first.token_ids
    np.testing.assert_array_equal(again.normalised_action, first.normalised_action)


def test_what_is_known_is_made_no_second_time(random_folder: Path) -> None:
    model, options = load_static(random_folder), PlanOptions(seed=1, **LIVELY)
    runner = runner_of(model)
    model.plan(make_observation(0), options)
    model.plan(make_observation(0), options)
    captured, replayed = runner.statistics.captured, runner.statistics.replayed
    model.plan(make_observation(0), options)
    assert runner.statistics.captured == captured
    assert runner.statistics.replayed > replayed
    assert runner.statistics.eager == 0


def test_bfloat16_is_the_lean_networks(random_folder: Path) -> None:
    ours, theirs = (
        load_static(random_folder, None, "bfloat16"),
        load_alpamayo(random_folder, None, "bfloat16"),
    )
    options = PlanOptions(num_samples=2, seed=0, guidance_weight=1.5, **LIVELY)
    observation = make_observation(5, instruction="Turn left")
    plan = theirs.plan(observation, options)
    again = ours.plan(observation, options, forced_tokens=plan.token_ids)
    exact = load_alpamayo(random_folder).plan(observation, options, forced_tokens=plan.token_ids)
    rounding = np.abs(plan.normalised_action - exact.normalised_action).max()
    assert np.abs(again.normalised_action - plan.normalised_action).max() < rounding


def test_a_caches_garbage_does_not_reach_a_plan(static: Alpamayo) -> None:
    """What earlier plans left behind the valid entries is weighed with zero."""
    observation, options = make_observation(2), PlanOptions(seed=4, **LIVELY)
    first = static.plan(observation, options)
    for slot in runner_of(static)._pool._slots:
        for buffer in (*slot.keys, *slot.values):
            buffer.fill_(1e4)
    again = static.plan(observation, options)
    np.testing.assert_array_equal(again.normalised_action, first.normalised_action)


@torch.inference_mode()
def test_a_cache_that_is_still_held_is_not_lent_again(static: Alpamayo) -> None:
    runner = runner_of(static)
    first = runner.new_cache(batch=1, capacity=10)
    second = runner.new_cache(batch=1, capacity=10)
    assert first.keys[0].data_ptr() != second.keys[0].data_ptr()
    address = first.keys[0].data_ptr()
    del first
    assert runner.new_cache(batch=1, capacity=10).keys[0].data_ptr() == address
    lent = [runner.new_cache(batch=1, capacity=10) for _ in range(9)]  # more than there are buffers
    assert len({cache.keys[0].data_ptr() for cache in (second, *lent)}) == 10


def test_without_room_for_fixed_caches_plans_are_the_same(
    random_alpamayo: Alpamayo, random_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = load_static(random_folder)
    pool = runner_of(model)._pool
    make = pool._make

    def little_room(batch: int, capacity: int):
        if batch == 3 and capacity % 256 == 0:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return make(batch, capacity)

    pool._make = little_room
    options = PlanOptions(num_samples=3, seed=1, **LIVELY)
    with caplog.at_level(logging.WARNING):
        for seed in range(2):
            assert_near(
                model.plan(make_observation(seed), options),
                random_alpamayo.plan(make_observation(seed), options),
            )
    assert caplog.text.count("no room for fixed caches") == 1
    assert pool.held_bytes == 0


class Refuses:
    """A capturer on a device that captures nothing."""

    def __init__(self, error: str) -> None:
        self.error = error

    def capture(self, function):
        from alpamayo_ros.model.static_call import CannotCapture

        raise CannotCapture(self.error)


def test_without_graphs_plans_are_the_same_and_it_is_said_once(
    random_alpamayo: Alpamayo, random_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = load_static(random_folder)
    runner_of(model)._capturer = Refuses("operation not permitted when stream is capturing")
    options = PlanOptions(num_samples=2, seed=1, **LIVELY)
    with caplog.at_level(logging.WARNING):
        for seed in range(3):
            ours = model.plan(make_observation(seed), options)
            theirs = random_alpamayo.plan(make_observation(seed), options)
            assert ours.token_ids == theirs.token_ids
            np.testing.assert_allclose(ours.normalised_action, theirs.normalised_action, atol=1e-6, rtol=0)
    assert caplog.text.count("graphs cannot be used") == 1
    assert "stream is capturing" in caplog.text
    assert runner_of(model).statistics.replayed == 0
    assert runner_of(model)._pool.held_bytes == 0


def test_small_model_is_the_lean_networks(tmp_path: Path) -> None:
    folder = write_random_checkpoint(tmp_path / "small", size="small", seed=3)
    static, lean = load_static(folder), load_alpamayo(folder)
    for samples in (1, 6):
        options = PlanOptions(num_samples=samples, seed=2, guidance_weight=1.5, **LIVELY)
        observation = make_observation(samples, instruction="Turn right")
        assert_near(static.plan(observation, options), lean.plan(observation, options))


def test_lengths_are_padded() -> None:
    assert [prompt_bucket(n) for n in (1, 64, 65)] == [64, 64, 128]
    assert [tail_bucket(n) for n in (1, 2, 8, 9, 32, 33, 255)] == [1, 8, 8, 32, 32, 64, 256]
    assert [entries_bucket(n, 600) for n in (1, 256, 257, 512, 513)] == [256, 256, 512, 512, 600]


def test_a_model_that_nobody_has_is_freed_with_its_buffers(random_folder: Path) -> None:
    model = load_static(random_folder)
    model.plan(
        make_observation(0, instruction="Turn left"),
        PlanOptions(num_samples=2, seed=1, guidance_weight=1.5, **LIVELY),
    )
    held = [weakref.ref(runner_of(model)), weakref.ref(runner_of(model)._pool._slots[0].keys[0])]
    gc.disable()
    try:
        del model
        assert [reference() for reference in held] == [None, None]
    finally:
        gc.enable()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("samples", [1, 6])
def test_graphs_on_a_gpu_are_the_lean_networks(random_folder: Path, samples: int) -> None:
    ours, theirs = (
        Alpamayo.from_pretrained(
            random_folder,
            device="cuda",
            dtype="float32",
            speed=SpeedOptions(graphs=graphs, attention="rule"),
            progress=False,
        )
        for graphs in ("auto", "off")
    )
    for seed in (0, 1, 0):
        options = PlanOptions(num_samples=samples, seed=seed, guidance_weight=1.5, **LIVELY)
        observation = make_observation(seed, instruction="Turn left")
        assert_near(ours.plan(observation, options), theirs.plan(observation, options))
    assert ours.graph_statistics is not None and ours.graph_statistics.eager == 0
    assert ours.graph_statistics.replayed > ours.graph_statistics.captured
