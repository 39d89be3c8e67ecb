"""What is lossy is off unless asked for, refused where it cannot be done, and says how far off it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from model_helpers import load_alpamayo, make_observation
from test_lean import LIVELY

from alpamayo_ros.model import Alpamayo, PlanOptions
from alpamayo_ros.model.deviation import deviation
from alpamayo_ros.model.fp8 import Quantiser, quantised
from alpamayo_ros.model.memory_need import memory_need
from alpamayo_ros.model.speed import SpeedOptions
from alpamayo_ros.types import InvalidInput


def plans_of(model: Alpamayo, options: PlanOptions) -> list:
    return [model.plan(make_observation(seed), options) for seed in range(2)]


def test_fewer_steps_and_fewer_words_deviate_as_computed_by_hand(random_alpamayo: Alpamayo) -> None:
    options = PlanOptions(num_samples=2, seed=1, **LIVELY)
    exact = plans_of(random_alpamayo, options)
    nothing = deviation(exact, plans_of(random_alpamayo, options))
    assert (nothing.same_tokens, nothing.same_start, nothing.ade_m, nothing.worst_ade_m) == (1, 1, 0, 0)
    assert (nothing.plans, nothing.samples) == (2, 4)

    coarse = plans_of(random_alpamayo, replace(options, flow_steps=2))
    found = deviation(exact, coarse)
    assert found.same_tokens == 1
    apart = [
        np.hypot(*(a.xyz_in_rig_t0[k, i, :2] - b.xyz_in_rig_t0[k, i, :2]))
        for a, b in zip(exact, coarse, strict=True)
        for k in range(2)
        for i in range(64)
    ]
    assert found.ade_m == pytest.approx(np.mean(apart), rel=1e-5)
    assert found.worst_ade_m == pytest.approx(np.reshape(apart, (4, 64)).mean(1).max(), rel=1e-5)
    assert found.fde_m == pytest.approx(np.mean(apart[63::64]), rel=1e-5)

    short = plans_of(random_alpamayo, replace(options, max_reasoning_tokens=4))
    capped = deviation(exact, short)
    shares = [min(4, len(ids)) / len(ids) for plan in exact for ids in plan.token_ids]
    assert capped.same_start == pytest.approx(np.mean(shares))
    assert capped.same_tokens == np.mean([len(ids) <= 4 for plan in exact for ids in plan.token_ids])


def test_plans_of_different_things_are_not_compared(random_alpamayo: Alpamayo) -> None:
    options = PlanOptions(seed=1, **LIVELY)
    exact = plans_of(random_alpamayo, options)
    with pytest.raises(InvalidInput, match="same t0, seed and samples"):
        deviation(exact, plans_of(random_alpamayo, replace(options, seed=2)))
    with pytest.raises(InvalidInput, match="as many plans"):
        deviation(exact, [])


def test_fp8_rounds_to_the_nearest_of_its_numbers() -> None:
    x = torch.randn(5, 300, generator=torch.Generator().manual_seed(0)) * torch.tensor(
        [[1e-3], [1], [9], [0], [1e4]]
    )
    values, scale = quantised(x)
    made = values.float() * scale
    # Three bits behind the point: half a step is 2^-4 of a number, and 2^-10 of the row's least normal one.
    bound = x.abs() / 16 + scale * 2**-10
    assert bool(((made - x).abs() <= bound).all())
    assert made[3].abs().max() == 0
    torch.testing.assert_close(made.abs().amax(1), x.abs().amax(1))


def test_fp8_deviates_by_its_rounding_and_holds_half(random_folder: Path) -> None:
    """Emulated; the tokens given, plans stay nearer than a few roundings of 2^-4 may bring them."""
    exact = load_alpamayo(random_folder)
    lossy = Alpamayo.from_pretrained(
        random_folder, device="cpu", dtype="float32", speed=SpeedOptions(fp8="emulated"), progress=False
    )
    options = PlanOptions(num_samples=2, seed=1, **LIVELY)
    plans = plans_of(exact, options)
    again = [
        lossy.plan(make_observation(seed), options, forced_tokens=plan.token_ids)
        for seed, plan in enumerate(plans)
    ]
    found = deviation(plans, again)
    assert found.same_tokens == 1 and 0 < found.ade_m < 2.0
    held = sum(p.numel() for p in lossy.network.vlm.model.language_model.layers.parameters())
    assert held < 0.05 * sum(p.numel() for p in exact.network.vlm.model.language_model.layers.parameters())


def test_fp8_is_refused_without_such_a_gpu(random_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        InvalidInput, match=r"fp8: expected a CUDA GPU of compute capability 8\.9 or more, got cpu"
    ):
        Alpamayo.from_pretrained(
            random_folder, device="cpu", dtype="float32", speed=SpeedOptions(fp8="on"), progress=False
        )
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 7))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Orin")
    with pytest.raises(InvalidInput, match=r"got Orin with 8\.7"):
        Quantiser(torch.device("cuda", 0))
    with pytest.raises(InvalidInput, match="fp8: expected off without lean layers"):
        SpeedOptions(lean=False, graphs="off", attention="rule", fp8="on")


def test_memory_is_what_tensors_hold(random_alpamayo: Alpamayo) -> None:
    network = random_alpamayo.network
    need = memory_need(network, num_samples=1, prompt_tokens=100, new_tokens=20, bytes_a_number=4)
    assert need.weights == sum(p.nbytes for p in network.parameters())
    cache = network.new_cache(batch=1, capacity=256)
    assert need.cache == sum(t.nbytes for t in (*cache.keys, *cache.values))
    parts = need.weights, need.cache, need.vision_cache, need.activations, need.buffers, need.context
    assert need.total == sum(parts) and min(parts) > 0
    guided = memory_need(
        network, num_samples=6, prompt_tokens=100, new_tokens=20, guided=True, bytes_a_number=4
    )
    assert guided.cache == 13 * need.cache
    with pytest.raises(InvalidInput, match="1 or more"):
        memory_need(network, num_samples=0, prompt_tokens=1, new_tokens=1)


def test_the_released_shapes_fit_where_the_docs_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """K = 1 in bfloat16 in 24 GB, in FP8 in 16 GB: derived, as docs/SPEED.md says."""
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2]))
    from benchmarks.model.sizes import MEASURED, meta_model

    _, network = meta_model(MEASURED["10B"])
    usual = {"num_samples": 1, "prompt_tokens": 3100, "new_tokens": 256}
    assert memory_need(network, **usual).total < 24_564 * 2**20  # what a card of 24 GB says it has
    small_cache = {"vision_cache_bytes": 128 * 2**20}  # a plan's sixteen images, and four more
    assert memory_need(network, **usual, **small_cache).total < 24e9
    assert 20e9 < memory_need(network, **usual).weights < 23e9
    assert memory_need(network, **usual, **small_cache, fp8=True).total < 16e9
