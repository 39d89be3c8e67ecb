"""Measure a plan: upstream's way against ours, each trick switched on in turn, on the same ticks.

    python -m benchmarks.model [--size tiny|4M|300M|10B | --checkpoint FOLDER] [--samples 1] [--ticks 20]
                               [--device auto] [--dtype auto] [--json FILE] [--plot FILE.png]

Needs torch, transformers and a checkout, nothing else. All rows plan the same stream of observations, three
of four frames shared with the tick before, in turns: tick by tick, and each tick starting with another row.
The first two ticks warm up and don't count. Each row's tokens and waypoints are held against the baseline's;
in float32 the exit code is 1 unless all are the same (waypoints to 1e-3 m).

Without --checkpoint the weights are random, so what is said drifts as it happens to: how many guessed words
came true stands beside the times.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))
warnings.filterwarnings("ignore", category=FutureWarning)

STAGES = ("preprocess", "vision", "prefill", "reasoning", "denoise")
_WARM_UP = 2
_TOLERANCE_M = 1e-3


@dataclass
class Row:
    """One way to plan, and what came of it."""

    name: str
    plan: Callable[[Any, Any], tuple[Any, Any, Any]]
    model: Any = None
    times: list[Any] = field(default_factory=list)
    same_tokens: int = 0
    worst_m: float = 0.0
    peak_bytes: int = 0

    def summary(self) -> dict[str, Any]:
        """Return medians in ms, percentiles of the total, and what was compared."""
        totals = np.array([t.total_ms for t in self.times])
        median = {s: float(np.median([getattr(t, f"{s}_ms") for t in self.times])) for s in STAGES}
        result: dict[str, Any] = {
            "name": self.name,
            "stages_ms": {name: round(ms, 2) for name, ms in median.items()},
            "median_ms": round(float(np.median(totals)), 2),
            "p90_ms": round(float(np.quantile(totals, 0.9)), 2),
            "p99_ms": round(float(np.quantile(totals, 0.99)), 2),
            "tokens": float(np.median([t.tokens for t in self.times])),
            "same_tokens": self.same_tokens,
            "worst_m": self.worst_m,
        }
        if self.peak_bytes:
            result["peak_gib"] = round(self.peak_bytes / 2**30, 2)
        drafter = getattr(self.model, "_drafter", None)
        if drafter is not None:
            result["guessed"], result["right"] = drafter.guessed, drafter.right
        return result


def rows_of(opened: Any, action_space: Any) -> list[Row]:
    """Return the baseline and ours with each trick added to those before."""
    from alpamayo_ros.model import Alpamayo
    from alpamayo_ros.model.speed import SpeedOptions
    from benchmarks.model.baseline import Baseline

    off = {"lean": False, "vision_cache_images": 0, "prompt_reuse": False, "speculation": False}
    steps: list[tuple[str, dict[str, Any]]] = [
        ("ours, no trick", {}),
        ("+ vision cache", {"vision_cache_images": 256}),
        ("+ prompt reuse", {"prompt_reuse": True}),
        ("+ lean layers", {"lean": True}),
        ("+ speculation", {"speculation": True}),
    ]
    baseline = Alpamayo(opened, action_space, speed=SpeedOptions.plain())
    rows = [Row("baseline", Baseline(baseline).plan)]
    for name, change in steps:
        off |= change
        model = Alpamayo(opened, action_space, speed=SpeedOptions(**off))

        def plan(observation: Any, options: Any, model: Any = model) -> tuple[Any, Any, Any]:
            made = model.plan(observation, options)
            return made.token_ids, made.xyz_in_rig_t0, made.times

        rows.append(Row(name, plan, model))
    return rows


def measure(rows: list[Row], observations: list[Any], options: Any) -> int:
    """Plan every observation by every row, in turns; return how many ticks counted."""
    import torch

    for tick, observation in enumerate(observations):
        made: dict[str, tuple[Any, Any]] = {}
        for row in rows[tick % len(rows) :] + rows[: tick % len(rows)]:
            if torch.cuda.is_available():
                torch.cuda.reset_peak_memory_stats()
            tokens, xyz, times = row.plan(observation, options)
            made[row.name] = tokens, xyz
            if tick >= _WARM_UP:
                row.times.append(times)
                if torch.cuda.is_available():
                    row.peak_bytes = max(row.peak_bytes, torch.cuda.max_memory_allocated())
        if tick < _WARM_UP:
            continue
        tokens, xyz = made[rows[0].name]
        for row in rows:
            if made[row.name][0] == tokens:
                row.same_tokens += 1
                row.worst_m = max(row.worst_m, float(np.abs(made[row.name][1] - xyz).max()))
    return len(observations) - _WARM_UP


def table(summaries: list[dict[str, Any]], ticks: int) -> str:
    """Return the summaries as lines of a Markdown table."""
    head = [
        "",
        *STAGES,
        "median",
        "p90",
        "p99",
        "speed-up",
        "tokens",
        "guessed right",
        "same words",
        "worst m",
    ]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for summary in summaries:
        guessed = f"{summary['right']} of {summary['guessed']}" if "guessed" in summary else ""
        cells = [
            summary["name"],
            *(f"{summary['stages_ms'][stage]:.1f}" for stage in STAGES),
            *(f"{summary[key]:.1f}" for key in ("median_ms", "p90_ms", "p99_ms")),
            f"{summaries[0]['median_ms'] / summary['median_ms']:.2f}",
            f"{summary['tokens']:.0f}",
            guessed,
            f"{summary['same_tokens']} of {ticks}",
            f"{summary['worst_m']:.1e}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def plot(summaries: list[dict[str, Any]], path: Path, title: str) -> None:
    """Draw the stages' medians as stacked bars."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 0.5 * len(summaries) + 1.5), layout="constrained")
    names = [summary["name"] for summary in summaries]
    left = np.zeros(len(summaries))
    for stage in STAGES:
        width = np.array([summary["stages_ms"][stage] for summary in summaries])
        axes.barh(names, width, left=left, label=stage)
        left += width
    axes.invert_yaxis()
    axes.set(xlabel="ms a plan (medians of the stages)", title=title)
    axes.legend(ncols=len(STAGES), fontsize="small")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", default="tiny", choices=["tiny", "4M", "300M", "10B"])
    parser.add_argument("--checkpoint", help="folder or hub id, instead of random weights")
    parser.add_argument("--samples", type=int, default=1)
    parser.add_argument("--ticks", type=int, default=20)
    parser.add_argument("--tokens", type=int, default=40, help="most tokens of a reasoning")
    parser.add_argument("--temperature", type=float, default=0.6)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--threads", type=int, default=1, help="of a CPU")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    args = parser.parse_args()
    if args.ticks <= _WARM_UP or args.samples < 1:
        parser.error(f"expected --ticks above {_WARM_UP} and --samples of 1 or more")
    return args


def main() -> int:
    args = arguments()
    import torch
    import transformers

    from alpamayo_ros.model.loading import require_device, require_dtype
    from alpamayo_ros.types import PlanOptions
    from benchmarks.model.sizes import MEASURED, random_model, stored_model
    from benchmarks.model.stream import drive

    torch.set_num_threads(args.threads)
    transformers.logging.set_verbosity_error()
    device = require_device(args.device)
    dtype = require_dtype(args.dtype, device)
    measured = MEASURED[args.size]
    if args.checkpoint:
        opened, action_space = stored_model(args.checkpoint, device=device, dtype=dtype)
    else:
        opened, action_space = random_model(measured, device=device, dtype=dtype)
    rows = rows_of(opened, action_space)
    # One seed for all ticks, so that random weights say much the same from tick to tick, too.
    options = PlanOptions(
        num_samples=args.samples,
        seed=1,
        temperature=args.temperature,
        max_reasoning_tokens=args.tokens,
    )
    if args.checkpoint:
        height, width = rows[-1].model.image_preparer.model_size(320, 576)
    else:
        height, width = measured.height, measured.width
    ticks = measure(rows, list(drive(args.ticks, height=height, width=width)), options)
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {args.threads} threads"
    name = args.checkpoint or f"{args.size}, random weights"
    title = f"{name}, K = {args.samples}, {str(dtype).removeprefix('torch.')}, {where}"
    summaries = [row.summary() for row in rows]
    print(f"{title}, {ticks} ticks, images {height} x {width}; ms\n\n{table(summaries, ticks)}")
    if args.json:
        versions = {"torch": torch.__version__, "transformers": transformers.__version__}
        record = {"title": title, "ticks": ticks, "machine": platform.processor(), **versions}
        args.json.write_text(json.dumps({**record, "rows": summaries}, indent=1) + "\n")
    if args.plot:
        plot(summaries, args.plot, title)
    exact = all(row.same_tokens == ticks and row.worst_m <= _TOLERANCE_M for row in rows)
    return 0 if exact or dtype != torch.float32 else 1


if __name__ == "__main__":
    sys.exit(main())
