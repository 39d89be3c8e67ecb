"""What the expert attends to."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from alpamayo_ros.model.kv_cache import KeyValueCache
from alpamayo_ros.types import NUM_WAYPOINTS


@dataclass(frozen=True, eq=False)
class ExpertContext:
    """K samples' caches and where their action tokens stand.

    Attributes:
        cache: K rows; action tokens are written behind its `length` entries, the most that a row keeps.
        first_positions: K positions of the first action token, on all three rotary axes.
        kept: K counts of the row's first entries that its action tokens attend to.
    """

    cache: KeyValueCache
    first_positions: tuple[int, ...]
    kept: tuple[int, ...]

    def __post_init__(self) -> None:
        rows, firsts, kept = self.cache.batch, len(self.first_positions), len(self.kept)
        if not rows == firsts == kept:
            raise ValueError(f"expected {rows} rows of a position and a count, got {firsts} and {kept}")

    def positions(self) -> Tensor:
        """Return the action tokens' positions, int64 [3, K, 64]."""
        device = self.cache.keys[0].device
        first = torch.tensor(self.first_positions, device=device)[:, None]
        return (first + torch.arange(NUM_WAYPOINTS, device=device)).expand(3, -1, -1)

    def attention_mask(self) -> Tensor | None:
        """Return what is attended to, bool [K, 1, 64, length + 64]; None where nothing is hidden."""
        if len(set(self.kept)) == 1:
            return None
        device = self.cache.keys[0].device
        entries = torch.arange(self.cache.length, device=device)
        seen = entries < torch.tensor(self.kept, device=device)[:, None]
        own = torch.ones(len(self.kept), NUM_WAYPOINTS, dtype=torch.bool, device=device)
        return torch.cat((seen, own), dim=1)[:, None, None].expand(-1, -1, NUM_WAYPOINTS, -1)
