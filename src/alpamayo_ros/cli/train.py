"""Make data from simulation or bags, fine-tune on it, export the checkpoint."""

from __future__ import annotations

import argparse
from importlib import import_module
from importlib.util import find_spec

ACTIONS: dict[str, str] = {
    "data": "make training samples from simulated drives or a bag",
    "label": "have a vision-language model write reasoning for samples",
    "review": "let a person accept, edit or reject reasoning",
    "stage": "make pictures of simulated scenes with what is about, for perceive",
    "perceive": "teach a new, small checkpoint to see, before sft",
    "sft": "fine-tune a checkpoint on samples",
    "road": "fine-tune on the policy's own rollouts",
    "export": "write a training run's weights as a checkpoint",
    "report": "say what a policy can do, in figures and pictures",
    "evaluate": "score checkpoints in closed loop on the same scenes",
}
"""Action -> one-line help.

`alpamayo_ros.cli.train_ACTION` has `add_arguments(parser)` and `run(args) -> int`.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions that this installation has."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, text in ACTIONS.items():
        if find_spec(_module(name)) is None:
            continue
        module = import_module(_module(name))
        action = actions.add_parser(name, help=text, description=module.__doc__)
        module.add_arguments(action)


def run(arguments: argparse.Namespace) -> int:
    """Run the chosen action."""
    return int(import_module(_module(arguments.action)).run(arguments))


def _module(action: str) -> str:
    return f"alpamayo_ros.cli.train_{action}"
