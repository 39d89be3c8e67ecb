"""What the estimate says: warnings, a table, JSON and a picture."""

from __future__ import annotations

import base64
import html
import io
from typing import Any

import numpy as np

from alpamayo_ros.sim2val.estimate import Estimate, samples_for_width
from alpamayo_ros.sim2val.samples import Samples

SCHEMA, VERSION = "alpamayo_ros/sim2val", 1
FEW_PAIRS = 30
_SURE = 0.05
_SAME = 0.01
_HEAVY = 0.5
_ENOUGH_SHARE = 0.8
_PLAIN, _CONTROLLED = "#7f7f7f", "#1f77b4"


def warnings_of(result: Estimate, samples: Samples) -> list[str]:
    """Return what makes the result doubtful, a sentence each; none if nothing does."""
    n, m = result.n, result.m
    found = []
    if n < FEW_PAIRS:
        found.append(
            f"Only {n} pairs: the coefficient and the variances are roughly known; trust the intervals less."
        )
    if m == 0:
        found.append("No scene was simulated only, so control variates change nothing. Simulate more.")
    elif m / (n + m) < _ENOUGH_SHARE:
        found.append(
            f"Only {m} scenes were simulated beyond the {n} pairs: they allow {m / (n + m):.0%} of the "
            "reduction that this correlation could give."
        )
    if result.p_value > _SURE:
        found.append(
            f"The correlation may be none (p = {result.p_value:.2f}): simulation does not tell of reality; "
            "use the plain mean."
        )
    elif result.reduction <= 0:
        found.append("The variance is not reduced; use the plain mean.")
    if result.shift_p_value is not None and result.shift_p_value < _SAME:
        found.append(
            f"The scenes that were simulated only differ from the pairs (p = {result.shift_p_value:.1g}): "
            "unless the real scenes are of the same population, the estimate is biased towards another."
        )
    if result.leverage > _HEAVY:
        worst = samples.ids[_heaviest(samples)]
        found.append(f"One pair ({worst}) decides β (leverage {result.leverage:.2f}); look at it.")
    if samples.unpaired_real:
        found.append(
            f"{len(samples.unpaired_real)} real scenes have no simulation and are not used, "
            f"{samples.unpaired_real[0]} among them."
        )
    bias = result.cross_fitted - result.controlled.value
    if m and abs(bias) > result.controlled.standard_error:
        found.append(
            f"The cross-fitted estimate is {bias:+.3g} off, more than a standard error: is it linear?"
        )
    return found


def as_dict(result: Estimate, samples: Samples, *, unit_per_sample: float | None = None) -> dict[str, Any]:
    """Return everything as JSON holds it.

    Args:
        result: the estimate.
        samples: what it is of.
        unit_per_sample: miles (or what else is driven) that a real sample costs.
    """
    needed = samples_for_width(result, samples, width=result.plain.width)
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "pairs": result.n,
        "sim_only": result.m,
        "unpaired_real": list(samples.unpaired_real),
        "confidence": result.confidence,
        "plain": _mean(result.plain),
        "controlled": _mean(result.controlled),
        "bootstrap_ci": list(result.bootstrap) if np.isfinite(result.bootstrap).all() else None,
        "cross_fitted": result.cross_fitted,
        "controls": dict(zip(samples.controls, result.coefficients.tolist(), strict=True)),
        "correlation": result.correlation,
        "correlation_ci": list(result.correlation_interval),
        "p_value": result.p_value,
        "shift_p_value": result.shift_p_value,
        "variance_reduction": result.reduction,
        "variance_reduction_expected": result.reduction_expected,
        "variance_reduction_limit": result.correlation**2,
        "equivalent_samples": result.equivalent_samples,
        "saved_samples": result.saved_samples,
        "samples_for_the_plain_width": needed,
        "saved_miles": None if unit_per_sample is None else result.saved_samples * unit_per_sample,
        "warnings": warnings_of(result, samples),
    }


def table(told: dict[str, Any]) -> str:
    """Return as_dict()'s content for a terminal."""
    percent = f"{told['confidence']:.0%}"
    lines = [
        f"{told['pairs']} pairs, {told['sim_only']} further simulations; control variates: "
        + ", ".join(f"{name} (β = {value:.4g})" for name, value in told["controls"].items()),
        "",
        f"{'':24}{'mean':>11}{'std. error':>12}   {percent} interval",
    ]
    for name, key in (("real samples alone", "plain"), ("with simulation", "controlled")):
        mean = told[key]
        lines.append(
            f"{name:24}{mean['value']:>11.4g}{mean['standard_error']:>12.3g}   "
            f"{mean['ci'][0]:.4g} … {mean['ci'][1]:.4g}"
        )
    if told["bootstrap_ci"] is not None:
        low, high = told["bootstrap_ci"]
        lines.append(f"{'  the same, bootstrapped':47}   {low:.4g} … {high:.4g}")
    lines.append(f"{'  cross-fitted':24}{told['cross_fitted']:>11.4g}")
    low, high = told["correlation_ci"]
    saved, needed = told["saved_samples"], told["samples_for_the_plain_width"]
    lines += [
        "",
        f"correlation             {told['correlation']:.3f} ({low:.3f} … {high:.3f}), "
        f"p = {told['p_value']:.2g}",
        f"variance reduction      {told['variance_reduction']:.1%}; by ρ² m/(n+m) "
        f"{told['variance_reduction_expected']:.1%}, with endless simulations "
        f"{told['variance_reduction_limit']:.1%}",
        f"worth                   {told['equivalent_samples']:.0f} real samples, {saved:+.0f} not driven"
        + ("" if told["saved_miles"] is None else f" ({told['saved_miles']:+.0f} miles)"),
    ]
    if needed is not None:
        lines.append(f"for the plain width     about {max(needed, 1.0):.0f} pairs instead of {told['pairs']}")
    lines += [f"! {warning}" for warning in told["warnings"]]
    return "\n".join(lines)


def picture(result: Estimate, samples: Samples, *, metric: str = "real metric") -> bytes:
    """Return a PNG: pairs with the fitted line, both intervals, and the reduction against simulations."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.0, 4.0), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    pairs, means, gain = figure.subplots(1, 3, gridspec_kw={"width_ratios": [1.1, 1.0, 1.0]})
    fitted = samples.sim @ result.coefficients
    one = len(samples.controls) == 1
    along = samples.sim[:, 0] if one else fitted
    pairs.scatter(along, samples.real, s=14, color=_CONTROLLED, alpha=0.6, linewidths=0)
    ends = np.array([along.min(), along.max()])
    slope = float(result.coefficients[0]) if one else 1.0
    pairs.plot(ends, samples.real.mean() + slope * (ends - along.mean()), color="black", linewidth=1)
    pairs.set_xlabel(samples.controls[0] if one else "fitted by " + ", ".join(samples.controls))
    pairs.set_ylabel(metric)
    pairs.set_title(f"{result.n} pairs, correlation {result.correlation:.2f}", fontsize=10)

    rows = [("with simulation", result.controlled, _CONTROLLED), ("real alone", result.plain, _PLAIN)]
    for row, (name, mean, colour) in enumerate(rows):
        means.errorbar(
            mean.value, row, xerr=[[mean.value - mean.low], [mean.high - mean.value]],
            fmt="o", color=colour, capsize=6, linewidth=2,
        )  # fmt: skip
        means.annotate(name, (mean.value, row), (0, 10), textcoords="offset points", ha="center", fontsize=9)
    means.set_ylim(-0.6, 1.6)
    means.set_yticks([])
    means.set_xlabel(f"mean of {metric}, {result.confidence:.0%} interval")
    means.set_title(f"variance of the mean {-result.reduction:+.0%}", fontsize=10)

    limit = result.correlation**2
    most = max(20 * result.n, 2 * result.m)
    counts = np.linspace(0, most, 200)
    gain.plot(counts, 100 * limit * counts / (result.n + counts), color=_CONTROLLED)
    gain.axhline(100 * limit, color=_PLAIN, linestyle=":", linewidth=1)
    gain.plot([result.m], [100 * result.reduction_expected], "o", color="black")
    gain.annotate("now", (result.m, 100 * result.reduction_expected), (8, -12), textcoords="offset points")
    gain.set_xlim(0, most)
    gain.set_ylim(0, 100)
    gain.set_xlabel("simulations beyond the pairs")
    gain.set_ylabel("variance reduction, %")
    gain.set_title(f"limit ρ² = {limit:.0%}", fontsize=10)
    for axes in (pairs, means, gain):
        axes.spines[["top", "right"]].set_visible(False)
    means.spines["left"].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def page(told: dict[str, Any], png: bytes, *, title: str) -> str:
    """Return a page that works offline: the picture and the table."""
    image = base64.b64encode(png).decode("ascii")
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        "<style>body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2em auto;padding:0 1em}"
        "img{max-width:100%}pre{background:#f4f4f4;padding:1em;overflow-x:auto}</style>"
        f"<h1>{html.escape(title)}</h1>"
        f'<img alt="pairs, intervals and variance reduction" src="data:image/png;base64,{image}">'
        f"<pre>{html.escape(table(told))}</pre>"
        "<p>Control variates after Luo et al., Sim2Val, arXiv:2506.20553; docs/SIM2VAL.md says how to read "
        "this.</p></html>\n"
    )


def _mean(mean: Any) -> dict[str, Any]:
    return {"value": mean.value, "standard_error": mean.standard_error, "ci": [mean.low, mean.high]}


def _heaviest(samples: Samples) -> int:
    centred = samples.sim - samples.sim.mean(axis=0)
    return int(np.argmax(np.einsum("ij,ij->i", centred, np.linalg.solve(centred.T @ centred, centred.T).T)))
