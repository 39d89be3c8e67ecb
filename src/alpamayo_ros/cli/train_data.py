"""Make training samples: from simulated drives of the expert or of a checkpoint, or from a bag."""

from __future__ import annotations

import argparse
import re
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from alpamayo_ros.cli.renderer_option import renderer_address
from alpamayo_ros.cli.ticks import ticks_of
from alpamayo_ros.types import CAMERA_NAMES, InvalidInput

if TYPE_CHECKING:
    from alpamayo_ros.training.episode_file import IndexEntry
    from alpamayo_ros.training.road_rollout import GuidedSteerer
    from alpamayo_ros.training.simulate import PictureSettings

EXIT_FAILED, EXIT_INTERRUPTED = 1, 130
_DRIVER_ONLY: dict[str, object] = {"driver": "", "samples": 1, "near": 1.5, "held": 0.1}
_SIMULATION_ONLY: dict[str, object] = {
    "cameras": None,
    "disturbed": 1,
    "undisturbed": True,
    "workers": 1,
    "episodes": None,
    "seconds": 20.0,
    "rendered": None,
    "renderer": "",
    "plain": False,
    "seed": 0,
    **_DRIVER_ONLY,
}
_BAG_ONLY: dict[str, object] = {"rig": "", "odometry": "", "split": "train"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `alpamayo train data` takes."""
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="the data set; an existing one is gone on with"
    )
    pictures = parser.add_argument_group("pictures")
    pictures.add_argument(
        "--size", type=picture_size, default=(96, 160), metavar="HxW", help="stored (default: 96x160)"
    )
    pictures.add_argument(
        "--image", choices=("jpeg", "png"), default="jpeg", help="how frames are stored (default: jpeg)"
    )
    pictures.add_argument("--quality", type=int, default=95, metavar="Q", help="of jpeg (default: 95)")
    simulated = parser.add_argument_group("from simulation")
    simulated.add_argument(
        "--scenarios",
        default="",
        metavar="WHICH",
        help="as `alpamayo sim` takes them; seeds from 100 on are for training and, one round of twenty in "
        "ten, for validation; seeds 0-99 are for tests",
    )
    simulated.add_argument(
        "--cameras",
        type=camera_ids,
        metavar="NAMES",
        help=f"by comma, of {', '.join(CAMERA_NAMES)} (default: Alpamayo's usual four)",
    )
    simulated.add_argument(
        "--disturbed",
        type=int,
        default=1,
        metavar="N",
        help="disturbed rollouts of each scene, beside the undisturbed one (default: 1)",
    )
    simulated.add_argument(
        "--no-undisturbed",
        dest="undisturbed",
        action="store_false",
        help="without the undisturbed one: more scenes in the same time (the others have calm stretches)",
    )
    simulated.add_argument("--workers", type=int, default=1, metavar="N", help="processes (default: 1)")
    simulated.add_argument(
        "--episodes", type=int, metavar="N", help="make at most so many now (default: all that are missing)"
    )
    simulated.add_argument(
        "--seconds",
        type=float,
        default=20.0,
        metavar="S",
        help="of each drive at most (default: 20, whole drives)",
    )
    simulated.add_argument(
        "--rendered",
        type=picture_size,
        metavar="HxW",
        help="size to render at, before resizing (default: 320x576, as in `alpamayo sim`)",
    )
    simulated.add_argument(
        "--renderer", default="", metavar="HOST:PORT", help="who renders (default: one of our own a process)"
    )
    simulated.add_argument(
        "--plain", action="store_true", help="say the same always in the same words (default: varied)"
    )
    simulated.add_argument("--seed", type=int, default=0, metavar="N", help="of disturbances and wording")
    driver = parser.add_argument_group("from simulation, driven by a checkpoint that is to get better")
    driver.add_argument(
        "--driver",
        default="",
        metavar="CHECKPOINT",
        help="one rollout of it in each scene, drawn as it recommends; what is learned from is the expert's "
        "continuation of the states that it gets into",
    )
    driver.add_argument("--samples", type=int, default=1, metavar="K", help="drawn at each plan (default: 1)")
    driver.add_argument(
        "--near",
        type=float,
        default=1.5,
        metavar="M",
        help="the nearest is driven if within M metres of the expert's place 2 s ahead, else the expert "
        "drives for a second (default: 1.5)",
    )
    driver.add_argument(
        "--held", type=float, default=0.1, metavar="S", help="a plan is driven for S seconds (default: 0.1)"
    )
    recorded = parser.add_argument_group("from a bag")
    recorded.add_argument("--bag", type=Path, metavar="BAG", help="folder, .mcap or .db3 file")
    recorded.add_argument("--rig", default="", metavar="RIG", help="rig file, or a name in config/rigs")
    recorded.add_argument(
        "--odometry", default="", metavar="TOPIC", help="as it is recorded (default: the rig file's)"
    )
    recorded.add_argument(
        "--split",
        choices=("train", "validation", "test"),
        default="train",
        help="what the bag's samples are for (default: train)",
    )


def picture_size(text: str) -> tuple[int, int]:
    """Parse "HEIGHTxWIDTH"."""
    match = re.fullmatch(r"(\d+)[x×](\d+)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"expected HEIGHTxWIDTH, got {text!r}")
    return int(match[1]), int(match[2])


def camera_ids(text: str) -> tuple[int, ...]:
    """Parse names of Alpamayo's cameras by comma; returns their ids, ascending."""
    names = [name.strip() for name in text.split(",")]
    unknown = [name for name in names if name not in CAMERA_NAMES]
    if unknown:
        raise argparse.ArgumentTypeError(f"expected names of {', '.join(CAMERA_NAMES)}, got {unknown[0]!r}")
    return tuple(sorted({CAMERA_NAMES.index(name) for name in names}))


def run(arguments: argparse.Namespace) -> int:
    """Make what is missing, print what there is; return the exit code."""
    if bool(arguments.scenarios) == (arguments.bag is not None):
        got = "both" if arguments.scenarios else "neither"
        raise InvalidInput(f"expected either --scenarios or --bag, got {got}")
    if arguments.bag is not None:
        _require_unused(arguments, _SIMULATION_ONLY, beside="--bag")
        return _from_bag(arguments)
    _require_unused(arguments, _BAG_ONLY, beside="--scenarios")
    if not arguments.driver:
        given = [f"--{name}" for name, value in _DRIVER_ONLY.items() if getattr(arguments, name) != value]
        if given:
            raise InvalidInput(f"{', '.join(given)}: expected --driver too, got none")
    elif (arguments.disturbed, arguments.undisturbed) != (1, True):
        raise InvalidInput("--driver: expected neither --disturbed nor --no-undisturbed, got one of them")
    if not 0.1 <= arguments.seconds <= 20.0:
        raise InvalidInput(f"--seconds: expected 0.1 ... 20, got {arguments.seconds}")
    return _from_simulation(arguments)


def _require_unused(arguments: argparse.Namespace, defaults: dict[str, object], *, beside: str) -> None:
    given = [f"--{name}" for name, value in defaults.items() if getattr(arguments, name) != value]
    if given:
        raise InvalidInput(f"{beside}: expected no options of the other kind, got {', '.join(given)}")


def _pictures(arguments: argparse.Namespace, ids: tuple[int, ...]) -> PictureSettings:
    from alpamayo_ros.training.episode import FrameCodec
    from alpamayo_ros.training.simulate import PictureSettings

    height, width = arguments.size
    rendered = arguments.rendered or (320, 576)
    return PictureSettings(
        camera_ids=ids,
        height=height,
        width=width,
        render_height=rendered[0],
        render_width=rendered[1],
        codec=FrameCodec(arguments.image, arguments.quality),
    )


def _from_simulation(arguments: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from alpamayo_ros.sim.cameras import USUAL_CAMERA_IDS
    from alpamayo_ros.sim.scenarios import parse_scenarios
    from alpamayo_ros.sim.workers import CannotStart
    from alpamayo_ros.training.labels.automatic import AutomaticLabels
    from alpamayo_ros.training.simulate_all import EpisodeOutcome, SimulationRun, simulate_all
    from alpamayo_ros.training.steering import DisturbedSteerer

    pictures = _pictures(arguments, arguments.cameras or USUAL_CAMERA_IDS)
    wanted = SimulationRun(
        scene_ids=parse_scenarios(arguments.scenarios),
        out=arguments.out,
        disturbed=0 if arguments.driver else arguments.disturbed,
        undisturbed=arguments.undisturbed,
        pictures=pictures,
        labeller=AutomaticLabels(varied=not arguments.plain),
        steerer=_guided(arguments, pictures.camera_ids) if arguments.driver else DisturbedSteerer(),
        seed=arguments.seed,
        ticks=ticks_of("--seconds", arguments.seconds),
        workers=arguments.workers,
        episodes=arguments.episodes,
        renderer=renderer_address(arguments.renderer),
    )
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    started_s = time.perf_counter()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("driving", total=None)

        def begin(already: int, to_make: int) -> None:
            bar.update(task, total=to_make)
            if already:
                bar.console.print(f"{already} episodes are there already, {to_make} to make")

        def told(outcome: EpisodeOutcome) -> None:
            bar.update(task, advance=1, description=outcome.job.episode_id)
            if outcome.error:
                bar.console.print(f"{outcome.job.episode_id}: {outcome.error}")

        try:
            result = simulate_all(wanted, started=begin, progress=told)
        except CannotStart as error:
            print(f"alpamayo train data: {error}", file=sys.stderr)
            return EXIT_FAILED
    _say(arguments.out, result.made, wall_s=time.perf_counter() - started_s)
    if result.failed:
        print(f"failed         {', '.join(outcome.job.episode_id for outcome in result.failed)}")
    if result.interrupted:
        print("interrupted    the same command goes on with what is missing")
        return EXIT_INTERRUPTED
    return EXIT_FAILED if result.failed else 0


def _guided(arguments: argparse.Namespace, ids: tuple[int, ...]) -> GuidedSteerer:
    """Return what lets a checkpoint drive."""
    from alpamayo_ros.cli.sim_checkpoint import CheckpointSource
    from alpamayo_ros.model.plan_options import recommended_options
    from alpamayo_ros.training.closed_loop import checkpoint_identity
    from alpamayo_ros.training.road_guidance import Guidance
    from alpamayo_ros.training.road_rollout import GuidedSteerer

    guidance = Guidance(
        num_samples=arguments.samples,
        near_m=arguments.near,
        held_ticks=ticks_of("--held", arguments.held),
    )
    source = CheckpointSource(arguments.driver, camera_ids=ids, option="--driver")
    options = replace(recommended_options(source.checkpoint), num_samples=guidance.num_samples)
    identity = checkpoint_identity(source.checkpoint)
    return GuidedSteerer(replace(source, options=options), guidance=guidance, iteration=1, policy=identity)


def _from_bag(arguments: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.progress import Progress

    from alpamayo_ros.sensing.rig import load_rig
    from alpamayo_ros.training.bag_samples import add_bag

    if not arguments.rig:
        raise InvalidInput("--bag: expected --rig too, which says what its topics are, got none")
    rig = load_rig(arguments.rig)
    if arguments.odometry:
        rig = replace(rig, odometry_topic=arguments.odometry)
    pictures = _pictures(arguments, rig.camera_ids)
    started_s = time.perf_counter()
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("reading", total=None)
        added = add_bag(
            arguments.bag,
            rig,
            out=arguments.out,
            pictures=pictures,
            split=arguments.split,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    _say(arguments.out, added.entries, wall_s=time.perf_counter() - started_s)
    for reason, count in sorted(added.left_out.items()):
        print(f"left out       {count} for {reason}")
    return 0 if added.entries or added.already else EXIT_FAILED


def _say(out: Path, made: tuple[IndexEntry, ...], *, wall_s: float) -> None:
    """Print what was made, and what the data set holds now."""
    from alpamayo_ros.training.shards import read_index

    samples, size = sum(entry.samples for entry in made), sum(entry.size_bytes for entry in made)
    line = f"made           {len(made)} episodes, {samples} samples in {wall_s:.1f} s"
    if samples:
        line += f" ({samples / wall_s:.2f} samples/s, {size / samples / 1e3:.1f} kB a sample)"
    print(line)
    entries = read_index(out)
    for split in ("train", "validation", "test"):
        of_split = [entry for entry in entries if entry.split == split]
        count, total = sum(entry.samples for entry in of_split), sum(entry.size_bytes for entry in of_split)
        print(f"{split:<14} {len(of_split)} episodes, {count} samples, {total / 1e6:.1f} MB")
