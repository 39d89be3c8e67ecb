"""How road users move: along fixed paths, by IDM, gap rules and what regulates them; they react to the ego.

The same code makes the tracks of a scene (with the scripted reference driver as the ego) and runs in a
rollout. IDM: Treiber, Hennecke, Helbing (2000), with a first-order term in place of its free-road one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.sim.roads import Float64Array
from alpamayo_ros.sim.scene import EGO_BOX_IN_RIG_M, EGO_SIZE_XYZ_M
from alpamayo_ros.sim.scenes.agents import Agent, EgoMotion, TrafficScript
from alpamayo_ros.sim.scenes.bodies import (
    DISCS,
    EGO_DISCS,
    EGO_RADIUS_M,
    GRID_M,
    Bodies,
    discs_of,
    first_on_way,
    interaction,
    speed_profile,
)
from alpamayo_ros.sim.scenes.zones import Approach, Zone, find_zones, may_enter

STEP_S = 0.1


_LOOK_AHEAD_M = 72


_HARDEST_BRAKING = 8.0


EGO_CAN_BRAKE_MPS2 = 3.5
"""What people on foot count on: they do not step where the ego could only stop harder than this."""


_SWEEP_DISCS = 16


_IDM_ATTRIBUTES = {
    "accel_mps2": "accel_mps2",
    "decel_mps2": "decel_mps2",
    "headway_s": "headway_s",
    "standstill_m": "gap_m",
}


@dataclass(eq=False)
class Tables:
    """What can be computed before the first step."""

    way_xy: Float64Array
    way_yaw: Float64Array
    limits: Float64Array
    half_width: Float64Array
    front: Float64Array
    disc_offsets: Float64Array
    disc_radius: Float64Array
    zones: list[list[tuple[int, list[Zone]]]]
    """By agent: (index of the one to yield to, -1 for the ego; zones)."""
    on_foot: NDArray[np.bool_]
    blocked_s: Float64Array
    """By agent: where an obstacle that never moves stands in its way (centre's arc length; inf if none)."""
    idm: dict[str, Float64Array]
    """By name of interaction()'s parameters: each agent's."""


def prepare(script: TrafficScript) -> Tables:
    """Compute the tables of a script."""
    agents = script.agents
    counts = [int(agent.path.length_m / GRID_M) + 1 for agent in agents]
    size = max(counts, default=1) + _LOOK_AHEAD_M + 1
    way_xy = np.zeros((len(agents), size, 2))
    way_yaw = np.zeros((len(agents), size))
    limits = np.zeros((len(agents), size))
    blocked = []
    for i, agent in enumerate(agents):
        s = np.arange(size) * GRID_M
        way_xy[i], way_yaw[i], _ = agent.path.sample(s)
        beyond = np.maximum(0.0, s - agent.path.length_m)[:, None]
        way_xy[i] += beyond * np.stack([np.cos(way_yaw[i]), np.sin(way_yaw[i])], axis=-1)
        profile = speed_profile(agent.path, agent.lateral_mps2, agent.decel_mps2, 60.0)
        limits[i, : len(profile)] = profile
        limits[i, len(profile) :] = profile[-1]
        blocked.append(_blocked(agent, way_xy[i], way_yaw[i], script.obstacles))
    offsets = np.stack([discs_of(a.size_xyz_m)[0] for a in agents]) if agents else np.zeros((0, DISCS))
    return Tables(
        way_xy=way_xy,
        way_yaw=way_yaw,
        limits=limits,
        half_width=np.array([a.size_xyz_m[1] / 2 for a in agents]),
        front=np.array([a.front_m for a in agents]),
        disc_offsets=offsets,
        disc_radius=np.array([discs_of(a.size_xyz_m)[1] for a in agents]),
        on_foot=np.array([a.kind == "pedestrian" for a in agents], dtype=np.bool_),
        zones=[_zones_of(script, i) for i in range(len(agents))],
        blocked_s=np.array(blocked),
        idm={
            name: np.array([getattr(agent, attribute) for agent in agents])
            for name, attribute in _IDM_ATTRIBUTES.items()
        },
    )


def _blocked(agent: Agent, way_xy: Float64Array, way_yaw: Float64Array, obstacles: Bodies) -> float:
    if not len(obstacles.radius):
        return float(np.inf)
    first = int(agent.start_s_m / GRID_M)
    half = np.array([agent.size_xyz_m[1] / 2])
    distance, _ = first_on_way(way_xy[None, first:], way_yaw[None, first:], half, obstacles)
    return float(distance.min()) + first * GRID_M


def _zones_of(script: TrafficScript, index: int) -> list[tuple[int, list[Zone]]]:
    """Zones in which agent `index` yields: to agents before it in the list, and to the ego if it does."""
    mine = script.agents[index]
    result: list[tuple[int, list[Zone]]] = []
    if mine.yields_to_ego:
        width = (mine.size_xyz_m[1] + EGO_SIZE_XYZ_M[1]) / 2 + 0.5
        zones = find_zones(
            mine.path, script.ego_path, width_m=width, mine_from_m=mine.start_s_m, other_from_m=0.0
        )
        if zones:
            result.append((-1, zones))
    for j, other in enumerate(script.agents[:index]):
        width = (mine.size_xyz_m[1] + other.size_xyz_m[1]) / 2 + 0.5
        zones = find_zones(
            mine.path, other.path, width_m=width, mine_from_m=mine.start_s_m, other_from_m=other.start_s_m
        )
        if zones:
            result.append((j, zones))
    return result


@dataclass(eq=False)
class Traffic:
    """The state of all agents of a script; `step` moves it on.

    Attributes:
        s_m, speed_mps, accel_mps2: [A], of the agents' centres along their paths.
        time_s: since the scene's start.
    """

    script: TrafficScript
    tables: Tables
    s_m: Float64Array = field(init=False)
    speed_mps: Float64Array = field(init=False)
    accel_mps2: Float64Array = field(init=False)
    started: NDArray[np.bool_] = field(init=False)
    committed: NDArray[np.bool_] = field(init=False)
    held_s: Float64Array = field(init=False)
    time_s: float = 0.0
    ego_s_m: float = 0.0
    ego_mps: float = 0.0
    _poses: Float64Array | None = None
    """Of the present step, once somebody has asked."""

    def __post_init__(self) -> None:
        agents = self.script.agents
        self.s_m = np.array([a.start_s_m for a in agents])
        self.speed_mps = np.array([a.start_mps if a.trigger is None else 0.0 for a in agents])
        self.accel_mps2 = np.zeros(len(agents))
        self.started = np.array([a.trigger is None for a in agents], dtype=np.bool_)
        self.committed = np.zeros(len(agents), dtype=np.bool_)
        self.held_s = np.zeros(len(agents))

    def copy(self) -> Traffic:
        """Return an independent copy (the script and its tables are shared)."""
        other = Traffic(self.script, self.tables)
        for name in ("s_m", "speed_mps", "accel_mps2", "started", "committed", "held_s"):
            setattr(other, name, getattr(self, name).copy())
        other.time_s, other.ego_s_m, other.ego_mps = self.time_s, self.ego_s_m, self.ego_mps
        return other

    def poses(self) -> Float64Array:
        """Return x, y, yaw [A, 3] of the agents' centres."""
        if self._poses is None:
            agents = zip(self.script.agents, self.s_m.tolist(), strict=True)
            self._poses = np.array([agent.path.pose(s_m) for agent, s_m in agents]).reshape(-1, 3)
        return self._poses

    def bodies(self, ego: EgoMotion | None = None) -> Bodies:
        """Return the discs of the agents (owner: index) and of the ego (owner -1)."""
        poses = self.poses()
        heading = np.stack([np.cos(poses[:, 2]), np.sin(poses[:, 2])], axis=-1)
        centre = poses[:, None, :2] + self.tables.disc_offsets[..., None] * heading[:, None]
        velocity = np.repeat(heading * self.speed_mps[:, None], DISCS, axis=0)
        owner = np.repeat(np.arange(len(poses)), DISCS)
        radius = np.repeat(self.tables.disc_radius, DISCS)
        flat = centre.reshape(-1, 2)
        if ego is None:
            return Bodies(flat, radius, velocity, owner)
        forward = np.array([np.cos(ego.yaw_rad), np.sin(ego.yaw_rad)])
        ego_discs = ego.centre + EGO_DISCS[:, None] * forward
        return Bodies(
            np.concatenate([flat, ego_discs]),
            np.concatenate([radius, np.full(DISCS, EGO_RADIUS_M)]),
            np.concatenate([velocity, np.tile(forward * ego.speed_mps, (DISCS, 1))]),
            np.concatenate([owner, np.full(DISCS, -1)]),
        )

    def locate_ego(self, ego: EgoMotion) -> None:
        """Find the ego on the route's path, near where it was."""
        self.ego_s_m, _ = self.script.ego_path.project(
            np.array([ego.x_m, ego.y_m]), self.ego_s_m - 10.0, to_m=self.ego_s_m + 30.0
        )

    def step(
        self, ego: EgoMotion, duration_s: float = STEP_S, *, seen_on_foot: EgoMotion | None = None
    ) -> None:
        """Move all agents on by `duration_s`, given the ego as it is now.

        `seen_on_foot` is the ego as people on foot see it, where that is not the same.
        """
        self.locate_ego(ego)
        self.ego_mps = ego.speed_mps
        agents = self.script.agents
        if agents:
            self._start(ego)
            wanted = self._free(agents)
            wanted = np.minimum(wanted, self._following(ego, seen_on_foot))
            for i, agent in enumerate(agents):
                gap = self._stop_distance(i, agent, ego, duration_s)
                if gap < np.inf:
                    wanted[i] = min(wanted[i], self._towards_stop(agent, float(self.speed_mps[i]), gap))
            wanted = np.clip(wanted, -_HARDEST_BRAKING, None)
            wanted[~self.started] = 0.0
            speed = np.maximum(0.0, self.speed_mps + wanted * duration_s)
            speed[(speed < 0.08) & (wanted <= 0)] = 0.0
            self.s_m = self.s_m + (self.speed_mps + speed) / 2 * duration_s
            self.accel_mps2 = (speed - self.speed_mps) / duration_s
            self.speed_mps = speed
            for i, agent in enumerate(agents):
                if self.s_m[i] > agent.path.length_m:
                    self.s_m[i], self.speed_mps[i] = agent.path.length_m, 0.0
            self._poses = None
        self.time_s += duration_s

    def likely_mps(self, index: int, to_m: float) -> float:
        """Return the speed that an agent is likely to have on its way to a place on its path."""
        limits, last = self.tables.limits[index], self.tables.limits.shape[1] - 1
        here, there = (limits[min(max(int(s / GRID_M), 0), last)] for s in (float(self.s_m[index]), to_m))
        return float(min(self.script.agents[index].cruise_mps, (here + there) / 2))

    def _start(self, ego: EgoMotion) -> None:
        for i, agent in enumerate(self.script.agents):
            if self.started[i] or agent.trigger is None:
                continue
            now = self.time_s if agent.trigger.kind == "time" else self.ego_s_m
            if now + 1e-9 >= agent.trigger.value:
                self.started[i] = True
                self.speed_mps[i] = agent.start_mps

    def _free(self, agents: Sequence[Agent]) -> Float64Array:
        wish = np.zeros(len(agents))
        rate = np.zeros(len(agents))
        for i, agent in enumerate(agents):
            wish[i], rate[i] = agent.cruise_mps, agent.decel_mps2
            for change in agent.changes:
                if self.time_s + 1e-9 >= change.time_s:
                    wish[i], rate[i] = change.speed_mps, change.rate_mps2
            ahead = int((self.s_m[i] + self.speed_mps[i] * 0.5) / GRID_M)
            limit = float(self.tables.limits[i, min(ahead, self.tables.limits.shape[1] - 1)])
            if limit < wish[i]:
                wish[i], rate[i] = limit, max(rate[i], 2.5)
        most = np.minimum(self.tables.idm["accel_mps2"], np.maximum(rate, 1.0))
        return np.clip((wish - self.speed_mps) / 0.6, -rate, most)

    def _following(self, ego: EgoMotion, seen_on_foot: EgoMotion | None) -> Float64Array:
        bodies = self.bodies(ego)
        gap, lead = self._gaps(np.arange(len(self.s_m)), bodies)
        own = bodies.owner[None, :] == np.arange(len(self.s_m))[:, None]
        gap[own] = np.inf
        if seen_on_foot is not None:
            gap[self.tables.on_foot, -DISCS:] = np.inf  # the ego's own discs
        columns = {name: values[:, None] for name, values in self.tables.idm.items()}
        pull = interaction(self.speed_mps[:, None], gap, lead, **columns)
        pull[~np.isfinite(gap)] = np.inf
        nearest = pull.min(axis=1)
        on_foot = np.flatnonzero(self.tables.on_foot)
        if len(on_foot):
            gap, lead = self._gaps(on_foot, self._sweep(ego if seen_on_foot is None else seen_on_foot))
            columns = {name: values[on_foot] for name, values in columns.items()}
            pull = interaction(self.speed_mps[on_foot, None], gap, lead, **columns)
            pull[~np.isfinite(gap)] = np.inf
            nearest[on_foot] = np.minimum(nearest[on_foot], pull.min(axis=1))
        blocked = self.tables.blocked_s - self.s_m - (self.tables.front - self.tables.half_width)
        still = interaction(self.speed_mps, blocked, 0.0, **self.tables.idm)
        return np.minimum(nearest, still)

    def _gaps(self, rows: NDArray[np.int64], bodies: Bodies) -> tuple[Float64Array, Float64Array]:
        """Return how far some agents [R] can go before they touch bodies [D], and their speeds: [R, D] each.

        A gap is infinite where that never happens, and to what is abreast or behind: that does not lead.
        """
        tables = self.tables
        first = (self.s_m[rows] / GRID_M).astype(np.int64)
        span = first[:, None] + np.arange(_LOOK_AHEAD_M)[None, :]
        span = np.minimum(span, tables.way_xy.shape[1] - 1)
        way = rows[:, None], span
        half_m = tables.half_width[rows]
        distance, lead = first_on_way(tables.way_xy[way], tables.way_yaw[way], half_m, bodies)
        gap = distance - (self.s_m[rows] - first * GRID_M)[:, None]
        gap = gap - (tables.front[rows] - half_m)[:, None]
        gap[gap < -tables.front[rows, None] * 1.2] = np.inf
        return gap, lead

    @staticmethod
    def _sweep(ego: EgoMotion) -> Bodies:
        """Return discs over the ground that the ego cannot help reaching: nobody on foot steps there."""
        reach = ego.speed_mps**2 / (2 * EGO_CAN_BRAKE_MPS2)
        ahead = np.linspace(0.0, reach, _SWEEP_DISCS) + EGO_SIZE_XYZ_M[0] / 2 - EGO_RADIUS_M
        forward = np.array([np.cos(ego.yaw_rad), np.sin(ego.yaw_rad)])
        return Bodies(
            ego.centre + ahead[:, None] * forward,
            np.full(_SWEEP_DISCS, EGO_RADIUS_M),
            np.tile(forward * ego.speed_mps, (_SWEEP_DISCS, 1)),
            np.full(_SWEEP_DISCS, -1),
        )

    @staticmethod
    def _towards_stop(agent: Agent, speed_mps: float, gap_m: float) -> float:
        return float(
            interaction(
                speed_mps,
                gap_m,
                0.0,
                accel_mps2=agent.accel_mps2,
                decel_mps2=agent.decel_mps2,
                headway_s=0.3,
                standstill_m=0.5,
            )
        )

    def _stop_distance(self, index: int, agent: Agent, ego: EgoMotion, duration_s: float) -> float:
        """Return how far the agent's front is from where it must stop now; inf if nowhere."""
        nearest = np.inf
        speed = float(self.speed_mps[index])
        front = float(self.s_m[index]) + agent.front_m
        for stop in agent.stops:
            ahead = stop.s_m - front
            if ahead < -0.5 or ahead > 70:
                continue
            if stop.light_id:
                colour = self.script.light_colour(stop.light_id, self.time_s)
                late = ahead < speed**2 / (2 * 3.0)
                if colour == "red" and ahead < speed**2 / (2 * 5.0):
                    continue
                if colour == "green" or (colour == "yellow" and late):
                    continue
                nearest = min(nearest, ahead)
            elif self.held_s[index] < stop.hold_s:
                if speed < 0.15 and ahead < 2.5:
                    self.held_s[index] += duration_s
                nearest = min(nearest, ahead)
        return min(nearest, self._yield_distance(index, agent, ego))

    def _yield_distance(self, index: int, agent: Agent, ego: EgoMotion) -> float:
        me = Approach(float(self.s_m[index]), float(self.speed_mps[index]), agent.front_m, agent.cruise_mps)
        nearest = np.inf
        for j, zones in self.tables.zones[index]:
            if j < 0:
                # The rear axle is on the route; the box's centre is ahead of it.
                other = Approach(
                    self.ego_s_m + EGO_BOX_IN_RIG_M[0], ego.speed_mps, EGO_SIZE_XYZ_M[0] / 2, ego.speed_mps
                )
            else:
                them = self.script.agents[j]
                if not self.started[j]:
                    continue
                other = Approach(float(self.s_m[j]), float(self.speed_mps[j]), them.front_m, 0.0)
            for zone in zones:
                if j >= 0:
                    other = replace(other, likely_mps=self.likely_mps(j, zone.other[0]))
                distance = zone.mine[0] - me.half_m - me.s_m
                if distance < 0 or distance > 60:
                    continue
                if distance < me.speed_mps**2 / (2 * 5.0):
                    continue  # too late to stop: go on
                if not may_enter(zone, me, other, accel_mps2=agent.accel_mps2, margin_s=agent.margin_s):
                    nearest = min(nearest, distance - 1.0)
        return float(nearest)
