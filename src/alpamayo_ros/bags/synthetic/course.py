"""The drive: where the road goes, how fast the vehicle follows it, and its pose at any time."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.types import InvalidInput

FloatArray = NDArray[np.float64]

STEP_M = 0.1
"""Arc length between two points of the centre line."""

AHEAD_M = 240.0
"""Road beyond the last pose, so that the view never ends in a field."""

BEHIND_M = 60.0
"""Road before the first pose, for cameras that look back."""

# (length m, curvature 1/m at its end): linear between, as a road builder's clothoids are. Left and right
# cancel, so that the road of a long drive does not cross itself.
_SECTIONS: tuple[tuple[float, float], ...] = (
    (22.0, 0.0),
    (16.0, 1 / 42),
    (34.0, 1 / 42),
    (16.0, 0.0),
    (18.0, 0.0),
    (16.0, -1 / 55),
    (34.0, -1 / 55),
    (16.0, 0.0),
    (10.0, 0.0),
)

# Speed over time, m/s: gets going, slows for the curve, speeds up out of it; then again.
_SPEED_TIMES_S = (0.0, 2.0, 4.5, 7.0, 10.0, 12.0, 16.0)
_SPEEDS_MPS = (8.0, 10.5, 7.5, 7.0, 10.0, 10.5, 8.0)

MIN_SECONDS, MAX_SECONDS = 3.0, 120.0


@dataclass(frozen=True)
class Pose:
    """Pose and motion of the rear axle at one time, in the odometry frame (m, rad, m/s, rad/s)."""

    x_m: float
    y_m: float
    yaw_rad: float
    speed_mps: float
    yaw_rate_radps: float


@dataclass(frozen=True)
class Course:
    """The road and the drive along its right-hand lane.

    Attributes:
        seconds: how long the drive is.
        lane_width_m: of each of the two lanes.

    Raises:
        InvalidInput: for a drive shorter than an observation needs, or too long to be drawn.
    """

    seconds: float = 12.0
    lane_width_m: float = 3.5
    _time_s: FloatArray = field(init=False, repr=False)
    _driven_m: FloatArray = field(init=False, repr=False)
    _arc_m: FloatArray = field(init=False, repr=False)
    _line: FloatArray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not MIN_SECONDS <= self.seconds <= MAX_SECONDS:
            raise InvalidInput(f"seconds: expected {MIN_SECONDS:g} ... {MAX_SECONDS:g}, got {self.seconds:g}")
        time_s = np.arange(0.0, self.seconds + 0.02, 0.01)
        speed = self.speed_mps(time_s)
        driven_m = np.concatenate([[0.0], np.cumsum(0.5 * (speed[1:] + speed[:-1]) * np.diff(time_s))])
        arc_m = np.arange(-BEHIND_M, driven_m[-1] + AHEAD_M, STEP_M)
        for name, value in (("_time_s", time_s), ("_driven_m", driven_m), ("_arc_m", arc_m)):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "_line", self._integrate())

    def speed_mps(self, time_s: FloatArray | float) -> FloatArray:
        """Return the speed at a time, m/s: smooth between the points of the profile."""
        from scipy.interpolate import PchipInterpolator

        profile = PchipInterpolator(_SPEED_TIMES_S, _SPEEDS_MPS)
        return np.asarray(profile(np.mod(time_s, _SPEED_TIMES_S[-1])))

    def curvature_per_m(self, arc_m: FloatArray | float) -> FloatArray:
        """Return the driven line's curvature, 1/m, positive to the left; straight before 0."""
        ends = np.cumsum([0.0, *(length for length, _ in _SECTIONS)])
        values = [0.0, *(curvature for _, curvature in _SECTIONS)]
        along = np.mod(np.maximum(arc_m, 0.0), ends[-1])
        return np.interp(along, ends, values)

    def pose(self, time_s: float) -> Pose:
        """Return the pose at a time after the start; the odometry frame is the pose at 0."""
        arc_m = float(np.interp(time_s, self._time_s, self._driven_m))
        x_m, y_m, yaw_rad = self.at(arc_m)
        speed_mps = float(self.speed_mps(time_s))
        return Pose(x_m, y_m, yaw_rad, speed_mps, float(self.curvature_per_m(arc_m)) * speed_mps)

    def at(self, arc_m: float) -> tuple[float, float, float]:
        """Return (x, y, yaw) of the driven line at an arc length."""
        x, y, yaw = (float(np.interp(arc_m, self._arc_m, self._line[:, i])) for i in range(3))
        return x, y, yaw

    def beside(self, left_m: float) -> FloatArray:
        """Return the points [N, 2] of a line parallel to the driven one, `left_m` to its left."""
        x, y, yaw = self._line.T
        return np.stack([x - left_m * np.sin(yaw), y + left_m * np.cos(yaw)], axis=1)

    @property
    def arc_m(self) -> FloatArray:
        """Arc lengths [N] of the points that beside() returns; 0 is the start of the drive."""
        return self._arc_m

    @property
    def driven_m(self) -> float:
        """Length of the drive."""
        return float(self._driven_m[-1])

    def _integrate(self) -> FloatArray:
        """Integrate curvature to (x, y, yaw) [N, 3] by the midpoint rule; the identity at 0."""
        curvature = self.curvature_per_m(self._arc_m + STEP_M / 2)
        yaw = np.concatenate([[0.0], np.cumsum(curvature[:-1] * STEP_M)])
        middle = yaw[:-1] + 0.5 * curvature[:-1] * STEP_M
        x = np.concatenate([[0.0], np.cumsum(np.cos(middle) * STEP_M)])
        y = np.concatenate([[0.0], np.cumsum(np.sin(middle) * STEP_M)])
        # The road is straight before 0: moving the origin needs no turning.
        zero = int(np.argmin(np.abs(self._arc_m)))
        return np.stack([x - x[zero], y - y[zero], yaw], axis=1)
