"""Fetch clips of NVIDIA's data set from the hub into its cache. What is there already is not fetched again.

The data set is gated: log in to the hub with your own account (`hf auth login`), and accept NVIDIA's
licence with it.
"""

from __future__ import annotations

import argparse

from alpamayo_ros.cli.dataset_list import add_cameras, add_filter, add_source, clip_filter, usual_cameras
from alpamayo_ros.types import InvalidInput

EXIT_INTERRUPTED = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `alpamayo dataset fetch` takes."""
    parser.add_argument("clips", nargs="*", metavar="CLIP", help="clip ids; or choose with the options below")
    add_cameras(parser)
    parser.add_argument(
        "--chunks",
        action="store_true",
        help="fetch the whole chunks that hold the clips, instead of the clips' own files: each about 100 "
        "clips, and gigabytes a camera; worth it from some ten clips of a chunk on",
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be fetched, and fetch nothing")
    add_filter(parser)
    parser.add_argument(
        "--limit", type=int, default=1, metavar="N", help="how many clips, where chosen so (default: 1)"
    )
    add_source(parser)


def run(arguments: argparse.Namespace) -> int:
    """Fetch, say what came, and return the exit code."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from alpamayo_ros.datasets.physical_ai.package import require_package

    wanted = clip_filter(arguments, camera_ids=usual_cameras(arguments))
    chosen = clip_filter(arguments) != type(wanted)()
    if bool(arguments.clips) == chosen:
        got = "both" if chosen else "neither"
        raise InvalidInput(f"expected either CLIPs or options that choose some (--country ...), got {got}")
    if arguments.limit < 1:
        raise InvalidInput(f"--limit: expected 1 or more, got {arguments.limit}")
    require_package()
    from alpamayo_ros.datasets.physical_ai import fetch, source
    from alpamayo_ros.datasets.physical_ai.index import matching_clips

    dataset = source.open_hub(revision=arguments.revision or "main", cache=arguments.cache)
    clips = list(dict.fromkeys(arguments.clips))
    if chosen:
        if wanted.reasoning:
            fetch.fetch_reasoning(dataset)
        clips = list(matching_clips(dataset, wanted).index[: arguments.limit])
        if not clips:
            raise InvalidInput("expected clips, got none that meet all the options")
    parts = fetch.parts_of(dataset, clips, camera_ids=usual_cameras(arguments), whole_chunks=arguments.chunks)
    total, missing = fetch.bytes_to_fetch(dataset, parts)
    members = sum(len(part.aliases) for part in parts)
    print(f"revision       {dataset.revision}")
    print(f"whole files    {total / 1e6:.1f} MB, {missing / 1e6:.1f} MB of it not here yet")
    if members:
        print(f"clips' files   {members} out of packed ones, some 50 to 80 MB a clip of four cameras")
    for clip_id in clips:
        print(f"clip           {clip_id}")
    if arguments.dry_run:
        return 0
    fetch.require_space(dataset, parts, missing_bytes=missing)
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    try:
        size = fetch.fetch_files(dataset, parts, bars=console.is_terminal)
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
            task = bar.add_task("fetching", total=None)

            def tell(done: int, of: int, what: str) -> None:
                bar.update(task, completed=done, total=of, description=what or "fetching")

            size += fetch.fetch_clips(dataset, parts, progress=tell)
    except KeyboardInterrupt:
        print("interrupted    the same command goes on with what is missing")
        return EXIT_INTERRUPTED
    print(f"here now       {size / 1e6:.1f} MB; `alpamayo dataset to-bag {clips[0]}` makes a bag of it")
    return 0
