"""Which of a plan's samples are motions at all: only these can be told to anybody."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.types import Plan, medoid

_ROTATION_TOLERANCE = 1e-2
"""The safety gate's: whatever it passes is a motion."""


def is_motion(plan: Plan) -> NDArray[np.bool_]:
    """Return bool [K]: which samples are motions at all, finite and of rotations."""
    xyz, rot = plan.xyz_in_rig_t0, plan.rot_in_rig_t0.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        off = np.abs(rot @ np.swapaxes(rot, -1, -2) - np.eye(3)).max(axis=(1, 2, 3))
        rotates = (off <= _ROTATION_TOLERANCE) & (np.linalg.det(rot) > 0).all(axis=1)
    return np.asarray(rotates & np.isfinite(xyz).all(axis=(1, 2)))


def with_fit_choice(plan: Plan, fit: NDArray[np.bool_]) -> Plan | None:
    """Return the plan, its `chosen` one that is fit: its own, else the medoid of those that are; or None."""
    if fit[plan.chosen]:
        return plan
    usable = np.flatnonzero(fit)
    if not len(usable):
        return None
    return replace(plan, chosen=int(usable[medoid(plan.xyz_in_rig_t0[usable])]))
