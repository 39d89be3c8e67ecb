"""The walk through a review file: each key, and what is left after leaving in the midst of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from alpamayo_ros.training.labels.review import ReviewEntry, read_review, write_review
from alpamayo_ros.training.labels.walk import walk
from alpamayo_ros.types import InvalidInput

ENTRIES = tuple(
    ReviewEntry(f"a/{i}", f"Keep lane, case {i}.", f"Slow down for the dog {i}.") for i in range(4)
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_review(tmp_path / "review.jsonl", ENTRIES)
    return tmp_path / "review.jsonl"


def answering(*answers: str) -> Callable[[str], str]:
    left = list(answers)

    def ask(question: str) -> str:
        if not left:
            raise EOFError
        return left.pop(0)

    return ask


def decisions(path: Path) -> list[tuple[str, str]]:
    return [(entry.decision, entry.edited) for entry in read_review(path)]


def test_each_key_does_what_it_says(path: Path) -> None:
    said: list[str] = []
    ask = answering("a", "e", "Stop for the dog on the road.", "s", "r")
    assert walk(path, reviewer="kim", ask=ask, tell=said.append) == 3
    assert decisions(path) == [
        ("accept", ""),
        ("edit", "Stop for the dog on the road."),
        ("", ""),
        ("reject", ""),
    ]
    assert {entry.reviewer for entry in read_review(path) if entry.decision} == {"kim"}
    assert any("Slow down for the dog 0." in line for line in said)


@pytest.mark.parametrize("end", [("q",), ()], ids=["q", "end of input"])
def test_who_leaves_loses_nothing_and_goes_on_there(path: Path, end: tuple[str, ...]) -> None:
    assert walk(path, reviewer="kim", ask=answering("a", "r", *end), tell=lambda line: None) == 2
    assert [decision for decision, _ in decisions(path)] == ["accept", "reject", "", ""]
    said: list[str] = []
    assert walk(path, reviewer="lee", ask=answering("r", "a"), tell=said.append) == 2
    assert [entry.reviewer for entry in read_review(path)] == ["kim", "kim", "lee", "lee"]
    assert not any("a/0" in line for line in said)


def test_another_key_and_an_edit_that_is_no_sentence_are_asked_again(path: Path) -> None:
    said: list[str] = []
    ask = answering("x", "", "e", "No.", "e", "Stop for the dog ahead", "q")
    assert walk(path, reviewer="kim", ask=ask, tell=said.append) == 1
    assert decisions(path)[0] == ("edit", "Stop for the dog ahead.")
    assert any("not one sentence" in line for line in said)


def test_the_picture_is_named(path: Path) -> None:
    said: list[str] = []
    walk(path, reviewer="kim", ask=answering("q"), tell=said.append, picture_of=lambda name: Path("p") / name)
    assert any("p/a/0" in line for line in said)


def test_somebody_has_to_decide(path: Path) -> None:
    with pytest.raises(InvalidInput, match="reviewer: expected a name"):
        walk(path, reviewer=" ", ask=answering("a"), tell=lambda line: None)
