"""Measure what is lossy and off by default: how much time it saves, and how far its plans are from the exact.

    python -m benchmarks.model.lossy --checkpoint pisco [--samples 1] [--ticks 10]
                                     [--flow-steps 8 4 2] [--caps 16] [--fp8 off|on|emulated]

Every row plans the same observations from the same seeds as the exact one. Emulated FP8 tells its deviation
on any device, and nothing about its time.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from dataclasses import replace

import torch
import transformers

from alpamayo_ros.model import Alpamayo
from alpamayo_ros.model.deviation import deviation
from alpamayo_ros.model.loading import require_device, require_dtype
from alpamayo_ros.model.plan_options import recommended_options
from alpamayo_ros.model.speed import FP8_WAYS, SpeedOptions
from alpamayo_ros.types import InvalidInput, Plan, PlanOptions
from benchmarks.model.stream import drive


def main(argv: list[str] | None = None) -> int:
    """Measure and print; return 2 for what is refused."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--checkpoint", required=True, help="folder, hub id or a shipped one's name")
    parser.add_argument("--samples", type=int, default=1)
    parser.add_argument("--ticks", type=int, default=10)
    parser.add_argument("--flow-steps", type=int, nargs="*", default=[8, 4, 2])
    parser.add_argument("--caps", type=int, nargs="*", default=[16], help="most tokens of a reasoning")
    parser.add_argument("--fp8", choices=FP8_WAYS, default="off")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    transformers.logging.set_verbosity_error()
    try:
        print(_report(args))
    except InvalidInput as error:
        print(f"python -m benchmarks.model.lossy: {error}", file=sys.stderr)
        return 2
    return 0


def _report(args: argparse.Namespace) -> str:
    if args.ticks < 1:
        raise InvalidInput(f"--ticks: expected 1 or more, got {args.ticks}")
    device = require_device(args.device)
    dtype = require_dtype(args.dtype, device)

    def loaded(fp8: str) -> Alpamayo:
        return Alpamayo.from_pretrained(
            args.checkpoint, device=device, dtype=dtype, speed=SpeedOptions(fp8=fp8)
        )

    model = loaded("off")
    base = replace(recommended_options(args.checkpoint), num_samples=args.samples, seed=1)
    height, width = model.image_preparer.model_size(320, 576)
    observations = list(drive(args.ticks, height=height, width=width))

    def plans(of: Alpamayo, options: PlanOptions) -> list[Plan]:
        of.plan(observations[0], options)  # what is made once is made here
        return [of.plan(o, replace(options, seed=tick)) for tick, o in enumerate(observations)]

    exact = plans(model, base)
    ways = [(f"{steps} flow steps", model, replace(base, flow_steps=steps)) for steps in args.flow_steps]
    ways += [(f"{cap} tokens", model, replace(base, max_reasoning_tokens=cap)) for cap in args.caps]
    if args.fp8 != "off":
        ways.append((f"FP8 ({args.fp8})", loaded(args.fp8), base))
    rows = [("exact", exact)] + [(name, plans(of, options)) for name, of, options in ways]
    head = ["", "median ms", "same words", "same start", "ADE m", "worst ADE m", "FDE m"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name, made in rows:
        found = deviation(exact, made)
        cells = [
            name,
            f"{statistics.median(plan.times.total_ms for plan in made):.1f}",
            f"{found.same_tokens:.0%}",
            f"{found.same_start:.0%}",
            *(f"{metres:.3f}" for metres in (found.ade_m, found.worst_ade_m, found.fde_m)),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    where = f"{model.model_id}, K = {args.samples}, {args.ticks} ticks, {device}"
    return f"{where}; distances from the exact plan\n\n" + "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
