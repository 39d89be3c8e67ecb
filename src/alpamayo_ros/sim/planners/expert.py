"""The privileged expert: the ceiling of our scores, and the teacher later.

It knows the map, every road user's place and coming way, the programmes of the lights. At each step it
lays paths along the route (paths.py), drives each of them forward at several wishes (proposals.py), takes
what costs least (judge.py), and says why (causes.py). The scheme is PDM-Closed's: Dauner et al., "Parting
with Misconceptions about Learning-based Vehicle Motion Planning", 2023.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.sensing.rigid import invert
from alpamayo_ros.sim.planners.causes import cause_of
from alpamayo_ros.sim.planners.forecast import FORECAST_STEP_S, Forecaster, Others
from alpamayo_ros.sim.planners.judge import FORBIDDEN, judge
from alpamayo_ros.sim.planners.motion import Motion, make_plan, speed_from_history
from alpamayo_ros.sim.planners.paths import PathKind, Start, Ways, find_ways
from alpamayo_ros.sim.planners.proposals import NO_STOP_M, Drives, Wishes, in_path, simulate
from alpamayo_ros.sim.planners.reasons import Cause, Governor
from alpamayo_ros.sim.planners.route_frame import RouteFrame
from alpamayo_ros.sim.planners.rules import LINE_GAP_M, Regulation, Rules
from alpamayo_ros.sim.planners.stops import Stop, find_stops
from alpamayo_ros.sim.planners.wording import sentence
from alpamayo_ros.sim.roads import Float64Array
from alpamayo_ros.sim.state import EgoState
from alpamayo_ros.sim.world import ProceduralWorld
from alpamayo_ros.types import HISTORY_INTERVAL_S, InvalidInput, Observation, Plan

MODEL = "expert"
SPEED_SHARES = (1.0, 0.85, 0.65, 0.4, 0.2)
BRAKES_MPS2 = (3.0, 5.0, 7.5)
_KEEP_BONUS = 3.0
_MAX_CANDIDATES = 3


@dataclass(frozen=True)
class _Choice:
    """What was chosen at the last step, so that the next one does not waver."""

    t0_ns: int
    path: PathKind
    stop: Governor | None
    governor: Governor


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
        self._causes: tuple[Cause, ...] = ()

    @property
    def causes(self) -> tuple[Cause, ...]:
        """What the candidates of the last plan are about, one each; none before the first plan."""
        return self._causes

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
        causes = tuple(
            cause_of(
                self._frame,
                ways,
                others,
                wishes=wishes,
                drives=drives,
                index=index,
                stop=stops[index],
                hit=int(verdict.hits[index]),
                regulation=regulation,
                last=None if self._last is None else self._last.governor,
            )
            for index in chosen
        )
        self._causes = causes
        self._last = _Choice(
            observation.t0_ns,
            ways.kinds[wishes.path[best]],
            stop=None if stop is None else stop.governor,
            governor=causes[0].governor,
        )
        motions = [_motion(ways, wishes, drives, index, yaw_rad=ego.yaw_rad) for index in chosen]
        return make_plan(
            motions,
            t0_ns=observation.t0_ns,
            reasoning=[sentence(cause) for cause in causes],
            model=MODEL,
            height_m=[self._heights(motion, pose) for motion in motions],
            total_ms=(time.perf_counter() - started_s) * 1e3,
        )

    def _wishes(
        self, ways: Ways, others: Others, touching: NDArray[np.bool_], regulation: Regulation
    ) -> tuple[Wishes, list[Stop | None]]:
        """Return the proposals of this step, and at what each one stops."""
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
            for stop in find_stops(
                self._frame, ways, others, touching=touching[index], regulation=regulation, path=index
            ):
                add(index, 1.0, stop)
        for brake_mps2 in BRAKES_MPS2:
            add(0, 1.0, None, brake_mps2)
        return Wishes(np.array(path), np.array(share), np.array(stop_s), np.array(brake)), stops

    def _kept(self, ways: Ways, wishes: Wishes, stops: list[Stop | None]) -> Float64Array:
        """Return 1 for proposals of the same kind as the last choice, ½ for the same path alone."""
        kept = np.zeros(len(wishes))
        if self._last is not None:
            for index, stop in enumerate(stops):
                if ways.kinds[wishes.path[index]] == self._last.path:
                    same = (None if stop is None else stop.governor) == self._last.stop
                    kept[index] = 1.0 if same else 0.5
        return kept

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
