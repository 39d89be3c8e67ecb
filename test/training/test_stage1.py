"""Stage 1 reads a padded batch as prefill reads each prompt, and trains what it is told to."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from sft_samples import make_sample

from alpamayo_ros.model.positions import prompt_positions
from alpamayo_ros.training.losses import LossParts, SpanWeights
from alpamayo_ros.training.sequence import collate
from alpamayo_ros.training.sequence_images import ImageEncoder
from alpamayo_ros.training.settings import TrainSettings
from alpamayo_ros.training.stage1 import reasoning_loss
from alpamayo_ros.training.trainer_model import TrainableModel
from alpamayo_ros.types import InvalidInput


def load(golden_dir: Path, generation: str = "alpamayo1_5") -> TrainableModel:
    folder = golden_dir / generation
    return TrainableModel.load(
        folder / "checkpoint", folder / "backbone", device=torch.device("cpu"), dtype=torch.float32
    )


def loss_of(model: TrainableModel, *indices: int, cache_bytes: int = 0) -> LossParts:
    sequences = [
        model.builder.build(make_sample(index, cameras=(1,) if index % 2 else (0, 1, 2, 6)))
        for index in indices
    ]
    batch = collate(sequences, image_pad_id=model.image_pad_id)
    images = ImageEncoder(model.network, model.images, cache_bytes=cache_bytes)
    return reasoning_loss(model.network, batch, images=images, weights=SpanWeights())


def test_logits_behind_the_prompt_are_the_references(golden_dir: Path) -> None:
    """Through the training way: read without a cache, features by the encoder."""
    model = load(golden_dir)
    golden = load_file(golden_dir / "alpamayo1_5" / "golden.safetensors")
    network = model.network
    ids = golden["plain.fused_ids"]
    grids = [(int(rows) // 2, int(columns) // 2) for _, rows, columns in golden["cut.image_grid_thw"]]
    positions, _ = prompt_positions(ids[0].tolist(), grids, image_token_id=model.image_pad_id)
    frames = tuple(model.images.prepare_frames(camera.numpy()) for camera in golden["frames"])
    network.requires_grad_(False)
    hidden = network.read(
        network.embed(ids),
        torch.from_numpy(positions)[:, None],
        visual=ImageEncoder(network, model.images).encode(frames),
        visual_index=(ids[0] == model.image_pad_id).nonzero()[:, 0],
    )
    torch.testing.assert_close(
        network.logits(hidden[:, -1]), golden["plain.prompt_last_logits"], rtol=0, atol=1e-3
    )


def test_a_batch_is_the_mean_of_its_samples(golden_dir: Path) -> None:
    model = load(golden_dir)
    with torch.no_grad():
        alone = [loss_of(model, index) for index in (0, 1)]
        together = loss_of(model, 0, 1)
    counts = [loss.counts["loss"] for loss in alone]
    wanted = sum(loss.means["loss"] * n for loss, n in zip(alone, counts, strict=True)) / sum(counts)
    assert together.means["loss"] == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("train_vision", [True, False])
def test_the_backbone_alone_gets_gradients(golden_dir: Path, train_vision: bool) -> None:
    model = load(golden_dir)
    chosen = model.prepare(TrainSettings(stage=1, train_vision=train_vision))
    loss_of(model, 0).total.backward()
    with_gradient = {name for name, p in model.network.named_parameters() if p.grad is not None}
    assert with_gradient == chosen.keys()
    assert all(name.startswith("vlm.") for name in chosen)
    assert any(name.startswith("vlm.model.visual.") for name in chosen) == train_vision


def test_cached_features_give_the_same_loss(golden_dir: Path) -> None:
    model = load(golden_dir)
    model.prepare(TrainSettings(stage=1, train_vision=False))
    plain, cached = loss_of(model, 0, 1), loss_of(model, 0, 1, cache_bytes=10**8)
    assert cached.means["loss"] == pytest.approx(plain.means["loss"], rel=1e-5)


def test_frames_are_looked_at_once_and_the_oldest_are_forgotten(golden_dir: Path) -> None:
    model = load(golden_dir)
    model.network.requires_grad_(False)
    frames = [model.images.prepare_frames(camera) for camera in make_sample(0).observation.frames]
    first = ImageEncoder(model.network, model.images, cache_bytes=10**8)
    before = first.encode(frames)
    assert (first.hits, first.misses) == (0, 16)
    # The next sample's frames: each camera's first is gone, one more has come.
    later = [frame[[1, 2, 3, 0]] for frame in frames]
    after = first.encode(later)
    assert (first.hits, first.misses) == (16, 16)
    order = torch.arange(len(before.embeds)).reshape(4, 4, -1)[:, [1, 2, 3, 0]].flatten()
    torch.testing.assert_close(after.embeds, before.embeds[order])
    torch.testing.assert_close(after.deepstack[0], before.deepstack[0][order])
    small = ImageEncoder(model.network, model.images, cache_bytes=before.embeds[:20].nbytes)
    for _ in range(2):
        torch.testing.assert_close(small.encode(frames).embeds, before.embeds, rtol=1e-5, atol=1e-5)
    assert small.misses > 16


def test_pictures_learned_ahead_are_not_encoded_again(golden_dir: Path) -> None:
    model = load(golden_dir)
    model.prepare(TrainSettings(stage=2))
    sequence = model.builder.build(make_sample(0, cameras=(0, 1)))
    one_by_one = ImageEncoder(model.network, model.images).encode(sequence.frames)
    images = ImageEncoder(model.network, model.images, cache_bytes=10**8)
    assert images.learn(make_sample(0, cameras=(0, 1)).observation.frames) == 8
    found = images.encode(sequence.frames)
    assert images.misses == 0
    torch.testing.assert_close(found.embeds, one_by_one.embeds, atol=1e-5, rtol=1e-4)
    small = ImageEncoder(model.network, model.images, cache_bytes=one_by_one.embeds[:20].nbytes)
    assert small.learn(sequence.frames) == 0  # what would not fit is left


def test_a_trained_tower_has_no_cache(golden_dir: Path) -> None:
    model = load(golden_dir)
    model.prepare(TrainSettings(stage=1))
    with pytest.raises(InvalidInput, match="cache_bytes: expected 0 for a vision tower that is trained"):
        ImageEncoder(model.network, model.images, cache_bytes=1)
    with pytest.raises(InvalidInput, match="cache_bytes: expected zero or more, got -1"):
        ImageEncoder(model.network, model.images, cache_bytes=-1)


def test_patches_are_embedded_as_by_the_convolution(golden_dir: Path) -> None:
    model = load(golden_dir)
    frames = [model.images.prepare_frames(camera) for camera in make_sample(0).observation.frames]
    pixel_values, grid_thw = model.images.patchify(frames)
    with torch.no_grad():
        before = model.network.encode_images(pixel_values, grid_thw)
        model.prepare(TrainSettings(stage=1))
        after = model.network.encode_images(pixel_values, grid_thw)
    torch.testing.assert_close(after.embeds, before.embeds, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("trajectory", [0.0, 1.0])
def test_the_end_of_the_words_is_learned_with_and_without_the_trajectory(
    golden_dir: Path, trajectory: float
) -> None:
    # <|traj_future_start|> ends what is said: a model that unlearns it talks until it is cut off.
    model = load(golden_dir)
    batch = collate([model.builder.build(make_sample(0))], image_pad_id=model.image_pad_id)
    place = int(batch.offsets[0]) - 1
    start = model.opened.tokenizer.id_of("traj_future_start")
    assert int(batch.token_ids[0, place]) == start
    images, weights = ImageEncoder(model.network, model.images), SpanWeights(trajectory=trajectory)

    def loss_with(end: int) -> float:
        batch.token_ids[0, place] = end
        with torch.no_grad():
            return float(reasoning_loss(model.network, batch, images=images, weights=weights).total)

    assert abs(loss_with(start) - loss_with(start + 1)) > 1e-3
