"""Guessing what is said saves passes and changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from model_helpers import make_observation
from scipy import stats

from alpamayo_ros.model import Alpamayo, PlanOptions
from alpamayo_ros.model.engine import Engine, PromptState, StopRule
from alpamayo_ros.model.kv_cache import KeyValueCache
from alpamayo_ros.model.sampling import TokenSampler
from alpamayo_ros.model.speculation import Drafter
from alpamayo_ros.model.speed import SpeedOptions
from alpamayo_ros.types import InvalidInput

LIVELY = {"temperature": 1.0, "top_p": 1.0, "max_reasoning_tokens": 24}


def load(folder: Path, *, speculation: bool) -> Alpamayo:
    speed = SpeedOptions(speculation=speculation)
    return Alpamayo.from_pretrained(folder, device="cpu", dtype="float32", speed=speed, progress=False)


@pytest.fixture(scope="module")
def stepwise(random_folder: Path) -> Alpamayo:
    return load(random_folder, speculation=False)


@pytest.fixture
def guessing(random_folder: Path) -> Alpamayo:
    return load(random_folder, speculation=True)


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize(
    "sampling", [{"top_k": 1}, {"temperature": 0.05}, {"temperature": 1.0, "top_p": 1.0}]
)
def test_tokens_are_those_of_drawing_one_by_one(
    guessing: Alpamayo, stepwise: Alpamayo, samples: int, sampling: dict[str, Any]
) -> None:
    for tick in range(6):
        observation = make_observation(tick // 3)
        options = PlanOptions(num_samples=samples, seed=tick // 2, max_reasoning_tokens=24, **sampling)
        ours, theirs = (model.plan(observation, options) for model in (guessing, stepwise))
        assert ours.token_ids == theirs.token_ids
        np.testing.assert_allclose(ours.normalised_action, theirs.normalised_action, atol=1e-4, rtol=0)
    assert guessing._drafter is not None
    assert guessing._drafter.right > 5, "guesses that never come true show nothing"


def test_a_plan_does_not_depend_on_what_was_said_before(guessing: Alpamayo) -> None:
    """Bit by bit, whether nothing, everything or something else was guessed; nor does a recorded one."""
    observation, options = make_observation(2), PlanOptions(num_samples=2, seed=1, **LIVELY)
    first = guessing.plan(observation, options)
    again = [guessing.plan(observation, options)]
    guessing.plan(make_observation(3), PlanOptions(num_samples=1, seed=8, **LIVELY))
    again.append(guessing.plan(observation, options))
    again.append(guessing.plan(observation, options, forced_tokens=first.token_ids))
    for plan in again:
        assert plan.token_ids == first.token_ids
        np.testing.assert_array_equal(plan.normalised_action, first.normalised_action)


class Chain:
    """A "network" of five tokens: what follows depends on the last token alone."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        self.table = torch.randn(5, 5, generator=torch.Generator().manual_seed(0))
        self.passes = 0

    def autocast(self) -> torch.autocast:
        return torch.autocast("cpu", enabled=False)

    def read_tail(self, token_ids: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        self.passes += 1
        return token_ids[..., None]

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.table[hidden[:, 0]]


def test_sampled_sequences_have_the_models_distribution() -> None:
    """Of all 125 sequences of three tokens, by a chi-squared test, where half of the guesses come true."""
    chain, length, draws = Chain(), 3, 6000
    options = PlanOptions(temperature=1.0, top_p=1.0)
    engine = Engine(chain, image_token_id=-1, future_start_id=-1, runner=chain)  # type: ignore[arg-type]
    drafter = Drafter(memory=4)
    counts = np.zeros((5, 5, 5))
    for seed in range(draws):
        cache = KeyValueCache(
            1, batch=1, kv_heads=1, capacity=80, head_dim=1, dtype=torch.float32, device=chain.device
        )
        prompt = PromptState(cache, chain.table[:1], length=0, rope_delta=0, visual_end=0)
        sampler = TokenSampler(options, seed=seed, masked=None, device=chain.device)
        made = engine._decode(
            prompt,
            lambda logits, step, sampler=sampler: sampler.draw(logits).tolist(),
            num_samples=1,
            stop=StopRule(length),
            drafter=drafter,
        )
        drafter.remember(made.token_ids)
        counts[made.token_ids[0]] += 1
    p = chain.table.softmax(-1).numpy().astype(float)
    expected = draws * p[0][:, None, None] * p[:, :, None] * p[None]
    seen = expected > 5
    statistic = ((counts - expected)[seen] ** 2 / expected[seen]).sum()
    assert stats.chi2.sf(statistic, int(seen.sum()) - 1) > 1e-3
    assert 0.2 < drafter.right / drafter.guessed < 0.8
    assert chain.passes < 0.9 * draws * (length - 1)


def test_the_newest_and_nearest_that_fits_is_guessed() -> None:
    drafter = Drafter(longest=3)
    assert drafter.guess([1]) == ()
    drafter.remember([(1, 2, 3, 4, 5, 6), (1, 2, 9)])
    assert drafter.guess([1]) == (2, 9)
    assert drafter.guess([1, 2, 3]) == (4, 5, 6)
    assert drafter.guess([7, 8, 3, 4]) == (5, 6)
    assert drafter.guess([1, 7]) == ()
    drafter.remember([(1, 2, 3, 4, 5, 6)])
    assert drafter.guess([1]) == (2, 3, 4)
    drafter.remember([(1, 2, 0, 0, 0, 1, 2, 8)])
    assert drafter.guess([5, 5, 5, 5, 1, 2]) == (8,)
    assert drafter.guess([1, 2]) == (0, 0, 0)


def test_guesses_get_shorter_when_wrong_and_longer_when_right() -> None:
    drafter = Drafter(longest=8)
    drafter.remember([tuple(range(20))])
    drafter.learn(8, 1)
    assert len(drafter.guess([0])) == 2
    drafter.learn(2, 2)
    assert len(drafter.guess([0])) == 4
    drafter.learn(4, 0)
    assert len(drafter.guess([0])) == 1
    for _ in range(5):
        drafter.learn(1, 1)
    assert len(drafter.guess([0])) == 8


def test_memory_is_bounded() -> None:
    drafter = Drafter(memory=2)
    drafter.remember([(1, 2), (3, 4), (5, 6)])
    assert drafter.guess([1]) == ()
    assert drafter.guess([3]) == (4,)
    with pytest.raises(InvalidInput, match="got 0, 16"):
        Drafter(memory=0)
