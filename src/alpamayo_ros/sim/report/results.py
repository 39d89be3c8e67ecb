"""What people are shown of a finished run: the page, and a film of one rollout."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from alpamayo_ros.sim.record import RolloutRecord
from alpamayo_ros.sim.report.page import ReportOptions, write_report
from alpamayo_ros.sim.report.pictures import PictureSource
from alpamayo_ros.sim.report.video import write_video
from alpamayo_ros.sim.scoring import RolloutScore
from alpamayo_ros.types import InvalidInput

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
    """Write report.html, and rollout.webm where a scene is named; returns the files for people to open.

    Args:
        out_dir: must exist.
        records: rollouts; None for one that failed before it began.
        scores: of each rollout, in the same order.
        summary: scoring.aggregate()'s.
        images: renders pictures; by default the embedded renderer does, in this process, and where OpenGL
            cannot be had the page says that there are none, and why.
        video_of: scene whose first rollout is filmed; "" for none.
        options: what the page shows; its `video` is set here.
        progress: told what is being made.

    Raises:
        InvalidInput: for a scene to film that is not among the rollouts, or without a renderer to film it.
    """
    options = options or ReportOptions()
    filmed = None
    if video_of:
        pairs = zip(records, scores, strict=True)
        filmed = next(((r, s) for r, s in pairs if r is not None and s.scene_id == video_of), None)
        if filmed is None:
            known = ", ".join(dict.fromkeys(score.scene_id for score in scores)) or "none"
            raise InvalidInput(f"video: expected a scene of {known}, got {video_of!r}")
    made: list[Path] = []
    with ExitStack() as stack:
        wanted = filmed is not None or options.strips > 0
        if images is None and wanted:
            images, why_none = _embedded(stack)
            if images is None:
                if filmed is not None:
                    raise InvalidInput(f"video: expected a renderer, got none: {why_none}")
                notice = f"Without camera pictures: {why_none}"
                options = replace(options, notice=" ".join(filter(None, (options.notice, notice))))
        if filmed is not None:
            assert images is not None
            progress(f"film of {video_of}")
            path = out_dir / VIDEO_NAME
            write_video(path, filmed[0], images=images, score=filmed[1])
            options = replace(options, video=path.name)
            made.append(path)
        page = write_report(
            out_dir, records, scores, summary=summary, images=images, options=options, progress=progress
        )
    return (page, *made)


def _embedded(stack: ExitStack) -> tuple[PictureSource | None, str]:
    """Return the embedded renderer, or None and why it cannot draw here."""
    from alpamayo_ros.sim.render.gpu import RendererUnavailable
    from alpamayo_ros.sim.render.render_thread import shared_thread
    from alpamayo_ros.sim.report.drawn_pictures import DrawnPictures

    try:
        shared_thread()
    except RendererUnavailable as error:
        return None, str(error)
    return stack.enter_context(DrawnPictures()), ""
