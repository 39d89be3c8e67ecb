"""Stage 2 sees what the engine's expert sees, and leaves the backbone alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from sft_samples import make_sample

from alpamayo_ros.model.engine import Engine
from alpamayo_ros.training.flow_terms import FlowTerms
from alpamayo_ros.training.sequence import Batch, collate
from alpamayo_ros.training.sequence_images import ImageEncoder
from alpamayo_ros.training.settings import TrainSettings
from alpamayo_ros.training.stage2 import (
    MemoryRecorder,
    _Prefix,
    evaluate_flow,
    expert_context,
    flow_loss,
)
from alpamayo_ros.training.trainer_model import TrainableModel

SAMPLES = [make_sample(0, instruction="Turn left"), make_sample(1, reasoned=False, cameras=(1,))]


@pytest.fixture
def batch(model: TrainableModel) -> Batch:
    sequences = [model.builder.build(sample) for sample in SAMPLES]
    return collate(sequences, image_pad_id=model.image_pad_id)


def test_velocities_are_the_engines(model: TrainableModel, batch: Batch) -> None:
    generator = torch.Generator().manual_seed(0)
    x, t = torch.randn(2, 64, 2, generator=generator), torch.rand(2, 1, 1, generator=generator)
    network, cropped = model.network, batch.cropped()
    with torch.no_grad():
        recorder = MemoryRecorder()
        images = ImageEncoder(network, model.images)
        network.read(
            network.embed(cropped.token_ids),
            cropped.positions,
            recorder,
            visual=images.encode(cropped.frames),
            visual_index=cropped.visual_index,
        )
        positions, mask = expert_context(cropped, rows=torch.arange(2), offsets=cropped.offsets)
        together = network.velocity(x, t, positions, _Prefix(recorder.entries), attention_mask=mask)

        engine = Engine(
            network,
            image_token_id=model.image_pad_id,
            future_start_id=model.opened.tokenizer.id_of("traj_future_start"),
        )
        for row, sample in enumerate(SAMPLES):
            sequence = model.builder.build(sample)
            ids = sequence.token_ids.tolist()
            prompt, written = ids[: sequence.prompt_length], ids[sequence.prompt_length : sequence.offset + 1]
            pixel_values, grid_thw = model.images.patchify(sequence.frames)
            grids = [(int(h) // 2, int(w) // 2) for _, h, w in grid_thw]
            state = engine.prefill(
                tuple(prompt), engine.look(pixel_values, grid_thw), grids=grids, capacity=len(ids) + 200
            )
            context = engine.expert_context(state, engine.replay(state, [tuple(written)]))
            alone = engine.velocity(context)(x[row : row + 1], t[row : row + 1])
            torch.testing.assert_close(together[row : row + 1], alone, rtol=1e-4, atol=1e-4)


def test_only_the_expert_and_its_projections_get_gradients(model: TrainableModel, batch: Batch) -> None:
    chosen = model.prepare(TrainSettings(stage=2))
    images = ImageEncoder(model.network, model.images)
    loss = flow_loss(
        model.network, batch, images=images, generator=torch.Generator().manual_seed(1), terms=FlowTerms(2)
    )
    loss.total.backward()
    with_gradient = {name for name, p in model.network.named_parameters() if p.grad is not None}
    assert with_gradient == chosen.keys()
    assert {name.partition(".")[0] for name in chosen} == {"expert", "action_in_proj", "action_out_proj"}
    assert loss.counts["loss"] == 4
    wanted = (loss.means["accel_loss"] + loss.means["curvature_loss"]) / 2
    assert loss.means["loss"] == pytest.approx(wanted, rel=1e-5)
    model.network.zero_grad(set_to_none=True)


def test_nothing_behind_the_start_token_is_seen(model: TrainableModel, batch: Batch) -> None:
    images = ImageEncoder(model.network, model.images)

    def loss(of: Batch) -> float:
        generator = torch.Generator().manual_seed(2)
        return flow_loss(model.network, of, images=images, generator=generator, terms=FlowTerms()).means[
            "loss"
        ]

    changed = batch.token_ids.clone()
    for row, offset in enumerate(batch.offsets.tolist()):
        changed[row, offset:] = 5
    other = replace(batch, token_ids=changed)
    assert loss(other) == pytest.approx(loss(batch), rel=1e-5)
    for row, offset in enumerate(batch.offsets.tolist()):
        changed[row, offset - 2] = 6
    assert abs(loss(other) - loss(batch)) > 1e-6


def test_drawn_trajectories_are_measured_against_the_waypoints(model: TrainableModel, batch: Batch) -> None:
    def figures(of: Batch) -> tuple[float, float, float]:
        loss, distance = evaluate_flow(
            model.network,
            of,
            images=ImageEncoder(model.network, model.images),
            generator=torch.Generator().manual_seed(4),
            terms=FlowTerms(2),
            action_space=model.action_space,
        )
        return loss.means["loss"], distance.means["ade_m"], distance.means["fde_m"]

    loss, ade_m, fde_m = figures(batch)
    assert ade_m > 0 and fde_m > 0
    # Waypoints far to the side are that much farther; the loss is of actions and knows nothing of them.
    aside = replace(batch, future_xyz=batch.future_xyz + torch.tensor([0.0, 1e4, 0.0]))
    assert figures(aside)[0] == loss
    assert figures(aside)[1] == pytest.approx(1e4, rel=0.05)
