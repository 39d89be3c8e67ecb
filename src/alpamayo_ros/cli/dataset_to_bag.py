"""Write a clip of NVIDIA's data set as a rosbag2, and the rig file with its lenses and mounts.

The clip must have been fetched (`alpamayo dataset fetch`), or lie in a folder with the data set's files
(--root).
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from alpamayo_ros.cli.dataset_fetch import EXIT_INTERRUPTED
from alpamayo_ros.cli.dataset_list import add_cameras, add_source, usual_cameras
from alpamayo_ros.types import CAMERA_NAMES, InvalidInput


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `alpamayo dataset to-bag` takes."""
    parser.add_argument("clip", metavar="CLIP", help="clip id")
    parser.add_argument("--out", type=Path, metavar="DIR", help="bag to make (default: the clip's id)")
    parser.add_argument(
        "--rig-out",
        type=Path,
        metavar="FILE",
        help="rig file to make (default: rig.yaml in the bag's folder)",
    )
    add_cameras(parser)
    parser.add_argument(
        "--hz",
        type=float,
        metavar="HZ",
        help="pictures a second of each camera: 10 is all that Alpamayo looks at (default: all 30)",
    )
    parser.add_argument("--quality", type=int, default=95, metavar="Q", help="of JPEG (default: 95)")
    add_source(parser, folder=True)


def run(arguments: argparse.Namespace) -> int:
    """Write the bag, say what is in it, and return the exit code."""
    from rich.console import Console
    from rich.progress import Progress

    from alpamayo_ros.bags.errors import BagError
    from alpamayo_ros.datasets.driven_picture import write_driven_picture
    from alpamayo_ros.datasets.physical_ai.package import require_package
    from alpamayo_ros.datasets.physical_ai.to_bag import BagSettings, rig_of, write_bag

    out = arguments.out or Path(arguments.clip)
    if out.exists():
        raise InvalidInput(f"{out}: expected a folder that is not there yet, got one that exists (see --out)")
    if arguments.root is not None and (arguments.revision or arguments.cache):
        raise InvalidInput("--root: expected neither --revision nor --cache beside it, got one of them")
    try:
        settings = BagSettings(rate_hz=arguments.hz, jpeg_quality=arguments.quality)
    except InvalidInput as error:
        text = str(error).replace("rate_hz", "--hz").replace("jpeg_quality", "--quality")
        raise InvalidInput(text) from error
    require_package()
    from alpamayo_ros.datasets.physical_ai import source
    from alpamayo_ros.datasets.physical_ai.clip import read_clip

    started_s = time.perf_counter()
    if arguments.root is not None:
        dataset = source.open_folder(arguments.root)
    else:
        dataset = source.open_fetched(revision=arguments.revision, cache=arguments.cache)
    clip = read_clip(dataset, arguments.clip, camera_ids=usual_cameras(arguments))
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("writing", total=None)
        try:
            written = write_bag(
                clip,
                out,
                rig_file=arguments.rig_out,
                settings=settings,
                progress=lambda done, total: bar.update(task, completed=done, total=total),
            )
        except KeyboardInterrupt:
            bar.stop()
            print("interrupted    nothing of the bag is left")
            return EXIT_INTERRUPTED
    size = sum(file.stat().st_size for file in written.bag.iterdir())
    look = written.bag / "look.jpg"
    try:
        write_driven_picture(written.bag, rig_of(clip), look)
    except BagError as error:  # a clip may end before its egomotion begins, say; the bag is as it is
        print(f"no picture     {error}")
    facts = ", ".join(
        clip.facts[name] for name in ("country", "platform_class", "split") if name in clip.facts
    )
    print(f"clip           {clip.clip_id} ({facts}), revision {clip.revision}")
    if clip.facts.get("clip_is_valid") == "False":
        print("note           the data set itself marks this clip as invalid")
    for name, count in written.pictures.items():
        of = next(len(c.stamps_us) for c in clip.cameras if c.camera_id == CAMERA_NAMES.index(name))
        print(f"{name:<14} {count} of {of} pictures, JPEG quality {settings.jpeg_quality}")
    print(f"odometry       {written.poses} poses; reasoning: {written.reasoning} events")
    for remark in written.remarks:
        print(f"note           {remark}")
    print(f"bag            {written.bag} ({size / 1e6:.0f} MB in {time.perf_counter() - started_s:.0f} s)")
    print(f"rig            {written.rig_file}")
    if look.is_file():
        print(f"look at        {look}: where the vehicle went must lie on the road")
    return 0
