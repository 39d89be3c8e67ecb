"""Drive AlpaSim: serve its EgodriverService with Alpamayo, and mirror the sessions into ROS."""

from __future__ import annotations

import argparse
import logging
import signal
import threading
from typing import Any

from alpamayo_ros.ros.driver_parameters import PARAMETERS, DriverOptions, cameras_of, defaults
from alpamayo_ros.types import InvalidInput

_OPTIONS: tuple[tuple[str, str], ...] = (
    ("--checkpoint", "DIR|ID"),
    ("--backbone", "DIR|ID"),
    ("--device", "DEVICE"),
    ("--dtype", "TYPE"),
    ("--planner", "constant"),
    ("--host", "ADDRESS"),
    ("--port", "PORT"),
    ("--rig", "RIG"),
    ("--num-samples", "K"),
    ("--temperature", "T"),
    ("--guidance-weight", "W"),
    ("--seed", "N"),
    ("--navigation", "auto|on|off"),
    ("--debug-info", "json|pickle"),
    ("--max-plan-age", "S"),
    ("--max-sessions", "N"),
    ("--idle-timeout", "S"),
    ("--tls-key", "FILE"),
    ("--tls-cert", "FILE"),
    ("--tls-client-ca", "FILE"),
)
"""Options that are parameters of the node by the same name."""

_PLANNER_NODES = (
    *("checkpoint", "backbone", "device", "dtype", "num_samples", "temperature", "guidance_weight", "seed"),
    "safety_gate",
)
"""Of these, those that are the planner node's where it plans."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `alpamayo alpasim-driver`."""
    specs = {spec.name: spec for spec in PARAMETERS}
    for option, metavar in _OPTIONS:
        spec = specs[_parameter(option)]
        shown = "" if spec.default == "" else f" (default: {spec.default})"
        parser.add_argument(
            option, type=type(spec.default), metavar=metavar, help=spec.description.replace("`", "") + shown
        )
    parser.add_argument(
        "--camera",
        action="append",
        default=[],
        metavar="LOGICAL_ID=ROLE",
        help="a camera by another name than AlpaSim's usual one, e.g. camera_front=front_wide; repeatable",
    )
    parser.add_argument(
        "--no-safety-gate",
        action="store_true",
        help="drive whatever the model plans, unchecked; for experiments",
    )
    parser.add_argument("--no-mirror", action="store_true", help="publish nothing of the sessions")
    parser.add_argument(
        "--through-topics",
        action="store_true",
        help="drive one session at a time through the node graph, with a planner node in this process",
    )
    parser.add_argument("--namespace", default="alpamayo", help="of all nodes (default: alpamayo)")
    parser.add_argument("--no-ros", action="store_true", help="serve without ROS: no node, no mirror")


def run(arguments: argparse.Namespace) -> int:
    """Serve until interrupted."""
    if not arguments.no_ros:
        return _run_nodes(arguments)
    if arguments.through_topics:
        raise InvalidInput("--through-topics: expected ROS, got --no-ros too")
    return _serve(DriverOptions.from_values({**defaults(), **_given(arguments)}))


def _run_nodes(arguments: argparse.Namespace) -> int:
    """Run the bridge in mode alpasim and, through topics, the planner node, until SIGINT or SIGTERM."""
    from alpamayo_ros.cli.run import start, with_parameters
    from alpamayo_ros.ros.driver_graph import planner_parameters
    from alpamayo_ros.ros.runner import ros_arguments, run_nodes

    bridge = _given(arguments) | {"mode": "alpasim"}
    makers = []
    if arguments.no_mirror:
        bridge["mirror"] = False
    if arguments.through_topics:
        bridge["through_topics"] = True
        planner = {name: bridge[name] for name in _PLANNER_NODES if name in bridge}
        # How many samples there are to hand on, the bridge must know too.
        bridge = {name: value for name, value in bridge.items() if name not in {*planner} - {"num_samples"}}
        rig = bridge.setdefault("rig", "sim")
        planner |= planner_parameters(rig, namespace=arguments.namespace)
        makers.append(with_parameters("planner", planner))
    makers.insert(0, with_parameters("sim_bridge", bridge))
    _end_once()
    return run_nodes(makers, ros_arguments(namespace=arguments.namespace), start=start)


def _serve(options: DriverOptions) -> int:
    """Serve without ROS until SIGINT or SIGTERM."""
    from alpamayo_ros.ros.driver_backend import description, load, open_port
    from alpamayo_ros.ros.runner import StopSignals
    from alpamayo_ros.sensing.rig import load_rig

    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    rig = load_rig(options.rig)
    try:
        planners = load(options, rig, say=logging.getLogger(__name__).info)
    except KeyboardInterrupt:  # nobody is connected yet: nothing is to be ended in order
        return 130
    _end_once()
    with StopSignals() as stop:
        driver, server = open_port(options, planners, rig)
        with server:
            print(description(driver, server), flush=True)
            stop.wait()
    return 0


def _end_once() -> None:
    """Have a second signal, as some launchers send, not kill an interpreter that is on its way out."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)


def _parameter(option: str) -> str:
    return option.removeprefix("--").replace("-", "_")


def _given(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the node's parameters that were given, each checked."""
    specs = {spec.name: spec for spec in PARAMETERS}
    values = {_parameter(option): getattr(arguments, _parameter(option)) for option, _ in _OPTIONS}
    given = {name: specs[name].check(value) for name, value in values.items() if value is not None}
    if arguments.no_safety_gate:
        given["safety_gate"] = False
    if arguments.camera:
        cameras = ",".join(arguments.camera)
        cameras_of(cameras)
        given["cameras"] = cameras
    return given
