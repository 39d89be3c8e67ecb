"""Two runs, plan by plan."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alpamayo_ros.audit.codec import to_json
from alpamayo_ros.cli.main import main
from alpamayo_ros.evaluation.blocks import MANY_BAGS, blocks_of
from alpamayo_ros.evaluation.compare import compare_runs, comparison_page
from alpamayo_ros.evaluation.row import METRICS, Row
from alpamayo_ros.types import InvalidInput

SECOND = 1_000_000_000


def row(bag: str, t0_s: float, ade_m: float, *, planner: str = "policy") -> Row:
    values = dict.fromkeys(METRICS, ade_m)
    return Row(planner, bag, round(t0_s * SECOND), 6.4, 8.0, "5-10 m/s", "straight", 6, values)


def run(folder: Path, rows: list[Row], *, start_ns: int = 1, version: int = 1) -> Path:
    folder.mkdir()
    bags = [
        {"name": name, "start_ns": start_ns, "messages": 5} for name in sorted({each.bag for each in rows})
    ]
    content = {
        "schema": "alpamayo_ros/evaluation",
        "version": version,
        "about": {"name": folder.name, "command": "alpamayo evaluate …"},
        "settings": {"block_s": 10.0},
        "bags": bags,
    }
    (folder / "evaluation.json").write_text(json.dumps(content))
    (folder / "rows.jsonl").write_text("".join(json.dumps(to_json(each)) + "\n" for each in rows))
    return folder


def drives(shift_m: float, *, spread_m: float = 0.0, seed: int = 0) -> list[Row]:
    """100 s of each of three bags, very different in difficulty, each plan shifted by about shift_m."""
    noise = np.random.default_rng(seed).normal(0.0, spread_m, 600)
    hard = np.random.default_rng(7).exponential(3.0, 600) + 1.0
    return [row(f"bag{i // 200}", 0.5 * (i % 200), float(hard[i] + shift_m + noise[i])) for i in range(600)]


def test_what_is_hard_for_both_drops_out(tmp_path: Path) -> None:
    a = run(tmp_path / "a", drives(0.0))
    b = run(tmp_path / "b", drives(-0.1, spread_m=0.3, seed=1))
    found = compare_runs(a, b)
    each = found["figures"]["ade@6.4s"]
    assert found["counts"]["pairs"] == 600 and found["counts"]["blocks"] == 30
    low, high = each["difference"]["ci95"]
    assert low < -0.1 < high and high < 0 and high - low < 0.1
    # The means alone are known ten times worse.
    assert each["a"]["ci95"][1] - each["a"]["ci95"][0] > 5 * (high - low)
    assert 0.5 < each["better"]["value"] < 0.8
    assert found["by_manoeuvre"]["straight"]["n"] == 600


def test_against_itself_nothing_differs(tmp_path: Path) -> None:
    a = run(tmp_path / "a", drives(0.0))
    each = compare_runs(a, a)["figures"]["fde@6.4s"]
    assert each["difference"] == {"value": 0.0, "ci95": [0.0, 0.0], "n": 600}
    assert each["ratio"]["value"] == 1.0 and each["better"]["value"] is None


def test_for_comfort_more_is_better(tmp_path: Path) -> None:
    a, b = run(tmp_path / "a", drives(0.0)), run(tmp_path / "b", drives(0.5))
    figures = compare_runs(a, b)["figures"]
    assert figures["comfortable"]["better"]["value"] == 1.0 and figures["ade@1s"]["better"]["value"] == 0.0
    page = comparison_page(compare_runs(a, b))
    assert "B is worse" in page and "B is better" in page and "http" not in page


def test_only_common_instants_are_compared(tmp_path: Path) -> None:
    rows = drives(0.0)
    a = run(tmp_path / "a", [*rows[:100], row("bag0", 0.0, 9.0, planner="constant velocity")])
    b = run(tmp_path / "b", [replace(each, planner="policy") for each in rows[40:150]])
    counts = compare_runs(a, b)["counts"]
    assert (counts["pairs"], counts["only_a"], counts["only_b"]) == (60, 40, 50)
    assert (
        counts["intervals"] is False and compare_runs(a, b)["figures"]["ade@1s"]["difference"]["ci95"] is None
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"start_ns": 2}, "expected bag bag0 to be the same recording in both"),
        ({"version": 2}, "expected alpamayo_ros/evaluation of version 1, got alpamayo_ros/evaluation of 2"),
    ],
)
def test_runs_that_cannot_be_compared_are_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    a, b = run(tmp_path / "a", drives(0.0)), run(tmp_path / "b", drives(0.0), **change)
    with pytest.raises(InvalidInput, match=message):
        compare_runs(a, b)


def test_runs_without_a_common_instant_are_refused(tmp_path: Path) -> None:
    a = run(tmp_path / "a", [row("bag0", 1.0, 1.0)])
    b = run(tmp_path / "b", [row("bag0", 1.1, 1.0)])
    with pytest.raises(InvalidInput, match="expected instants that both look at, got none"):
        compare_runs(a, b)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = run(tmp_path / "a", drives(0.0)), run(tmp_path / "b", drives(-0.2))
    assert main(["evaluate", "compare", str(a), str(b), "--out", str(tmp_path / "c")]) == 0
    printed = capsys.readouterr().out
    assert "600 pairs in 30 blocks" in printed and "-0.20 [-0.20, -0.20]" in printed
    assert json.loads((tmp_path / "c" / "comparison.json").read_text())["counts"]["pairs"] == 600
    assert (tmp_path / "c" / "comparison.html").read_text().startswith("<!doctype html>")
    assert main(["evaluate", "compare", str(a), str(tmp_path / "none")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "expected a finished evaluation" in error


def test_blocks_are_pieces_of_a_bag_or_bags() -> None:
    few = blocks_of([("a", 0), ("a", 9 * SECOND), ("a", 10 * SECOND), ("b", 10 * SECOND)], block_s=10.0)
    assert few["a", 0] == few["a", 9 * SECOND] != few["a", 10 * SECOND]
    assert len(set(few.values())) == 3
    many = blocks_of([(f"bag{i}", t * SECOND) for i in range(MANY_BAGS) for t in range(40)], block_s=10.0)
    assert len(set(many.values())) == MANY_BAGS
