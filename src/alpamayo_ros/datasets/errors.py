"""What can be wrong with a data set."""

from __future__ import annotations

from alpamayo_ros.types import InvalidInput


class DatasetError(InvalidInput):
    """Data that cannot be had, read or used; the message says what was expected, got, and what to do."""
