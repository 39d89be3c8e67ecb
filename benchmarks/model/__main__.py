"""Measure a plan: upstream's way against ours, each trick switched on in turn, on the same ticks.

    python -m benchmarks.model [--size tiny|4M|300M|10B | --checkpoint FOLDER|pisco] [--samples 1 6]
                               [--ticks 20] [--warm-up 2] [--rows none,vision,…] [--device auto]
                               [--dtype auto] [--out FILE.md] [--json FILE] [--plot FILE.png]

Needs torch, transformers and a checkout, nothing else (matplotlib for --plot). All rows plan the same stream
of observations, three of four frames shared with the tick before, in turns: tick by tick, and each tick
starting with another row. Each row's tokens and waypoints are held against the baseline's at every tick; in
float32 the exit code is 1 unless all are the same (waypoints to 1e-3 m).

The row `arrival` encodes the newest frames before the plan is asked for, as the planner node does when they
come, and the row `ahead` reads the start of the prompt before they come: the column `ahead` says how long
that took, the plan's own time does not hold it, the processor's does.

Without --checkpoint the weights are random, so what is said drifts as it happens to: how many guessed words
came true stands beside the times.

On a machine with a GPU, with the released model's shapes and nothing to download:

    python -m benchmarks.model --size 10B --samples 1 6 --ticks 30 --out speed.md --json speed.json
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from pathlib import Path
from typing import Any

import torch
import transformers

from alpamayo_ros.model.loading import require_device, require_dtype
from alpamayo_ros.types import InvalidInput, PlanOptions
from benchmarks.model.limits import HARDWARE, Plan
from benchmarks.model.limits import table as limits_table
from benchmarks.model.rows import TRICKS, exact, measure, rows_of, usual_tricks
from benchmarks.model.sizes import MEASURED, random_model, stored_model
from benchmarks.model.stream import drive
from benchmarks.model.tables import plot, table


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.model",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--size", default="tiny", choices=list(MEASURED))
    parser.add_argument("--checkpoint", help="folder, hub id or a shipped one's name, not random weights")
    parser.add_argument("--samples", type=int, nargs="+", default=[1], help="K, one run after the other")
    parser.add_argument("--ticks", type=int, default=20, help="that count")
    parser.add_argument("--warm-up", type=int, default=2, help="ticks before those")
    parser.add_argument("--tokens", type=int, default=40, help="most tokens of a reasoning")
    parser.add_argument("--temperature", type=float, default=0.6)
    parser.add_argument("--rows", help=f"of {','.join(TRICKS)}; default: all that is on for the device")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--threads", type=int, default=1, help="of a CPU")
    parser.add_argument("--out", type=Path, help="write the tables to a Markdown file")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    args = parser.parse_args(argv)
    if args.ticks < 1 or args.warm_up < 0 or min(args.samples) < 1 or args.threads < 1:
        parser.error("expected --ticks, --samples and --threads of 1 or more, --warm-up of 0 or more")
    args.rows = None if args.rows is None else tuple(args.rows.split(","))
    for name in args.rows or ():
        if name not in TRICKS:
            parser.error(f"--rows: expected some of {', '.join(TRICKS)}, got {name!r}")
    for name, wanted in (("arrival", ("vision",)), ("ahead", ("vision", "lean"))):
        before = args.rows[: args.rows.index(name)] if args.rows and name in args.rows else wanted
        if not set(wanted) <= set(before):
            parser.error(f"--rows: expected {' and '.join(wanted)} before {name}, got {', '.join(before)}")
    return args


def run(args: argparse.Namespace, samples: int, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """Measure with K samples; return what is to be written."""
    measured = MEASURED[args.size]
    if args.checkpoint:
        opened, action_space = stored_model(args.checkpoint, device=device, dtype=dtype)
    else:
        opened, action_space = random_model(measured, device=device, dtype=dtype)
    rows = rows_of(opened, action_space, args.rows or usual_tricks(device))
    # One seed for all ticks, so that random weights say much the same from tick to tick, too.
    options = PlanOptions(
        num_samples=samples,
        seed=1,
        temperature=args.temperature,
        max_reasoning_tokens=args.tokens,
    )
    height, width = measured.height, measured.width
    if args.checkpoint:
        model = next(row.model for row in rows if row.model is not None)
        height, width = model.image_preparer.model_size(320, 576)
    count = args.ticks + args.warm_up
    began = time.monotonic()

    def told(tick: int) -> None:
        if sys.stderr.isatty():
            print(f"\rK = {samples}: tick {tick + 1} of {count}, {time.monotonic() - began:.0f} s", end="",
                  file=sys.stderr, flush=True)  # fmt: skip

    observations = list(drive(count, height=height, width=width))
    ticks = measure(rows, observations, options, warm_up=args.warm_up, told=told)
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {_threads(args.threads)}"
    name = args.checkpoint or f"{args.size}, random weights"
    return {
        "title": f"{name}, K = {samples}, {str(dtype).removeprefix('torch.')}, {where}",
        "samples": samples,
        "ticks": args.ticks,
        "compared": ticks,
        "image": [height, width],
        "exact": exact(rows, ticks),
        "rows": [row.summary() for row in rows],
    }


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def report(runs: list[dict[str, Any]], args: argparse.Namespace) -> str:
    """Return the Markdown of all runs."""
    parts = []
    for made in runs:
        height, width = made["image"]
        parts.append(
            f"**{made['title']}**: {made['ticks']} ticks, images {height} × {width}, ms.\n\n"
            f"{table(made['rows'], made['compared'])}"
        )
        if args.checkpoint is None and torch.cuda.is_available():
            limits = Plan(MEASURED[args.size], made["samples"], round(made["rows"][-1]["tokens"]))
            names = ", ".join(h.name for h in HARDWARE)
            parts.append(f"The hardware's limits (derived; {names}):\n\n{limits_table(limits)}")
    return "\n\n".join(parts) + "\n"


def main(argv: list[str] | None = None) -> int:
    """Measure, write, and return 1 where a float32 row was not exact."""
    args = arguments(argv)
    torch.set_num_threads(args.threads)
    transformers.logging.set_verbosity_error()
    try:
        device = require_device(args.device)
        dtype = require_dtype(args.dtype, device)
        runs = [run(args, samples, device, dtype) for samples in args.samples]
    except InvalidInput as error:
        print(f"python -m benchmarks.model: {error}", file=sys.stderr)
        return 2
    text = report(runs, args)
    print(text)
    if args.out:
        args.out.write_text(text, encoding="utf-8")
    if args.json:
        versions = {"torch": torch.__version__, "transformers": transformers.__version__}
        record = {"machine": platform.processor() or platform.machine(), **versions, "runs": runs}
        args.json.write_text(json.dumps(record, indent=1) + "\n")
    if args.plot:
        plot(runs, args.plot)
    return 0 if dtype != torch.float32 or all(made["exact"] for made in runs) else 1


if __name__ == "__main__":
    sys.exit(main())
