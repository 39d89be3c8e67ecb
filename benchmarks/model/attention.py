"""Print how long each way of attention takes here, by phase, and which is chosen.

python -m benchmarks.model.attention [--size 4M] [--device auto] [--dtype auto] [--threads 1]
"""

from __future__ import annotations

import argparse

import torch

from alpamayo_ros.model.attention_calibration import AttentionShapes, fastest_of, measure
from alpamayo_ros.model.lean_attention import PHASES
from alpamayo_ros.model.loading import require_device, require_dtype
from benchmarks.model.limits import Plan
from benchmarks.model.sizes import MEASURED


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", default="4M", choices=list(MEASURED))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = require_device(args.device)
    size = MEASURED[args.size].size
    shapes = AttentionShapes(
        heads=size.heads,
        expert_heads=size.heads,
        kv_heads=size.kv_heads,
        head_dim=size.head_dim,
        prompt_tokens=Plan(MEASURED[args.size], 1, 1).prompt,
        dtype=str(require_dtype(args.dtype, device)).removeprefix("torch."),
        device=str(device),
    )
    rows = measure(shapes)
    choice = fastest_of(rows)
    print(f"{args.size}, {shapes.prompt_tokens} tokens of prompt, {shapes.dtype}, {device}; a call, us\n")
    ways = list(dict.fromkeys(row.way for row in rows))
    print("| phase | " + " | ".join(ways) + " | chosen |\n|---|" + "---|" * (len(ways) + 1))
    for phase in PHASES:
        found = {row.way: row for row in rows if row.phase == phase}
        cells = [f"{1e3 * found[way].ms:.0f}" if way in found else "–" for way in ways]
        print(f"| {phase} | " + " | ".join(cells) + f" | {choice.way(phase)} |")


if __name__ == "__main__":
    main()
