"""What was measured, as Markdown tables and a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.model.rows import STAGES

_COLOURS = ("#9aa5b1", "#4c78a8", "#72b7b2", "#f2a541", "#e45756")


def table(summaries: list[dict[str, Any]], ticks: int) -> str:
    """Return the rows' summaries as lines of a Markdown table."""
    head = [
        "",
        *STAGES,
        "median",
        "p90",
        "p99",
        "speed-up",
        "ahead",
        "processor",
        "tokens",
        "guessed right",
        "peak GiB",
    ]
    head += ["same words", "worst m"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for summary in summaries:
        guessed = f"{summary['right']} of {summary['guessed']}" if "guessed" in summary else ""
        cells = [
            summary["name"],
            *(f"{summary['stages_ms'][stage]:.1f}" for stage in STAGES),
            *(f"{summary[key]:.1f}" for key in ("median_ms", "p90_ms", "p99_ms")),
            f"{summaries[0]['median_ms'] / summary['median_ms']:.2f}",
            f"{summary['ahead_ms']:.1f}" if summary["ahead_ms"] else "",
            f"{summary['processor_ms']:.1f}",
            f"{summary['tokens']:.0f}",
            guessed,
            f"{summary['peak_gib']:.2f}",
            f"{summary['same_tokens']} of {ticks}",
            f"{summary['worst_m']:.1e}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def plot(runs: list[dict[str, Any]], path: Path) -> None:
    """Draw the stages' medians as stacked bars, a panel a run."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    rows = sum(len(run["rows"]) + 2 for run in runs)
    figure, panels = plt.subplots(
        len(runs),
        figsize=(9, 0.38 * rows + 0.6),
        layout="constrained",
        squeeze=False,
        gridspec_kw={"height_ratios": [len(run["rows"]) for run in runs]},
    )
    for axes, run in zip(panels[:, 0], runs, strict=True):
        names = [summary["name"] for summary in run["rows"]]
        left = np.zeros(len(names))
        for stage, colour in zip(STAGES, _COLOURS, strict=True):
            width = np.array([summary["stages_ms"][stage] for summary in run["rows"]])
            axes.barh(names, width, left=left, label=stage, color=colour, height=0.7)
            left += width
        first = run["rows"][0]["median_ms"]
        for place, (end, summary) in enumerate(zip(left, run["rows"], strict=True)):
            median = summary["median_ms"]
            text = f" {median:,.0f} ms" if median >= 100 else f" {median:.1f} ms"
            if place:
                text += f"  ({first / median:.1f}×)"
            axes.text(end, place, text, va="center", fontsize="small")
        axes.set_xlim(0, 1.22 * left.max())
        axes.invert_yaxis()
        axes.set_title(run["title"], fontsize="medium", loc="left")
        axes.spines[["top", "right"]].set_visible(False)
    panels[-1, 0].set_xlabel("ms a plan: bars are the medians of the stages, figures those of the whole")
    figure.legend(
        *panels[0, 0].get_legend_handles_labels(),
        ncols=len(STAGES),
        loc="outside lower center",
        frameon=False,
    )
    figure.savefig(path, dpi=130)
    plt.close(figure)
