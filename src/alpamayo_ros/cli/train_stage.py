"""Make staged instants for `perceive`: pictures of simulated scenes with what is about, drawn anew each time.

alpamayo train stage --scenarios 400-799 --out staged --instants 40 --workers 4

Road users are put where chance wants them, so a vision tower sees more of them than in any number of drives.
The same command again makes what is missing.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from alpamayo_ros.cli.renderer_option import renderer_address

EXIT_FAILED, EXIT_INTERRUPTED = 1, 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `alpamayo train stage` takes."""
    from alpamayo_ros.cli.train_data import camera_ids, picture_size

    parser.add_argument("--scenarios", required=True, help="as `alpamayo sim` takes them, e.g. 400-799")
    parser.add_argument("--out", type=Path, required=True, help="folder, new or to go on with")
    parser.add_argument("--instants", type=int, default=40, metavar="N", help="of each scene (default 40)")
    parser.add_argument(
        "--cameras",
        type=camera_ids,
        metavar="NAMES",
        help="Alpamayo's names by comma (default: Alpamayo's usual four)",
    )
    parser.add_argument(
        "--size", type=picture_size, default=(96, 160), metavar="HxW", help="stored (default 96x160)"
    )
    parser.add_argument(
        "--rendered",
        type=picture_size,
        default=(320, 576),
        metavar="HxW",
        help="before resizing (default: 320x576, as in `alpamayo sim`)",
    )
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes (default 1)")
    parser.add_argument(
        "--renderer", default="", metavar="HOST:PORT", help="who renders (default: one of our own a process)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn")


def run(args: argparse.Namespace) -> int:
    """Make what is missing; return the exit code."""
    from rich.console import Console
    from rich.progress import Progress

    from alpamayo_ros.sim.cameras import USUAL_CAMERA_IDS
    from alpamayo_ros.sim.scenarios import parse_scenarios
    from alpamayo_ros.training.perception.staged_files import StagingRun, stage_all
    from alpamayo_ros.training.simulate import PictureSettings

    pictures = PictureSettings(
        camera_ids=args.cameras or USUAL_CAMERA_IDS,
        height=args.size[0],
        width=args.size[1],
        render_height=args.rendered[0],
        render_width=args.rendered[1],
    )
    wanted = StagingRun(
        scene_ids=parse_scenarios(args.scenarios),
        out=args.out,
        instants=args.instants,
        pictures=pictures,
        seed=args.seed,
        workers=args.workers,
        renderer=renderer_address(args.renderer),
    )
    console = Console(stderr=True)
    started_s = time.perf_counter()
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("staging", total=len(wanted.scene_ids))

        def told(scene_id: str, error: str) -> None:
            bar.update(task, advance=1)
            if error:
                bar.console.print(f"{scene_id}: {error}")

        try:
            made, failed = stage_all(wanted, progress=told)
        except KeyboardInterrupt:
            print("interrupted    the same command goes on with what is missing")
            return EXIT_INTERRUPTED
    took_s = time.perf_counter() - started_s
    print(f"made           {made} scenes, {made * args.instants} instants in {took_s:.1f} s")
    if failed:
        print(f"failed         {', '.join(failed)}")
    return EXIT_FAILED if failed else 0
