"""Memory of the GPU that a model computes on."""

from __future__ import annotations

from collections.abc import Mapping

import torch

_MIB = 2**20


def gpu_memory_mib(device: torch.device) -> Mapping[str, float]:
    """Return what tensors hold, what torch has reserved, and the most that tensors have held, in MiB."""
    return {
        "gpu_allocated_mib": torch.cuda.memory_allocated(device) / _MIB,
        "gpu_reserved_mib": torch.cuda.memory_reserved(device) / _MIB,
        "gpu_peak_mib": torch.cuda.max_memory_allocated(device) / _MIB,
    }


def free_gpu_memory() -> None:
    """Give the memory back that torch keeps for later."""
    torch.cuda.empty_cache()
