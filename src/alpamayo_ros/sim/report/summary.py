"""The report's summary: figures of all rollouts, by family, and one row a rollout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from alpamayo_ros.sim.record import EndReason
from alpamayo_ros.sim.report.html import UNKNOWN, bar, card, cell, esc, number, table
from alpamayo_ros.sim.report.moments import END_TEXTS
from alpamayo_ros.sim.scoring import RolloutScore

_COLUMNS: tuple[tuple[str, str, str], ...] = (
    ("progress", "progress", ".2f"),
    ("dist_traveled_m", "driven, m", ".0f"),
    ("speed_rel_to_reference", "speed, rel.", ".2f"),
    ("dist_to_gt_trajectory", "astray, m", ".1f"),
    ("min_distance_to_obstacle_m", "nearest, m", ".1f"),
    ("uncomfortable_share", "rough", ".1%"),
    ("ttc_under_1s_share", "TTC < 1 s", ".1%"),
)

_LONGEST_ERROR = 160


def summary_cards(summary: Mapping[str, Any], count: int, notice: str) -> str:
    """Return the figures at the top.

    Args:
        summary: scoring.aggregate()'s.
        count: of rollouts.
        notice: said above them, if anything.
    """
    of_all = f"of {count} rollout" + ("" if count == 1 else "s")
    score, km = summary["scene_score"], summary["alpasim_score_km"]
    rules = [summary[name] for name in ("red_light_runs", "stop_sign_runs")]
    cards = [
        card(
            "scene score", number(score["mean"], ".3f"), _interval(score["ci95"] if score["n"] > 1 else None)
        ),
        card("AlpaSim score", str(km["text"]), _driven(km)),
        card("at-fault collisions", number(summary["at_fault"], "d"), of_all),
        card("off the road", number(summary["offroad"], "d"), of_all),
        card("red lights · stop signs run", " · ".join(number(n, "d") for n in rules), "in all rollouts"),
        card("failed", str(len(summary["failed"])), of_all),
        card("speed", number(summary["speed_rel_to_reference"], ".0%"), "of the reference's"),
        *(
            card(label, number(summary["metrics"].get(name, {}).get("mean"), ".1%"), note)
            for name, label, note in (
                ("uncomfortable_share", "uncomfortable", "of steps over a comfort limit"),
                ("ttc_under_1s_share", "time to collision", "of steps under 1 s"),
            )
        ),
    ]
    banner = f'<section class="notice"><p>{esc(notice)}</p></section>' if notice else ""
    return f'{banner}<div class="cards">{"".join(cards)}</div>'


def _interval(bounds: Sequence[float] | None, label: str = "95 % interval ") -> str:
    """Return a confidence interval, if there is one; of one rollout alone it says nothing, so give None."""
    return "" if bounds is None else f"{label}{bounds[0]:.3f} – {bounds[1]:.3f}"


def _driven(km: Mapping[str, Any]) -> str:
    if km["km"] is None:
        return "between incidents"
    return f"{km['km']:.1f} km, incidents: {km['incidents']}"


def family_table(summary: Mapping[str, Any]) -> str:
    """Return the scores by family, or nothing where there is one family only."""
    families = summary["by_family"]
    if len(families) < 2:
        return ""
    rows = []
    for name, row in families.items():
        mean, count = row["scene_score"]["mean"], row["scene_score"]["n"]
        bounds = row["scene_score"]["ci95"] if count > 1 else None
        interval = bounds or (None, None)
        rows.append(
            cell(name, left=True)
            + cell(count, "d")
            + cell(mean, ".3f")
            + f'<td class="left">{bar(mean, *interval)} <small>{esc(_interval(bounds, ""))}</small></td>'
            + cell(row["at_fault"], "d")
            + cell(row["offroad"], "d")
            + cell(row["failed"], "d")
        )
    heads = ("family", "rollouts", "scene score", "with 95 % interval", "at fault", "off road", "failed")
    return f"<section><h2>By family</h2>{table(heads, rows, left=heads[3:4], sortable=True)}</section>"


def rollout_table(scores: Sequence[RolloutScore], *, anchors: Sequence[str | None]) -> str:
    """Return one row a rollout, in order, with a link to its section where it has one."""
    rows = []
    for score, anchor in zip(scores, anchors, strict=True):
        name = esc(score.name)
        link = f'<a href="#{esc(anchor)}">{name}</a>' if anchor else name
        rows.append(
            f'<td data-key="{name}">{link}</td>'
            + cell(score.scene_score, ".3f")
            + f'<td class="text">{esc(_end(score))}</td>'
            + "".join(cell(score.metrics.get(key), form) for key, _, form in _COLUMNS)
        )
    missing = sum(anchor is None for anchor in anchors)
    unseen = f" {missing} without a link have no section below." if missing else ""
    heads = ("rollout", "score", "end", *(label for _, label, _ in _COLUMNS))
    return (
        f'<section id="rollouts"><h2>All rollouts</h2>{table(heads, rows, left=heads[2:3], sortable=True)}'
        '<p class="faint">The worst first; click on a head to sort. Speed: by the reference drive’s in the '
        "same time. Astray: farthest from the reference drive. Nearest: to another road user. Rough: share "
        "of steps over a comfort limit. "
        f"“{UNKNOWN}”: the renderer or the log does not tell what it takes to know.{unseen}</p>"
        "</section>"
    )


def _end(score: RolloutScore) -> str:
    """Return how a rollout ended, in a few words."""
    text = END_TEXTS.get(cast(EndReason, score.end_reason), score.end_reason)
    if score.collision_with is not None and score.end_reason == "collision":
        text += f" with {score.collision_with}"
    if score.error:
        text += f": {score.error[:_LONGEST_ERROR]}" + ("…" if len(score.error) > _LONGEST_ERROR else "")
    return text
