"""Families about the road ahead and what stands or drives on it: no junctions."""

from __future__ import annotations

import numpy as np

from alpamayo_ros.sim.scenes.assembly import Draft, Obstacle
from alpamayo_ros.sim.scenes.driver import DriverScript, Shift
from alpamayo_ros.sim.scenes.stage import (
    AHEAD_M,
    BEHIND_M,
    CONE,
    DRIVE_S,
    Rng,
    follower,
    gentle,
    leader,
    main_street,
    new_draft,
    oncoming_traffic,
)
from alpamayo_ros.sim.scenes.traffic import SpeedChange


def _length(speed_mps: float) -> float:
    return BEHIND_M + speed_mps * DRIVE_S + AHEAD_M


def straight(rng: Rng) -> Draft:
    """A straight road with ordinary traffic."""
    draft = new_draft(rng)
    speed = float(rng.uniform(10, 22))
    lanes = int(rng.integers(1, 3))
    stage = main_street(
        draft, gentle(rng, _length(speed), tightest=0.0006), limit_mps=speed * 1.05, forward=lanes, backward=lanes
    )
    draft.driver = DriverScript(BEHIND_M, speed * float(rng.uniform(0.85, 1.0)), speed)
    oncoming_traffic(stage, count=4, first_m=70, spacing_m=70, speed_mps=speed)
    if rng.uniform() < 0.6:
        follower(stage, start_s_m=BEHIND_M, speed_mps=draft.driver.start_mps)
    if rng.uniform() < 0.5:
        leader(
            stage,
            start_s_m=BEHIND_M,
            gap_m=float(rng.uniform(2.0, 4.0)) * speed,
            speed_mps=speed * float(rng.uniform(0.9, 1.0)),
        )
    draft.description = "A straight road with ordinary traffic."
    draft.events = ["keep_lane"]
    return draft


def curve(rng: Rng) -> Draft:
    """One curve to either side, taken at a comfortable speed."""
    draft = new_draft(rng)
    speed = float(rng.uniform(10, 17))
    radius = float(rng.uniform(40, 160))
    turn = float(rng.choice([-1.0, 1.0]))
    angle = float(rng.uniform(np.radians(40), np.radians(100)))
    entry = min(45.0, radius * 0.6)
    arc = max(5.0, radius * angle - entry)
    before = BEHIND_M + float(rng.uniform(40, 80))
    k = turn / radius
    pieces = [
        (before, 0.0, 0.0),
        (entry, 0.0, k),
        (arc, k, k),
        (entry, k, 0.0),
        (_length(speed) - before, 0.0, 0.0),
    ]
    lanes = int(rng.integers(1, 3))
    stage = main_street(draft, pieces, limit_mps=speed * 1.05, forward=lanes, backward=lanes)
    draft.driver = DriverScript(BEHIND_M, speed * 0.95, speed)
    oncoming_traffic(stage, count=3, first_m=80, spacing_m=80, speed_mps=speed)
    if rng.uniform() < 0.6:
        follower(stage, start_s_m=BEHIND_M, speed_mps=draft.driver.start_mps)
    side = "left" if turn > 0 else "right"
    draft.description = f"The road curves to the {side} with a radius of {radius:.0f} m."
    draft.events = [f"curve_{side}"]
    return draft


def cones(rng: Rng) -> Draft:
    """Construction cones close a part of the lane; the ego moves over and slows down."""
    draft = new_draft(rng)
    speed = float(rng.uniform(9, 14))
    stage = main_street(
        draft, gentle(rng, _length(speed)), limit_mps=speed * 1.1, shoulder_m=1.0
    )
    begin = BEHIND_M + float(rng.uniform(70, 120))
    taper, works = float(rng.uniform(15, 25)), float(rng.uniform(15, 40))
    depth = float(rng.uniform(0.9, 2.1))  # how much of the lane is closed, from its right edge
    edge = -1.75  # of the lane, from its centre
    places = []
    for s in np.arange(0.0, taper, 3.0):
        places.append((begin + s, edge - 0.2 + (depth + 0.2) * s / taper))
    for s in np.arange(taper, taper + works, 4.0):
        places.append((begin + s, edge + depth))
    for s in np.arange(3.0, 10.0, 3.0):
        places.append((begin + taper + works + s, edge + depth * (1 - s / 10)))
    for k, (s, offset) in enumerate(places):
        x, y, yaw = stage.beside(s, offset)
        draft.obstacles.append(Obstacle(f"cone_{k}", "cone", CONE, (x, y, yaw)))
    clear = 0.65 + 1.0  # from the cones to the ego's middle
    shift = max(0.0, edge + depth + 0.2 + clear)
    slow = float(rng.uniform(6.0, 8.0))
    draft.driver = DriverScript(
        BEHIND_M,
        speed * 0.95,
        speed,
        shifts=(Shift(begin + taper * 0.3 - 4, begin + taper + works + 3, shift, 28.0, slow),),
    )
    if rng.uniform() < 0.5:
        follower(stage, start_s_m=BEHIND_M, speed_mps=draft.driver.start_mps)
    draft.description = f"Cones close {depth:.1f} m of the lane for {works + taper:.0f} m."
    draft.events = ["cones", "nudge_left"]
    return draft


def lead_braking(rng: Rng) -> Draft:
    """The vehicle ahead brakes, sometimes to a stand, and drives on."""
    draft = new_draft(rng)
    speed = float(rng.uniform(10, 18))
    lanes = int(rng.integers(1, 3))
    stage = main_street(
        draft, gentle(rng, _length(speed)), limit_mps=speed * 1.1, forward=lanes, backward=lanes
    )
    brake_at = float(rng.uniform(3.5, 7.0))
    down_to = float(rng.choice([0.0, 0.0, 0.35, 0.5])) * speed
    rate = float(rng.uniform(2.5, 4.0))
    stay = float(rng.uniform(1.5, 4.0)) + (speed - down_to) / rate
    lead = leader(
        stage,
        start_s_m=BEHIND_M,
        gap_m=float(rng.uniform(1.5, 2.2)) * speed,
        speed_mps=speed * 0.95,
        changes=(SpeedChange(brake_at, down_to, rate), SpeedChange(brake_at + stay, speed * 0.9, 1.5)),
    )
    draft.driver = DriverScript(BEHIND_M, speed * 0.95, speed)
    oncoming_traffic(stage, count=3, first_m=60, spacing_m=70, speed_mps=speed)
    follower(stage, start_s_m=BEHIND_M, speed_mps=draft.driver.start_mps)
    what = "stops" if down_to == 0 else "slows down"
    draft.description = f"The {lead.kind} ahead brakes at {rate:.1f} m/s² and {what}."
    draft.events = ["lead_braking", "slow"]
    return draft
