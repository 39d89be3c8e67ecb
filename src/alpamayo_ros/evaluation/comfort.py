"""What a plan asks of those who sit in the vehicle."""

from __future__ import annotations

from dataclasses import dataclass, fields

from alpamayo_ros.safety.kinematics import demand_of
from alpamayo_ros.safety.limits import VehicleLimits, require_positive
from alpamayo_ros.sim.scoring.driving import ACCEL_LAT_LIMIT_MPS2, ACCEL_LON_LIMIT_MPS2, JERK_LIMIT_MPS3
from alpamayo_ros.types import Float32Array

COMFORT = ("accel_mps2", "decel_mps2", "jerk_mps3", "lateral_accel_mps2", "curvature_per_m")


@dataclass(frozen=True)
class ComfortLimits:
    """Up to where a plan is comfortable: as in the simulation's scores; the curvature is the vehicle's.

    Raises:
        InvalidInput: unless every number is finite and positive.
    """

    accel_mps2: float = ACCEL_LON_LIMIT_MPS2
    decel_mps2: float = ACCEL_LON_LIMIT_MPS2
    jerk_mps3: float = JERK_LIMIT_MPS3
    lateral_accel_mps2: float = ACCEL_LAT_LIMIT_MPS2
    curvature_per_m: float = VehicleLimits().max_curvature_per_m

    def __post_init__(self) -> None:
        for field in fields(self):
            require_positive(field.name, getattr(self, field.name))


def comfort_of(
    xyz_in_rig_t0: Float32Array,
    rot_in_rig_t0: Float32Array,
    *,
    speed_mps: float,
    limits: ComfortLimits | None = None,
) -> dict[str, float]:
    """Return the most that a way of 6.4 s asks for, by COMFORT's names; `comfortable` is 1 within all limits.

    Measured on the waypoints as the safety gate measures them (accelerations over 0.5 s, curvature over 1 m).

    Args:
        xyz_in_rig_t0: [64, 3] m, finite.
        rot_in_rig_t0: [64, 3, 3].
        speed_mps: the measured speed at t0.
        limits: up to where it is comfortable.
    """
    limits = limits or ComfortLimits()
    demand = demand_of(xyz_in_rig_t0[None], rot_in_rig_t0[None], speed_mps=speed_mps)
    values = {name: float(getattr(demand, name)[0]) for name in COMFORT}
    within = all(value <= getattr(limits, name) for name, value in values.items())
    return {**values, "comfortable": float(within)}
