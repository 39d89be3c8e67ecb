"""Make a synthetic bag; list what a bag holds, look at its cameras, or repair one that was not closed."""

from __future__ import annotations

import argparse
import re
import time
from dataclasses import replace
from pathlib import Path

from alpamayo_ros.types import InvalidInput


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare `bag info`, `bag repair`, `bag look` and `bag synthetic`."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    info = actions.add_parser("info", help="list a bag's topics", description="List a bag's topics.")
    info.add_argument("bag", metavar="BAG", help="folder, .mcap or .db3 file")
    repair = actions.add_parser(
        "repair",
        help="complete a recording that was cut off by a kill or a full disk",
        description="Complete the MCAP files of a recording that was cut off by a kill or a full disk, where "
        "they lie. Nothing readable is changed; an unreadable end is kept as FILE.cut.",
    )
    repair.add_argument("bag", metavar="BAG", help="folder or .mcap file")
    what = "paint where the vehicle went into its cameras' pictures: a look at calibration, roles and stamps"
    look = actions.add_parser("look", help=what, description=f"{what[0].upper()}{what[1:]}.")
    look.add_argument("bag", metavar="BAG", help="folder, .mcap or .db3 file")
    look.add_argument(
        "--rig", default="default", help="rig file, or a name in config/rigs (default: default)"
    )
    look.add_argument("--odometry", metavar="TOPIC", help="as it is recorded (default: the rig file's)")
    look.add_argument(
        "--out", type=Path, default=Path("look.jpg"), metavar="FILE", help="picture (default: look.jpg)"
    )
    synthetic = actions.add_parser(
        "synthetic",
        help="write a bag of drawn cameras and odometry on a winding road",
        description="Write a bag of drawn cameras and odometry on a winding road.",
    )
    synthetic.add_argument("folder", metavar="DIR", help="folder to make")
    synthetic.add_argument("--seconds", type=float, default=12.0, help="length of the drive (default: 12)")
    synthetic.add_argument(
        "--hz", type=float, default=10.0, help="images a second of each camera (default: 10)"
    )
    synthetic.add_argument(
        "--size", type=image_size, default=(1920, 1080), help="of the images (default: 1920x1080)"
    )
    synthetic.add_argument("--seed", type=int, default=0, help="of the surroundings (default: 0)")
    synthetic.add_argument(
        "--rig", default="default", help="rig file, or a name in config/rigs (default: default)"
    )


def image_size(text: str) -> tuple[int, int]:
    """Parse "WIDTHxHEIGHT"."""
    match = re.fullmatch(r"(\d+)[x×](\d+)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"expected WIDTHxHEIGHT, got {text!r}")
    return int(match[1]), int(match[2])


def run(arguments: argparse.Namespace) -> int:
    """Run the chosen action."""
    actions = {"info": _info, "repair": _repair, "look": _look, "synthetic": _synthetic}
    return actions[arguments.action](arguments)


def _info(arguments: argparse.Namespace) -> int:
    from alpamayo_ros.bags.qos import is_transient_local
    from alpamayo_ros.bags.reader import BagReader

    with BagReader(arguments.bag) as bag:
        start = (
            time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(bag.start_ns * 1e-9)) if bag.start_ns else "-"
        )
        print(f"{bag.path}: {bag.message_count} messages, {bag.duration_s:.2f} s from {start}")
        for name, problem in sorted(bag.unfinished.items()):
            end = f" and ends with {problem}" if problem else ""
            print(f"  {name} was not closed{end}; `alpamayo bag repair {bag.path}` completes it")
        width = max((len(name) for name in bag.topics), default=0)
        for topic in sorted(bag.topics.values(), key=lambda t: t.name):
            rate = f"{topic.count / bag.duration_s:7.2f} Hz" if bag.duration_s > 0 else "   -"
            latched = "  latched" if is_transient_local(topic.qos) else ""
            print(f"  {topic.name:<{width}}  {topic.count:7d}  {rate}  {topic.type_name}{latched}")
    return 0


def _repair(arguments: argparse.Namespace) -> int:
    from pathlib import Path

    from alpamayo_ros.bags.unfinished import CUT_SUFFIX, repair

    results = repair(Path(arguments.bag))
    for result in results:
        if result.was_complete:
            print(f"{result.name}: nothing is wanting, {result.messages} messages")
            continue
        cut = f"; cut off {result.problem}, {result.cut_bytes} bytes" if result.cut_bytes else ""
        kept = f" (see {result.name}{CUT_SUFFIX})" if result.cut_is_kept else ""
        print(f"{result.name}: completed, {result.messages} messages{cut}{kept}")
    return 0


def _look(arguments: argparse.Namespace) -> int:
    from alpamayo_ros.datasets.driven_picture import write_driven_picture
    from alpamayo_ros.sensing.rig import load_rig

    rig = load_rig(arguments.rig)
    if arguments.odometry:
        rig = replace(rig, odometry_topic=arguments.odometry)
    write_driven_picture(Path(arguments.bag), rig, arguments.out)
    print(f"{arguments.out}: where the vehicle went must lie on the road")
    return 0


def _synthetic(arguments: argparse.Namespace) -> int:
    from rich.progress import Progress

    from alpamayo_ros.bags.reader import BagReader
    from alpamayo_ros.bags.synthetic.bag import SyntheticDrive, write_synthetic_bag
    from alpamayo_ros.sensing.rig import load_rig

    width, height = arguments.size
    try:
        drive = SyntheticDrive(
            seconds=arguments.seconds, camera_hz=arguments.hz, width=width, height=height, seed=arguments.seed
        )
    except InvalidInput as error:
        raise InvalidInput(str(error).replace("camera_hz", "--hz")) from error
    rig = load_rig(arguments.rig)
    with Progress(*Progress.get_default_columns(), transient=True) as bar:
        task = bar.add_task("drawing", total=None)
        write_synthetic_bag(
            arguments.folder,
            rig,
            drive=drive,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    with BagReader(arguments.folder) as bag:
        size = sum(f.stat().st_size for f in bag.path.iterdir()) / 1e6
        print(f"{bag.path}: {bag.message_count} messages, {bag.duration_s:.1f} s, {size:.0f} MB")
    return 0
