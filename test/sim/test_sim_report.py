"""The report of rollouts: what it links to is there, nothing hostile gets through, unknown is no zero."""

from __future__ import annotations

import base64
import dataclasses
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from rollout_factory import FlatPictures, example_scene, record_of

from alpamayo_ros.sim.record import RolloutRecord
from alpamayo_ros.sim.render import render_thread
from alpamayo_ros.sim.render.gpu import RendererUnavailable
from alpamayo_ros.sim.report import WORST, drawing_problem, show_results, write_report
from alpamayo_ros.sim.report.page import MOMENTS, ReportOptions
from alpamayo_ros.sim.scoring import RolloutScore, aggregate, score_rollout
from alpamayo_ros.types import InvalidInput

HOSTILE = "<script>alert('x')</script> & \"quotes\" $title"


class Page(HTMLParser):
    """What a page refers to, what can be referred to in it, and its tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "href") and value:
                self.links.append(value)
            if name == "id" and value:
                self.ids.append(value)


@pytest.fixture(scope="module")
def records() -> list[RolloutRecord]:
    hostile = example_scene(scene_id="cut_in-7", description=HOSTILE)
    return [
        record_of(example_scene(), steps=120),
        record_of(hostile, steps=60, end_reason="failed", error=HOSTILE, reasoning=HOSTILE, stop_from=40),
    ]


@pytest.fixture(scope="module")
def scores(records: list[RolloutRecord]) -> list[RolloutScore]:
    return [score_rollout(record) for record in records]


def report(
    folder: Path,
    records: Sequence[RolloutRecord | None],
    scores: Sequence[RolloutScore],
    images: FlatPictures | None = None,
    **options: object,
) -> str:
    path = write_report(
        folder,
        records,
        scores,
        summary=aggregate(scores),
        images=images,
        options=ReportOptions(**options),  # type: ignore[arg-type]
    )
    assert path == folder / "report.html"
    return path.read_text(encoding="utf-8")


def test_it_is_one_file_that_holds_all_it_shows(
    tmp_path: Path, records: list[RolloutRecord], scores: list[RolloutScore]
) -> None:
    text = report(tmp_path, records, scores, FlatPictures())
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    page = Page(text)
    pictures = [link for link in page.links if not link.startswith("#")]
    assert len(pictures) == len(records) * (2 + MOMENTS)  # map, timeline, strips
    for picture in pictures:
        kind, _, data = picture.partition(",")
        assert kind == "data:image/webp;base64"
        image = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
        assert image is not None and image.shape[1] > 300
    for link in page.links:
        assert not link.startswith("#") or link[1:] in page.ids


def test_hostile_text_stays_text(
    tmp_path: Path, records: list[RolloutRecord], scores: list[RolloutScore]
) -> None:
    named = [dataclasses.replace(score, planner=HOSTILE, scene_id=HOSTILE) for score in scores]
    text = report(tmp_path, records, named, notice=HOSTILE, command=HOSTILE)
    assert Page(text).tags.count("script") == 1  # the page's own
    assert "alert('x')" not in text
    assert "&lt;script&gt;alert(&#x27;x&#x27;)" in text
    assert "$title" in text


def test_what_is_unknown_is_said_to_be(
    tmp_path: Path, records: list[RolloutRecord], scores: list[RolloutScore]
) -> None:
    known = dict.fromkeys(scores[0].metrics)
    blank = dataclasses.replace(scores[0], scene_score=None, metrics={**known, "dist_traveled_m": 12.0})
    text = report(tmp_path, records[:1], [blank])
    row = re.search(r"<tbody>\s*<tr>(.*?)</tr>", text[text.index("All rollouts") :], re.DOTALL)
    assert row is not None
    cells = re.findall(r"<td[^>]*>(.*?)</td>", row[1])
    assert cells[1] == "unknown"
    assert cells[4] == "12"
    assert cells[3] == cells[5] == cells[6] == "unknown"
    assert re.search(r"off the road</span><b>unknown", text)
    assert "score unknown" in text


def test_the_worst_are_shown_first_and_in_detail(
    tmp_path: Path, records: list[RolloutRecord], scores: list[RolloutScore]
) -> None:
    images = FlatPictures()
    text = report(tmp_path, records, scores, images, detailed=1)
    assert images.asked == 3 * MOMENTS + MOMENTS  # three cameras of the worst, one of the other
    table = text[text.index('id="rollouts"') :]
    assert table.index("cut_in-7#0") < table.index("straight-0#0")
    assert [name for name in Page(text).ids if name.startswith("0")] == ["0001_cut_in-7", "0000_straight-0"]
    assert re.findall(r'<details class="rollout" id="(\w+-\d)"( open)?>', text) == [
        ("0001_cut_in-7", " open"),
        ("0000_straight-0", ""),
    ]


def test_only_so_many_have_a_section(
    tmp_path: Path, records: list[RolloutRecord], scores: list[RolloutScore]
) -> None:
    text = report(tmp_path, records, scores, sections=1)
    assert [name for name in Page(text).ids if name.startswith("0")] == ["0001_cut_in-7"]
    assert "straight-0#0" in text  # still in the table
    assert "1 without a link have no section below" in text


def test_what_is_known_of_one_rollout_alone_has_no_interval(
    tmp_path: Path, records: list[RolloutRecord], scores: list[RolloutScore]
) -> None:
    families = report(tmp_path, records, scores).partition("By family")[2].partition("All rollouts")[0]
    assert "–" not in families
    doubled = report(tmp_path, [*records, *records], [*scores, *scores])
    assert "–" in doubled.partition("By family")[2].partition("All rollouts")[0]


def test_a_rollout_that_never_began_has_a_row_and_no_section(
    tmp_path: Path, records: list[RolloutRecord], scores: list[RolloutScore]
) -> None:
    failed = RolloutScore("hills-3", "hills", 0, "expert", "failed", "no such thing", scene_score=0.0)
    text = report(tmp_path, [None, records[0]], [failed, scores[0]])
    assert "hills-3#0" in text
    assert "failed: no such thing" in text
    assert not [name for name in Page(text).ids if "hills" in name]


def test_a_report_is_the_same_for_the_same_rollouts_and_replaces_the_last(
    tmp_path: Path, records: list[RolloutRecord], scores: list[RolloutScore]
) -> None:
    first = report(tmp_path, records, scores)
    assert report(tmp_path, records, scores) == first
    assert report(tmp_path, records[:1], scores[:1]) != first


def test_one_score_a_rollout_is_asked_for(
    tmp_path: Path, records: list[RolloutRecord], scores: list[RolloutScore]
) -> None:
    with pytest.raises(InvalidInput, match="expected 2, one a rollout, got 1"):
        report(tmp_path, records, scores[:1])


def test_a_run_is_shown_with_a_film_of_the_scene_asked_for(
    tmp_path: Path, records: list[RolloutRecord], scores: list[RolloutScore]
) -> None:
    summary = aggregate(scores)
    made = show_results(
        tmp_path, records, scores, summary=summary, images=FlatPictures(), video_of="cut_in-7"
    )
    assert made == (tmp_path / "report.html", tmp_path / "rollout.webm")
    text = made[0].read_text(encoding="utf-8")
    assert "rollout.webm" in Page(text).links
    assert re.search(r'<video [^>]*poster="data:image/webp;base64,', text)
    assert "cut_in-7#0 in real time" in text
    film = cv2.VideoCapture(str(made[1]))
    assert film.get(cv2.CAP_PROP_FRAME_COUNT) == pytest.approx(60, abs=1)


def test_the_worst_can_be_filmed_a_scene_that_was_not_driven_cannot(
    tmp_path: Path, records: list[RolloutRecord], scores: list[RolloutScore]
) -> None:
    summary = aggregate(scores)
    short = [record_of(example_scene(), steps=12, end_reason="failed", error="x"), records[0]]
    made = show_results(tmp_path, short, scores[::-1], summary=summary, images=FlatPictures(), video_of=WORST)
    assert "cut_in-7#0 in real time" in made[0].read_text(encoding="utf-8")
    with pytest.raises(InvalidInput, match="expected worst or a scene of straight-0, cut_in-7, got 'fog-3'"):
        show_results(tmp_path, records, scores, summary=summary, images=FlatPictures(), video_of="fog-3")


def test_where_nothing_can_be_drawn_the_page_says_why(
    tmp_path: Path,
    records: list[RolloutRecord],
    scores: list[RolloutScore],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unavailable() -> None:
        raise RendererUnavailable("expected EGL, got none: apt install libegl1")

    monkeypatch.setattr(render_thread, "shared_thread", unavailable)
    assert drawing_problem() == "expected EGL, got none: apt install libegl1"
    made = show_results(tmp_path, records, scores, summary=aggregate(scores), video_of=WORST)
    assert made == (tmp_path / "report.html",)
    text = made[0].read_text(encoding="utf-8")
    assert "cannot draw them: expected EGL, got none: apt install libegl1" in text
    assert "<video" not in text and "<figure" not in text
    assert text.count('alt="from above"') == 2


def test_the_shortest_rollout_and_none_at_all_can_be_shown(tmp_path: Path) -> None:
    record = record_of(example_scene(), steps=1, end_reason="interrupted")
    score = RolloutScore("straight-0", "straight", 0, "expert", "interrupted")
    assert "interrupted" in report(tmp_path, [record], [score], FlatPictures())
    assert "0 rollouts in 0 scenes" in report(tmp_path, [], [])
