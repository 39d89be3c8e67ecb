"""The privileged expert: the ceiling of our scores, and the teacher later.

It knows the map, every road user's place and coming way, the programmes of the lights. At each step it
lays paths along the route (paths.py), drives each of them forward at several wishes (proposals.py), takes
what costs least (judge.py), and says why (reasons.py). The scheme is PDM-Closed's: Dauner et al., "Parting
with Misconceptions about Learning-based Vehicle Motion Planning", 2023.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.sensing.rigid import invert
from alpamayo_ros.sim.planners.forecast import FORECAST_STEP_S, Forecaster, Others
from alpamayo_ros.sim.planners.judge import FORBIDDEN, judge
from alpamayo_ros.sim.planners.motion import Motion, make_plan, speed_from_history
from alpamayo_ros.sim.planners.paths import FRONT_M, PathKind, Start, Ways, find_ways
from alpamayo_ros.sim.planners.proposals import NO_STOP_M, Drives, Wishes, in_path, simulate
from alpamayo_ros.sim.planners.reasons import Cause, Governor, sentence
from alpamayo_ros.sim.planners.route_frame import RouteFrame
from alpamayo_ros.sim.planners.rules import LINE_GAP_M, Regulation, Rules
from alpamayo_ros.sim.roads import Float64Array
from alpamayo_ros.sim.state import EgoState
from alpamayo_ros.sim.world import ProceduralWorld
from alpamayo_ros.types import HISTORY_INTERVAL_S, InvalidInput, Observation, Plan

MODEL = "expert"
SPEED_SHARES = (1.0, 0.85, 0.65, 0.4, 0.2)
BRAKES_MPS2 = (3.0, 5.0, 7.5)
_YIELD_GAP_M = {"pedestrian": 2.0}
_YIELD_GAP_DEFAULT_M = 1.2
_MAX_STOPS = 4
_KEEP_BONUS = 3.0
_MAX_CANDIDATES = 3
_SOON_S = 3.0


@dataclass(frozen=True)
class Stop:
    """A place where a proposal may stop: s of the ego's front there, why, and for whom (index or −1)."""

    s_m: float
    governor: Governor
    other: int = -1


@dataclass(frozen=True)
class _Choice:
    """What was chosen at the last step, so that the next one does not waver."""

    t0_ns: int
    path: PathKind
    stop: Governor | None


class ExpertPlanner:
    """Plans with full knowledge of one world; one planner a rollout.

    Raises:
        InvalidInput: for a world whose scene has no map.
    """

    def __init__(self, world: ProceduralWorld) -> None:
        self._world = world
        self._frame = RouteFrame(world.scene)
        self._forecaster = Forecaster(world, self._frame)
        self._rules = Rules(world.scene, self._frame)
        self._last: _Choice | None = None

    def plan(self, observation: Observation) -> Plan:
        """Return the plan for the world's present instant, up to three candidates, the best one chosen.

        Raises:
            InvalidInput: for an observation of another instant than the world's.
        """
        started_s = time.perf_counter()
        world, t0_us = self._world, observation.t0_ns // 1000
        if t0_us != world.time_us:
            raise InvalidInput(f"expert: expected t0 at the world's time, {world.time_us} us, got {t0_us} us")
        if self._last is not None and observation.t0_ns <= self._last.t0_ns:
            self._rules.reset()
            self._last = None
        speed = speed_from_history(observation.history_xyz_in_rig_t0)
        accel = _accel_from_history(observation)
        pose = observation.rig_pose_in_odom_at_t0
        ego = EgoState(t0_us, pose, (speed, 0.0))
        s, left = self._frame.project_near(pose[:2, 3], ego.yaw_rad)
        heading = _wrapped(ego.yaw_rad - float(self._frame.at(self._frame.yaw_rad, s)))
        start = Start(s, left, heading, speed)

        others = self._forecaster.at(ego)
        regulation = self._rules.at(t0_us, s_m=s, speed_mps=speed)
        ways = find_ways(self._frame, start, others)
        touching = in_path(ways, others)
        wishes, stops = self._wishes(ways, others, touching, regulation)
        drives = simulate(ways, others, touching, wishes, speed_mps=speed, accel_mps2=accel)
        verdict = judge(self._frame, ways, others, wishes, drives, regulation)
        cost = verdict.cost - _KEEP_BONUS * self._kept(ways, wishes, stops)
        order = np.argsort(cost, kind="stable")
        chosen = [int(order[0])]
        for index in order[1:]:
            if len(chosen) == _MAX_CANDIDATES or cost[index] > FORBIDDEN:
                break
            if all(wishes.path[index] != wishes.path[other] for other in chosen):
                chosen.append(int(index))
        best = chosen[0]
        stop = stops[best]
        self._last = _Choice(
            observation.t0_ns, ways.kinds[wishes.path[best]], None if stop is None else stop.governor
        )
        yaw = ego.yaw_rad
        motions = [_motion(ways, wishes, drives, index, yaw_rad=yaw) for index in chosen]
        reasons = [
            sentence(
                self._cause(
                    ways, others, wishes, drives, index=index, stop=stops[index], hit=int(verdict.hits[index])
                )
            )
            for index in chosen
        ]
        return make_plan(
            motions,
            t0_ns=observation.t0_ns,
            reasoning=reasons,
            model=MODEL,
            height_m=[self._heights(motion, pose) for motion in motions],
            total_ms=(time.perf_counter() - started_s) * 1e3,
        )

    def _wishes(
        self, ways: Ways, others: Others, touching: NDArray[np.bool_], regulation: Regulation
    ) -> tuple[Wishes, list[Stop | None]]:
        """Return the proposals of this step, and at what each one stops."""
        front = float(ways.s_m[0]) + FRONT_M
        must = None
        if regulation.sign is not None:
            must = Stop(regulation.sign.s_m - LINE_GAP_M, "sign")
        path: list[int] = []
        share: list[float] = []
        stop_s: list[float] = []
        brake: list[float] = []
        stops: list[Stop | None] = []

        def add(index: int, speed_share: float, stop: Stop | None, brake_mps2: float = float("nan")) -> None:
            if must is not None and (stop is None or stop.s_m > must.s_m):
                stop = must
            path.append(index)
            share.append(speed_share)
            stop_s.append(NO_STOP_M if stop is None else stop.s_m)
            brake.append(brake_mps2)
            stops.append(stop)

        for index in range(len(ways.kinds)):
            for speed_share in SPEED_SHARES:
                add(index, speed_share, None)
            for stop in self._stops(ways, others, touching[index], regulation, index)[:_MAX_STOPS]:
                if stop.s_m > front - 0.5:
                    add(index, 1.0, stop)
        for brake_mps2 in BRAKES_MPS2:
            add(0, 1.0, None, brake_mps2)
        return Wishes(np.array(path), np.array(share), np.array(stop_s), np.array(brake)), stops

    def _stops(
        self, ways: Ways, others: Others, touching: NDArray[np.bool_], regulation: Regulation, path: int
    ) -> list[Stop]:
        """Return where it may be good to stop on one path, the nearest first."""
        front = float(ways.s_m[0]) + FRONT_M
        stops = [
            Stop(signal.line.s_m - LINE_GAP_M, "light")
            for signal in regulation.signals
            if bool(signal.closed.any())
        ]
        across = np.abs(others.heading_cos) < 0.85
        for other in range(len(others)):
            if not touching[other].any() or others.stays[other]:
                continue
            kind = others.kinds[other]
            if across[other] or kind == "pedestrian" or not touching[other, 0]:
                s = float(others.s_low_m[other][touching[other]].min())
                gap = _YIELD_GAP_M.get(kind, _YIELD_GAP_DEFAULT_M)
                governor: Governor = "oncoming" if others.heading_cos[other] < -0.5 else "crossing"
                if governor == "crossing" and others.heading_cos[other] > 0.85 and kind != "pedestrian":
                    continue  # it joins our lane: following does
                stops.append(Stop(s - gap, governor, other))
                stops.extend(self._before(s - gap, governor, other))
            if others.heading_cos[other] < -0.5:
                beyond = ways.body_high_m[path] > self._frame.at(self._frame.lane_left_m, ways.s_m) + 0.1
                if beyond.any():
                    first = float(ways.s_m[int(np.argmax(beyond))])
                    stops.append(Stop(first, "oncoming", other))
        unique: list[Stop] = []
        for stop in sorted(stops, key=lambda each: each.s_m):
            if stop.s_m > front - 0.5 and all(abs(stop.s_m - known.s_m) > 1.0 for known in unique):
                unique.append(stop)
        return unique

    def _before(self, s_m: float, governor: Governor, other: int) -> list[Stop]:
        """Return places to wait before a conflict at s: the crossing's or the junction's beginning."""
        frame = self._frame
        places = [float(low) - 1.0 for low, high in frame.crosswalk_s_m if low - 1.0 < s_m <= high + 4.0]
        index = int(np.clip((s_m - frame.s_m[0]) / 0.5, 0, len(frame.s_m) - 1))
        if frame.in_junction[index]:
            outside = np.flatnonzero(~frame.in_junction[: index + 1])
            if len(outside):
                places.append(float(frame.s_m[outside[-1]]) - 0.5)
        return [Stop(place, governor, other) for place in places]

    def _kept(self, ways: Ways, wishes: Wishes, stops: list[Stop | None]) -> Float64Array:
        """Return 1 for proposals of the same kind as the last choice, ½ for the same path alone."""
        kept = np.zeros(len(wishes))
        if self._last is not None:
            for index, stop in enumerate(stops):
                if ways.kinds[wishes.path[index]] == self._last.path:
                    same = (None if stop is None else stop.governor) == self._last.stop
                    kept[index] = 1.0 if same else 0.5
        return kept

    def _cause(
        self,
        ways: Ways,
        others: Others,
        wishes: Wishes,
        drives: Drives,
        *,
        index: int,
        stop: Stop | None,
        hit: int,
    ) -> Cause:
        """Return what a proposal is about."""
        path = int(wishes.path[index])
        soon = round(_SOON_S / FORECAST_STEP_S)
        s, v = drives.s_m[index], drives.speed_mps[index]
        governor: Governor = "free"
        kind, static = "", False
        if hit >= 0 and not np.isnan(wishes.brake_mps2[index]):
            governor, kind = "collision", others.kinds[hit]
        else:
            leaders = drives.leader[index, :soon]
            led = leaders[leaders != -1]
            if len(led) > soon // 3 or (len(led) and v[soon] < 0.5):
                most = int(np.bincount(led + 2).argmax()) - 2
                if most >= 0 and others.heading_cos[most] < -0.5 and others.kinds[most] != "pedestrian":
                    governor, kind = "oncoming", others.kinds[most]
                elif most == -2 and stop is not None:
                    governor = stop.governor
                    kind = others.kinds[stop.other] if stop.other >= 0 else ""
                else:
                    governor, kind, static = "leader", others.kinds[most], bool(others.is_static[most])
        ahead = ways.index(np.linspace(s[0], max(s[0] + 6.0, s[soon] + 5.0), 24))
        bend = 0
        if governor == "free":
            limited = ways.bend_limited[ahead]
            if limited.any() and v[soon] < 0.95 * float(self._frame.at(self._frame.limit_mps, s[soon])):
                governor = "bend"
                turn = ways.yaw_rad[path, ahead[-1]] - ways.yaw_rad[path, ahead[0]]
                bend = 1 if turn > 0 else -1
        turning = self._frame.turn[
            np.clip(np.searchsorted(self._frame.s_m, ways.s_m[ahead]), 0, len(self._frame.s_m) - 1)
        ]
        turn_side = int(turning[np.argmax(turning != 0)]) if (turning != 0).any() else 0
        side, around = self._nudge(ways, others, path, s_now=float(s[0]), s_soon=float(ways.s_m[ahead[-1]]))
        return Cause(
            governor=governor,
            kind=kind,
            static=static,
            speed_change_mps=float(v[soon] - v[0]),
            speed_mps=float(v[0]),
            stands=bool(v[0] < 0.2),
            stops=bool(v[: soon + 5].min() < 0.3 and v[soon] < 0.5),
            nudge_side=side,
            nudge_kind=around,
            turn=turn_side,
            bend_side=bend,
        )

    @staticmethod
    def _nudge(ways: Ways, others: Others, path: int, *, s_now: float, s_soon: float) -> tuple[int, str]:
        """Return to which side, and around what, a path moves over soon."""
        for nudge in ways.nudges[path]:
            low, high = others.s_low_m[nudge.other, 0], others.s_high_m[nudge.other, 0]
            if nudge.offset_m > 0.15 and s_now - 1.0 < high and low - 12.0 < s_soon:
                return nudge.side, others.kinds[nudge.other]
        return 0, ""

    def _heights(self, motion: Motion, pose: Float64Array) -> Float64Array:
        """Return z [64] of the waypoints in the rig frame: on the terrain."""
        rotation = np.array(pose[:2, :2])
        heading = rotation[:, 0] / np.linalg.norm(rotation[:, 0])
        left = np.array([-heading[1], heading[0]])
        flat = motion.positions()[1:]
        xy = pose[:2, 3] + flat[:, :1] * heading + flat[:, 1:] * left
        ground = self._world.scene.terrain.on_ground(xy)
        rig_from_local = invert(pose)
        return np.asarray(ground @ rig_from_local[2, :3] + rig_from_local[2, 3])


def _motion(ways: Ways, wishes: Wishes, drives: Drives, index: int, *, yaw_rad: float) -> Motion:
    """Return a proposal at the plan's steps of 0.1 s."""
    path = int(wishes.path[index])
    accel = np.repeat(drives.accel_mps2[index], 2)
    speed = np.concatenate([[drives.speed_mps[index, 0]], np.zeros(len(accel))])
    speed[2::2] = drives.speed_mps[index, 1:]
    speed[1::2] = 0.5 * (drives.speed_mps[index, :-1] + drives.speed_mps[index, 1:])
    s, half = drives.s_m[index], 0.5 * FORECAST_STEP_S
    between = s[:-1] + (s[1:] - s[:-1]) * _share(drives, index, half)
    along = np.empty(len(speed))
    along[::2], along[1::2] = s, between
    yaw = np.interp(along, ways.s_m, ways.yaw_rad[path]) - yaw_rad
    yaw -= 2 * np.pi * np.round(yaw[0] / (2 * np.pi))
    yaw[0] = 0.0
    return Motion(accel_mps2=accel, yaw_rad=yaw, speed_mps=speed)


def _share(drives: Drives, index: int, half_s: float) -> Float64Array:
    """Return what part of each interval's way is made in its first half."""
    v = drives.speed_mps[index]
    first = 0.5 * half_s * (1.5 * v[:-1] + 0.5 * v[1:])
    whole = half_s * (v[:-1] + v[1:])
    return np.where(whole > 1e-9, first / np.maximum(whole, 1e-9), 0.5)


def _accel_from_history(observation: Observation) -> float:
    """Return the acceleration in m/s² over the last three poses."""
    steps = np.diff(observation.history_xyz_in_rig_t0[-3:, :2].astype(np.float64), axis=0)
    speeds = np.linalg.norm(steps, axis=1) / HISTORY_INTERVAL_S
    return float((speeds[1] - speeds[0]) / HISTORY_INTERVAL_S)


def _wrapped(angle_rad: float) -> float:
    return float((angle_rad + np.pi) % (2 * np.pi) - np.pi)
