"""Families about what is in the way: cones, parked cars, people on foot, cyclists, a narrow street."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from alpamayo_ros.sim.scene import Prop
from alpamayo_ros.sim.scenes.agents import Agent, Trigger
from alpamayo_ros.sim.scenes.assembly import Draft, Obstacle
from alpamayo_ros.sim.scenes.driving import DriverScript, Passing, Shift, SlowDown, shift_offsets
from alpamayo_ros.sim.scenes.paths import from_curvature
from alpamayo_ros.sim.scenes.stage import (
    BEHIND_M,
    CONE,
    CYCLIST,
    Rng,
    Stage,
    fill_parking,
    follower,
    gentle,
    length_for,
    main_street,
    new_draft,
    parked_cars,
    pedestrian,
    vehicle,
    walkers,
)


def cones(rng: Rng) -> Draft:
    """Draft cones that close a part of the lane; the ego moves over and slows down."""
    draft = new_draft(rng)
    speed = float(rng.uniform(9, 14))
    stage = main_street(draft, gentle(rng, length_for(speed)), limit_mps=speed * 1.1, shoulder_m=1.0)
    begin = BEHIND_M + float(rng.uniform(70, 120))
    taper, works = float(rng.uniform(15, 25)), float(rng.uniform(15, 40))
    depth = float(rng.uniform(0.9, 2.1))  # how much of the lane is closed, from its right edge
    edge = -stage.street.lane_m / 2  # of the lane, from its centre
    places = []
    for s in np.arange(0.0, taper, 3.0):
        places.append((begin + s, edge - 0.2 + (depth + 0.2) * s / taper))
    for s in np.arange(taper, taper + works, 4.0):
        places.append((begin + s, edge + depth))
    for s in np.arange(3.0, 10.0, 3.0):
        places.append((begin + taper + works + s, edge + depth * (1 - s / 10)))
    for k, (s, offset) in enumerate(places):
        draft.obstacles.append(Obstacle(f"cone_{k:02d}", "cone", CONE, stage.beside(float(s), float(offset))))
    clear = 0.2 + 0.65 + 1.0  # half a cone, air, half the ego
    shift = Shift(
        begin + taper * 0.3 - 4,
        begin + taper + works + 3,
        max(0.0, edge + depth + clear),
        28.0,
        float(rng.uniform(6, 8)),
    )
    draft.driver = DriverScript(BEHIND_M, speed * 0.95, speed, shifts=(shift,))
    if rng.uniform() < 0.6:
        follower(stage, start_s_m=BEHIND_M, speed_mps=draft.driver.start_mps, shifts=(shift,))
    x, y, yaw = stage.street.line.pose(begin - 45, -(stage.street.right_m + 0.55))
    draft.props.append(Prop("sign_speed", x, y, yaw + np.pi, (0.1, 0.7, 2.6), variant=30))
    for k in range(int(works / 5)):
        x, y, yaw = stage.street.line.pose(begin + taper + 2.5 + 5.0 * k, -(stage.street.right_m + 0.5))
        draft.props.append(Prop("barrier", x, y, yaw, (2.4, 0.3, 1.0)))
    draft.description = f"Cones close {depth:.1f} m of the lane for {works + taper:.0f} m."
    draft.events = ["cones", "nudge_left"]
    return draft


def parked(rng: Rng) -> Draft:
    """Draft cars parked along the street, and one double-parked in the lane to go around."""
    draft = new_draft(rng, scenery=("city", "city", "suburb")[int(rng.integers(3))])
    speed = float(rng.uniform(8, 12))
    stage = main_street(
        draft,
        gentle(rng, length_for(speed)),
        limit_mps=speed * 1.1,
        parking_right_m=2.3,
        parking_left_m=2.3 if rng.uniform() < 0.6 else 0.0,
    )
    place = BEHIND_M + float(rng.uniform(75, 125))
    end = stage.path.length_m
    fill_parking(stage, right=True, from_m=70, to_m=end - 70, share=0.75)
    if stage.street.parking_left_m:
        fill_parking(stage, right=False, from_m=70, to_m=end - 70, share=0.6)
    kind, size, variant = vehicle(rng, trucks=False)
    count = int(rng.integers(1, 3))
    half = stage.street.lane_m / 2
    offset = -half + size[1] / 2 + float(rng.uniform(-0.15, 0.35))
    for k in range(count):
        draft.obstacles.append(
            Obstacle(
                f"double_{k}", kind, size, stage.beside(place + k * (size[0] + 1.5), offset), variant + k
            )
        )
    last = place + (count - 1) * (size[0] + 1.5)
    clear = float(rng.uniform(0.6, 0.8))
    shift = Shift(
        place - size[0] / 2 - 6.0,
        last + size[0] / 2 + 1.5,
        offset + size[1] / 2 + clear + 1.0,
        float(np.clip(2.2 * speed, 18, 26)),
        float(rng.uniform(5.5, 7.5)),
    )
    draft.driver = DriverScript(BEHIND_M, speed * 0.95, speed, shifts=(shift,))
    waits = rng.uniform() < 0.45
    if waits:
        # Meets the ego about where the car stands: the ego lets it pass.
        meet_s = (place - BEHIND_M - 25) / speed + float(rng.uniform(0.0, 2.0))
        names = _oncoming_meets(stage, place, meet_s, speed, count=int(rng.integers(1, 3)))
        draft.driver = replace(draft.driver, yields_to=names, hold_m=3.0)
    if rng.uniform() < 0.5:
        follower(stage, start_s_m=BEHIND_M, speed_mps=draft.driver.start_mps, shifts=(shift,))
    walkers(stage, count=3, from_m=BEHIND_M, to_m=place + 60)
    draft.description = f"Parked cars; a {kind} is double-parked in the lane" + (
        ", and there is oncoming traffic." if waits else "."
    )
    draft.events = ["double_parked", "nudge_left", *(["give_way"] if waits else [])]
    return draft


def _oncoming_meets(
    stage: Stage, place_m: float, at_s: float, speed_mps: float, *, count: int
) -> tuple[str, ...]:
    """Add vehicles that come the other way and pass `place_m` of the route about `at_s`; return their ids."""
    path = stage.lane_path(0, backward=True)
    x, y, _ = stage.path.pose(place_m)
    there, _ = path.project(np.array([x, y]))
    names = []
    for k in range(count):
        kind, size, variant = vehicle(stage.rng, trucks=False)
        speed = float(speed_mps * stage.rng.uniform(0.85, 1.0))
        start = there - speed * at_s - k * (speed * 1.8 + 8)
        name = f"oncoming_{k}"
        stage.draft.agents.append(
            Agent(name, kind, size, path, max(5.0, start), speed, speed, yields_to_ego=False, variant=variant)
        )
        names.append(name)
    return tuple(names)


def pedestrian_crossing(rng: Rng) -> Draft:
    """Draft someone who crosses the street: on a zebra crossing, or from between parked cars."""
    draft = new_draft(rng, scenery=("city", "suburb")[int(rng.integers(2))])
    speed = float(rng.uniform(8, 12.5))
    zebra = rng.uniform() < 0.6
    parking = 2.3 if not zebra or rng.uniform() < 0.4 else 0.0
    stage = main_street(
        draft,
        gentle(rng, length_for(speed)),
        limit_mps=speed * 1.1,
        parking_right_m=parking,
        parking_left_m=parking,
    )
    place = BEHIND_M + float(rng.uniform(70, 115))
    street = stage.street
    if parking:
        clear = [(place - 6.5, place + 5.0)] if zebra else [(place - 0.6, place + 0.6)]
        end = stage.path.length_m
        for right in (True, False):
            fill_parking(stage, right=right, from_m=70, to_m=end - 70, share=0.85, clear=clear)
    if zebra:
        x, y, yaw = street.line.pose(place, (street.left_m - street.right_m) / 2)
        draft.builder.crosswalk((x, y, yaw), length_m=3.6, across_m=street.left_m + street.right_m - 0.3)
    names = []
    for k in range(1 + int(rng.integers(0, 3)) * zebra):
        from_right = bool(rng.uniform() < 0.6) if zebra else True
        walking = float(rng.uniform(1.2, 1.6))
        name = f"crossing_{k}"
        names.append(name)
        at = place + (1.1 * k - 1.1 + float(rng.uniform(-0.1, 0.1))) * zebra
        away = speed**2 / (2 * 1.9) + 16.0 + float(rng.uniform(0, 12)) - 2.0 * k
        _cross(stage, name, at, from_right=from_right, walking_mps=walking, ego_away_m=away)
    draft.driver = DriverScript(
        BEHIND_M, speed * 0.95, speed, yields_to=tuple(names), hold_m=3.4 if zebra else 2.6, margin_s=2.0
    )
    if rng.uniform() < 0.5:
        follower(stage, start_s_m=BEHIND_M, speed_mps=draft.driver.start_mps)
    walkers(stage, count=3, from_m=BEHIND_M, to_m=place + 60)
    where = "on a zebra crossing" if zebra else "from between parked cars"
    draft.description = f"{'People cross' if len(names) > 1 else 'Someone crosses'} {where}."
    draft.events = ["pedestrian", "stop" if zebra else "slow"]
    return draft


def _cross(
    stage: Stage, name: str, place_m: float, *, from_right: bool, walking_mps: float, ego_away_m: float
) -> None:
    """Add someone who crosses the main street at `place_m` when the ego is `ego_away_m` before it."""
    street = stage.street
    reach = 1.2
    begin, end = -(street.right_m + reach), street.left_m + reach + 2.0
    if not from_right:
        begin, end = -begin + street.left_m - street.right_m, -(street.right_m + reach + 2.0)
    x0, y0, yaw = street.line.pose(place_m, begin)
    side = 1.0 if from_right else -1.0
    path = from_curvature((x0, y0, yaw + side * np.pi / 2), [(abs(end - begin), 0.0, 0.0)])
    trigger = Trigger("ego_s", place_m - ego_away_m)
    stage.draft.agents.append(pedestrian(stage.rng, name, path, 0.0, walking_mps, trigger=trigger))


def cyclist(rng: Rng) -> Draft:
    """Draft a cyclist at the lane's right side, whom the ego follows, and passes when the way is free."""
    draft = new_draft(rng)
    speed = float(rng.uniform(9, 13))
    stage = main_street(draft, gentle(rng, length_for(speed)), limit_mps=speed * 1.1)
    riding = float(rng.uniform(3.5, 5.5))
    offset = -float(rng.uniform(0.95, 1.25))
    gap = float(rng.uniform(25, 50))
    draft.agents.append(
        Agent(
            "cyclist",
            "cyclist",
            CYCLIST,
            stage.path.offset(offset),
            BEHIND_M + 3.9 + gap,
            riding,
            riding,
            accel_mps2=1.0,
            headway_s=1.0,
            variant=int(rng.integers(1000)),
        )
    )
    draft.driver = DriverScript(
        BEHIND_M, speed * 0.9, speed, passing=(Passing("cyclist", float(rng.uniform(1.45, 1.75))),)
    )
    busy = bool(rng.uniform() < 0.6)
    if busy:
        meet = BEHIND_M + 40 + 5 * riding
        _oncoming_meets(stage, meet, float(rng.uniform(2.0, 6.0)), speed, count=int(rng.integers(1, 3)))
    draft.description = "A cyclist ahead" + (" and oncoming traffic." if busy else ".")
    draft.events = ["cyclist", "nudge_left"]
    if draft.scenery != "country":
        walkers(stage, count=2, from_m=BEHIND_M, to_m=BEHIND_M + 150)
    return draft


def oncoming(rng: Rng) -> Draft:
    """Draft a narrow street with cars parked on one side: room for one, and somebody comes the other way."""
    draft = new_draft(rng, scenery=("city", "suburb")[int(rng.integers(2))])
    speed = float(rng.uniform(7.5, 10))
    ours = bool(rng.uniform() < 0.6)  # whether the cars stand on the ego's side
    stage = main_street(
        draft,
        gentle(rng, length_for(speed)),
        limit_mps=speed * 1.1,
        lane_m=2.9,
        shoulder_m=0.35,
        marked=False,
    )
    place = BEHIND_M + float(rng.uniform(65, 95))
    count = int(rng.integers(2, 5))
    first = -2.9 / 2 - 0.35 + 1.0  # of a parked car's centre from the lane's
    row = [(place + 6.8 * k, first if ours else 2.9 - first) for k in range(count)]
    parked_cars(stage, row, turned=not ours)
    passing = 0.95 + first + 0.65 + 1.0
    ramp = 20.0
    shift = Shift(place - 3.2 - 7.0, row[-1][0] + 3.2 + 1.0, passing, ramp, float(rng.uniform(4.5, 6.0)))
    meet_s = (place - BEHIND_M - 15) / speed + float(rng.uniform(0.5, 3.0))
    names = _oncoming_meets(stage, place, meet_s, speed, count=int(rng.integers(1, 3)))
    if ours:
        draft.driver = DriverScript(
            BEHIND_M, speed * 0.95, speed, shifts=(shift,), yields_to=names, hold_m=3.0
        )
        draft.description = "A narrow street; parked cars on the right, the ego lets oncoming traffic pass."
    else:
        slow = SlowDown(place - 30.0, row[-1][0] + 15, float(rng.uniform(4.5, 6.0)))
        draft.driver = DriverScript(BEHIND_M, speed * 0.95, speed, slow=(slow,))
        draft.agents = [_around(stage, agent, row, passing) for agent in draft.agents]
        draft.description = "A narrow street; parked cars on the left, oncoming traffic waits for the ego."
    walkers(stage, count=3, from_m=BEHIND_M, to_m=place + 60)
    draft.events = ["narrow", "give_way" if ours else "slow"]
    return draft


def _around(stage: Stage, agent: Agent, row: list[tuple[float, float]], offset_m: float) -> Agent:
    """Let an oncoming agent go around the parked row on its side, after the ego."""
    path = agent.path
    first, last = (
        path.project(np.array(stage.path.pose(s)[:2]))[0] for s in (row[-1][0] + 3.2, row[0][0] - 3.2)
    )
    shift = Shift(first - 5.0, last + 4.0, offset_m, 18.0)
    moved = path.offset(shift_offsets(path, (shift,)))
    return replace(agent, path=moved, yields_to_ego=True, lateral_mps2=1.5)
