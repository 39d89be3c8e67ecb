"""What belongs together when intervals are drawn.

Plans half a second apart share nine tenths of the drive that they are held against, and the situation too: as
independent samples they would make every interval far too narrow. So stretches of a bag are drawn, each with
all of its plans; where there are many bags, whole bags.
"""

from __future__ import annotations

from collections.abc import Iterable

MANY_BAGS = 20
"""From so many bags on, bags are drawn."""
LEAST_BLOCKS = 5
"""Of fewer blocks no interval is given: the bootstrap of so few says little."""


def blocks_of(instants: Iterable[tuple[str, int]], *, block_s: float) -> dict[tuple[str, int], str]:
    """Return which block each (bag, t0_ns) belongs to.

    Args:
        instants: all that there are; a bag's first block begins with its first instant.
        block_s: length of a block; longer than the 6.4 s that two plans may share.
    """
    every = sorted(set(instants))
    first: dict[str, int] = {}
    for bag, t0_ns in every:
        first.setdefault(bag, t0_ns)
    if len(first) >= MANY_BAGS:
        return {(bag, t0_ns): bag for bag, t0_ns in every}
    length_ns = round(block_s * 1e9)
    return {(bag, t0_ns): f"{bag} {(t0_ns - first[bag]) // length_ns}" for bag, t0_ns in every}
