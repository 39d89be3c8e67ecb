"""Where several simulations live on one graph, and what their parameters may be."""

from __future__ import annotations

from pathlib import Path

import pytest

from alpamayo_ros.ros.parameters import yaml_file
from alpamayo_ros.ros.sim_graph import MAX_ROLLOUTS, corners
from alpamayo_ros.ros.sim_parameters import PARAMETERS, BridgeSettings
from alpamayo_ros.types import InvalidInput

ROOT = Path(__file__).resolve().parents[2]
DEFAULTS = {spec.name: spec.default for spec in PARAMETERS}


@pytest.mark.parametrize("namespace", ["alpamayo", "/alpamayo", "/alpamayo/"])
def test_one_simulation_has_the_usual_names(namespace):
    (corner,) = corners(namespace, 1)
    assert corner.namespace == "/alpamayo"
    assert corner.arguments() == ["--ros-args", "-r", "__ns:=/alpamayo"]


def test_several_have_a_namespace_each_and_their_clock_in_it():
    first, second = corners("alpamayo", 2)
    assert (first.namespace, second.namespace) == ("/alpamayo/r0", "/alpamayo/r1")
    assert second.remaps == {
        "/clock": "/alpamayo/r1/clock",
        "/tf": "/alpamayo/r1/tf",
        "/tf_static": "/alpamayo/r1/tf_static",
        "/diagnostics": "/alpamayo/r1/diagnostics",
    }
    assert second.arguments()[3:5] == ["-r", "/clock:=/alpamayo/r1/clock"]


def test_the_root_namespace_is_one_too():
    assert corners("", 1)[0].namespace == "/"
    assert [corner.namespace for corner in corners("/", 2)] == ["/r0", "/r1"]


@pytest.mark.parametrize("count", [0, -1, MAX_ROLLOUTS + 1])
def test_a_number_of_rollouts_that_cannot_be_is_refused(count):
    with pytest.raises(InvalidInput, match=f"rollouts: expected 1 ... {MAX_ROLLOUTS} at once, got {count}"):
        corners("alpamayo", count)


def test_the_shipped_file_is_the_declarations():
    assert (ROOT / "config" / "sim.yaml").read_text(encoding="utf-8") == yaml_file(
        PARAMETERS, node="sim_bridge"
    ), "config/sim.yaml is not what `alpamayo parameters sim_bridge --format yaml` writes; write it anew"


def test_settings_are_the_parameters():
    settings = BridgeSettings.from_values({**DEFAULTS, "use_sim_time": False})
    assert {name: getattr(settings, name) for name in DEFAULTS} == DEFAULTS


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scenarios": "  "}, "scenarios: expected at least one"),
        ({"world": "recorded"}, "world: expected procedural scenes of the embedded renderer"),
        ({"usdz": "a.usdz"}, "name a renderer that serves it"),
        ({"renderer_ca": "ca.pem"}, "renderer_ca, _cert, _key: expected a renderer by its address"),
        ({"renderer": "a:1", "world": "procedural", "usdz": "a.usdz"}, "usdz: expected none for procedural"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(changes, message):
    with pytest.raises(InvalidInput, match=message):
        BridgeSettings.from_values({**DEFAULTS, **changes})
