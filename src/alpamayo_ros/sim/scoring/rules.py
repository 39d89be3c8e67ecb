"""Traffic rules that a rollout can break: red lights, stop signs, the border of the drivable area."""

from __future__ import annotations

import numpy as np
import shapely

from alpamayo_ros.sim.roads import Float64Array
from alpamayo_ros.sim.scoring.inputs import ScoreInput
from alpamayo_ros.sim.scoring.lanes import lane_map
from alpamayo_ros.sim.scoring.shapes import box_shape

STOPPED_MPS = 0.2
"""Slower than this is a stop."""
STOP_ZONE_M = 6.0
"""How far before a stop line, measured from the ego's front, a stop is one for the sign."""
_OVERREACH_M = 0.3
"""Stop lines are drawn a little short of the lane's borders."""


def strict_off_road(rollout: ScoreInput, first: int, last: int) -> tuple[float | None, int]:
    """Return whether the ego's shape leaves the drivable area in a window of steps, and its last step.

    The window ends where the ego leaves; without a map the first is None and the window stays.
    """
    if rollout.road is None:
        return None, last
    road = lane_map(rollout.road)
    shapes = box_shape(*rollout.ego_size_m).along(rollout.ego_poses[first : last + 1])
    for step in np.flatnonzero(~shapely.covers(road.area, shapes)):
        if road.strictly_off_road(shapes[step]):
            return 1.0, first + int(step)
    return 0.0, last


def red_light_runs(rollout: ScoreInput, first: int, last: int) -> int | None:
    """Return how often the ego's front crosses a stop line, forwards, while its light is red."""
    if rollout.road is None:
        return None
    runs = 0
    for light in rollout.road.lights:
        for _, time_s in _crossings(rollout, light.stop_line, first, last):
            runs += light.colour_at(time_s) == "red"
    return runs


def stop_sign_runs(rollout: ScoreInput, first: int, last: int) -> int | None:
    """Return how often the ego's front crosses a stop sign's line, forwards, without having stopped.

    To have stopped is to have been slower than STOPPED_MPS at a step with the front at most STOP_ZONE_M
    before the line (on the line counts too).
    """
    if rollout.road is None:
        return None
    runs = 0
    front = _front(rollout)
    since_s = np.diff(rollout.stamps_us) / 1e6
    speed = np.linalg.norm(np.diff(rollout.ego_poses[:, :2], axis=0), axis=1) / since_s
    for sign in rollout.road.stop_signs:
        before_m = -_beyond_m(front, sign.stop_line)
        for step, _ in _crossings(rollout, sign.stop_line, first, last):
            waiting = (before_m[1 : step + 1] <= STOP_ZONE_M) & (before_m[1 : step + 1] >= -0.5)
            runs += not np.any(speed[:step][waiting] < STOPPED_MPS)
    return runs


def _front(rollout: ScoreInput) -> Float64Array:
    """Return the middle [S, 2] of the ego's front."""
    x, y, yaw = rollout.ego_poses.T
    half_m = rollout.ego_size_m[0] / 2.0
    return np.stack([x + half_m * np.cos(yaw), y + half_m * np.sin(yaw)], axis=-1)


def _crossings(
    rollout: ScoreInput, stop_line: Float64Array, first: int, last: int
) -> list[tuple[int, float]]:
    """Return (the step before, the time in s since the scene's start) of every forward crossing.

    `stop_line` is [2, 3], its left end and its right end as the traffic that obeys it sees them.
    """
    front = _front(rollout)
    left, right = stop_line[0, :2], stop_line[1, :2]
    along = (right - left) / np.linalg.norm(right - left)
    beyond_m = _beyond_m(front, stop_line)
    found = []
    for step in range(first, last):
        if beyond_m[step] <= 0.0 < beyond_m[step + 1]:
            share = beyond_m[step] / (beyond_m[step] - beyond_m[step + 1])
            place_m = float((front[step] + share * (front[step + 1] - front[step]) - left) @ along)
            if -_OVERREACH_M <= place_m <= float(np.linalg.norm(right - left)) + _OVERREACH_M:
                before_us, after_us = rollout.stamps_us[step : step + 2]
                time_us = before_us - rollout.start_us + share * (after_us - before_us)
                found.append((step, float(time_us) / 1e6))
    return found


def _beyond_m(points: Float64Array, stop_line: Float64Array) -> Float64Array:
    """Return how far points [S, 2] are beyond a stop line in the direction of its traffic."""
    left, right = stop_line[0, :2], stop_line[1, :2]
    along = (right - left) / np.linalg.norm(right - left)
    forward = np.array([-along[1], along[0]])  # left of left-to-right
    return np.asarray((points - left) @ forward)
