"""Stage 1: the backbone learns to write the reasoning and the trajectory's tokens, by cross-entropy."""

from __future__ import annotations

from alpamayo_ros.model.network import AlpamayoNetwork
from alpamayo_ros.training.losses import LossParts, SpanWeights, span_cross_entropy
from alpamayo_ros.training.sequence import Batch
from alpamayo_ros.training.sequence_images import ImageEncoder


def reasoning_loss(
    network: AlpamayoNetwork, batch: Batch, *, images: ImageEncoder, weights: SpanWeights
) -> LossParts:
    """Return stage 1's loss of a batch.

    The backbone reads the whole sequence at once, causally, as prefill does; history tokens stand in place
    already. Without a weight of trajectory tokens it reads up to them, which saves a third.

    Args:
        network: its backbone is trained.
        batch: on any device.
        images: encodes the batch's frames, with gradients where the vision tower is trained.
        weights: of the spans.
    """
    device = network.device
    if not weights.trajectory:
        batch = batch.without_trajectory()
    token_ids = batch.token_ids.to(device)
    hidden = network.read(
        network.embed(token_ids),
        batch.positions.to(device),
        visual=images.encode(batch.frames),
        visual_index=batch.visual_index.to(device),
    )
    return span_cross_entropy(
        hidden, token_ids, spans=batch.spans.to(device), logits=network.logits, weights=weights
    )
