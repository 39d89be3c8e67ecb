"""A walk through a review file in the terminal: accept, edit or reject, one sample after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from alpamayo_ros.training.labels.chat import NoAnswer
from alpamayo_ros.training.labels.prompt import sentence_of
from alpamayo_ros.training.labels.review import ReviewEntry, read_review, write_review
from alpamayo_ros.types import InvalidInput

_QUESTION = "[a]ccept, [e]dit, [r]eject, [s]kip, [q]uit? "


def walk(
    path: Path,
    *,
    reviewer: str,
    ask: Callable[[str], str],
    tell: Callable[[str], None],
    picture_of: Callable[[str], Path | None] = lambda sample_id: None,
) -> int:
    """Ask about each entry without a decision; returns how many got one. The file is saved after each.

    Args:
        path: the review file.
        reviewer: who decides.
        ask: returns the answer to a question, as `input` does; EOFError ends the walk, as "q" does.
        tell: shows a line.
        picture_of: the picture of a sample, None if there is none.

    Raises:
        InvalidInput: for a reviewer without a name, or a file that is none.
    """
    if not reviewer.strip():
        raise InvalidInput("reviewer: expected a name, got none")
    entries = list(read_review(path))
    open_ones = [index for index, entry in enumerate(entries) if not entry.decision]
    decided = 0
    for place, index in enumerate(open_ones, 1):
        _show(entries[index], f"{place}/{len(open_ones)}", picture_of, tell)
        try:
            answer = _decide(entries[index], reviewer.strip(), ask, tell)
        except (EOFError, _Quit):
            break
        if answer is not None:
            entries[index] = answer
            write_review(path, entries, replace=True)
            decided += 1
    return decided


class _Quit(Exception):
    pass


def _show(
    entry: ReviewEntry, place: str, picture_of: Callable[[str], Path | None], tell: Callable[[str], None]
) -> None:
    tell(f"\n{place}  {entry.sample_id}")
    picture = picture_of(entry.sample_id)
    if picture is not None:
        tell(f"  picture    {picture}")
    if entry.automatic:
        tell(f"  automatic  {entry.automatic}")
    if entry.model:
        tell(f"  model      {entry.model}   <- to judge")


def _decide(
    entry: ReviewEntry, reviewer: str, ask: Callable[[str], str], tell: Callable[[str], None]
) -> ReviewEntry | None:
    """Return the entry with its decision, None if it is skipped."""
    while True:
        key = ask(_QUESTION).strip().lower()[:1]
        if key == "q":
            raise _Quit
        if key == "s":
            return None
        if key in ("a", "r"):
            return replace(entry, decision="accept" if key == "a" else "reject", reviewer=reviewer)
        if key != "e":
            continue
        try:
            return replace(entry, decision="edit", edited=sentence_of(ask("text: ")), reviewer=reviewer)
        except NoAnswer as error:
            tell(f"  {error}")
