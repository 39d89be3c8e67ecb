"""report.html: what happened in a set of rollouts, with everything it shows in a folder beside it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alpamayo_ros.sim.record import RolloutRecord
from alpamayo_ros.sim.report.html import esc, page
from alpamayo_ros.sim.report.map_plot import save_map
from alpamayo_ros.sim.report.moments import choose_moments, events
from alpamayo_ros.sim.report.pictures import STRIP_CAMERA_IDS, PictureSource, jpeg, painted_pictures, strip
from alpamayo_ros.sim.report.rollout_section import Shown, rollout_section
from alpamayo_ros.sim.report.summary import family_table, rollout_table, summary_cards
from alpamayo_ros.sim.report.timeline import save_timeline
from alpamayo_ros.sim.scoring import RolloutScore
from alpamayo_ros.types import InvalidInput

MOMENTS = 4
_STRIP_PX = (480, 270)


@dataclass(frozen=True)
class ReportOptions:
    """What a report shows.

    Attributes:
        strips: how many rollouts get camera strips (those of the lowest scores first).
        sections: how many rollouts get a section of their own, likewise; None for all.
        command: what was run, without scenarios; said with each rollout's scene as the way to repeat it.
        notice: said at the top, if anything (e.g. that the planner's weights are random).
        video: file name, beside the page, of a video of one rollout, if there is one.
    """

    strips: int = 6
    sections: int | None = None
    command: str = "alpamayo sim"
    notice: str = ""
    video: str = ""


def write_report(
    out_dir: Path,
    records: Sequence[RolloutRecord],
    scores: Sequence[RolloutScore],
    *,
    summary: Mapping[str, Any],
    images: PictureSource | None = None,
    options: ReportOptions | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> Path:
    """Write report.html into a folder, and what it shows into its subfolder `report`; returns its path.

    Args:
        out_dir: must exist; an older report in it is replaced.
        records: rollouts.
        scores: of each rollout, in the same order.
        summary: what scoring.aggregate() made of all scores.
        images: renders the camera strips; none are shown without.
        options: what is shown.
        progress: told what is being drawn.

    Raises:
        InvalidInput: unless there is one score a rollout.
    """
    if len(records) != len(scores):
        raise InvalidInput(f"scores: expected {len(records)}, one a rollout, got {len(scores)}")
    options = options or ReportOptions()
    folder = out_dir / "report"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    figures = [score.as_dict() for score in scores]
    order = sorted(range(len(records)), key=lambda i: badness(records[i], figures[i]), reverse=True)
    sections = order if options.sections is None else order[: options.sections]
    strips = set(order[: options.strips]) if images is not None else set()
    names = [_folder_name(record, index) for index, record in enumerate(records)]
    shown = {}
    for index in sorted(sections):
        progress(records[index].scene.scene_id)
        shown[index] = _draw(
            folder / names[index], records[index], images=images if index in strips else None
        )
    body = [
        summary_cards(summary, records, options.notice),
        _video(options.video),
        family_table(summary),
        rollout_table(
            records, figures, anchors=[names[i] if i in shown else None for i in range(len(records))]
        ),
        *(
            rollout_section(records[i], figures[i], shown=shown[i], anchor=names[i], command=options.command)
            for i in sections
        ),
    ]
    planners = sorted({record.planner for record in records})
    scenes = {record.scene.scene_id for record in records}
    title = f"Closed-loop rollouts: {', '.join(planners) or 'none'}"
    subtitle = f"{len(records)} rollouts in {len(scenes)} scenes, simulated in steps of 100 ms"
    path = out_dir / "report.html"
    path.write_text(page(title, subtitle, body), encoding="utf-8")
    return path


def badness(record: RolloutRecord, figures: Mapping[str, Any]) -> tuple[float, ...]:
    """Return a sort key by which failures come last, then low scores, then unknown ones, then high scores."""
    score = figures.get("scene_score")
    return (
        float(record.end_reason == "failed"),
        float(record.end_reason in ("collision", "off_road")),
        0.5 if score is None else 1.0 - float(score),
    )


def _draw(folder: Path, record: RolloutRecord, *, images: PictureSource | None) -> Shown:
    """Draw what a section shows into its folder."""
    folder.mkdir()
    save_map(folder / "map.png", record)
    save_timeline(folder / "timeline.png", record, events(record))
    strips = []
    for moment in choose_moments(record, MOMENTS) if images is not None else ():
        assert images is not None
        width, height = _STRIP_PX
        pictures = painted_pictures(
            images, record, moment.step, camera_ids=STRIP_CAMERA_IDS, width=width, height=height
        )
        name = f"step_{moment.step:03d}.jpg"
        (folder / name).write_bytes(jpeg(strip([pictures[i] for i in STRIP_CAMERA_IDS])))
        strips.append((moment, f"report/{folder.name}/{name}"))
    return Shown(f"report/{folder.name}/map.png", f"report/{folder.name}/timeline.png", tuple(strips))


def _folder_name(record: RolloutRecord, index: int) -> str:
    """Return a name that is safe in a path, an address and an attribute, and told apart by its number."""
    return f"{index:04d}_{re.sub(r'[^A-Za-z0-9_-]', '_', record.scene.scene_id)[:60]}"


def _video(name: str) -> str:
    if not name:
        return ""
    shown = (
        f'<img src="{esc(name)}" alt="">'
        if name.endswith(".webp")
        else f'<video src="{esc(name)}" controls loop muted></video>'
    )
    return f"<section><h2>One rollout</h2>{shown}</section>"
