"""The review file: there and back, and no line that does not fit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from alpamayo_ros.training.labels.reasonings import Decision, Reasoning, Reasonings
from alpamayo_ros.training.labels.review import (
    ReviewEntry,
    decisions_of,
    entries_of,
    read_review,
    write_review,
)
from alpamayo_ros.training.sample import ReasoningSource
from alpamayo_ros.types import InvalidInput

MODEL, HUMAN = ReasoningSource.MODEL, ReasoningSource.HUMAN
AUTOMATIC: Mapping[str, str] = {"a/0": "Stop for the stop sign.", "a/1": "Keep lane and speed.", "a/2": ""}
WRITTEN: Reasonings = {"a/0": {MODEL: Reasoning("a/0", MODEL, "Stop for the sign on the right.", "vlm")}}
ENTRY = ReviewEntry("a/0", AUTOMATIC["a/0"], "Stop for the sign on the right.")


def judged(entry: ReviewEntry, decision: str, edited: str = "") -> ReviewEntry:
    return replace(entry, decision=decision, edited=edited, reviewer="kim")


def imported(path: Path, *entries: ReviewEntry, reasonings: Reasonings = WRITTEN) -> tuple[Reasoning, ...]:
    write_review(path, entries, replace=True)
    return decisions_of(path, read_review(path), AUTOMATIC, reasonings)


def test_what_is_left_to_judge() -> None:
    assert entries_of(AUTOMATIC, WRITTEN) == (ENTRY, ReviewEntry("a/1", "Keep lane and speed."))
    done = Reasoning("a/1", HUMAN, "Keep lane.", "kim", Decision.EDIT, ReasoningSource.AUTOMATIC)
    assert entries_of(AUTOMATIC, {**WRITTEN, "a/1": {HUMAN: done}}) == (ENTRY,)


def test_a_file_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    entries = (
        judged(ENTRY, "edit", "Stop for the sign at the kerb – now."),
        ReviewEntry("a/1", "Keep lane."),
    )
    assert write_review(tmp_path / "review.jsonl", entries) == 2
    assert read_review(tmp_path / "review.jsonl") == entries
    first = json.loads((tmp_path / "review.jsonl").read_text("utf-8").splitlines()[0])
    assert list(first) == ["sample_id", "automatic", "model", "decision", "edited", "reviewer"]


def test_somebody_s_work_is_not_overwritten(tmp_path: Path) -> None:
    write_review(tmp_path / "review.jsonl", [judged(ENTRY, "accept")])
    with pytest.raises(InvalidInput, match="expected a new file"):
        write_review(tmp_path / "review.jsonl", [ENTRY])
    assert read_review(tmp_path / "review.jsonl")[0].decision == "accept"


def test_decisions_come_back_as_human_reasonings(tmp_path: Path) -> None:
    path, plain = tmp_path / "review.jsonl", ReviewEntry("a/1", AUTOMATIC["a/1"])
    (accepted,) = imported(path, judged(ENTRY, "accept"), plain)
    assert accepted == Reasoning("a/0", HUMAN, ENTRY.model, "kim", Decision.ACCEPT, MODEL)
    (edited,) = imported(path, judged(ENTRY, "edit", "Stop for the stop sign ahead."))
    assert (edited.text, edited.decision, edited.of) == (
        "Stop for the stop sign ahead.",
        Decision.EDIT,
        MODEL,
    )
    rejected, automatic = imported(path, judged(ENTRY, "reject"), judged(plain, "accept"))
    assert (rejected.text, rejected.decision) == ("", Decision.REJECT)
    assert (automatic.text, automatic.of) == (plain.automatic, ReasoningSource.AUTOMATIC)


def test_the_same_file_twice_adds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "review.jsonl"
    (decided,) = imported(path, judged(ENTRY, "accept"))
    there = {"a/0": {**WRITTEN["a/0"], HUMAN: decided}}
    assert imported(path, judged(ENTRY, "accept"), reasonings=there) == ()


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (ReviewEntry("b/9", "Keep lane."), "expected a sample of the data set, got 'b/9'"),
        (replace(ENTRY, automatic="Keep lane."), "expected the data set's texts"),
        (replace(ENTRY, model=""), "expected the data set's texts"),
        (ReviewEntry("a/1", AUTOMATIC["a/1"], "Slow down for the cat."), "expected the data set's texts"),
    ],
)
def test_a_line_of_another_data_set_is_named(tmp_path: Path, entry: ReviewEntry, says: str) -> None:
    good = judged(ReviewEntry("a/1", AUTOMATIC["a/1"]), "accept")
    lines = (good, entry) if entry.sample_id != "a/1" else (judged(ENTRY, "accept"), entry)
    with pytest.raises(InvalidInput, match=rf"review\.jsonl:2: .*{says}"):
        imported(tmp_path / "review.jsonl", *lines)


def test_a_decision_against_the_one_that_is_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "review.jsonl"
    (decided,) = imported(path, judged(ENTRY, "accept"))
    there = {"a/0": {**WRITTEN["a/0"], HUMAN: decided}}
    with pytest.raises(InvalidInput, match=r"review\.jsonl:1: a/0: expected the decision that is there"):
        imported(path, judged(ENTRY, "reject"), reasonings=there)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("nonsense", "expected JSON"),
        (
            '{"sample_id": "a/1", "automatic": "x y z.", "verdict": "accept"}',
            "expected fields .* got 'verdict'",
        ),
        ('{"automatic": "Keep lane."}', "sample_id: expected a name"),
        ('{"sample_id": "a/1"}', "expected a text to judge"),
        (
            '{"sample_id": "a/1", "automatic": "x", "decision": "maybe", "reviewer": "kim"}',
            "decision: expected one",
        ),
        ('{"sample_id": "a/1", "automatic": "x", "decision": "accept"}', "expected a reviewer"),
        ('{"sample_id": "a/1", "automatic": "x", "reviewer": "kim"}', "expected a reviewer"),
        (
            '{"sample_id": "a/1", "automatic": "x", "decision": "edit", "reviewer": "kim"}',
            "expected an edited text",
        ),
        (
            '{"sample_id": "a/1", "automatic": "x", "decision": "accept", "edited": "y", "reviewer": "kim"}',
            "expected an edited text with the decision edit alone",
        ),
        (
            '{"sample_id": "a/1", "automatic": "x", "decision": "edit", "edited": "No.", "reviewer": "kim"}',
            "edited: not one sentence",
        ),
        (
            '{"sample_id": "a/0", "automatic": "Stop."}',
            r"expected each sample once, got a/0 again \(line 1\)",
        ),
    ],
)
def test_a_line_that_is_no_entry_is_named(tmp_path: Path, line: str, says: str) -> None:
    path = tmp_path / "review.jsonl"
    write_review(path, [ENTRY])
    with path.open("a", encoding="utf-8") as file:
        file.write(f"\n{line}\n")
    with pytest.raises(InvalidInput, match=rf"review\.jsonl:3: .*{says}"):
        read_review(path)


def test_no_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="expected a review file, got none"):
        read_review(tmp_path / "none.jsonl")
