"""Attention as plain matrix products, for training on a CPU: there PyTorch's fused kernel is the slow part.

Heads that share keys and values are rows of one product, so these are never repeated; a causal sequence goes
block by block, so half of the scores is never computed. In bfloat16 a whole training step is 1.6 times as
fast (`python -m benchmarks.training`); scores are rounded to what the products are computed in.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from alpamayo_ros.model.network import AlpamayoNetwork

_NAME = "alpamayo_grouped"
_BLOCK = 96


def attend_in_groups(network: AlpamayoNetwork) -> None:
    """Let the text layers and the expert of a network attend by `grouped_attention` from now on."""
    from transformers import AttentionInterface

    AttentionInterface.register(_NAME, _forward)
    for layer in (*network.vlm.model.language_model.layers, *network.expert.layers):
        layer.self_attn.config._attn_implementation = _NAME


def grouped_attention(
    query: Tensor, key: Tensor, value: Tensor, *, scaling: float, mask: Tensor | None = None
) -> Tensor:
    """Return [B, H, L, D], softmax(query · key · scaling) · value.

    Args:
        query: [B, H, L, D].
        key: [B, H / groups, S, D].
        value: as the keys.
        scaling: of the scores.
        mask: bool [B, 1, L, S], True where attended, the same for all L; None is causal, with S = L.
    """
    batch, shared, length = len(query), key.shape[1], query.shape[2]
    groups = query.shape[1] // shared
    rows = (query * scaling).unflatten(1, (shared, groups)).flatten(0, 1)  # [B · shared, groups, L, D]
    columns, values = key.flatten(0, 1).transpose(1, 2), value.flatten(0, 1)
    if mask is not None:
        bias = _bias(mask[:, :, :1], query.dtype).expand(-1, shared, -1, -1).flatten(0, 1)
        mixed = torch.baddbmm(bias, rows.flatten(1, 2), columns).softmax(dim=-1) @ values
        return mixed.unflatten(1, (groups, length)).unflatten(0, (batch, shared)).flatten(1, 2)
    blocks = []
    for begin in range(0, length, _BLOCK):
        end = min(length, begin + _BLOCK)
        seen = torch.ones(end - begin, end, dtype=torch.bool, device=query.device).tril(begin)
        bias = _bias(seen.repeat(groups, 1), query.dtype)
        scores = torch.baddbmm(bias[None], rows[:, :, begin:end].flatten(1, 2), columns[:, :, :end])
        mixed = scores.softmax(dim=-1) @ values[:, :end]
        blocks.append(mixed.unflatten(1, (groups, end - begin)))
    return torch.cat(blocks, dim=2).unflatten(0, (batch, shared)).flatten(1, 2)


def _bias(seen: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill(~seen, float("-inf"))


def _forward(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attend as transformers asks its attention functions to; returns [B, L, H, D]."""
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    # Under autocast the rotary embedding leaves float32, which the products would be computed in.
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else query.dtype
    query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
    simple = attention_mask is None or attention_mask.stride(2) == 0
    if simple and (attention_mask is not None or query.shape[2] == key.shape[2]):
        mixed = grouped_attention(query, key, value, scaling=scaling, mask=attention_mask)
    else:
        mixed = nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask=attention_mask, scale=scaling, enable_gqa=True
        )
    return mixed.transpose(1, 2).contiguous(), None
