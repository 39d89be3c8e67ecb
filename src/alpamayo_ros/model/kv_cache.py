"""The keys and values that the network has seen, in buffers of fixed capacity.

transformers' attention asks a cache for one thing: `update(keys, values, layer)`. This one writes in
place, where its own caches concatenate: a token more costs no copy of the prompt, and the expert's 64
action tokens are overwritten at every Euler step without cropping (whose meaning differs between
transformers 4 and 5).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class KeyValueCache:
    """Keys and values of all layers, each [batch, kv_heads, capacity, head_dim].

    The first `length` entries are valid. `update` writes *behind* them and returns views that include
    what was written; only `advance` makes it stay, after all layers have run.
    """

    def __init__(
        self,
        num_layers: int,
        *,
        batch: int,
        kv_heads: int,
        capacity: int,
        head_dim: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        shape = (batch, kv_heads, capacity, head_dim)
        self.keys = [torch.empty(shape, dtype=dtype, device=device) for _ in range(num_layers)]
        self.values = [torch.empty(shape, dtype=dtype, device=device) for _ in range(num_layers)]
        self.length = 0

    @property
    def batch(self) -> int:
        """Rows that the cache holds."""
        return int(self.keys[0].shape[0])

    @property
    def capacity(self) -> int:
        """Entries that a row can hold."""
        return int(self.keys[0].shape[2])

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Write [batch, kv_heads, n, head_dim] behind the valid entries; return all up to there.

        The further arguments are transformers 4's cache_kwargs, of no use here.
        """
        end = self.length + keys.shape[2]
        if end > self.capacity:
            raise RuntimeError(f"key-value cache: {end} entries do not fit the capacity of {self.capacity}")
        self.keys[layer][:, :, self.length : end] = keys
        self.values[layer][:, :, self.length : end] = values
        return self.keys[layer][:, :, :end], self.values[layer][:, :, :end]

    def advance(self, count: int) -> None:
        """Make the `count` entries written last valid."""
        self.length += count

    def expanded(self, batch: int, capacity: int, *, length: int | None = None) -> KeyValueCache:
        """Return a copy of the first `length` entries (default: all valid ones) for `batch` rows.

        This cache has one row or as many. The copy is independent: K samples go on from one prefill, and
        the unguided branch from the part of the prompt that it shares.
        """
        length = self.length if length is None else length
        other = self._empty(batch, capacity)
        for ours, theirs in zip(self.keys + self.values, other.keys + other.values, strict=True):
            theirs[:, :, :length] = ours[:, :, :length]
        other.length = length
        return other

    def _empty(self, batch: int, capacity: int) -> KeyValueCache:
        """Return a cache without entries, otherwise like this one."""
        _, kv_heads, _, head_dim = self.keys[0].shape
        return KeyValueCache(
            len(self.keys),
            batch=batch,
            kv_heads=kv_heads,
            capacity=capacity,
            head_dim=head_dim,
            dtype=self.keys[0].dtype,
            device=self.keys[0].device,
        )


def causal_behind(length: int, count: int, device: torch.device) -> Tensor | None:
    """Return what `count` tokens behind `length` entries attend to, bool [1, 1, count, length + count].

    All that is before them and themselves; None for a single one, which attends to all.
    """
    if count == 1:
        return None
    entries = torch.arange(length + count, device=device)
    return (entries <= entries[length:, None])[None, None]
