"""What /diagnostics says of a fault that it did not say before."""

from __future__ import annotations

import re


def text_of(status: tuple[int, str, dict[str, str]]) -> str:
    level, message, values = status
    return f"{level} {message} | " + " ".join(f"{key}={value}" for key, value in values.items())


def news_of(says: str, before: str, now: str) -> str:
    """Return what matches in `now`, as a whole word, unless the very same was there before; "" for nothing.

    A counter that has not grown is no news. What says that all is well (no digit in it) need not be news.
    """
    for match in re.finditer(says, now):
        begin = now.rfind(" ", 0, match.start()) + 1
        end = now.find(" ", match.end())
        word = now[begin : len(now) if end < 0 else end]
        if f" {word} " not in f" {before} " or not re.search(r"\d|:", word):
            return word
    return ""
