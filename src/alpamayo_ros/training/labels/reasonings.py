"""Reasonings beside a data set: what a model wrote of its samples, and what a person decided.

A file of JSON lines, one text each. The samples themselves, and the automatic reasoning in them, are never
changed: `ReasonedSamples` lays the texts over them when they are read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any

from alpamayo_ros.training.dataset import EpisodeSamples
from alpamayo_ros.training.episode_file import EpisodeFile
from alpamayo_ros.training.sample import ReasoningSource, SampleSource, TrainingSample
from alpamayo_ros.types import InvalidInput

FILE_NAME = "reasonings.jsonl"
"""Where they are by default, in the data set's folder."""


class Decision(Enum):
    """What a person decided of a text."""

    ACCEPT = "accept"
    EDIT = "edit"
    REJECT = "reject"


@dataclass(frozen=True)
class Reasoning:
    """One text of one sample.

    Attributes:
        sample_id: which.
        source: MODEL or HUMAN.
        text: the reasoning; "" where a person rejected one.
        author: name of the model or of the person.
        decision: the person's, None of a model's text.
        of: whose text the person decided on: AUTOMATIC or MODEL; None of a model's text.

    Raises:
        InvalidInput: for fields that do not go together.
    """

    sample_id: str
    source: ReasoningSource
    text: str
    author: str
    decision: Decision | None = None
    of: ReasoningSource | None = None

    def __post_init__(self) -> None:
        if not self.sample_id or not self.author:
            raise InvalidInput(
                f"reasoning: expected a sample_id and an author, got {self.sample_id!r} and {self.author!r}"
            )
        if self.source not in (ReasoningSource.MODEL, ReasoningSource.HUMAN):
            raise InvalidInput(f"source: expected model or human, got {self.source.value!r}")
        if (self.source is ReasoningSource.HUMAN) != (self.decision is not None and self.of is not None):
            raise InvalidInput(f"{self.sample_id}: expected a decision, and on whose text, of a human alone")
        if self.of not in (None, ReasoningSource.AUTOMATIC, ReasoningSource.MODEL):
            raise InvalidInput(f"of: expected automatic or model, got {self.of.value!r}")
        if bool(self.text) == (self.decision is Decision.REJECT):
            raise InvalidInput(f"{self.sample_id}: expected a text unless it is rejected, got {self.text!r}")

    def line(self) -> str:
        """Return it as a line of the file."""
        fields: dict[str, str] = {
            "sample_id": self.sample_id,
            "source": self.source.value,
            "text": self.text,
            "author": self.author,
        }
        if self.decision is not None and self.of is not None:
            fields |= {"decision": self.decision.value, "of": self.of.value}
        return json.dumps(fields, ensure_ascii=False) + "\n"


Reasonings = Mapping[str, Mapping[ReasoningSource, Reasoning]]
"""By sample_id, then by source."""


def read_reasonings(path: Path) -> Reasonings:
    """Return the texts of a file; none where there is no file.

    Raises:
        InvalidInput: naming the line that is none, or that speaks of a sample a second time for one source.
    """
    found: dict[str, dict[ReasoningSource, Reasoning]] = {}
    if not path.exists():
        return found
    for number, fields in read_lines(path):
        try:
            one = Reasoning(
                sample_id=fields["sample_id"],
                source=ReasoningSource(fields["source"]),
                text=fields["text"],
                author=fields["author"],
                decision=Decision(fields["decision"]) if "decision" in fields else None,
                of=ReasoningSource(fields["of"]) if "of" in fields else None,
            )
        except KeyError as error:
            raise InvalidInput(f"{path}:{number}: expected the field {error}, got none") from error
        except ValueError as error:  # InvalidInput too
            raise InvalidInput(f"{path}:{number}: {error}") from error
        of_sample = found.setdefault(one.sample_id, {})
        if one.source in of_sample:
            raise InvalidInput(
                f"{path}:{number}: expected one {one.source.value} reasoning of {one.sample_id}, got another"
            )
        of_sample[one.source] = one
    return found


def read_lines(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield number and fields of a file's JSON lines; empty lines, and fields that are null, are left out.

    Raises:
        InvalidInput: naming the line that is anything but an object of texts.
    """
    for number, line in enumerate(path.read_text("utf-8").split("\n"), 1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
        except ValueError as error:
            raise InvalidInput(f"{path}:{number}: expected JSON, got {line[:80]!r} ({error})") from error
        if not isinstance(fields, dict):
            raise InvalidInput(f"{path}:{number}: expected an object, got {line[:80]!r}")
        given: dict[str, Any] = {name: value for name, value in fields.items() if value is not None}
        for name, value in given.items():
            if not isinstance(value, str):
                raise InvalidInput(f"{path}:{number}: {name}: expected a text, got {value!r}")
        yield number, given


class ReasoningFile:
    """Adds texts to a file, each at once on disk: whoever is killed loses none that was counted.

    A line that was not finished, because somebody was killed in the midst of it, is removed first.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a+b")
        self._file.seek(0)
        content = self._file.read()
        self._file.truncate(content.rfind(b"\n") + 1)

    def add(self, reasonings: Iterable[Reasoning]) -> None:
        """Write these."""
        self._file.write("".join(one.line() for one in reasonings).encode("utf-8"))
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> ReasoningFile:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class ReasonedSamples:
    """Samples with the texts of a file laid over them (a sample.SampleSource).

    What a person accepted or wrote counts. A text that a person rejected is not trained on: of the automatic
    one nothing is left then (source NONE), of the model's one the automatic stays. A model's text that nobody
    has looked at counts only if that is asked for.

    Args:
        samples: the samples.
        reasonings: the texts.
        trust_model: use a model's text that nobody has looked at.
    """

    def __init__(self, samples: SampleSource, reasonings: Reasonings, *, trust_model: bool = False) -> None:
        self.samples, self.reasonings, self.trust_model = samples, reasonings, trust_model

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> TrainingSample:
        """Return a sample with the reasoning that counts."""
        sample = self.samples[index]
        text, source = self._of(sample)
        return replace(sample, reasoning=text, source=source)

    def _of(self, sample: TrainingSample) -> tuple[str, ReasoningSource]:
        texts = self.reasonings.get(sample.sample_id, {})
        human, model = texts.get(ReasoningSource.HUMAN), texts.get(ReasoningSource.MODEL)
        if human is not None and human.text:
            return human.text, ReasoningSource.HUMAN
        if human is not None and human.of is ReasoningSource.AUTOMATIC:
            return "", ReasoningSource.NONE
        if human is None and model is not None and self.trust_model:
            return model.text, ReasoningSource.MODEL
        return sample.reasoning, sample.source


def automatic_texts(samples: EpisodeSamples) -> Iterator[tuple[int, str, str]]:
    """Yield index, sample_id and reasoning of all samples, in order, without reading their pictures."""
    index = 0
    for entry in samples.entries:
        file = EpisodeFile(samples.folder / entry.file)
        for row in range(len(file)):
            moment = file.moment(row)
            yield index, f"{file.head.episode_id}/{moment.tick}", moment.reasoning
            index += 1
