"""Navigation text in the words that Alpamayo knows ("Turn left in 40m"), and what counts as a turn."""

from __future__ import annotations

import numpy as np

TURN_RAD = float(np.radians(30.0))
"""A heading that changes by more than this is a turn."""
BEGUN_RAD = float(np.radians(15.0))
"""A turn has begun where the heading has changed by this."""
STRAIGHT_TEXT = "Continue straight"
_ROUNDED_TO_M = 5


def with_distance(text: str, ahead_m: float) -> str:
    """Return a maneuver's text with its distance in metres, to 5 m, which is left out once it is there."""
    distance_m = round(ahead_m / _ROUNDED_TO_M) * _ROUNDED_TO_M
    return f"{text} in {distance_m}m" if distance_m > 0 else text
