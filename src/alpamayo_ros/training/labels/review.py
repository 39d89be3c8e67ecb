"""The review file: what a person is to judge, and has judged, as JSON lines.

A line has `sample_id`, `automatic` and `model` (the texts, the model's "" if it wrote none), and the person's
`decision` (accept, edit, reject; "" while there is none), `edited` (the text, for edit alone) and `reviewer`.
A decision is about the model's text where there is one, else about the automatic one. The file can be edited
by hand, by a script, or in the terminal (walk.py).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from alpamayo_ros.training.labels.chat import NoAnswer
from alpamayo_ros.training.labels.prompt import sentence_of
from alpamayo_ros.training.labels.reasonings import Decision, Reasoning, Reasonings, read_lines
from alpamayo_ros.training.sample import ReasoningSource
from alpamayo_ros.types import InvalidInput


@dataclass(frozen=True)
class ReviewEntry:
    """One line of a review file.

    Attributes:
        sample_id: which sample.
        automatic, model: its texts, "" for none.
        decision: "accept", "edit" or "reject"; "" while there is none.
        edited: what is to stand there instead, for "edit" alone.
        reviewer: who decided, "" while there is no decision.

    Raises:
        InvalidInput: for fields that do not go together, or an edited text that is not one sentence.
    """

    sample_id: str
    automatic: str = ""
    model: str = ""
    decision: str = ""
    edited: str = ""
    reviewer: str = ""

    def __post_init__(self) -> None:
        if not self.sample_id:
            raise InvalidInput("sample_id: expected a name, got none")
        if not self.subject:
            raise InvalidInput(f"{self.sample_id}: expected a text to judge, got neither automatic nor model")
        decisions = [each.value for each in Decision]
        if self.decision and self.decision not in decisions:
            raise InvalidInput(f"decision: expected one of {', '.join(decisions)}, got {self.decision!r}")
        if bool(self.decision) != bool(self.reviewer):
            raise InvalidInput(
                f"{self.sample_id}: expected a reviewer with each decision and none without, "
                f"got decision {self.decision!r} by {self.reviewer!r}"
            )
        if bool(self.edited) != (self.decision == Decision.EDIT.value):
            raise InvalidInput(
                f"{self.sample_id}: expected an edited text with the decision edit alone, "
                f"got {self.edited!r} with {self.decision!r}"
            )
        if self.edited:
            try:
                clean = sentence_of(self.edited)
            except NoAnswer as error:
                raise InvalidInput(f"{self.sample_id}: edited: {error}") from error
            if clean != self.edited:
                raise InvalidInput(f"{self.sample_id}: edited: expected {clean!r}, got {self.edited!r}")

    @property
    def subject(self) -> str:
        """The text that is judged."""
        return self.model or self.automatic

    def reasoning(self) -> Reasoning | None:
        """Return what the decision comes to, None while there is none."""
        if not self.decision:
            return None
        decision = Decision(self.decision)
        text = {Decision.ACCEPT: self.subject, Decision.EDIT: self.edited, Decision.REJECT: ""}[decision]
        of = ReasoningSource.MODEL if self.model else ReasoningSource.AUTOMATIC
        return Reasoning(self.sample_id, ReasoningSource.HUMAN, text, self.reviewer, decision, of)


_FIELDS = tuple(field.name for field in fields(ReviewEntry))


def write_review(path: Path, entries: Iterable[ReviewEntry], *, replace: bool = False) -> int:
    """Write a review file, whole or not at all; returns how many lines it has.

    Args:
        path: the file.
        entries: its lines.
        replace: whether one that is there may be replaced; it holds somebody's work.

    Raises:
        InvalidInput: for a file that is there already.
    """
    if path.exists() and not replace:
        raise InvalidInput(f"{path}: expected a new file, got one that may hold decisions")
    lines = [json.dumps(asdict(entry), ensure_ascii=False) + "\n" for entry in entries]
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_text("".join(lines), "utf-8")
    unfinished.replace(path)
    return len(lines)


def read_review(path: Path) -> tuple[ReviewEntry, ...]:
    """Return the entries of a review file, in order; each sample has one.

    Raises:
        InvalidInput: for no file; naming the line that is no entry, or that speaks of a sample again.
    """
    if not path.is_file():
        raise InvalidInput(f"{path}: expected a review file, got none")
    first: dict[str, int] = {}
    entries: list[ReviewEntry] = []
    for number, given in read_lines(path):
        unknown = sorted(set(given) - set(_FIELDS))
        if unknown:
            raise InvalidInput(f"{path}:{number}: expected fields {', '.join(_FIELDS)}, got {unknown[0]!r}")
        try:
            entry = ReviewEntry(**{"sample_id": "", **given})
        except InvalidInput as error:
            raise InvalidInput(f"{path}:{number}: {error}") from error
        before = first.setdefault(entry.sample_id, number)
        if before != number:
            raise InvalidInput(
                f"{path}:{number}: expected each sample once, got {entry.sample_id} again (line {before})"
            )
        entries.append(entry)
    return tuple(entries)


def entries_of(automatic: Mapping[str, str], reasonings: Reasonings) -> tuple[ReviewEntry, ...]:
    """Return what is left to judge of samples: those with a text and without a person's decision.

    Args:
        automatic: automatic text by sample_id.
        reasonings: what models and people have written.
    """
    entries = []
    for sample_id, text in automatic.items():
        texts = reasonings.get(sample_id, {})
        model = texts.get(ReasoningSource.MODEL)
        if ReasoningSource.HUMAN not in texts and (text or model is not None):
            entries.append(ReviewEntry(sample_id, text, "" if model is None else model.text))
    return tuple(entries)


def decisions_of(
    path: Path, entries: Sequence[ReviewEntry], automatic: Mapping[str, str], reasonings: Reasonings
) -> tuple[Reasoning, ...]:
    """Return the decisions of a review file that are new, all of them checked against the data set.

    Args:
        path: the file, for what is raised.
        entries: its lines (read_review).
        automatic: automatic text by sample_id, of the whole data set.
        reasonings: what models and people have written.

    Raises:
        InvalidInput: naming the line whose sample is unknown, whose texts are not those of the data set (any
            more), or whose decision is not the one that is there already.
    """
    numbers = [number for number, _ in read_lines(path)]
    found = []
    for number, entry in zip(numbers, entries, strict=True):
        place = f"{path}:{number}"
        if entry.sample_id not in automatic:
            raise InvalidInput(f"{place}: expected a sample of the data set, got {entry.sample_id!r}")
        texts = reasonings.get(entry.sample_id, {})
        model = texts.get(ReasoningSource.MODEL)
        here = (automatic[entry.sample_id], "" if model is None else model.text)
        if (entry.automatic, entry.model) != here:
            raise InvalidInput(
                f"{place}: {entry.sample_id}: expected the data set's texts {here}, "
                f"got {(entry.automatic, entry.model)}"
            )
        decided, before = entry.reasoning(), texts.get(ReasoningSource.HUMAN)
        if decided is None:
            continue
        if before is not None and before != decided:
            raise InvalidInput(
                f"{place}: {entry.sample_id}: expected the decision that is there already, "
                f"{before.line().strip()}, got {decided.line().strip()}"
            )
        if before is None:
            found.append(decided)
    return tuple(found)
