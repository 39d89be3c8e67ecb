"""`alpamayo run`: what nodes in one process share."""

from __future__ import annotations

from typing import Any

import pytest

from alpamayo_ros.cli import run
from alpamayo_ros.cli.main import main
from alpamayo_ros.ros import runner


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """Parameters by node, instead of nodes that run."""
    found: dict[str, dict[str, Any]] = {}

    def keep(name: str, parameters: dict[str, Any], _: dict[str, Any]) -> None:
        found[name] = parameters

    monkeypatch.setattr(run, "with_parameters", keep)
    monkeypatch.setattr(runner, "run_nodes", lambda *_, **__: 0)
    return found


def test_all_that_stands_beside_the_simulation_goes_by_its_clock(given: dict[str, dict[str, Any]]) -> None:
    assert main(["run", "sim", "visualizer", "recorder", "--checkpoint", "pisco"]) == 0
    assert {name for name, values in given.items() if values.get("use_sim_time")} == {
        "planner",
        "visualizer",
        "recorder",
    }


def test_a_recorder_on_a_vehicle_goes_by_the_wall(given: dict[str, dict[str, Any]]) -> None:
    assert main(["run", "recorder"]) == 0
    assert "use_sim_time" not in given["recorder"]
