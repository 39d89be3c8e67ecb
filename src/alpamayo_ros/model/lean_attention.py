"""Attention of grouped queries, by the fastest exact way for a device and a shape.

PyTorch's kernel is the rule on a GPU. On a CPU many queries at once are faster as plain products with a
softmax between them: where oneDNN is faster than BLAS, which the kernel calls, and everywhere over thousands
of entries, which the kernel walks through once for each head of a group.
attention_calibration.py measures the ways and makes a choice for each phase of a plan.

Keys and values are never expanded to the queries' heads unless a choice says so: queries that share a head
are laid one behind the other as more queries of that head ("rows"), which is the same sums by definition and
goes with any mask and any kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from alpamayo_ros.types import InvalidInput

LinearFunction: TypeAlias = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""(x [rows, in], weight [out, in], bias [out] or None) -> [rows, out]."""
Phase: TypeAlias = Literal["prefill", "decode", "verify", "denoise"]
"""The prompt; one token; several tokens behind it; the expert's 64."""

PHASES: tuple[Phase, ...] = ("prefill", "decode", "verify", "denoise")
RULE = "rule"
LAYOUTS = ("gqa", "rows", "expanded")
KERNELS = ("", "flash", "efficient", "cudnn")
OWN_WAYS = ("products", "matmul")

_LEAST_QUERIES = 32
"""Fewer are faster by PyTorch's kernel (measured: 16 queries over 424 keys take 77 us by it, 104 by ours)."""
_CAUSAL_BLOCK = 192
"""Queries whose keys are cut at the last one's: most of what causality hides is not computed."""
_MASKED_BLOCK = 512
"""The same for PyTorch's kernel, which computes on a CPU what a mask hides."""
_MANY_ENTRIES = 1024
"""From so many on it pays on a CPU to leave PyTorch's kernel (two threads, 8 heads of 128 in 2 groups, 64
queries over 3104 entries: 13.4 ms grouped by it, 7.1 as rows, 5.4 by products)."""


@dataclass(frozen=True)
class AttentionChoice:
    """Which way is taken in which phase.

    A way is "rule"; "products" (oneDNN's, float32 on a CPU, without a mask); "matmul" (batched products with
    a softmax in float32 between them); or LAYOUT or LAYOUT/KERNEL of PyTorch's kernel: "gqa" (grouped by the
    kernel), "rows", "expanded", each by "flash", "efficient" or "cudnn", or by PyTorch's own choice.

    Raises:
        InvalidInput: for another way.
    """

    prefill: str = RULE
    decode: str = RULE
    verify: str = RULE
    denoise: str = RULE

    def __post_init__(self) -> None:
        for phase in PHASES:
            way = self.way(phase)
            layout, _, kernel = way.partition("/")
            if not (way in (RULE, *OWN_WAYS) or (layout in LAYOUTS and kernel in KERNELS)):
                raise InvalidInput(
                    f"attention of {phase}: expected {RULE}, {', '.join(OWN_WAYS)} or one of "
                    f"{', '.join(LAYOUTS)} with /{', /'.join(KERNELS[1:])} or nothing, got {way!r}"
                )

    def way(self, phase: Phase) -> str:
        """Return the way of a phase."""
        return str(getattr(self, phase))


def attend(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    *,
    mask: Tensor | None = None,
    causal: bool = False,
    product: LinearFunction | None = None,
    way: str = RULE,
) -> Tensor:
    """Return what queries [B, heads, L, head_dim] read, same shape.

    Args:
        query: of `heads` heads.
        keys: [B, kv_heads, entries, head_dim]; each serves heads / kv_heads neighbouring heads.
        values: like `keys`.
        mask: bool [B or 1, 1, L or 1, entries], True where attended; None hides nothing.
        causal: the last query reads all entries, each one before it one less; without a mask.
        product: oneDNN's product where that is faster than PyTorch's kernel, or None.
        way: see AttentionChoice. One that cannot do what is asked for gives way to the rule's ("products"
            with a mask) or to "gqa" (the others where causal).
    """
    share, behind = query.shape[1] // keys.shape[1], keys.shape[2] - query.shape[2]
    layout, _, kernel = way.partition("/")
    if way == RULE or (way == "products" and (product is None or mask is not None)):
        layout = _rule(query, keys, masked=mask is not None, causal=causal, product=product)
    if layout == "products":
        product = functional.linear if product is None else product
        return _by_products(query, keys, values, causal=causal, product=product)
    if causal and behind:
        # PyTorch's own causal mask begins with the first entry.
        if query.device.type == "cpu" and query.shape[2] > _MASKED_BLOCK:
            return _by_blocks(query, keys, values, way=way, product=product)
        places = torch.arange(keys.shape[2], device=query.device)
        mask, causal = (places <= places[behind:, None])[None, None], False
    if layout == "matmul" and not causal:
        return _by_matmul(query, keys, values, mask=mask)
    if share > 1 and layout == "expanded":
        keys, values = keys.repeat_interleave(share, 1), values.repeat_interleave(share, 1)
        share = 1
    with _kernel(kernel):
        if share > 1 and layout == "rows" and not causal:
            return _by_rows(query, keys, values, mask=mask)
        if mask is not None:
            mask = mask.expand(-1, -1, query.shape[2], -1)
        return functional.scaled_dot_product_attention(
            query, keys, values, attn_mask=mask, is_causal=causal, enable_gqa=share > 1
        )


def _rule(query: Tensor, keys: Tensor, *, masked: bool, causal: bool, product: LinearFunction | None) -> str:
    count, share = query.shape[2], query.shape[1] // keys.shape[1]
    if query.device.type == "cuda":
        # Its kernels take a mask or groups; given both, all scores are written out.
        return "rows" if masked and share > 1 else "gqa"
    if product is not None and not masked and count >= _LEAST_QUERIES:
        return "products"
    if causal or share == 1:
        return "gqa"
    if keys.shape[2] < _MANY_ENTRIES or query.dtype != torch.float32:
        return "gqa"
    if count >= _LEAST_QUERIES:
        return "rows" if masked else "products"
    return "matmul" if count > 1 else "rows"


def _by_blocks(
    query: Tensor, keys: Tensor, values: Tensor, *, way: str, product: LinearFunction | None
) -> Tensor:
    """Return what causal queries behind other entries read, block by block over the entries that it sees."""
    count = query.shape[2]
    behind, out = keys.shape[2] - count, torch.empty_like(query)
    for first in range(0, count, _MASKED_BLOCK):
        end = min(first + _MASKED_BLOCK, count)
        seen = behind + end
        out[:, :, first:end] = attend(
            query[:, :, first:end],
            keys[:, :, :seen],
            values[:, :, :seen],
            causal=True,
            product=product,
            way=way,
        )
    return out


def _kernel(name: str) -> AbstractContextManager[object]:
    if not name:
        return nullcontext()
    from torch.nn.attention import SDPBackend, sdpa_kernel

    backends = {
        "flash": SDPBackend.FLASH_ATTENTION,
        "efficient": SDPBackend.EFFICIENT_ATTENTION,
        "cudnn": SDPBackend.CUDNN_ATTENTION,
    }
    context: AbstractContextManager[object] = sdpa_kernel(backends[name])
    return context


def _grouped(query: Tensor, groups: int, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Return queries [B, groups, share * L, head_dim] and their mask [B or 1, 1, share * L or 1, entries]."""
    batch, heads, count, dim = query.shape
    share = heads // groups
    if mask is not None and mask.shape[2] > 1:
        mask = mask[:, :, None].expand(-1, -1, share, -1, -1).flatten(2, 3)
    return query.reshape(batch, groups, share * count, dim), mask


def _by_rows(query: Tensor, keys: Tensor, values: Tensor, *, mask: Tensor | None) -> Tensor:
    grouped, mask = _grouped(query, keys.shape[1], mask)
    if mask is not None:
        mask = mask.expand(-1, -1, grouped.shape[2], -1)
    read = functional.scaled_dot_product_attention(grouped, keys, values, attn_mask=mask)
    return read.reshape(query.shape)


def _by_matmul(query: Tensor, keys: Tensor, values: Tensor, *, mask: Tensor | None) -> Tensor:
    grouped, mask = _grouped(query * query.shape[-1] ** -0.5, keys.shape[1], mask)
    scores = (grouped @ keys.transpose(-1, -2)).float()
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    read = scores.softmax(dim=-1).to(values.dtype) @ values
    return read.reshape(query.shape)


def _by_products(
    query: Tensor, keys: Tensor, values: Tensor, *, causal: bool, product: LinearFunction
) -> Tensor:
    batch, heads, count, dim = query.shape
    groups, behind = keys.shape[1], keys.shape[2] - count
    scaled = (query * dim**-0.5).view(batch, groups, heads // groups, count, dim)
    out = torch.empty_like(scaled, memory_format=torch.contiguous_format)
    block = _CAUSAL_BLOCK if causal else count
    for first in range(0, count, block):
        end = min(first + block, count)
        seen = behind + end if causal else keys.shape[2]
        if causal:
            places = torch.arange(seen, device=query.device)
            hidden = places > places[behind + first :, None]
        for row in range(batch):
            for group in range(groups):
                rows = scaled[row, group, :, first:end].reshape(-1, dim)
                scores = product(rows, keys[row, group, :seen], None)
                if causal:
                    scores.view(-1, end - first, seen).masked_fill_(hidden, -torch.inf)
                read = product(scores.softmax(dim=-1), values[row, group, :seen].t(), None)
                out[row, group, :, first:end] = read.view(-1, end - first, dim)
    return out.view(batch, heads, count, dim)
