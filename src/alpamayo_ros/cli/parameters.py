"""Print the parameters of our nodes, as they declare them, as Markdown or as a parameter file."""

from __future__ import annotations

import argparse
from importlib import import_module

from alpamayo_ros.ros.parameters import ParameterSpec, markdown_table, yaml_file
from alpamayo_ros.types import InvalidInput

NODES: dict[str, str] = {
    "planner": "alpamayo_ros.ros.planner_parameters",
    "player": "alpamayo_ros.nodes.player",
    "recorder": "alpamayo_ros.nodes.recorder",
    "sim_bridge": "alpamayo_ros.ros.sim_parameters",
    "alpasim_driver": "alpamayo_ros.ros.driver_parameters",
    "watchdog": "alpamayo_ros.ros.watchdog_parameters",
    "visualizer": "alpamayo_ros.ros.visualizer_parameters",
}
"""Node -> module whose PARAMETERS it declares."""

NAMES = {"alpasim_driver": "sim_bridge"}
"""What a node is called in ROS, where that is otherwise: sim_bridge is two nodes, by its parameter `mode`."""


def node_parameters(node: str) -> tuple[ParameterSpec, ...]:
    """Return what a node declares; raises InvalidInput for a node that we don't have."""
    if node not in NODES:
        raise InvalidInput(f"node: expected one of {', '.join(NODES)}, got {node!r}")
    specs: tuple[ParameterSpec, ...] = import_module(NODES[node]).PARAMETERS
    return specs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("node", nargs="?", help=f"one of {', '.join(NODES)}; all of them if left out")
    parser.add_argument(
        "--format",
        choices=("markdown", "yaml"),
        default="markdown",
        help="a table, or a file for --params-file",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the parameters."""
    nodes = [arguments.node] if arguments.node else list(NODES)
    for number, node in enumerate(nodes):
        specs = node_parameters(node)
        if number:
            print()
        if arguments.format == "yaml":
            print(yaml_file(specs, node=NAMES.get(node, node), table=node), end="")
        else:
            print(f"### {node}\n\n{markdown_table(specs)}", end="")
    return 0
