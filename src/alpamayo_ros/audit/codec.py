"""Frozen dataclasses to JSON and back, and the JSON schema that says what stands there.

An array is {"dtype": "<f4", "shape": [64, 3], "base64": ...}, little endian in C order, so that it comes back
bit for bit; NaN and infinities, which JSON does not have, are the strings "NaN", "Infinity", "-Infinity".
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import math
import types
from collections.abc import Mapping, Sequence
from enum import Enum
from functools import cache
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import numpy as np

from alpamayo_ros.types import InvalidInput

Record = TypeVar("Record")

_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_PLAIN: Mapping[type, str] = {int: "integer", str: "string", bool: "boolean", float: "number"}
_ARRAY_SCHEMA = {
    "type": "object",
    "description": "an array: numpy dtype, shape, and its bytes in C order",
    "required": ["dtype", "shape", "base64"],
    "properties": {
        "dtype": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer"}},
        "base64": {"type": "string", "contentEncoding": "base64"},
    },
}


def to_json(value: object) -> Any:
    """Return a dataclass, or what may stand in one, as what `json.dumps` takes.

    Raises:
        InvalidInput: for a type that has no place in a record.
    """
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else _name_of(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, np.ndarray):
        little = np.ascontiguousarray(value).astype(value.dtype.newbyteorder("<"), copy=False)
        text = base64.b64encode(little.tobytes()).decode("ascii")
        return {"dtype": little.dtype.str, "shape": list(value.shape), "base64": text}
    if isinstance(value, np.generic):
        return to_json(value.item())
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [to_json(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {name: to_json(getattr(value, name)) for name in _fields_of(type(value))}
    raise InvalidInput(f"record: expected numbers, texts, arrays and dataclasses, got {type(value).__name__}")


def from_json(kind: type[Record], value: object, *, name: str = "record") -> Record:
    """Return a dataclass from what `to_json` made of it; fields that are missing take their defaults.

    Raises:
        InvalidInput: naming the field that is missing, unknown or of another type, or that the dataclass
            itself refuses.
    """
    return cast(Record, _decode(kind, value, name))


def schema_of(kind: type) -> dict[str, Any]:
    """Return the JSON schema of a dataclass."""
    return _schema(kind)


@cache
def _fields_of(kind: type) -> dict[str, Any]:
    """Return the types of a dataclass's fields by name, in their order."""
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _name_of(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _decode(kind: Any, value: object, name: str) -> object:
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if origin in (Union, types.UnionType):
        return _decode_union(arguments, value, name)
    if origin is np.ndarray:
        return _decode_array(value, name, dtype=np.dtype(get_args(arguments[1])[0]))
    if origin is tuple and isinstance(value, list):
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return tuple(_decode(arguments[0], item, f"{name}[{i}]") for i, item in enumerate(value))
    elif isinstance(origin, type) and issubclass(origin, Mapping) and isinstance(value, dict):
        key_kind = arguments[0]
        return {key_kind(k): _decode(arguments[1], item, f"{name}.{k}") for k, item in value.items()}
    elif dataclasses.is_dataclass(kind) and isinstance(value, dict):
        return _decode_dataclass(cast(type, kind), value, name)
    elif isinstance(kind, type) and issubclass(kind, Enum):
        try:
            return kind(value)
        except ValueError as error:
            choices = ", ".join(str(member.value) for member in kind)
            raise InvalidInput(f"{name}: expected one of {choices}, got {value!r}") from error
    elif kind is float:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
        if isinstance(value, str) and value in _NOT_FINITE:
            return _NOT_FINITE[value]
    elif kind in _PLAIN and type(value) is kind:
        return value
    raise InvalidInput(f"{name}: expected {getattr(kind, '__name__', kind)}, got {value!r:.80}")


def _decode_union(choices: Sequence[Any], value: object, name: str) -> object:
    if value is None and types.NoneType in choices:
        return None
    others = [choice for choice in choices if choice is not types.NoneType]
    if len(others) == 1:
        return _decode(others[0], value, name)
    return value  # numbers, texts and lists of them, as parameters have


def _decode_array(value: object, name: str, *, dtype: np.dtype[Any]) -> object:
    try:
        fields = cast(Mapping[str, Any], value)
        data = base64.b64decode(fields["base64"], validate=True)
        array = np.frombuffer(data, dtype=np.dtype(fields["dtype"])).reshape(fields["shape"])
    except (TypeError, KeyError, ValueError, binascii.Error) as error:
        raise InvalidInput(f"{name}: expected an array, got {error}") from error
    if array.dtype != dtype:
        raise InvalidInput(f"{name}: expected dtype {dtype}, got {array.dtype}")
    return array.astype(dtype)  # a copy in the machine's byte order, which may be written to


def _decode_dataclass(kind: type, value: Mapping[str, object], name: str) -> object:
    fields = _fields_of(kind)
    unknown = sorted(value.keys() - fields.keys())
    if unknown:
        raise InvalidInput(
            f"{name}: expected the fields {', '.join(fields)}, got {', '.join(unknown)} too; "
            "was it written by another version?"
        )
    try:
        return kind(**{key: _decode(fields[key], item, f"{name}.{key}") for key, item in value.items()})
    except TypeError as error:
        raise InvalidInput(f"{name}: expected the fields {', '.join(fields)}, got {error}") from error


def _schema(kind: Any) -> dict[str, Any]:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        others = [choice for choice in arguments if choice is not types.NoneType]
        if len(others) > 1:
            return {}
        schema = _schema(others[0])
        return {"anyOf": [schema, {"type": "null"}]}
    if origin is np.ndarray:
        return _ARRAY_SCHEMA
    if origin is tuple:
        return {"type": "array", "items": _schema(arguments[0])}
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": _schema(arguments[1])}
    if dataclasses.is_dataclass(kind):
        return {
            "type": "object",
            "title": getattr(kind, "__name__", ""),
            "properties": {name: _schema(field) for name, field in _fields_of(cast(type, kind)).items()},
        }
    if isinstance(kind, type) and issubclass(kind, Enum):
        return {"enum": [member.value for member in kind]}
    if kind is float:
        return {"type": ["number", "string"]}
    return {"type": _PLAIN[kind]} if kind in _PLAIN else {}
