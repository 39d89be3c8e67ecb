"""The scripted driver that makes a scene's reference drive.

It keeps to the route's lane centre, shifts aside where its script says so, follows by IDM, takes curves at a
comfortable lateral acceleration, obeys signals and gives way. It knows what the traffic intends. Its pose is
always exactly on a smooth curve with the heading along it, so a kinematic vehicle can drive it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from alpamayo_ros.sim.roads import Float64Array
from alpamayo_ros.sim.scene import EGO_BOX_IN_RIG_M, EGO_SIZE_XYZ_M
from alpamayo_ros.sim.scenes.agents import EgoMotion
from alpamayo_ros.sim.scenes.bodies import (
    EGO_RADIUS_M,
    GRID_M,
    Bodies,
    first_on_way,
    interaction,
    speed_profile,
)
from alpamayo_ros.sim.scenes.driving import FRONT_M, DriverScript, Shift, SlowDown, shift_offsets
from alpamayo_ros.sim.scenes.paths import Path, smooth_step
from alpamayo_ros.sim.scenes.traffic import STEP_S, Traffic
from alpamayo_ros.sim.scenes.zones import Approach, Zone, find_zones, may_enter

_LOOK_AHEAD_M = 90


_ACCEL = 1.6


_DECEL = 2.0


_CURVE_DECEL = 1.5


_JERK = 3.5


_HARD_JERK = 6.5


_LANDING = 0.35


_LATE_BRAKING = 2.8


_ANTICIPATION_S = 1.4


@dataclass(eq=False)
class Driver:
    """The reference driver in one scene; `step` moves it on beside its traffic."""

    script: DriverScript
    traffic: Traffic
    speed_limit: Float64Array
    """[N] m/s every GRID_M of the route's path, as signed."""
    offset: Float64Array = field(init=False)
    s_m: float = field(init=False)
    speed_mps: float = field(init=False)
    accel_mps2: float = 0.0
    held_s: float = 0.0

    def __post_init__(self) -> None:
        self.path: Path = self.traffic.script.ego_path
        self.s_m, self.speed_mps = self.script.start_s_m, self.script.start_mps
        self.offset = shift_offsets(self.path, self.script.shifts)
        self._passed: set[str] = set()
        self._waiting: set[tuple[int, int]] = set()
        self._plan()

    def _plan(self) -> None:
        """Compute the way that is driven, its speed profile and the zones on it, from the offsets."""
        self.way = self.path.offset(self.offset)
        xy = self.path.beside(self.offset)
        length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(xy, axis=0), axis=1))])
        self._way_s = length * (self.way.length_m / length[-1])
        self.way_s_m = self._to_way(self.s_m)
        limits = speed_profile(self.way, self.script.lateral_mps2, _CURVE_DECEL, 60.0)
        at = np.arange(len(limits)) * GRID_M
        route_s = np.interp(at, self._way_s, self.path.s_m)
        wish = np.interp(route_s, np.arange(len(self.speed_limit)) * GRID_M, self.speed_limit)
        wish = np.minimum(wish, self.script.cruise_mps)
        slower: list[SlowDown | Shift] = [*self.script.slow, *self.script.shifts]
        for slow in slower:
            wish = np.where(
                (route_s >= slow.from_m) & (route_s <= slow.to_m), np.minimum(wish, slow.speed_mps), wish
            )
        limits = np.minimum(limits, wish)
        for i in range(len(limits) - 2, -1, -1):
            limits[i] = min(limits[i], np.sqrt(limits[i + 1] ** 2 + 2 * _CURVE_DECEL * GRID_M))
        self._limits = limits
        span = np.arange(len(limits) + _LOOK_AHEAD_M) * GRID_M
        self._grid_xy, self._grid_yaw, _ = self.way.sample(span)
        beyond = np.maximum(0.0, span - self.way.length_m)[:, None]
        self._grid_xy = self._grid_xy + beyond * np.stack(
            [np.cos(self._grid_yaw), np.sin(self._grid_yaw)], axis=-1
        )
        agents = self.traffic.script.agents
        self._judged = np.array([False, *(a.actor_id in self.script.yields_to for a in agents)])
        self._zones: list[tuple[int, list[Zone]]] = []
        for index, agent in enumerate(self.traffic.script.agents):
            if agent.actor_id in self.script.yields_to:
                width = (EGO_SIZE_XYZ_M[1] + agent.size_xyz_m[1]) / 2 + 0.6
                zones = find_zones(
                    self.way,
                    agent.path,
                    width_m=width,
                    mine_from_m=self.way_s_m,
                    other_from_m=float(self.traffic.s_m[index]),
                )
                self._zones.append((index, zones))

    def _to_way(self, route_s_m: float) -> float:
        return float(np.interp(route_s_m, self.path.s_m, self._way_s))

    @property
    def motion(self) -> EgoMotion:
        """What the traffic sees of it now."""
        x, y, yaw = self.way.pose(self.way_s_m)
        return EgoMotion(x, y, yaw, self.speed_mps)

    def step(self) -> None:
        """Drive on for one step; the traffic's state is the present one and is not moved."""
        self._maybe_pass()
        wanted = min(self._free(), self._following(), self._stopping())
        wanted = max(wanted, -6.0)
        if self.speed_mps < 1.8:
            # Come to a stand softly.
            wanted = max(wanted, -(_LANDING + 1.4 * self.speed_mps))
        down = (_HARD_JERK if wanted < -2.8 else _JERK) * STEP_S
        up = (_HARD_JERK if self.accel_mps2 < 0 else _JERK) * STEP_S
        self.accel_mps2 += float(np.clip(wanted - self.accel_mps2, -down, up))
        speed = self.speed_mps + self.accel_mps2 * STEP_S
        if speed <= 0.0 or (speed < 0.02 and self.accel_mps2 < 0.05):
            speed = 0.0
        self.way_s_m += (self.speed_mps + speed) / 2 * STEP_S
        self.s_m = float(np.interp(self.way_s_m, self._way_s, self.path.s_m))
        if speed == 0.0:
            self.accel_mps2 = 0.0
        self.speed_mps = speed

    def _free(self) -> float:
        ahead = self.way_s_m + self.speed_mps * 0.7 + 0.2
        index = min(int(ahead / GRID_M), len(self._limits) - 2)
        part = min(1.0, ahead / GRID_M - index)
        limit = self._limits[index] * (1 - part) + self._limits[index + 1] * part
        return float(np.clip((limit - self.speed_mps) / 0.8, -2.4, _ACCEL))

    def _following(self) -> float:
        bodies = self._merged_bodies()
        if not len(bodies.radius):
            return np.inf
        first = int(self.way_s_m / GRID_M)
        span = np.minimum(first + np.arange(_LOOK_AHEAD_M), len(self._grid_xy) - 1)
        # The box's centre is ahead of the rear axle; its disc runs ahead along the way.
        distance, lead = first_on_way(
            self._grid_xy[None, span], self._grid_yaw[None, span], np.array([EGO_RADIUS_M]), bodies
        )
        gap = distance[0] - (self.way_s_m - first * GRID_M) - (FRONT_M - EGO_RADIUS_M)
        gap[gap < -3.0] = np.inf
        # Those who cross and to whom it gives way are judged by time, where ways meet.
        moving = np.hypot(bodies.velocity[:, 0], bodies.velocity[:, 1])
        gap[self._judged[bodies.owner + 1] & (moving > 0.8) & (lead[0] < 0.5 * moving)] = np.inf
        pull = interaction(
            self.speed_mps,
            gap,
            lead[0],
            accel_mps2=_ACCEL,
            decel_mps2=_DECEL,
            headway_s=self.script.headway_s,
            standstill_m=3.0,
        )
        # No harder than the situation asks for: a short gap to somebody as fast is opened gently.
        closing = np.maximum(self.speed_mps - lead[0], 0.0)
        needed = closing**2 / (2 * np.maximum(gap - 2.5, 0.3))
        pull = np.maximum(pull, -(1.7 + 1.5 * needed))
        pull[~np.isfinite(gap)] = np.inf
        return float(pull.min())

    def _merged_bodies(self) -> Bodies:
        """Bodies that may lead: agents that are not ignored, and what stands on the road."""
        bodies = self._anticipated(self.traffic.bodies())
        ignored = {*self.script.ignores, *self._passed}
        keep = np.array(
            [self.traffic.script.agents[i].actor_id not in ignored for i in bodies.owner], dtype=np.bool_
        )
        still = self.traffic.script.obstacles
        nobody = np.full(len(still.radius), -1)
        return Bodies(
            np.concatenate([bodies.centre[keep], still.centre]) if keep.size else still.centre,
            np.concatenate([bodies.radius[keep], still.radius]) if keep.size else still.radius,
            np.concatenate([bodies.velocity[keep], still.velocity]) if keep.size else still.velocity,
            np.concatenate([bodies.owner[keep], nobody]) if keep.size else nobody,
        )

    def _anticipated(self, bodies: Bodies) -> Bodies:
        """Move the bodies of anticipated agents to where they will be across the way a little later."""
        centre = bodies.centre.copy()
        for index, agent in enumerate(self.traffic.script.agents):
            if agent.actor_id in self.script.anticipates and self.traffic.started[index]:
                s, ahead = (
                    float(self.traffic.s_m[index]),
                    float(self.traffic.speed_mps[index]) * _ANTICIPATION_S,
                )
                now, later = agent.path.pose(s), agent.path.pose(s + ahead)
                back = ahead * np.array([np.cos(now[2]), np.sin(now[2])])
                centre[bodies.owner == index] += np.array(later[:2]) - np.array(now[:2]) - back
        return Bodies(centre, bodies.radius, bodies.velocity, bodies.owner)

    def _stopping(self) -> float:
        gap = min(self._regulated_stop(), self._yield_stop())
        if not np.isfinite(gap):
            return np.inf
        return float(
            interaction(
                self.speed_mps,
                gap,
                0.0,
                accel_mps2=_ACCEL,
                decel_mps2=_DECEL,
                headway_s=0.4,
                standstill_m=0.6,
            )
        )

    def _regulated_stop(self) -> float:
        nearest = np.inf
        for stop in self.script.stops:
            ahead = self._to_way(stop.s_m) - self.way_s_m - FRONT_M
            if ahead < -0.3 or ahead > 90:
                continue
            if stop.light_id:
                colour = self.traffic.script.light_colour(stop.light_id, self.traffic.time_s)
                late = ahead < self.speed_mps**2 / (2 * 2.6)
                if colour == "green" or (colour == "yellow" and late):
                    continue
                nearest = min(nearest, ahead)
            elif self.held_s < stop.hold_s:
                if self.speed_mps < 0.1 and ahead < 2.0:
                    self.held_s += STEP_S
                nearest = min(nearest, ahead)
        return nearest

    def _yield_stop(self) -> float:
        half = EGO_SIZE_XYZ_M[0] / 2
        me = Approach(self.way_s_m + EGO_BOX_IN_RIG_M[0], self.speed_mps, half, self.script.cruise_mps)
        nearest = np.inf
        for index, zones in self._zones:
            agent = self.traffic.script.agents[index]
            other = Approach(
                float(self.traffic.s_m[index]),
                float(self.traffic.speed_mps[index]),
                agent.front_m,
                0.0,
            )
            if not self.traffic.started[index]:
                continue
            for number, zone in enumerate(zones):
                other = replace(other, likely_mps=self.traffic.likely_mps(index, zone.other[0]))
                distance = zone.mine[0] - half - me.s_m
                if distance < -0.5 or distance > 80:
                    continue
                braking_m = self.speed_mps**2 / (2 * _LATE_BRAKING)
                late = self.speed_mps > 0.5 and distance < braking_m + 0.3
                if late and (index, number) not in self._waiting:
                    continue  # has decided to go, and could not stop comfortably any more
                if may_enter(zone, me, other, accel_mps2=_ACCEL, margin_s=self.script.margin_s):
                    self._waiting.discard((index, number))
                else:
                    self._waiting.add((index, number))
                    # At the place to wait, or a little further if that asks for less braking.
                    further = min(distance - 0.4, self.speed_mps**2 / (2 * 2.4) + 0.6)
                    nearest = min(nearest, max(distance - self.script.hold_m, further))
        return float(nearest)

    def _maybe_pass(self) -> None:
        for passing in self.script.passing:
            if passing.actor_id in self._passed or self.traffic.time_s < passing.after_s:
                continue
            agents = self.traffic.script.agents
            index = next(i for i, a in enumerate(agents) if a.actor_id == passing.actor_id)
            their_s = self._place_of(index)
            theirs = float(self.traffic.speed_mps[index])
            gap = their_s - agents[index].front_m - (self.s_m + FRONT_M)
            mean_mps = max(0.75 * self.script.cruise_mps + 0.25 * self.speed_mps, theirs + 2.0)
            # By the end of the ramp the ego must not yet have caught up.
            ramp_m = max(14.0, 2.6 * self.speed_mps)
            ramp_mps = 0.5 * (self.speed_mps + mean_mps)
            if gap > (ramp_mps - theirs) * ramp_m / ramp_mps + 8.0:
                continue
            meet_s = (their_s - self.s_m + 2.0) / (mean_mps - theirs)
            back_s = meet_s + (EGO_SIZE_XYZ_M[0] + agents[index].size_xyz_m[0] + 5.0) / (mean_mps - theirs)
            end = self.s_m + max(mean_mps * back_s, ramp_m + 15.0)
            return_m = max(ramp_m, 2.2 * mean_mps)
            if not self._free_of_oncoming(back_s + 0.5 * return_m / mean_mps + 1.0):
                continue
            start, s = self.s_m + 0.5, self.path.s_m
            self.offset = self.offset + passing.offset_m * (
                smooth_step(s, start, start + ramp_m) - smooth_step(s, end, end + return_m)
            )
            self._passed.add(passing.actor_id)
            self._plan()

    def _place_of(self, index: int) -> float:
        """Return where on the route's path an agent is."""
        agent = self.traffic.script.agents[index]
        x, y, _ = agent.path.pose(float(self.traffic.s_m[index]))
        return self.path.project(np.array([x, y]), self.s_m - 30, to_m=self.s_m + 350)[0]

    def _free_of_oncoming(self, for_s: float) -> bool:
        """Return whether nobody comes the other way within `for_s` seconds at present speeds."""
        poses = self.traffic.poses()
        for index, agent in enumerate(self.traffic.script.agents):
            place = self._place_of(index)
            _, yaw, _ = self.path.sample(np.array(place))
            if agent.kind == "pedestrian" or np.cos(poses[index, 2] - float(yaw)) > -0.5:
                continue
            ahead = place - self.s_m
            if -4.0 < ahead < (self.script.cruise_mps + float(self.traffic.speed_mps[index])) * for_s + 8.0:
                return False
        return True


def drive(driver: Driver, steps: int) -> tuple[list[EgoMotion], list[Float64Array], list[Float64Array]]:
    """Drive for `steps` steps; return ego motions, agents' poses [A, 3] and speeds [A], steps + 1 of each."""
    motions, poses, speeds = [driver.motion], [driver.traffic.poses()], [driver.traffic.speed_mps.copy()]
    for _ in range(steps):
        before = driver.motion
        driver.step()
        driver.traffic.step(before)
        motions.append(driver.motion)
        poses.append(driver.traffic.poses())
        speeds.append(driver.traffic.speed_mps.copy())
    return motions, poses, speeds
