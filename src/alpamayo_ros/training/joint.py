"""Both stages at once: words, trajectory tokens and the flow, whose gradient reaches the backbone.

Upstream trains the expert over a frozen backbone, and one of 8 billion parameters knows enough. What a small
one keeps in its keys and values is what its own next words need; here it learns to keep what the expert
needs, too.
"""

from __future__ import annotations

import torch

from alpamayo_ros.model.action_space import UnicycleActionSpace
from alpamayo_ros.model.network import AlpamayoNetwork
from alpamayo_ros.training.flow_terms import FlowTerms
from alpamayo_ros.training.losses import LossParts, SpanWeights, span_cross_entropy
from alpamayo_ros.training.plan_reader import PlanReader, reading_loss
from alpamayo_ros.training.sequence import Batch
from alpamayo_ros.training.sequence_images import ImageEncoder
from alpamayo_ros.training.stage2 import Memory, MemoryRecorder, drawn_distances, memory_loss


def joint_loss(
    network: AlpamayoNetwork,
    batch: Batch,
    *,
    images: ImageEncoder,
    weights: SpanWeights,
    flow_weight: float,
    generator: torch.Generator,
    terms: FlowTerms,
    reader: PlanReader | None = None,
) -> LossParts:
    """Return the cross-entropy of `stage1.reasoning_loss` plus `flow_weight` times `stage2.flow_loss`.

    The backbone reads the sequence once for both; without a weight of trajectory tokens only up to them,
    which saves a third. The expert sees its keys and values up to <|traj_future_start|> alone, as at
    inference.

    Args:
        network: trained whole, but for a vision tower without gradients.
        batch: on any device.
        images: encodes the batch's frames.
        weights: of the spans.
        flow_weight: how much the flow's loss counts.
        generator: on the CPU, for times and noise.
        terms: the flow's draws and weights.
        reader: reads the plan at once, its loss counts as much as the flow's; None for none.
    """
    words, memory = _read(network, batch, images=images, weights=weights)
    flow = memory_loss(network, batch, memory=memory, generator=generator, terms=terms)
    if reader is not None:
        flow = _beside(flow, reading_loss(reader, batch, memory=memory, terms=terms))
    return _sum(words, flow, flow_weight=flow_weight, samples=len(batch))


@torch.no_grad()
def evaluate_joint(
    network: AlpamayoNetwork,
    batch: Batch,
    *,
    images: ImageEncoder,
    weights: SpanWeights,
    flow_weight: float,
    generator: torch.Generator,
    terms: FlowTerms,
    action_space: UnicycleActionSpace,
    reader: PlanReader | None = None,
) -> tuple[LossParts, LossParts]:
    """Return the loss, and how far one drawn trajectory is from the sample's; see `stage2.evaluate_flow`."""
    words, memory = _read(network, batch, images=images, weights=weights)
    flow = memory_loss(network, batch, memory=memory, generator=generator, terms=terms)
    if reader is not None:
        flow = _beside(flow, reading_loss(reader, batch, memory=memory, terms=terms))
    distances = drawn_distances(network, batch, memory=memory, generator=generator, action_space=action_space)
    return _sum(words, flow, flow_weight=flow_weight, samples=len(batch)), distances


def _read(
    network: AlpamayoNetwork, batch: Batch, *, images: ImageEncoder, weights: SpanWeights
) -> tuple[LossParts, Memory]:
    device, recorder = network.device, MemoryRecorder()
    if not weights.trajectory:
        batch = batch.without_trajectory()
    token_ids = batch.token_ids.to(device)
    hidden = network.read(
        network.embed(token_ids),
        batch.positions.to(device),
        recorder,
        visual=images.encode(batch.frames),
        visual_index=batch.visual_index.to(device),
    )
    words = span_cross_entropy(
        hidden, token_ids, spans=batch.spans.to(device), logits=network.logits, weights=weights
    )
    # The trajectory's own tokens stand behind the last offset: the expert never sees them at inference.
    length = int(batch.offsets.max())
    return words, [(keys[:, :, :length], values[:, :, :length]) for keys, values in recorder.entries]


def _beside(flow: LossParts, read: LossParts) -> LossParts:
    return LossParts(flow.total + read.total, {**flow.means, **read.means}, {**flow.counts, **read.counts})


def _sum(words: LossParts, flow: LossParts, *, flow_weight: float, samples: int) -> LossParts:
    total = words.total + flow_weight * flow.total
    # Batches are weighed by their samples where the two losses are added.
    means = {"words_loss" if name == "loss" else name: mean for name, mean in words.means.items()} | {
        "flow_loss" if name == "loss" else name: mean for name, mean in flow.means.items()
    }
    counts = {"words_loss" if name == "loss" else name: count for name, count in words.counts.items()} | {
        "flow_loss" if name == "loss" else name: count for name, count in flow.counts.items()
    }
    return LossParts(total, means | {"loss": float(total.detach())}, counts | {"loss": samples})
