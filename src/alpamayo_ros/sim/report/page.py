"""report.html: what happened in a set of rollouts, in one file that can be sent and opened anywhere."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alpamayo_ros.sim.record import RolloutRecord
from alpamayo_ros.sim.report.html import data_uri, esc, page
from alpamayo_ros.sim.report.map_plot import map_picture
from alpamayo_ros.sim.report.moments import choose_moments, events
from alpamayo_ros.sim.report.pictures import STRIP_CAMERA_IDS, PictureSource, painted_pictures, strip, webp
from alpamayo_ros.sim.report.rollout_section import Shown, rollout_section
from alpamayo_ros.sim.report.summary import family_table, rollout_table, summary_cards
from alpamayo_ros.sim.report.timeline import timeline_picture
from alpamayo_ros.sim.scoring import RolloutScore
from alpamayo_ros.types import InvalidInput, UInt8Array

MOMENTS = 4
WORST = "worst"
"""In place of a scene: the rollout that the report shows first."""
_FRONT_WIDE = 1
_STRIP_PX = (400, 225)


@dataclass(frozen=True, eq=False)
class ReportOptions:
    """What a report shows.

    Attributes:
        detailed: how many rollouts, those of the lowest scores first, are unfolded and show the side cameras
            too; of the others the front camera is shown.
        sections: how many rollouts, likewise, get a section of their own; None for all.
        command: what was run, without scenarios; said with each rollout's scene as the way to repeat it
            (alone with a rollout that took no time: it was read from a log).
        notice: said at the top, if anything (e.g. that the planner's weights are random).
        video: file name, beside the page, of a video of one rollout, if there is one.
        video_of: the name of that rollout.
        poster: a picture of the video, uint8 RGB [H, W, 3], shown until it plays or where it is not at hand.
    """

    detailed: int = 4
    sections: int | None = 200
    command: str = "alpamayo sim"
    notice: str = ""
    video: str = ""
    video_of: str = ""
    poster: UInt8Array | None = None


def write_report(
    out_dir: Path,
    records: Sequence[RolloutRecord | None],
    scores: Sequence[RolloutScore],
    *,
    summary: Mapping[str, Any],
    images: PictureSource | None = None,
    options: ReportOptions | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> Path:
    """Write report.html into a folder: one file, pictures included, but for the video; returns its path.

    Args:
        out_dir: must exist; an older report in it is replaced.
        records: rollouts; None for one that failed before it began.
        scores: of each rollout, in the same order.
        summary: what scoring.aggregate() made of all scores.
        images: renders the camera strips; none are shown without.
        options: what is shown.
        progress: told the name of each rollout before it is drawn.

    Raises:
        InvalidInput: unless there is one score a rollout.
    """
    if len(records) != len(scores):
        raise InvalidInput(f"scores: expected {len(records)}, one a rollout, got {len(scores)}")
    options = options or ReportOptions()
    order = worst_first(scores)
    sections: dict[int, str] = {}
    for index in [i for i in order if records[i] is not None][: options.sections]:
        record, score = records[index], scores[index]
        assert record is not None
        progress(score.name)
        detailed = len(sections) < options.detailed
        sections[index] = rollout_section(
            record,
            score,
            shown=_draw(record, score, images=images, detailed=detailed),
            anchor=_anchor(score, index),
            command=options.command,
            unfolded=detailed,
        )
    body = [
        summary_cards(summary, len(scores), options.notice),
        _video(options),
        family_table(summary),
        rollout_table(
            [scores[i] for i in order],
            anchors=[_anchor(scores[i], i) if i in sections else None for i in order],
        ),
        *sections.values(),
    ]
    planners = ", ".join(sorted({score.planner for score in scores})) or "no planner"
    scenes = len({score.scene_id for score in scores})
    subtitle = f"{_count(len(scores), 'rollout')} in {_count(scenes, 'scene')}, simulated in steps of 100 ms"
    path = out_dir / "report.html"
    path.write_text(page(f"Closed-loop rollouts: {planners}", subtitle, body), encoding="utf-8")
    return path


def worst_first(scores: Sequence[RolloutScore]) -> list[int]:
    """Return the order of showing: failures, then incidents, then low scores, unknown ones, high scores."""

    def key(index: int) -> tuple[bool, bool, float, int]:
        score = scores[index]
        value = 0.5 if score.scene_score is None else score.scene_score
        return not score.failed, score.end_reason not in ("collision", "off_road"), value, index

    return sorted(range(len(scores)), key=key)


def _draw(
    record: RolloutRecord, score: RolloutScore, *, images: PictureSource | None, detailed: bool
) -> Shown:
    """Draw what a section shows."""
    strips = []
    if images is not None:
        width, height = _STRIP_PX
        camera_ids = STRIP_CAMERA_IDS if detailed else (_FRONT_WIDE,)
        for moment in choose_moments(record, MOMENTS, score):
            pictures = painted_pictures(
                images, record, moment.step, camera_ids=camera_ids, width=width, height=height
            )
            image = strip([pictures[camera_id] for camera_id in camera_ids])
            strips.append((moment, data_uri(webp(image), "webp")))
    return Shown(
        map_uri=data_uri(webp(map_picture(record)), "webp"),
        timeline_uri=data_uri(webp(timeline_picture(record, events(record, score))), "webp"),
        strips=tuple(strips),
        is_wide=detailed,
    )


def _anchor(score: RolloutScore, index: int) -> str:
    """Return a name that is safe in an address and an attribute, and told apart by its number."""
    return f"{index:04d}_{re.sub(r'[^A-Za-z0-9_-]', '_', score.scene_id)[:60]}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _video(options: ReportOptions) -> str:
    if not options.video:
        return ""
    name = esc(options.video)
    poster = "" if options.poster is None else f' poster="{data_uri(webp(options.poster), "webp")}"'
    shown = f'<video src="{name}"{poster} controls loop muted preload="none"></video>'
    about = f"{esc(options.video_of)} in real time, in the file {name} beside this page."
    return f'<section><h2>Film</h2>{shown}<p class="faint">{about}</p></section>'
