"""Ways for the expert to drive: lateral profiles along the route that keep the lane or go around obstacles.

A profile l(s) is the lane's middle, raised or lowered to what obstacles ask for (with ramps of limited slope,
smoothed), and joined to the ego's present place and heading by a quintic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from alpamayo_ros.sim.planners.forecast import FORECAST_STEP_S, FORECAST_STEPS, Others
from alpamayo_ros.sim.planners.route_frame import GRID_M, RouteFrame
from alpamayo_ros.sim.roads import Float64Array
from alpamayo_ros.sim.scene import EGO_BOX_IN_RIG_M, EGO_SIZE_XYZ_M

REAR_M = EGO_SIZE_XYZ_M[0] / 2 - EGO_BOX_IN_RIG_M[0]
FRONT_M = EGO_SIZE_XYZ_M[0] / 2 + EGO_BOX_IN_RIG_M[0]
HALF_WIDTH_M = EGO_SIZE_XYZ_M[1] / 2
BORDER_M = 0.25
"""Kept from the border of the drivable area."""
_BODY_AT_M = np.linspace(-REAR_M, FRONT_M, 4)
PIECES: tuple[tuple[float, float], ...] = tuple(pairwise(_BODY_AT_M.tolist()))
"""The body in pieces along it: while the front has swung back, the rear may still be beside something."""
_COMFORT_LATERAL_MPS2 = 2.1
_BRAKING_MPS2 = 2.0
_SMOOTHING_M = 3.0
_SQUEEZED_M = HALF_WIDTH_M + 0.9

Clearances = dict[str, float]
COMFORTABLE: Clearances = {
    "car": 0.7, "van": 0.7, "truck": 0.8, "pedestrian": 1.0, "cyclist": 1.2, "cone": 0.5
}  # fmt: skip
TIGHT: Clearances = {
    "car": 0.35, "van": 0.35, "truck": 0.4, "pedestrian": 0.7, "cyclist": 0.8, "cone": 0.3
}  # fmt: skip

PathKind = Literal["around", "around_tight", "follow_cyclist", "keep_lane", "give_way"]


@dataclass(frozen=True)
class Nudge:
    """An obstacle (index into Others) that a path goes around, on its own left (+1) or right (−1) side."""

    other: int
    side: int
    offset_m: float


@dataclass(frozen=True, eq=False)
class Ways:
    """P paths over one grid of s: [P, G] arrays.

    Attributes:
        kinds: P of them.
        nudges: what each goes around.
        s_m: [G].
        l_m, xy, yaw_rad: where the rig is, [P, G], [P, G, 2], [P, G].
        ds_per_m: metres of s per metre of path.
        body_low_m, body_high_m: extent of the ego's body across the route.
        piece_low_m, piece_high_m: likewise of its PIECES, [Q, P, G].
        limit_mps: speed that limits, bends and brakes allow.
        bend_limited: [G], where the road's own bend limits it.
        off_road_m: how far the body reaches beyond the drivable area (0 inside).
    """

    kinds: tuple[PathKind, ...]
    nudges: tuple[tuple[Nudge, ...], ...]
    s_m: Float64Array
    l_m: Float64Array
    xy: Float64Array
    yaw_rad: Float64Array
    ds_per_m: Float64Array
    body_low_m: Float64Array
    body_high_m: Float64Array
    piece_low_m: Float64Array
    piece_high_m: Float64Array
    limit_mps: Float64Array
    bend_limited: NDArray[np.bool_]
    off_road_m: Float64Array

    def index(self, s_m: Float64Array) -> NDArray[np.int64]:
        """Return grid indices of s, clipped to the grid."""
        return np.clip((s_m - self.s_m[0]) / GRID_M, 0, len(self.s_m) - 1).astype(np.int64)


@dataclass(frozen=True)
class Start:
    """The ego in the route's frame: s, l, heading against the route's, speed."""

    s_m: float
    l_m: float
    heading_rad: float
    speed_mps: float


def find_ways(frame: RouteFrame, start: Start, others: Others) -> Ways:
    """Return the paths worth looking at."""
    length_m = float(np.clip(start.speed_mps * 9.0 + 30.0, 60.0, 140.0))
    s = start.s_m + np.arange(0.0, length_m, GRID_M)
    # The controller, which minds a plan from 1 s ahead on, cuts bends by about what the body swings out.
    middle = np.zeros(len(s))
    slope = float(np.clip(1.3 / max(start.speed_mps, 1.0), 0.09, 0.4))
    static = [i for i in range(len(others)) if others.is_static[i]]
    cyclists = [i for i in range(len(others)) if others.passable[i] and not others.is_static[i]]

    kinds: list[PathKind] = []
    nudges: list[tuple[Nudge, ...]] = []
    profiles: list[Float64Array] = []

    def add(kind: PathKind, around: Sequence[int], clearances: Clearances, shift_m: float = 0.0) -> None:
        profile, made = _profile(
            frame, s, middle + shift_m, start, others, around=around, clearances=clearances, slope=slope
        )
        if not any(np.abs(profile - other).max() < 0.05 for other in profiles):
            kinds.append(kind)
            nudges.append(tuple(made))
            profiles.append(profile)

    add("around", [*static, *cyclists], COMFORTABLE)
    add("around_tight", [*static, *cyclists], TIGHT)
    if cyclists:
        add("follow_cyclist", static, COMFORTABLE)
    add("keep_lane", [], COMFORTABLE)
    if _squeezed(frame, others):
        add("give_way", [*static, *cyclists], TIGHT, -0.7)
    return _ways(frame, s, start, kinds, nudges, np.stack(profiles))


def _squeezed(frame: RouteFrame, others: Others) -> bool:
    """Return whether someone comes towards the ego's side of the road, outside of junctions."""
    oncoming = (others.along_mps < -1.0) & (others.l_low_m < _SQUEEZED_M) & (others.l_high_m > 0.0)
    outside = frame.at(frame.in_junction.astype(np.float64), others.s_low_m) < 0.5
    return bool((oncoming & outside & (others.heading_cos < -0.5)[:, None]).any())


def _profile(
    frame: RouteFrame,
    s: Float64Array,
    middle: Float64Array,
    start: Start,
    others: Others,
    *,
    around: Sequence[int],
    clearances: Clearances,
    slope: float,
) -> tuple[Float64Array, list[Nudge]]:
    least, most = np.full(len(s), -np.inf), np.full(len(s), np.inf)
    nudges = []
    left = frame.at(frame.left_m, s) - HALF_WIDTH_M - BORDER_M
    right = -frame.at(frame.right_m, s) + HALF_WIDTH_M + BORDER_M
    for other in around:
        s_low, s_high, l_low, l_high = _extent(others, other, start)
        if s_high < start.s_m - REAR_M or s_low > s[-1] - 5.0:
            continue
        reach = HALF_WIDTH_M + clearances[others.kinds[other]]
        span = (s >= s_low - FRONT_M - 1.0) & (s <= s_high + REAR_M + 1.0)
        if not span.any():
            continue
        wish = middle[span]
        if np.all(wish >= l_high + reach) or np.all(wish <= l_low - reach):
            continue
        to_left, to_right = l_high + reach, l_low - reach
        cost_left = np.max(np.maximum(to_left - wish, 0.0)) + 10.0 * (to_left > left[span].min() + 0.2)
        cost_right = np.max(np.maximum(wish - to_right, 0.0)) + 10.0 * (to_right < right[span].max() - 0.2)
        if min(cost_left, cost_right) >= 10.0:
            continue  # it cannot be passed inside the drivable area
        side = 1 if cost_left <= cost_right else -1
        if side > 0:
            least[span] = np.maximum(least[span], to_left)
        else:
            most[span] = np.minimum(most[span], to_right)
        nudges.append(Nudge(other, side, float(min(cost_left, cost_right))))
    profile = np.maximum(middle, _ramped(least, slope))
    profile = np.minimum(profile, -_ramped(-most, slope))
    profile = gaussian_filter1d(profile, _SMOOTHING_M / GRID_M / 2, mode="nearest")
    return np.clip(profile, np.minimum(right, 0.0), np.maximum(left, 0.0)), nudges


def _extent(others: Others, other: int, start: Start) -> tuple[float, float, float, float]:
    """Return where (s, l) an obstacle is in the way: where it stands, or until the ego has passed it."""
    if others.is_static[other]:
        last = 1
    else:
        gap_m = float(others.s_low_m[other, 0]) - start.s_m
        closing = max(start.speed_mps - float(others.along_mps[other, 0]), 1.5)
        last = int(np.clip((gap_m + 10.0) / closing / FORECAST_STEP_S, 1, FORECAST_STEPS - 1)) + 1
    return (
        float(others.s_low_m[other, :last].min()),
        float(others.s_high_m[other, :last].max()),
        float(others.l_low_m[other, :last].min()),
        float(others.l_high_m[other, :last].max()),
    )


def _ramped(least: Float64Array, slope: float) -> Float64Array:
    """Return the smallest profile that is at least `least` and rises and falls by at most `slope`."""
    step = slope * GRID_M
    index = np.arange(len(least))
    rising = np.maximum.accumulate(least + index * step) - index * step
    falling = (np.maximum.accumulate((least - index * step)[::-1]))[::-1] + index * step
    return np.maximum(rising, falling)


def _join(s: Float64Array, profiles: Float64Array, start: Start, curvature: float) -> Float64Array:
    """Return the profiles [P, G] bent so that they begin at the ego's place and heading."""
    length = float(np.clip(1.6 * start.speed_mps, 5.0, 25.0))
    slope_now = np.tan(np.clip(start.heading_rad, -1.0, 1.0)) * (1.0 - curvature * start.l_m)
    offset = start.l_m - profiles[:, :1]
    slope = slope_now - (profiles[:, 1:2] - profiles[:, :1]) / GRID_M
    x = np.clip((s - s[0]) / length, 0.0, 1.0)[None]
    rest = (1 - x) ** 3
    return profiles + rest * (offset * (1 + 3 * x + 6 * x * x) + slope * length * x * (1 + 3 * x))


def _ways(
    frame: RouteFrame,
    s: Float64Array,
    start: Start,
    kinds: Sequence[PathKind],
    nudges: Sequence[tuple[Nudge, ...]],
    profiles: Float64Array,
) -> Ways:
    across = _join(s, profiles, start, float(frame.at(frame.curvature_per_m, start.s_m)))
    grid = np.broadcast_to(s, across.shape)
    xy = frame.to_xy(grid, across)
    step = np.diff(xy, axis=1)
    length = np.linalg.norm(step, axis=-1)
    yaw_between = np.unwrap(np.arctan2(step[..., 1], step[..., 0]), axis=1)
    yaw = np.concatenate(
        [yaw_between[:, :1], (yaw_between[:, 1:] + yaw_between[:, :-1]) / 2, yaw_between[:, -1:]], axis=1
    )
    ds_per_m = np.concatenate([GRID_M / length, GRID_M / length[:, -1:]], axis=1)
    curvature = gaussian_filter1d(np.gradient(yaw, axis=1) * ds_per_m / GRID_M, 2.0, axis=1, mode="nearest")
    bend = np.sqrt(_COMFORT_LATERAL_MPS2 / np.maximum(np.abs(curvature), 1e-4))
    signed = frame.at(frame.limit_mps, s)
    route_bend = frame.at(frame.curvature_per_m, s)
    limit = np.minimum(signed, bend)
    # Brake in time for what is ahead: v² falls by at most 2 b per metre.
    energy = limit**2 / 2 + _BRAKING_MPS2 * s
    allowed = np.minimum.accumulate(energy[:, ::-1], axis=1)[:, ::-1] - _BRAKING_MPS2 * s
    limit = np.sqrt(np.maximum(2 * allowed, 0.25))

    heading = yaw - frame.at(frame.yaw_rad, s)
    sine = np.sin(heading)
    body = np.stack([across + frame.tangent_l(s, ahead) + ahead * sine for ahead in _BODY_AT_M])
    piece_low = np.minimum(body[:-1], body[1:]) - HALF_WIDTH_M
    piece_high = np.maximum(body[:-1], body[1:]) + HALF_WIDTH_M
    off_road = np.zeros_like(across)
    for part, ahead in zip(body, _BODY_AT_M, strict=True):
        beyond_left = part + HALF_WIDTH_M - frame.at(frame.left_m, s + ahead)
        beyond_right = -(part - HALF_WIDTH_M) - frame.at(frame.right_m, s + ahead)
        off_road = np.maximum(off_road, np.maximum(beyond_left, beyond_right))
    return Ways(
        kinds=tuple(kinds),
        nudges=tuple(nudges),
        s_m=s,
        l_m=across,
        xy=xy,
        yaw_rad=yaw,
        ds_per_m=ds_per_m,
        body_low_m=piece_low.min(axis=0),
        body_high_m=piece_high.max(axis=0),
        piece_low_m=piece_low,
        piece_high_m=piece_high,
        limit_mps=limit,
        bend_limited=np.sqrt(_COMFORT_LATERAL_MPS2 / np.maximum(np.abs(route_bend), 1e-4)) < signed - 0.5,
        off_road_m=off_road,
    )
