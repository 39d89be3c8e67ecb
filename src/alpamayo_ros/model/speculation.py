"""Guesses of what a model is about to say, from what it said at the last plans.

Consecutive plans say nearly the same, so the last ones are good drafts. A draft changes nothing but the
number of passes: the engine reads several guessed tokens in one pass and then draws each token as ever, from
its own logits with its own noise; the first draw that is not the guess ends what the pass was good for, and
is itself the token. So the sequence is the one that drawing one by one gives, for greedy decoding and for
every seed. It is also the usual acceptance rule (Leviathan et al., "Fast Inference from Transformers via
Speculative Decoding", arXiv 2211.17192) for a draft that is certain of its guess: a guess x is taken with
probability p(x), and what replaces it has the distribution p without x, since Gumbel-max draws from p.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from alpamayo_ros.types import InvalidInput

_LONGEST_MATCH, _SHORTEST_MATCH = 4, 2


class Drafter:
    """Remembers what was said and looks up what may follow.

    Args:
        memory: sequences that are remembered; the newest first to be asked.
        longest: most tokens guessed at once.

    Attributes:
        guessed, right: tokens that were read as guesses so far, and how many of them were drawn.

    Raises:
        InvalidInput: for less than one of either.
    """

    def __init__(self, *, memory: int = 8, longest: int = 16) -> None:
        if memory < 1 or longest < 1:
            raise InvalidInput(f"drafter: expected memory and length of 1 or more, got {memory}, {longest}")
        self._longest = longest
        self._length = longest
        self._said: deque[tuple[int, ...]] = deque(maxlen=memory)
        self.guessed = 0
        self.right = 0

    def remember(self, sequences: Iterable[Sequence[int]]) -> None:
        """Take in what a plan's samples said; one that is known already becomes the newest."""
        for sequence in sequences:
            said = tuple(sequence)
            if said in self._said:
                self._said.remove(said)
            self._said.append(said)

    def learn(self, guessed: int, right: int) -> None:
        """Take in how many of a guess's tokens were right: what comes next is as long as promises to pay."""
        if not guessed:
            return
        self.guessed += guessed
        self.right += right
        self._length = min(self._longest, 2 * self._length if right == guessed else right + 1)

    def guess(self, generated: Sequence[int]) -> tuple[int, ...]:
        """Return what may follow the tokens of one sample, () where nothing like them was ever said.

        The longest end of `generated` (four tokens to two, or its only one) that occurs in something said
        decides, then the newest that has it, then the place nearest to where it stands now.
        """
        here = len(generated)
        for length in range(min(_LONGEST_MATCH, here), min(_SHORTEST_MATCH, here) - 1, -1):
            ending = tuple(generated[here - length :])
            for said in reversed(self._said):
                ends = [
                    end
                    for end in range(length, len(said))
                    if said[end - 1] == ending[-1] and said[end - length : end] == ending
                ]
                if ends:
                    end = min(ends, key=lambda end: abs(end - here))
                    return said[end : end + self._length]
        return ()
