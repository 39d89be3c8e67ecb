"""Stage 2: the expert learns the flow from noise to actions, over what the frozen backbone remembers.

The backbone reads the sequence up to and including <|traj_future_start|>, which is all that the expert sees
at inference; its keys and values carry no gradient. Times, noise and the velocity to learn are
model/flow_matching.py's.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from alpamayo_ros.model.action_space import UnicycleActionSpace
from alpamayo_ros.model.flow_matching import FlowMatching, Velocity
from alpamayo_ros.model.network import AlpamayoNetwork
from alpamayo_ros.training.flow_terms import FlowTerms, initial_speed_mps
from alpamayo_ros.training.losses import LossParts
from alpamayo_ros.training.sequence import Batch
from alpamayo_ros.training.sequence_images import ImageEncoder
from alpamayo_ros.types import NUM_WAYPOINTS

Memory = list[tuple[Tensor, Tensor]]
"""Keys and values of each layer, [B, kv_heads, L, head_dim], up to the batch's last offset."""


class MemoryRecorder:
    """A cache that keeps what one pass over the whole sequence writes.

    Here and below: further arguments are what transformers passes to its own caches.
    """

    def __init__(self) -> None:
        self.entries: Memory = []

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        if layer != len(self.entries):
            raise RuntimeError(f"cache: expected layer {len(self.entries)} next, got {layer}")
        self.entries.append((keys, values))
        return keys, values


class _Prefix:
    """A cache of fixed entries in front of what each layer brings; nothing is written, so gradients flow."""

    def __init__(self, entries: Memory) -> None:
        self._entries = entries

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        past_keys, past_values = self._entries[layer]
        # Under autocast the rotary embedding may leave the two in different dtypes.
        joined_keys = torch.cat((past_keys.to(keys.dtype), keys), dim=2)
        return joined_keys, torch.cat((past_values.to(values.dtype), values), dim=2)


def flow_loss(
    network: AlpamayoNetwork,
    batch: Batch,
    *,
    images: ImageEncoder,
    generator: torch.Generator,
    terms: FlowTerms,
) -> LossParts:
    """Return stage 2's loss of a batch: the velocity's mean squared error.

    Args:
        network: its expert and action projections are trained.
        batch: on any device.
        images: encodes the batch's frames.
        generator: on the CPU, for times and noise: the same numbers whatever the device.
        terms: draws and weights.
    """
    memory = _remember(network, batch, images)
    return memory_loss(network, batch, memory=memory, generator=generator, terms=terms)


@torch.no_grad()
def evaluate_flow(
    network: AlpamayoNetwork,
    batch: Batch,
    *,
    images: ImageEncoder,
    generator: torch.Generator,
    terms: FlowTerms,
    action_space: UnicycleActionSpace,
) -> tuple[LossParts, LossParts]:
    """Return the loss, and how far one drawn trajectory is from the sample's: its figures "ade_m", "fde_m".

    The expert drives behind the sample's own reasoning, not behind what the backbone would write. Distances
    are in the plane, to the waypoints themselves: what the action space cannot express counts, too, and
    "round_trip_m" says how much that is.
    """
    memory = _remember(network, batch, images)
    loss = memory_loss(network, batch, memory=memory, generator=generator, terms=terms)
    return loss, drawn_distances(
        network, batch, memory=memory, generator=generator, action_space=action_space
    )


@torch.no_grad()
def drawn_distances(
    network: AlpamayoNetwork,
    batch: Batch,
    *,
    memory: Memory,
    generator: torch.Generator,
    action_space: UnicycleActionSpace,
) -> LossParts:
    """Return how far one trajectory drawn over `memory` is from the sample's; see `evaluate_flow`."""
    noise = torch.randn(batch.actions.shape, generator=generator)
    velocity = _velocity(network, batch, memory=memory, rows=torch.arange(len(batch), device=network.device))
    action = FlowMatching().integrate(velocity, noise.to(network.device)).cpu()
    driven = action_space.to_trajectory(action, batch.history_xyz, batch.history_rot).xyz_in_rig_t0
    off_m = (driven[..., :2] - batch.future_xyz[..., :2]).norm(dim=-1)
    means = {"ade_m": float(off_m.mean()), "fde_m": float(off_m[:, -1].mean())}
    means["round_trip_m"] = float(batch.round_trip_error_m.mean())
    return LossParts(off_m.mean(), means, dict.fromkeys(means, len(batch)))


@torch.no_grad()
def _remember(network: AlpamayoNetwork, batch: Batch, images: ImageEncoder) -> Memory:
    device, cropped, recorder = network.device, batch.cropped(), MemoryRecorder()
    network.read(
        network.embed(cropped.token_ids.to(device)),
        cropped.positions.to(device),
        recorder,
        visual=images.encode(cropped.frames),
        visual_index=cropped.visual_index.to(device),
    )
    return recorder.entries


def _velocity(network: AlpamayoNetwork, batch: Batch, *, memory: Memory, rows: Tensor) -> Velocity:
    """Return the flow's velocity at R states, the r-th in the context of the batch's row rows[r]."""
    prefix = _Prefix([(keys[rows], values[rows]) for keys, values in memory])
    positions, mask = expert_context(
        batch.cropped(), rows=rows, offsets=batch.offsets.to(network.device)[rows]
    )

    def velocity(actions: Tensor, time: Tensor) -> Tensor:
        return network.velocity(actions, time, positions, prefix, attention_mask=mask)

    return velocity


def memory_loss(
    network: AlpamayoNetwork,
    batch: Batch,
    *,
    memory: Memory,
    generator: torch.Generator,
    terms: FlowTerms,
) -> LossParts:
    """Return the velocity's weighted mean squared error over what the backbone remembers.

    The means "accel_loss" and "curvature_loss" are without weights.
    """
    device = network.device
    rows = torch.arange(len(batch), device=device).repeat_interleave(terms.draws)
    velocity = _velocity(network, batch, memory=memory, rows=rows)
    pair = FlowMatching().training_pair(
        batch.actions.repeat_interleave(terms.draws, dim=0), generator=generator
    )
    error = velocity(pair.x_t.to(device), pair.t.to(device)) - pair.velocity.to(device)
    speed_mps = initial_speed_mps(batch).to(device).repeat_interleave(terms.draws)
    remaining = 1 - pair.t.to(device).flatten()
    total = terms.of_errors(error, speed_mps=speed_mps, remaining=remaining).mean()
    with torch.no_grad():
        accel, curvature = error.square().mean(dim=(0, 1)).tolist()
    means = {"loss": float(total.detach()), "accel_loss": accel, "curvature_loss": curvature}
    return LossParts(total, means, dict.fromkeys(means, len(rows)))


def expert_context(batch: Batch, *, rows: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Return positions int64 [3, R, 64] and mask bool [R, 1, 64, L + 64] of R rows of a cropped batch.

    The action tokens go on behind <|traj_future_start|>, on all three axes, and attend to each other and to
    all up to it, as in model/engine.py.
    """
    device = rows.device
    length = batch.token_ids.shape[1]
    # Behind the images all three axes are the same; <|traj_future_start|> stands at offset - 1.
    last = batch.positions[0].to(device)[rows].gather(1, (offsets - 1)[:, None])
    positions = last + 1 + torch.arange(NUM_WAYPOINTS, device=device)
    seen = torch.arange(length, device=device) < offsets[:, None]
    own = torch.ones(len(rows), NUM_WAYPOINTS, dtype=torch.bool, device=device)
    mask = torch.cat((seen, own), dim=1)[:, None, None].expand(-1, -1, NUM_WAYPOINTS, -1)
    return positions.expand(3, -1, -1), mask
