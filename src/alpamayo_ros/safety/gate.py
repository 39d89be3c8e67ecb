"""The safety gate: which of a plan's candidates may be driven, and which one of them is.

Every check has a number and a limit, and both are kept whether it passed or not. What the gate cannot know is
whether a plan is wise: it knows no road and no other road user.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.safety.kinematics import Demand, demand_of, speed_of_history
from alpamayo_ros.safety.limits import (
    VehicleLimits,
    require_not_negative,
    require_number,
    require_positive,
)
from alpamayo_ros.types import (
    WAYPOINT_INTERVAL_S,
    Float32Array,
    InvalidInput,
    Observation,
    Plan,
    medoid,
)

_ARRAYS = ("xyz_in_rig_t0", "rot_in_rig_t0", "accel_mps2", "curvature_per_m", "speed_mps")
_ROTATION_TOLERANCE = 1e-2


@dataclass(frozen=True)
class GateSettings:
    """How far a plan may be off the vehicle and off itself.

    Attributes:
        v0_tolerance_mps, v0_tolerance_share: the speed that the history implies, and the one that a candidate
            starts with, may differ from odometry's by the sum of both (the second is a share of it).
        first_waypoint_tolerance_m: the first waypoint may lie this far from where the vehicle gets by itself
            in 0.1 s. About one sample in a hundred of the released checkpoints starts metres away.
        max_reverse_m: the longest way back. A model's stop may end a little behind where it stood before.
        max_kink_rad: between one piece of the path and the next.
        max_slip_rad: between heading and direction of travel.
        max_plan_age_ms: from t0 on.
        max_plan_lead_ms: how far t0 may lie in the future, by clocks that differ.

    Raises:
        InvalidInput: for a number that is not finite, or negative, or zero where none makes sense.
    """

    v0_tolerance_mps: float = 1.0
    v0_tolerance_share: float = 0.05
    first_waypoint_tolerance_m: float = 2.0
    max_reverse_m: float = 0.5
    max_kink_rad: float = 0.5
    max_slip_rad: float = 0.35
    max_plan_age_ms: float = 1000.0
    max_plan_lead_ms: float = 50.0

    def __post_init__(self) -> None:
        may_be_zero = {"v0_tolerance_share", "max_plan_lead_ms", "max_reverse_m"}
        for field in fields(self):
            value = getattr(self, field.name)
            (require_not_negative if field.name in may_be_zero else require_positive)(field.name, value)


@dataclass(frozen=True)
class Check:
    """One check of one candidate.

    Attributes:
        name: a stable slug to count by: finite, age, ahead_of_time, v0_of_history, v0_of_plan,
            first_waypoint, reverse, speed, accel, decel, jerk, lateral_accel, curvature, kink or slip.
        value: what was measured.
        limit: the most that was allowed.
        unit: of both.
        passed: whether value <= limit; a NaN does not pass.
    """

    name: str
    value: float
    limit: float
    unit: str

    @property
    def passed(self) -> bool:
        return bool(self.value <= self.limit)

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        return f"{self.name}: expected at most {self.limit:.4g}{unit}, got {self.value:.4g}{unit}"


@dataclass(frozen=True)
class GateVerdict:
    """What the gate found of one candidate. One that is not finite has no further checks."""

    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether it may be driven."""
        return all(check.passed for check in self.checks)

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that it failed."""
        return tuple(check for check in self.checks if not check.passed)

    @property
    def reason(self) -> str:
        """What it failed, for people; "" if it passed."""
        return "; ".join(str(check) for check in self.failed)


@dataclass(frozen=True)
class GateDecision:
    """What the gate made of a plan.

    Attributes:
        verdicts: one a candidate.
        chosen: the medoid of the candidates that passed; None if none did.
    """

    verdicts: tuple[GateVerdict, ...]
    chosen: int | None

    @property
    def passed(self) -> bool:
        """Whether there is something to drive."""
        return self.chosen is not None

    @property
    def reason(self) -> str:
        """Why nothing may be driven: what the first candidate failed, and how many; "" if one passed."""
        if self.passed:
            return ""
        count = len(self.verdicts)
        return self.verdicts[0].reason + (f" (none of {count} candidates passed)" if count > 1 else "")

    def failures(self) -> Iterator[str]:
        """Yield the names of the checks that were failed, one for each candidate and check, to count by."""
        for verdict in self.verdicts:
            for check in verdict.failed:
                yield check.name

    def apply(self, plan: Plan) -> Plan:
        """Return the plan that was judged with its `chosen` replaced.

        Raises:
            InvalidInput: if no candidate passed, or the plan has another number of candidates.
        """
        if self.chosen is None:
            raise InvalidInput(f"plan: expected a candidate that passes the gate, got {self.reason}")
        if plan.num_samples != len(self.verdicts):
            raise InvalidInput(f"plan: expected {len(self.verdicts)} candidates, got {plan.num_samples}")
        return replace(plan, chosen=self.chosen)


class PlanGate:
    """Judges plans. It keeps nothing between two of them.

    Args:
        limits: of the vehicle.
        settings: of the gate.
    """

    def __init__(self, limits: VehicleLimits | None = None, settings: GateSettings | None = None) -> None:
        self.limits = limits or VehicleLimits()
        self.settings = settings or GateSettings()

    def judge(
        self, plan: Plan, observation: Observation, *, odometry_speed_mps: float, now_ns: int
    ) -> GateDecision:
        """Return which candidates may be driven, and which one is.

        Args:
            plan: as the model made it.
            observation: what it was made from.
            odometry_speed_mps: forward speed at t0 as odometry measured it, not derived from the history.
            now_ns: the time, of t0's clock.

        Raises:
            InvalidInput: for a plan of another observation, or a speed that is not finite: then nothing can
                be judged.
        """
        if plan.t0_ns != observation.t0_ns:
            raise InvalidInput(f"plan: expected one of t0 {observation.t0_ns} ns, got {plan.t0_ns} ns")
        speed_mps = require_number("odometry_speed_mps", odometry_speed_mps)
        shared = [*self._freshness(plan.t0_ns, now_ns), self._history(observation, speed_mps)]
        finite = _are_finite(plan)
        verdicts = [
            GateVerdict((Check("finite", float(not_finite), 0.0, ""), *shared)) for not_finite in ~finite
        ]
        usable = np.flatnonzero(finite)
        if len(usable):
            xyz, rot = plan.xyz_in_rig_t0[usable], plan.rot_in_rig_t0[usable]
            demand = demand_of(xyz, rot, speed_mps=speed_mps)
            start_mps, start_xyz = plan.speed_mps[usable, 0], xyz[:, 0]
            for row, index in enumerate(usable):
                checks = (
                    *verdicts[index].checks,
                    *self._start(float(start_mps[row]), start_xyz[row], speed_mps),
                    *self._demand(demand, row),
                )
                verdicts[index] = GateVerdict(checks)
        passed = [index for index, verdict in enumerate(verdicts) if verdict.passed]
        chosen = passed[medoid(plan.xyz_in_rig_t0[passed])] if passed else None
        return GateDecision(tuple(verdicts), chosen)

    def _freshness(self, t0_ns: int, now_ns: int) -> tuple[Check, Check]:
        age_ms = (now_ns - t0_ns) / 1e6
        return (
            Check("age", age_ms, self.settings.max_plan_age_ms, "ms"),
            Check("ahead_of_time", -age_ms, self.settings.max_plan_lead_ms, "ms"),
        )

    def _v0_tolerance(self, speed_mps: float) -> float:
        return self.settings.v0_tolerance_mps + self.settings.v0_tolerance_share * abs(speed_mps)

    def _history(self, observation: Observation, speed_mps: float) -> Check:
        implied = speed_of_history(observation.history_xyz_in_rig_t0, observation.history_rot_in_rig_t0)
        return Check("v0_of_history", abs(implied - speed_mps), self._v0_tolerance(speed_mps), "m/s")

    def _start(self, start_mps: float, first_waypoint: Float32Array, speed_mps: float) -> tuple[Check, Check]:
        by_itself = np.array([speed_mps * WAYPOINT_INTERVAL_S, 0.0, 0.0])
        off_m = float(np.linalg.norm(first_waypoint - by_itself))
        return (
            Check("v0_of_plan", abs(start_mps - speed_mps), self._v0_tolerance(speed_mps), "m/s"),
            Check("first_waypoint", off_m, self.settings.first_waypoint_tolerance_m, "m"),
        )

    def _demand(self, demand: Demand, row: int) -> tuple[Check, ...]:
        limits, settings = self.limits, self.settings
        return tuple(
            Check(name, float(values[row]), limit, unit)
            for name, values, limit, unit in (
                ("reverse", demand.reverse_m, settings.max_reverse_m, "m"),
                ("speed", demand.speed_mps, limits.max_speed_mps, "m/s"),
                ("accel", demand.accel_mps2, limits.max_accel_mps2, "m/s²"),
                ("decel", demand.decel_mps2, limits.max_decel_mps2, "m/s²"),
                ("jerk", demand.jerk_mps3, limits.max_jerk_mps3, "m/s³"),
                ("lateral_accel", demand.lateral_accel_mps2, limits.max_lateral_accel_mps2, "m/s²"),
                ("curvature", demand.curvature_per_m, limits.max_curvature_per_m, "1/m"),
                ("kink", demand.kink_rad, settings.max_kink_rad, "rad"),
                ("slip", demand.slip_rad, settings.max_slip_rad, "rad"),
            )
        )


def _are_finite(plan: Plan) -> NDArray[np.bool_]:
    """Return bool [K]: whether all numbers of a candidate are finite and its rotations are rotations."""
    count = plan.num_samples
    finite = np.all([np.isfinite(getattr(plan, name)).reshape(count, -1).all(axis=1) for name in _ARRAYS], 0)
    rot = plan.rot_in_rig_t0[finite].astype(np.float64)
    off = np.abs(rot @ np.swapaxes(rot, -1, -2) - np.eye(3)).max(axis=(1, 2, 3), initial=0.0)
    mirrored = (np.linalg.det(rot) < 0).any(axis=1)
    finite[finite] = (off <= _ROTATION_TOLERANCE) & ~mirrored
    return finite
