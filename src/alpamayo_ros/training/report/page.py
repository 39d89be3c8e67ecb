"""report.md: the report's figures as tables, for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from alpamayo_ros.training.report.figures import MIN_ADE
from alpamayo_ros.training.report.foresight import WINDOW_S, Foresight

_DISTANCES = {
    MIN_ADE: "minADE@6.4s of all drawn",
    "ade@1s": "ADE@1s",
    "ade@3s": "ADE@3s",
    "ade@5s": "ADE@5s",
    "ade@6.4s": "ADE@6.4s",
    "one_ade@1s": "ADE@1s of a single one",
    "one_ade@3s": "ADE@3s of a single one",
    "one_ade@5s": "ADE@5s of a single one",
    "one_ade@6.4s": "ADE@6.4s of a single one",
}


def markdown(report: Mapping[str, Any]) -> str:
    """Return report.json's content as a page."""
    about, data = report["about"], report["data"]
    parts = [
        f"# Report: {about.get('name', 'a policy')}",
        *_about(about),
        f"{data['samples']} of {data['of']} samples of the {data['split'] or 'whole'} split, from "
        f"{data['episodes']} episodes in {data['scenes']} scenes; intervals are 95 %, bootstrapped over "
        "scenes.",
        _open_loop(report["open_loop"]),
        _reasoning(report["reasoning"]),
        _instruction(report["instruction"]),
    ]
    if "latency" in report:
        parts.append(_latency(report["latency"]))
    if "closed_loop" in report:
        parts.append(_closed_loop(report["closed_loop"]))
    return "\n\n".join(parts) + "\n"


def _about(about: Mapping[str, Any]) -> list[str]:
    rows = [(name, value) for name, value in about.items() if name != "name"]
    return [_table(("", ""), rows)] if rows else []


def _open_loop(open_loop: Mapping[str, Any]) -> str:
    policy = open_loop["policy"]
    rows = [
        (
            label,
            _number(policy["distance_m"][name]),
            _number(open_loop["constant_velocity"]["distance_m"][name]),
            _number(open_loop["constant_turn_rate"]["distance_m"][name]),
            _number(open_loop["blanked"]["distance_m"][name]),
            _interval(policy["ratio"][name]),
        )
        for name, label in _DISTANCES.items()
    ]
    heads = ("m", "policy", "constant velocity", "constant turn rate", "blank cameras", "policy ÷ c. v.")
    families = [
        (
            name,
            row["n"],
            *(_number({"value": row["distance_m"][key]}) for key in (MIN_ADE, "ade@3s")),
            *(_number({"value": row["ratio"][key]}) for key in (MIN_ADE, "ade@3s")),
        )
        for part in ("by_family", "by_recovery")
        for name, row in policy[part].items()
    ]
    return "\n\n".join(
        [
            "## Open loop",
            "Distance from the expert's plan from the same state, in the ground plane. ADE is of the chosen "
            "plan; *of a single one* is what one drawn plan has on average.",
            _table(heads, rows),
            _table(("", "n", "minADE@6.4s", "ADE@3s", "minADE@6.4s ÷ c. v.", "ADE@3s ÷ c. v."), families),
            "![distances by family](open_loop.png)",
        ]
    )


def _reasoning(reasoning: Mapping[str, Any]) -> str:
    names = {"policy": "policy", "blanked": "blank cameras", "labels": "the labels themselves"}
    majority = reasoning["majority"]
    rows = [
        ("names the right component", *(_share(reasoning[name]["component"]) for name in names)),
        (
            "the same, each component weighing alike",
            *(_percent(reasoning[name]["balanced"]) for name in names),
        ),
        ("scenes in which it mostly does", *(_share(reasoning[name]["scenes"]) for name in names)),
        *(
            (
                f"{label}: agrees / contradicts / not judged",
                *(_three(reasoning[name][key]) for name in names),
            )
            for key, label in (
                ("agreement", "text with its own plan"),
                ("fits_expert", "text with the expert's plan"),
            )
        ),
        *(
            (f"{label}, of judged", *(_share(reasoning[name][key]["agrees_of_judged"]) for name in names))
            for key, label in (("agreement", "agrees with its own"), ("fits_expert", "with the expert's"))
        ),
        (
            "right component and not contradicted",
            *(_share(reasoning[name]["right_and_agreeing"]) for name in names),
        ),
    ]
    if majority["component"] is None:
        return "## Reasoning\n\nNo sample says which component is critical."
    families = [
        (
            family,
            _percent(share),
            _percent(reasoning["blanked"]["by_family"].get(family)),
        )
        for family, share in reasoning["policy"]["by_family"].items()
    ]
    return "\n\n".join(
        [
            "## Reasoning",
            _table(("", *names.values()), rows),
            f"Always saying *{majority['component']}*, the most frequent one here, is right in "
            f"{_share(majority['share'])}.",
            _table(("component named right", "policy", "blank cameras"), families),
            "![what is named](components.png)",
        ]
    )


def _instruction(instruction: Mapping[str, Any] | None) -> str:
    if instruction is None:
        return "## Instruction\n\nNo sample shows whether it is obeyed."
    parts = {
        "policy": "as told",
        "swapped": "told otherwise, same pictures",
        "constant_velocity": "constant velocity, as told",
    }
    rows = [
        (label, turn, *_ways(counts))
        for name, label in parts.items()
        for turn, counts in instruction[name]["by_turn"].items()
    ]
    said = f"{instruction['samples']} samples in {instruction['scenes']} scenes, before a junction that the"
    return "\n\n".join(
        [
            "## Instruction",
            f"{said} expert's plan goes through. Followed as told: "
            f"{_share(instruction['policy']['followed'])}; told otherwise: "
            f"{_share(instruction['swapped']['followed'])}, and {instruction['swapped']['as_before']} plans "
            "went where the sample's own text sent them.",
            _table(("", "told", "n", "followed", "another way", "elsewhere", "undecided"), rows),
            "![plans at junctions](instructions.png)",
        ]
    )


def _latency(latency: Mapping[str, Any]) -> str:
    return "\n\n".join(
        [
            "## Time of a plan",
            _table(
                ("median", "p90", "max", "plans", "tokens", "processor", "cores", "load"),
                [
                    (
                        *(f"{latency[name]:.0f} ms" for name in ("median_ms", "p90_ms", "max_ms")),
                        latency["plans"],
                        f"{latency['median_tokens']:.0f}",
                        latency["processor"],
                        latency["cores"],
                        latency["load"],
                    )
                ],
            ),
        ]
    )


def _closed_loop(closed: Mapping[str, Any]) -> str:
    rows = [
        (
            family,
            row["scene_score"]["n"],
            _number({"value": row["scene_score"]["mean"]}),
            _known(row["at_fault"]),
            _known(row["offroad"]),
        )
        for family, row in closed["by_family"].items()
    ]
    score = {"value": closed["scene_score"]["mean"], **closed["scene_score"]}
    instruction = closed["instruction"]
    ways = [(turn, *_ways(counts)) for turn, counts in instruction["by_turn"].items()]
    before = f"the {WINDOW_S:g} s before a collision"
    failures = [
        (
            each["rollout"],
            _number({"value": each["scene_score"]}),
            each["what"],
            "" if each["time_s"] is None else f"{each['time_s']:.1f} s",
            each["reasoning"],
            "" if each["foresight"] is None else Foresight(**each["foresight"]).words(),
            f"[picture]({each['picture']})" if each["picture"] else "",
        )
        for each in closed["failures"]
    ]
    return "\n\n".join(
        [
            "## Closed loop",
            f"{', '.join(closed['planners'])}: scene score {_interval(score)} over "
            f"{closed['rollouts_scored']} rollouts in {closed['scenes']} scenes; with a collision at fault "
            f"{_known(closed['at_fault'])}, off the road {_known(closed['offroad'])}, red lights run "
            f"{_known(closed['red_light_runs'])}, stop signs run {_known(closed['stop_sign_runs'])}, could "
            f"not be driven to an end {len(closed['failed'])}, not scored {len(closed['not_scored'])}.",
            _table(("family", "n", "scene score", "at fault", "off the road"), rows),
            f"Junctions passed as the route goes: {_share(instruction['followed'])}.",
            _table(("told", "n", "followed", "another way", "elsewhere", "undecided"), ways),
            "### Failures",
            _table(
                ("rollout", "score", "what happened", "when", "what it said", before, ""),
                failures,
            )
            if failures
            else "None.",
        ]
    )


def _ways(counts: Mapping[str, int]) -> tuple[object, ...]:
    return tuple(counts[name] for name in ("n", "followed", "another_way", "elsewhere", "undecided"))


def _three(agreement: Mapping[str, Any]) -> str:
    return f"{agreement['agrees']} / {agreement['contradicts']} / {agreement['silent']}"


def _number(estimate: Mapping[str, Any]) -> str:
    return "–" if estimate["value"] is None else f"{estimate['value']:.2f}"


def _interval(estimate: Mapping[str, Any]) -> str:
    if estimate["value"] is None:
        return "–"
    low, high = estimate["ci95"]
    return f"{estimate['value']:.2f} [{low:.2f}, {high:.2f}]"


def _share(estimate: Mapping[str, Any]) -> str:
    """Return a share in %, its interval, and of how many it is."""
    if estimate["value"] is None:
        return "–"
    low, high = estimate["ci95"]
    return f"{100 * estimate['value']:.1f} % [{100 * low:.1f}, {100 * high:.1f}], n = {estimate['n']}"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"


def _known(number: int | None) -> str:
    return "unknown" if number is None else str(number)


def _table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(_cell(value) for value in line) + " |" for line in lines)


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
