"""Families about junctions: turns, lights, stop signs, roundabouts."""

from __future__ import annotations

import numpy as np

from alpamayo_ros.sim.scene import Prop
from alpamayo_ros.sim.scenes.agents import Agent, StopPoint
from alpamayo_ros.sim.scenes.assembly import Draft
from alpamayo_ros.sim.scenes.crossings import (
    CENTRE,
    Crossing,
    arm_line,
    crossing,
    inbound_length,
    yield_signs,
)
from alpamayo_ros.sim.scenes.driving import FRONT_M, DriverScript
from alpamayo_ros.sim.scenes.junctions import (
    Arm,
    Programme,
    Roundabout,
    add_light,
    add_roundabout,
    add_stop_sign,
)
from alpamayo_ros.sim.scenes.roadmap import Street, start_pose
from alpamayo_ros.sim.scenes.stage import Rng, new_draft, vehicle


def _finish(here: Crossing, out: int, what: str, *, yields_to: tuple[str, ...] = (), **more: object) -> Draft:
    """Fill in route, driver and description."""
    draft = here.draft
    here.walkers(int(here.rng.integers(2, 6)))
    turn = here.turn(0, out)
    draft.driver = DriverScript(
        here.ego_start_s_m,
        here.speed_mps * 0.95,
        here.speed_mps,
        yields_to=yields_to,
        **more,  # type: ignore[arg-type]
    )
    go = "goes straight on" if turn == "straight" else f"turns {turn}"
    draft.description = f"{what}; the route {go}."
    draft.events = [f"junction_{turn}", *draft.events]
    return draft


def junction_4way(rng: Rng) -> Draft:
    """Draft a crossing of four streets, the ego on the major road; the route goes anywhere."""
    skew = float(rng.uniform(-0.12, 0.12))
    here = crossing(
        rng,
        [-np.pi / 2, skew, np.pi / 2, np.pi + skew],
        speed_mps=float(rng.uniform(9, 13)),
        before_m=float(rng.uniform(45, 90)),
    )
    out = int(rng.integers(1, 4))
    here.draft.route = here.junction.route(*here.way(0, out))
    yield_signs(here, [1, 3])
    # From the opposite arm: straight on has priority over the ego that turns left.
    first = here.add("opposite_0", 2, 0, before_m=float(rng.uniform(25, 90)), yields=False)
    second = here.add("opposite_1", 2, 0, before_m=float(rng.uniform(150, 200)), yields=False)
    here.add("side_0", 1, (3, 2)[int(rng.integers(2))], before_m=float(rng.uniform(20, 60)), yields=True)
    here.add("side_1", 3, (1, 0)[int(rng.integers(2))], before_m=float(rng.uniform(20, 60)), yields=True)
    if rng.uniform() < 0.5:
        here.follow()
    yields = (first, second) if here.turn(0, out) == "left" else ()
    return _finish(here, out, "A four-way junction", yields_to=yields)


def junction_3way(rng: Rng) -> Draft:
    """Draft a T-junction; the ego comes along the major road or out of the stem."""
    speed = float(rng.uniform(9, 13))
    before = float(rng.uniform(45, 90))
    if rng.uniform() < 0.5:
        # Out of the stem, giving way to the major road (arms 1 right, 2 left).
        here = crossing(rng, [-np.pi / 2, 0.0, np.pi], speed_mps=speed, before_m=before)
        out = int(rng.integers(1, 3))
        here.draft.route = here.junction.route(*here.way(0, out))
        yield_signs(here, [0])
        names = (
            here.add("major_0", 2, 1, before_m=float(rng.uniform(50, 110)), yields=False),
            here.add("major_1", 1, 2, before_m=float(rng.uniform(50, 110)), yields=False),
        )
        here.add("major_2", 2, 0, before_m=float(rng.uniform(120, 170)), yields=False)
        here.draft.events.append("give_way")
        return _finish(here, out, "A T-junction, from the minor road", yields_to=names, hold_m=4.0)
    side = float(rng.choice([0.0, np.pi]))
    angles = [-np.pi / 2, 0.0, np.pi / 2] if side == 0.0 else [-np.pi / 2, np.pi / 2, np.pi]
    here = crossing(rng, angles, speed_mps=speed, before_m=before)
    stem, opposite = (1, 2) if side == 0.0 else (2, 1)
    out = stem if rng.uniform() < 0.75 else opposite
    here.draft.route = here.junction.route(*here.way(0, out))
    yield_signs(here, [stem])
    first = here.add("opposite_0", opposite, 0, before_m=float(rng.uniform(25, 100)), yields=False)
    here.add("opposite_1", opposite, 0, before_m=float(rng.uniform(160, 210)), yields=True)
    here.add("side_0", stem, opposite, before_m=float(rng.uniform(20, 60)), yields=True)
    if rng.uniform() < 0.5:
        here.follow()
    yields = (first,) if here.turn(0, out) == "left" else ()
    return _finish(here, out, "A T-junction on the major road", yields_to=yields)


def traffic_light(rng: Rng) -> Draft:
    """Draft a junction with lights: red that turns green, or green that turns red."""
    here = crossing(
        rng,
        [-np.pi / 2, 0.0, np.pi / 2, np.pi],
        speed_mps=float(rng.uniform(10, 14)),
        before_m=float(rng.uniform(65, 110)),
        crossings=1.0,
    )
    draft = here.draft
    out = int(rng.choice([1, 2, 2, 3]))
    draft.route = here.junction.route(*here.way(0, out))
    green, red = float(rng.uniform(14, 22)), float(rng.uniform(18, 24))
    cycle = green + 3.0 + red
    ours: Programme = (("green", green), ("yellow", 3.0), ("red", red))
    crossing_green = red - 1.5 - 1.5 - 3.0
    theirs: Programme = (("red", green + 3.0 + 1.5), ("green", crossing_green), ("yellow", 3.0), ("red", 1.5))
    turns_green = bool(rng.uniform() < 0.6)
    if turns_green:
        offset = cycle - float(rng.uniform(6.0, 12.0))
    else:
        # Yellow when the ego is between far away and just too close to stop.
        arrives = here.before_m / here.speed_mps
        offset = green - float(rng.uniform(0.35, 1.0)) * arrives
    for index, arm in enumerate(here.junction.arms):
        name, programme = ("main", ours) if index % 2 == 0 else ("cross", theirs)
        draft.props += add_light(
            draft.builder, arm, f"light_{name}_{index}", programme=programme, offset_s=offset % cycle
        )
    line = here.line_s_m
    if turns_green and rng.uniform() < 0.6:
        ahead = int(rng.integers(1, 3))
        for k in range(ahead):
            here.add(
                f"ahead_{k}",
                0,
                out,
                before_m=1.2 + 7.5 * k,
                yields=True,
                speed_mps=0.0,
                light_id="light_main_0",
            )
    names = [
        here.add(f"opposite_{k}", 2, 0, before_m=float(d), yields=False, light_id="light_main_2")
        for k, d in enumerate((rng.uniform(15, 60), rng.uniform(90, 130)))
    ]
    for k, (start, end) in enumerate(((1, 3), (3, 1))):
        here.add(
            f"cross_{k}",
            start,
            end,
            before_m=float(rng.uniform(15, 80)),
            yields=True,
            light_id=f"light_cross_{start}",
        )
    if rng.uniform() < 0.5:
        here.follow()
    draft.events = ["red_then_green" if turns_green else "green_then_red"]
    what = "A red light turns green" if turns_green else "A green light turns red"
    yields = tuple(names) if here.turn(0, out) == "left" else ()
    return _finish(here, out, what, yields_to=yields, stops=(StopPoint(line - 1.0, "light_main_0"),))


def stop_sign(rng: Rng) -> Draft:
    """Draft a stop sign at a road with traffic that has priority."""
    four = bool(rng.uniform() < 0.6)
    angles = [-np.pi / 2, 0.0, np.pi / 2, np.pi] if four else [-np.pi / 2, 0.0, np.pi]
    here = crossing(rng, angles, speed_mps=float(rng.uniform(9, 12)), before_m=float(rng.uniform(50, 85)))
    right, left = 1, len(angles) - 1
    out = int(rng.integers(1, len(angles)))
    here.draft.route = here.junction.route(*here.way(0, out))
    add_stop_sign(here.draft.builder, here.junction.arms[0], "stop_0")
    if four:
        add_stop_sign(here.draft.builder, here.junction.arms[2], "stop_2")
    names = []
    for k in range(int(rng.integers(1, 4))):
        start, end = ((left, right), (right, left))[int(rng.integers(2))]
        away = 45.0 + 45.0 * k + float(rng.uniform(0, 30))
        names.append(here.add(f"cross_{k}", start, end, before_m=away, yields=False))
    if four and rng.uniform() < 0.5:
        here.add("opposite", 2, 0, before_m=float(rng.uniform(20, 60)), yields=True, hold_s=2.5)
    if rng.uniform() < 0.4:
        here.follow()
    here.draft.events = ["stop_sign"]
    stop = StopPoint(here.line_s_m - 0.9, hold_s=1.0)
    return _finish(here, out, "A stop sign", yields_to=tuple(names), stops=(stop,), hold_m=2.0)


def roundabout(rng: Rng) -> Draft:
    """Draft a roundabout of three or four arms with traffic in it; the route takes any exit."""
    draft = new_draft(rng, grade=0.01, scenery=("suburb", "country", "city")[int(rng.integers(3))])
    speed = float(rng.uniform(9, 13))
    radius = float(rng.uniform(15, 20))
    count = int(rng.choice([3, 4, 4]))
    angles = [
        -np.pi / 2 + 2 * np.pi * k / count + (float(rng.uniform(-0.1, 0.1)) if k else 0.0)
        for k in range(count)
    ]
    turned = float(rng.uniform(-np.pi, np.pi))
    distance = radius + 22.0
    streets = [
        Street(
            f"arm{i}",
            arm_line(rng, turned + angle, 270.0, distance),
            1,
            1,
            speed * 1.1,
            open_start=False,
            centre_dashed=False,
        )
        for i, angle in enumerate(angles)
    ]
    ring = add_roundabout(draft.builder, CENTRE, streets, radius_m=radius)
    draft.fillet_m = 6.0
    out = int(rng.integers(1, count))
    draft.route = list(ring.routes[0, out])
    inbound = inbound_length(draft, ring.arms[0])
    before = float(rng.uniform(35, 70))
    names = []
    for k in range(int(rng.integers(1, 4))):
        start = count - 1
        end = int(rng.integers(1, count - 1)) if count > 3 else 1
        names.append(
            _on_ring(
                draft,
                ring,
                f"ring_{k}",
                (start, end),
                20.0 + 60.0 * k + float(rng.uniform(0, 35)),
                speed,
                yields=False,
            )
        )
    _on_ring(draft, ring, "next", (1, count - 1), float(rng.uniform(10, 45)), speed, yields=True)
    draft.driver = DriverScript(
        inbound - before - FRONT_M, speed * 0.95, speed, yields_to=tuple(names), hold_m=2.5, margin_s=1.0
    )
    for index in range(count):
        _sign_at(draft, ring.arms[index])
    ordinal = ("first", "second", "third")[out - 1]
    draft.description = f"A roundabout with {count} arms; the route takes the {ordinal} exit."
    draft.events = ["roundabout", f"exit_{out}"]
    return draft


def _on_ring(
    draft: Draft,
    ring: Roundabout,
    name: str,
    way: tuple[int, int],
    before_m: float,
    speed_mps: float,
    *,
    yields: bool,
) -> str:
    kind, size, variant = vehicle(draft.rng, trucks=False)
    line = inbound_length(draft, ring.arms[way[0]])
    cruise = speed_mps * float(draft.rng.uniform(0.85, 1.0))
    start = max(4.0, line - before_m - size[0] / 2)
    path = draft.builder.path(ring.routes[way])
    draft.agents.append(
        Agent(name, kind, size, path, start, cruise, cruise, yields_to_ego=yields, variant=variant)
    )
    return name


def _sign_at(draft: Draft, arm: Arm) -> None:
    x, y, yaw = start_pose(arm.street.line)
    away = arm.street.left_m + 0.55
    draft.props.append(
        Prop("sign_yield", x - away * float(np.sin(yaw)), y + away * float(np.cos(yaw)), yaw, (0.1, 0.8, 2.4))
    )
