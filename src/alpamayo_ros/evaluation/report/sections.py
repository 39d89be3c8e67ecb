"""Sections of the report's page: figures as cards and tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from alpamayo_ros.evaluation.displacement import HORIZONS_S
from alpamayo_ros.evaluation.figures import HEADLINE
from alpamayo_ros.evaluation.summary import candidates_text
from alpamayo_ros.evaluation.work import BASELINES, POLICY
from alpamayo_ros.sim.report.html import bar, card, cell, esc, number, table

_AT = tuple(f"@{horizon_s:g}s" for horizon_s in HORIZONS_S)
_ROWS: tuple[tuple[str, str, str], ...] = (
    ("min_ade", "minADE_{k}", "m"),
    ("ade", "ADE of the chosen plan", "m"),
    ("one_ade", "ADE of any one plan", "m"),
    ("min_fde", "minFDE_{k}", "m"),
    ("fde", "FDE of the chosen plan", "m"),
    ("miss", "missed, chosen plan", "%"),
    ("min_miss", "missed by all {k}", "%"),
    ("lateral_m", "across the path", "m"),
    ("lateral_m_bias", "… of that to the left", "m"),
    ("longitudinal_m", "along the path", "m"),
    ("longitudinal_m_bias", "… of that ahead", "m"),
    ("heading_deg", "heading", "°"),
)
_ONE_ROWS = ("ade", "fde", "miss", "lateral_m", "lateral_m_bias", "longitudinal_m", "longitudinal_m_bias")
_COMFORT_NAMES = {
    "accel_mps2": "acceleration, m/s²",
    "decel_mps2": "braking, m/s²",
    "jerk_mps3": "jerk, m/s³",
    "lateral_accel_mps2": "lateral acceleration, m/s²",
    "curvature_per_m": "curvature, 1/m",
}


def planner_titles(content: Mapping[str, Any]) -> dict[str, str]:
    """Return planner -> what people call it, the policy first."""
    names = {POLICY: str(content["about"]["name"])}
    return {name: names.get(name, name) for name in (POLICY, *BASELINES) if name in content["figures"]}


def cards(content: Mapping[str, Any]) -> str:
    """Return the headline figures."""
    figures, counts = content["figures"], content["counts"]
    titles = planner_titles(content)
    first = next(iter(titles))
    k = candidates_text(content) if first == POLICY else "1"
    mine = figures[first]
    found = []
    if first == POLICY:
        found.append(_estimate_card(f"minADE_{k}@6.4s", mine[HEADLINE], " m", note="the best candidate"))
        found.append(_estimate_card("ADE@6.4s", mine["ade@6.4s"], " m", note="the chosen candidate"))
    for name in BASELINES:
        found.append(_estimate_card(name, figures[name]["ade@6.4s"], " m", note="ADE@6.4s"))
    missed = f"further than {content['settings']['miss_m']:g} m off by 3 s"
    found.append(_estimate_card("missed@3s", mine["miss@3s"], " %", factor=100.0, form=".0f", note=missed))
    reasoning = content["reasoning"]
    if reasoning and reasoning["contradicted"] is not None:
        agreement = reasoning["agreement"]
        judged = agreement["agrees"] + agreement["contradicts"]
        note = f"contradict their plan, of {judged} that can be judged"
        found.append(card("texts", f"{100 * reasoning['contradicted']:.0f} %", note))
    latency = content["latency_ms"] or {}
    took = latency.get("wall") or latency.get("total")
    if took and took.get("p50"):
        note = f"median; p90 {took['p90']:.0f}, p99 {took['p99']:.0f} ms"
        found.append(card("time for a plan", f"{took['p50']:.0f} ms", note))
    known = counts["known_until"]["6.4s"]
    note = f"of {counts['bags']} bag{'s' * (counts['bags'] != 1)}; {known} known until 6.4 s"
    found.append(card("instants", str(counts["instants"]), note))
    return f'<div class="cards">{"".join(found)}</div>'


def notices(content: Mapping[str, Any]) -> str:
    """Return what must be known before the figures are read."""
    told = []
    about, counts = content["about"], content["counts"]
    if about.get("notice"):
        told.append(str(about["notice"]))
    if content["settings"]["mode"] == "recorded":
        told.append(
            "These plans were recorded. Where the vehicle followed them (in closed loop), the drive is what "
            "they made of it, and distances say how well plans were followed, not how good they were."
        )
    if not counts["intervals"]:
        told.append(
            f"No intervals: {counts['blocks']} {counts['drawn']} are too few to say how sure a figure is."
        )
    return "".join(f'<section class="notice">{esc(text)}</section>' for text in told)


def figures_section(content: Mapping[str, Any]) -> str:
    """Return the table of all distances."""
    titles = planner_titles(content)
    k = candidates_text(content) if POLICY in titles else "1"
    rows = []
    for planner, title in titles.items():
        figures = content["figures"][planner]
        many = planner == POLICY and set(content["counts"]["candidates"]) != {"1"}
        for name, label, unit in _ROWS:
            if not many and name not in (*_ONE_ROWS, "heading_deg"):
                continue
            cells = []
            for at in reversed(_AT):
                estimate = figures[f"{name}{at}"]
                cells.append(_estimate_cell(estimate, factor=100.0 if unit == "%" else 1.0))
            label = (
                label.format(k=k)
                if many
                else label.replace(" of the chosen plan", "").replace(", chosen plan", "")
            )
            rows.append(cell(title, left=True) + cell(f"{label}, {unit}", left=True) + "".join(cells))
    heads = ["whose", "what", *(f"at {at[1:]}" for at in reversed(_AT))]
    settings = content["settings"]
    about = (
        f"Distances are in the ground plane. Missed: anywhere further than {settings['miss_m']:g} m off up "
        "to the horizon. Across and along are measured from the driven path, as means of the absolute value "
        f"at the horizon. In brackets: 95 % intervals, bootstrapped over {content['counts']['drawn']}, for "
        "plans that follow each other are not independent. Instants whose drive is known so far: "
        + ", ".join(f"{count} at {h}" for h, count in content["counts"]["known_until"].items())
        + "."
    )
    return _section(
        "Distance from the drive",
        table(heads, rows, left=("whose", "what")) + f'<p class="faint">{esc(about)}</p>',
    )


def against_section(content: Mapping[str, Any]) -> str:
    """Return the policy's distances as differences to and ratios of the baselines'."""
    if not content["against"]:
        return ""
    rows = []
    for baseline, metrics in content["against"].items():
        for name in ("min_ade@6.4s", "ade@6.4s", "ade@3s", "ade@1s", "fde@6.4s"):
            each = metrics[name]
            rows.append(
                cell(f"to {baseline}", left=True)
                + cell(_metric_name(name, candidates_text(content)), left=True)
                + _estimate_cell(each["difference"], form="+.2f")
                + _estimate_cell(each["ratio"])
            )
    heads = ["compared", "what", "difference, m", "ratio of the means"]
    note = "The same instants, plan by plan. Below zero, or below one: the policy is closer to the drive."
    body = table(heads, rows, left=("compared", "what")) + f'<p class="faint">{esc(note)}</p>'
    return _section("Beside the baselines", body)


def comfort_section(content: Mapping[str, Any]) -> str:
    """Return what plans and the drive itself ask of those in the vehicle, and how steady plans are."""
    titles = planner_titles(content)
    columns = {title: content["figures"][planner] for planner, title in titles.items()}
    if content["driven"]:
        columns["the drive itself"] = content["driven"]
    rows = [
        cell(f"most {label}", left=True)
        + "".join(
            _plain_cell(each.get(name), ".3f" if "1/m" in label else ".2f") for each in columns.values()
        )
        for name, label in _COMFORT_NAMES.items()
    ]
    rows.append(
        cell("within all limits of comfort, %", left=True)
        + "".join(_plain_cell(each.get("comfortable"), ".0f", factor=100.0) for each in columns.values())
    )
    for name, label in (("change_m", "mean"), ("change_max_m", "largest")):
        rows.append(
            cell(f"{label} distance to the plan before, m", left=True)
            + "".join(_plain_cell(each.get(name), ".2f") for each in columns.values())
        )
    gaps = [bag["apart_s"] for bag in content["bags"] if bag["apart_s"]]
    note = "Means over the plans. Each quantity is the most that the 6.4 s of a plan ask for. "
    if gaps:
        note += f"Consecutive plans, {min(gaps):.2g} s apart, are compared over the time that both are about."

    heads = ["of the chosen plan", *columns]
    return _section(
        "Comfort and steadiness",
        table(heads, rows, left=("of the chosen plan",)) + f'<p class="faint">{esc(note)}</p>',
    )


def reasoning_section(content: Mapping[str, Any]) -> str:
    """Return statistics of the texts; nothing where nobody speaks."""
    told = content["reasoning"]
    if not told or told["texts"] == told["empty"]:
        return "" if not told else _section("Reasoning", "<p>No plan has a text.</p>")
    words, changes = told["words"], told["changes"]
    facts = {
        "texts": f"{told['texts']}, {told['empty']} of them empty",
        "words": f"{words['median']:.0f} (median), {words['p90']:.0f} (p90), {words['max']} (most)",
        "vocabulary": f"{told['vocabulary']} different words in {told['distinct']} different texts",
        "changes": f"{changes['text']} of {changes['pairs']} times another text, {changes['component']} "
        "times another component than the plan before",
        "with its own plan": _agreement(told["agreement"]),
        "with what was driven": _agreement(told["fits_drive"]),
    }
    total = sum(told["components"].values())
    components = [
        cell(name, left=True) + cell(count) + f"<td>{bar(count / total)}</td>"
        for name, count in told["components"].items()
    ]
    texts = [cell(each["count"]) + f'<td class="text">{esc(each["text"])}</td>' for each in told["frequent"]]
    body = '<div class="two"><div>' + _facts(facts)
    body += "<h3>Most frequent</h3>" + table(["times", "text"], texts, left=("text",)) + "</div><div>"
    body += "<h3>Which component is named first</h3>" + table(
        ["component", "texts", ""], components, left=("component",)
    )
    body += "</div></div>"
    if told["contradictions"]:
        rows = [
            cell(each["bag"], left=True)
            + f'<td class="text">{esc(each["text"])}</td><td class="text">{esc(each["reason"])}</td>'
            for each in told["contradictions"]
        ]
        heads = ["bag", "text", "what contradicts it"]
        shown = table(heads, rows, left=heads)
        body += f"<details><summary>Contradictions ({len(rows)} shown)</summary>{shown}</details>"
    return _section("Reasoning", body)


def latency_section(content: Mapping[str, Any]) -> str:
    """Return how long plans took, by stage."""
    latency = content["latency_ms"]
    if not latency:
        return ""
    rows = []
    for stage, each in latency.items():
        if each and (each["max"] > 0):
            values = "".join(cell(each[name], ".1f") for name in ("p50", "p90", "p99", "max"))
            rows.append(cell("tokens" if stage == "tokens" else f"{stage}, ms", left=True) + values)
    if not rows:
        return ""
    about = content["about"]
    note = f"On {about['cores']} cores of {about['processor']}, device {about.get('device', 'unknown')}."
    if "publish" in latency:
        note = "As recorded; publish: from t0 to the recording."
    heads = ["stage", "median", "p90", "p99", "most"]
    return _section("Time", table(heads, rows, left=("stage",)) + f'<p class="faint">{esc(note)}</p>')


def bags_section(content: Mapping[str, Any]) -> str:
    """Return the table of the bags."""
    titles = planner_titles(content)
    rows = []
    for each in content["bags"]:
        left_out = ", ".join(f"{count} {why}" for why, count in each["left_out"].items()) or "nothing"
        rows.append(
            f'<td class="left"><a href="#{esc(anchor_of_bag(each["name"]))}">{esc(each["name"])}</a></td>'
            + cell(each["seconds"], ".1f")
            + cell(each["distance_m"], ".0f")
            + cell(each["instants"])
            + "".join(cell(each[HEADLINE].get(planner), ".2f") for planner in titles)
            + f'<td class="text">{esc(left_out)}</td>'
        )
    heads = ["bag", "s", "m", "instants", *titles.values(), "left out"]
    shown = table(heads, rows, left=("bag", "left out"), sortable=True)
    return _section("Bags", f'{shown}<p class="faint">Of each planner its minADE@6.4s, m.</p>')


def about_section(content: Mapping[str, Any]) -> str:
    """Return who planned with what, and how to do it again."""
    about, settings = content["about"], content["settings"]
    facts = {
        name: ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, Mapping) else str(value)
        for name, value in about.items()
        if name not in ("command", "notice")
    }
    facts |= {f"setting {name}": str(value) for name, value in settings.items() if value not in ("", None)}
    return _section("How this was made", f"<p><code>{esc(about['command'])}</code></p>" + _facts(facts))


def anchor_of_bag(name: str) -> str:
    """Return where on the page a bag is."""
    return "bag_" + "".join(c if c.isalnum() or c in "_-" else "_" for c in name)


def _metric_name(name: str, k: str) -> str:
    key, _, horizon = name.partition("@")
    return {"min_ade": f"minADE_{k}", "ade": "ADE", "fde": "FDE"}[key] + f"@{horizon}"


def _agreement(found: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {what}" for what, count in found.items())


def _facts(facts: Mapping[str, str]) -> str:
    return "<dl>" + "".join(f"<dt>{esc(k)}</dt><dd>{esc(v)}</dd>" for k, v in facts.items()) + "</dl>"


def _section(title: str, body: str) -> str:
    return f"<section><h2>{esc(title)}</h2>{body}</section>"


def _estimate_card(
    label: str,
    estimate: Mapping[str, Any],
    unit: str,
    *,
    factor: float = 1.0,
    form: str = ".2f",
    note: str = "",
) -> str:
    value, ci95 = estimate["value"], estimate["ci95"]
    if value is None:
        return card(label, "unknown", "no drive is known so far")
    interval = "" if ci95 is None else f"95 %: {ci95[0] * factor:{form}} … {ci95[1] * factor:{form}}"
    return card(label, f"{value * factor:{form}}{unit}", "; ".join(filter(None, (note, interval))))


def _estimate_cell(estimate: Mapping[str, Any], *, factor: float = 1.0, form: str = "") -> str:
    value, ci95 = estimate["value"], estimate["ci95"]
    if value is None:
        return cell(None)
    form = form or (".0f" if factor == 100.0 else ".2f")
    interval = (
        "" if ci95 is None else f" <small>[{ci95[0] * factor:{form}}, {ci95[1] * factor:{form}}]</small>"
    )
    return f'<td data-key="{value!r}">{value * factor:{form}}{interval}</td>'


def _plain_cell(estimate: Mapping[str, Any] | None, form: str, *, factor: float = 1.0) -> str:
    value = None if estimate is None else estimate["value"]
    return "<td>–</td>" if value is None else f"<td>{number(value * factor, form)}</td>"
