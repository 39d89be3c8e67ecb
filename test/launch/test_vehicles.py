"""The parameter files of vehicles: complete, consistent, and taken by the nodes over their own files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rclpy
import yaml
from rclpy.context import Context
from rclpy.node import Node

from alpamayo_ros.cli.parameters import node_parameters
from alpamayo_ros.ros.parameters import by_name, yaml_file
from alpamayo_ros.ros.safety_parameters import safety_settings
from alpamayo_ros.ros.vehicle_file import DEFAULT, find_vehicle_file, vehicle_names
from alpamayo_ros.safety.fallback import VehicleState, stop_plan
from alpamayo_ros.types import InvalidInput

ROOT = Path(__file__).resolve().parents[2]
NODES = ("planner", "watchdog")
TABLES = {node: by_name(node_parameters(node)) for node in NODES}
DEFAULTS = {name: spec.default for name, spec in TABLES["planner"].items()}
VEHICLES = vehicle_names()


def parameters(vehicle: str, node: str) -> dict[str, Any]:
    loaded = yaml.safe_load(find_vehicle_file(vehicle).read_text("utf-8"))
    assert set(loaded) == {"/**"}
    assert set(loaded["/**"]) == set(NODES)
    return loaded["/**"][node]["ros__parameters"]


def test_there_is_a_car_a_shuttle_and_a_truck():
    assert {"passenger_car", "shuttle", "truck"} <= set(VEHICLES)


def test_the_passenger_car_is_the_defaults():
    for node in NODES:
        for name, value in parameters(DEFAULT, node).items():
            assert value == TABLES[node][name].default, name


@pytest.mark.parametrize("vehicle", VEHICLES)
def test_every_vehicle_says_all_that_makes_one(vehicle: str):
    planner, watchdog = (parameters(vehicle, node) for node in NODES)
    ours = {n for n in DEFAULTS if n.startswith(("limits.", "stop.", "vehicle_"))}
    assert set(planner) == ours
    assert watchdog == {n: v for n, v in planner.items() if n.startswith("stop.")}
    for name, value in planner.items():
        assert TABLES["planner"][name].check(value) == value
        assert type(value) is float, name


@pytest.mark.parametrize("vehicle", VEHICLES)
def test_a_vehicle_can_drive_its_own_stops(vehicle: str):
    settings = safety_settings({**DEFAULTS, **parameters(vehicle, "planner")})
    limits, stop = settings.limits, settings.stop
    assert stop.emergency_decel_mps2 <= limits.max_decel_mps2
    assert stop.hard_jerk_mps3 <= limits.max_jerk_mps3
    for speed in np.linspace(0.0, limits.max_speed_mps, 7):
        plan = stop_plan(VehicleState(10**18, np.eye(4), float(speed)), None, stop)
        assert -plan.accel_mps2.min() <= stop.hard_decel_mps2 + 1e-3
        assert plan.speed_mps[0, -1] < speed or speed == 0.0


def test_an_unknown_vehicle_is_refused():
    with pytest.raises(InvalidInput, match=r"vehicle: expected a file or one of .*truck.*, got 'boat'"):
        find_vehicle_file("boat")


@contextmanager
def node_with(name: str, *files: Path) -> Iterator[Node]:
    context = Context()
    rclpy.init(args=[], context=context, domain_id=41)
    arguments = ["--ros-args"]
    for file in files:
        arguments += ["--params-file", str(file)]
    node = Node(
        name,
        context=context,
        namespace="/anywhere",
        cli_args=arguments,
        automatically_declare_parameters_from_overrides=True,
    )
    try:
        yield node
    finally:
        node.destroy_node()
        context.try_shutdown()


@pytest.mark.parametrize("node", NODES)
def test_a_vehicles_file_wins_over_the_nodes_own(tmp_path, node: str):
    own = tmp_path / "own.yaml"
    own.write_text(yaml_file(node_parameters(node), node=node), "utf-8")
    given = parameters("truck", node)
    with node_with(node, own, find_vehicle_file("truck")) as made:
        # What a checkpoint may recommend stands commented out in the node's file.
        written = [name for name, spec in TABLES[node].items() if not spec.by_checkpoint]
        read = {name: made.get_parameter(name).value for name in written}
    assert {name: read[name] for name in given} == given
    assert read["rig"] == "default"


def test_the_watchdogs_file_is_its_declarations():
    written = yaml_file(node_parameters("watchdog"), node="watchdog")
    assert (ROOT / "config" / "watchdog.yaml").read_text("utf-8") == written, (
        "config/watchdog.yaml is not what `alpamayo parameters watchdog --format yaml` writes; write it anew"
    )
