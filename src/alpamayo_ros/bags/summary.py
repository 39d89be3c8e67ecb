"""summary.json: what came in, what came out, what was refused, and how long it took."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from alpamayo_ros import __version__
from alpamayo_ros.bags.run import STAGES, PlanRecord, Run, refusals
from alpamayo_ros.types import NUM_WAYPOINTS, WAYPOINT_INTERVAL_S

START_UP_S = 2.0
"""Seconds after the first message in which an observation may well lack history."""

_HORIZONS_S = (1.0, 3.0, 6.4)
_LIBRARIES = ("torch", "transformers", "rclpy", "rosbags", "numpy", "opencv-python-headless")
_RANDOM = "random weights"


def summarise(
    run: Run, *, sent: Mapping[str, int], bag_s: float, extra: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the summary of a recorded run as what JSON can hold.

    Args:
        run: as recorded.
        sent: input topic -> messages that were sent.
        bag_s: length of what was played, s.
        extra: entries that the recording does not tell, laid over the others.
    """
    inference = run.inference()
    model = run.plans[-1].model if run.plans else _status_value(run, "model", "model")
    summary: dict[str, Any] = {
        "messages_in": {topic: run.counts.get(topic, 0) for topic in sent},
        "messages_lost": {t: n - run.counts.get(t, 0) for t, n in sent.items() if n != run.counts.get(t, 0)},
        "messages_out": {topic: n for topic, n in run.counts.items() if topic not in sent},
        "observations": _integer(inference, "observations"),
        "plans": run.plans_by_status,
        "plans_published": sum(plan.status != "rejected" for plan in run.plans),
        "plans_waiting": _integer(run.last("gate"), "plans_waiting"),
        "stops": len(run.stops),
        "rejected_for": _counts(run.last("gate"), "failed/"),
        "monitor": {key: _integer(run.last("monitor"), key) for key in ("agrees", "contradicts", "silent")},
        "plan_rate_hz": _round(len(run.plans) / bag_s) if bag_s > 0 else 0.0,
        "refusals": refusals(inference),
        "refusals_after_start_up": _later_refusals(run),
        "superseded": _integer(inference, "superseded"),
        "latency_ms": latency_table(run.plans),
        "reasoning_tokens": percentiles([float(p.tokens) for p in run.plans]),
        "displacement_error_m": _displacement_errors(run),
        "bag_s": _round(bag_s),
        "model": model,
        "random_weights": _RANDOM in model,
        "device": _status_value(run, "model", "device"),
        "inputs": _inputs(run),
        "versions": versions(),
    }
    return {**summary, **(extra or {})}


def _counts(values: Mapping[str, str], prefix: str) -> dict[str, int]:
    return {k.removeprefix(prefix): int(v) for k, v in values.items() if k.startswith(prefix)}


def write_summary(path: str | Path, summary: Mapping[str, Any]) -> None:
    """Write the summary as indented JSON."""
    Path(path).write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """Return p50, p90, p99 and max (nearest observation, not interpolated); {} of nothing."""
    if not len(values):
        return {}
    p50, p90, p99 = np.percentile(values, [50, 90, 99], method="inverted_cdf")
    return {"p50": _round(p50), "p90": _round(p90), "p99": _round(p99), "max": _round(max(values))}


def latency_table(plans: Sequence[PlanRecord]) -> dict[str, dict[str, float]]:
    """Return stage -> percentiles in ms; `publish` is from t0 to the recorder, in bag time."""
    table = {stage: percentiles([p.stages_ms[stage] for p in plans]) for stage in STAGES}
    return {**table, "publish": percentiles([p.publish_latency_ms for p in plans])}


def versions() -> dict[str, str]:
    """Return name -> version of what took part."""
    found = {"alpamayo_ros": __version__, "python": platform.python_version()}
    for library in _LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found


def _later_refusals(run: Run) -> dict[str, int]:
    """Return the refusals after the first START_UP_S of the recording, as the planner's reports tell them.

    Reports come once a second, so the count begins with the last report within that time (later refusals
    of the same second are counted, earlier ones are not).
    """
    limit_ns = run.start_ns + round(START_UP_S * 1e9)
    early = [r for r in run.diagnostics if r.stamp_ns <= limit_ns and "inference" in r.values]
    before = refusals(early[-1].values["inference"]) if early else {}
    late = {reason: n - before.get(reason, 0) for reason, n in refusals(run.inference()).items()}
    return {reason: n for reason, n in late.items() if n}


def _displacement_errors(run: Run) -> dict[str, float]:
    """Return the mean distance of chosen plans from the real drive, over their first 1, 3 and 6.4 s."""
    times_s = np.arange(1, NUM_WAYPOINTS + 1, dtype=np.float64) * WAYPOINT_INTERVAL_S
    errors = [
        np.linalg.norm((run.track.future_in_rig_t0(p, times_s) - p.xyz_in_rig_t0[p.chosen])[:, :2], axis=1)
        for p in run.plans
    ]
    result = {}
    for horizon_s in _HORIZONS_S:
        count = round(horizon_s / WAYPOINT_INTERVAL_S)
        whole = [e[:count].mean() for e in errors if np.isfinite(e[:count]).all()]
        if whole:
            result[f"{horizon_s:g}s"] = _round(float(np.mean(whole)))
    return result


def _inputs(run: Run) -> dict[str, dict[str, float | str]]:
    """Return the planner's own last word on each camera and the odometry."""
    last: dict[str, dict[str, str]] = next(
        (r.values for r in reversed(run.diagnostics) if "inference" in r.values), {}
    )
    return {
        name: {key: _number(value) for key, value in values.items()}
        for name, values in last.items()
        if name.startswith("cameras/") or name == "odometry"
    }


def _status_value(run: Run, status: str, key: str) -> str:
    for record in reversed(run.diagnostics):
        if record.values.get(status, {}).get(key):
            return record.values[status][key]
    return ""


def _integer(values: Mapping[str, str], key: str) -> int:
    return int(values.get(key, 0))


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _round(value: float) -> float:
    return round(float(value), 3)
