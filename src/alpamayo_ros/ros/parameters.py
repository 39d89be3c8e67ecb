"""Parameters as tables: declared once, used for the node, its YAML file and docs/PARAMETERS.md."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeAlias

from alpamayo_ros.types import InvalidInput

if TYPE_CHECKING:
    from rcl_interfaces.msg import ParameterDescriptor
    from rclpy.node import Node

Value: TypeAlias = bool | int | float | str | tuple[str, ...]

_TYPE_NAMES: dict[type, str] = {
    bool: "bool",
    int: "integer",
    float: "double",
    str: "string",
    tuple: "string array",
}
_MAX_INT64 = 2**63 - 1


class Changes(Enum):
    """When a parameter may be changed."""

    LIVE = "at any time"
    CONFIGURE = "while unconfigured"
    START = "only at start"


@dataclass(frozen=True)
class ParameterSpec:
    """One parameter.

    Attributes:
        name: as on the command line and in YAML.
        default: its default; also fixes its type.
        description: one or two sentences, with the unit.
        minimum, maximum: closed range of a number; None = no limit.
        choices: the strings that are allowed; empty = any.
        changes: when it may be changed.
        by_checkpoint: a checkpoint may recommend another value than the default; one that is set wins.

    Raises:
        InvalidInput: if the default is not within the range or the choices.
    """

    name: str
    default: Value
    description: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    changes: Changes = Changes.CONFIGURE
    by_checkpoint: bool = False

    def __post_init__(self) -> None:
        if type(self.default) not in _TYPE_NAMES:
            raise InvalidInput(f"{self.name}: expected a default of a parameter's type, got {self.default!r}")
        self.check(self.default)

    @property
    def type_name(self) -> str:
        """The type as users know it: bool, integer, double, string, string array."""
        return _TYPE_NAMES[type(self.default)]

    @property
    def range_text(self) -> str:
        """The range or the choices in words; "" where anything goes."""
        if self.choices:
            return ", ".join(c or '""' for c in self.choices)
        if self.minimum is not None and self.maximum is not None:
            return f"{_number(self.minimum)} … {_number(self.maximum)}"
        if self.minimum is not None:
            return f"≥ {_number(self.minimum)}"
        return "" if self.maximum is None else f"≤ {_number(self.maximum)}"

    def check(self, value: object) -> Value:
        """Return `value` as this parameter's type; raises InvalidInput for another type or out of range."""
        kind = type(self.default)
        if kind is tuple and isinstance(value, (list, tuple)) and all(isinstance(v, str) for v in value):
            return tuple(value)
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind:
            raise InvalidInput(f"{self.name}: expected {self.type_name}, got {value!r}")
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            low = -math.inf if self.minimum is None else self.minimum
            high = math.inf if self.maximum is None else self.maximum
            if not low <= value <= high or not math.isfinite(value):
                raise InvalidInput(
                    f"{self.name}: expected {self.range_text or 'a finite number'}, got {value}"
                )
        if self.choices and value not in self.choices:
            raise InvalidInput(f"{self.name}: expected one of {self.range_text}, got {value!r}")
        return value

    def descriptor(self) -> ParameterDescriptor:
        """Return what `ros2 param describe` shows, with the range that rclpy enforces."""
        from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

        constraints = [f"changes {self.changes.value}"]
        if self.choices:
            constraints.insert(0, f"one of {self.range_text}")
        descriptor = ParameterDescriptor(
            name=self.name,
            description=self.description,
            additional_constraints="; ".join(constraints),
            read_only=self.changes is Changes.START,
        )
        if self.minimum is None and self.maximum is None:
            return descriptor
        if isinstance(self.default, float):
            low = -math.inf if self.minimum is None else float(self.minimum)
            high = math.inf if self.maximum is None else float(self.maximum)
            descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high, step=0.0)]
        else:
            integer_low = -_MAX_INT64 if self.minimum is None else int(self.minimum)
            integer_high = _MAX_INT64 if self.maximum is None else int(self.maximum)
            descriptor.integer_range = [IntegerRange(from_value=integer_low, to_value=integer_high, step=1)]
        return descriptor


def declare(node: Node, specs: Iterable[ParameterSpec]) -> None:
    """Declare `specs` on a node; raises InvalidInput for an override of another type or out of range."""
    from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException

    for spec in specs:
        default = list(spec.default) if isinstance(spec.default, tuple) else spec.default
        try:
            parameter = node.declare_parameter(spec.name, default, spec.descriptor())
        except (InvalidParameterTypeException, InvalidParameterValueException) as error:
            expected = f"{spec.type_name} {spec.range_text}".strip()
            raise InvalidInput(f"parameter {spec.name}: expected {expected}, got: {error}") from error
        spec.check(parameter.value)


def given(node: Node, specs: Iterable[ParameterSpec]) -> set[str]:
    """Return the names of those that were set when the node was started, by a file or an argument."""
    # rclpy has no public way to tell an override from a default.
    overrides: Mapping[str, object] = getattr(node, "_parameter_overrides", {})
    return {spec.name for spec in specs if spec.name in overrides}


def values(node: Node, specs: Iterable[ParameterSpec]) -> dict[str, Any]:
    """Return the present values by name, each checked against its declaration."""
    return {spec.name: spec.check(node.get_parameter(spec.name).value) for spec in specs}


def by_name(specs: Iterable[ParameterSpec]) -> dict[str, ParameterSpec]:
    """Return the declarations by name; raises InvalidInput for a name that is declared twice."""
    table: dict[str, ParameterSpec] = {}
    for spec in specs:
        if spec.name in table:
            raise InvalidInput(f"parameters: expected each name once, got {spec.name} twice")
        table[spec.name] = spec
    return table


def markdown_table(specs: Sequence[ParameterSpec]) -> str:
    """Return the declarations as a Markdown table."""
    lines = ["| parameter | type | default | range | changes | what |", "|---|---|---|---|---|---|"]
    for spec in specs:
        cells = (
            f"`{spec.name}`",
            spec.type_name,
            f"`{_yaml_value(spec.default)}`",
            spec.range_text,
            spec.changes.value,
            spec.description,
        )
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def yaml_file(specs: Sequence[ParameterSpec], *, node: str, table: str = "") -> str:
    """Return a file for `ros2 run … --ros-args --params-file`: every default with its description.

    `table` is what `alpamayo parameters` calls them, if not by the node's name.
    """
    lines = [
        f"# Parameters of the {node} node with their defaults, written by",
        f"# `alpamayo parameters {table or node} --format yaml`.",
        "/**:",
        f"  {node}:",
        "    ros__parameters:",
    ]
    for spec in specs:
        lines += [f"      # {spec.description}"]
        notes = [text for text in (spec.range_text, f"changes {spec.changes.value}") if text]
        if spec.by_checkpoint:
            notes.append("as the checkpoint recommends unless set")
        mark = "# " if spec.by_checkpoint else ""
        lines += [f"      # ({'; '.join(notes)})", f"      {mark}{spec.name}: {_yaml_value(spec.default)}"]
    return "\n".join(lines) + "\n"


def changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return the names whose values differ."""
    return [name for name, value in new.items() if old.get(name) != value]


def _number(value: float) -> str:
    return f"{value:g}" if abs(value) < 1e15 else "2^63 - 1"


def _yaml_value(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, tuple):
        return "[" + ", ".join(_yaml_value(v) for v in value) + "]"
    return repr(value)
