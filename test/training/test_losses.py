from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from alpamayo_ros.training.losses import SpanWeights, span_cross_entropy
from alpamayo_ros.training.sequence import Span
from alpamayo_ros.types import InvalidInput


def parts(seed: int, weights: SpanWeights = SpanWeights()):  # noqa: B008
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(2, 9, 5, generator=generator, requires_grad=True)
    head = torch.randn(5, 7, generator=generator)
    token_ids = torch.randint(0, 7, (2, 9), generator=generator)
    spans = torch.tensor([[0, 0, 0, 1, 1, 1, 3, 3, 3], [0, 0, 3, 3, 3, 3, 0, 0, 0]])
    loss = span_cross_entropy(hidden, token_ids, spans=spans, logits=lambda h: h @ head, weights=weights)
    each = -torch.log_softmax(hidden @ head, -1)[:, :-1].gather(-1, token_ids[:, 1:, None])[..., 0]
    return hidden, loss, each, spans[:, 1:]


@settings(max_examples=20)
@given(seed=st.integers(0, 1000), weight=st.floats(0.1, 10))
def test_it_is_the_weighted_mean_of_tokens_predicted_from_the_one_before(seed: int, weight: float) -> None:
    _, loss, each, spans = parts(seed, SpanWeights(reasoning=weight))
    of_reasoning, of_trajectory = each[spans == Span.REASONING], each[spans == Span.TRAJECTORY]
    wanted = (weight * of_reasoning.sum() + of_trajectory.sum()) / (weight * 3 + 7)
    torch.testing.assert_close(loss.total, wanted)
    assert loss.means["reasoning_loss"] == pytest.approx(float(of_reasoning.mean().detach()), rel=1e-5)
    assert loss.counts["reasoning_loss"] == loss.counts["reasoning_accuracy"] == 3
    assert loss.counts["trajectory_loss"] == 7 and loss.counts["loss"] == 10
    assert 0 <= loss.means["trajectory_accuracy"] <= 1


def test_what_does_not_count_has_no_gradient() -> None:
    hidden, loss, _, spans = parts(0)
    loss.total.backward()
    moved = hidden.grad.abs().sum(-1) > 0
    assert torch.equal(moved[:, :-1], spans > 0) and not moved[:, -1].any()


def test_a_span_of_no_weight_is_left_out() -> None:
    _, loss, each, spans = parts(1, SpanWeights(trajectory=0.0))
    torch.testing.assert_close(loss.total, each[spans == Span.REASONING].mean())
    assert "trajectory_loss" not in loss.means


def test_refuses_nothing_to_count() -> None:
    with pytest.raises(InvalidInput, match="span weights: expected none negative and one above zero"):
        SpanWeights(reasoning=0, meta_action=0, trajectory=0)
    with pytest.raises(InvalidInput, match="expected none negative"):
        SpanWeights(reasoning=-1)
    nothing = torch.zeros(1, 4, dtype=torch.int64)
    with pytest.raises(InvalidInput, match="batch: expected a token that counts, got none"):
        span_cross_entropy(
            torch.zeros(1, 4, 2), nothing, spans=nothing, logits=lambda h: h, weights=SpanWeights()
        )
