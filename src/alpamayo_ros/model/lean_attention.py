"""Attention of grouped queries, by the fastest exact way for a device and a shape.

PyTorch's kernel is the rule. On a CPU with oneDNN, many queries at once are faster as plain products with a
softmax between them: the kernel's own products are BLAS calls, which on some processors run at half width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

LinearFunction: TypeAlias = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""(x [rows, in], weight [out, in], bias [out] or None) -> [rows, out]."""

_LEAST_QUERIES = 32
"""Fewer are faster by PyTorch's kernel (measured: 16 queries over 424 keys take 77 us by it, 104 by ours)."""
_CAUSAL_BLOCK = 192
"""Queries whose keys are cut at the last one's: most of what causality hides is not computed."""


def attend(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    *,
    mask: Tensor | None = None,
    causal: bool = False,
    product: LinearFunction | None = None,
) -> Tensor:
    """Return what queries [B, heads, L, head_dim] read, same shape.

    Args:
        query: of `heads` heads.
        keys: [B, kv_heads, entries, head_dim]; each serves heads / kv_heads neighbouring heads.
        values: like `keys`.
        mask: bool [B or 1, 1, L, entries], True where attended; None hides nothing.
        causal: query i reads entries 0 ... i; without a mask, and with as many entries as queries.
        product: oneDNN's product where that is faster than PyTorch's kernel, or None.
    """
    if product is not None and mask is None and query.shape[2] >= _LEAST_QUERIES:
        return _by_products(query, keys, values, causal=causal, product=product)
    share = query.shape[1] // keys.shape[1]
    if share > 1 and mask is not None and query.device.type == "cuda":
        # CUDA's kernels take a mask or groups; given both, all scores are written out.
        keys, values = keys.repeat_interleave(share, 1), values.repeat_interleave(share, 1)
        share = 1
    return functional.scaled_dot_product_attention(
        query, keys, values, attn_mask=mask, is_causal=causal, enable_gqa=share > 1
    )


def _by_products(
    query: Tensor, keys: Tensor, values: Tensor, *, causal: bool, product: LinearFunction
) -> Tensor:
    batch, heads, count, dim = query.shape
    groups = keys.shape[1]
    scaled = (query * dim**-0.5).view(batch, groups, heads // groups, count, dim)
    out = torch.empty_like(scaled, memory_format=torch.contiguous_format)
    block = _CAUSAL_BLOCK if causal else count
    for first in range(0, count, block):
        end = min(first + block, count)
        seen = end if causal else keys.shape[2]
        if causal:
            places = torch.arange(seen, device=query.device)
            hidden = places > places[first:end, None]
        for row in range(batch):
            for group in range(groups):
                rows = scaled[row, group, :, first:end].reshape(-1, dim)
                scores = product(rows, keys[row, group, :seen], None)
                if causal:
                    scores.view(-1, end - first, seen).masked_fill_(hidden, -torch.inf)
                read = product(scores.softmax(dim=-1), values[row, group, :seen].t(), None)
                out[row, group, :, first:end] = read.view(-1, end - first, dim)
    return out.view(batch, heads, count, dim)
