"""Two evaluations, plan by plan: what one gains on the other, and how sure that is.

Plans are paired by bag and t0. What makes an instant hard for both drops out of the difference, so it is
known much better than the difference of two means with intervals of their own. Intervals are bootstrapped
over blocks of the bags (see evaluation.blocks): plans that follow each other are not independent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from alpamayo_ros.evaluation.blocks import LEAST_BLOCKS, blocks_of
from alpamayo_ros.evaluation.figures import HEADLINE, VERSION, value_of
from alpamayo_ros.evaluation.intervals import mean_of, ratio_of_means
from alpamayo_ros.evaluation.manoeuvre import MANOEUVRES, speed_bands
from alpamayo_ros.evaluation.report.moments import shown_planner
from alpamayo_ros.evaluation.row import METRICS, Row
from alpamayo_ros.evaluation.run import read_evaluation
from alpamayo_ros.evaluation.summary import estimate_text
from alpamayo_ros.safety.monitor import Agreement
from alpamayo_ros.sim.json_file import write_json
from alpamayo_ros.sim.report.html import badge, card, cell, esc, page, table
from alpamayo_ros.types import InvalidInput

COMPARISON_FILE, PAGE_FILE = "comparison.json", "comparison.html"
SCHEMA = "alpamayo_ros/evaluation_comparison"
_BROKEN_DOWN = ("min_ade@6.4s", "ade@6.4s", "ade@3s")
_PRINTED = (HEADLINE, "ade@6.4s", "ade@3s", "ade@1s", "fde@6.4s", "miss@6.4s", "comfortable", "change_m")
_MORE_IS_BETTER = ("comfortable",)
Pair = tuple[Row, Row]


def compare_runs(first: Path, second: Path) -> dict[str, Any]:
    """Return how the second evaluation differs from the first, as JSON holds it.

    The keys: `a`, `b` (name, command, folder), `counts` (pairs, blocks, what each alone has), `figures` by
    metric: a, b (means over the pairs), difference (b - a) and ratio (b over a), Estimates, and better: the
    share of pairs in which b is better, ties left out; `contradicts`: the same of texts that contradict their
    plan; `by_manoeuvre`, `by_speed`: n and differences.

    Raises:
        InvalidInput: for a folder without a finished run, bags of one name that are not the same recording,
            or runs without a common instant.
    """
    (content_a, rows_a), (content_b, rows_b) = read_evaluation(first), read_evaluation(second)
    _require_same_bags(content_a, content_b)
    mine_a, mine_b = _rows_by_instant(rows_a), _rows_by_instant(rows_b)
    common = sorted(mine_a.keys() & mine_b.keys())
    if not common:
        raise InvalidInput(
            f"comparison: expected instants that both look at, got none: {first} looks at {len(mine_a)}, "
            f"{second} at {len(mine_b)} others; are they of the same bags, at the same --hz?"
        )
    pairs = [(mine_a[key], mine_b[key]) for key in common]
    block_s = float(content_a["settings"]["block_s"])
    blocks = blocks_of(common, block_s=block_s)
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "a": _about(content_a, first),
        "b": _about(content_b, second),
        "counts": {
            "pairs": len(pairs),
            "blocks": len(set(blocks.values())),
            "intervals": len(set(blocks.values())) >= LEAST_BLOCKS,
            "block_s": block_s,
            "only_a": len(mine_a) - len(pairs),
            "only_b": len(mine_b) - len(pairs),
        },
        "figures": {
            metric: _figure(
                pairs,
                blocks,
                partial(_value_of, metric),
                more_is_better=metric in _MORE_IS_BETTER,
            )
            for metric in METRICS
        },
        "contradicts": _figure(pairs, blocks, _contradicts),
        "by_manoeuvre": _by(pairs, blocks, lambda row: row.manoeuvre, MANOEUVRES),
        "by_speed": _by(pairs, blocks, lambda row: row.speed_band, speed_bands()),
    }


def describe_comparison(compared: Mapping[str, Any]) -> str:
    """Return a comparison for a terminal."""
    counts = compared["counts"]
    lines = [
        ", ".join(f"{s.upper()} {compared[s]['name']} ({compared[s]['folder']})" for s in ("a", "b")),
        f"{counts['pairs']} pairs in {counts['blocks']} blocks; {counts['only_a']} of A and "
        f"{counts['only_b']} of B have no partner",
        f"{'':<16}{'A':>10}{'B':>10}   B - A",
    ]
    for name in _PRINTED:
        each = compared["figures"][name]
        values = "".join(f"{_said(each[side]['value']):>10}" for side in ("a", "b"))
        better = (
            "" if each["better"]["value"] is None else f"   better in {100 * each['better']['value']:.0f} %"
        )
        lines.append(f"{name:<16}{values}   {estimate_text(each['difference'])}{better}")
    if not counts["intervals"]:
        lines.append(f"No intervals: {counts['blocks']} blocks are too few.")
    return "\n".join(lines)


def write_comparison(folder: Path, compared: Mapping[str, Any]) -> None:
    """Write comparison.json and comparison.html into a folder, made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / COMPARISON_FILE, compared)
    (folder / PAGE_FILE).write_text(comparison_page(compared), encoding="utf-8")


def comparison_page(compared: Mapping[str, Any]) -> str:
    """Return the page of a comparison; it holds all that it needs."""
    counts, head = compared["counts"], compared["figures"][HEADLINE]
    titles = [f"{side.upper()}: {compared[side]['name']}" for side in ("a", "b")]
    top = "".join(
        [
            card("minADE@6.4s of A", _said(head["a"]["value"], " m")),
            card("of B", _said(head["b"]["value"], " m")),
            card("B - A", _said(head["difference"]["value"], " m", "+.2f"), _interval(head["difference"])),
            card("pairs", str(counts["pairs"]), f"in {counts['blocks']} blocks of {counts['block_s']:g} s"),
        ]
    )
    note = (
        "Differences are B - A over the same instants; in brackets 95 % intervals, bootstrapped over blocks. "
        "A verdict stands only where the interval leaves zero out."
    )
    rows = [_row(metric, each, metric in _MORE_IS_BETTER) for metric, each in compared["figures"].items()]
    rows.append(_row("text contradicts plan", compared["contradicts"], False))
    heads = ["what", *titles, "B - A", "ratio", "B better in", "verdict"]
    shown = table(heads, rows, left=("what",))
    parts = [f'<div class="cards">{top}</div>']
    if not counts["intervals"]:
        few = f"No intervals, no verdicts: {counts['blocks']} blocks are too few to say how sure a figure is."
        parts.append(f'<section class="notice">{few}</section>')
    parts.append(f"<section><h2>Plan by plan</h2>{shown}<p class='faint'>{esc(note)}</p></section>")
    for key in ("by_manoeuvre", "by_speed"):
        kinds = [
            cell(kind, left=True)
            + cell(each["n"])
            + "".join(f"<td>{esc(estimate_text(each['difference'][metric]))}</td>" for metric in _BROKEN_DOWN)
            for kind, each in compared[key].items()
        ]
        heads = ["kind", "pairs", *(f"B - A, {metric}" for metric in _BROKEN_DOWN)]
        title, shown = key.replace("_", " ").capitalize(), table(heads, kinds, left=("kind",))
        parts.append(f"<section><h2>{title}</h2>{shown}</section>")
    commands = "".join(
        f"<dt>{side.upper()}</dt><dd><code>{esc(compared[side]['command'])}</code></dd>"
        for side in ("a", "b")
    )
    parts.append(f"<section><h2>How these were made</h2><dl>{commands}</dl></section>")
    return page(" against ".join(titles), f"{counts['pairs']} plans of either, paired", parts)


def _rows_by_instant(rows: Sequence[Row]) -> dict[tuple[str, int], Row]:
    planner = shown_planner(rows)
    return {(row.bag, row.t0_ns): row for row in rows if row.planner == planner}


def _require_same_bags(a: Mapping[str, Any], b: Mapping[str, Any]) -> None:
    known = {each["name"]: (each["start_ns"], each["messages"]) for each in a["bags"]}
    for each in b["bags"]:
        other = known.get(each["name"])
        if other is not None and other[0] != each["start_ns"]:
            raise InvalidInput(
                f"comparison: expected bag {each['name']} to be the same recording in both, got one that "
                f"begins at {other[0]} ns and one that begins at {each['start_ns']} ns"
            )


def _about(content: Mapping[str, Any], folder: Path) -> dict[str, str]:
    about = content["about"]
    return {"name": str(about["name"]), "command": str(about["command"]), "folder": str(folder)}


def _figure(
    pairs: Sequence[Pair],
    blocks: Mapping[tuple[str, int], str],
    value: Callable[[Row], float | None],
    *,
    more_is_better: bool = False,
) -> dict[str, Any]:
    both = [(value(a), value(b)) for a, b in pairs]
    # A mean is of the pairs in which both are known: else the two would be of different instants.
    known = [(a, b) if a is not None and b is not None else (None, None) for a, b in both]
    where = [blocks[a.bag, a.t0_ns] for a, _ in pairs]
    difference = [None if a is None or b is None else b - a for a, b in known]
    sign = 1.0 if more_is_better else -1.0
    better = [None if d is None or d == 0 else float(sign * d > 0) for d in difference]
    columns: dict[str, list[float | None]] = {
        "a": [a for a, _ in known],
        "b": [b for _, b in known],
        "difference": difference,
        "better": better,
    }
    found = {name: mean_of(where, values, least_scenes=LEAST_BLOCKS) for name, values in columns.items()}
    found["ratio"] = ratio_of_means(where, columns["b"], columns["a"], least_scenes=LEAST_BLOCKS)
    return {name: estimate.as_dict() for name, estimate in found.items()}


def _by(
    pairs: Sequence[Pair],
    blocks: Mapping[tuple[str, int], str],
    key: Callable[[Row], str],
    order: Sequence[str],
) -> dict[str, Any]:
    count = Counter(key(a) for a, _ in pairs)
    result: dict[str, Any] = {}
    for kind in order:
        mine = [pair for pair in pairs if key(pair[0]) == kind]
        if mine:
            differences = {
                metric: _figure(mine, blocks, partial(_value_of, metric))["difference"]
                for metric in _BROKEN_DOWN
            }
            result[kind] = {"n": count[kind], "difference": differences}
    return result


def _value_of(metric: str, row: Row) -> float | None:
    return value_of(row, metric)


def _contradicts(row: Row) -> float | None:
    if row.said is None or row.said.agreement == Agreement.SILENT.value:
        return None
    return float(row.said.agreement == Agreement.CONTRADICTS.value)


def _row(name: str, each: Mapping[str, Any], more_is_better: bool) -> str:
    difference, better = each["difference"], each["better"]["value"]
    verdict = ""
    if difference["ci95"] is not None and difference["ci95"][0] * difference["ci95"][1] > 0:
        is_better = (difference["value"] > 0) == more_is_better
        verdict = badge("B is better", "good") if is_better else badge("B is worse", "bad")
    return (
        cell(name, left=True)
        + "".join(f"<td>{esc(_said(each[side]['value']))}</td>" for side in ("a", "b"))
        + f"<td>{esc(estimate_text(difference))}</td><td>{esc(estimate_text(each['ratio']))}</td>"
        + f"<td>{'' if better is None else f'{100 * better:.0f} %'}</td><td>{verdict}</td>"
    )


def _said(value: float | None, unit: str = "", form: str = ".2f") -> str:
    return "unknown" if value is None else f"{value:{form}}{unit}"


def _interval(estimate: Mapping[str, Any]) -> str:
    ci95 = estimate["ci95"]
    return "too few blocks for an interval" if ci95 is None else f"95 %: {ci95[0]:+.2f} … {ci95[1]:+.2f}"
