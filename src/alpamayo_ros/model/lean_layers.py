"""The text layers of backbone and expert without the library's modules around them.

The same operations in the same order as transformers' Qwen3-VL layers, so results differ by the rounding of
matrix products alone. What is saved is everything beside the arithmetic: on a CPU, a small model spends more
time in Python and in launching tiny operations than in computing.

- Query, key and value are one product, gate and up are one. Their weights are laid side by side *in place*:
  the modules' own parameters become views of the fused ones, so nothing is held twice and training steps,
  state dicts and checkpoints see what they saw before.
- Query and key are normed and rotated together. Turning a half is a roll, its sign is in the sine.
- Grouped queries attend without expanding keys and values, where the device has a kernel for that.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from alpamayo_ros.model.fp8 import Product, Quantiser
from alpamayo_ros.model.lean_attention import AttentionChoice, LinearFunction, Phase, attend
from alpamayo_ros.model.network import CacheLike

Rotation: TypeAlias = tuple[Tensor, Tensor]
"""Cosine and signed sine, [B or 1, L, 1, head_dim]."""


class CannotBeLean(ValueError):
    """A network whose layers are not those that are known here."""


@dataclass(frozen=True, eq=False)
class _Layer:
    qkv: Product
    out: Product
    gate_up: Product
    down: Product
    input_norm: Tensor
    qk_norm: Tensor
    mlp_norm: Tensor


class LeanLayers:
    """A text model's layers and its last norm.

    Args:
        model: a Qwen3VLTextModel; its projections' parameters are made views of fused ones.
        config: its text config.
        linear: see `linear_function`.
        attention: which way is taken in which phase; None is the rule's.
        quantiser: puts the projections into FP8, whose modules are left without weights; None keeps them.

    Raises:
        CannotBeLean: for layers with biases or another activation, or that are not plain Qwen3-VL layers.
    """

    def __init__(
        self,
        model: nn.Module,
        config: Any,
        linear: LinearFunction,
        *,
        attention: AttentionChoice | None = None,
        quantiser: Quantiser | None = None,
    ) -> None:
        if config.hidden_act != "silu":
            raise CannotBeLean(f"hidden_act: expected silu, got {config.hidden_act}")
        self._heads = int(config.num_attention_heads)
        self._kv_heads = int(config.num_key_value_heads)
        self._head_dim = int(config.head_dim)
        self._eps = float(config.rms_norm_eps)
        self._linear = linear
        self._product = None if linear is functional.linear else linear
        self._attention = attention or AttentionChoice()
        self._quantiser = quantiser
        modules: Any = model.layers
        for layer in modules:
            _check(layer)
        self._layers = [self._taken(layer) for layer in modules]
        final: Any = model.norm
        self._final_norm: Tensor = final.weight

    def __len__(self) -> int:
        return len(self._layers)

    def through(
        self,
        hidden: Tensor,
        index: int,
        rotation: Rotation,
        cache: CacheLike,
        *,
        phase: Phase,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Return hidden states [B, L, hidden] behind layer `index`; keys and values go to the cache.

        Args:
            hidden: [B, L, hidden].
            index: of the layer.
            rotation: of the L tokens.
            cache: written to, not advanced.
            phase: what reads. "prefill" attends to no later token, without a mask.
            mask: bool [B or 1, 1, L or 1, entries], True where attended; None is all that the cache gives.
        """
        batch, length, width = hidden.shape
        layer, flat = self._layers[index], hidden.view(-1, width)
        query, keys, values = self._projected(flat, layer, rotation, (batch, length), cache, index)
        attended = self._attended(query, keys, values, mask=mask, phase=phase)
        return self._rest(flat, attended, layer).view(batch, length, width)

    def last_through(
        self,
        hidden: Tensor,
        index: int,
        rotation: Rotation,
        cache: CacheLike,
        *,
        last: Tensor | None = None,
    ) -> Tensor:
        """Return what `through` gives in a prompt for the last token alone, [B, 1, hidden].

        Of the last layer nobody needs more; keys and values of all tokens go to the cache all the same.
        `last` int64 [1] says which token it is where others follow, which it does not attend to.
        """
        batch, length, width = hidden.shape
        layer = self._layers[index]
        query, keys, values = self._projected(
            hidden.view(-1, width), layer, rotation, (batch, length), cache, index
        )
        if last is None:
            query, left, mask = query[:, :, -1:], hidden[:, -1], None
        else:
            query, left = query.index_select(2, last), hidden.index_select(1, last)[:, 0]
            entries = keys.shape[2]
            mask = (torch.arange(entries, device=last.device) <= last + (entries - length))[None, None, None]
        attended = self._attended(query, keys, values, mask=mask, phase="decode")
        return self._rest(left, attended, layer).view(batch, 1, width)

    def normed(self, hidden: Tensor) -> Tensor:
        """Return the model's last norm of hidden states."""
        return self._normed(hidden, self._final_norm)

    def _projected(
        self,
        flat: Tensor,
        layer: _Layer,
        rotation: Rotation,
        shape: tuple[int, int],
        cache: CacheLike,
        index: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        heads, rotated = self._heads, self._heads + self._kv_heads
        projected = layer.qkv(self._normed(flat, layer.input_norm))
        projected = projected.view(*shape, rotated + self._kv_heads, self._head_dim)
        query_key = rotate(self._normed(projected[:, :, :rotated], layer.qk_norm), rotation)
        keys, values = cache.update(
            query_key[:, :, heads:].transpose(1, 2), projected[:, :, rotated:].transpose(1, 2), index
        )
        return query_key[:, :, :heads].transpose(1, 2), keys, values

    def _attended(
        self, query: Tensor, keys: Tensor, values: Tensor, *, mask: Tensor | None, phase: Phase
    ) -> Tensor:
        attended = attend(
            query,
            keys,
            values,
            mask=mask,
            causal=phase == "prefill",
            product=self._product,
            way=self._attention.way(phase),
        )
        return attended.transpose(1, 2).reshape(-1, self._heads * self._head_dim)

    def _rest(self, flat: Tensor, attended: Tensor, layer: _Layer) -> Tensor:
        flat = flat + layer.out(attended)
        gate, up = layer.gate_up(self._normed(flat, layer.mlp_norm)).chunk(2, dim=-1)
        return flat + layer.down(functional.silu(gate) * up)

    def _normed(self, x: Tensor, weight: Tensor) -> Tensor:
        wide = x.float()
        scale = wide.pow(2).mean(-1, keepdim=True).add_(self._eps).rsqrt_()
        return (wide * scale).to(x.dtype) * weight

    def _taken(self, layer: Any) -> _Layer:
        attention, mlp = layer.self_attn, layer.mlp
        per_head = [attention.q_norm.weight.expand(self._heads, -1)]
        per_head.append(attention.k_norm.weight.expand(self._kv_heads, -1))
        return _Layer(
            qkv=self._product_of([attention.q_proj, attention.k_proj, attention.v_proj]),
            out=self._product_of([attention.o_proj]),
            gate_up=self._product_of([mlp.gate_proj, mlp.up_proj]),
            down=self._product_of([mlp.down_proj]),
            input_norm=layer.input_layernorm.weight,
            qk_norm=self._placed(torch.cat(per_head).detach()),
            mlp_norm=layer.post_attention_layernorm.weight,
        )

    def _product_of(self, linears: Sequence[nn.Linear]) -> Product:
        if self._quantiser is not None:
            product = self._quantiser.product(torch.cat([linear.weight.detach() for linear in linears]))
            for module in linears:
                module.weight.data = module.weight.data.new_empty(0)  # held once, in FP8
            return product
        # A single one's parameter itself, so that another tensor in its place is seen.
        weight = fused(linears) if len(linears) > 1 else linears[0].weight
        by = self._linear
        return lambda x: by(x, weight, None)

    def _placed(self, tensor: Tensor) -> Tensor:
        return tensor if self._quantiser is None else tensor.to(self._quantiser.device)


def fused(linears: Sequence[nn.Linear]) -> Tensor:
    """Lay the weights [out_i, in] below each other; the modules' parameters become views of the result.

    Weights that lie so already stay where they are.
    """
    there = _as_fused(linears)
    if there is not None:
        return there
    whole = torch.cat([linear.weight.detach() for linear in linears])
    row = 0
    for linear in linears:
        end = row + linear.weight.shape[0]
        linear.weight.data = whole[row:end]
        row = end
    return whole


def _as_fused(linears: Sequence[nn.Linear]) -> Tensor | None:
    first = linears[0].weight.detach()
    rows, expected = 0, first.data_ptr()
    for linear in linears:
        weight = linear.weight
        if weight.data_ptr() != expected or not weight.is_contiguous():
            return None
        rows += weight.shape[0]
        expected += weight.nbytes
    shared = {linear.weight.untyped_storage().data_ptr() for linear in linears}
    return first.as_strided((rows, first.shape[1]), (first.shape[1], 1)) if len(shared) == 1 else None


def rotate(x: Tensor, rotation: Rotation) -> Tensor:
    """Turn [B, L, heads, head_dim] by rotary angles: x · cos + (−x₂, x₁) · sin."""
    cos, signed_sin = rotation
    turned = x.roll(x.shape[-1] // 2, dims=-1)
    return x * cos + turned * signed_sin


def rotation_of(cos: Tensor, sin: Tensor) -> Rotation:
    """Return what `rotate` takes of the library's cosine and sine, [B or 1, L, head_dim]."""
    half = sin.shape[-1] // 2
    signed = torch.cat((-sin[..., :half], sin[..., half:]), dim=-1)
    return cos.unsqueeze(-2), signed.unsqueeze(-2)


def linear_function(device: torch.device, dtype: torch.dtype) -> LinearFunction:
    """Return the fastest exact product of rows with a weight.

    In float32 on a CPU that is oneDNN's where BLAS doesn't know the processor and runs at half its width: it
    is measured once a process. A single row is a matrix-vector product, which BLAS does best.
    """
    if device.type != "cpu" or dtype != torch.float32 or not _onednn_is_faster():
        return functional.linear

    def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if x.shape[0] == 1:
            return functional.linear(x, weight, bias)
        return _by_onednn(x, weight, bias)

    return linear


def products_name(device: torch.device, dtype: torch.dtype) -> str:
    """Return whose products `linear_function` takes: they round differently."""
    return "torch" if linear_function(device, dtype) is functional.linear else "onednn"


def _by_onednn(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    result: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return result


_CLEARLY = 0.8
"""oneDNN's time over BLAS's below which it is taken. That is about 0.5 where BLAS runs at half width (MKL on
AMD's processors) and 1.1 where it doesn't (on Intel's): far from both, so that all processes round alike."""
_TRIALS = 7


@functools.lru_cache(maxsize=1)
@torch.inference_mode()
def _onednn_is_faster() -> bool:
    if not _has_onednn():
        return False
    x, weight = torch.ones(256, 512), torch.ones(512, 512)
    products: tuple[LinearFunction, ...] = (functional.linear, _by_onednn)
    least_s = [math.inf, math.inf]
    for _ in range(_TRIALS + 1):  # the first is a warm-up, and the least of all forgets it
        for which, product in enumerate(products):
            start_s = time.perf_counter()
            product(x, weight, None)
            least_s[which] = min(least_s[which], time.perf_counter() - start_s)
    return least_s[1] < _CLEARLY * least_s[0]


def _has_onednn() -> bool:
    if not torch.backends.mkldnn.is_available():
        return False
    x = torch.arange(6, dtype=torch.float32).view(2, 3)
    try:
        made = _by_onednn(x, x, None)
    except (AttributeError, RuntimeError, NotImplementedError):
        return False
    return bool(torch.equal(made, x @ x.T))


def _check(layer: Any) -> None:
    projections = [layer.self_attn, layer.mlp]
    found = [m for part in projections for m in part.modules() if isinstance(m, nn.Linear)]
    wanted = 7  # q, k, v, o, gate, up, down
    if len(found) != wanted or any(linear.bias is not None for linear in found):
        raise CannotBeLean(f"text layer: expected {wanted} projections without bias, got {found}")
    if any(type(linear) is not nn.Linear for linear in found):
        raise CannotBeLean(f"text layer: expected plain projections, got {[type(m) for m in found]}")
