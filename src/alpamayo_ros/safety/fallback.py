"""The fallback: a stop along the last valid path, from where the vehicle is now.

It is made anew in every period, from the vehicle's measured state, for as long as there is no valid plan. On
the way it is never faster than the last valid plan would have been at the same place: where that plan would
have braked for somebody, so does the stop, however firmly.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.safety.limits import require_number, require_positive
from alpamayo_ros.safety.polyline import Polyline
from alpamayo_ros.sensing.rigid import Matrix4, invert, require_rigid
from alpamayo_ros.types import (
    NUM_WAYPOINTS,
    WAYPOINT_INTERVAL_S,
    InvalidInput,
    Plan,
    require_array,
    require_finite,
)

Float64Array = NDArray[np.float64]

MODEL = "fallback stop"
"""Of the plans that are stops, in Plan.model."""
_STEPS_A_WAYPOINT = 10
_STEP_S = WAYPOINT_INTERVAL_S / _STEPS_A_WAYPOINT


@dataclass(frozen=True)
class StopSettings:
    """How to stop.

    Attributes:
        comfort_decel_mps2, comfort_jerk_mps3: of an ordinary stop. ISO 15622 allows adaptive cruise control
            3.5 m/s² and 2.5 m/s³ at speed.
        hard_decel_mps2, hard_jerk_mps3: where the last path is too old or there is none.
        emergency_decel_mps2: the most, to be no faster than the last valid plan would have been.
        max_path_age_ms: since the last valid plan's t0.
        max_offset_m, max_heading_offset_rad: further off the last path than this the vehicle does not follow
            it, but stops along the arc that it drives on.

    Raises:
        InvalidInput: for what is no number above zero, or a hard stop that is softer than a comfortable one.
    """

    comfort_decel_mps2: float = 2.5
    comfort_jerk_mps3: float = 2.5
    hard_decel_mps2: float = 4.5
    hard_jerk_mps3: float = 8.0
    emergency_decel_mps2: float = 7.5
    max_path_age_ms: float = 2000.0
    max_offset_m: float = 1.5
    max_heading_offset_rad: float = 0.5

    def __post_init__(self) -> None:
        for field in fields(self):
            require_positive(field.name, getattr(self, field.name))
        if not self.comfort_decel_mps2 <= self.hard_decel_mps2 <= self.emergency_decel_mps2:
            raise InvalidInput(
                "stop: expected comfort_decel_mps2 <= hard_decel_mps2 <= emergency_decel_mps2, got "
                f"{self.comfort_decel_mps2:g}, {self.hard_decel_mps2:g}, {self.emergency_decel_mps2:g}"
            )


@dataclass(frozen=True, eq=False)
class VehicleState:
    """Where the vehicle is and how it moves.

    Attributes:
        stamp_ns: when.
        odom_from_rig: float64 [4, 4], pose of the rig in the odometry frame.
        speed_mps: forward.
        accel_mps2: forward; 0 where it is not known.
        yaw_rate_radps: positive to the left; 0 where it is not known.

    Raises:
        InvalidInput: for a pose that is no rigid transform, or a number that is not finite.
    """

    stamp_ns: int
    odom_from_rig: Matrix4
    speed_mps: float
    accel_mps2: float = 0.0
    yaw_rate_radps: float = 0.0

    def __post_init__(self) -> None:
        require_rigid("odom_from_rig", self.odom_from_rig)
        for name in ("speed_mps", "accel_mps2", "yaw_rate_radps"):
            require_number(name, getattr(self, name))


@dataclass(frozen=True, eq=False)
class ValidPath:
    """The path of a valid plan, t0 included.

    Attributes:
        t0_ns: of the plan.
        xyz_in_odom: float64 [N, 3] m, N >= 2.
        speed_mps: float64 [N].

    Raises:
        InvalidInput: on wrong shapes or dtypes, or values that are not finite.
    """

    t0_ns: int
    xyz_in_odom: Float64Array
    speed_mps: Float64Array

    def __post_init__(self) -> None:
        require_array("xyz_in_odom", self.xyz_in_odom, (None, 3), np.float64)
        require_array("speed_mps", self.speed_mps, (len(self.xyz_in_odom),), np.float64)
        if len(self.xyz_in_odom) < 2:
            raise InvalidInput(f"xyz_in_odom: expected two points or more, got {len(self.xyz_in_odom)}")
        require_finite("xyz_in_odom", self.xyz_in_odom)
        require_finite("speed_mps", self.speed_mps)

    @classmethod
    def of(cls, plan: Plan, odom_from_rig_t0: Matrix4) -> ValidPath:
        """Return the path of a plan's chosen candidate; raises InvalidInput if it is not finite."""
        pose = require_rigid("odom_from_rig_t0", odom_from_rig_t0)
        xyz = np.concatenate([np.zeros((1, 3)), plan.xyz_in_rig_t0[plan.chosen].astype(np.float64)])
        speed = plan.speed_mps[plan.chosen].astype(np.float64)
        return cls(plan.t0_ns, xyz @ pose[:3, :3].T + pose[:3, 3], speed)


def stop_plan(state: VehicleState, path: ValidPath | None, settings: StopSettings | None = None) -> Plan:
    """Return a stop that begins where the vehicle is: a Plan of one candidate whose t0 is the state's.

    A vehicle that stands stays; one that rolls backwards is held where it is. From high speed the 6.4 s of a
    plan do not suffice to stand; the next one goes on from there. Its normalised_action is zero, as no model
    drew it, and it has no texts.

    Args:
        state: the vehicle, now.
        path: of the last valid plan, None if there was none.
        settings: how to stop.

    Raises:
        InvalidInput: for a state that is older than the path's t0.
    """
    settings = settings or StopSettings()
    if path is not None and state.stamp_ns < path.t0_ns:
        raise InvalidInput(f"state: expected a stamp from {path.t0_ns} ns on, got {state.stamp_ns} ns")
    fresh = path is not None and state.stamp_ns - path.t0_ns <= settings.max_path_age_ms * 1e6
    line = None if path is None else _followable(state, path, settings)
    cap = None if line is None or path is None else _SpeedCap(line, path.speed_mps)
    along, speed = _brake(state, settings, hard=not fresh, cap=cap)
    if line is None:
        points, yaw = _arc(state, along)
    else:
        points, yaw = line.from_vehicle(along, speed_mps=max(0.0, state.speed_mps))
    return _as_plan(state.stamp_ns, points, yaw, along, speed)


def _followable(state: VehicleState, path: ValidPath, settings: StopSettings) -> Polyline | None:
    """Return the path in the rig frame now, None where the vehicle is too far off it."""
    rig_from_odom = invert(state.odom_from_rig)
    line = Polyline.of(path.xyz_in_odom @ rig_from_odom[:3, :3].T + rig_from_odom[:3, 3])
    if line is None or abs(line.offset_m) > settings.max_offset_m:
        return None
    return None if abs(line.heading_offset_rad) > settings.max_heading_offset_rad else line


class _SpeedCap:
    """How fast the last valid plan was at a place along its path; nothing is known beyond its end.

    Where it stood, it ended: whatever it did after that is not part of the stop.
    """

    def __init__(self, line: Polyline, speed_mps: Float64Array) -> None:
        along = line.along_of_points - line.along_m
        standing = np.flatnonzero((speed_mps < 0.1) & (along >= 0.0))
        self._ends_at = float(along[standing[0]]) if len(standing) else float("inf")
        # A little more than the plan's: a vehicle that tracks it is now and then a little faster.
        self._along, self._most = along.tolist(), (1.05 * np.maximum(speed_mps, 0.0) + 0.1).tolist()

    def at(self, along_m: float) -> float:
        if along_m >= self._ends_at:
            return 0.0
        after = bisect_right(self._along, along_m)
        if after == len(self._along):
            return float("inf")
        before = max(after - 1, 0)
        step = self._along[after] - self._along[before]
        share = (along_m - self._along[before]) / step if step > 0 else 0.0
        return float(self._most[before] + share * (self._most[after] - self._most[before]))


def _brake(
    state: VehicleState, settings: StopSettings, *, hard: bool, cap: _SpeedCap | None
) -> tuple[Float64Array, Float64Array]:
    """Return the way [65] and the speed [65] of the stop, jerk-limited at both ends."""
    decel = settings.hard_decel_mps2 if hard else settings.comfort_decel_mps2
    jerk = settings.hard_jerk_mps3 if hard else settings.comfort_jerk_mps3
    most = settings.emergency_decel_mps2
    v, s = max(0.0, state.speed_mps), 0.0
    a = min(0.0, max(-most, state.accel_mps2))  # power is cut at once
    along, speed = [s], [v]
    for step in range(1, NUM_WAYPOINTS * _STEPS_A_WAYPOINT + 1):
        # The last bit of speed is shed ever more softly, so that the vehicle does not jolt to a stand.
        want = -min(decel, max(0.3, (2.0 * jerk * v) ** 0.5))
        a += min(jerk * _STEP_S, max(-jerk * _STEP_S, want - a))
        faster = max(0.0, v + a * _STEP_S)
        if cap is not None and faster > (most_here := cap.at(s + faster * _STEP_S)):
            faster = max(most_here, v - most * _STEP_S, 0.0)
            a = (faster - v) / _STEP_S
        s += 0.5 * (v + faster) * _STEP_S
        v = faster
        if step % _STEPS_A_WAYPOINT == 0:
            along.append(s)
            speed.append(v)
    return np.array(along), np.array(speed)


def _arc(state: VehicleState, along: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Return points [65, 3] and headings [65] on the circle that the vehicle drives on now."""
    speed = max(1.0, state.speed_mps)  # below that the yaw rate says nothing about the steering
    curvature = float(np.clip(state.yaw_rate_radps / speed, -0.2, 0.2))
    yaw = curvature * along
    points = np.zeros((len(along), 3))
    points[:, 0] = along * np.sinc(yaw / np.pi)
    points[:, 1] = along * np.sin(yaw / 2) * np.sinc(yaw / (2 * np.pi))
    return points, yaw


def _as_plan(
    t0_ns: int, points: Float64Array, yaw: Float64Array, along: Float64Array, speed: Float64Array
) -> Plan:
    way, turn = np.diff(along), np.diff(yaw)
    rot = np.tile(np.eye(3), (NUM_WAYPOINTS, 1, 1))
    cos, sin = np.cos(yaw[1:]), np.sin(yaw[1:])
    rot[:, 0, 0], rot[:, 0, 1], rot[:, 1, 0], rot[:, 1, 1] = cos, -sin, sin, cos
    curvature = np.where(way > 1e-3, turn / np.maximum(way, 1e-3), 0.0)
    return Plan(
        t0_ns=t0_ns,
        xyz_in_rig_t0=points[None, 1:].astype(np.float32),
        rot_in_rig_t0=rot[None].astype(np.float32),
        accel_mps2=(np.diff(speed) / WAYPOINT_INTERVAL_S)[None].astype(np.float32),
        curvature_per_m=curvature[None].astype(np.float32),
        speed_mps=speed[None].astype(np.float32),
        normalised_action=np.zeros((1, NUM_WAYPOINTS, 2), np.float32),
        reasoning=("",),
        reasoning_complete=(True,),
        meta_action=("",),
        token_ids=((),),
        sections=(None,),
        model=MODEL,
    )
