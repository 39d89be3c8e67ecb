"""evaluation.json: the figures of all bags, with intervals, broken down, beside the baselines'."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from alpamayo_ros.bags.summary import percentiles
from alpamayo_ros.evaluation.bag import BagResult
from alpamayo_ros.evaluation.blocks import LEAST_BLOCKS, MANY_BAGS, blocks_of
from alpamayo_ros.evaluation.comfort import COMFORT
from alpamayo_ros.evaluation.displacement import HORIZONS_S
from alpamayo_ros.evaluation.intervals import Estimate, mean_of, ratio_of_means
from alpamayo_ros.evaluation.manoeuvre import MANOEUVRES, speed_bands
from alpamayo_ros.evaluation.row import METRICS, Row
from alpamayo_ros.evaluation.texts import text_statistics
from alpamayo_ros.evaluation.work import BASELINES, POLICY, EvaluationSettings

SCHEMA, VERSION = "alpamayo_ros/evaluation", 1
HEADLINE = "min_ade@6.4s"
SIGNED = ("lateral_m", "longitudinal_m", "heading_deg")
"""Metrics with a sign: their figure is the mean of the absolute value, their bias that of the value."""
BROKEN_DOWN = (
    "min_ade@6.4s",
    "ade@6.4s",
    "ade@3s",
    "ade@1s",
    "fde@6.4s",
    "miss@6.4s",
    "lateral_m@3s",
    "longitudinal_m@3s",
)
DISTANCES = tuple(
    f"{name}@{horizon_s:g}s"
    for name in ("min_ade", "ade", "one_ade", "fde", "min_fde")
    for horizon_s in HORIZONS_S
)
_MAX_PUBLISH_MS = 60_000.0
"""A longer way from t0 to the recording is a recording by another clock."""


def evaluation_of(
    results: Sequence[BagResult], settings: EvaluationSettings, about: Mapping[str, Any]
) -> dict[str, Any]:
    """Return all figures of a run as JSON holds them; docs/EVALUATION.md says what each key is.

    Args:
        results: of the bags.
        settings: what was looked at.
        about: who planned, on what, said as it is.
    """
    rows = [row for result in results for row in result.rows]
    blocks = blocks_of(((row.bag, row.t0_ns) for row in rows), block_s=settings.block_s)
    by_planner = {name: [row for row in rows if row.planner == name] for name in (POLICY, *BASELINES)}
    planners = {name: mine for name, mine in by_planner.items() if mine}
    count = len(set(blocks.values()))
    mine = planners.get(POLICY, [])
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "about": dict(about),
        "settings": settings.as_dict(),
        "counts": {
            **_counts(results, planners),
            "blocks": count,
            "drawn": "bags" if len(results) >= MANY_BAGS else f"pieces of {settings.block_s:g} s",
            "intervals": count >= LEAST_BLOCKS,
        },
        "figures": {name: _figures(each, blocks) for name, each in planners.items()},
        "against": {name: _against(mine, planners[name], blocks) for name in BASELINES if mine},
        "driven": _driven(results),
        "by_manoeuvre": _by(lambda row: row.manoeuvre, MANOEUVRES, planners, blocks),
        "by_speed": _by(lambda row: row.speed_band, speed_bands(), planners, blocks),
        "reasoning": text_statistics(mine),
        "latency_ms": _latency(results, mine),
        "bags": [{"name": r.name, "path": r.path, **r.facts, **_headlines(r)} for r in results],
    }


def value_of(row: Row, metric: str) -> float | None:
    """Return what a row counts with: the absolute value of what has a sign."""
    value = row.values.get(metric)
    return abs(value) if value is not None and metric.partition("@")[0] in SIGNED else value


def _counts(results: Sequence[BagResult], planners: Mapping[str, Sequence[Row]]) -> dict[str, Any]:
    any_planner = planners.get(POLICY) or next(iter(planners.values()), [])
    left_out: Counter[str] = Counter()
    for result in results:
        left_out += Counter(result.facts["left_out"])
    return {
        "bags": len(results),
        "instants": len(any_planner),
        "known_until": {f"{h:g}s": sum(row.known_s >= h for row in any_planner) for h in HORIZONS_S},
        "candidates": dict(sorted(Counter(str(row.candidates) for row in any_planner).items())),
        "left_out": dict(sorted(left_out.items())),
    }


def _figures(rows: Sequence[Row], blocks: Mapping[tuple[str, int], str]) -> dict[str, Any]:
    where = [blocks[row.bag, row.t0_ns] for row in rows]
    found: dict[str, Any] = {}
    for metric in METRICS:
        found[metric] = _mean(where, [value_of(row, metric) for row in rows])
    for metric in METRICS:
        name, at, horizon = metric.partition("@")
        if name in SIGNED:
            found[f"{name}_bias{at}{horizon}"] = _mean(where, [row.values.get(metric) for row in rows])
    return {metric: estimate.as_dict() for metric, estimate in found.items()}


def _against(
    mine: Sequence[Row], baseline: Sequence[Row], blocks: Mapping[tuple[str, int], str]
) -> dict[str, Any]:
    """Return difference and ratio of the distances to a baseline's at the same instants."""
    theirs = {(row.bag, row.t0_ns): row for row in baseline}
    pairs = [(row, theirs[row.bag, row.t0_ns]) for row in mine if (row.bag, row.t0_ns) in theirs]
    where = [blocks[row.bag, row.t0_ns] for row, _ in pairs]
    result: dict[str, Any] = {}
    for metric in DISTANCES:
        both = [(a.values.get(metric), b.values.get(metric)) for a, b in pairs]
        difference = [None if a is None or b is None else a - b for a, b in both]
        ratio = ratio_of_means(where, [a for a, _ in both], [b for _, b in both], least_scenes=LEAST_BLOCKS)
        result[metric] = {"difference": _mean(where, difference).as_dict(), "ratio": ratio.as_dict()}
    return result


def _by(
    key: Callable[[Row], str],
    order: Sequence[str],
    planners: Mapping[str, Sequence[Row]],
    blocks: Mapping[tuple[str, int], str],
) -> dict[str, Any]:
    """Return n and figures by planner of each kind of instant there is, in their order."""
    result: dict[str, Any] = {}
    for kind in order:
        each = {name: [row for row in rows if key(row) == kind] for name, rows in planners.items()}
        count = max((len(rows) for rows in each.values()), default=0)
        if not count:
            continue
        figures = {
            name: {
                metric: _mean(
                    [blocks[row.bag, row.t0_ns] for row in rows], [value_of(row, metric) for row in rows]
                ).as_dict()
                for metric in BROKEN_DOWN
            }
            for name, rows in each.items()
        }
        result[kind] = {"n": count, "figures": figures}
    return result


def _driven(results: Sequence[BagResult]) -> dict[str, Any]:
    """Return what the drives themselves asked for, on average, over windows of 6.4 s."""
    asked = [each for result in results for each in result.driven.values()]
    if not asked:
        return {}
    return {
        name: {"value": round(float(np.mean([each[name] for each in asked])), 6), "n": len(asked)}
        for name in (*COMFORT, "comfortable")
    }


def _latency(results: Sequence[BagResult], mine: Sequence[Row]) -> dict[str, Any] | None:
    """Return stage -> p50, p90, p99, max; `wall` was measured here, `publish` is t0 to the recording."""
    stages = {name for row in mine for name in row.stages_ms}
    if not stages:
        return None
    table: dict[str, Any] = {
        name: percentiles([row.stages_ms[name] for row in mine if name in row.stages_ms])
        for name in mine[0].stages_ms
    }
    wall = [value for result in results for value in result.wall_ms]
    if wall:
        table["wall"] = percentiles(wall)
    publish = [value for result in results for value in result.published_ms]
    if publish and 0 <= float(np.median(publish)) <= _MAX_PUBLISH_MS:
        table["publish"] = percentiles(publish)
    return table


def _headlines(result: BagResult) -> dict[str, Any]:
    """Return a bag's own headline of each planner, without intervals."""
    found: dict[str, Any] = {}
    for name in (POLICY, *BASELINES):
        values = [row.values.get(HEADLINE) for row in result.rows if row.planner == name]
        known = [value for value in values if value is not None]
        if known:
            found[name] = round(float(np.mean(known)), 6)
    return {HEADLINE: found}


def _mean(where: Sequence[str], values: Sequence[float | None]) -> Estimate:
    return mean_of(where, values, least_scenes=LEAST_BLOCKS)
