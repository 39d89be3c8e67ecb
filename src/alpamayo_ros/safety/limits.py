"""What a vehicle can do, and how far a plan may be off before it is not driven."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TypeVar

from alpamayo_ros.types import InvalidInput

_Settings = TypeVar("_Settings")


@dataclass(frozen=True)
class VehicleLimits:
    """What the vehicle's tyres, engine and steering allow: what a plan needs more of is no plan.

    These are no comfort limits. A plan that brakes as hard as the brakes can must pass, or the gate would
    put a gentle stop in place of an emergency braking.

    The defaults are those of a passenger car on a dry road.

    Attributes:
        max_speed_mps: 150 km/h.
        max_accel_mps2: 0 to 100 km/h in 5.6 s.
        max_decel_mps2: full braking on dry asphalt (friction about 0.95). UN R13-H asks brakes for 6.43.
        max_lateral_accel_mps2: 0.7 g, where a passenger car begins to slide. UN R79 allows lane keeping 3;
            ordinary drivers stay below 4.
        max_jerk_mps3: of the speed, over windows of 0.5 s: full braking that is built up in 0.5 s.
        max_curvature_per_m: of the rear axle's path: front wheels at 40 deg before a wheelbase of 2.85 m.

    Raises:
        InvalidInput: unless every number is finite and positive.
    """

    max_speed_mps: float = 41.7
    max_accel_mps2: float = 5.0
    max_decel_mps2: float = 9.5
    max_lateral_accel_mps2: float = 7.0
    max_jerk_mps3: float = 20.0
    max_curvature_per_m: float = 0.30

    def __post_init__(self) -> None:
        for field in fields(self):
            require_positive(field.name, getattr(self, field.name))

    @classmethod
    def from_mapping(cls, values: Mapping[str, object]) -> VehicleLimits:
        """Return the limits of a vehicle's parameters; what is not named keeps its default.

        Raises:
            InvalidInput: for a name that is no limit, or a value that is no positive number.
        """
        return from_mapping(cls, "vehicle limits", values)


def from_mapping(cls: type[_Settings], name: str, values: Mapping[str, object]) -> _Settings:
    """Return a dataclass of numbers made from `values`; raises InvalidInput for names that it lacks."""
    known = [field.name for field in fields(cls)]  # type: ignore[arg-type]
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise InvalidInput(f"{name}: expected some of {', '.join(known)}, got {', '.join(unknown)}")
    return cls(**values)


def require_number(name: str, value: object) -> float:
    """Return `value` as float; raises InvalidInput unless it is a finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise InvalidInput(f"{name}: expected a finite number, got {value!r}")
    return float(value)


def require_positive(name: str, value: object) -> float:
    """Return `value` as float; raises InvalidInput unless it is a finite number above zero."""
    number = require_number(name, value)
    if number <= 0:
        raise InvalidInput(f"{name}: expected a number above zero, got {value!r}")
    return number


def require_not_negative(name: str, value: object) -> float:
    """Return `value` as float; raises InvalidInput unless it is a finite number, zero or more."""
    number = require_number(name, value)
    if number < 0:
        raise InvalidInput(f"{name}: expected zero or more, got {value!r}")
    return number
