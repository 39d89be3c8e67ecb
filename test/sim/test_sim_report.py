"""The report of rollouts: what it links to is there, nothing hostile gets through, unknown is no zero."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import cv2
import pytest
from rollout_factory import FlatPictures, example_scene, record_of

from alpamayo_ros.sim.record import RolloutRecord
from alpamayo_ros.sim.report import show_results, write_report
from alpamayo_ros.sim.report.page import ReportOptions
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


def test_everything_that_it_refers_to_is_beside_it(
    tmp_path: Path, records: list[RolloutRecord], scores: list[RolloutScore]
) -> None:
    text = report(tmp_path, records, scores, FlatPictures(), strips=1)
    page = Page(text)
    assert page.links
    for link in page.links:
        if link.startswith("#"):
            assert link[1:] in page.ids
        else:
            assert not re.match(r"[a-z]+:|/", link), f"{link} leads outside"
            assert (tmp_path / link).stat().st_size > 0
    for picture in (tmp_path / "report").rglob("*.*"):
        assert cv2.imread(str(picture)) is not None
        assert picture.relative_to(tmp_path).as_posix() in page.links


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


def test_the_worst_are_shown_first_and_strips_are_limited(
    tmp_path: Path, records: list[RolloutRecord], scores: list[RolloutScore]
) -> None:
    images = FlatPictures()
    text = report(tmp_path, records, scores, images, strips=1, sections=1)
    assert text.count("<figure>") == 4
    assert images.asked == 3 * 4
    sections = [name for name in Page(text).ids if name.startswith("0")]
    assert sections == ["0001_cut_in-7"]
    assert "straight-0#0" in text  # still in the table


def test_a_rollout_that_never_began_has_a_row_and_no_section(
    tmp_path: Path, records: list[RolloutRecord], scores: list[RolloutScore]
) -> None:
    failed = RolloutScore("hills-3", "hills", 0, "expert", "failed", "no such thing", scene_score=0.0)
    text = report(tmp_path, [None, records[0]], [failed, scores[0]])
    assert "hills-3#0" in text
    assert not [name for name in Page(text).ids if "hills" in name]


def test_a_report_is_the_same_for_the_same_rollouts_and_replaces_the_last(
    tmp_path: Path, records: list[RolloutRecord], scores: list[RolloutScore]
) -> None:
    first = report(tmp_path, records, scores)
    assert report(tmp_path, records, scores) == first
    report(tmp_path, records[:1], scores[:1])
    assert len(list((tmp_path / "report").iterdir())) == 1


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
    assert "rollout.webm" in Page(made[0].read_text(encoding="utf-8")).links
    film = cv2.VideoCapture(str(made[1]))
    assert film.get(cv2.CAP_PROP_FRAME_COUNT) == pytest.approx(60, abs=1)
    with pytest.raises(InvalidInput, match="expected a scene of straight-0, cut_in-7, got 'fog-3'"):
        show_results(tmp_path, records, scores, summary=summary, images=FlatPictures(), video_of="fog-3")
