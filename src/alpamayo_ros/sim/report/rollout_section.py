"""A rollout's section of the report."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from alpamayo_ros.sim.record import DriveRecord, RolloutRecord
from alpamayo_ros.sim.report.html import UNKNOWN, badge, cell, esc, number, table
from alpamayo_ros.sim.report.moments import END_TEXTS, Moment, events
from alpamayo_ros.sim.report.style import (
    ACTOR_COLOURS,
    DRIVEN,
    REFERENCE,
    WARM_UP,
    WARN,
)
from alpamayo_ros.sim.scene import STEP_US

_LEGEND = (
    (DRIVEN, "driven by the planner"),
    (WARM_UP, "warm-up on the reference"),
    (WARN, "stop for want of a plan"),
    (REFERENCE, "reference drive"),
)
_SOURCES = {"plan": "planner", "stop": "stop", "reference": "reference"}


@dataclass(frozen=True)
class Shown:
    """What was drawn of a rollout; paths relative to the page."""

    map_path: str
    timeline_path: str
    strips: tuple[tuple[Moment, str], ...]


def score_badge(figures: Mapping[str, Any]) -> str:
    """Return a rollout's scene score as a coloured label."""
    score = figures.get("scene_score")
    if not isinstance(score, (int, float)):
        return badge(f"score {UNKNOWN}")
    kind = "good" if score >= 0.95 else "middling" if score > 0 else "bad"
    return badge(f"score {score:.2f}", kind)


def rollout_section(
    record: RolloutRecord, figures: Mapping[str, Any], *, shown: Shown, anchor: str, command: str
) -> str:
    """Return one rollout's section: map, plots, events, cameras, reasoning, metrics, how to repeat it."""
    scene = record.scene
    ended = END_TEXTS[record.end_reason] + (f": {record.error}" if record.error else "")
    bad_end = record.end_reason in ("collision", "off_road", "failed")
    seconds = (record.ego[-1].time_us - scene.start_us) * 1e-6
    parts = [
        f'<section id="{esc(anchor)}">',
        f"<h2>{esc(scene.scene_id)} <small>rollout {record.rollout_index}</small> {score_badge(figures)} "
        f"{badge(ended, 'bad' if bad_end else '')}</h2>",
        f'<p class="faint">{esc(scene.description)} '
        f"{seconds:.1f} s simulated, {record.wall_s:.1f} s of wall time.</p>",
        f'<img class="map" loading="lazy" src="{esc(shown.map_path)}" alt="the rollout from above">',
        _legend(record),
        '<div class="two"><div><h3>Over time</h3>',
        f'<img loading="lazy" src="{esc(shown.timeline_path)}" alt="speed, acceleration, steering"></div>',
        f"<div><h3>Events</h3>{_events(record)}<h3>Metrics</h3>{_metrics(figures)}</div></div>",
        *(_strip(record, moment, path) for moment, path in shown.strips),
        _reasoning(record),
        f"<h3>To repeat it</h3><p><code>{esc(_repeat(record, command))}</code></p>",
        "</section>",
    ]
    return "\n".join(parts)


def _legend(record: RolloutRecord) -> str:
    kinds = sorted({track.kind for track in record.actors.values()})
    entries = [*_LEGEND, *((ACTOR_COLOURS[kind], kind) for kind in kinds)]
    return (
        '<p class="legend">'
        + "".join(f'<span><i style="background: {colour}"></i>{esc(text)}</span>' for colour, text in entries)
        + "</p>"
    )


def _events(record: RolloutRecord) -> str:
    rows = [
        f"<li><time>{_seconds(moment.step)}</time><span>{esc(moment.text)}</span></li>"
        for moment in events(record)
    ]
    return f'<ol class="events">{"".join(rows)}</ol>'


def _metrics(figures: Mapping[str, Any]) -> str:
    rows = []
    for name, value in figures.items():
        if value is None or isinstance(value, (int, float)):
            rows.append(f"<dt>{esc(name)}</dt><dd>{esc(number(value, '.4g'))}</dd>")
    return f"<dl>{''.join(rows)}</dl>"


def _strip(record: RolloutRecord, moment: Moment, path: str) -> str:
    ego = record.ego[moment.step]
    drive = record.drives[min(moment.step, len(record.drives) - 1)] if record.drives else None
    facts = [f"{_seconds(moment.step)}", moment.text, f"{ego.speed_mps * 3.6:.0f} km/h"]
    if drive is not None and drive.instruction:
        facts.append(f"instruction: {drive.instruction}")
    caption = esc("  ·  ".join(fact for fact in facts if fact))
    quoted = f"<blockquote>{esc(drive.reasoning)}</blockquote>" if drive and drive.reasoning else ""
    return (
        f'<figure><img loading="lazy" src="{esc(path)}" alt="cross left, front wide and cross right camera">'
        f"<figcaption><small>{caption}</small>{quoted}</figcaption></figure>"
    )


def _reasoning(record: RolloutRecord) -> str:
    """Return who drove, told and said what, from when to when; equal neighbours are one row."""

    def key(drive: DriveRecord) -> tuple[str, str, str]:
        return drive.source, drive.instruction, drive.reasoning or drive.reason

    rows, step = [], 0
    for (source, instruction, text), group in groupby(record.drives, key=key):
        count = sum(1 for _ in group)
        span = f"{_seconds(step)} – {_seconds(step + count)}"
        rows.append(
            cell(span)
            + cell(_SOURCES[source], left=True)
            + cell(instruction, left=True)
            + f'<td class="text">{esc(text)}</td>'
        )
        step += count
    if not rows:
        return ""
    body = table(("time", "driven by", "instruction", "reasoning"), rows)
    return f'<details><summary>Reasoning over time</summary><div class="scroll">{body}</div></details>'


def _repeat(record: RolloutRecord, command: str) -> str:
    scene = shlex.quote(record.scene.scene_id)
    return f"{command} --scenarios {scene} --rollouts {record.rollout_index + 1}"


def _seconds(step: int) -> str:
    return f"{step * STEP_US * 1e-6:.1f} s"
