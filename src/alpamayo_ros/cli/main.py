"""The `alpamayo` command: one module a subcommand, imported only when it is asked for."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from alpamayo_ros import __version__
from alpamayo_ros.types import InvalidInput

COMMANDS: dict[str, str] = {
    "doctor": "say what is installed, what is missing, and the remedy",
    "replay": "play a bag through the planner over real topics and sum up the result",
    "run": "compose our nodes in one process (for those without `ros2 launch`)",
    "view": "show the live graph or a recording in Foxglove, or on a web page",
    "overlay": "paint a recording's plans into its cameras' pictures: film or pictures",
    "record": "record topics to an MCAP bag, and keep the last seconds to be saved on demand",
    "record save": "have a running recorder save its last seconds",
    "bag": "make a synthetic driving bag, list what a bag holds, or repair one",
    "checkpoint": "make a random-weight checkpoint, or describe one",
    "dataset": "take NVIDIA's driving data into bags",
    "audit": "show or verify a planner's decision log",
    "parameters": "print the parameters of our nodes as a Markdown table",
    "sim": "drive simulated scenes in closed loop and score the planner, or score a log",
    "sim2val": "estimate a real metric's mean from few real scenes and many simulated ones",
    "train": "make training data, fine-tune on it, export the checkpoint",
    "evaluate": "hold plans against what was driven, on any bags: figures and a report",
    "evaluate compare": "compare two evaluations, plan by plan, with intervals",
    "sim-renderer": "serve our scenes' camera images by AlpaSim's protocol",
    "alpasim-driver": "drive AlpaSim: serve its driver's protocol with the planner",
    "asl": "summarise AlpaSim's .asl logs",
    "asl replay": "replay a log into a driver of AlpaSim and check its answers",
}
"""Subcommand, of one word or two -> one-line help.

`alpamayo_ros.cli.NAME` has `add_arguments(parser)` and `run(args) -> int`.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand and return its exit code; 2 for input that it refuses."""
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(
        prog="alpamayo",
        description="NVIDIA Alpamayo in ROS 2.",
        epilog="\n".join(f"  {name:<14} {text}" for name, text in COMMANDS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"alpamayo_ros {__version__}")
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="one of those below")
    arguments = parser.parse_args(argv[:1])

    name, rest = str(arguments.command), argv[1:]
    if rest and f"{name} {rest[0]}" in COMMANDS:
        name, rest = f"{name} {rest[0]}", rest[1:]
    module = import_module(f"alpamayo_ros.cli.{name.replace('-', '_').replace(' ', '_')}")
    subparser = argparse.ArgumentParser(prog=f"alpamayo {name}", description=module.__doc__)
    module.add_arguments(subparser)
    try:
        return int(module.run(subparser.parse_args(rest)))
    except InvalidInput as error:
        print(f"alpamayo {name}: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
