"""Reads a config.json section by section; whatever is missing or malformed is refused by its full key."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from alpamayo_ros.types import InvalidInput

T = TypeVar("T")
_REQUIRED: Any = object()


class CheckpointError(InvalidInput):
    """A checkpoint that cannot be used; the message names the file, key or tensor."""


def require(ok: bool, key: str, expected: object, got: object) -> None:
    """Raise CheckpointError, naming the key, unless `ok`."""
    if not ok:
        raise CheckpointError(f"{key}: expected {expected}, got {got}")


class Section:
    """One mapping of a config file.

    Args:
        raw: the mapping.
        where: its full key, "" for the file itself.
        class_name: what its `_target_` must end in, None where it has none.
    """

    def __init__(self, raw: object, where: str, *, class_name: str | None = None) -> None:
        if not isinstance(raw, Mapping):
            raise CheckpointError(f"{where or 'config'}: expected a mapping, got {_short(raw)}")
        self.raw: Mapping[str, Any] = raw
        self.where = where
        self._read: set[str] = set()
        if class_name is not None:
            target = self.text("_target_")
            if target.rpartition(".")[2] != class_name:
                raise CheckpointError(
                    f"{self.key('_target_')}: expected a class named {class_name}, got {target!r}"
                )

    def key(self, name: str) -> str:
        """Return the full name of a key, for messages."""
        return f"{self.where}.{name}" if self.where else name

    def get(self, name: str, default: Any = _REQUIRED) -> Any:
        """Return a value as it is; without a default a missing one is refused."""
        self._read.add(name)
        if name in self.raw:
            return self.raw[name]
        if default is _REQUIRED:
            raise CheckpointError(f"{self.key(name)}: expected a value, got none (the key is missing)")
        return default

    def part(self, name: str, class_name: str) -> Section:
        """Return the section of a part whose `_target_` names the class `class_name` of any package."""
        return Section(self.get(name), self.key(name), class_name=class_name)

    def text(self, name: str, default: str = _REQUIRED) -> str:
        """Return a string."""
        return self._typed(name, default, "a string", lambda value: isinstance(value, str))

    def flag(self, name: str, default: bool = _REQUIRED) -> bool:
        """Return a boolean."""
        return self._typed(name, default, "true or false", lambda value: isinstance(value, bool))

    def integer(self, name: str, default: int = _REQUIRED) -> int:
        """Return an integer."""
        return self._typed(name, default, "an integer", _is_integer)

    def optional_integer(self, name: str) -> int | None:
        """Return an integer, or None where the key is missing or null."""
        return None if self.get(name, None) is None else self.integer(name)

    def number(self, name: str, default: float = _REQUIRED) -> float:
        """Return a finite number."""
        return float(self._typed(name, default, "a finite number", _is_number))

    def numbers(self, name: str, count: int, default: tuple[float, ...] = _REQUIRED) -> tuple[float, ...]:
        """Return `count` finite numbers."""
        value = self.get(name, default)
        fits = isinstance(value, Sequence) and len(value) == count and all(_is_number(x) for x in value)
        if not fits:
            raise CheckpointError(f"{self.key(name)}: expected {count} finite numbers, got {_short(value)}")
        return tuple(float(x) for x in value)

    def only(self, *allowed: str) -> None:
        """Refuse keys that nothing has read, but those `allowed` and those of the instantiation (`_x_`).

        Upstream passes a part's keys to its constructor, so an unknown one would change or fail it there.
        """
        for name in self.raw:
            directive = name.startswith("_") and name.endswith("_")
            if not (directive or name in self._read or name in allowed):
                known = ", ".join(sorted(self._read - {"_target_"})) or "no options"
                raise CheckpointError(f"{self.key(name)}: expected one of {known}, got an unknown key")

    def build(self, kind: type[T], **values: Any) -> T:
        """Construct a checked dataclass; what it refuses is named with this section's key."""
        try:
            return kind(**values)
        except CheckpointError as error:
            raise CheckpointError(self.key(str(error))) from error

    def _typed(self, name: str, default: Any, expected: str, fits: Any) -> Any:
        value = self.get(name, default)
        if not fits(value):
            raise CheckpointError(f"{self.key(name)}: expected {expected}, got {_short(value)}")
        return value


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
