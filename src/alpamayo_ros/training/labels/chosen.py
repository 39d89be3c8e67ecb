"""Which reasonings a run trains on: the automatic ones alone, people's before them, or a model's too.

What lies beside a data set is used only where that is asked for, and a run that is gone on with must find the
same texts: `ChosenReasonings.identity` goes into its settings.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from alpamayo_ros.training.labels.reasonings import (
    FILE_NAME,
    ReasonedSamples,
    Reasoning,
    Reasonings,
    read_reasonings,
)
from alpamayo_ros.training.sample import ReasoningSource, SampleSource
from alpamayo_ros.training.settings import AUTOMATIC_REASONINGS
from alpamayo_ros.types import InvalidInput

HUMAN, MODEL = "human", "model"
CHOICES = (AUTOMATIC_REASONINGS, HUMAN, MODEL)
"""automatic: those in the samples. human: what people accepted, edited or rejected counts before them. model:
a model's text that nobody has looked at counts too, behind people's."""

_SOURCES = {
    AUTOMATIC_REASONINGS: (),
    HUMAN: (ReasoningSource.HUMAN,),
    MODEL: (ReasoningSource.HUMAN, ReasoningSource.MODEL),
}


@dataclass(frozen=True)
class ChosenReasonings:
    """What is laid over samples that are trained on; by default nothing.

    Attributes:
        choice: one of CHOICES.
        texts: those that the choice lets count.

    Raises:
        InvalidInput: for another choice, or a text that the choice does not let count.
    """

    choice: str = AUTOMATIC_REASONINGS
    texts: Reasonings = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.choice not in CHOICES:
            raise InvalidInput(f"reasonings: expected one of {', '.join(CHOICES)}, got {self.choice!r}")
        for sample_id, of_sample in self.texts.items():
            others = [source.value for source in of_sample if source not in _SOURCES[self.choice]]
            if others:
                raise InvalidInput(f"{sample_id}: expected no {others[0]} text for {self.choice!r}, got one")

    @property
    def identity(self) -> str:
        """The choice and a digest of the texts, whatever their order."""
        if self.choice == AUTOMATIC_REASONINGS:
            return self.choice
        lines = sorted(one.line() for of_sample in self.texts.values() for one in of_sample.values())
        digest = hashlib.sha256("".join(lines).encode("utf-8", "surrogatepass")).hexdigest()
        return f"{self.choice} sha256:{digest}"

    def count(self, source: ReasoningSource) -> int:
        """Return how many texts there are of a source."""
        return sum(source in of_sample for of_sample in self.texts.values())

    def over(self, samples: SampleSource) -> SampleSource:
        """Return the samples with the texts over them; samples without one stay as they are."""
        if self.choice == AUTOMATIC_REASONINGS:
            return samples
        return ReasonedSamples(samples, self.texts, trust_model=self.choice == MODEL)

    def __str__(self) -> str:
        """Return it for people."""
        if self.choice == AUTOMATIC_REASONINGS:
            return "reasonings: the automatic ones"
        human, model = self.count(ReasoningSource.HUMAN), self.count(ReasoningSource.MODEL)
        by_model = f" and {model} of a model" if self.choice == MODEL else ""
        return f"reasonings: {human} decisions of people{by_model} over the automatic ones"


def choose_reasonings(data: Path | Sequence[Path], choice: str) -> ChosenReasonings:
    """Return what a choice takes of the file beside a data set (reasonings.FILE_NAME), or beside several.

    Raises:
        InvalidInput: for another choice, a file that cannot be read, or none with a text that the choice lets
            count.
    """
    if choice == AUTOMATIC_REASONINGS or choice not in CHOICES:
        return ChosenReasonings(choice)
    folders = [data] if isinstance(data, Path) else list(data)
    paths = [folder / FILE_NAME for folder in folders]
    there = [path for path in paths if path.exists()] or paths[:1]  # a single one that isn't there is refused
    counting = _SOURCES[choice]
    texts: dict[str, dict[ReasoningSource, Reasoning]] = {}
    for path in there:
        for sample_id, of_sample in read_reasonings(path).items():
            chosen = {source: one for source, one in of_sample.items() if source in counting}
            if chosen:
                texts[sample_id] = chosen
    if not texts:
        wanted = " or ".join(source.value for source in counting)
        names = ", ".join(map(str, there))
        raise InvalidInput(f"{names}: expected texts of source {wanted} for reasonings {choice!r}, got none")
    return ChosenReasonings(choice, texts)


def unused_note(data: Path, choice: str) -> str:
    """Return what to add for people where a choice leaves a whole file unused; "" where it does not."""
    path = data / FILE_NAME
    if choice != AUTOMATIC_REASONINGS or not path.is_file():
        return ""
    return f" ({path} is not used: --reasonings {HUMAN} or {MODEL} does)"
