"""The joint stage is stages 1 and 2 of one pass, and the flow's gradient reaches the backbone."""

from __future__ import annotations

import pytest
import torch
from sft_samples import make_sample

from alpamayo_ros.training.flow_terms import FlowTerms
from alpamayo_ros.training.joint import evaluate_joint, joint_loss
from alpamayo_ros.training.losses import SpanWeights
from alpamayo_ros.training.sequence import Batch, collate
from alpamayo_ros.training.sequence_images import ImageEncoder
from alpamayo_ros.training.settings import JOINT, TrainSettings
from alpamayo_ros.training.stage1 import reasoning_loss
from alpamayo_ros.training.stage2 import evaluate_flow, flow_loss
from alpamayo_ros.training.trainer_model import TrainableModel
from alpamayo_ros.types import InvalidInput

WEIGHTS = SpanWeights(reasoning=3.0)


@pytest.fixture
def batch(model: TrainableModel) -> Batch:
    samples = [make_sample(0, instruction="Turn left"), make_sample(1, reasoned=False, cameras=(1,))]
    return collate([model.builder.build(each) for each in samples], image_pad_id=model.image_pad_id)


def _noise() -> torch.Generator:
    return torch.Generator().manual_seed(5)


def _joint(
    model: TrainableModel, batch: Batch, *, flow_weight: float, weights: SpanWeights = WEIGHTS
) -> torch.Tensor:
    images = ImageEncoder(model.network, model.images)
    return joint_loss(
        model.network,
        batch,
        images=images,
        weights=weights,
        flow_weight=flow_weight,
        generator=_noise(),
        terms=FlowTerms(2),
    ).total


@pytest.mark.parametrize("weights", [WEIGHTS, SpanWeights(trajectory=0.0)])
def test_loss_is_the_sum_of_both_stages(model: TrainableModel, batch: Batch, weights: SpanWeights) -> None:
    images = ImageEncoder(model.network, model.images)
    words = reasoning_loss(model.network, batch, images=images, weights=weights).total
    flow = flow_loss(model.network, batch, images=images, generator=_noise(), terms=FlowTerms(2)).total
    joint = _joint(model, batch, flow_weight=0.5, weights=weights)
    torch.testing.assert_close(joint, words + 0.5 * flow)


def test_gradients_of_both_losses_reach_what_each_may_change(model: TrainableModel, batch: Batch) -> None:
    chosen = model.prepare(TrainSettings(stage=JOINT, train_vision=False))
    assert not any(name.startswith("vlm.model.visual.") for name in chosen)
    assert any(name.startswith("expert.") for name in chosen)
    _joint(model, batch, flow_weight=1.0).backward()
    without = {name for name, parameter in chosen.items() if parameter.grad is None}
    assert not without
    both = {name: parameter.grad.clone() for name, parameter in chosen.items() if parameter.grad is not None}
    for parameter in chosen.values():
        parameter.grad = None
    images = ImageEncoder(model.network, model.images)
    reasoning_loss(model.network, batch, images=images, weights=WEIGHTS).total.backward()
    first_layer = "vlm.model.language_model.layers.0.self_attn.v_proj.weight"
    words_alone = chosen[first_layer].grad
    assert words_alone is not None
    assert not torch.allclose(both[first_layer], words_alone)


def test_the_expert_never_sees_the_trajectorys_own_tokens(model: TrainableModel, batch: Batch) -> None:
    model.prepare(TrainSettings(stage=JOINT, train_vision=False))

    def flow_loss_now() -> float:
        return joint_loss(
            model.network,
            batch,
            images=ImageEncoder(model.network, model.images),
            weights=WEIGHTS,
            flow_weight=1.0,
            generator=_noise(),
            terms=FlowTerms(),
        ).means["flow_loss"]

    before = flow_loss_now()
    for row, offset in enumerate(batch.offsets.tolist()):
        batch.token_ids[row, offset:] = 5
    assert flow_loss_now() == pytest.approx(before, rel=1e-5)


def test_held_out_figures_are_stage_2s(model: TrainableModel, batch: Batch) -> None:
    images = ImageEncoder(model.network, model.images)
    loss, distances = evaluate_joint(
        model.network,
        batch,
        images=images,
        weights=WEIGHTS,
        flow_weight=1.0,
        generator=_noise(),
        terms=FlowTerms(2),
        action_space=model.action_space,
    )
    flow, expected = evaluate_flow(
        model.network,
        batch,
        images=images,
        generator=_noise(),
        terms=FlowTerms(2),
        action_space=model.action_space,
    )
    assert loss.means["flow_loss"] == pytest.approx(flow.means["loss"], rel=1e-4)
    assert distances.means["ade_m"] == pytest.approx(expected.means["ade_m"], rel=1e-3)
    assert loss.means["loss"] == pytest.approx(loss.means["words_loss"] + loss.means["flow_loss"])
    assert loss.counts.keys() == loss.means.keys()


def test_layers_cannot_be_recomputed() -> None:
    with pytest.raises(InvalidInput, match="recompute: expected False in stage 3"):
        TrainSettings(stage=JOINT, recompute=True)
