"""How plans are drawn: what a checkpoint recommends, and what a person asks for.

A checkpoint's folder may hold `plan_options.json`, an object of PlanOptions' fields: a small model is best
driven with less noise than a large one. Released checkpoints have none and are drawn from as upstream does.
"""

from __future__ import annotations

import json
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from alpamayo_ros.model.shipped import or_shipped
from alpamayo_ros.types import InvalidInput, PlanOptions

FILE = "plan_options.json"
_FIELDS = tuple(each.name for each in fields(PlanOptions) if each.name != "seed")
_WHOLE = ("num_samples", "top_k", "max_reasoning_tokens", "flow_steps")


def recommended_options(checkpoint: str | Path) -> PlanOptions:
    """Return what a checkpoint's folder recommends, the defaults where it says nothing or is a hub id.

    Raises:
        InvalidInput: for a file that is no object of PlanOptions' fields.
    """
    path = Path(or_shipped(str(checkpoint))).expanduser() / FILE
    if not path.is_file():
        return PlanOptions()
    try:
        content = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise InvalidInput(f"{path}: expected JSON, got: {error}") from error
    if not isinstance(content, dict):
        raise InvalidInput(f"{path}: expected an object, got {type(content).__name__}")
    return _laid_over(PlanOptions(), content, where=str(path))


def write_recommended(folder: Path, options: PlanOptions) -> None:
    """Write what differs from the defaults."""
    plain = asdict(PlanOptions())
    told = {
        name: value for name, value in asdict(options).items() if name in _FIELDS and value != plain[name]
    }
    (folder / FILE).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def parse_options(text: str, base: PlanOptions) -> PlanOptions:
    """Return `base` with "NAME=VALUE,…" laid over it; "none" is None where a field may be that.

    Raises:
        InvalidInput: for what is no such list, a name that is no field's, or a value out of its range.
    """
    values: dict[str, Any] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, found, value = part.partition("=")
        if not found:
            raise InvalidInput(f"plan options: expected NAME=VALUE,… of {', '.join(_FIELDS)}, got {part!r}")
        values[name.strip()] = _number(name.strip(), value.strip())
    return _laid_over(base, values, where="plan options")


def _number(name: str, text: str) -> float | int | None:
    if text.lower() == "none":
        return None
    try:
        return int(text) if name in _WHOLE else float(text)
    except ValueError:
        kind = "a whole number" if name in _WHOLE else "a number"
        raise InvalidInput(f"plan options: {name}: expected {kind}, got {text!r}") from None


def _laid_over(base: PlanOptions, values: dict[str, Any], *, where: str) -> PlanOptions:
    for name, value in values.items():
        if name not in _FIELDS:
            raise InvalidInput(f"{where}: expected fields of {', '.join(_FIELDS)}, got {name!r}")
        kinds = int if name in _WHOLE else (int, float)
        optional = value is None and name in ("top_k", "guidance_weight")
        if isinstance(value, bool) or not (optional or isinstance(value, kinds)):
            wanted = "a whole number" if name in _WHOLE else "a number"
            raise InvalidInput(f"{where}: {name}: expected {wanted}, got {value!r}")
    try:
        return replace(base, **values)
    except InvalidInput as error:
        raise InvalidInput(f"{where}: {error}") from error
