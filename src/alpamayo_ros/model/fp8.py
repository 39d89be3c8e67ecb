"""Weights of the text layers in FP8 (E4M3): half of bfloat16's bytes, and not the same plans.

Each output row of a weight has a scale of its own, each token's activations one too; products are those of
the GPU's FP8 units and come out in bfloat16. Embeddings, the vocabulary's product, norms, vision and the
action projections keep their dtype. `Quantiser(emulated=True)` rounds the same values and multiplies them in
float32: what FP8 does to plans can so be seen on any machine, slowly.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from alpamayo_ros.types import InvalidInput

Product: TypeAlias = Callable[[Tensor], Tensor]
"""x [rows, in] -> [rows, out]."""

FP8 = torch.float8_e4m3fn
_LARGEST = 448.0
"""The largest finite E4M3 number (OCP 8-bit floating point specification, revision 1.0)."""
_LEAST_CAPABILITY = (8, 9)
_BLOCK = 16
"""The GPU's products want lengths in multiples of this."""


class Quantiser:
    """Makes FP8 products of weights, on a device.

    Args:
        device: where they go.
        emulated: float32 products of the rounded values, on any device.

    Raises:
        InvalidInput: for a device without FP8 products, unless emulated.
    """

    def __init__(self, device: torch.device, *, emulated: bool = False) -> None:
        if not emulated:
            _require_fp8(device)
        self.device = device
        self._emulated = emulated

    def product(self, weight: Tensor) -> Product:
        """Return the product with a weight [out, in], which is not held any longer.

        Raises:
            InvalidInput: for lengths that the GPU does not take.
        """
        if not self._emulated and (weight.shape[0] % _BLOCK or weight.shape[1] % _BLOCK):
            raise InvalidInput(f"FP8: expected weights in multiples of {_BLOCK}, got {list(weight.shape)}")
        values, scale = quantised(weight.to(self.device))
        per_row = scale.t()
        if self._emulated:
            exact = values.float() * scale

            def emulated(x: Tensor) -> Tensor:
                rounded, of_token = quantised(x)
                # Not by autocast: it would round once more.
                with torch.autocast(x.device.type, enabled=False):
                    return ((rounded.float() * of_token) @ exact.t()).to(x.dtype)

            return emulated
        columns, one = values.t(), torch.ones((), device=self.device)

        def product(x: Tensor) -> Tensor:
            rounded, of_token = quantised(x)
            made = torch._scaled_mm(rounded, columns, scale_a=one, scale_b=one, out_dtype=torch.bfloat16)
            return (made.float() * of_token * per_row).to(torch.bfloat16)

        return product


def quantised(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return FP8 values [rows, n] and scales float32 [rows, 1] whose product is nearest to x [rows, n]."""
    wide = x.float()
    scale = (wide.abs().amax(dim=-1, keepdim=True) / _LARGEST).clamp_min(torch.finfo(torch.float32).tiny)
    return (wide / scale).clamp(-_LARGEST, _LARGEST).to(FP8), scale


def _require_fp8(device: torch.device) -> None:
    if device.type != "cuda":
        raise InvalidInput(f"fp8: expected a CUDA GPU of compute capability 8.9 or more, got {device.type}")
    capability = torch.cuda.get_device_capability(device)
    if capability < _LEAST_CAPABILITY:
        name, found = torch.cuda.get_device_name(device), ".".join(map(str, capability))
        raise InvalidInput(f"fp8: expected a GPU of compute capability 8.9 or more, got {name} with {found}")
