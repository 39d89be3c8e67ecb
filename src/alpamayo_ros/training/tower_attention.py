"""Attention over many images of one size at once.

transformers attends image by image where images lie end to end; of small images, forward and backward of a
hundred little calls a layer cost half of a step. Images of one size are a batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def attend_in_batches(tower: nn.Module, *, patches: int) -> None:
    """Have a Qwen3-VL vision tower take only images of `patches` patches each, and attend to all at once."""
    blocks: Any = tower.blocks
    for block in blocks:
        block.attn.forward = partial(_attend, block.attn, patches)


@contextmanager
def attending_in_batches(tower: nn.Module, *, patches: int) -> Iterator[None]:
    """Do so within the context; afterwards the tower takes any images again."""
    attend_in_batches(tower, patches=patches)
    try:
        yield
    finally:
        blocks: Any = tower.blocks
        for block in blocks:
            del block.attn.forward


def _attend(
    attention: Any,
    patches: int,
    hidden: Tensor,
    *_: Any,
    position_embeddings: tuple[Tensor, Tensor],
    **__: Any,
) -> Tensor:
    """Return attention's output [N, width]; further arguments are what transformers passes its own."""
    heads = attention.num_heads
    queries, keys, values = attention.qkv(hidden).unflatten(-1, (3, heads, -1)).unbind(1)
    cos, sin = (part[:, None].to(torch.float32) for part in position_embeddings)
    queries = _rotated(queries.float(), cos, sin).to(values.dtype)
    keys = _rotated(keys.float(), cos, sin).to(values.dtype)
    queries, keys, values = (
        part.unflatten(0, (-1, patches)).transpose(1, 2) for part in (queries, keys, values)
    )
    # Written out: on a CPU the fused kernel's backward is slower than its parts where images are small.
    scores = (queries @ keys.transpose(-1, -2)) * queries.shape[-1] ** -0.5
    output = F.softmax(scores.float(), dim=-1).to(values.dtype) @ values
    projected: Tensor = attention.proj(output.transpose(1, 2).flatten(0, 1).flatten(1))
    return projected


def _rotated(states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn states [N, heads, d] by the rotary embedding (RoFormer, arXiv 2104.09864), halves paired."""
    first, second = states.chunk(2, dim=-1)
    return states * cos + torch.cat((-second, first), dim=-1) * sin
