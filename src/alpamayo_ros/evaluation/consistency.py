"""Whether a planner changes its mind: a plan against the one before it, in the world's frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from alpamayo_ros.evaluation.track import WAYPOINT_OFFSETS_NS
from alpamayo_ros.sensing.rigid import Matrix4
from alpamayo_ros.types import Float32Array

LONGEST_GAP_S = 2.0
"""Plans further apart are not compared: too much may have happened in between."""


@dataclass(frozen=True, eq=False)
class PlacedPlan:
    """A plan's chosen way and where it was made.

    Attributes:
        t0_ns: when.
        odom_from_rig_t0: [4, 4].
        xyz_in_rig_t0: [64, 3] m.
    """

    t0_ns: int
    odom_from_rig_t0: Matrix4
    xyz_in_rig_t0: Float32Array


def inconsistency(before: PlacedPlan | None, plan: PlacedPlan) -> dict[str, float | None]:
    """Return how far a plan is from the one before it over the time that both are about.

    The earlier plan is interpolated at the later one's waypoints, never extrapolated. The vehicle may have
    left the earlier plan's way meanwhile; the difference that this makes counts too.

    Returns:
        change_m, change_max_m: mean and largest distance in the ground plane; gap_s: between their t0s. None
        without a plan before, or where it is more than LONGEST_GAP_S older.
    """
    none: dict[str, float | None] = {"change_m": None, "change_max_m": None, "gap_s": None}
    if before is None:
        return none
    gap_s = (plan.t0_ns - before.t0_ns) * 1e-9
    if not 0 < gap_s <= LONGEST_GAP_S:
        return none
    earlier_s = np.concatenate([[0.0], WAYPOINT_OFFSETS_NS * 1e-9])
    later_s = gap_s + WAYPOINT_OFFSETS_NS * 1e-9
    common = later_s <= earlier_s[-1] + 1e-6
    there = _in_odom(before)
    here = _in_odom(plan)[1:][common]
    expected = np.stack([np.interp(later_s[common], earlier_s, there[:, axis]) for axis in (0, 1)], axis=1)
    apart = np.linalg.norm(here - expected, axis=1)
    return {"change_m": float(apart.mean()), "change_max_m": float(apart.max()), "gap_s": gap_s}


def _in_odom(plan: PlacedPlan) -> np.ndarray:
    """Return the rig at t0 and the waypoints, [65, 2] m, in the odometry frame."""
    xyz = np.concatenate([np.zeros((1, 3)), plan.xyz_in_rig_t0.astype(np.float64)])
    return np.asarray((xyz @ plan.odom_from_rig_t0[:3, :3].T + plan.odom_from_rig_t0[:3, 3])[:, :2])
