"""A junction as families use it: arms, the ego on arm 0, vehicles on the others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from alpamayo_ros.sim.scene import Prop
from alpamayo_ros.sim.scenes.agents import Agent, StopPoint
from alpamayo_ros.sim.scenes.assembly import Draft
from alpamayo_ros.sim.scenes.driving import FRONT_M
from alpamayo_ros.sim.scenes.junctions import (
    Arm,
    Junction,
    add_junction,
    arm_crossing,
    mouth,
)
from alpamayo_ros.sim.scenes.paths import Path, from_curvature
from alpamayo_ros.sim.scenes.roadmap import Street, start_pose
from alpamayo_ros.sim.scenes.stage import Rng, new_draft, pedestrian, vehicle

CENTRE = (0.0, 0.0)


def arm_line(rng: Rng, yaw: float, length_m: float, distance_m: float | None = None) -> Path:
    """Return the line of an arm: straight for 60 m from its mouth, then bending gently."""
    start = mouth(CENTRE, yaw) if distance_m is None else mouth(CENTRE, yaw, distance_m)
    bend = float(rng.uniform(-0.004, 0.004))
    return from_curvature(start, [(60.0, 0.0, 0.0), (max(20.0, length_m - 60.0), 0.0, bend)])


def cross_streets(
    rng: Rng, angles: list[float], *, limit_mps: float, length_m: float, lanes: list[int]
) -> list[Street]:
    """Return the arms' streets; `lanes` in each direction of each."""
    turned = float(rng.uniform(-np.pi, np.pi))
    return [
        Street(
            f"arm{i}",
            arm_line(rng, turned + angle, length_m),
            lanes[i],
            lanes[i],
            limit_mps,
            open_start=False,
            centre_dashed=False,
        )
        for i, angle in enumerate(angles)
    ]


def inbound_length(draft: Draft, arm: Arm, lane: int = 0) -> float:
    """Return the length of an arm's way in."""
    return sum(draft.builder.paths[i].length_m for i in arm.way_in(lane))


@dataclass(eq=False)
class Crossing:
    """A junction in a draft; the ego comes in on arm 0, `before_m` before the stop line."""

    draft: Draft
    junction: Junction
    speed_mps: float
    before_m: float

    @property
    def rng(self) -> Rng:
        return self.draft.rng

    @property
    def ego_start_s_m(self) -> float:
        """Arc length of the rear axle on the route's path at the start."""
        return self.line_s_m - self.before_m - FRONT_M

    @property
    def line_s_m(self) -> float:
        """Arc length of the stop line on the route's path."""
        return inbound_length(self.draft, self.junction.arms[0])

    def way(self, start: int, end: int) -> tuple[int, int, int]:
        """Return a way through the junction, on the lane that leads there."""
        return next(key for key in self.junction.connections if key[0] == start and key[2] == end)

    def turn(self, start: int, end: int) -> str:
        """Return which way it goes from one arm to another."""
        return self.draft.builder.lanes[self.junction.connections[self.way(start, end)]].turn

    def add(
        self,
        name: str,
        start: int,
        end: int,
        *,
        before_m: float,
        yields: bool,
        stops: tuple[StopPoint, ...] = (),
        speed_mps: float | None = None,
        light_id: str = "",
        hold_s: float = 0.0,
    ) -> str:
        """Add a vehicle whose front is `before_m` before its stop line; returns its id."""
        way = self.way(start, end)
        path = self.draft.builder.path(self.junction.route(*way))
        line = inbound_length(self.draft, self.junction.arms[start], way[1])
        kind, size, variant = vehicle(self.rng)
        cruise = self.speed_mps * float(self.rng.uniform(0.85, 1.0))
        if light_id or hold_s:
            stops = (*stops, StopPoint(line - 0.6, light_id, hold_s))
        self.draft.agents.append(
            Agent(
                name,
                kind,
                size,
                path,
                max(size[0] / 2 + 1.0, line - before_m - size[0] / 2),
                cruise if speed_mps is None else speed_mps,
                cruise,
                stops=stops,
                yields_to_ego=yields,
                variant=variant,
            )
        )
        return name

    def walkers(self, count: int) -> None:
        """Add people who walk along the arms, away from the junction or towards it."""
        arms = self.junction.arms
        for k in range(count):
            street = arms[k % len(arms)].street
            right, onward = bool(self.rng.uniform() < 0.5), bool(self.rng.uniform() < 0.5)
            away = 2.1 if onward else 1.2  # those who meet keep apart
            line = street.line.offset(-(street.right_m + away) if right else street.left_m + away)
            path = line if onward else line.reverse()
            s = float(self.rng.uniform(8.0, 70.0))
            start = s if onward else path.length_m - s
            self.draft.agents.append(
                pedestrian(self.rng, f"walker_{k}", path, start, float(self.rng.uniform(1.0, 1.6)))
            )

    def follow(self) -> None:
        """Add a vehicle behind the ego on the same route."""
        kind, size, variant = vehicle(self.rng, trucks=False)
        gap = float(self.rng.uniform(1.8, 2.6)) * self.speed_mps + 8.0
        start = max(4.0, self.ego_start_s_m - gap)
        self.draft.agents.append(
            Agent(
                "behind",
                kind,
                size,
                self.draft.route_path(),
                start,
                self.speed_mps * 0.95,
                self.speed_mps,
                headway_s=1.6,
                variant=variant,
            )
        )


def crossing(
    rng: Rng,
    angles: list[float],
    *,
    speed_mps: float,
    before_m: float,
    lanes: list[int] | None = None,
    crossings: float = 0.6,
) -> Crossing:
    """Return a draft with a junction of arms at `angles` (the ego's first, ccw), perhaps with zebras."""
    draft = new_draft(rng, grade=0.01, scenery=("city", "suburb")[int(rng.integers(2))])
    draft.fillet_m = float(rng.uniform(7.0, 10.0))
    streets = cross_streets(
        rng, angles, limit_mps=speed_mps * 1.1, length_m=270.0, lanes=lanes or [1] * len(angles)
    )
    junction = add_junction(draft.builder, CENTRE, streets)
    if rng.uniform() < crossings:
        for street in streets:
            arm_crossing(draft.builder, street)
    return Crossing(draft, junction, speed_mps, before_m)


def yield_signs(here: Crossing, arms: list[int]) -> None:
    """Put signs to give way at arms."""
    for index in arms:
        arm = here.junction.arms[index]
        x, y, yaw = start_pose(arm.street.line)
        inward = yaw + np.pi
        side = arm.street.left_m + 0.55
        here.draft.props.append(
            Prop(
                "sign_yield",
                x + side * float(np.sin(inward)),
                y - side * float(np.cos(inward)),
                yaw,
                (0.1, 0.8, 2.4),
            )
        )
        here.draft.builder.stop_line(arm.inbound)
