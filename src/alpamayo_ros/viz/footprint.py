"""A vehicle's outline on the ground."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.types import InvalidInput


@dataclass(frozen=True)
class Footprint:
    """A vehicle's outline on the ground, m, about the rear axle's centre.

    Raises:
        InvalidInput: for a length or width that is not positive, or an overhang longer than the vehicle.
    """

    length_m: float
    width_m: float
    rear_overhang_m: float

    def __post_init__(self) -> None:
        if not (self.length_m > 0 and self.width_m > 0 and 0 <= self.rear_overhang_m <= self.length_m):
            raise InvalidInput(
                "footprint: expected positive length and width and an overhang within the length, got "
                f"length {self.length_m} m, width {self.width_m} m, rear overhang {self.rear_overhang_m} m"
            )

    def corners_in_rig(self) -> NDArray[np.float64]:
        """Return the closed outline, float64 [5, 3] m, from the rear left corner clockwise."""
        rear, front, side = -self.rear_overhang_m, self.length_m - self.rear_overhang_m, self.width_m / 2
        return np.array(
            [(rear, side, 0), (front, side, 0), (front, -side, 0), (rear, -side, 0), (rear, side, 0)]
        )

    def corners_at(self, xyz: NDArray[np.float64], rotation: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the closed outlines, [..., 5, 3] m, at places [..., 3] with rotations [..., 3, 3]."""
        return np.asarray(self.corners_in_rig() @ np.swapaxes(rotation, -1, -2) + xyz[..., None, :])


PASSENGER_CAR = Footprint(length_m=4.9, width_m=1.9, rear_overhang_m=1.0)
"""What is drawn where nobody has said which vehicle it is; the planner's default, too."""
