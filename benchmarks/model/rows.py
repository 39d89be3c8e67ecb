"""The ways to plan that are measured side by side, and how."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from alpamayo_ros.model import Alpamayo
from alpamayo_ros.model.speed import SpeedOptions
from alpamayo_ros.types import Observation, PlanOptions, StageTimes
from benchmarks.model.baseline import Baseline

STAGES = ("preprocess", "vision", "prefill", "reasoning", "denoise")
TOLERANCE_M = 1e-3

_OFF: dict[str, Any] = {
    "lean": False,
    "vision_cache_images": 0,
    "prompt_reuse": False,
    "speculation": False,
    "graphs": "off",
    "attention": "rule",
    "read_ahead": False,
}
_TRICKS: dict[str, tuple[str, dict[str, Any]]] = {
    "none": ("ours, no trick", {}),
    "vision": ("+ vision cache", {"vision_cache_images": 256}),
    "prompt": ("+ prompt reuse", {"prompt_reuse": True}),
    "lean": ("+ lean layers", {"lean": True}),
    "speculation": ("+ speculation", {"speculation": True}),
    "attention": ("+ measured attention", {"attention": "measured"}),
    "graphs": ("+ CUDA graphs", {"graphs": "auto"}),
    "buffers": ("+ fixed buffers", {"graphs": "buffers"}),
    "arrival": ("+ encoded on arrival", {}),
    "ahead": ("+ start read ahead", {"read_ahead": True}),
}
TRICKS = tuple(_TRICKS)
"""Names of what may be switched on, in this order; the baseline is always there.

`arrival` is the planner node's `encode_on_arrival`: each frame is encoded when it comes, so that a plan of
the newest finds them encoded. That shortens the time from t0 to the plan and saves no work: what it took
beforehand is told beside the plan's time (`ahead_ms`). `ahead`, its `read_ahead`, also reads the start of the
prompt, up to the first camera's newest frame, before that frame is there.
"""

_Planned = tuple[Any, Any, StageTimes]


def usual_tricks(device: torch.device) -> tuple[str, ...]:
    """Return the rows that a device is measured by: all that is on there by default, one after the other."""
    extra = ("attention", "graphs") if device.type == "cuda" else ()
    return (*TRICKS[:5], *extra, "arrival", "ahead")


@dataclass
class Row:
    """One way to plan, and what came of it."""

    name: str
    plan: Callable[[Observation, PlanOptions], _Planned]
    model: Alpamayo | None = None
    arrive: Callable[[Observation], None] | None = None
    """What is done with an observation's frames before its plan is asked for."""
    times: list[StageTimes] = field(default_factory=list)
    processor_ms: list[float] = field(default_factory=list)
    ahead_ms: list[float] = field(default_factory=list)
    same_tokens: int = 0
    worst_m: float = 0.0
    peak_bytes: int = 0

    def summary(self) -> dict[str, Any]:
        """Return medians in ms, percentiles of the total, memory, and what was compared."""
        totals = np.array([t.total_ms for t in self.times])
        median = {s: float(np.median([getattr(t, f"{s}_ms") for t in self.times])) for s in STAGES}
        result: dict[str, Any] = {
            "name": self.name,
            "stages_ms": {name: round(ms, 2) for name, ms in median.items()},
            "median_ms": round(float(np.median(totals)), 2),
            "p90_ms": round(float(np.quantile(totals, 0.9)), 2),
            "p99_ms": round(float(np.quantile(totals, 0.99)), 2),
            "ahead_ms": round(float(np.median(self.ahead_ms)), 2),
            "processor_ms": round(float(np.median(self.processor_ms)), 2),
            "tokens": float(np.median([t.tokens for t in self.times])),
            "same_tokens": self.same_tokens,
            "worst_m": self.worst_m,
            "peak_gib": round(self.peak_bytes / 2**30, 2),
        }
        drafter = self.model._drafter if self.model is not None else None
        if drafter is not None:
            result["guessed"], result["right"] = drafter.guessed, drafter.right
        return result


def rows_of(opened: Any, action_space: Any, tricks: Sequence[str]) -> list[Row]:
    """Return the baseline and ours with each trick added to those before."""
    plain = Alpamayo(opened, action_space, speed=SpeedOptions.plain())
    rows = [Row("baseline", Baseline(plain).plan)]
    options = dict(_OFF)
    for trick in tricks:
        name, change = _TRICKS[trick]
        options |= change
        model = Alpamayo(opened, action_space, speed=SpeedOptions(**options))
        arrive = _arrival(model) if trick in ("arrival", "ahead") else None
        rows.append(Row(name, _planner(model), model, arrive))
    return rows


def _planner(model: Alpamayo) -> Callable[[Observation, PlanOptions], _Planned]:
    def plan(observation: Observation, options: PlanOptions) -> _Planned:
        made = model.plan(observation, options)
        return made.token_ids, made.xyz_in_rig_t0, made.times

    return plan


def _arrival(model: Alpamayo) -> Callable[[Observation], None]:
    def arrive(observation: Observation) -> None:
        model.read_ahead()  # of the frames before these; nothing without the trick
        stamps_ns = observation.frame_stamps_ns
        for camera, camera_id in enumerate(observation.camera_ids):
            for frame, stamp_ns in zip(observation.frames[camera], stamps_ns[camera], strict=True):
                model.encode_ahead(camera_id, int(stamp_ns), frame)
        if model.device.type == "cuda":
            torch.cuda.synchronize(model.device)

    return arrive


def measure(
    rows: list[Row],
    observations: Sequence[Observation],
    options: PlanOptions,
    *,
    warm_up: int,
    told: Callable[[int], None] = lambda tick: None,
) -> int:
    """Plan every observation by every row, in turns; return how many ticks counted.

    Each tick begins with another row. The first `warm_up` ticks are not counted, but compared all the same.
    """
    for tick, observation in enumerate(observations):
        made: dict[str, tuple[Any, Any]] = {}
        for row in rows[tick % len(rows) :] + rows[: tick % len(rows)]:
            _forget_peak()
            began, came = time.process_time(), time.perf_counter()
            if row.arrive is not None:
                row.arrive(observation)
            ahead_ms = (time.perf_counter() - came) * 1e3 if row.arrive is not None else 0.0
            tokens, xyz, times = row.plan(observation, options)
            took_ms = (time.process_time() - began) * 1e3
            made[row.name] = tokens, xyz
            if tick >= warm_up:
                row.times.append(times)
                row.processor_ms.append(took_ms)
                row.ahead_ms.append(ahead_ms)
                row.peak_bytes = max(row.peak_bytes, _peak_bytes())
        tokens, xyz = made[rows[0].name]
        for row in rows:
            if made[row.name][0] == tokens:
                row.same_tokens += 1
                row.worst_m = max(row.worst_m, float(np.abs(made[row.name][1] - xyz).max()))
        told(tick)
    return len(observations)


def exact(rows: Sequence[Row], ticks: int) -> bool:
    """Return whether every row said and planned what the first did, at all ticks."""
    return all(row.same_tokens == ticks and row.worst_m <= TOLERANCE_M for row in rows)


def _forget_peak() -> None:
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        return
    try:
        Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets the peak resident set size
    except OSError:
        return


def _peak_bytes() -> int:
    """Return the most that tensors on the GPU held, or the process in all, since it was last forgotten."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)
