"""What waypoints ask of a vehicle, measured on the waypoints themselves.

A plan also says its accelerations and curvatures, but the vehicle follows the waypoints. Differences of
positions 0.1 s apart are noisy, so each quantity is measured over a stretch: accelerations over 0.5 s (an
actuator's response is no faster), curvature over a metre (a vehicle that creeps has none that mean
anything from one waypoint to the next).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.types import HISTORY_INTERVAL_S, WAYPOINT_INTERVAL_S, Float32Array

Float64Array = NDArray[np.float64]

WINDOW_STEPS = 5
"""Of 0.1 s: over how long an acceleration is measured."""
MIN_CHORD_M = 1.0
"""Over how much of the path a direction is measured, at least."""
_MIN_STEP_M = 0.1
"""A shorter step between two waypoints has no direction of its own."""
_HISTORY_STEPS = 5
"""Of 0.1 s: how much of the history its speed at t0 is fitted to."""


@dataclass(frozen=True, eq=False)
class Demand:
    """The most that each of K candidates asks of the vehicle; float64 [K] each.

    Attributes:
        speed_mps: between two waypoints.
        accel_mps2, decel_mps2: over 0.5 s, the measured speed at t0 included; zero or more.
        jerk_mps3: change of the acceleration over 0.5 s, either way.
        lateral_accel_mps2: speed times rate of turn of the path.
        curvature_per_m: either way.
        kink_rad: angle between one piece of the path and the next; π where it folds back.
        reverse_m: the longest way back, against the heading.
        slip_rad: angle between heading and direction of travel.
    """

    speed_mps: Float64Array
    accel_mps2: Float64Array
    decel_mps2: Float64Array
    jerk_mps3: Float64Array
    lateral_accel_mps2: Float64Array
    curvature_per_m: Float64Array
    kink_rad: Float64Array
    reverse_m: Float64Array
    slip_rad: Float64Array


def demand_of(xyz_in_rig_t0: Float32Array, rot_in_rig_t0: Float32Array, *, speed_mps: float) -> Demand:
    """Return what candidates ask of the vehicle.

    Args:
        xyz_in_rig_t0: [K, N, 3] m, finite, waypoint i at t0 + (i + 1) * 0.1 s.
        rot_in_rig_t0: [K, N, 3, 3], finite.
        speed_mps: the measured speed at t0.
    """
    count = len(xyz_in_rig_t0)
    xy = np.concatenate([np.zeros((count, 1, 2)), xyz_in_rig_t0[..., :2].astype(np.float64)], axis=1)
    step = np.diff(xy, axis=1)
    length = np.linalg.norm(step, axis=-1)
    heading = np.concatenate([np.tile([1.0, 0.0], (count, 1, 1)), rot_in_rig_t0[..., :2, 0]], axis=1)
    middle = heading[:, :-1] + heading[:, 1:]
    norm = np.linalg.norm(middle, axis=-1)
    middle /= np.maximum(norm, 1e-9)[..., None]
    along = np.einsum("kni,kni->kn", step, middle)
    across = middle[..., 0] * step[..., 1] - middle[..., 1] * step[..., 0]
    # Two opposite headings have no middle: that is a turn on the spot, and a kink.
    slip = np.where((length > _MIN_STEP_M) & (norm > 0.1), np.abs(np.arctan2(across, along)), 0.0)

    speed = along / WAYPOINT_INTERVAL_S
    accel = _accelerations(speed, speed_mps)
    jerk = (accel[:, WINDOW_STEPS:] - accel[:, :-WINDOW_STEPS]) / (WINDOW_STEPS * WAYPOINT_INTERVAL_S)
    way = np.concatenate([np.zeros((count, 1)), np.cumsum(length, axis=1)], axis=1)
    bends = [_bends(points, at) for points, at in zip(xy, way, strict=True)]
    curvature, lateral, fold = (np.array(column) for column in zip(*bends, strict=True))
    moving = (length[:, :-1] > _MIN_STEP_M) & (length[:, 1:] > _MIN_STEP_M)
    kink = np.where(moving, np.abs(_angle(step[:, :-1], step[:, 1:])), 0.0).max(axis=1)
    return Demand(
        speed_mps=length.max(axis=1) / WAYPOINT_INTERVAL_S,
        accel_mps2=np.maximum(accel.max(axis=1), 0.0),
        decel_mps2=np.maximum(-accel.min(axis=1), 0.0),
        jerk_mps3=np.abs(jerk).max(axis=1),
        lateral_accel_mps2=lateral,
        curvature_per_m=curvature,
        kink_rad=np.maximum(kink, fold),
        reverse_m=_longest_way_back(along),
        slip_rad=slip.max(axis=1),
    )


def _accelerations(speed: Float64Array, speed_at_t0_mps: float) -> Float64Array:
    """Return accelerations [K, N + 1 - 5] of speeds [K, N] in the middle of the intervals, from t0 on."""
    count, steps = speed.shape
    speeds = np.concatenate([np.full((count, 1), speed_at_t0_mps), speed], axis=1)
    times = np.concatenate([[0.0], (np.arange(steps) + 0.5) * WAYPOINT_INTERVAL_S])
    rise = speeds[:, WINDOW_STEPS:] - speeds[:, :-WINDOW_STEPS]
    return np.asarray(rise / (times[WINDOW_STEPS:] - times[:-WINDOW_STEPS]))


def _longest_way_back(along: Float64Array) -> Float64Array:
    """Return how far the travelled way [K] falls below what it was before, at the worst."""
    travelled = np.cumsum(np.concatenate([np.zeros((len(along), 1)), along], axis=1), axis=1)
    return np.asarray((np.maximum.accumulate(travelled, axis=1) - travelled).max(axis=1))


def _bends(points: Float64Array, way: Float64Array) -> tuple[float, float, float]:
    """Return the most of curvature, lateral acceleration and angle of points [P, 2] at arc lengths [P].

    A chord goes from each point to the first one that is MIN_CHORD_M on, and a second one from there.
    """
    last = len(points) - 1
    there = np.searchsorted(way, way + MIN_CHORD_M - 1e-9)
    there = np.maximum(there, np.arange(1, len(way) + 1))  # a metre is nothing to a path of 1e20 m
    first = np.flatnonzero(there <= last)
    first = first[there[there[first]] <= last]
    if not len(first):
        return 0.0, 0.0, 0.0
    second = there[first]
    third = there[second]
    a, b = points[second] - points[first], points[third] - points[second]
    angle = np.abs(_angle(a, b))
    half_way = 0.5 * (way[third] - way[first])
    half_time = 0.5 * WAYPOINT_INTERVAL_S * (third - first)
    curvature = angle / half_way
    lateral = angle / half_time * (half_way / half_time)
    return float(curvature.max()), float(lateral.max()), float(angle.max())


def _angle(a: Float64Array, b: Float64Array) -> Float64Array:
    """Return the angles [...] from vectors a [..., 2] to b, in rad, positive to the left."""
    cross = a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
    return np.asarray(np.arctan2(cross, (a * b).sum(axis=-1)))


def speed_of_history(history_xyz_in_rig_t0: Float32Array, history_rot_in_rig_t0: Float32Array) -> float:
    """Return the speed in m/s at t0 that a history implies: a line through its last 0.5 s of speeds.

    Args:
        history_xyz_in_rig_t0: [16, 3] m, 0.1 s apart, the last at t0.
        history_rot_in_rig_t0: [16, 3, 3]; says which way is forward.
    """
    xyz = history_xyz_in_rig_t0[-_HISTORY_STEPS - 1 :].astype(np.float64)
    forward = history_rot_in_rig_t0[-_HISTORY_STEPS - 1 :, :, 0].astype(np.float64)
    along = np.einsum("ni,ni->n", np.diff(xyz, axis=0), 0.5 * (forward[1:] + forward[:-1]))
    times = (np.arange(_HISTORY_STEPS) - _HISTORY_STEPS + 0.5) * HISTORY_INTERVAL_S
    _, at_t0 = np.polyfit(times, along / HISTORY_INTERVAL_S, 1)
    return float(at_t0)
