"""Declarations, and what is made of them: checks, the table, the YAML file, options and settings."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from alpamayo_ros.cli import main as cli
from alpamayo_ros.cli.parameters import NODES, node_parameters
from alpamayo_ros.ros.parameters import Changes, ParameterSpec, by_name, markdown_table, yaml_file
from alpamayo_ros.ros.planner_parameters import (
    PARAMETERS,
    TABLE,
    PlannerSettings,
    check_change,
    plan_options,
    timing_config,
)
from alpamayo_ros.sensing.timing import TimingConfig
from alpamayo_ros.types import InvalidInput, PlanOptions

ROOT = Path(__file__).resolve().parents[2]
DEFAULTS = {spec.name: spec.default for spec in PARAMETERS}
BY_CHECKPOINT = {spec.name for spec in PARAMETERS if spec.by_checkpoint}
FIXED = {name: value for name, value in DEFAULTS.items() if name not in BY_CHECKPOINT}


def test_the_shipped_file_is_the_declarations():
    assert (ROOT / "config" / "planner.yaml").read_text(encoding="utf-8") == yaml_file(
        PARAMETERS, node="planner"
    ), "config/planner.yaml is not what `alpamayo parameters planner --format yaml` writes; write it anew"


def test_the_file_holds_every_default_with_its_type():
    text = yaml_file(PARAMETERS, node="planner")
    loaded = yaml.safe_load(text)["/**"]["planner"]["ros__parameters"]
    assert loaded == FIXED, "a checkpoint's recommendation would never be heeded"
    for name in BY_CHECKPOINT:
        text = text.replace(f"      # {name}: ", f"      {name}: ")
    loaded = yaml.safe_load(text)["/**"]["planner"]["ros__parameters"]
    assert loaded == DEFAULTS
    for name, value in loaded.items():
        assert type(value) is type(TABLE[name].default), name


def test_the_file_is_taken_by_ros(tmp_path):
    import rclpy
    from rclpy.context import Context
    from rclpy.node import Node

    file = tmp_path / "planner.yaml"
    file.write_text(
        yaml_file(PARAMETERS, node="planner").replace("# flow_steps: 10", "flow_steps: 4"), "utf-8"
    )
    context = Context()
    rclpy.init(args=[], context=context, domain_id=41)
    node = Node(
        "planner",
        context=context,
        namespace="/anywhere",
        cli_args=["--ros-args", "--params-file", str(file)],
        automatically_declare_parameters_from_overrides=True,
    )
    try:
        values = {name: node.get_parameter(name).value for name in (*FIXED, "flow_steps")}
    finally:
        node.destroy_node()
        context.try_shutdown()
    assert values == {**FIXED, "flow_steps": 4}


def test_the_table_names_every_parameter(capsys):
    table = markdown_table(PARAMETERS)
    rows = table.splitlines()
    assert len(rows) == len(PARAMETERS) + 2
    assert len({row.count("|") for row in rows}) == 1
    assert cli.main(["parameters", "planner"]) == 0
    assert table in capsys.readouterr().out
    assert cli.main(["parameters", "toaster"]) == 2
    assert "expected one of planner" in capsys.readouterr().err


def test_every_node_has_a_table(capsys):
    assert cli.main(["parameters"]) == 0
    printed = capsys.readouterr().out
    for node in NODES:
        assert f"### {node}\n" in printed
        assert markdown_table(node_parameters(node)) in printed


def test_the_planners_table_needs_no_ros():
    code = (
        "import sys; from alpamayo_ros.cli.parameters import node_parameters; "
        "node_parameters('planner'); assert 'rclpy' not in sys.modules"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


def test_options_without_parameters_are_the_models_own_defaults():
    assert plan_options(DEFAULTS) == PlanOptions()
    assert {f.name for f in fields(PlanOptions)} <= set(DEFAULTS)


def test_the_timing_contract_is_the_default():
    timing = timing_config(DEFAULTS)
    assert timing.sync_tolerance_ms == 50
    assert timing.odometry_wait_ms == 120
    assert timing.odometry_max_gap_ms == 250
    assert {f.name for f in fields(TimingConfig)} <= set(DEFAULTS)
    assert PlannerSettings.from_values(DEFAULTS).max_plan_age_ns == 10**9


@pytest.mark.parametrize("wait_ms", [0.0, 500.0, 5000.0])
@pytest.mark.parametrize("gap_ms", [1.0, 5000.0])
def test_buffers_are_as_long_as_any_wait_needs(wait_ms, gap_ms):
    timing_config(
        {**DEFAULTS, "frame_wait_ms": wait_ms, "odometry_wait_ms": wait_ms, "odometry_max_gap_ms": gap_ms}
    )


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("top_k", 5, ("top_k", 5)),
        ("top_k", 0, ("top_k", None)),
        ("guidance_weight", 1.0, ("guidance_weight", None)),
        ("guidance_weight", 1.5, ("guidance_weight", 1.5)),
        ("guidance_weight", 0.0, ("guidance_weight", 0.0)),
        ("seed", -1, ("seed", None)),
        ("seed", 0, ("seed", 0)),
        ("seed", 2**63 - 1, ("seed", 2**63 - 1)),
    ],
)
def test_options_that_may_be_none(name, value, expected):
    assert getattr(plan_options({**DEFAULTS, name: value}), expected[0]) == expected[1]


@pytest.mark.parametrize("bound", ["minimum", "maximum"])
def test_every_bound_is_one_that_the_code_takes(bound):
    for spec in PARAMETERS:
        limit = getattr(spec, bound)
        if limit is None or spec.name in ("sync_tolerance_ms", "frame_buffer_ms", "odometry_buffer_ms"):
            continue
        value = type(spec.default)(limit)
        values = {**DEFAULTS, spec.name: value}
        plan_options(values)
        timing_config(values)
        assert spec.check(value) == value


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("top_p", 0.0, "top_p: expected 0.001 … 1, got 0.0"),
        ("top_p", float("nan"), "top_p: expected"),
        ("top_p", "much", "top_p: expected double, got 'much'"),
        ("num_samples", True, "num_samples: expected integer, got True"),
        ("num_samples", 1.5, "num_samples: expected integer, got 1.5"),
        ("autostart", 1, "autostart: expected bool, got 1"),
        ("dtype", "int4", "dtype: expected one of"),
    ],
)
def test_a_value_that_cannot_be_is_refused(name, value, problem):
    with pytest.raises(InvalidInput, match=problem):
        TABLE[name].check(value)


def test_changes_are_refused_where_they_would_have_no_effect():
    check_change("num_samples", 3, unconfigured=False)
    check_change("rig", "kitti", unconfigured=True)
    check_change("use_sim_time", True, unconfigured=False)
    with pytest.raises(InvalidInput, match="rig: changes only while unconfigured"):
        check_change("rig", "kitti", unconfigured=False)
    with pytest.raises(InvalidInput, match="num_samples: expected 1 … 64, got 65"):
        check_change("num_samples", 65, unconfigured=False)


def test_a_declaration_must_be_sound():
    with pytest.raises(InvalidInput, match="rate: expected ≥ 1, got 0"):
        ParameterSpec("rate", 0, "", minimum=1)
    with pytest.raises(InvalidInput, match="expected a default of a parameter's type"):
        ParameterSpec("rate", None, "")  # type: ignore[arg-type]
    spec = ParameterSpec("rate", 1, "")
    with pytest.raises(InvalidInput, match="expected each name once, got rate twice"):
        by_name([spec, spec])
    names = ParameterSpec("names", ("a", "b"), "Some | names.", changes=Changes.LIVE)
    assert names.check(["c"]) == ("c",)
    assert 'names: ["a", "b"]' in yaml_file([names], node="n")
    assert "Some \\| names." in markdown_table([names])
