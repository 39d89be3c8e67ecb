"""Reads a YAML file section by section, so that every error names the file, the place and the key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import yaml

from alpamayo_ros.types import InvalidInput


class _StrictLoader(yaml.SafeLoader):
    """Refuses a key that is given twice, where YAML's own loader takes the last one silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, (str, int)) and key in seen:
                line = key_node.start_mark.line + 1
                raise InvalidInput(f"line {line}: expected each key once, got {key!r} twice")
            if isinstance(key, (str, int)):
                seen.add(key)
        return super().construct_mapping(node, deep)


def _construct_opencv_matrix(loader: yaml.SafeLoader, node: yaml.Node) -> Any:
    assert isinstance(node, yaml.MappingNode)
    return loader.construct_mapping(node, deep=True)


# OpenCV's FileStorage marks matrices with this tag; ROS' calibrators write the same mapping without it.
_StrictLoader.add_constructor("tag:yaml.org,2002:opencv-matrix", _construct_opencv_matrix)


class Section:
    """A mapping of a YAML file, with the place where it stands."""

    def __init__(self, values: object, *, file: Path, place: str = "") -> None:
        self.file = file
        self.place = place
        if not isinstance(values, Mapping):
            raise InvalidInput(
                f"{file}: {place or 'top level'}: expected a mapping of keys, got {_show(values)}"
            )
        self._values = values

    @classmethod
    def of_file(cls, file: Path) -> Section:
        """Read a file; raises InvalidInput if it cannot be read or is no YAML mapping."""
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInput(f"{file}: expected a readable YAML file, got: {error}") from error
        if text.startswith("%YAML:"):  # OpenCV's FileStorage writes a directive that is not YAML's
            text = text.partition("\n")[2]
        try:
            values = yaml.load(text, Loader=_StrictLoader)
        except InvalidInput as error:
            raise InvalidInput(f"{file}: {error}") from error
        except yaml.YAMLError as error:
            raise InvalidInput(f"{file}: expected YAML, got: {error}") from error
        return cls(values, file=file)

    def fail(self, key: str, problem: str) -> NoReturn:
        """Raise InvalidInput about a key of this section."""
        raise InvalidInput(f"{self.file}: {self._path(key)}: {problem}")

    def _path(self, key: str) -> str:
        return (
            f"{self.place}.{key}"
            if self.place and not self.place.endswith(":")
            else f"{self.place} {key}".strip()
        )

    def __contains__(self, key: str) -> bool:
        return self._values.get(key) is not None

    def __iter__(self) -> Iterator[str]:
        for key in self._values:
            if not isinstance(key, str):
                self.fail(str(key), f"expected a key that is text, got {_show(key)}")
            yield key

    def only(self, *known: str) -> None:
        """Raise InvalidInput for a key that is not among `known`."""
        for key in self:
            if key not in known:
                self.fail(key, f"expected one of the keys {', '.join(known)}, got {key!r}")

    def raw(self, key: str) -> Any:
        """Return a value as it is; raises InvalidInput if the key is missing."""
        if key not in self:
            self.fail(key, "expected a value, got none: the key is required")
        return self._values[key]

    def section(self, key: str, *, place: str | None = None) -> Section:
        """Return a mapping within this one."""
        return Section(self.raw(key), file=self.file, place=place or self._path(key))

    def text(self, key: str, default: str | None = None) -> str:
        """Return a text that is not empty."""
        value = default if default is not None and key not in self else self.raw(key)
        if not isinstance(value, str) or not value.strip():
            self.fail(key, f"expected text, got {_show(value)}")
        return value.strip()

    def flag(self, key: str, default: bool) -> bool:
        """Return true or false."""
        value = self._values.get(key, default)
        if not isinstance(value, bool):
            self.fail(key, f"expected true or false, got {_show(value)}")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """Return a finite number."""
        value = default if default is not None and key not in self else self.raw(key)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not np.isfinite(value):
            self.fail(key, f"expected a finite number, got {_show(value)}")
        return float(value)

    def count(self, key: str, default: int | None = None) -> int:
        """Return a positive whole number."""
        value = default if default is not None and key not in self else self.raw(key)
        if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
            self.fail(key, f"expected a positive whole number, got {_show(value)}")
        return value

    def numbers(
        self, key: str, *, length: int | None = None, default: tuple[float, ...] | None = None
    ) -> list[float]:
        """Return a list of finite numbers, of a given length unless None."""
        if default is not None and key not in self:
            return list(default)
        values = self.raw(key)
        wanted = "numbers" if length is None else f"{length} numbers"
        if not isinstance(values, list) or (length is not None and len(values) != length):
            self.fail(key, f"expected a list of {wanted}, got {_show(values)}")
        for value in values:
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not np.isfinite(value):
                self.fail(key, f"expected a list of finite {wanted}, got {_show(value)} in it")
        return [float(value) for value in values]


def _show(value: object) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
