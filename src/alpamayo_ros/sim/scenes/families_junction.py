"""Families about junctions: turns, lights, stop signs, roundabouts."""

from __future__ import annotations

import numpy as np

from alpamayo_ros.sim.scenes.assembly import Draft
from alpamayo_ros.sim.scenes.driver import DriverScript
from alpamayo_ros.sim.scenes.junctions import Arm, Junction, add_junction, mouth
from alpamayo_ros.sim.scenes.paths import Path, from_curvature
from alpamayo_ros.sim.scenes.roadmap import Street
from alpamayo_ros.sim.scenes.stage import Rng, new_draft, vehicle
from alpamayo_ros.sim.scenes.traffic import Agent

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


def junction_traffic(
    draft: Draft,
    junction: Junction,
    ways: list[tuple[int, int, int]],
    *,
    before_mouth_m: list[float],
    speed_mps: float,
    yields: bool,
    prefix: str = "cross",
) -> list[Agent]:
    """Add a vehicle on each of `ways` (from arm, lane, to arm), its front so far before the stop line."""
    added = []
    for k, (way, before) in enumerate(zip(ways, before_mouth_m, strict=True)):
        lanes = junction.route(*way)
        path = draft.builder.path(lanes)
        inbound = sum(
            draft.builder.paths[i].length_m for i in junction.arms[way[0]].way_in(way[1])
        )
        kind, size, variant = vehicle(draft.rng)
        speed = float(speed_mps * draft.rng.uniform(0.85, 1.0))
        agent = Agent(
            f"{prefix}_{k}",
            kind,
            size,
            path,
            max(3.0, inbound - before - size[0] / 2),
            speed,
            speed,
            yields_to_ego=yields,
            variant=variant,
        )
        draft.agents.append(agent)
        added.append(agent)
    return added


def inbound_length(draft: Draft, arm: Arm, lane: int = 0) -> float:
    """Return the length of an arm's way in."""
    return sum(draft.builder.paths[i].length_m for i in arm.way_in(lane))


def junction_4way(rng: Rng) -> Draft:
    """A crossing of four streets; the route turns left, right or goes straight on."""
    draft = new_draft(rng, grade=0.01, scenery=("city", "suburb")[int(rng.integers(2))])
    speed = float(rng.uniform(9, 13))
    skew = float(rng.uniform(-0.12, 0.12))
    streets = cross_streets(
        rng,
        [-np.pi / 2, skew, np.pi / 2, np.pi + skew],
        limit_mps=speed * 1.1,
        length_m=260.0,
        lanes=[1, 1, 1, 1],
    )
    junction = add_junction(draft.builder, CENTRE, streets)
    draft.fillet_m = 9.0
    out = int(rng.integers(1, 4))
    draft.route = junction.route(0, 0, out)
    before = float(rng.uniform(50, 95))
    draft.driver = DriverScript(
        inbound_length(draft, junction.arms[0]) - before - 3.9, speed * 0.95, speed, yields_to=("cross_0",)
    )
    # From the opposite arm straight on: has priority over the ego that turns left.
    junction_traffic(
        draft,
        junction,
        [(2, 0, 0)],
        before_mouth_m=[float(rng.uniform(30, 100))],
        speed_mps=speed,
        yields=False,
    )
    junction_traffic(
        draft,
        junction,
        [(1, 0, 3), (3, 0, 1)],
        before_mouth_m=[float(rng.uniform(20, 60)), float(rng.uniform(20, 60))],
        speed_mps=speed * 0.8,
        yields=True,
        prefix="side",
    )
    turn = ("right", "straight", "left")[out - 1]
    draft.description = f"A four-way junction; the route goes {turn}."
    draft.events = [f"junction_{turn}"]
    return draft
