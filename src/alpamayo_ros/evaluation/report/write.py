"""report.html: what an evaluation found, in one file that can be sent and opened anywhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alpamayo_ros.evaluation.report import charts, sections
from alpamayo_ros.evaluation.report.moments import (
    Drive,
    Moment,
    contradicting_rows,
    ranking_metric,
    read_drive,
    shown_planner,
    worst_rows,
)
from alpamayo_ros.evaluation.report.pictures import birds_eye, camera_strip
from alpamayo_ros.evaluation.row import Row
from alpamayo_ros.evaluation.run import PLANS_FOLDER, read_evaluation
from alpamayo_ros.evaluation.work import POLICY
from alpamayo_ros.sensing.rig import Rig
from alpamayo_ros.sim.report.html import badge, data_uri, esc, page
from alpamayo_ros.sim.report.pictures import webp
from alpamayo_ros.types import InvalidInput, UInt8Array

REPORT_FILE = "report.html"
_BIRDS_EYE_PX = (420, 420)


@dataclass(frozen=True)
class ReportOptions:
    """What a report shows.

    Attributes:
        worst: instants where the plan was furthest off.
        contradictions: instants whose text contradicts the plan, beside those.
        drives: bags of which the drive is drawn, in the run's order.

    Raises:
        InvalidInput: for a number below zero.
    """

    worst: int = 8
    contradictions: int = 3
    drives: int = 24

    def __post_init__(self) -> None:
        for name in ("worst", "contradictions", "drives"):
            if getattr(self, name) < 0:
                raise InvalidInput(f"{name}: expected zero or more, got {getattr(self, name)}")


def write_report(
    folder: Path,
    rig: Rig,
    *,
    options: ReportOptions | None = None,
    progress: Callable[[str], None] = lambda name: None,
) -> Path:
    """Write the report of a finished evaluation into its folder; return its path.

    Args:
        folder: the run's.
        rig: as it was evaluated with.
        options: what is shown.
        progress: told the name of each bag before it is read.

    Raises:
        InvalidInput: for a folder without a finished run, or a bag that cannot be read any more.
    """
    options = options or ReportOptions()
    content, rows = read_evaluation(folder)
    planner = shown_planner(rows)
    mine = [row for row in rows if row.planner == planner]
    worst = worst_rows(mine, options.worst)
    contradicting = contradicting_rows(mine, options.contradictions, but=worst)
    drives = _drives(folder, rig, content, [*worst, *contradicting], options, progress)
    by_row = {(m.row.bag, m.row.t0_ns): m for drive in drives for m in drive.moments}
    titles, metric = sections.planner_titles(content), ranking_metric(mine)
    body = [
        sections.cards(content),
        sections.notices(content),
        _plots(content, rows, metric, titles),
        _moments("Worst plans", worst, by_row, rig, metric, titles[planner]),
        _moments("Texts that contradict their plan", contradicting, by_row, rig, metric, titles[planner]),
        sections.figures_section(content),
        sections.against_section(content),
        sections.comfort_section(content),
        sections.reasoning_section(content),
        sections.latency_section(content),
        sections.bags_section(content),
        *(_drive(drive, rows, metric, titles) for drive in drives[: options.drives]),
        sections.about_section(content),
    ]
    counts = content["counts"]
    subtitle = (
        f"{counts['instants']} instants of {counts['bags']} bag{'s' * (counts['bags'] != 1)}, rig "
        f"{content['about']['rig']}; plans of 6.4 s against what was driven"
    )
    path = folder / REPORT_FILE
    path.write_text(page(f"Open loop: {titles[planner]}", subtitle, body), encoding="utf-8")
    return path


def _drives(
    folder: Path,
    rig: Rig,
    content: Mapping[str, Any],
    shown: Sequence[Row],
    options: ReportOptions,
    progress: Callable[[str], None],
) -> list[Drive]:
    """Read those bags of which something is shown."""
    drives = []
    for number, each in enumerate(content["bags"]):
        mine = [row for row in shown if row.bag == each["name"]]
        if number >= options.drives and not mine:
            continue
        progress(each["name"])
        drives.append(
            read_drive(
                each["name"],
                Path(each["path"]),
                rig,
                rows=mine,
                plans_folder=folder / PLANS_FOLDER,
                plan_topic=content["settings"]["plan_topic"],
                odometry=content["settings"]["odometry"],
            )
        )
    return drives


def _plots(content: Mapping[str, Any], rows: Sequence[Row], metric: str, titles: Mapping[str, str]) -> str:
    pictures = [
        _figure(charts.horizons_chart(content, titles)),
        _figure(charts.kinds_chart(content, metric, titles)),
    ]
    note = (
        "Under each kind stands its number of instants. Stop, go, left and right are told by the drive; a "
        "bend counts as a turn. A lane change is known only where the navigation text asked for it."
    )
    spread = _figure(charts.spread_chart(rows, ("ade@3s", metric), titles))
    return (
        f"<section><h2>At a glance</h2>{''.join(pictures)}<p class='faint'>{esc(note)}</p>{spread}</section>"
    )


def _moments(
    title: str,
    rows: Sequence[Row],
    by_row: Mapping[tuple[str, int], Moment],
    rig: Rig,
    metric: str,
    planner: str,
) -> str:
    found = [by_row[row.bag, row.t0_ns] for row in rows if (row.bag, row.t0_ns) in by_row]
    if not found:
        return ""
    legend = (
        '<p class="legend"><span><i style="background:#e4572e"></i>chosen plan</span>'
        '<span><i style="background:#f6beaa"></i>its other candidates</span>'
        '<span><i style="background:#1b7f5c"></i>what was driven</span>'
        "<span>From above, the plan is coloured by its speed.</span></p>"
    )
    body = "".join(_moment(moment, rig, metric, planner) for moment in found)
    return f"<section><h2>{esc(title)}</h2>{legend}{body}</section>"


def _moment(moment: Moment, rig: Rig, metric: str, planner: str) -> str:
    row, said = moment.row, moment.row.said
    head = (
        f"<h3>{esc(row.bag)}, {moment.seconds:.1f} s "
        f"{badge(_number(row, metric, f'{_short(metric)} ', ' m'), 'bad')} {badge(row.manoeuvre)} "
        f"{badge(f'{row.speed_mps * 3.6:.0f} km/h')}</h3>"
    )
    strip = camera_strip(moment, rig)
    shown = "<p class='faint'>The bag has no picture of this instant.</p>"
    if strip is not None:
        shown = f"<figure>{_image(strip)}</figure>"
    facts = {
        "planner": planner,
        "minADE@6.4s": _number(row, "min_ade@6.4s", "", " m"),
        "ADE at 1, 3, 5, 6.4 s": ", ".join(_number(row, f"ade@{h}s") for h in ("1", "3", "5", "6.4")) + " m",
        "FDE@6.4s": _number(row, "fde@6.4s", "", " m"),
        "at 3 s": f"{_number(row, 'lateral_m@3s', '', ' m', '+.2f')} to the left of the path, "
        f"{_number(row, 'longitudinal_m@3s', '', ' m', '+.2f')} ahead",
        "known": f"{row.known_s:g} s of the drive after it",
    }
    if row.status:
        facts["status"] = row.status
    text = ""
    if said is not None:
        quoted = esc(said.text) if said.text else "no text: its end token never came"
        text = f"<blockquote>{quoted}</blockquote>"
        facts["names first"] = said.component
        facts["text and plan"] = said.reason or said.agreement
        if said.meta_action:
            facts["meta action"] = said.meta_action
    listed = "".join(f"<dt>{esc(k)}</dt><dd>{esc(v)}</dd>" for k, v in facts.items())
    above = _image(birds_eye(moment, size=_BIRDS_EYE_PX))
    return (
        f"{head}{shown}<div class='two' style='margin-top:10px;grid-template-columns:2fr 1fr'>"
        f"<div>{text}<dl style='margin-top:10px'>{listed}</dl></div>"
        f"<div>{above}</div></div>"
    )


def _drive(drive: Drive, rows: Sequence[Row], metric: str, titles: Mapping[str, str]) -> str:
    mine = [row for row in rows if row.bag == drive.name]
    if not mine:
        return ""
    note = "Red lines: the text contradicts the plan." if POLICY in titles else ""
    chart = _figure(charts.drive_chart(mine, drive.track, metric, titles))
    return (
        f'<section id="{esc(sections.anchor_of_bag(drive.name))}"><h2>{esc(drive.name)}</h2>'
        f"{chart}<p class='faint'>{esc(note)}</p></section>"
    )


def _figure(image: UInt8Array) -> str:
    return f"<figure>{_image(image)}</figure>"


def _image(image: UInt8Array) -> str:
    return f'<img alt="" src="{data_uri(webp(image, quality=85), "webp")}">'


def _short(metric: str) -> str:
    return metric.replace("min_ade", "minADE").replace("ade", "ADE").replace("fde", "FDE")


def _number(row: Row, metric: str, before: str = "", after: str = "", form: str = ".2f") -> str:
    value = row.values.get(metric)
    return f"{before}unknown" if value is None else f"{before}{value:{form}}{after}"
