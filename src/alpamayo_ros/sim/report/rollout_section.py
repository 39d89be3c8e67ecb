"""A rollout's section of the report."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from itertools import groupby

from alpamayo_ros.sim.record import DriveRecord, RolloutRecord
from alpamayo_ros.sim.report.html import UNKNOWN, badge, cell, esc, number, table
from alpamayo_ros.sim.report.moments import Moment, end_text, events
from alpamayo_ros.sim.report.style import (
    ACTOR_COLOURS,
    DRIVEN,
    REFERENCE,
    WARM_UP,
    WARN,
)
from alpamayo_ros.sim.scoring import RolloutScore

_LEGEND = (
    (DRIVEN, "driven by the planner"),
    (WARM_UP, "warm-up on the reference"),
    (WARN, "stop for want of a plan"),
    (REFERENCE, "reference drive"),
)
_SOURCES = {"plan": "planner", "stop": "stop", "reference": "reference"}


_KEY_METRICS: tuple[tuple[str, str, str], ...] = (
    ("progress", "progress along the reference", ".1%"),
    ("dist_traveled_m", "driven, m", ".1f"),
    ("mean_speed_mps", "mean speed, m/s", ".2f"),
    ("dist_to_gt_trajectory", "farthest from the reference, m", ".2f"),
    ("min_distance_to_obstacle_m", "nearest road user, m", ".2f"),
    ("min_distance_to_lane_boundary_m", "nearest road edge, m", ".2f"),
    ("uncomfortable_share", "steps over a comfort limit", ".1%"),
    ("ttc_under_1s_share", "steps with TTC under 1 s", ".1%"),
    ("plan_deviation", "plan deviation, m", ".3f"),
)


@dataclass(frozen=True)
class Shown:
    """What was drawn of a rollout: pictures as data URIs.

    Attributes:
        map_uri: from above.
        timeline_uri: the plots over time.
        strips: what the cameras saw at some moments; none where nothing renders.
        is_wide: whether these show the side cameras too, and so want a line each.
    """

    map_uri: str
    timeline_uri: str
    strips: tuple[tuple[Moment, str], ...]
    is_wide: bool


def score_badge(score: RolloutScore) -> str:
    """Return a rollout's scene score as a coloured label."""
    value = score.scene_score
    if value is None:
        return badge(f"score {UNKNOWN}")
    return badge(f"score {value:.2f}", "good" if value >= 0.95 else "middling" if value > 0 else "bad")


def rollout_section(
    record: RolloutRecord, score: RolloutScore, *, shown: Shown, anchor: str, command: str, unfolded: bool
) -> str:
    """Return one rollout's section: map, cameras, plots, events, reasoning, metrics, how to repeat it."""
    scene = record.scene
    bad_end = record.end_reason in ("collision", "off_road", "failed")
    seconds = (record.ego[-1].time_us - scene.start_us) * 1e-6
    took = f"{seconds:.1f} s simulated in {record.wall_s:.1f} s" if record.wall_s else f"{seconds:.1f} s"
    parts = [
        f'<details class="rollout" id="{esc(anchor)}"{" open" if unfolded else ""}>',
        f"<summary><h2>{esc(scene.scene_id)} <small>rollout {record.rollout_index}</small> "
        f"{score_badge(score)} {badge(end_text(record, score), 'bad' if bad_end else '')}</h2>"
        f'<span class="faint">{esc(scene.description)}</span></summary>',
        f'<img class="map" loading="lazy" src="{shown.map_uri}" alt="from above">',
        _legend(record),
        _strips(record, shown),
        '<div class="two"><div><h3>Over time</h3>',
        f'<img loading="lazy" src="{shown.timeline_uri}" alt="over time">',
        f"</div><div><h3>Events</h3>{_events(record, score)}<h3>Metrics</h3>{_metrics(score)}</div></div>",
        _reasoning(record),
        _all_metrics(score),
        f"<h3>To repeat it</h3><p><code>{esc(_repeat(record, command))}</code> "
        f'<span class="faint">{took}</span></p>',
        '<p><a href="#rollouts">↑ all rollouts</a></p></details>',
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


def _events(record: RolloutRecord, score: RolloutScore) -> str:
    rows = [
        f"<li><time>{_seconds(record, moment.step)}</time><span>{esc(moment.text)}</span></li>"
        for moment in events(record, score)
    ]
    return f'<ol class="events">{"".join(rows)}</ol>'


def _metrics(score: RolloutScore) -> str:
    rows = [
        f"<dt>{esc(label)}</dt><dd>{esc(number(score.metrics.get(name), form))}</dd>"
        for name, label, form in _KEY_METRICS
    ]
    return f"<dl>{''.join(rows)}</dl>"


def _all_metrics(score: RolloutScore) -> str:
    rows = [
        f"<div><dt>{esc(name)}</dt><dd>{esc(number(value, '.4g'))}</dd></div>"
        for name, value in score.metrics.items()
    ]
    return f'<details><summary>All metrics</summary><dl class="all">{"".join(rows)}</dl></details>'


def _strips(record: RolloutRecord, shown: Shown) -> str:
    figures = "".join(_strip(record, moment, uri) for moment, uri in shown.strips)
    return f'<div class="strips {"wide" if shown.is_wide else "narrow"}">{figures}</div>' if figures else ""


def _strip(record: RolloutRecord, moment: Moment, uri: str) -> str:
    ego = record.ego[moment.step]
    drive = record.drives[min(moment.step, len(record.drives) - 1)] if record.drives else None
    facts = [f"{_seconds(record, moment.step)}", moment.text, f"{ego.speed_mps * 3.6:.0f} km/h"]
    if drive is not None and drive.instruction:
        facts.append(f"instruction: {drive.instruction}")
    caption = esc("  ·  ".join(fact for fact in facts if fact))
    quoted = f"<blockquote>{esc(drive.reasoning)}</blockquote>" if drive and drive.reasoning else ""
    return (
        f'<figure><img loading="lazy" src="{uri}" alt="camera">'
        f"<figcaption><small>{caption}</small>{quoted}</figcaption></figure>"
    )


def _reasoning(record: RolloutRecord) -> str:
    """Return who drove, told and said what, from when to when; equal neighbours are one row."""

    def key(drive: DriveRecord) -> tuple[str, str, str]:
        return drive.source, drive.instruction, drive.reasoning or drive.reason

    rows, step = [], 0
    for (source, instruction, text), group in groupby(record.drives, key=key):
        count = sum(1 for _ in group)
        span = f"{_seconds(record, step)} – {_seconds(record, step + count)}"
        rows.append(
            cell(span)
            + cell(_SOURCES[source], left=True)
            + cell(instruction, left=True)
            + f'<td class="text">{esc(text)}</td>'
        )
        step += count
    if not rows:
        return ""
    heads = ("time", "driven by", "instruction", "reasoning")
    body = table(heads, rows, left=heads)
    return f'<details><summary>Reasoning over time</summary><div class="scroll">{body}</div></details>'


def _repeat(record: RolloutRecord, command: str) -> str:
    """Return how to have this again: a log is read, another rollout driven."""
    if record.wall_s == 0.0:
        return command
    scene = shlex.quote(record.scene.scene_id)
    return f"{command} --scenarios {scene} --rollouts {record.rollout_index + 1}"


def _seconds(record: RolloutRecord, step: int) -> str:
    return f"{(record.ego[step].time_us - record.ego[0].time_us) * 1e-6:.1f} s"
