"""Lengths that are padded to, so that few of them are captured."""

from __future__ import annotations

from alpamayo_ros.model.static_cache import BLOCK

_PROMPT_BLOCK = 64
_SHORT_TAILS = (1, 8)
_TAIL_BLOCK = 32


def prompt_bucket(length: int) -> int:
    """Return the tokens that a prompt of `length` is padded to."""
    return -(-length // _PROMPT_BLOCK) * _PROMPT_BLOCK


def tail_bucket(count: int) -> int:
    """Return the tokens that `count` behind a prompt are padded to."""
    for short in _SHORT_TAILS:
        if count <= short:
            return short
    return -(-count // _TAIL_BLOCK) * _TAIL_BLOCK


def entries_bucket(needed: int, capacity: int) -> int:
    """Return how many of a cache's entries are read where `needed` are."""
    return min(-(-needed // BLOCK) * BLOCK, capacity)
