"""Hold plans against what was driven, on any bags with odometry: figures, a report, comparisons.

With --checkpoint it plans at instants of the bags; without, it takes the plans that the bags hold; where they
hold none, the baselines stand alone. A killed run goes on where it stood when it is called again.
"""

from __future__ import annotations

import argparse
import hashlib
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alpamayo_ros.types import InvalidInput

if TYPE_CHECKING:
    from alpamayo_ros.cli.evaluate_checkpoint import CheckpointPolicy
    from alpamayo_ros.evaluation.work import BagWork, Mode, Progress

EXIT_INTERRUPTED = 130
_DRAWN = 6


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `alpamayo evaluate` takes."""
    parser.add_argument(
        "bags", nargs="+", metavar="BAG", type=Path, help="rosbag2 folders, .mcap or .db3 files"
    )
    parser.add_argument(
        "--rig", default="default", help="rig file, or a name in config/rigs (default: default)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("out/evaluation"), metavar="DIR", help="(default: out/evaluation)"
    )
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="bags at a time (default: 1)")
    planner = parser.add_argument_group("whose plans")
    planner.add_argument(
        "--checkpoint", metavar="WHAT", help="a folder, a hub id, or pisco: plan with it, offline"
    )
    planner.add_argument("--backbone", metavar="DIR", help="folder or hub id, if not the checkpoint's own")
    planner.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N (default: auto)")
    planner.add_argument("--threads", type=int, metavar="N", help="of a CPU, for each job (default: shared)")
    planner.add_argument(
        "--samples", type=int, metavar="K", help=f"plans drawn at each instant (default: {_DRAWN})"
    )
    planner.add_argument(
        "--plan-options",
        default="",
        metavar="NAME=VALUE,…",
        help="noise_temperature, temperature, top_k, ... (default: as its plan_options.json recommends)",
    )
    planner.add_argument("--seed", type=int, default=0, metavar="N", help="of what is drawn (default: 0)")
    planner.add_argument(
        "--plans",
        metavar="TOPIC",
        help="of recorded plans, if the bags have several; none leaves them out (default: their only one)",
    )
    looked = parser.add_argument_group("what is looked at")
    rate = looked.add_mutually_exclusive_group()
    rate.add_argument("--hz", type=float, metavar="R", help="instants a second (default: 2)")
    rate.add_argument("--every", type=float, metavar="S", help="seconds from one instant to the next")
    rate.add_argument("--all", action="store_true", help="every instant for which there is an observation")
    looked.add_argument("--start", type=float, default=0.0, metavar="S", help="seconds of each drive to skip")
    looked.add_argument(
        "--duration", type=float, metavar="S", help="seconds to look at (default: to the end)"
    )
    looked.add_argument("--odometry", metavar="TOPIC", help="if not the rig's, or the bag's only one")
    looked.add_argument("--miss", type=float, metavar="M", help="how far off is missed (default: 2)")
    looked.add_argument(
        "--block", type=float, metavar="S", help="pieces that intervals are drawn over (default: 10)"
    )
    shown = parser.add_argument_group("report")
    shown.add_argument("--worst", type=int, default=8, metavar="N", help="instants to show (default: 8)")
    shown.add_argument("--no-report", action="store_true", help="leave out report.html")
    shown.add_argument("--compare", type=Path, metavar="DIR", help="an earlier evaluation to compare with")


def run(arguments: argparse.Namespace) -> int:
    """Evaluate, report, print; return the exit code."""
    from rich.console import Console

    from alpamayo_ros.bags.summary import versions
    from alpamayo_ros.evaluation.machine import machine
    from alpamayo_ros.evaluation.report import ReportOptions, write_report
    from alpamayo_ros.evaluation.run import read_evaluation, run_evaluation
    from alpamayo_ros.evaluation.summary import describe
    from alpamayo_ros.evaluation.work import EvaluationSettings, name_bags
    from alpamayo_ros.sensing.rig import load_rig

    _require_planner_options(arguments)
    if arguments.worst < 0:
        raise InvalidInput(f"--worst: expected zero or more, got {arguments.worst}")
    bags = name_bags(arguments.bags)
    rig = load_rig(arguments.rig)
    earlier = None if arguments.compare is None else read_evaluation(arguments.compare)
    policy, notice, told = _policy(arguments)
    mode, topic = _mode(arguments, bags)
    if mode == "baselines" and arguments.plans is None:
        print("The bags hold no plans and there is no --checkpoint: baselines alone.", file=sys.stderr)
    given = {"miss_m": arguments.miss, "block_s": arguments.block}
    settings = EvaluationSettings(
        mode=mode,
        hz=_rate(arguments),
        start_s=arguments.start,
        duration_s=arguments.duration,
        plan_topic=topic,
        odometry=arguments.odometry or "",
        policy="" if policy is None else _identity(policy),
        rig=f"{rig.name} {hashlib.sha256(repr(rig).encode()).hexdigest()[:12]}",
        **{name: value for name, value in given.items() if value is not None},
    )
    about = {
        "name": "recorded plans" if mode == "recorded" else "baselines",
        **told,
        "rig": rig.name,
        "command": _command(arguments),
        "versions": versions(),
        **machine(),
    }
    if notice:
        about["notice"] = notice
    try:
        with _display() as progress:
            content = run_evaluation(
                bags,
                rig,
                settings,
                out=arguments.out,
                about=about,
                policy=policy,
                jobs=arguments.jobs,
                progress=progress,
            )
    except KeyboardInterrupt:
        print("interrupted; call it again to go on where it stood", file=sys.stderr)
        return EXIT_INTERRUPTED
    print(describe(content))
    made = ["evaluation.json", "rows.jsonl"]
    if not arguments.no_report:
        with Console(stderr=True).status("report") as status:
            write_report(
                arguments.out,
                rig,
                options=ReportOptions(worst=arguments.worst),
                progress=lambda name: status.update(f"report: {name}"),
            )
        made.append("report.html")
    if earlier is not None:
        _compare(arguments.compare, arguments.out)
        made += ["comparison.json", "comparison.html"]
    print(f"results        {arguments.out}/{', '.join(made)}")
    if notice:
        print(notice)
    return 0


def _require_planner_options(arguments: argparse.Namespace) -> None:
    """Raise InvalidInput for options that only a checkpoint heeds, without one, and for two that clash."""
    if arguments.checkpoint is None:
        for name in ("backbone", "samples", "threads", "plan_options"):
            if getattr(arguments, name):
                raise InvalidInput(f"--{name.replace('_', '-')}: expected --checkpoint beside it, got none")
    elif arguments.plans is not None:
        raise InvalidInput("--plans: expected no --checkpoint beside it, got one: whose plans?")
    if arguments.samples is not None and "num_samples" in arguments.plan_options:
        raise InvalidInput("--samples: expected no num_samples in --plan-options beside it, got both")


def _policy(arguments: argparse.Namespace) -> tuple[CheckpointPolicy | None, str, dict[str, Any]]:
    """Return who plans, what people must know of it, and what is said of it in the record."""
    if arguments.checkpoint is None:
        return None, "", {}
    from alpamayo_ros.cli.evaluate_checkpoint import CheckpointPolicy
    from alpamayo_ros.cli.sim_checkpoint import CheckpointSource
    from alpamayo_ros.model.plan_options import parse_options, recommended_options

    source = CheckpointSource(
        arguments.checkpoint, backbone=arguments.backbone, device=arguments.device, option="--checkpoint"
    )
    recommended = recommended_options(source.checkpoint)
    drawn = arguments.samples if arguments.samples is not None else _DRAWN
    options = parse_options(arguments.plan_options, replace(recommended, num_samples=drawn))
    if arguments.seed < 0:
        raise InvalidInput(f"--seed: expected zero or more, got {arguments.seed}")
    if arguments.threads is not None and arguments.threads < 1:
        raise InvalidInput(f"--threads: expected at least 1, got {arguments.threads}")
    notice = source.check()
    policy = CheckpointPolicy(source, options, seed=arguments.seed, threads=arguments.threads)
    told = {
        "name": source.name,
        "checkpoint": source.checkpoint,
        "plan_options": {name: value for name, value in asdict(options).items() if name != "seed"},
        "seed": arguments.seed,
        "device": arguments.device,
    }
    return policy, notice, told


def _identity(policy: CheckpointPolicy) -> str:
    """Return whatever changes the plans, as one text."""
    from alpamayo_ros.training.closed_loop import checkpoint_identity

    options = {name: value for name, value in asdict(policy.options).items() if name != "seed"}
    told = ", ".join(f"{name} {value}" for name, value in options.items())
    weights = checkpoint_identity(policy.source.checkpoint)[:19]
    backbone = f", backbone {policy.source.backbone}" if policy.source.backbone else ""
    return f"{weights}{backbone}, seed {policy.seed}, {told}"


def _mode(arguments: argparse.Namespace, bags: tuple[BagWork, ...]) -> tuple[Mode, str]:
    """Return whose plans are looked at and, of recorded ones, their topic."""
    if arguments.checkpoint is not None:
        return "checkpoint", ""
    if arguments.plans == "none":
        return "baselines", ""
    from alpamayo_ros.bags.reader import BagReader
    from alpamayo_ros.evaluation.recorded import plan_topics

    found: dict[str, list[str]] = {}
    for work in bags:
        with BagReader(work.path) as bag:
            found[work.name] = plan_topics(bag)
    if arguments.plans is not None:
        for name, topics in found.items():
            if arguments.plans not in topics:
                have = ", ".join(topics) or "none"
                raise InvalidInput(f"--plans: expected plans on {arguments.plans} in bag {name}, got {have}")
        return "recorded", arguments.plans
    every = sorted({topic for topics in found.values() for topic in topics})
    if not every:
        return "baselines", ""
    if len(every) > 1:
        raise InvalidInput(f"--plans: expected which topic of plans, got several: {', '.join(every)}")
    lacking = [name for name, topics in found.items() if not topics]
    if lacking:
        raise InvalidInput(
            f"bags: expected plans on {every[0]} in all of them or in none, got none in "
            f"{', '.join(lacking)}; leave it out, give a --checkpoint, or say --plans none"
        )
    return "recorded", every[0]


def _rate(arguments: argparse.Namespace) -> float | None:
    if arguments.all:
        return None
    if arguments.every is not None:
        if not arguments.every > 0:
            raise InvalidInput(f"--every: expected over 0 seconds, got {arguments.every}")
        return 1.0 / float(arguments.every)
    return 2.0 if arguments.hz is None else float(arguments.hz)


def _command(arguments: argparse.Namespace) -> str:
    """Return how to come by the same figures, with paths as they were given."""
    parts = ["alpamayo evaluate", *(shlex.quote(str(path)) for path in arguments.bags)]
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    for name, value in vars(arguments).items():
        if name == "bags" or value == parser.get_default(name):
            continue
        flag = f"--{name.replace('_', '-')}"
        parts.append(flag if value is True else f"{flag} {shlex.quote(str(value))}")
    return " ".join(parts)


def _compare(earlier: Path, out: Path) -> None:
    from alpamayo_ros.evaluation.compare import compare_runs, describe_comparison, write_comparison

    compared = compare_runs(earlier, out)
    write_comparison(out, compared)
    print(describe_comparison(compared))


@contextmanager
def _display() -> Iterator[Progress]:
    """Yield what shows a bar a bag on a terminal, and nothing elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f} s  {task.fields[plans]} plans"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:

        def told(name: str, done_s: float, all_s: float, plans: int) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name, total=all_s, plans=0)
            bar.update(tasks[name], completed=done_s, total=all_s, plans=plans)

        yield told
