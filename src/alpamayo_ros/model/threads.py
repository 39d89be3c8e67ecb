"""How many threads the model computes with on a CPU."""

from __future__ import annotations

import os


def default_cpu_threads() -> int:
    """Return half of the cores that this process may use, at least one.

    The other half decodes images and moves messages. Threads in excess do not merely queue: OpenMP's spin
    while they wait for one that was not given a core, and a plan takes ten times as long.
    """
    return max(1, len(os.sched_getaffinity(0)) // 2)


def use_cpu_threads(count: int) -> int:
    """Let PyTorch compute with `count` threads (0 for default_cpu_threads()) from now on; return how many.

    This holds for the whole process, so it is for applications to call, never for a library.
    """
    import torch

    count = count or default_cpu_threads()
    torch.set_num_threads(count)
    return count
