"""Sim2Val against what is known of synthetic samples: variance, bias, coverage; and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alpamayo_ros.audit.codec import to_json
from alpamayo_ros.cli.main import main
from alpamayo_ros.evaluation.figures import SCHEMA, VERSION
from alpamayo_ros.evaluation.row import Row
from alpamayo_ros.sim2val.estimate import Estimate, estimate, samples_for_width
from alpamayo_ros.sim2val.report import as_dict, table, warnings_of
from alpamayo_ros.sim2val.samples import Samples, join
from alpamayo_ros.sim2val.sources import read_csv, read_ids, read_metric
from alpamayo_ros.types import InvalidInput

MEAN = 0.7


def draw(
    random: np.random.Generator, *, n: int, m: int, rho: float, p: int = 1, skewed: bool = False
) -> Samples:
    """Return samples with variance 1, mean MEAN, and multiple correlation rho."""
    x = random.normal(size=(n + m, p))
    if skewed:
        x = random.exponential(size=(n + m, p)) - 1.0
    noise = random.normal(size=n)
    y = MEAN + rho * x[:n].sum(axis=1) / np.sqrt(p) + np.sqrt(1 - rho**2) * noise
    ids = tuple(str(i) for i in range(n))
    controls = tuple(f"c{i}" for i in range(p))
    return Samples(ids=ids, real=y, controls=controls, sim=3 * x[:n] + 5, sim_only=3 * x[n:] + 5)


def trials(count: int, **law: float | int | bool) -> list[tuple[Samples, Estimate]]:
    random = np.random.default_rng(7)
    made = [draw(random, **law) for _ in range(count)]  # type: ignore[arg-type]
    return [(samples, estimate(samples, resamples=0)) for samples in made]


@pytest.mark.parametrize(
    ("n", "m", "rho", "p"),
    [(100, 1000, 0.9, 1), (100, 100, 0.9, 1), (60, 600, 0.5, 1), (100, 1000, 0.8, 3), (60, 600, -0.9, 1)],
)
def test_the_variance_falls_by_rho_squared_and_the_interval_covers(
    n: int, m: int, rho: float, p: int
) -> None:
    results = [r for _, r in trials(800, n=n, m=m, rho=rho, p=p)]
    plain = np.array([r.plain.value for r in results])
    controlled = np.array([r.controlled.value for r in results])
    # β is estimated of n pairs, which costs (n - 2) / (n - p - 2) (Lavenberg and Welch).
    explained = rho**2 * m / (n + m)
    expected = 1 - (1 - rho**2) * (n - 2) / (n - p - 2) - rho**2 * n / (n + m)
    assert expected == pytest.approx(explained, abs=0.03)
    reduction = 1 - controlled.var() / plain.var()
    assert reduction == pytest.approx(expected, abs=0.08)
    assert np.mean([r.reduction for r in results]) == pytest.approx(expected, abs=0.04)
    assert np.mean([r.reduction_expected for r in results]) == pytest.approx(explained, abs=0.03)
    spread = 4 * controlled.std() / np.sqrt(len(results))
    assert controlled.mean() == pytest.approx(MEAN, abs=spread)
    for interval in ([r.controlled for r in results], [r.plain for r in results]):
        covered = np.mean([i.low <= MEAN <= i.high for i in interval])
        assert covered == pytest.approx(0.95, abs=0.027)  # 3.5 standard errors of 800 trials


def test_coverage_holds_with_few_pairs() -> None:
    results = [r for _, r in trials(800, n=10, m=1000, rho=0.9)]
    covered = np.mean([r.controlled.low <= MEAN <= r.controlled.high for r in results])
    assert covered == pytest.approx(0.95, abs=0.027)
    assert np.mean([r.controlled.width for r in results]) < np.mean([r.plain.width for r in results])


def test_the_bootstrap_covers_too() -> None:
    random = np.random.default_rng(3)
    covered = []
    for _ in range(150):
        result = estimate(draw(random, n=60, m=300, rho=0.8, skewed=True), resamples=400)
        covered.append(result.bootstrap[0] <= MEAN <= result.bootstrap[1])
    assert 0.88 <= np.mean(covered) <= 0.99


def test_without_correlation_nothing_is_gained_and_that_is_said() -> None:
    results = trials(400, n=40, m=1000, rho=0.0)
    assert abs(np.mean([r.reduction for _, r in results])) < 0.05
    told = [any("use the plain mean" in w for w in warnings_of(r, s)) for s, r in results]
    assert np.mean(told) > 0.9


def test_cross_fitting_has_no_bias_where_the_relation_is_bent() -> None:
    """y = x² of skewed x: fitted and corrected by the same few pairs, the estimate is biased."""
    random = np.random.default_rng(5)
    fitted, crossed = [], []
    for _ in range(2500):
        x = random.exponential(size=(8 + 400, 1))
        samples = Samples(tuple("abcdefgh"), x[:8, 0] ** 2, ("c",), x[:8], x[8:])
        result = estimate(samples, resamples=0)
        fitted.append(result.controlled.value)
        crossed.append(result.cross_fitted)
    error = np.std(crossed) / np.sqrt(len(crossed))
    assert np.mean(crossed) == pytest.approx(2.0, abs=4 * error)
    assert abs(np.mean(fitted) - 2.0) > 4 * np.std(fitted) / np.sqrt(len(fitted))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    scale=st.floats(0.01, 100) | st.floats(-100, -0.01),
    shift=st.floats(-100, 100),
)
def test_units_of_the_simulation_do_not_matter(seed: int, scale: float, shift: float) -> None:
    samples = draw(np.random.default_rng(seed), n=20, m=30, rho=0.6, p=2)
    moved = samples.sim * scale + shift, samples.sim_only * scale + shift
    other = Samples(samples.ids, samples.real, samples.controls, *moved)
    a, b = estimate(samples, resamples=50), estimate(other, resamples=50)
    for name in ("value", "low", "high"):
        assert getattr(a.controlled, name) == pytest.approx(getattr(b.controlled, name), rel=1e-6, abs=1e-6)
    assert a.cross_fitted == pytest.approx(b.cross_fitted, rel=1e-6, abs=1e-6)
    assert a.bootstrap == pytest.approx(b.bootstrap, rel=1e-4, abs=1e-4)


def test_without_further_simulations_it_is_the_plain_mean() -> None:
    samples = draw(np.random.default_rng(1), n=50, m=0, rho=0.9)
    result = estimate(samples)
    assert result.controlled.value == pytest.approx(result.plain.value)
    assert result.controlled.standard_error == pytest.approx(result.plain.standard_error, rel=0.02)
    assert result.shift_p_value is None
    assert any("control variates change nothing" in w for w in warnings_of(result, samples))


def test_a_simulation_that_is_reality_leaves_its_own_sampling_alone() -> None:
    random = np.random.default_rng(2)
    x = random.normal(size=(1020, 1))
    result = estimate(Samples(tuple(map(str, range(20))), x[:20, 0], ("c",), x[:20], x[20:]))
    assert result.controlled.value == pytest.approx(x.mean())
    assert result.controlled.standard_error == pytest.approx(x.std(ddof=1) / np.sqrt(1020), rel=1e-6)
    assert result.equivalent_samples == pytest.approx(1020, rel=0.6)  # by the spread of twenty


def test_the_pairs_that_are_needed_give_that_width() -> None:
    samples = draw(np.random.default_rng(4), n=400, m=4000, rho=0.8)
    result = estimate(samples)
    needed = samples_for_width(result, samples, width=result.plain.width)
    assert needed is not None
    fewer = draw(np.random.default_rng(40), n=round(needed), m=4000, rho=0.8)
    assert estimate(fewer).controlled.width == pytest.approx(result.plain.width, rel=0.15)
    assert samples_for_width(result, samples, width=1e-9) is None, "no number of samples is enough"


WARNED: list[tuple[str, Callable[[np.random.Generator], Samples]]] = [
    ("Only 12 pairs", lambda r: draw(r, n=12, m=100, rho=0.9)),
    ("Only 50 scenes were simulated", lambda r: draw(r, n=50, m=50, rho=0.9)),
]


@pytest.mark.parametrize(("text", "make"), WARNED, ids=lambda v: v if isinstance(v, str) else "")
def test_doubts_are_said(text: str, make: Callable[[np.random.Generator], Samples]) -> None:
    samples = make(np.random.default_rng(6))
    assert any(w.startswith(text) for w in warnings_of(estimate(samples, resamples=0), samples))


def test_other_scenes_and_a_lone_outlier_are_noticed() -> None:
    good = draw(np.random.default_rng(8), n=50, m=500, rho=0.9)
    assert warnings_of(estimate(good, resamples=0), good) == []
    moved = Samples(good.ids, good.real, good.controls, good.sim, good.sim_only + 3)
    assert any("differ from the pairs" in w for w in warnings_of(estimate(moved, resamples=0), moved))
    sim = good.sim.copy()
    sim[17] += 200
    heavy = Samples(good.ids, good.real, good.controls, sim, good.sim_only)
    assert any("One pair (17)" in w for w in warnings_of(estimate(heavy, resamples=0), heavy))


def rows(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join(["id,real,sim,other", *lines]) + "\n", encoding="utf-8")
    return path


GOOD = [f"s{i},{i * 0.1 + (i % 3) * 0.05:.3f},{i * 0.2:.3f},{(i * 7) % 5}" for i in range(12)]
BAD = [
    (["s0,1,1,1"], "expected an id of its own, got 's0'"),
    ([",1,1,1"], "expected an id of its own"),
    (["x,nan,1,1"], "expected a finite number in column real, got 'nan'"),
    (["x,1,inf,1"], "expected a finite number in column sim, got 'inf'"),
    (["x,1,many,1"], "expected a finite number in column sim, got 'many'"),
]


@pytest.mark.parametrize(("extra", "expected"), BAD)
def test_bad_tables_are_refused_in_a_line(
    tmp_path: Path, extra: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sim2val", str(rows(tmp_path / "a.csv", GOOD + extra))]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert expected in line


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (GOOD[:4], "expected at least 6 scenes measured in both reality and simulation .*, got 4"),
        ([f"s{i},1,{i},{i % 4}" for i in range(9)], "real: expected values that differ, got 1 everywhere"),
        ([f"s{i},{i},2,{i % 4}" for i in range(9)], "control sim: expected values that differ"),
        ([f"s{i},{i},{i},{2 * i}" for i in range(9)], "expected columns that tell different things"),
        (["r,1,,"], "expected ids that reality and simulation share, got none"),
    ],
)
def test_samples_of_which_nothing_follows_are_refused(
    tmp_path: Path, lines: list[str], expected: str
) -> None:
    with pytest.raises(InvalidInput, match=expected):
        read_csv(rows(tmp_path / "a.csv", lines))


def test_a_table_is_read(tmp_path: Path) -> None:
    samples = read_csv(rows(tmp_path / "a.csv", [*GOOD, "more,,3.5,2", "real only,4,,"]), controls=["sim"])
    assert samples.ids == tuple(f"s{i}" for i in range(12))
    assert samples.sim_only.tolist() == [[3.5]]
    assert samples.unpaired_real == ("real only",)
    assert read_csv(tmp_path / "a.csv").controls == ("sim", "other")
    for controls in (["speed"], []):
        with pytest.raises(InvalidInput, match="expected columns id, real and control variates"):
            read_csv(tmp_path / "a.csv", controls=controls)
    with pytest.raises(InvalidInput, match="expected a CSV table"):
        read_csv(tmp_path / "none.csv")


def test_joining_takes_other_names_and_refuses_a_twin(tmp_path: Path) -> None:
    real = {f"bag{i}": float(i * i) for i in range(8)}
    sim = {"score": {f"scene{i}": float(i) for i in range(10)}}
    table_of_ids = tmp_path / "ids.csv"
    table_of_ids.write_text("real,sim\n" + "".join(f"bag{i},scene{i}\n" for i in range(8)))
    samples = join(real, sim, sim_id_of=read_ids(table_of_ids))
    assert samples.sim[:, 0].tolist() == list(range(8))
    assert samples.sim_only[:, 0].tolist() == [8.0, 9.0]
    with pytest.raises(InvalidInput, match=r"expected ids that .* share, got none: bag0, bag1, bag2, …"):
        join(real, sim)
    with pytest.raises(InvalidInput, match="expected each simulated scene once, got 'scene1'"):
        join(real, sim, sim_id_of={**read_ids(table_of_ids), "bag2": "scene1"})
    with pytest.raises(InvalidInput, match="controls: expected some of score, got 'speed'"):
        join(real, sim, controls=["speed"])
    table_of_ids.write_text("a,b\n1,2\n")
    with pytest.raises(InvalidInput, match="columns real and sim"):
        read_ids(table_of_ids)


def scores(folder: Path, values: dict[str, list[float | None]]) -> Path:
    folder.mkdir()
    rollouts = [
        {"scene_id": scene, "scene_score": value, "planner": "x"}
        for scene, each in values.items()
        for value in each
    ]
    (folder / "scores.json").write_text(json.dumps({"rollouts": rollouts}))
    return folder


def test_scores_of_the_simulation_are_read(tmp_path: Path) -> None:
    folder = scores(tmp_path / "sim", {"a-1": [0.5, 1.0], "b-2": [0.0], "c-3": [None]})
    expected = {"a-1": 0.75, "b-2": 0.0}
    assert (
        read_metric(folder, "scene_score") == read_metric(folder / "scores.json", "scene_score") == expected
    )
    with pytest.raises(InvalidInput, match="metric: expected one of scene_score, got 'speed'"):
        read_metric(folder, "speed")
    (folder / "scores.json").write_text("[]")
    with pytest.raises(InvalidInput, match="expected scores of `alpamayo sim` as JSON"):
        read_metric(folder, "scene_score")
    with pytest.raises(InvalidInput, match=r"expected a folder with evaluation\.json or scores\.json"):
        read_metric(tmp_path, "scene_score")


def test_evaluations_are_read_as_they_are_written(tmp_path: Path) -> None:
    """A bag is a sample: the mean over its plans, of the policy unless another planner is named."""
    given = [("policy", "a", 1.0), ("policy", "a", 2.0), ("policy", "b", 4.0), ("policy", "c", None)]
    rows = [
        Row(planner, bag, 0, 6.4, 5.0, "slow", "straight", 1, {"min_ade@6.4s": value, "ade@1s": 0.5})
        for planner, bag, value in (*given, ("constant velocity", "a", 9.0))
    ]
    (tmp_path / "evaluation.json").write_text(json.dumps({"schema": SCHEMA, "version": VERSION}))
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(to_json(row)) + "\n" for row in rows))
    for path in (tmp_path, tmp_path / "evaluation.json"):
        assert read_metric(path, "min_ade@6.4s") == {"a": 1.5, "b": 4.0}
    assert read_metric(tmp_path, "min_ade@6.4s", planner="constant velocity") == {"a": 9.0}
    with pytest.raises(InvalidInput, match="expected planner 'nobody', got policy, constant velocity"):
        read_metric(tmp_path, "ade@1s", planner="nobody")
    with pytest.raises(InvalidInput, match=r"metric: expected one of min_ade@6\.4s, .*, got 'speed'"):
        read_metric(tmp_path, "speed")


def test_the_command_writes_a_table_json_and_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(0)
    x = random.uniform(size=200)
    y = 0.5 * x + 0.1 * random.normal(size=200)
    real = scores(tmp_path / "real", {f"s{i}": [float(y[i])] for i in range(40)})
    sim = scores(tmp_path / "sim", {f"s{i}": [float(x[i])] for i in range(200)})
    out = tmp_path / "out"
    command = ["sim2val", "--real", str(real), "--real-metric", "scene_score", "--sim", str(sim)]
    assert main([*command, "--miles", "10", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    told = json.loads((out / "sim2val.json").read_text())
    assert table(told) in printed
    assert (told["pairs"], told["sim_only"]) == (40, 160)
    assert told["saved_miles"] == pytest.approx(10 * told["saved_samples"])
    assert told["controlled"]["ci"][0] < 0.25 < told["controlled"]["ci"][1]
    assert (out / "sim2val.png").read_bytes().startswith(b"\x89PNG")
    text = (out / "report.html").read_text()
    assert "data:image/png;base64," in text and "http" not in text
    assert main(["sim2val", "--real", str(real)]) == 2
    assert main([*command, "--confidence", "1.5"]) == 2
    assert main([*command, "--miles", "0"]) == 2
    assert all(line.startswith("alpamayo sim2val: ") for line in capsys.readouterr().err.splitlines())


def test_json_holds_no_nan() -> None:
    samples = draw(np.random.default_rng(9), n=6, m=0, rho=0.5)
    json.dumps(as_dict(estimate(samples, resamples=0), samples), allow_nan=False)
