"""What people are shown of a finished run: the page, and a film of one rollout."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alpamayo_ros.sim.record import RolloutRecord
from alpamayo_ros.sim.report.film import still
from alpamayo_ros.sim.report.page import WORST, ReportOptions, worst_first, write_report
from alpamayo_ros.sim.report.pictures import PictureSource
from alpamayo_ros.sim.report.scene_moments import telling_step
from alpamayo_ros.sim.report.video import write_video
from alpamayo_ros.sim.scoring import RolloutScore
from alpamayo_ros.types import InvalidInput

if TYPE_CHECKING:
    from alpamayo_ros.sim.report.drawn_pictures import DrawnPictures

VIDEO_NAME = "rollout.webm"


def show_results(
    out_dir: Path,
    records: Sequence[RolloutRecord | None],
    scores: Sequence[RolloutScore],
    *,
    summary: Mapping[str, Any],
    images: PictureSource | None = None,
    video_of: str = "",
    options: ReportOptions | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> tuple[Path, ...]:
    """Write report.html, and rollout.webm where one is asked for; returns the files for people to open.

    Args:
        out_dir: must exist.
        records: rollouts; None for one that failed before it began.
        scores: of each rollout, in the same order.
        summary: scoring.aggregate()'s.
        images: renders pictures; by default the embedded renderer does, in this process, and where OpenGL
            cannot be had the page says that there are none, and why.
        video_of: scene whose worst rollout is filmed, or "worst" for the worst of all; "" for no film.
        options: what the page shows; its film is set here.
        progress: told what is being made.

    Raises:
        InvalidInput: for a scene to film that is not among the rollouts.
    """
    options = options or ReportOptions()
    filmed = _filmed(video_of, records, scores) if video_of else None
    made: list[Path] = []
    (out_dir / VIDEO_NAME).unlink(missing_ok=True)  # an older run's
    with ExitStack() as stack:
        if images is None and any(record is not None for record in records):
            why_none = drawing_problem()
            if why_none:
                options = replace(
                    options, notice=" ".join(filter(None, (options.notice, _without(why_none))))
                )
            else:
                images = stack.enter_context(_drawn_pictures())
        if filmed is not None and images is not None:
            record, score = filmed
            progress(f"film of {score.name}")
            path = out_dir / VIDEO_NAME
            write_video(path, record, images=images, score=score)
            poster = still(record, telling_step(record), images, score=score)
            options = replace(options, video=path.name, video_of=score.name, poster=poster)
            made.append(path)
        page = write_report(
            out_dir, records, scores, summary=summary, images=images, options=options, progress=progress
        )
    return (page, *made)


def drawing_problem() -> str:
    """Return why the embedded renderer cannot draw on this machine; "" where it can."""
    from alpamayo_ros.sim.render.gpu import RendererUnavailable
    from alpamayo_ros.sim.render.render_thread import shared_thread

    try:
        shared_thread()
    except RendererUnavailable as error:
        return str(error)
    return ""


def _without(why_none: str) -> str:
    return f"Without camera pictures and film, for this machine cannot draw them: {why_none}"


def _drawn_pictures() -> DrawnPictures:
    from alpamayo_ros.sim.report.drawn_pictures import DrawnPictures

    return DrawnPictures()


def _filmed(
    video_of: str, records: Sequence[RolloutRecord | None], scores: Sequence[RolloutScore]
) -> tuple[RolloutRecord, RolloutScore] | None:
    """Return the rollout to film; None where none of those asked for was begun."""
    asked = [i for i in worst_first(scores) if video_of in (WORST, scores[i].scene_id)]
    if not asked and scores:
        known = ", ".join(dict.fromkeys(score.scene_id for score in scores))
        raise InvalidInput(f"video: expected {WORST} or a scene of {known}, got {video_of!r}")
    for index in asked:
        record = records[index]
        if record is not None:
            return record, scores[index]
    return None
