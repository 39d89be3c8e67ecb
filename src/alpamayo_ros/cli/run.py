"""Run our nodes in one process, for those without `ros2 launch`: by default the planner, activated."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from typing import Any

import yaml

from alpamayo_ros.types import InvalidInput

NODES = ("planner", "player", "recorder", "sim_bridge", "watchdog", "visualizer")
SIMULATION = "sim"
"""Stands for the bridge, and a planner beside it where the bridge hosts none."""

VEHICLE = "vehicle"
"""Stands for the planner, and a watchdog in a process of its own, as vehicle.launch.py starts them."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `alpamayo run` takes."""
    parser.add_argument(
        "nodes",
        nargs="*",
        metavar="NODE",
        help=f"of {', '.join(NODES)}; {SIMULATION} for a simulation with its planner, {VEHICLE} for the "
        "planner and its watchdog (default: planner)",
    )
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
    planner.add_argument(
        "--vehicle", metavar="NAME", help="what the vehicle can do: a file, or a name in config/vehicles"
    )
    planner.add_argument("--no-autostart", action="store_true", help="wait for a lifecycle manager")
    player = parser.add_argument_group("player and recorder")
    player.add_argument("--bag", help="recording to play")
    player.add_argument("--rate", type=float, help="bag seconds a wall second")
    player.add_argument("--loop", action="store_true", help="start again at the end")
    player.add_argument("--record", metavar="DIR", help="folder to record to")
    simulation = parser.add_argument_group("simulation")
    simulation.add_argument(
        "--scenarios", help="seeds, A-B ranges, ids FAMILY-SEED or families, by comma (default: 0)"
    )
    simulation.add_argument(
        "--planner",
        choices=("expert", "constant"),
        help="a baseline in the bridge's process instead of the planner with --checkpoint",
    )
    simulation.add_argument(
        "--renderer", metavar="HOST:PORT", help="a SensorsimService, if not the embedded one"
    )
    simulation.add_argument("--usdz", metavar="FILE", help="the recorded scene, whose tracks are replayed")
    simulation.add_argument("--out", metavar="DIR", help="folder for rollout.asl and score.json")
    simulation.add_argument(
        "--rollouts", type=int, default=1, metavar="N", help="how many run at once, a namespace each"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the nodes until a signal comes or one of them is done; return the exit code."""
    from alpamayo_ros.ros.runner import ros_arguments, run_nodes
    from alpamayo_ros.ros.sim_graph import corners
    from alpamayo_ros.ros.vehicle_file import find_vehicle_file

    names = _names(arguments)
    guarded = VEHICLE in names
    names = ["planner" if name == VEHICLE else name for name in names]
    for name in names:
        if name not in NODES:
            known = ", ".join((*NODES, SIMULATION, VEHICLE))
            raise InvalidInput(f"node: expected one of {known}, got {name!r}")
    if arguments.rollouts != 1 and ("sim_bridge" not in names or {"player", "recorder"} & set(names)):
        raise InvalidInput("--rollouts: expected simulations and nothing else, got other nodes too")
    if {"planner", "watchdog"} <= set(names):
        raise InvalidInput(
            f"watchdog: expected in a process of its own, got it beside the planner; `{VEHICLE}` starts both"
        )
    parameters = _parameters(arguments)
    if "sim_bridge" in names:
        rig = parameters["sim_bridge"].setdefault("rig", "sim")
        for name in ("planner", "visualizer"):
            parameters[name].setdefault("use_sim_time", True)
            parameters[name].setdefault("rig", rig)
        # Stamped by wall time, a recording would not fit the stamps of what it holds.
        parameters["recorder"].setdefault("use_sim_time", True)
    ros = ros_arguments(
        namespace=arguments.namespace,
        remaps=_remaps(arguments),
        params_file=arguments.params_file,
        parameters={"use_sim_time": True} if arguments.use_sim_time else None,
        log_level=arguments.log_level,
    )
    if arguments.vehicle:
        # After the file of parameters, before "--": what comes later wins.
        ros[-1:-1] = ["--params-file", str(find_vehicle_file(arguments.vehicle))]
    makers = []
    for index, corner in enumerate(corners(arguments.namespace, arguments.rollouts)):
        options = {"cli_args": corner.arguments()} if corner.remaps else {}
        given = {name: dict(parameters[name]) for name in names}
        if corner.remaps:
            given["sim_bridge"]["rollout_index"] = index
            if "out" in given["sim_bridge"]:
                given["sim_bridge"]["out"] += f"/r{index}"
        makers += [with_parameters(name, given[name], options) for name in names]
    if not guarded:
        return run_nodes(makers, ros, start=start)
    from alpamayo_ros.ros.watchdog_process import WatchdogProcess

    with WatchdogProcess(_watchdog_arguments(arguments)) as watchdog:
        code = run_nodes(makers, ros, start=start)
    return 2 if watchdog.refused else code


def _watchdog_arguments(arguments: argparse.Namespace) -> list[str]:
    """Return what the watchdog of a vehicle is run with: what it has in common with the planner."""
    given = []
    for flag in ("namespace", "params_file", "log_level", "rig", "odometry", "vehicle"):
        if getattr(arguments, flag):
            given += [f"--{flag.replace('_', '-')}", getattr(arguments, flag)]
    if arguments.use_sim_time:
        given.append("--use-sim-time")
    for text in arguments.remap:
        given += ["--remap", text]
    for text in arguments.param:
        if text.startswith("watchdog:"):
            given += ["--param", text]
    return given


def _names(arguments: argparse.Namespace) -> list[str]:
    """Return which nodes to run, each once."""
    names: list[str] = []
    for name in arguments.nodes or ["planner"]:
        if name != SIMULATION:
            names.append(name)
        else:
            names += ["sim_bridge"] if arguments.planner else ["sim_bridge", "planner"]
    return list(dict.fromkeys(names))


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
        "watchdog": {"rig": arguments.rig},
        "visualizer": {"rig": arguments.rig},
        "sim_bridge": {
            "scenarios": arguments.scenarios,
            "planner": arguments.planner,
            "renderer": arguments.renderer,
            "usdz": arguments.usdz,
            "out": arguments.out,
            "rig": arguments.rig,
        },
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


def with_parameters(
    name: str, parameters: dict[str, Any], options: dict[str, Any] | None = None
) -> Callable[[], Any]:
    """Return what makes a node, `options` as of its class; only what is asked for is imported."""
    from rclpy.parameter import Parameter

    module = import_module(f"alpamayo_ros.nodes.{name}")
    overrides = [Parameter(key, value=value) for key, value in parameters.items()]
    make = module.simulation_nodes if name == "sim_bridge" else getattr(module, f"{name.capitalize()}Node")
    return partial(make, parameter_overrides=overrides, **(options or {}))


def start(nodes: Sequence[Any]) -> None:
    """Begin what the nodes are there for."""
    from alpamayo_ros.nodes.player import PlayerNode

    for node in nodes:
        if isinstance(node, PlayerNode):
            node.play()
        elif hasattr(node, "start"):
            node.start()
