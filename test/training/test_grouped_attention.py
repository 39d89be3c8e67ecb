"""Attention as plain products is the fused kernel's, its gradients too."""

from __future__ import annotations

import pytest
import torch
from sft_samples import make_sample
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from alpamayo_ros.training.grouped_attention import attend_in_groups, grouped_attention
from alpamayo_ros.training.losses import SpanWeights
from alpamayo_ros.training.sequence import collate
from alpamayo_ros.training.sequence_images import ImageEncoder
from alpamayo_ros.training.settings import TrainSettings
from alpamayo_ros.training.stage1 import reasoning_loss
from alpamayo_ros.training.stage2 import flow_loss
from alpamayo_ros.training.trainer_model import TrainableModel


def _drawn(*shape: int) -> Tensor:
    return torch.randn(shape, requires_grad=True)


@pytest.mark.parametrize("length", [1, 95, 96, 97, 250])
@pytest.mark.parametrize("groups", [1, 4])
def test_causal_attention_and_its_gradient(length: int, groups: int) -> None:
    torch.manual_seed(length)
    query, key, value = _drawn(3, 2 * groups, length, 16), _drawn(3, 2, length, 16), _drawn(3, 2, length, 16)
    mixed = grouped_attention(query, key, value, scaling=0.3)
    wanted = scaled_dot_product_attention(query, key, value, is_causal=True, scale=0.3, enable_gqa=True)
    _same(mixed, wanted, (query, key, value))


def test_masked_attention_and_its_gradient() -> None:
    torch.manual_seed(0)
    query, key, value = _drawn(3, 8, 64, 16), _drawn(3, 2, 100, 16), _drawn(3, 2, 100, 16)
    mask = (torch.arange(100) < torch.tensor([100, 40, 64])[:, None])[:, None, None].expand(-1, -1, 64, -1)
    mixed = grouped_attention(query, key, value, scaling=0.25, mask=mask)
    wanted = scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=0.25, enable_gqa=True)
    _same(mixed, wanted, (query, key, value))


def _same(mixed: Tensor, wanted: Tensor, inputs: tuple[Tensor, ...]) -> None:
    torch.testing.assert_close(mixed, wanted, atol=1e-5, rtol=1e-4)
    weights = torch.randn_like(wanted)
    ours = torch.autograd.grad((mixed * weights).sum(), inputs)
    theirs = torch.autograd.grad((wanted * weights).sum(), inputs)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)


def test_both_losses_of_a_network_stay_the_same(model: TrainableModel) -> None:
    samples = [make_sample(0), make_sample(1, reasoned=False, cameras=(1,))]
    batch = collate([model.builder.build(each) for each in samples], image_pad_id=model.image_pad_id)
    images = ImageEncoder(model.network, model.images)
    terms = TrainSettings(stage=2).flow_terms(action_std=model.action_space.std)

    def losses() -> list[float]:
        noise = torch.Generator().manual_seed(3)
        words = reasoning_loss(model.network, batch, images=images, weights=SpanWeights())
        flow = flow_loss(model.network, batch, images=images, generator=noise, terms=terms)
        return [float(words.total), float(flow.total)]

    with torch.no_grad():
        before = losses()
        attend_in_groups(model.network)
        assert losses() == pytest.approx(before, rel=1e-4)


def test_training_in_bfloat16_on_a_cpu_attends_so(model: TrainableModel) -> None:
    model.prepare(TrainSettings(stage=1, autocast=True))
    (name,) = {
        layer.self_attn.config._attn_implementation
        for layer in (*model.network.vlm.model.language_model.layers, *model.network.expert.layers)
    }
    assert name == "alpamayo_grouped"
