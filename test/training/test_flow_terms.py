"""What an error counts: by the speed before the plan, and by how far ahead it is."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from sft_samples import make_sample

from alpamayo_ros.training.flow_terms import (
    FlowTerms,
    curvature_weights,
    displacement_loss,
    initial_speed_mps,
    near_weights,
)
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
        ({"displacement_weight": -0.5}, "displacement_weight: expected zero or more, got -0.5"),
        ({"action_std": (0.0, 1.0)}, r"action_std: expected positive numbers, got \[0.0, 1.0\]"),
        ({"near_weight": 0.0}, "near_weight: expected a positive number, got 0"),
    ],
)
def test_refuses_what_is_no_loss(values: dict[str, float], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        FlowTerms(**values)  # type: ignore[arg-type]


def test_errors_of_curvature_count_by_the_speed_before_the_plan(model: TrainableModel, batch: Batch) -> None:
    speed_mps = initial_speed_mps(batch)
    assert speed_mps.tolist() == pytest.approx([16.0, 4.0])
    assert curvature_weights(speed_mps, lateral_speed_mps=10.0).tolist() == pytest.approx([1.6**4, 1.0])
    assert curvature_weights(speed_mps, lateral_speed_mps=2.0).tolist() == pytest.approx([16.0, 16.0])
    assert curvature_weights(speed_mps, lateral_speed_mps=0.0).tolist() == [1.0, 1.0]

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


STD = (0.5, 0.01)


def _displaced(accel: torch.Tensor | float, curvature: torch.Tensor | float, *, speed_mps: float) -> float:
    errors = torch.zeros(1, 64, 2)
    errors[0, :, 0], errors[0, :, 1] = accel, curvature
    return float(displacement_loss(errors, speed_mps=torch.tensor([speed_mps]), action_std=STD))


def test_displacements_are_the_unicycles_own() -> None:
    # Of a steady acceleration a/2 t^2, of a steady curvature v^2 k/2 t^2 across; small enough for squares.
    ahead_s = torch.arange(1, 65) * 0.1
    tolerated_m = 0.2 + 0.15 * ahead_s**2
    along_m = 0.02 * STD[0] / 2 * ahead_s**2
    across_m = 15.0**2 * 0.05 * STD[1] / 2 * ahead_s**2
    for given, off_m in ((_displaced(0.02, 0, speed_mps=9.0), along_m),
                         (_displaced(0, 0.05, speed_mps=15.0), across_m)):  # fmt: skip
        assert given == pytest.approx(float((off_m / tolerated_m).square().mean() / 4), rel=0.1)


def test_what_does_not_lead_away_hardly_counts() -> None:
    turns = torch.ones(64)
    turns[1::2] = -1
    assert _displaced(0, 0.3 * turns, speed_mps=15.0) < 0.01 * _displaced(0, 0.3, speed_mps=15.0)
    assert _displaced(0, 0.3, speed_mps=0.0) == _displaced(0, 0.3, speed_mps=4.0)


def test_an_error_counts_by_how_far_the_flow_still_goes() -> None:
    errors, speed_mps = torch.full((3, 64, 2), 0.01), torch.full((3,), 10.0)
    remaining = torch.tensor([1.0, 0.5, 0.0])
    plain = FlowTerms().of_errors(errors, speed_mps=speed_mps, remaining=remaining)
    terms = FlowTerms(displacement_weight=2.0)
    beside = terms.of_errors(errors, speed_mps=speed_mps, remaining=remaining) - plain
    assert float(beside[0]) > 0 == float(beside[2])
    assert float(beside[1] / beside[0]) == pytest.approx(0.25, rel=1e-3)


def test_displacements_reach_the_loss_in_the_actions_own_units(model: TrainableModel, batch: Batch) -> None:
    terms = TrainSettings(stage=2, displacement_weight=1.0).flow_terms(action_std=model.action_space.std)
    assert terms.action_std == model.action_space.std
    assert _loss(model, batch, terms).means["loss"] > _loss(model, batch, FlowTerms(4)).means["loss"]
