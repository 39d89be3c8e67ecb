"""Say what a policy can do, in figures and pictures: open loop, reasoning, instructions, time, failures.

alpamayo train report CHECKPOINT --data DIR --out DIR [--rollouts DIR] [--samples N]

Writes report.json, report.md, samples.jsonl and pictures. Looked at are held-out samples of a data set; with
--rollouts, a folder that `alpamayo sim` or `alpamayo train evaluate` wrote, closed loop too.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alpamayo_ros.training.report.report import Contestant, Progress
    from alpamayo_ros.types import PlanOptions

_EXIT_INTERRUPTED = 130
_CONSTANT = "constant"
_DRAWN = 6


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="folder or hub id, or constant (velocity)")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="a data set")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="for the report")
    parser.add_argument(
        "--rollouts", type=Path, metavar="DIR", help="rollouts of the checkpoint (default: none)"
    )
    parser.add_argument(
        "--split",
        choices=("validation", "test"),
        default="validation",
        help="which of the data set's samples (default: validation)",
    )
    parser.add_argument(
        "--samples",
        type=int,
        default=400,
        metavar="N",
        help="to look at, evenly over the episodes (default: 400)",
    )
    parser.add_argument(
        "--junctions",
        type=int,
        default=120,
        metavar="N",
        help="samples at junctions to see whether the instruction is obeyed (default: 120)",
    )
    parser.add_argument(
        "--drawn", type=int, default=_DRAWN, metavar="K", help=f"plans a sample (default: {_DRAWN})"
    )
    parser.add_argument(
        "--timed", type=int, default=50, metavar="N", help="plans to measure the time of (default: 50)"
    )
    parser.add_argument(
        "--failures", type=int, default=40, metavar="N", help="pictures of failures (default: 40)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of what is drawn (default: 0)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N (default: auto)")
    parser.add_argument(
        "--threads", type=int, metavar="N", help="to plan with on a CPU (default: as many as PyTorch takes)"
    )


def run(args: argparse.Namespace) -> int:
    """Make the report and say where it is."""
    from alpamayo_ros.training.dataset import EpisodeSamples
    from alpamayo_ros.training.report.report import REPORT_MD, ReportSettings, make_report
    from alpamayo_ros.types import PlanOptions

    settings = ReportSettings(
        samples=args.samples,
        junction_samples=args.junctions,
        timed=args.timed,
        seed=args.seed,
        failures=args.failures,
    )
    options = PlanOptions(num_samples=args.drawn)
    samples = EpisodeSamples(args.data, split=args.split)
    contestant = _contestant(args, options)
    try:
        with _progress() as progress:
            report = make_report(
                contestant, samples, args.out, settings=settings, rollouts=args.rollouts, progress=progress
            )
    except KeyboardInterrupt:
        print("interrupted; no report was written", file=sys.stderr)
        return _EXIT_INTERRUPTED
    policy = report["open_loop"]["policy"]
    ratio, named = policy["ratio"]["min_ade@6.4s"], report["reasoning"]["policy"]["component"]
    print(f"minADE_{args.drawn}@6.4s over constant velocity's: {ratio['value']} {ratio['ci95']}")
    print(f"right component: {named['value']} {named['ci95']}")
    print(args.out / REPORT_MD)
    return 0


def _contestant(args: argparse.Namespace, options: PlanOptions) -> Contestant:
    """Return the checkpoint, loaded, as what the report is about."""
    from alpamayo_ros.sim.planners import ConstantVelocityPlanner
    from alpamayo_ros.training.closed_loop import checkpoint_identity
    from alpamayo_ros.training.report.report import Contestant

    if args.checkpoint == _CONSTANT:
        return Contestant(ConstantVelocityPlanner, ConstantVelocityPlanner, {"name": "constant velocity"})
    import torch

    from alpamayo_ros.cli.sim_checkpoint import CheckpointSource, SeededPlanner
    from alpamayo_ros.model import Alpamayo
    from alpamayo_ros.model.plan_options import recommended_options

    source = CheckpointSource(args.checkpoint, device=args.device)  # refuses what is no checkpoint
    notice = source.check()
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    model = Alpamayo.from_pretrained(args.checkpoint, device=args.device, dtype="auto", progress=False)
    parameters = sum(each.numel() for each in model.network.parameters())
    one = recommended_options(args.checkpoint)
    about: dict[str, object] = {
        "name": source.name,
        "checkpoint": args.checkpoint,
        "identity": checkpoint_identity(args.checkpoint),
        "parameters": parameters,
        "plans a sample": args.drawn,
        "sampling": _told(options),
        "timed": f"as it drives: {_told(one)}",
        "device": str(model.device),
        "threads": torch.get_num_threads(),
    }
    if notice:
        about["notice"] = notice
    return Contestant(
        lambda: SeededPlanner(model, options, seed=args.seed),
        lambda: SeededPlanner(model, one, seed=args.seed),
        about,
    )


def _told(options: PlanOptions) -> str:
    """Return for people how plans are drawn."""
    words = "the likeliest words" if options.top_k == 1 else f"temperature {options.temperature:g}"
    return (
        f"{options.num_samples} at a time, {words}, top-p {options.top_p:g}, "
        f"noise {options.noise_temperature:g}, {options.flow_steps} flow steps"
    )


@contextmanager
def _progress() -> Iterator[Progress]:
    """Yield what shows a bar on a terminal, and nothing elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("report", total=None)

        def told(what: str, done: int, of: int) -> None:
            bar.update(task, description=what, completed=done, total=of)

        yield told
