"""Where samples come from: `alpamayo evaluate`'s folders, `alpamayo sim`'s scores.json, CSV."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from alpamayo_ros.sim2val.samples import Samples, join
from alpamayo_ros.types import InvalidInput

ID, REAL = "id", "real"
EVALUATION_FILE, SCORES_FILE = "evaluation.json", "scores.json"
POLICY = "policy"


def read_metric(path: Path, metric: str, *, planner: str = POLICY) -> dict[str, float]:
    """Return scene -> the metric's mean over the scene's plans or rollouts.

    Args:
        path: a folder of `alpamayo evaluate` or `alpamayo sim`, or its evaluation.json or scores.json.
        metric: e.g. "min_ade@6.4s" of the one, "scene_score" or "comfort" of the other.
        planner: whose, of an evaluation.

    Raises:
        InvalidInput: where the file is neither, or does not know the metric.
    """
    folder = path if path.is_dir() else path.parent
    if path.name == EVALUATION_FILE or (path.is_dir() and (path / EVALUATION_FILE).is_file()):
        return _evaluation(folder, metric, planner)
    file = path / SCORES_FILE if path.is_dir() else path
    if not file.is_file():
        raise InvalidInput(
            f"{path}: expected a folder with {EVALUATION_FILE} or {SCORES_FILE}, or one of these, got none"
        )
    return _scores(file, metric)


def _evaluation(folder: Path, metric: str, planner: str) -> dict[str, float]:
    from alpamayo_ros.evaluation.row import METRICS
    from alpamayo_ros.evaluation.run import read_evaluation

    _, rows = read_evaluation(folder)
    if metric not in METRICS:
        raise InvalidInput(f"metric: expected one of {', '.join(METRICS)}, got {metric!r}")
    planners = dict.fromkeys(row.planner for row in rows)
    if planner not in planners:
        raise InvalidInput(f"{folder}: expected planner {planner!r}, got {', '.join(planners) or 'none'}")
    values: dict[str, list[float]] = {}
    for row in rows:
        value = row.values.get(metric) if row.planner == planner else None
        if value is not None:
            values.setdefault(row.bag, []).append(float(value))
    return _means(values, f"{folder}: {metric}")


def _scores(file: Path, metric: str) -> dict[str, float]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        rollouts = content["rollouts"]
        scenes = [(str(rollout["scene_id"]), rollout) for rollout in rollouts]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidInput(f"{file}: expected scores of `alpamayo sim` as JSON, got {error!r}") from error
    values: dict[str, list[float]] = {}
    numbers: set[str] = set()
    for scene, rollout in scenes:
        numbers |= {k for k, v in rollout.items() if isinstance(v, (int, float))}
        value = rollout.get(metric)
        if isinstance(value, (int, float)):
            values.setdefault(scene, []).append(float(value))
    if metric not in numbers:
        raise InvalidInput(f"metric: expected one of {', '.join(sorted(numbers))}, got {metric!r}")
    return _means(values, f"{file}: {metric}")


def _means(values: Mapping[str, Sequence[float]], what: str) -> dict[str, float]:
    if not values:
        raise InvalidInput(f"{what}: expected values, got none")
    return {scene: float(np.mean(each)) for scene, each in values.items()}


def read_csv(path: Path, *, controls: Sequence[str] | None = None) -> Samples:
    """Return samples of a table: columns id, real (empty where only simulated), and one a control variate.

    Args:
        path: of the file, with a line of column names.
        controls: which columns, None for all others.

    Raises:
        InvalidInput: for a table of other columns, ids that come twice, or what is no finite number.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns = list(reader.fieldnames or ())
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInput(f"{path}: expected a CSV table, got: {error}") from error
    others = [c for c in columns if c not in (ID, REAL)]
    wanted = others if controls is None else list(controls)
    missing = [c for c in (ID, REAL, *wanted) if c not in columns]
    if missing or not wanted:
        raise InvalidInput(
            f"{path}: expected columns {ID}, {REAL} and control variates, got {', '.join(columns) or 'none'}"
            + (f"; missing {', '.join(missing)}" if missing else "")
        )
    real: dict[str, float] = {}
    sim: dict[str, dict[str, float]] = {name: {} for name in wanted}
    seen: set[str] = set()
    for number, row in enumerate(rows, 2):
        key = (row[ID] or "").strip()
        if not key or key in seen:
            raise InvalidInput(f"{path}:{number}: expected an id of its own, got {key!r}")
        seen.add(key)
        value = _number(path, number, REAL, row[REAL])
        if value is not None:
            real[key] = value
        for name in wanted:
            value = _number(path, number, name, row[name])
            if value is not None:
                sim[name][key] = value
    return join(real, sim)


def read_ids(path: Path) -> dict[str, str]:
    """Return id in reality -> id in simulation of a table with the columns real and sim."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
        return {row["real"].strip(): row["sim"].strip() for row in rows}
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, AttributeError) as error:
        raise InvalidInput(f"{path}: expected a table with columns real and sim, got {error!r}") from error


def _number(path: Path, line: int, column: str, text: str | None) -> float | None:
    text = (text or "").strip()
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InvalidInput(f"{path}:{line}: expected a finite number in column {column}, got {text!r}")
    return value
