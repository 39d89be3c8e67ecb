"""Low-rank adapters (Hu et al., "LoRA", arXiv 2106.09685): W·x + (alpha / rank)·B·A·x with W frozen.

B starts at zero, so an adapter changes nothing until it is trained; `merge` adds B·A to W and takes the
adapter away again, which leaves a plain network to export.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from alpamayo_ros.types import InvalidInput


class LoraLinear(nn.Module):
    """A linear layer with an adapter beside it.

    Args:
        base: the layer; frozen.
        rank: columns of the adapter.
        alpha: its scale is alpha / rank.
        generator: for A's start, uniform as nn.Linear's own.
    """

    def __init__(self, base: nn.Linear, *, rank: int, alpha: float, generator: torch.Generator) -> None:
        super().__init__()
        device = base.weight.device
        self.base = base.requires_grad_(False)
        self.scale = alpha / rank
        bound = 1 / math.sqrt(base.in_features)
        start = torch.empty(rank, base.in_features).uniform_(-bound, bound, generator=generator)
        # float32 whatever the base is: steps of an adapter are below bfloat16's resolution.
        self.lora_a = nn.Parameter(start.to(device))
        self.lora_b = nn.Parameter(torch.zeros(base.out_features, rank, device=device))

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., in] to [..., out]."""
        base: Tensor = self.base(x)
        low = nn.functional.linear(x.to(self.lora_a.dtype), self.lora_a)
        return base + (self.scale * nn.functional.linear(low, self.lora_b)).to(base.dtype)

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """Return the base layer with the adapter added to its weight."""
        weight = self.base.weight
        weight.copy_((weight.float() + self.scale * (self.lora_b @ self.lora_a)).to(weight.dtype))
        return self.base


def inject(root: nn.Module, prefixes: Sequence[str], *, rank: int, alpha: float, seed: int) -> list[str]:
    """Give every linear layer under the given prefixes of `root` an adapter; return the layers' names.

    Raises:
        InvalidInput: for a rank below 1, an alpha that is not positive, or prefixes without a linear layer.
    """
    if rank < 1:
        raise InvalidInput(f"lora rank: expected at least 1, got {rank}")
    if not alpha > 0:
        raise InvalidInput(f"lora alpha: expected a positive number, got {alpha}")
    names = [
        name
        for name, module in root.named_modules()
        if isinstance(module, nn.Linear) and any(name.startswith(prefix) for prefix in prefixes)
    ]
    if not names:
        raise InvalidInput(f"lora: expected linear layers under {', '.join(prefixes)}, got none")
    generator = torch.Generator().manual_seed(seed)
    for name in names:
        base = root.get_submodule(name)
        assert isinstance(base, nn.Linear)
        _replace(root, name, LoraLinear(base, rank=rank, alpha=alpha, generator=generator))
    return names


def merge(root: nn.Module) -> int:
    """Put every adapter of `root` into its layer's weight; return how many there were."""
    found = [(name, module) for name, module in root.named_modules() if isinstance(module, LoraLinear)]
    for name, module in found:
        _replace(root, name, module.merged())
    return len(found)


def _replace(root: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(root.get_submodule(parent), child, module)
