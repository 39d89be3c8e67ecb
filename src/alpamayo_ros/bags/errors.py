"""What can be wrong with a bag."""

from __future__ import annotations

from alpamayo_ros.types import InvalidInput


class BagError(InvalidInput):
    """A bag that cannot be read, written or used; the message names the bag, expected and got."""
