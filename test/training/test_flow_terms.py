"""What an error counts: by the speed before the plan, and by how far ahead it is."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from sft_samples import make_sample

from alpamayo_ros.training.flow_terms import FlowTerms, curvature_weights, near_weights
from alpamayo_ros.training.losses import LossParts
from alpamayo_ros.training.sequence import Batch, collate
from alpamayo_ros.training.sequence_images import ImageEncoder
from alpamayo_ros.training.settings import TrainSettings
from alpamayo_ros.training.stage2 import flow_loss
from alpamayo_ros.training.trainer_model import TrainableModel
from alpamayo_ros.types import InvalidInput


@pytest.fixture
def batch(model: TrainableModel) -> Batch:
    samples = [make_sample(0), make_sample(1)]
    batch = collate([model.builder.build(each) for each in samples], image_pad_id=model.image_pad_id)
    moved = replace(batch, history_xyz=torch.zeros(2, 16, 3))
    for row, speed_mps in enumerate((16.0, 4.0)):
        moved.history_xyz[row, :, 0] = torch.arange(-15, 1) * 0.1 * speed_mps
    return moved


def _loss(model: TrainableModel, batch: Batch, terms: FlowTerms) -> LossParts:
    images = ImageEncoder(model.network, model.images)
    generator = torch.Generator().manual_seed(1)
    return flow_loss(model.network, batch, images=images, generator=generator, terms=terms)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"draws": 0}, "draws: expected at least 1, got 0"),
        ({"lateral_speed_mps": -1.0}, "lateral_speed_mps: expected zero or more, got -1"),
        ({"near_weight": 0.0}, "near_weight: expected a positive number, got 0"),
    ],
)
def test_refuses_what_is_no_loss(values: dict[str, float], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        FlowTerms(**values)  # type: ignore[arg-type]


def test_errors_of_curvature_count_by_the_speed_before_the_plan(model: TrainableModel, batch: Batch) -> None:
    assert curvature_weights(batch, lateral_speed_mps=10.0).tolist() == pytest.approx([1.6**4, 1.0])
    assert curvature_weights(batch, lateral_speed_mps=2.0).tolist() == pytest.approx([16.0, 16.0])
    assert curvature_weights(batch, lateral_speed_mps=0.0).tolist() == [1.0, 1.0]

    plain, weighted = (_loss(model, batch, FlowTerms(2, speed)).means for speed in (0.0, 2.0))
    accel, curvature = plain["accel_loss"], plain["curvature_loss"]
    assert plain["loss"] == pytest.approx((accel + curvature) / 2, rel=1e-4)
    assert weighted["loss"] == pytest.approx((accel + 16 * curvature) / 2, rel=1e-4)
    assert weighted["curvature_loss"] == pytest.approx(curvature)


def test_near_actions_count_more_and_all_of_them_as_before() -> None:
    assert near_weights(near_weight=1.0).tolist() == [1.0] * 64
    weights = near_weights(near_weight=4.0)
    assert float(weights.mean()) == pytest.approx(1.0)
    assert bool((weights[1:] < weights[:-1]).all())
    assert float(weights[0] / weights[-1]) == pytest.approx(4.0, rel=0.05)


def test_near_weights_weigh_the_loss(model: TrainableModel, batch: Batch) -> None:
    # The gradient of the velocity's bias is a weighted mean of errors, so other weights change it.
    model.prepare(TrainSettings(stage=2))

    def gradient(near_weight: float) -> torch.Tensor:
        model.network.zero_grad(set_to_none=True)
        _loss(model, batch, FlowTerms(2, near_weight=near_weight)).total.backward()
        (bias,) = (p for name, p in model.network.named_parameters() if name == "action_out_proj.bias")
        assert bias.grad is not None
        return bias.grad.clone()

    assert not torch.allclose(gradient(1.0), gradient(9.0), rtol=1e-3)
    plain, weighted = (_loss(model, batch, FlowTerms(2, near_weight=near)).means for near in (1.0, 9.0))
    assert weighted["accel_loss"] == plain["accel_loss"]
    assert weighted["loss"] != pytest.approx(plain["loss"], rel=1e-6)
