"""Run our nodes in one process, for those without `ros2 launch`: by default the planner, activated."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from typing import Any

import yaml

from alpamayo_ros.types import InvalidInput

NODES = ("planner", "player", "recorder")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `alpamayo run` takes."""
    parser.add_argument("nodes", nargs="*", metavar="NODE", help=f"of {', '.join(NODES)} (default: planner)")
    parser.add_argument("--namespace", default="alpamayo", help="of all nodes (default: alpamayo)")
    parser.add_argument("--params-file", help="YAML as for `ros2 run … --params-file`")
    parser.add_argument(
        "--param",
        action="append",
        default=[],
        metavar="[NODE:]NAME:=VALUE",
        help="a parameter, of the planner if no node is named; see `alpamayo parameters`",
    )
    parser.add_argument(
        "--remap", action="append", default=[], metavar="FROM:=TO", help="a topic by another name"
    )
    parser.add_argument("--log-level", choices=("debug", "info", "warn", "error", "fatal"))
    parser.add_argument("--use-sim-time", action="store_true", help="take the time from /clock")
    planner = parser.add_argument_group("planner")
    planner.add_argument("--rig", help="rig file, or a name in config/rigs")
    planner.add_argument("--checkpoint", help="Alpamayo's checkpoint: a folder or a hub id")
    planner.add_argument("--backbone", help="folder or hub id, if not the one that the checkpoint names")
    planner.add_argument("--device", help="cpu, cuda, cuda:1, or auto")
    planner.add_argument("--odometry", metavar="TOPIC", help="topic of nav_msgs/Odometry")
    planner.add_argument("--no-autostart", action="store_true", help="wait for a lifecycle manager")
    player = parser.add_argument_group("player and recorder")
    player.add_argument("--bag", help="recording to play")
    player.add_argument("--rate", type=float, help="bag seconds a wall second")
    player.add_argument("--loop", action="store_true", help="start again at the end")
    player.add_argument("--record", metavar="DIR", help="folder to record to")


def run(arguments: argparse.Namespace) -> int:
    """Run the nodes until a signal comes or one of them is done; return the exit code."""
    from alpamayo_ros.ros.runner import ros_arguments, run_nodes

    names = list(dict.fromkeys(arguments.nodes or ["planner"]))
    for name in names:
        if name not in NODES:
            raise InvalidInput(f"node: expected one of {', '.join(NODES)}, got {name!r}")
    parameters = _parameters(arguments)
    ros = ros_arguments(
        namespace=arguments.namespace,
        remaps=_remaps(arguments),
        params_file=arguments.params_file,
        parameters={"use_sim_time": True} if arguments.use_sim_time else None,
        log_level=arguments.log_level,
    )
    return run_nodes([_maker(name, parameters[name]) for name in names], ros, start=_start)


def _parameters(arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Return node -> name -> value of the command line; a flag that was not given leaves the file's value.

    rcl's own `-p` knows no node names, and would set a player's `rate` for every node that has one.
    """
    flags = {
        "planner": {
            "rig": arguments.rig,
            "checkpoint": arguments.checkpoint,
            "backbone": arguments.backbone,
            "device": arguments.device,
            "autostart": not arguments.no_autostart,
        },
        "player": {"bag": arguments.bag, "rate": arguments.rate, "loop": arguments.loop or None},
        "recorder": {"output": arguments.record},
    }
    parameters: dict[str, dict[str, Any]] = {
        node: {name: value for name, value in values.items() if value is not None}
        for node, values in flags.items()
    }
    for text in arguments.param:
        key, separator, value = text.partition(":=")
        node, _, name = key.rpartition(":")
        if not separator or not name or node not in ("", *NODES):
            raise InvalidInput(
                f"--param: expected [NODE:]NAME:=VALUE with NODE of {', '.join(NODES)}, got {text!r}"
            )
        try:
            parameters[node or NODES[0]][name] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise InvalidInput(f"--param {key}: expected a YAML value, got {value!r}") from error
    return parameters


def _remaps(arguments: argparse.Namespace) -> dict[str, str]:
    remaps = {"odometry": arguments.odometry} if arguments.odometry else {}
    for text in arguments.remap:
        source, separator, target = text.partition(":=")
        if not (source and separator and target):
            raise InvalidInput(f"--remap: expected FROM:=TO, got {text!r}")
        remaps[source] = target
    return remaps


def _maker(name: str, parameters: dict[str, Any]) -> Callable[[], Any]:
    """Return what makes a node; only what is asked for is imported (the planner brings torch)."""
    from rclpy.parameter import Parameter

    node_class = getattr(import_module(f"alpamayo_ros.nodes.{name}"), f"{name.capitalize()}Node")
    overrides = [Parameter(key, value=value) for key, value in parameters.items()]
    return partial(node_class, parameter_overrides=overrides)


def _start(nodes: Sequence[Any]) -> None:
    from alpamayo_ros.nodes.player import PlayerNode

    for node in nodes:
        if isinstance(node, PlayerNode):
            node.play()
