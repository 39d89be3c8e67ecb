"""Message classes by the names that bags and the graph use."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from alpamayo_ros.types import InvalidInput


def message_class(type_name: str) -> Any:
    """Return the class of e.g. "sensor_msgs/msg/Image"; raises InvalidInput where it is not installed."""
    package, _, name = type_name.partition("/msg/")
    try:
        return getattr(import_module(f"{package}.msg"), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InvalidInput(f"message type: expected an installed one, got {type_name}") from error
