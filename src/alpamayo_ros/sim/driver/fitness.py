"""Which of a plan's samples may be driven: the least that must hold, with room for a stricter gate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.types import WAYPOINT_INTERVAL_S, Plan, medoid

Fitness: TypeAlias = Callable[[Plan, float], NDArray[np.bool_]]
"""A plan and the vehicle's speed at its t0 in m/s -> bool [K], which samples may be driven."""

START_TOLERANCE_M = 2.0
REVERSING_TOLERANCE_M = 2.0
_ROTATION_TOLERANCE = 1e-3  # as everywhere, see types.require_rotation


def is_motion(plan: Plan) -> NDArray[np.bool_]:
    """Return bool [K]: which samples are motions at all, finite and of rotations."""
    xyz, rot = plan.xyz_in_rig_t0, plan.rot_in_rig_t0
    with np.errstate(invalid="ignore", over="ignore"):
        off = np.abs(rot @ np.swapaxes(rot, -1, -2) - np.eye(3)).max(axis=(1, 2, 3))
        rotates = (off <= _ROTATION_TOLERANCE) & (np.linalg.det(rot) > 0).all(axis=1)
    return np.asarray(rotates & np.isfinite(xyz).all(axis=(1, 2)))


def basic_fitness(plan: Plan, speed_mps: float) -> NDArray[np.bool_]:
    """Return bool [K]: motions that begin at the vehicle and do not lead back behind it.

    About one sample in a hundred of Alpamayo's begins metres away or runs backwards. The first waypoint must
    lie within 2 m of where the speed leads in 0.1 s, and none further back than 2 m.
    """
    xyz = plan.xyz_in_rig_t0.astype(np.float64)
    ahead = np.array([speed_mps * WAYPOINT_INTERVAL_S, 0.0])
    with np.errstate(invalid="ignore"):
        begins_here = np.linalg.norm(xyz[:, 0, :2] - ahead, axis=-1) <= START_TOLERANCE_M
        goes_ahead = xyz[:, :, 0].min(axis=1) >= -REVERSING_TOLERANCE_M
    return np.asarray(is_motion(plan) & begins_here & goes_ahead)


def with_fit_choice(plan: Plan, fit: NDArray[np.bool_]) -> Plan | None:
    """Return the plan, its `chosen` one that is fit: its own, else the medoid of those that are; or None."""
    if fit[plan.chosen]:
        return plan
    usable = np.flatnonzero(fit)
    if not len(usable):
        return None
    return replace(plan, chosen=int(usable[medoid(plan.xyz_in_rig_t0[usable])]))
