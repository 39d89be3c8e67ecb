"""The expert's proposals: every path driven forward for 6.4 s by a following law, at several wishes.

All proposals are simulated at once ([M] arrays). The law is IDM (Treiber, Hennecke, Helbing 2000) towards the
nearest of what is on the path at that moment and of the point at which the proposal wants to stop.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.sim.planners.forecast import FORECAST_STEP_S, FORECAST_STEPS, Others
from alpamayo_ros.sim.planners.paths import FRONT_M, PIECES, Ways
from alpamayo_ros.sim.roads import Float64Array

ACCEL_MPS2 = 1.8
DECEL_MPS2 = 2.2
HEADWAY_S = 1.2
STANDSTILL_M = 2.5
STANDSTILL_STATIC_M = 7.5
"""Behind what never moves: room to steer around it later."""
HARDEST_MPS2 = 7.5
JERK_MPS3 = 7.0
NO_STOP_M = 1e6
"""Where a proposal stops that does not."""
_STOP_HEADWAY_S = 0.6
_STOP_STANDSTILL_M = 0.3
_IN_PATH_M = {"cone": 0.1, "pedestrian": 0.5, "cyclist": 0.5}
_IN_PATH_DEFAULT_M = 0.25


@dataclass(frozen=True, eq=False)
class Wishes:
    """M proposals: path, share of the allowed speed, where the front stops, how hard it brakes.

    `brake_mps2` is nan for a proposal that drives by the following law.
    """

    path: NDArray[np.int64]
    speed_share: Float64Array
    stop_s_m: Float64Array
    brake_mps2: Float64Array

    def __len__(self) -> int:
        return len(self.path)


@dataclass(frozen=True, eq=False)
class Drives:
    """What became of the proposals: [M, T] of s, speed; [M, T − 1] acceleration and the index of the leader.

    `leader` is −1 where nothing is followed, −2 where the proposal's own stop governs.
    """

    s_m: Float64Array
    speed_mps: Float64Array
    accel_mps2: Float64Array
    leader: NDArray[np.int64]


def in_path(ways: Ways, others: Others) -> NDArray[np.bool_]:
    """Return [P, N, T]: whether each one is where the ego's body would be on each path."""
    touching = np.zeros((len(ways.kinds), len(others), FORECAST_STEPS), bool)
    if not len(others):
        return touching
    margin = np.array([_IN_PATH_M.get(kind, _IN_PATH_DEFAULT_M) for kind in others.kinds])[:, None]
    low, high = others.l_low_m - margin, others.l_high_m + margin
    for piece, (rear, front) in enumerate(PIECES):
        first, last = others.s_low_m - front, others.s_high_m - rear
        for rig_at in (first, (first + last) / 2, last):
            index = ways.index(rig_at)
            touching |= (high > ways.piece_low_m[piece][:, index]) & (
                low < ways.piece_high_m[piece][:, index]
            )
    return touching


def simulate(
    ways: Ways,
    others: Others,
    touching: NDArray[np.bool_],
    wishes: Wishes,
    *,
    speed_mps: float,
    accel_mps2: float,
) -> Drives:
    """Drive the proposals forward from the paths' first point."""
    count = len(wishes)
    s = np.full(count, ways.s_m[0])
    v = np.full(count, speed_mps)
    a = np.full(count, float(np.clip(accel_mps2, -HARDEST_MPS2, ACCEL_MPS2)))
    track_s, track_v = np.empty((count, FORECAST_STEPS)), np.empty((count, FORECAST_STEPS))
    track_a = np.empty((count, FORECAST_STEPS - 1))
    leaders = np.full((count, FORECAST_STEPS - 1), -1, np.int64)
    track_s[:, 0], track_v[:, 0] = s, v
    # Who is behind in the ego's lane is no leader, even where he is foreseen to drive through the ego.
    follows = touching[:, :, 0] & (others.s_high_m[:, 0] < ways.s_m[0]) & (others.heading_cos > 0.5)
    followed = (touching & ~follows[:, :, None])[wishes.path]
    rows = np.arange(count)
    braking = ~np.isnan(wishes.brake_mps2)
    standstill_m = np.where(others.is_static, STANDSTILL_STATIC_M, STANDSTILL_M)
    for step in range(FORECAST_STEPS - 1):
        index = ways.index(s)
        wish = np.maximum(ways.limit_mps[wishes.path, index] * wishes.speed_share, 0.5)
        ratio = v / wish
        free = np.where(
            ratio <= 1.0, ACCEL_MPS2 * (1.0 - ratio**4), -np.minimum((v - wish) / 0.7, DECEL_MPS2 + 1.0)
        )
        stopping = _interaction(
            v, wishes.stop_s_m - s - FRONT_M, 0.0, headway_s=_STOP_HEADWAY_S, standstill_m=_STOP_STANDSTILL_M
        )
        want = np.minimum(free, stopping)
        leader = np.where(stopping < free, -2, -1)
        if len(others):
            low = others.s_low_m[:, step]
            ahead = followed[:, :, step] & (others.s_high_m[:, step] > s[:, None] + FRONT_M / 2)
            gap = np.where(ahead, low - s[:, None] - FRONT_M, NO_STOP_M)
            # Who comes towards the ego is judged as a collision; to follow him would be to flee from him.
            lead_v = np.maximum(others.along_mps[:, step], 0.0)
            following = _interaction(v[:, None], gap, lead_v, headway_s=HEADWAY_S, standstill_m=standstill_m)
            nearest = following.argmin(axis=1)
            hardest = following[rows, nearest]
            leader = np.where(hardest < want, nearest, leader)
            want = np.minimum(want, hardest)
        want = np.where(braking, -wishes.brake_mps2, want)
        change = JERK_MPS3 * FORECAST_STEP_S
        a = np.clip(np.clip(want, a - change, a + change), -HARDEST_MPS2, ACCEL_MPS2)
        faster = np.maximum(0.0, v + a * FORECAST_STEP_S)
        a_real = (faster - v) / FORECAST_STEP_S
        s = s + 0.5 * (v + faster) * FORECAST_STEP_S * ways.ds_per_m[wishes.path, index]
        v = faster
        track_s[:, step + 1], track_v[:, step + 1] = s, v
        track_a[:, step] = a_real
        leaders[:, step] = leader
        a = np.where(v <= 0.0, np.maximum(a, -1.0), a)
    return Drives(track_s, track_v, track_a, leaders)


def _interaction(
    v: Float64Array,
    gap: Float64Array,
    lead_v: Float64Array | float,
    *,
    headway_s: float,
    standstill_m: Float64Array | float,
) -> Float64Array:
    """Return the acceleration that IDM's interaction term allows."""
    closing = v - lead_v
    wish = standstill_m + np.maximum(
        0.0, v * headway_s + v * closing / (2 * np.sqrt(ACCEL_MPS2 * DECEL_MPS2))
    )
    return ACCEL_MPS2 * (1.0 - (wish / np.maximum(gap, 0.05)) ** 2)
