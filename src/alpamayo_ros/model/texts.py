"""What the model wrote, taken out of its decoded tokens as upstream's token_utils.py does.

Upstream's 1.5 looks for the meta action between tokens that its vocabulary has under other names, and finds
none. Here the tokens at the same positions count, so a checkpoint of that layout that was trained to write
meta actions is read; the released one never writes these tokens.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from alpamayo_ros.model.config import ALPAMAYO_R1
from alpamayo_ros.model.special_tokens import META_ACTION_POSITIONS, names, token
from alpamayo_ros.types import ReasoningSections

_HEADING = re.compile(
    r"""
    # On a line's start in any case, bare or dressed: "Action: brake", "## Action", "**Action:** brake",
    # "[ACTION] brake".
    ^[ \t]*(?:\#{1,6}[ \t]*|\d[.)][ \t]*)?(?:\*\*|\[)?
    (?i:(?P<line>observation|reasoning|action|prediction)s?)
    (?:\*\*)?(?:\][ \t]*:?|[ \t]*:(?:\*\*)?|[ \t]*$)
    # Within a line only in capitals and before a colon: "the action: brake" is prose.
    |(?:\*\*)?\b(?P<inline>OBSERVATION|REASONING|ACTION|PREDICTION)S?\b(?:\*\*)?[ \t]*:(?:\*\*)?
    """,
    re.MULTILINE | re.VERBOSE,
)


@dataclass(frozen=True)
class GeneratedTexts:
    """The texts of one sample.

    Attributes:
        reasoning: the Chain of Causation, "" where its end token is missing.
        reasoning_complete: whether its end token came.
        meta_action, answer: likewise taken from between their tokens.
    """

    reasoning: str
    reasoning_complete: bool
    meta_action: str
    answer: str

    @classmethod
    def from_decoded(cls, text: str, *, generation: str = ALPAMAYO_R1) -> GeneratedTexts:
        """Take the texts out of one sample's decoded tokens, special tokens included.

        Args:
            text: prompt and generation, as upstream decodes them for a plan; for a question the generation
                alone. The prompt matters only where an end token has no start token before it in the
                generation: then the text begins at the prompt's start token, or at the text's start.
            generation: of the model, which decides what the tokens around a meta action are called.
        """
        text = until_trajectory(text)
        return cls(
            reasoning=extract(text, "cot"),
            reasoning_complete=token("cot_end") in text,
            meta_action=_meta_action(text, generation),
            answer=extract(text, "answer"),
        )


def until_trajectory(text: str) -> str:
    """Return the text up to the first <|traj_future_start|>, it included; what follows is never read."""
    before, start, _ = text.partition(token("traj_future_start"))
    return before + start


def extract(text: str, name: str) -> str:
    """Return what stands between <|name_start|> and <|name_end|>, stripped.

    It ends at the first end token ("" if there is none) and begins behind the last start token before
    that, or at the text's start if there is none.
    """
    before, end, _ = text.partition(token(f"{name}_end"))
    if not end:
        return ""
    return before.rpartition(token(f"{name}_start"))[2].strip()


def _meta_action(text: str, generation: str) -> str:
    start, end = (token(names(generation)[position]) for position in META_ACTION_POSITIONS)
    if start == token("meta_action_start"):
        return extract(text, "meta_action")
    # Tokens that stand for something else upstream: one that has strayed in alone brings in nothing.
    before, found, _ = text.partition(end)
    return before.rpartition(start)[2].strip() if found and start in before else ""


def parse_sections(text: str) -> ReasoningSections | None:
    """Return the text's sections (OBSERVATION, REASONING, ACTION, PREDICTION), None if it is not in sections.

    A text is in sections if it begins with a heading and has two or more of different names; of two headings
    of one name the second counts as text of the section that it stands in.
    """
    found: dict[str, tuple[int, int]] = {}
    for match in _HEADING.finditer(text):
        name = (match["line"] or match["inline"]).lower()
        found.setdefault(name, match.span())
    if len(found) < 2:
        return None
    spans = sorted((start, end, name) for name, (start, end) in found.items())
    if text[: spans[0][0]].strip(" \t\r\n#*"):
        return None
    stops = [start for start, _, _ in spans[1:]] + [len(text)]
    return ReasoningSections(
        **{name: text[end:stop].strip() for (_, end, name), stop in zip(spans, stops, strict=True)}
    )
