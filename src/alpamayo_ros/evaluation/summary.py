"""An evaluation's figures for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from alpamayo_ros.evaluation.displacement import HORIZONS_S
from alpamayo_ros.evaluation.figures import HEADLINE
from alpamayo_ros.evaluation.work import BASELINES, POLICY

_LINES = (
    *(("ade", f"@{horizon_s:g}s") for horizon_s in HORIZONS_S),
    ("fde", "@6.4s"),
    ("miss", "@6.4s"),
)


def candidates_text(content: Mapping[str, Any]) -> str:
    """Return K of minADE_K: one number, or "K" where it differs from plan to plan."""
    found = list(content["counts"]["candidates"])
    return found[0] if len(found) == 1 else "K"


def describe(content: Mapping[str, Any]) -> str:
    """Return the figures that come first, the policy's beside the baselines'."""
    figures, counts = content["figures"], content["counts"]
    names = [name for name in (POLICY, *BASELINES) if name in figures]
    titles = {POLICY: content["about"]["name"]}
    lines = [f"{'':<22}" + "".join(f"{titles.get(name, name):>24}" for name in names)]
    if POLICY in figures:
        label = f"minADE_{candidates_text(content)}@6.4s, m"
        lines.append(f"{label:<22}" + _cells(figures, names, HEADLINE))
    for name, at in _LINES:
        unit = "" if name == "miss" else ", m"
        lines.append(
            f"{name.upper() if name != 'miss' else 'missed'}{at}{unit}".ljust(22)
            + _cells(figures, names, name + at)
        )
    known = counts["known_until"]
    horizons = ", ".join(f"{count} until {horizon}" for horizon, count in known.items())
    lines.append(
        f"instants       {counts['instants']} in {counts['bags']} bags; their drive is known: {horizons}"
    )
    if not counts["intervals"]:
        lines.append(f"intervals      none: {counts['blocks']} {counts['drawn']} are too few to draw from")
    if counts["left_out"]:
        told = ", ".join(f"{count} {reason}" for reason, count in counts["left_out"].items())
        lines.append(f"left out       {told}")
    reasoning = content["reasoning"]
    if reasoning:
        agreement = reasoning["agreement"]
        lines.append("reasoning      " + ", ".join(f"{count} {what}" for what, count in agreement.items()))
    latency = (content["latency_ms"] or {}).get("wall") or (content["latency_ms"] or {}).get("total")
    if latency:
        lines.append(
            f"a plan took    {latency['p50']:.0f} ms, p90 {latency['p90']:.0f}, p99 {latency['p99']:.0f}"
        )
    return "\n".join(lines)


def _cells(figures: Mapping[str, Any], names: list[str], metric: str) -> str:
    return "".join(f"{estimate_text(figures[name][metric]):>24}" for name in names)


def estimate_text(estimate: Mapping[str, Any]) -> str:
    """Return a figure with its interval."""
    value, ci95 = estimate["value"], estimate["ci95"]
    if value is None:
        return "unknown"
    return f"{value:.2f}" if ci95 is None else f"{value:.2f} [{ci95[0]:.2f}, {ci95[1]:.2f}]"
