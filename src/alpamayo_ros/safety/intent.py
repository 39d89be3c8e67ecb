"""What a Chain-of-Causation text says that the vehicle will do.

Read are the clauses in which the vehicle acts: imperatives ("Slow down ...") and those with the vehicle as
their subject ("the ego vehicle should ..."). Causes, conditions and what others do are left out: "since the
car ahead turns left" is no intent to turn. No grammar is built; a clause that is not understood says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum


class Action(Enum):
    """What a clause announces."""

    STOP = "stop"
    HOLD = "remain stopped"
    SLOW = "slow down"
    PREPARE = "prepare to stop"
    YIELD = "yield"
    KEEP_SPEED = "keep speed"
    KEEP_LOW_SPEED = "keep a low speed"
    ACCELERATE = "accelerate"
    PROCEED = "proceed"
    CREEP = "creep forward"
    FOLLOW = "follow"
    STRAIGHT = "go straight"
    KEEP_LANE = "keep lane"
    TURN = "turn"
    TURN_AHEAD = "be about to turn"
    CHANGE_LANE = "change lane"
    NUDGE = "nudge"


@dataclass(frozen=True)
class Intent:
    """One thing that is announced.

    Attributes:
        action: what.
        side: +1 left, -1 right, 0 where it has none.
        negated: it is said that this will not, or need not, be done.
        later: it comes after something else ("stop, then proceed").
    """

    action: Action
    side: int = 0
    negated: bool = False
    later: bool = False

    def __str__(self) -> str:
        side = {1: " left", -1: " right", 0: ""}[self.side]
        return f"{'not ' if self.negated else ''}{self.action.value}{side}"


_MAX_CHARACTERS = 4000

_SPEED = r"(?:the |our |its |your )?(?:vehicle )?speed"
_FULL = r"(?:complete |full |smooth |controlled |gentle )*"
_SIDE = r"(?:to |towards? |into |onto )?(?:the |our |its )?(?P<side>left|right)"

_HEADS: tuple[tuple[Action, str], ...] = tuple(
    (action, pattern)
    for action, patterns in (
        (Action.PREPARE, [r"(?:prepar\w+|(?:be|get|being) (?:ready|prepared)|ready) (?:to|for)\b"]),
        (
            Action.HOLD,
            [
                r"(?:remain|stay|keep|keeping|staying|remaining) (?:fully )?"
                r"(?:stopped|stationary|standing|still|at a standstill|waiting)",
                r"(?:hold|holding) (?:the |our |its )?position",
            ],
        ),
        (
            Action.STOP,
            [
                r"(?:com(?:e|es|ing)|brak(?:e|es|ing)|slow(?:s|ing)?(?: down)?) to an? "
                rf"{_FULL}(?:stop|halt|standstill)",
                r"(?:stop|stops|stopping|halt|halts|halting|wait|waits|waiting)\b(?! (?:sign|line))",
                r"(?:mak(?:e|ing)|perform(?:ing)?) an? (?:\w+ )?stop\b",
            ],
        ),
        (
            Action.SLOW,
            [
                r"(?:slow|slows|slowing)\b",
                r"decelerat\w+",
                rf"(?:reduc\w+|lower\w*|decreas\w+|cut(?:ting)?) {_SPEED}",
                r"brak(?:e|es|ing)\b",
                r"apply(?:ing)? (?:the )?brakes?",
                r"eas(?:e|es|ing) off",
                r"driv(?:e|ing) (?:slower|more slowly)",
                r"emergency (?:brak\w+|stop)",
            ],
        ),
        (
            Action.YIELD,
            [r"yield\w*", r"giv(?:e|es|ing) way", r"let(?:s|ting)? (?:the|an?|it|them|him|her)\b"],
        ),
        (
            Action.KEEP_LOW_SPEED,
            [r"(?:keep|maintain|hold)(?:s|ing)? an? (?:low|slow|moderate|reduced|safe|careful) speed"],
        ),
        (
            Action.KEEP_SPEED,
            [
                r"(?:keep|maintain|hold)(?:s|ing)? (?:the |our |its |a )?"
                r"(?:(?:current|present|same|constant|steady|set|lane and) )*speed",
                r"continu(?:e|es|ing) (?:at|with) (?:the |our |its |a )?"
                r"(?:(?:current|present|same|constant|steady|set) )+speed",
                r"cruis(?:e|es|ing)\b",
            ],
        ),
        (
            Action.ACCELERATE,
            [r"accelerat\w+", r"speed(?:s|ing)? up", r"(?:pick|picking) up speed", rf"increas\w+ {_SPEED}"],
        ),
        (Action.CREEP, [r"(?:creep|inch|edg)(?:e|s|ing)? (?:\w+ )?forward"]),
        (
            Action.CHANGE_LANE,
            [
                rf"(?:chang\w+|switch\w*|mov(?:e|es|ing)|merg\w+|shift\w*) (?:\w+ )?{_SIDE} lane",
                rf"(?:mak(?:e|ing) |perform(?:ing)? |execut\w+ )?(?:an? |the )?lane change {_SIDE}",
                rf"(?:chang\w+|switch\w*) lanes? {_SIDE}",
                rf"merg\w+ {_SIDE}",
                rf"pull(?:s|ing)? over {_SIDE}",
                r"(?:mak(?:e|ing) |perform(?:ing)? |execut\w+ )?an? (?P<side>left|right) lane change",
            ],
        ),
        (
            Action.TURN,
            [
                rf"turn(?:s|ing)? (?:sharply )?{_SIDE}\b(?! (?:lane|of way))",
                r"(?:mak(?:e|es|ing)|tak(?:e|es|ing)|perform(?:ing)?|execut\w+) (?:an? |the )?(?:\w+ )?"
                r"(?P<side>left|right)(?: |-)turn",
                r"(?:mak(?:e|ing)|perform(?:ing)?|tak(?:e|ing)) an? u-?turn(?: " + _SIDE + ")?",
            ],
        ),
        (
            Action.NUDGE,
            [
                r"(?:nudg\w+|bias\w*|shift\w*|steer\w*|mov(?:e|es|ing)|veer\w*|swerv\w+|edg(?:e|ing)|drift\w*)"
                r"(?: \w+){0,3}? (?<!on the )(?<!from the )(?<!in the )"
                r"(?:to (?:the|our|its) )?(?P<side>left|right)\b(?! (?:lane|turn|side of|of way))",
            ],
        ),
        (
            Action.STRAIGHT,
            [r"(?:go|goes|going|continu\w+|proceed\w*|driv(?:e|es|ing)|keep going) straight"],
        ),
        (
            Action.PROCEED,
            [
                r"(?:start|begin)(?:s|ning|ing)? (?:moving|driving|off|to move|to drive)",
                r"(?:proceed|resum)(?:e|s|ing)?\b",
                r"(?:pull|mov|set|driv)(?:e|s|ing)? (?:away|off)",
                r"continu(?:e|es|ing)\b",
            ],
        ),
        (
            Action.FOLLOW,
            [
                r"(?:keep|maintain|hold)(?:s|ing)? (?:a |the |our )?(?:\w+ ){0,2}(?:distance|gap)",
                r"follow(?:s|ing)? (?:behind )?(?:the |an? )(?!lane|road|route|bend|curve)",
            ],
        ),
        (
            Action.KEEP_LANE,
            [
                r"(?:keep|maintain|hold|follow)(?:s|ing)? (?:to )?(?:the |our |its |current )*lane",
                r"(?:stay|keep|remain)(?:s|ing)? (?:with)?in (?:the |our |its |current )*lane",
                r"lane(?: |-)keep\w*",
            ],
        ),
    )
    for pattern in patterns
)
_RULES = tuple((action, re.compile(pattern)) for action, pattern in _HEADS)

_EGO = r"(?:the )?(?:ego(?: vehicle| car)?|our (?:vehicle|car)|we|i)"
_MODAL = r"(?:should|must|will|shall|can|may|needs? to|has to|have to|is going to|are going to|is|are|to|now)"
_BREAK_AT_EGO = re.compile(rf"(?<=\w) (?=(?:requir\w+ )?{_EGO} {_MODAL} )")
_SUBJECT = re.compile(rf"(?:requir\w+ )?{_EGO}\b(?: {_MODAL}\b)*\s*")
_NEGATION = re.compile(
    r"(?:there is )?(?:no need to|(?:do|does|did|must|should|will|can|need|is|are) not(?: (?:have|need) to)?"
    r"|cannot|never|not|without|instead of|rather than|avoid(?:ing)?"
    r"|it is (?:not (?:possible|safe)|impossible))(?: to)?\s+"
)
_FILLER = re.compile(
    r"(?:then|now|also|and|so|therefore|thus|please|just|next|first|carefully|gently|gradually|smoothly|slightly"
    r"|slowly|briefly|firmly|immediately|gentle|strong|hard|slight|sharp|safely|simply|still|only|to)\s+"
)
_SUBORDINATE = re.compile(
    r"\b(?:since|because|due to|owing to|although|though|until|till|after|before|so that|which|that"
    r"|where|whereas|as(?! (?:well|possible|far|needed|much)))\b"
)
_CONDITION = re.compile(r"^\s*(?:and |but )?(?:if|when|once|whenever|unless|in case|as soon as)\b")
_CONDITION_BEHIND = re.compile(r"\b(?:if|when|once|whenever|unless|in case|as soon as)\b")
_JOINTS = re.compile(r"\b(and then|and|then|but|so|while|by|without|instead of|rather than)\b")
_NEGATING = ("without", "instead of", "rather than")
_PURPOSE_YIELD = re.compile(r"\bto (?:yield|give way|let (?:the|an?|it|them|him|her))\b")
_TURN_AHEAD = re.compile(r"\b(?:for|before|into) (?:the|our|an?) (?:\w+ )?(?P<side>left|right)(?: |-)turn\b")
_KEEP_LANE_AND = re.compile(
    r"(?:keep|maintain|hold)(?:ing)? (?:the |our |its )?lane and (?:the |our |its )?speed"
)


def read_intents(text: str) -> tuple[Intent, ...]:
    """Return what a text announces, in its order; nothing for a text that announces nothing.

    Read are its first 4000 characters; the model's longest texts have fewer than half of that.
    """
    found: list[Intent] = []
    for sentence in re.split(r"[.;:!?\n]+", _normalised(text)):
        for chunk in sentence.split(","):
            if _CONDITION.match(chunk):
                break  # what hangs on a condition may or may not come, to the sentence's end
            found += _read_chunk(chunk)
    return tuple(dict.fromkeys(found))


def _normalised(text: str) -> str:
    plain = text[:_MAX_CHARACTERS].lower().replace("_", " ").replace("’", "'")
    plain = plain.replace("can't", "cannot").replace("won't", "will not").replace("n't", " not")
    # One of the commonest phrases has an "and" that joins no clauses.
    plain = _KEEP_LANE_AND.sub("keep lane, keep speed", plain)
    return re.sub(r"[^\S\n]+", " ", _BREAK_AT_EGO.sub(",", plain))


def _read_chunk(chunk: str) -> Iterator[Intent]:
    """Yield what stands between two commas."""
    if (cause := _SUBORDINATE.search(chunk)) is not None:
        chunk = chunk[: cause.start()]
    ahead = _TURN_AHEAD.search(chunk)
    if (condition := _CONDITION_BEHIND.search(chunk)) is not None:
        chunk = chunk[: condition.start()]
    parts = _JOINTS.split(chunk)
    first, spoke = True, False
    for joint, part in zip(["", *parts[1::2]], parts[::2], strict=True):
        clause = _Clause.of(part, negated=joint in _NEGATING, later="then" in joint)
        # "The car ahead brakes and stops": what follows one who is not us is not ours.
        if clause.has_ego or spoke or ((first or joint == "so") and not clause.is_third_person):
            intents = list(clause.intents())
            spoke |= bool(intents)
            yield from intents
        first &= not part.strip()
    if ahead is not None and spoke:
        yield Intent(Action.TURN_AHEAD, _side(ahead))


@dataclass(frozen=True)
class _Clause:
    """A clause from its verb on, and what stood before the verb."""

    text: str
    has_ego: bool
    negated: bool
    later: bool

    @classmethod
    def of(cls, text: str, *, negated: bool, later: bool) -> _Clause:
        rest, has_ego = text.strip() + " ", False
        while True:
            if filler := _FILLER.match(rest):
                later |= filler[0].startswith(("then", "next"))
                rest = rest[filler.end() :]
            elif negation := _NEGATION.match(rest):
                negated = True
                rest = rest[negation.end() :]
            elif subject := _SUBJECT.match(rest):
                has_ego = True
                rest = rest[subject.end() :]
            else:
                return cls(rest, has_ego, negated, later)

    @property
    def is_third_person(self) -> bool:
        return re.match(r"(?!bias)\w+[^s\W]s\b", self.text) is not None

    def intents(self) -> Iterator[Intent]:
        """Yield what is announced: one thing, and whom it is to yield to."""
        for action, pattern in _RULES:
            if (found := pattern.match(self.text)) is not None:
                yield Intent(action, _side(found), negated=self.negated, later=self.later)
                rest = self.text[found.end() :]
                if action is not Action.YIELD and not self.negated and _PURPOSE_YIELD.search(rest):
                    yield Intent(Action.YIELD, later=self.later)
                return


def _side(found: re.Match[str]) -> int:
    side = found.groupdict().get("side")
    return {"left": 1, "right": -1, None: 0}[side]
