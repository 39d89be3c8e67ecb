"""Parameter files of vehicles: what they can do and how they stop, by name in config/vehicles or by path."""

from __future__ import annotations

import os
from pathlib import Path

from alpamayo_ros.ros.runner import shared_file
from alpamayo_ros.types import InvalidInput

FOLDER = "config/vehicles"
DEFAULT = "passenger_car"
"""The vehicle whose numbers are the parameters' defaults."""


def vehicle_names() -> list[str]:
    """Return the names of the vehicles that the package brings."""
    return sorted(path.stem for path in shared_file(f"{FOLDER}/{DEFAULT}.yaml").parent.glob("*.yaml"))


def find_vehicle_file(name_or_path: str | os.PathLike[str]) -> Path:
    """Return the file of a path or of a name in config/vehicles; InvalidInput lists the known names."""
    text = os.fspath(name_or_path)
    path = Path(text).expanduser()
    if path.is_file():
        return path
    names = vehicle_names()
    if text not in names:
        raise InvalidInput(f"vehicle: expected a file or one of {', '.join(names)}, got {text!r}")
    return shared_file(f"{FOLDER}/{text}.yaml")
