"""How road users move: along fixed paths, by IDM, gap rules and what regulates them; they react to the ego.

The same code makes the tracks of a scene (with the scripted reference driver as the ego) and runs in a
rollout. Bodies are covered by discs; a body on the way is one whose disc touches the corridor that the follower's
own disc sweeps along its path. IDM: Treiber, Hennecke, Helbing (2000), with the interaction term alone
where the wanted speed is exceeded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.sim.roads import Float64Array, LightColour, TrafficLight
from alpamayo_ros.sim.scene import EGO_BOX_IN_RIG_M, EGO_SIZE_XYZ_M, ActorKind
from alpamayo_ros.sim.scenes.paths import Path

DISCS = 4
GRID_M = 1.0
STEP_S = 0.1
_LOOK_AHEAD_M = 72
_HARDEST_BRAKING = 8.0
_CLEARANCE_M = 0.25
_EGO_CAN_BRAKE = 3.5
_SWEEP_DISCS = 16


@dataclass(frozen=True)
class Trigger:
    """What makes an actor set off: time since the start, or the ego's distance along the route's path."""

    kind: Literal["time", "ego_s"] = "time"
    value: float = 0.0


@dataclass(frozen=True)
class SpeedChange:
    """From `time_s` on, the actor wants `speed_mps` and gets there with at most `rate_mps2`."""

    time_s: float
    speed_mps: float
    rate_mps2: float


@dataclass(frozen=True)
class StopPoint:
    """Where an actor's front stops: for a light (by id), or for `hold_s` at a stop sign."""

    s_m: float
    light_id: str = ""
    hold_s: float = 0.0


@dataclass(frozen=True, eq=False)
class Agent:
    """A road user that moves.

    Attributes:
        actor_id, kind, size_xyz_m, variant: as in ActorSpec.
        path: of its box's centre.
        start_s_m, start_mps: where on the path and how fast it is at the scene's start.
        cruise_mps: what it wants to drive.
        changes: later wishes, by time.
        trigger: None for one that moves from the start.
        stops: where it may have to stop.
        accel_mps2, decel_mps2: what it finds comfortable.
        headway_s, gap_m: how it follows.
        lateral_mps2: how fast it takes curves.
        yields_to_ego: whether it waits for an ego that is about to cross or join its way. One that does not
            has priority; it too stops for an ego that stands or drives in its way.
        margin_s: time by which it wants to be clear of those to whom it gives way.
    """

    actor_id: str
    kind: ActorKind
    size_xyz_m: tuple[float, float, float]
    path: Path
    start_s_m: float
    start_mps: float
    cruise_mps: float
    changes: tuple[SpeedChange, ...] = ()
    trigger: Trigger | None = None
    stops: tuple[StopPoint, ...] = ()
    accel_mps2: float = 1.5
    decel_mps2: float = 2.0
    headway_s: float = 1.4
    gap_m: float = 2.5
    lateral_mps2: float = 2.0
    yields_to_ego: bool = True
    margin_s: float = 1.0
    variant: int = 0

    @property
    def front_m(self) -> float:
        """From the box's centre to its front."""
        return self.size_xyz_m[0] / 2


@dataclass(frozen=True)
class Zone:
    """Where the ways of two road users meet: intervals of arc length on each one's path."""

    mine: tuple[float, float]
    other: tuple[float, float]
    merging: bool


def discs_of(size_xyz_m: tuple[float, float, float]) -> tuple[Float64Array, float]:
    """Return the offsets [DISCS] along the box and the radius of the discs that cover it."""
    radius = size_xyz_m[1] / 2
    reach = max(0.0, size_xyz_m[0] / 2 - radius)
    return np.linspace(-reach, reach, DISCS), radius


def speed_profile(path: Path, lateral_mps2: float, decel_mps2: float, top_mps: float) -> Float64Array:
    """Return the speed [N] every GRID_M that keeps to the lateral acceleration and brakes in time for it."""
    count = int(path.length_m / GRID_M) + 1
    _, _, curvature = path.sample(np.arange(count) * GRID_M)
    limit = np.minimum(np.sqrt(lateral_mps2 / np.maximum(np.abs(curvature), 1e-6)), top_mps)
    for i in range(count - 2, -1, -1):
        reach = np.sqrt(limit[i + 1] ** 2 + 2 * decel_mps2 * GRID_M)
        if limit[i] > reach:
            limit[i] = reach
    return limit


def find_zones(
    mine: Path, other: Path, *, width_m: float, mine_from_m: float, other_from_m: float
) -> list[Zone]:
    """Return where two ways meet, without those on which one follows the other from the start.

    Args:
        mine: my way.
        other: the other's.
        width_m: distance of the two centre lines below which bodies would touch.
        mine_from_m: from where on my way counts.
        other_from_m: from where on the other's counts.
    """
    a_s = np.arange(mine_from_m, mine.length_m, GRID_M)
    b_s = np.arange(other_from_m, other.length_m, GRID_M)
    if not len(a_s) or not len(b_s):
        return []
    a, a_yaw, _ = mine.sample(a_s)
    b, b_yaw, _ = other.sample(b_s)
    apart = (a[:, None, 0] - b[None, :, 0]) ** 2 + (a[:, None, 1] - b[None, :, 1]) ** 2
    touch = apart < width_m**2
    rows = touch.any(axis=1)
    starts = np.flatnonzero(rows & ~np.concatenate([[False], rows[:-1]]))
    zones = []
    for first in starts:
        behind = np.flatnonzero(~rows[first:])
        last = first + int(behind[0]) - 1 if len(behind) else len(rows) - 1
        columns = np.flatnonzero(touch[first : last + 1].any(axis=0))
        low, high = int(columns[0]), int(columns[-1])
        entry = int(np.flatnonzero(touch[first])[0])
        same_way = np.cos(a_yaw[first] - b_yaw[entry]) > 0.3
        if same_way and (first == 0 or low == 0):
            continue
        merging = bool(np.cos(a_yaw[last] - b_yaw[high]) > 0.7 and same_way and last - first > 12)
        if merging:
            last, high = min(last, int(first) + 12), min(high, low + 12)
        zones.append(
            Zone((float(a_s[first]), float(a_s[last])), (float(b_s[low]), float(b_s[high])), merging)
        )
    return zones


def interaction(
    speed_mps: Float64Array | float,
    gap_m: Float64Array | float,
    lead_mps: Float64Array | float,
    *,
    accel_mps2: float | Float64Array,
    decel_mps2: float | Float64Array,
    headway_s: float | Float64Array,
    standstill_m: float | Float64Array,
) -> Float64Array:
    """Return IDM's acceleration towards a leader, without its free-road term."""
    closing = np.asarray(speed_mps) - lead_mps
    wish = standstill_m + np.maximum(
        0.0, speed_mps * headway_s + speed_mps * closing / (2 * np.sqrt(accel_mps2 * decel_mps2))
    )
    return np.asarray(accel_mps2 * (1 - (wish / np.maximum(gap_m, 0.1)) ** 2))


@dataclass(frozen=True, eq=False)
class Bodies:
    """Discs of things on the road: centres [D, 2], radii [D], velocity [D, 2], owner [D]."""

    centre: Float64Array
    radius: Float64Array
    velocity: Float64Array
    owner: NDArray[np.int64]


def first_on_way(
    way_xy: Float64Array, way_yaw: Float64Array, half_width_m: Float64Array, bodies: Bodies
) -> tuple[Float64Array, Float64Array]:
    """Return, for ways sampled every GRID_M, how far each body is along it.

    Args:
        way_xy: [A, W, 2], the ways ahead, each from its owner's centre on.
        way_yaw: [A, W].
        half_width_m: [A].
        bodies: D discs.

    Returns:
        distance [A, D] that the way's owner can go until its disc touches the body's (inf if never), and the
        body's speed along the way there [A, D].
    """
    reach = half_width_m[:, None] + bodies.radius[None, :] + _CLEARANCE_M
    dx = bodies.centre[None, None, :, 0] - way_xy[:, :, None, 0]
    dy = bodies.centre[None, None, :, 1] - way_xy[:, :, None, 1]
    touch = dx * dx + dy * dy < (reach**2)[:, None, :]
    hit = touch.any(axis=1)
    first = touch.argmax(axis=1)
    rows = np.arange(len(way_xy))[:, None]
    columns = np.arange(len(bodies.radius))[None, :]
    cos, sin = np.cos(way_yaw[rows, first]), np.sin(way_yaw[rows, first])
    rest_x, rest_y = dx[rows, first, columns], dy[rows, first, columns]
    along = cos * rest_x + sin * rest_y
    across = cos * rest_y - sin * rest_x
    distance = first * GRID_M + along - np.sqrt(np.maximum(reach**2 - across**2, 0.0))
    speed = cos * bodies.velocity[None, :, 0] + sin * bodies.velocity[None, :, 1]
    # Only who comes straight at one counts as coming; who crosses counts as standing in the way.
    head_on = speed < -0.9 * np.hypot(bodies.velocity[:, 0], bodies.velocity[:, 1])
    speed = np.where(head_on, speed, np.maximum(speed, 0.0))
    return np.where(hit, distance, np.inf), speed


@dataclass(frozen=True)
class EgoMotion:
    """What the traffic sees of the ego: rear axle's x, y, yaw, forward speed."""

    x_m: float
    y_m: float
    yaw_rad: float
    speed_mps: float

    @property
    def centre(self) -> Float64Array:
        """x, y of the box's centre."""
        reach = EGO_BOX_IN_RIG_M[0]
        return np.array([self.x_m + reach * np.cos(self.yaw_rad), self.y_m + reach * np.sin(self.yaw_rad)])


@dataclass(frozen=True, eq=False)
class TrafficScript:
    """All that moves in a scene and what it must know: made once a scene, shared by its rollouts."""

    agents: tuple[Agent, ...]
    lights: tuple[TrafficLight, ...]
    obstacles: Bodies
    ego_path: Path
    """The path of the route (rear axle at lane centre)."""

    def light_colour(self, light_id: str, time_s: float) -> LightColour:
        """Return a light's colour at a time since the scene's start."""
        for light in self.lights:
            if light.light_id == light_id:
                return light.colour_at(time_s)
        raise KeyError(light_id)


EGO_DISCS, EGO_RADIUS_M = discs_of(EGO_SIZE_XYZ_M)


@dataclass(eq=False)
class _Tables:
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
    blocked_s: list[float]
    """By agent: where an obstacle that never moves stands in its way (centre's arc length; inf if none)."""


def empty_bodies() -> Bodies:
    """Return no bodies."""
    return Bodies(np.zeros((0, 2)), np.zeros(0), np.zeros((0, 2)), np.zeros(0, np.int64))


def bodies_at(
    poses: Sequence[tuple[float, float, float]], sizes: Sequence[tuple[float, float, float]]
) -> Bodies:
    """Return the discs of boxes that stand still: (x, y, yaw) of each and its size."""
    if not poses:
        return empty_bodies()
    centres, radii, owners = [], [], []
    for i, ((x, y, yaw), size) in enumerate(zip(poses, sizes, strict=True)):
        offsets, radius = discs_of(size)
        centres.append(np.array([x, y]) + offsets[:, None] * np.array([np.cos(yaw), np.sin(yaw)]))
        radii.append(np.full(DISCS, radius))
        owners.append(np.full(DISCS, i))
    centre = np.concatenate(centres)
    return Bodies(centre, np.concatenate(radii), np.zeros_like(centre), np.concatenate(owners))


def prepare(script: TrafficScript) -> _Tables:
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
    return _Tables(
        way_xy=way_xy,
        way_yaw=way_yaw,
        limits=limits,
        half_width=np.array([a.size_xyz_m[1] / 2 for a in agents]),
        front=np.array([a.front_m for a in agents]),
        disc_offsets=offsets,
        disc_radius=np.array([discs_of(a.size_xyz_m)[1] for a in agents]),
        on_foot=np.array([a.kind == "pedestrian" for a in agents], dtype=np.bool_),
        zones=[_zones_of(script, i) for i in range(len(agents))],
        blocked_s=blocked,
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


@dataclass(frozen=True)
class Approach:
    """One road user as another one judges it at a zone: its centre's arc length, speed, half length."""

    s_m: float
    speed_mps: float
    half_m: float
    likely_mps: float
    """The speed that it may soon have (for one that has just set off)."""


def may_enter(zone: Zone, me: Approach, other: Approach, *, accel_mps2: float, margin_s: float) -> bool:
    """Return whether I can go through a zone before the other comes, or only after it has left."""
    other_out = zone.other[1] + other.half_m
    if other.s_m > other_out:
        return True
    other_speed = max(other.speed_mps, 0.1)
    other_in_m = zone.other[0] - other.half_m - other.s_m
    if other.speed_mps < 0.3 and other_in_m > 1.0:
        # It stands and is not there yet: it counts by the time that it needs to set off.
        other_in_s = np.sqrt(2 * other_in_m / 1.5) + 1.0
    else:
        fast = max(other_speed, other.likely_mps if other_in_m < 60 else other_speed)
        other_in_s = max(other_in_m, 0.0) / fast
    enter_m = max(zone.mine[0] - me.half_m - me.s_m, 0.0)
    leave_m = max(zone.mine[1] + me.half_m - me.s_m, 0.0)
    if zone.merging:
        # Joining: be ahead by a headway, not much slower.
        mine_s = _travel_time(enter_m, me.speed_mps, accel_mps2)
        slower = max(0.0, other_speed - me.speed_mps)
        if mine_s + margin_s + slower * 0.2 < other_in_s:
            return True
    elif _travel_time(leave_m, me.speed_mps, accel_mps2) + margin_s < other_in_s:
        return True
    other_out_s = (other_out - other.s_m) / other_speed
    return other_out_s + margin_s * 0.5 < enter_m / max(me.speed_mps, 0.5)


def _travel_time(distance_m: float, speed_mps: float, accel_mps2: float) -> float:
    """Return how long a distance takes at constant acceleration."""
    return float((np.sqrt(speed_mps**2 + 2 * accel_mps2 * distance_m) - speed_mps) / accel_mps2)


@dataclass(eq=False)
class Traffic:
    """The state of all agents of a script; `step` moves it on.

    Attributes:
        s_m, speed_mps, accel_mps2: [A], of the agents' centres along their paths.
        time_s: since the scene's start.
    """

    script: TrafficScript
    tables: _Tables
    s_m: Float64Array = field(init=False)
    speed_mps: Float64Array = field(init=False)
    accel_mps2: Float64Array = field(init=False)
    started: NDArray[np.bool_] = field(init=False)
    committed: NDArray[np.bool_] = field(init=False)
    held_s: Float64Array = field(init=False)
    time_s: float = 0.0
    ego_s_m: float = 0.0
    ego_mps: float = 0.0

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
        result = np.zeros((len(self.script.agents), 3))
        for i, agent in enumerate(self.script.agents):
            result[i] = agent.path.pose(float(self.s_m[i]))
        return result

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

    def step(self, ego: EgoMotion, duration_s: float = STEP_S) -> None:
        """Move all agents on by `duration_s`, given the ego as it is now."""
        self.locate_ego(ego)
        self.ego_mps = ego.speed_mps
        agents = self.script.agents
        if agents:
            self._start(ego)
            wanted = self._free(agents)
            wanted = np.minimum(wanted, self._following(ego))
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
        accel = np.array([a.accel_mps2 for a in agents])
        return np.clip((wish - self.speed_mps) / 0.6, -rate, np.minimum(accel, np.maximum(rate, 1.0)))

    def _following(self, ego: EgoMotion) -> Float64Array:
        agents = self.script.agents
        bodies = self.bodies(ego)
        sweep = self._sweep(ego)
        count = len(bodies.radius)
        bodies = Bodies(*(np.concatenate(pair) for pair in zip(_fields(bodies), _fields(sweep), strict=True)))
        first = (self.s_m / GRID_M).astype(np.int64)
        span = first[:, None] + np.arange(_LOOK_AHEAD_M)[None, :]
        span = np.minimum(span, self.tables.way_xy.shape[1] - 1)
        rows = np.arange(len(agents))[:, None]
        distance, lead = first_on_way(
            self.tables.way_xy[rows, span], self.tables.way_yaw[rows, span], self.tables.half_width, bodies
        )
        own = bodies.owner[None, :] == np.arange(len(agents))[:, None]
        gap = distance - (self.s_m - first * GRID_M)[:, None]
        gap = gap - (self.tables.front - self.tables.half_width)[:, None]
        gap[own] = np.inf
        gap[~self.tables.on_foot, count:] = np.inf
        # What is abreast or behind does not lead.
        gap[gap < -self.tables.front[:, None] * 1.2] = np.inf
        column = [np.array([getattr(a, name) for a in agents])[:, None] for name in _IDM_FIELDS]
        pull = interaction(
            self.speed_mps[:, None],
            gap,
            lead,
            accel_mps2=column[0],
            decel_mps2=column[1],
            headway_s=column[2],
            standstill_m=column[3],
        )
        pull[~np.isfinite(gap)] = np.inf
        blocked = np.array(self.tables.blocked_s) - self.s_m - (self.tables.front - self.tables.half_width)
        still = interaction(
            self.speed_mps,
            blocked,
            0.0,
            accel_mps2=column[0][:, 0],
            decel_mps2=column[1][:, 0],
            headway_s=column[2][:, 0],
            standstill_m=column[3][:, 0],
        )
        return np.minimum(pull.min(axis=1), still)

    @staticmethod
    def _sweep(ego: EgoMotion) -> Bodies:
        """Return discs over the ground that the ego cannot help reaching: nobody on foot steps there."""
        reach = ego.speed_mps**2 / (2 * _EGO_CAN_BRAKE)
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


def _fields(bodies: Bodies) -> tuple[NDArray[np.generic], ...]:
    return bodies.centre, bodies.radius, bodies.velocity, bodies.owner


_IDM_FIELDS = ("accel_mps2", "decel_mps2", "headway_s", "gap_m")
