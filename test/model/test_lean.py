"""Our own layers against the library's: the same tokens, features, logits and waypoints."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from model_helpers import load_alpamayo, make_observation
from torch.nn import functional

from alpamayo_ros.model import Alpamayo, PlanOptions, lean_layers
from alpamayo_ros.model.lean import LeanNetwork, fastest
from alpamayo_ros.model.lean_attention import LinearFunction, attend
from alpamayo_ros.model.lean_layers import linear_function
from alpamayo_ros.model.speed import SpeedOptions
from alpamayo_ros.types import Plan

LIVELY = {"temperature": 1.0, "top_p": 1.0, "max_reasoning_tokens": 24}


@pytest.fixture(scope="module")
def plain(random_folder: Path) -> Alpamayo:
    return Alpamayo.from_pretrained(
        random_folder, device="cpu", dtype="float32", speed=SpeedOptions.plain(), progress=False
    )


def assert_near(ours: Plan, theirs: Plan) -> None:
    assert ours.token_ids == theirs.token_ids
    np.testing.assert_allclose(ours.normalised_action, theirs.normalised_action, atol=1e-4, rtol=0)
    np.testing.assert_allclose(ours.xyz_in_rig_t0, theirs.xyz_in_rig_t0, atol=1e-3, rtol=0)


@pytest.mark.parametrize("samples", [1, 4])
@pytest.mark.parametrize("guidance", [None, 1.7])
def test_plans_are_those_of_the_librarys_layers(
    random_alpamayo: Alpamayo, plain: Alpamayo, samples: int, guidance: float | None
) -> None:
    for seed in range(4):
        observation = make_observation(seed, instruction=None if guidance is None else "Turn left")
        options = PlanOptions(num_samples=samples, seed=seed, guidance_weight=guidance, **LIVELY)
        assert_near(random_alpamayo.plan(observation, options), plain.plan(observation, options))


def test_answers_are_those_of_the_librarys_layers(random_alpamayo: Alpamayo, plain: Alpamayo) -> None:
    observation, options = make_observation(1), PlanOptions(num_samples=2, seed=3, **LIVELY)
    ours, theirs = (model.ask(observation, "What is ahead?", options) for model in (random_alpamayo, plain))
    assert [answer.generated for answer in ours] == [answer.generated for answer in theirs]


def test_bfloat16_rounds_as_the_librarys_layers_do(random_folder: Path) -> None:
    """Given the same tokens; autocast's casts fall in the same places."""
    ours = load_alpamayo(random_folder, None, "bfloat16")
    theirs = Alpamayo.from_pretrained(
        random_folder, device="cpu", dtype="bfloat16", speed=SpeedOptions.plain(), progress=False
    )
    observation = make_observation(5, instruction="Turn left")
    options = PlanOptions(num_samples=2, seed=0, guidance_weight=1.5, **LIVELY)
    plan = theirs.plan(observation, options)
    again = ours.plan(observation, options, forced_tokens=plan.token_ids)
    float32 = load_alpamayo(random_folder).plan(observation, options, forced_tokens=plan.token_ids)
    rounding = np.abs(plan.normalised_action - float32.normalised_action).max()
    assert np.abs(again.normalised_action - plan.normalised_action).max() < 0.5 * rounding


@torch.inference_mode()
@pytest.mark.parametrize("size", [(2, 2), (2, 8), (6, 10), (14, 4), (20, 36)])
def test_features_are_those_of_the_librarys_tower(random_alpamayo: Alpamayo, size: tuple[int, int]) -> None:
    rows, columns = size
    patches = torch.randn(rows * columns, 1536, generator=torch.Generator().manual_seed(rows))
    grid = torch.tensor([[1, rows, columns]])
    ours = random_alpamayo._reader.engine.look(patches, grid)
    theirs = random_alpamayo.network.encode_images(patches, grid)
    torch.testing.assert_close(ours.embeds, theirs.embeds, atol=1e-5, rtol=1e-5)
    assert len(ours.deepstack) == len(theirs.deepstack) > 0
    for a, b in zip(ours.deepstack, theirs.deepstack, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_weights_stay_the_modules_own(random_alpamayo: Alpamayo, plain: Alpamayo) -> None:
    """Names and values as before, nothing held twice, and a change of the modules' is one of the runner's."""
    ours, theirs = (dict(model.network.named_parameters()) for model in (random_alpamayo, plain))
    assert list(ours) == list(theirs)
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name
        assert value.is_contiguous()
    attention = random_alpamayo.network.expert.layers[0].self_attn
    fused = attention.q_proj.weight.untyped_storage().data_ptr()
    assert attention.k_proj.weight.untyped_storage().data_ptr() == fused
    assert attention.v_proj.weight.untyped_storage().data_ptr() == fused


def test_unknown_layers_run_by_the_library(
    random_folder: Path, plain: Alpamayo, caplog: pytest.LogCaptureFixture
) -> None:
    network = plain.network
    assert isinstance(fastest(load_alpamayo(random_folder).network), LeanNetwork)
    layer = network.vlm.model.language_model.layers[1].mlp
    linear, layer.up_proj = layer.up_proj, torch.nn.Linear(48, 96, bias=True)
    try:
        with caplog.at_level(logging.WARNING):
            assert fastest(network) is network
    finally:
        layer.up_proj = linear
    assert "without bias" in caplog.text


@pytest.fixture(params=[False, True], ids=["blas", "onednn"])
def product(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> LinearFunction:
    """Both products, whichever is the faster one here."""
    if request.param and not lean_layers._has_onednn():
        pytest.skip("torch without oneDNN")
    monkeypatch.setattr(lean_layers, "_onednn_is_faster", lambda: request.param)
    return linear_function(torch.device("cpu"), torch.float32)


def test_the_faster_product_is_chosen_once() -> None:
    first = linear_function(torch.device("cpu"), torch.float32)
    again = linear_function(torch.device("cpu"), torch.float32)
    assert (first is functional.linear) == (again is functional.linear)
    assert linear_function(torch.device("cpu"), torch.bfloat16) is functional.linear


@torch.inference_mode()
@pytest.mark.parametrize("rows", [1, 2, 7, 64])
def test_products_are_exact_up_to_rounding(rows: int, product: LinearFunction) -> None:
    generator = torch.Generator().manual_seed(rows)
    x, weight, bias = (torch.randn(*shape, generator=generator) for shape in ((rows, 48), (96, 48), (96,)))
    exact = (x.double() @ weight.double().T + bias).float()
    torch.testing.assert_close(product(x, weight, bias), exact, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("batch", "queries", "entries"), [(1, 64, 100), (3, 33, 40), (1, 333, 333)])
def test_attention_by_products_is_attention(
    batch: int, queries: int, entries: int, causal: bool, product: LinearFunction
) -> None:
    if causal:
        entries = queries
    generator = torch.Generator().manual_seed(queries)
    query = torch.randn(batch, queries, 6, 16, generator=generator).transpose(1, 2)
    keys, values = (torch.randn(batch, 2, entries + 9, 16, generator=generator)[:, :, :entries] for _ in "kv")
    ours = attend(query, keys, values, causal=causal, product=product)
    expected = torch.nn.functional.scaled_dot_product_attention(
        query.double(), keys.double(), values.double(), is_causal=causal, enable_gqa=True
    )
    torch.testing.assert_close(ours, expected.float(), atol=1e-6, rtol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("way", ["rule", "gqa", "rows", "expanded", "matmul"])
@pytest.mark.parametrize("entries", [70, 1400])
@pytest.mark.parametrize(
    ("queries", "hides"), [(1, ""), (20, ""), (20, "mask"), (64, "mask"), (64, "later"), (1100, "later")]
)
def test_attention_over_any_number_of_entries(
    queries: int, hides: str, entries: int, way: str, product: LinearFunction
) -> None:
    queries = min(queries, entries - 5)
    generator = torch.Generator().manual_seed(queries)
    query = torch.randn(2, queries, 6, 16, generator=generator).transpose(1, 2)
    keys, values = (torch.randn(2, 2, entries, 16, generator=generator) for _ in "kv")
    seen = torch.rand(2, 1, queries, entries, generator=generator) > 0.2
    if hides == "later":
        seen = torch.ones(queries, entries, dtype=torch.bool).tril(entries - queries)[None, None]
    onednn = None if product is functional.linear else product
    ours = attend(
        query,
        keys,
        values,
        mask=seen if hides == "mask" else None,
        causal=hides == "later",
        product=onednn,
        way=way,
    )
    expected = torch.nn.functional.scaled_dot_product_attention(
        query.double(), keys.double(), values.double(), attn_mask=seen if hides else None, enable_gqa=True
    )
    torch.testing.assert_close(ours, expected.float(), atol=1e-6, rtol=1e-5)
