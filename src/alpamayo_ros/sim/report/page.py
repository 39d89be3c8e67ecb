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
    records: Sequence[RolloutRecord | None],
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
    folder = out_dir / "report"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    order = [i for i in sorted(range(len(scores)), key=lambda i: _worst_first(scores[i], i)) if records[i]]
    strips = set(order[: options.strips]) if images is not None else set()
    sections: dict[int, str] = {}
    for index in order[: options.sections]:
        record, score = records[index], scores[index]
        assert record is not None
        progress(score.name)
        shown = _draw(
            folder / _folder_name(score, index), record, score, images=images if index in strips else None
        )
        sections[index] = rollout_section(record, score, shown=shown, command=options.command)
    anchors = [_folder_name(score, i) if i in sections else None for i, score in enumerate(scores)]
    body = [
        summary_cards(summary, len(scores), options.notice),
        _video(options.video),
        family_table(summary),
        rollout_table(scores, anchors=anchors),
        *sections.values(),
    ]
    planners = ", ".join(sorted({score.planner for score in scores})) or "no planner"
    scenes = len({score.scene_id for score in scores})
    subtitle = f"{len(scores)} rollouts in {scenes} scenes, simulated in steps of 100 ms"
    path = out_dir / "report.html"
    path.write_text(page(f"Closed-loop rollouts: {planners}", subtitle, body), encoding="utf-8")
    return path


def _worst_first(score: RolloutScore, index: int) -> tuple[bool, bool, float, int]:
    """Return a sort key: failures first, then incidents, then low scores, unknown ones, high scores."""
    value = 0.5 if score.scene_score is None else score.scene_score
    return not score.failed, score.end_reason not in ("collision", "off_road"), value, index


def _draw(folder: Path, record: RolloutRecord, score: RolloutScore, *, images: PictureSource | None) -> Shown:
    """Draw what a section shows into its folder."""
    folder.mkdir()
    save_map(folder / "map.png", record)
    save_timeline(folder / "timeline.png", record, events(record, score))
    strips = []
    if images is not None:
        width, height = _STRIP_PX
        for moment in choose_moments(record, MOMENTS, score):
            pictures = painted_pictures(
                images, record, moment.step, camera_ids=STRIP_CAMERA_IDS, width=width, height=height
            )
            name = f"step_{moment.step:03d}.jpg"
            (folder / name).write_bytes(jpeg(strip([pictures[i] for i in STRIP_CAMERA_IDS])))
            strips.append((moment, name))
    return Shown(folder.name, "map.png", "timeline.png", tuple(strips))


def _folder_name(score: RolloutScore, index: int) -> str:
    """Return a name that is safe in a path, an address and an attribute, and told apart by its number."""
    return f"{index:04d}_{re.sub(r'[^A-Za-z0-9_-]', '_', score.scene_id)[:60]}"


def _video(name: str) -> str:
    if not name:
        return ""
    shown = (
        f'<img src="{esc(name)}" alt="">'
        if name.endswith(".webp")
        else f'<video src="{esc(name)}" controls loop muted></video>'
    )
    return f"<section><h2>One rollout</h2>{shown}</section>"
