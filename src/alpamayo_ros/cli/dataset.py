"""Take driving data of others into bags: NVIDIA's PhysicalAI-Autonomous-Vehicles."""

from __future__ import annotations

import argparse
from importlib import import_module

ACTIONS: dict[str, str] = {
    "list": "list clips by country, time of day, month, split ...",
    "fetch": "fetch clips from the hub, by your own login",
    "to-bag": "write a fetched clip as a bag, with its rig file",
}
"""Action -> one-line help.

`alpamayo_ros.cli.dataset_ACTION` has `add_arguments(parser)` and `run(args) -> int`.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, text in ACTIONS.items():
        module = import_module(_module(name))
        action = actions.add_parser(name, help=text, description=module.__doc__)
        module.add_arguments(action)


def run(arguments: argparse.Namespace) -> int:
    """Run the chosen action."""
    return int(import_module(_module(arguments.action)).run(arguments))


def _module(action: str) -> str:
    return f"alpamayo_ros.cli.dataset_{action.replace('-', '_')}"
