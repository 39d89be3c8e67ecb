from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.generation.logits_process import (
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from alpamayo_ros.model.sampling import MaskedTokens, TokenSampler, filter_logits, fresh_seed, initial_noise
from alpamayo_ros.types import PlanOptions

CPU = torch.device("cpu")


@given(
    seed=st.integers(0, 1000),
    temperature=st.floats(0.1, 4),
    top_k=st.one_of(st.none(), st.integers(1, 60)),
    top_p=st.floats(0.05, 1),
    spread=st.floats(0.1, 10),
)
@settings(deadline=None, max_examples=150)
def test_filter_is_the_librarys(seed, temperature, top_k, top_p, spread) -> None:
    logits = spread * torch.randn(3, 50, generator=torch.Generator().manual_seed(seed))
    logits[:, 10:20] = -torch.inf
    expected = TemperatureLogitsWarper(temperature)(None, logits)
    if top_k is not None:
        expected = TopKLogitsWarper(top_k)(None, expected)
    if top_p < 1:
        expected = TopPLogitsWarper(top_p)(None, expected)
    found = filter_logits(logits, temperature=temperature, top_k=top_k, top_p=top_p)
    torch.testing.assert_close(found, expected, atol=0, rtol=0)


def test_draws_follow_the_distribution() -> None:
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0, -2.0])
    sampler = TokenSampler(PlanOptions(temperature=1.0, top_p=1.0), seed=3, masked=None, device=CPU)
    draws = [int(sampler.draw(logits[None])) for _ in range(8000)]
    found = np.bincount(draws, minlength=5) / len(draws)
    np.testing.assert_allclose(found, logits.softmax(0).numpy(), atol=0.02)


@given(seed=st.integers(0, 2**63 - 1), few=st.integers(1, 3), more=st.integers(1, 3))
@settings(deadline=None, max_examples=25)
def test_a_sample_draws_the_same_in_any_company(seed: int, few: int, more: int) -> None:
    generator = torch.Generator().manual_seed(5)
    steps = [torch.randn(1, 40, generator=generator) for _ in range(6)]
    drawn = []
    for count in (few, few + more):
        options = PlanOptions(num_samples=count, temperature=1.0, top_p=0.9)
        sampler = TokenSampler(options, seed=seed, masked=None, device=CPU)
        drawn.append([sampler.draw(logits.expand(count, -1)).tolist() for logits in steps])
    assert [row[:few] for row in drawn[1]] == drawn[0]


def test_samples_and_seeds_differ() -> None:
    options = PlanOptions(num_samples=3, temperature=1.0, top_p=1.0)

    def draw(seed: int) -> list[tuple[int, ...]]:
        sampler = TokenSampler(options, seed=seed, masked=None, device=CPU)
        rows = [sampler.draw(torch.zeros(3, 1000)).tolist() for _ in range(4)]
        return list(zip(*rows, strict=True))

    assert draw(1) == draw(1)
    assert len({*draw(1), *draw(2)}) == 6


@pytest.mark.parametrize("top_k", [1, None])
def test_masked_tokens_never_come_and_logits_are_left_alone(top_k: int | None) -> None:
    logits = torch.zeros(1, 30)
    logits[:, 5:25] = 50.0
    kept = logits.clone()
    options = PlanOptions(temperature=1.0, top_p=1.0, top_k=top_k)
    sampler = TokenSampler(options, seed=0, masked=MaskedTokens(5, 25), device=CPU)
    assert not {int(sampler.draw(logits)) for _ in range(200)} & set(range(5, 25))
    assert torch.equal(logits, kept)


def test_noise_depends_on_seed_and_sample_alone() -> None:
    few, many = initial_noise(4, 2, (64, 2)), initial_noise(4, 5, (64, 2))
    assert torch.equal(few, many[:2])
    assert few.dtype == torch.float32
    assert not torch.equal(many[0], many[1])
    assert not torch.equal(few, initial_noise(5, 2, (64, 2)))
    noise = initial_noise(0, 200, (64, 2))
    assert abs(float(noise.mean())) < 0.03
    assert abs(float(noise.std()) - 1) < 0.03


def test_fresh_seeds_are_in_range_and_differ() -> None:
    seeds = {fresh_seed() for _ in range(50)}
    assert len(seeds) == 50
    for seed in seeds:
        PlanOptions(seed=seed)
