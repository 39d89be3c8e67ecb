"""How far a plan is from the way that was driven: distances in the ground plane at a plan's waypoints.

ADE@T (average displacement error) is the mean distance over the waypoints up to T seconds, FDE@T the distance
of the last of them. Of K candidates, minADE_K@T is the least of their ADEs; a planner that hedges does well
there and may still choose badly, so the chosen candidate's ADE stands beside it. Missed is a drive whose way
is ever left by more than a tolerance (nuScenes' prediction challenge: 2 m, the largest distance up to T).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.types import WAYPOINT_INTERVAL_S, Float32Array, InvalidInput

Float64Array = NDArray[np.float64]

HORIZONS_S = (1.0, 3.0, 5.0, 6.4)
MISS_M = 2.0


def waypoints_until(horizon_s: float) -> int:
    """Return how many waypoints lie within a horizon."""
    return round(horizon_s / WAYPOINT_INTERVAL_S)


def distances_m(xyz_in_rig_t0: Float32Array, driven_xyz_in_rig_t0: Float32Array) -> Float64Array:
    """Return the distances [K, N] in the ground plane of K candidates from the drive.

    Args:
        xyz_in_rig_t0: [K, 64, 3] m.
        driven_xyz_in_rig_t0: [N, 3] m, N <= 64, at the same instants as the first N waypoints.

    Raises:
        InvalidInput: for a drive of more waypoints than the plan has.
    """
    count = len(driven_xyz_in_rig_t0)
    if count > xyz_in_rig_t0.shape[1]:
        raise InvalidInput(f"drive: expected at most {xyz_in_rig_t0.shape[1]} waypoints, got {count}")
    away = xyz_in_rig_t0[:, :count, :2].astype(np.float64) - driven_xyz_in_rig_t0[:, :2]
    return np.asarray(np.linalg.norm(away, axis=-1))


def displacement(distance_m: Float64Array, chosen: int, *, miss_m: float = MISS_M) -> dict[str, float | None]:
    """Return the displacement figures of one plan, by name and horizon; None where the drive is shorter.

    Args:
        distance_m: [K, N] as distances_m gives them.
        chosen: the candidate that would be driven.
        miss_m: how far off is missed.

    Returns:
        min_ade, min_fde: of the best candidate (each by its own measure); ade, fde: of the chosen one;
        one_ade: the mean over the candidates, what is to be expected of a single one; miss, min_miss:
        1 where the chosen one, or every one, is anywhere further off than miss_m, else 0.
    """
    result: dict[str, float | None] = {}
    for horizon_s in HORIZONS_S:
        count, name = waypoints_until(horizon_s), f"@{horizon_s:g}s"
        if distance_m.shape[1] < count:
            values: tuple[float | None, ...] = (None,) * 7
        else:
            ade = distance_m[:, :count].mean(axis=1)
            fde = distance_m[:, count - 1]
            most = distance_m[:, :count].max(axis=1)
            values = (
                float(ade.min()),
                float(fde.min()),
                float(ade[chosen]),
                float(fde[chosen]),
                float(ade.mean()),
                float(most[chosen] > miss_m),
                float(most.min() > miss_m),
            )
        names = ("min_ade", "min_fde", "ade", "fde", "one_ade", "miss", "min_miss")
        result |= {key + name: value for key, value in zip(names, values, strict=True)}
    return result
