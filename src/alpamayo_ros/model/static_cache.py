"""Key-value caches at fixed addresses, and writes to a place that a tensor names.

A captured graph knows its cache by address. So caches are lent from a pool: a plan gets the buffers that the
plan before had, once nobody holds that plan's cache any more. Buffers are made with zeros: what lies behind
the valid entries is read and weighed with zero, which must not be a NaN.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable

import torch
from torch import Tensor

from alpamayo_ros.model.kv_cache import KeyValueCache

BLOCK = 256
"""Capacities are multiples of this."""
SLACK = 64
"""Entries beyond what was asked for: tails are padded."""
_MOST_SLOTS = 6

_log = logging.getLogger(__name__)


class IndexedWrites:
    """A view of a cache for layers: writes at `index` int64 [L], reads the first `entries`."""

    def __init__(self, cache: KeyValueCache, index: Tensor, *, entries: int) -> None:
        self._cache, self._index, self._entries = cache, index, entries

    def update(self, keys: Tensor, values: Tensor, layer: int, /) -> tuple[Tensor, Tensor]:
        """Write [batch, kv_heads, L, head_dim] of a layer; return the keys and values that are read."""
        held_keys, held_values = self._cache.keys[layer], self._cache.values[layer]
        held_keys.index_copy_(2, self._index, keys.to(held_keys.dtype))
        held_values.index_copy_(2, self._index, values.to(held_values.dtype))
        return held_keys[:, :, : self._entries], held_values[:, :, : self._entries]


class PooledCache(KeyValueCache):
    """A cache in lent buffers; `slot` names them, in one pool for ever, never another's."""

    def __init__(self, pool: CachePool, slot: int, keys: list[Tensor], values: list[Tensor]) -> None:
        self.keys, self.values, self.length = keys, values, 0
        self.slot = slot
        self._pool = pool

    def _empty(self, batch: int, capacity: int) -> KeyValueCache:
        return self._pool.take(batch, capacity)


class _Slot:
    def __init__(self, number: int, keys: list[Tensor], values: list[Tensor]) -> None:
        self.number, self.keys, self.values = number, keys, values
        self.lent: weakref.ref[PooledCache] | None = None

    @property
    def free(self) -> bool:
        return self.lent is None or self.lent() is None

    @property
    def batch(self) -> int:
        return int(self.keys[0].shape[0])

    @property
    def capacity(self) -> int:
        return int(self.keys[0].shape[2])


class CachePool:
    """Lends caches.

    Args:
        make: an empty cache of (batch, capacity).
        forget: is told of a slot whose buffers go.
    """

    def __init__(
        self, make: Callable[[int, int], KeyValueCache], *, forget: Callable[[int], None] = lambda slot: None
    ) -> None:
        self._make, self._forget = make, forget
        self._slots: list[_Slot] = []
        self._numbers = 0
        self._closed = False

    def take(self, batch: int, capacity: int) -> KeyValueCache:
        """Return an empty cache of `batch` rows and room for `capacity` entries or more.

        Its entries are those of the last one to have had it. Where too many are lent at once, or after
        `close`, it is one of its own, as large as asked.
        """
        if self._closed:
            return self._make(batch, capacity)
        for slot in self._slots:
            if slot.free and slot.batch == batch and slot.capacity >= capacity:
                return self._lend(slot)
        for slot in [slot for slot in self._slots if slot.free and slot.batch == batch]:
            self._drop(slot)  # too small
        while len(self._slots) >= _MOST_SLOTS:
            unused = next((slot for slot in self._slots if slot.free), None)
            if unused is None:
                return self._make(batch, capacity)
            self._drop(unused)
        rounded = -(-(capacity + SLACK) // BLOCK) * BLOCK
        try:
            with torch.inference_mode(False):
                made = self._make(batch, rounded)
                for buffer in (*made.keys, *made.values):
                    buffer.zero_()
        except torch.OutOfMemoryError as error:
            _log.warning("no room for fixed caches, plans take longer and stay the same: %s", _first(error))
            self.close()
            return self._make(batch, capacity)
        self._numbers += 1
        slot = _Slot(self._numbers, made.keys, made.values)
        self._slots.append(slot)
        return self._lend(slot)

    def close(self) -> None:
        """Lend no more, and let go of all buffers that nobody holds."""
        self._closed = True
        for slot in list(self._slots):
            self._drop(slot)

    def lends(self, cache: KeyValueCache) -> bool:
        """Return whether a cache is in buffers that stay where they are."""
        return isinstance(cache, PooledCache) and not self._closed

    @property
    def held_bytes(self) -> int:
        """Size of all buffers."""
        return sum(buffer.nbytes for slot in self._slots for buffer in (*slot.keys, *slot.values))

    def _lend(self, slot: _Slot) -> PooledCache:
        cache = PooledCache(self, slot.number, slot.keys, slot.values)
        slot.lent = weakref.ref(cache)
        return cache

    def _drop(self, slot: _Slot) -> None:
        self._slots.remove(slot)
        self._forget(slot.number)


def _first(error: Exception) -> str:
    return str(error).splitlines()[0]
