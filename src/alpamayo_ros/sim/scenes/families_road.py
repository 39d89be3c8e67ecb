"""Families about the shape of the road: straight, curve, S-bend, hills."""

from __future__ import annotations

import numpy as np

from alpamayo_ros.sim.scene import Prop
from alpamayo_ros.sim.scenes.assembly import Draft
from alpamayo_ros.sim.scenes.driving import DriverScript
from alpamayo_ros.sim.scenes.stage import (
    BEHIND_M,
    Pieces,
    Rng,
    Stage,
    any_start,
    fill_parking,
    follower,
    gentle,
    hills_across,
    leader,
    length_for,
    main_street,
    new_draft,
    oncoming_traffic,
    walkers,
)


def straight(rng: Rng) -> Draft:
    """Draft a straight road with ordinary traffic."""
    draft = new_draft(rng)
    speed = float(rng.uniform(9, 14) if draft.scenery == "city" else rng.uniform(12, 22))
    lanes = int(rng.integers(1, 3))
    parking = 2.3 if draft.scenery == "city" and rng.uniform() < 0.7 else 0.0
    stage = main_street(
        draft,
        gentle(rng, length_for(speed), tightest=0.0006),
        limit_mps=speed * 1.05,
        forward=lanes,
        backward=lanes,
        parking_right_m=parking,
        parking_left_m=parking,
    )
    if parking:
        end = stage.path.length_m
        fill_parking(stage, right=True, from_m=60, to_m=end - 60, share=0.6)
        fill_parking(stage, right=False, from_m=60, to_m=end - 60, share=0.5)
    _drive_along(stage, speed)
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


def _drive_along(stage: Stage, speed_mps: float) -> None:
    """Let the ego drive along the main street among ordinary traffic."""
    rng, draft = stage.rng, stage.draft
    draft.driver = DriverScript(BEHIND_M, speed_mps * float(rng.uniform(0.88, 1.0)), speed_mps)
    oncoming_traffic(stage, count=4, first_m=70, spacing_m=75, speed_mps=speed_mps)
    if rng.uniform() < 0.6:
        follower(stage, start_s_m=BEHIND_M, speed_mps=draft.driver.start_mps)
    if draft.scenery != "country":
        walkers(stage, count=int(rng.integers(1, 4)), from_m=BEHIND_M, to_m=BEHIND_M + 10 * speed_mps)


def curve(rng: Rng) -> Draft:
    """Draft one curve to either side, taken at a comfortable speed."""
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
        (length_for(speed) - before, 0.0, 0.0),
    ]
    lanes = int(rng.integers(1, 3))
    stage = main_street(draft, pieces, limit_mps=speed * 1.05, forward=lanes, backward=lanes)
    _drive_along(stage, speed)
    _chevrons(stage, before + entry * 0.6, before + entry * 1.4 + arc, turn)
    side = "left" if turn > 0 else "right"
    draft.description = f"The road curves to the {side} with a radius of {radius:.0f} m."
    draft.events = [f"curve_{side}"]
    return draft


def _chevrons(stage: Stage, from_m: float, to_m: float, turn: float) -> None:
    """Put direction signs on the outside of a curve, facing the ego's side of the traffic."""
    street = stage.street
    away = (street.right_m + 0.55) if turn > 0 else -(street.left_m + 0.55)
    for s in np.arange(from_m, to_m, 14.0):
        x, y, yaw = street.line.pose(float(s), -away)
        stage.draft.props.append(
            Prop("sign_turn", x, y, yaw + np.pi, (0.1, 0.8, 1.7), variant=0 if turn > 0 else 1)
        )


def s_bend(rng: Rng) -> Draft:
    """Draft two or three curves to alternating sides."""
    draft = new_draft(rng)
    speed = float(rng.uniform(10, 15))
    first = float(rng.choice([-1.0, 1.0]))
    before = BEHIND_M + float(rng.uniform(25, 50))
    pieces: list[tuple[float, float, float]] = [(before, 0.0, 0.0)]
    for index in range(int(rng.integers(2, 4))):
        radius = float(rng.uniform(45, 110))
        k = first * (-1.0) ** index / radius
        entry = min(35.0, radius * 0.5)
        arc = radius * float(rng.uniform(np.radians(20), np.radians(50)))
        pieces += [(entry, 0.0, k), (arc, k, k), (entry, k, 0.0)]
    pieces.append((length_for(speed) - before, 0.0, 0.0))
    stage = main_street(draft, pieces, limit_mps=speed * 1.05)
    _drive_along(stage, speed)
    draft.description = f"An S-bend, first to the {'left' if first > 0 else 'right'}."
    draft.events = ["s_bend"]
    return draft


def hills(rng: Rng) -> Draft:
    """Draft a road over hills of up to 12 %, with gentle curves."""
    start = any_start(rng)
    ground = hills_across(rng, start[2], grade=float(rng.uniform(0.095, 0.12)))
    draft = new_draft(rng, ground=ground, scenery=("country", "suburb")[int(rng.integers(2))])
    speed = float(rng.uniform(12, 20))
    pieces = _winding(rng, length_for(speed), radius_m=(150.0, 400.0))
    stage = main_street(draft, pieces, limit_mps=speed * 1.05, start=start)
    _drive_along(stage, speed)
    if rng.uniform() < 0.5:
        leader(
            stage,
            start_s_m=BEHIND_M,
            gap_m=float(rng.uniform(2.0, 3.5)) * speed,
            speed_mps=speed * float(rng.uniform(0.75, 0.95)),
        )
    draft.description = "A winding road over hills."
    draft.events = ["hills"]
    return draft


def _winding(rng: Rng, length_m: float, *, radius_m: tuple[float, float]) -> Pieces:
    pieces: list[tuple[float, float, float]] = []
    rest, side = length_m, float(rng.choice([-1.0, 1.0]))
    while rest > 0:
        k = side / float(rng.uniform(*radius_m))
        pieces += [(40.0, 0.0, k), (float(rng.uniform(20, 60)), k, k), (40.0, k, 0.0)]
        rest -= sum(piece[0] for piece in pieces[-3:])
        side = -side if rng.uniform() < 0.8 else side
    return pieces
