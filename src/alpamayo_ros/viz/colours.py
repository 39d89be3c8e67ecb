"""The colours that every picture of a plan shares: by status, and by speed."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.types import InvalidInput

RGB = tuple[int, int, int]

STATUSES: tuple[str, ...] = ("VALID", "UNCHECKED", "FALLBACK", "REJECTED", "UNKNOWN", "NONE")
"""What can be said of a plan: the statuses of alpamayo_ros/Plan, and NONE where there is no plan to show."""

STATUS_COLOURS: Mapping[str, RGB] = MappingProxyType(
    {
        "VALID": (26, 204, 96),
        "UNCHECKED": (72, 160, 255),
        "FALLBACK": (242, 38, 26),
        "REJECTED": (168, 60, 68),
        "UNKNOWN": (150, 150, 150),
        "NONE": (150, 150, 150),
    }
)
"""Of path and label, by status: green may be driven, blue nobody has checked, red stops."""

FAST_MPS = 15.0
"""Where the colour of speed ends."""
_SPEED_STOPS_MPS = (0.0, 0.5 * FAST_MPS, FAST_MPS)
_SPEED_RGB = ((255, 96, 16), (248, 210, 40), (26, 204, 96))


def rgb(colour: str) -> RGB:
    """Return "#rrggbb" as three numbers."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def require_status(status: str) -> str:
    """Return a status in capitals; raises InvalidInput for one that is none of STATUSES."""
    name = status.upper()
    if name not in STATUS_COLOURS:
        raise InvalidInput(f"status: expected one of {', '.join(STATUSES)}, got {status!r}")
    return name


def speed_colours(speed_mps: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Return the colours uint8 [N, 3] of speeds [N]: orange stands, yellow, green is FAST_MPS or more."""
    speed = np.abs(np.nan_to_num(np.asarray(speed_mps, np.float64)))
    channels = [
        np.interp(speed, _SPEED_STOPS_MPS, [colour[channel] for colour in _SPEED_RGB]) for channel in range(3)
    ]
    return np.round(np.stack(channels, axis=-1)).astype(np.uint8)
