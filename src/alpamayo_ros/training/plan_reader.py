"""The plan, read at once from what the backbone keeps at its last word: a teacher for a small backbone.

The flow tells the backbone through noise what is to be remembered. A regression says it plainly: the values
that stand in every layer at <|traj_future_start|>, where the expert looks, are to tell the plan by two
layers' work. What then stands there is near enough for the expert to be learned in fewer steps. The reader
itself is thrown away when the training is over; upstream has none.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from alpamayo_ros.training.flow_terms import FlowTerms, initial_speed_mps
from alpamayo_ros.training.losses import LossParts
from alpamayo_ros.training.sequence import Batch
from alpamayo_ros.training.stage2 import Memory
from alpamayo_ros.types import NUM_WAYPOINTS

READER_PREFIX = "plan_reader."
"""What the names of a reader's parameters begin with in a run's state."""

_WIDTH = 256


class PlanReader(nn.Module):
    """Reads normalised actions from the values at one position, of all layers.

    Args:
        layers, kv_heads, head_dim: of the backbone.
        seed: of the weights.
    """

    def __init__(self, *, layers: int, kv_heads: int, head_dim: int, seed: int) -> None:
        super().__init__()
        channels = layers * kv_heads * head_dim
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.norm = nn.LayerNorm(channels)
            self.mix = nn.Linear(channels, _WIDTH)
            self.out = nn.Linear(_WIDTH, NUM_WAYPOINTS * 2)
            nn.init.zeros_(self.out.weight)

    def forward(self, memory: Memory, offsets: Tensor) -> Tensor:
        """Return float32 [B, 64, 2] from values [B, kv_heads, L, head_dim] and offsets int64 [B].

        An offset is the position behind <|traj_future_start|>.
        """
        rows = torch.arange(len(offsets), device=offsets.device)
        last = [values[rows, :, offsets - 1].flatten(1) for _, values in memory]
        hidden = F.gelu(self.mix(self.norm(torch.cat(last, dim=1))))
        return self.out(hidden).float().unflatten(1, (NUM_WAYPOINTS, 2))


def reading_loss(reader: PlanReader, batch: Batch, *, memory: Memory, terms: FlowTerms) -> LossParts:
    """Return the mean of `terms.of_errors` of the actions that are read, without noise; named "plan_loss"."""
    device = memory[0][1].device
    read = reader(memory, batch.offsets.to(device))
    errors = read - batch.actions.to(device)
    speed_mps = initial_speed_mps(batch).to(device)
    total = terms.of_errors(errors, speed_mps=speed_mps, remaining=torch.ones_like(speed_mps)).mean()
    return LossParts(total, {"plan_loss": float(total.detach())}, {"plan_loss": len(batch)})
