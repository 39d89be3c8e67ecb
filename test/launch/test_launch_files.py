"""The launch files, as far as they can be checked without `launch`; see README.md beside this."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

import pytest

from alpamayo_ros.cli.parameters import node_parameters

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "launch").glob("*.launch.py"))
VEHICLE = {"rig", "checkpoint", "backbone", "device", "params_file", "namespace", "use_sim_time", "log_level"}
SHOWN = {"rviz", "visualize"}
REPLAY = {*VEHICLE, *SHOWN, "bag", "rate", "out"}
GUARDED = {*VEHICLE, *SHOWN, "vehicle", "watchdog", "watchdog_params_file", "record", "ring", "ring_output"}
SIM = {*VEHICLE - {"use_sim_time"}, "scenarios", "planner", "renderer", "rollouts", "out", *SHOWN, "record"}
ALPASIM = {
    *VEHICLE - {"use_sim_time"},
    "planner",
    "drivers",
    "host",
    "port",
    "through_topics",
    *SHOWN,
    "record",
}
VISUALIZE = {*VEHICLE - {"checkpoint", "backbone", "device", "params_file"}, "rviz", "layout", "fixed_frame"}
ARGUMENTS = {
    "alpasim.launch.py": ALPASIM,
    "replay.launch.py": REPLAY,
    "sim.launch.py": SIM,
    "vehicle.launch.py": GUARDED,
    "visualize.launch.py": VISUALIZE,
}


def calls(tree: ast.AST, name: str) -> list[ast.Call]:
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name
    ]


def declared(tree: ast.Module) -> dict[str, str]:
    """Return argument -> description, of direct declarations and of the table of those passed on."""
    found: dict[str, str] = {}
    for call in calls(tree, "DeclareLaunchArgument"):
        if isinstance(call.args[0], ast.Constant):
            words = {k.arg: k.value for k in call.keywords}
            description = words.get("description")
            found[call.args[0].value] = description.value if isinstance(description, ast.Constant) else ""
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "PASSED_ON":
            found.update({name: text for name, _, text in ast.literal_eval(node.value)})
    return found


def parse(name: str) -> ast.Module:
    path = ROOT / "launch" / name
    compile(path.read_text(), str(path), "exec")
    return ast.parse(path.read_text())


def test_all_are_there() -> None:
    assert [f.name for f in FILES] == sorted(ARGUMENTS)


@pytest.mark.parametrize(("name", "expected"), ARGUMENTS.items())
def test_every_argument_is_declared_with_a_description(name: str, expected: set[str]) -> None:
    arguments = declared(parse(name))
    assert expected <= set(arguments)
    assert all(len(text) > 10 and text.endswith(".") for text in arguments.values()), arguments


@pytest.mark.parametrize("name", ARGUMENTS)
def test_every_configuration_that_is_read_is_declared(name: str) -> None:
    tree = parse(name)
    read = {
        c.args[0].value for c in calls(tree, "LaunchConfiguration") if isinstance(c.args[0], ast.Constant)
    }
    assert read
    assert read <= set(declared(tree))


def test_what_replay_passes_on_is_declared_by_vehicle() -> None:
    replay, vehicle = parse("replay.launch.py"), parse("vehicle.launch.py")
    table = next(n for n in replay.body if isinstance(n, ast.Assign) and n.targets[0].id == "PASSED_ON")  # type: ignore[attr-defined]
    assert {name for name, _, _ in ast.literal_eval(table.value)} <= set(declared(vehicle))


@pytest.mark.parametrize("name", ARGUMENTS)
def test_executables_and_parameters_exist(name: str) -> None:
    for call in calls(parse(name), "Node"):
        words = {k.arg: k.value for k in call.keywords}
        executable = ast.literal_eval(words["executable"])
        assert ast.literal_eval(words["package"]) == "alpamayo_ros"
        if executable != "sim_bridge":  # whose process may hold a planner too, which must keep its name
            assert ast.literal_eval(words["name"]) == executable
        module = importlib.import_module(f"alpamayo_ros.nodes.{executable}")
        assert callable(module.main)
        if executable in ("planner", "sim_bridge"):  # their parameters come from a file and a table
            continue
        known = {spec.name for spec in module.PARAMETERS} | {"use_sim_time"}
        if executable == "watchdog":  # from files, and a table that is checked below
            continue
        given = {
            key.value
            for node in ast.walk(words["parameters"])
            if isinstance(node, ast.Dict)
            for key in node.keys
        }  # type: ignore[union-attr]
        assert given
        assert given <= known


def test_planner_and_watchdog_of_a_vehicle_share_what_they_must() -> None:
    tree = parse("vehicle.launch.py")
    nodes = {ast.literal_eval(words["executable"]): words for words in map(keywords, calls(tree, "Node"))}
    assert set(nodes) == {"planner", "watchdog", "recorder"}
    for name in ("namespace", "remappings"):
        assert ast.dump(nodes["planner"][name]) == ast.dump(nodes["watchdog"][name]), name
    assert ast.literal_eval(nodes["watchdog"]["respawn"]) is True
    assert "respawn" not in nodes["planner"]  # whoever restarts it must know that the vehicle stands
    watchdog = {spec.name for spec in node_parameters("watchdog")}
    assert "rig" in watchdog
    assert ("watchdog", "false") in [
        ast.literal_eval(node)
        for node in ast.walk(parse("replay.launch.py"))
        if isinstance(node, ast.Tuple) and all(isinstance(part, ast.Constant) for part in node.elts)
    ]


def test_visualizer_and_rviz_are_started_by_one_helper_alone() -> None:
    helper = ast.parse((ROOT / "src" / "alpamayo_ros" / "ros" / "visualize_launch.py").read_text())
    nodes = {ast.literal_eval(words["executable"]): words for words in map(keywords, calls(helper, "Node"))}
    assert set(nodes) == {"visualizer", "rviz2"}
    known = {spec.name for spec in node_parameters("visualizer")}
    assert {"rig", "rig_frame"} <= known
    assert ast.literal_eval(nodes["visualizer"]["name"]) == "visualizer"
    layouts = {path.stem for path in (ROOT / "config" / "rviz").glob("*.rviz")}
    for path in FILES:
        tree = ast.parse(path.read_text())
        started = {ast.literal_eval(keywords(call)["executable"]) for call in calls(tree, "Node")}
        assert not started & {"visualizer", "rviz2"}, path.name
        if path.name == "replay.launch.py":  # by way of vehicle.launch.py
            continue
        for call in calls(tree, "rviz_node"):
            named = call.args[0]
            assert not isinstance(named, ast.Constant) or named.value in layouts, path.name
        assert calls(tree, "rviz_node") and calls(tree, "visualizer_node"), path.name


def keywords(call: ast.Call) -> dict[str | None, ast.expr]:
    return {k.arg: k.value for k in call.keywords}


@pytest.mark.skipif(
    importlib.util.find_spec("launch_ros") is None, reason="launch_ros is not installed (it is not on PyPI)"
)
@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_launch_itself_reads_them(path: Path) -> None:
    from launch.launch_description_sources import get_launch_description_from_python_launch_file

    description = get_launch_description_from_python_launch_file(str(path))
    arguments = {a.name: a.description for a in description.get_launch_arguments()}
    assert ARGUMENTS[path.name] <= set(arguments)


def tables_of(tree: ast.Module) -> dict[str, tuple[str, ...]]:
    """Return the module's tuples by name."""
    return {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }


def test_the_bridge_is_given_parameters_that_it_has() -> None:
    tree = parse("sim.launch.py")
    tables = tables_of(tree)
    bridge = {spec.name for spec in node_parameters("sim_bridge")}
    planner = {spec.name for spec in node_parameters("planner")}
    assert set(tables["BRIDGE_TEXTS"]) <= bridge
    assert set(tables["PLANNER_TEXTS"]) <= planner
    assert {"rollout_index", "realtime_factor"} <= bridge
    assert set(tables["BRIDGE_TEXTS"]) | set(tables["PLANNER_TEXTS"]) <= set(declared(tree))


def test_drivers_are_given_parameters_that_they_have() -> None:
    tree = parse("alpasim.launch.py")
    tables = tables_of(tree)
    driver = {spec.name for spec in node_parameters("alpasim_driver")}
    planner = {spec.name for spec in node_parameters("planner")}
    assert set(tables["BRIDGE_TEXTS"]) <= driver
    assert {*tables["MODEL_TEXTS"], "device"} <= driver & planner
    assert {"mode", "port", "through_topics", "num_samples"} <= driver
    assert {*tables["BRIDGE_TEXTS"], *tables["MODEL_TEXTS"]} <= set(declared(tree))
