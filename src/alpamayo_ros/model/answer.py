"""An answer to a question about the camera images."""

from __future__ import annotations

from dataclasses import dataclass

from alpamayo_ros.model.texts import GeneratedTexts


@dataclass(frozen=True)
class Answer:
    """One answer to a question.

    Attributes:
        text: the answer as upstream takes it from the generated tokens: "" unless its end token came.
        complete: whether <|answer_end|> came.
        generated: everything that was generated, special tokens included.
    """

    text: str
    complete: bool
    generated: str

    @classmethod
    def from_decoded(cls, generated: str) -> Answer:
        """Return the answer in what was generated, decoded with its special tokens."""
        return cls(GeneratedTexts.from_decoded(generated).answer, "<|answer_end|>" in generated, generated)
