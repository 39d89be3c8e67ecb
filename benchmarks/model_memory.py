"""Measure how much memory loading a checkpoint takes, on a synthetic one; prints JSON.

    python benchmarks/model_memory.py [--megabytes 300] [--stored bfloat16] [--dtype bfloat16] [--shards 3]

A subprocess opens and loads the checkpoint while a thread reads /proc/self/status. What is reported is what
that adds to the process after its imports: RssAnon is memory of its own, VmRSS counts mapped file pages too.
Ratios are to the size of the weights in the dtype they are loaded in. Exit code 1 if RssAnon peaks at 1.1
times that or more.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

LIMIT = 1.1


def memory_kb() -> dict[str, int]:
    """Return VmRSS and RssAnon of this process."""
    fields = dict(
        line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line
    )
    return {key: int(fields[key].split()[0]) for key in ("VmRSS", "RssAnon")}


def measure(folder: str, dtype: str) -> dict[str, float]:
    """Load `folder` in this process; return the peaks that this added, in MB, and what stays."""
    import torch

    # What is imported lazily is not the checkpoint's memory.
    import transformers.models.qwen3_vl.modeling_qwen3_vl  # noqa: F401
    from transformers import AutoTokenizer

    from alpamayo_ros.model.loading import open_checkpoint

    torch.set_num_threads(1)
    AutoTokenizer.from_pretrained(str(Path(folder) / "backbone"))
    before = memory_kb()
    peak = dict(before)
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.001):
            for key, value in memory_kb().items():
                peak[key] = max(peak[key], value)

    watcher = threading.Thread(target=watch)
    watcher.start()
    started = time.perf_counter()
    opened = open_checkpoint(folder)
    opened.load(device=torch.device("cpu"), dtype=getattr(torch, dtype))
    seconds = time.perf_counter() - started
    done.set()
    watcher.join()
    after = memory_kb()
    weights = sum(parameter.nbytes for parameter in opened.network.parameters())
    result: dict[str, float] = {"weights_mb": weights / 1e6, "seconds": seconds}
    for key in before:
        result[f"{key}_peak_mb"] = (peak[key] - before[key]) * 1024 / 1e6
        result[f"{key}_after_mb"] = (after[key] - before[key]) * 1024 / 1e6
        result[f"{key}_peak_ratio"] = (peak[key] - before[key]) * 1024 / weights
    return {key: round(value, 3) for key, value in result.items()}


def write_synthetic(folder: Path, *, megabytes: float, stored: str, shards: int) -> None:
    """Write a random checkpoint of about `megabytes` in `shards` files."""
    import torch

    from alpamayo_ros.model.random_checkpoint import SIZES, write_random_checkpoint

    dtype = getattr(torch, stored)
    # Shaped as the released ones: wide layers and a large vocabulary beside them.
    hidden = 512
    size = dataclasses.replace(
        SIZES["small"], hidden=hidden, mlp=3 * hidden, heads=16, kv_heads=4, expert_hidden=hidden // 2,
        expert_mlp=hidden, vision_hidden=256, vision_mlp=768, vision_heads=8,
    )  # fmt: skip
    fixed = (2 * 4736 * hidden + 10 * hidden * hidden) * dtype.itemsize
    a_layer = 14 * hidden * hidden * dtype.itemsize  # text and expert
    layers = max(3, round((megabytes * 1e6 - fixed) / a_layer))
    target = megabytes * 1e6 / shards
    write_random_checkpoint(
        folder,
        size=dataclasses.replace(size, layers=layers),
        dtype=dtype,
        max_shard_bytes=None if shards == 1 else int(target * 1.05),
    )


def run_measurement(folder: Path, dtype: str) -> dict[str, float]:
    """Measure in a fresh process."""
    command = [sys.executable, __file__, "--measure", str(folder), "--dtype", dtype]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    result: dict[str, float] = json.loads(output.strip().splitlines()[-1])
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=300)
    parser.add_argument("--stored", default="bfloat16", choices=["bfloat16", "float32"])
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"])
    parser.add_argument("--shards", type=int, default=3)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(str(args.measure), args.dtype)))
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "synthetic"
        write_synthetic(folder, megabytes=args.megabytes, stored=args.stored, shards=args.shards)
        result = {"stored": args.stored, "loaded": args.dtype, **run_measurement(folder, args.dtype)}
        print(json.dumps(result))
    return int(result["RssAnon_peak_ratio"] >= LIMIT)


if __name__ == "__main__":
    sys.exit(main())
