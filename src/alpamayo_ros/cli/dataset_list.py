"""List clips of NVIDIA's data set, by what its tables tell of them."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alpamayo_ros.cli.train_data import camera_ids
from alpamayo_ros.types import InvalidInput

if TYPE_CHECKING:
    from alpamayo_ros.datasets.physical_ai.index import ClipFilter

_SHOWN = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `alpamayo dataset list` takes."""
    add_filter(parser)
    parser.add_argument(
        "--limit", type=int, default=_SHOWN, metavar="N", help=f"show at most so many (default: {_SHOWN})"
    )
    parser.add_argument("--ids", action="store_true", help="print clip ids alone, one a line")
    add_source(parser, folder=True)


def add_filter(parser: argparse.ArgumentParser) -> None:
    """Declare what chooses clips; clip_filter reads it."""
    which = parser.add_argument_group("which clips")
    which.add_argument("--country", action="append", default=[], metavar="NAME", help="may be repeated")
    which.add_argument("--hours", type=_span, metavar="FROM-TO", help="of the day; 22-4 is a night")
    which.add_argument("--months", type=_span, metavar="FROM-TO", help="11-2 is a winter")
    which.add_argument("--platform", action="append", default=[], metavar="NAME", help="e.g. hyperion_8.1")
    which.add_argument("--split", action="append", default=[], metavar="NAME", help="e.g. train, val, test")
    which.add_argument(
        "--with-reasoning", action="store_true", help="only clips that NVIDIA wrote reasoning for"
    )


def add_cameras(parser: argparse.ArgumentParser) -> None:
    """Declare --cameras; usual_cameras reads it."""
    parser.add_argument(
        "--cameras",
        type=camera_ids,
        metavar="NAMES",
        help="by comma, e.g. front_wide,front_tele (default: Alpamayo's usual four)",
    )


def add_source(parser: argparse.ArgumentParser, *, folder: bool = False) -> None:
    """Declare where the data set is looked for."""
    place = parser.add_argument_group("where the data set is")
    place.add_argument("--revision", default="", metavar="COMMIT", help="of the data set (default: newest)")
    place.add_argument("--cache", type=Path, metavar="DIR", help="the hub's cache (default: its usual place)")
    if folder:
        place.add_argument(
            "--root", type=Path, metavar="DIR", help="a folder with the data set's files, in place of the hub"
        )


def usual_cameras(arguments: argparse.Namespace) -> tuple[int, ...]:
    """Return the cameras of --cameras, or Alpamayo's usual four."""
    from alpamayo_ros.sim.cameras import USUAL_CAMERA_IDS

    return tuple(arguments.cameras or USUAL_CAMERA_IDS)


def clip_filter(arguments: argparse.Namespace, *, camera_ids: tuple[int, ...] = ()) -> ClipFilter:
    """Return the filter that add_filter's arguments describe."""
    from alpamayo_ros.datasets.physical_ai.index import ClipFilter

    return ClipFilter(
        countries=tuple(arguments.country),
        hours=arguments.hours,
        months=arguments.months,
        platforms=tuple(arguments.platform),
        splits=tuple(arguments.split),
        camera_ids=camera_ids,
        reasoning=arguments.with_reasoning,
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the clips, and return the exit code."""
    from alpamayo_ros.datasets.physical_ai.package import require_package

    if arguments.limit < 1:
        raise InvalidInput(f"--limit: expected 1 or more, got {arguments.limit}")
    if arguments.root is not None and (arguments.revision or arguments.cache):
        raise InvalidInput("--root: expected neither --revision nor --cache beside it, got one of them")
    require_package()
    from alpamayo_ros.datasets.physical_ai import source
    from alpamayo_ros.datasets.physical_ai.fetch import fetch_reasoning
    from alpamayo_ros.datasets.physical_ai.index import matching_clips

    wanted = clip_filter(arguments)
    if arguments.root is not None:
        dataset = source.open_folder(arguments.root)
    else:
        dataset = source.open_hub(revision=arguments.revision or "main", cache=arguments.cache)
        if wanted.reasoning:
            fetch_reasoning(dataset)
    clips = matching_clips(dataset, wanted)
    shown = clips.head(arguments.limit)
    if arguments.ids:
        print("\n".join(shown.index))
        return 0
    _print_table(shown)
    print(f"{len(clips)} of {len(dataset.clip_index)} clips" + _more(len(clips) - len(shown)))
    return 0


def _print_table(clips: Any) -> None:
    columns = ["clip", *(name.replace("hour_of_day", "hour").replace("_class", "") for name in clips.columns)]
    rows = [
        [clip_id, *map(str, values)] for clip_id, values in zip(clips.index, clips.to_numpy(), strict=True)
    ]
    widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]
    for row in (columns, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _more(left: int) -> str:
    return f"; {left} more with a larger --limit" if left else ""


def _span(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"expected FROM-TO in whole numbers, got {text!r}")
    return int(match[1]), int(match[2] or match[1])
