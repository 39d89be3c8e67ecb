"""How long each stage of a plan takes."""

from __future__ import annotations

import time

import torch

from alpamayo_ros.types import StageTimes


class Stopwatch:
    """Times stages; waits for a CUDA device only where a stage ends."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._laps: dict[str, float] = {}
        self._start = self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        """End a stage."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        now = time.perf_counter()
        self._laps[f"{stage}_ms"] = (now - self._last) * 1e3
        self._last = now

    def times(self, *, tokens: int) -> StageTimes:
        """Return the stages, and the total since the start."""
        total = (time.perf_counter() - self._start) * 1e3
        return StageTimes(**self._laps, total_ms=total, tokens=tokens)
