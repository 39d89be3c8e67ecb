"""Families about others in the lane: cutting in, braking, queueing."""

from __future__ import annotations

from alpamayo_ros.sim.scenes.agents import Agent, SpeedChange
from alpamayo_ros.sim.scenes.assembly import Draft
from alpamayo_ros.sim.scenes.driving import DriverScript
from alpamayo_ros.sim.scenes.paths import smooth_step
from alpamayo_ros.sim.scenes.stage import (
    BEHIND_M,
    Rng,
    follower,
    gentle,
    leader,
    length_for,
    main_street,
    new_draft,
    oncoming_traffic,
    vehicle,
)


def lead_braking(rng: Rng) -> Draft:
    """Draft a vehicle ahead that brakes, sometimes to a stand, and drives on."""
    draft = new_draft(rng)
    speed = float(rng.uniform(10, 18))
    lanes = int(rng.integers(1, 3))
    stage = main_street(
        draft, gentle(rng, length_for(speed)), limit_mps=speed * 1.1, forward=lanes, backward=lanes
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


def cut_in(rng: Rng) -> Draft:
    """Draft a vehicle that changes into the ego's lane, close ahead and slower."""
    draft = new_draft(rng, scenery=("suburb", "country")[int(rng.integers(2))])
    speed = float(rng.uniform(13, 22))
    ego_lane = int(rng.integers(2))
    stage = main_street(
        draft, gentle(rng, length_for(speed)), limit_mps=speed * 1.1, forward=2, backward=2, ego_lane=ego_lane
    )
    start_mps = speed * 0.97
    slower = float(rng.uniform(1.0, 3.0))
    when = float(rng.uniform(3.0, 7.0))
    takes_s = float(rng.uniform(2.8, 4.0))
    gap = float(rng.uniform(9.0, 17.0)) + 0.4 * slower * takes_s
    kind, size, variant = vehicle(rng)
    cutter = start_mps - slower
    start = BEHIND_M + 3.9 + gap + slower * when + size[0] / 2
    change_at = start + cutter * when
    takes = cutter * takes_s
    lane = stage.lane_path(1 - ego_lane)
    side = 1.0 if ego_lane == 0 else -1.0
    offset = side * stage.street.lane_m * smooth_step(lane.s_m, change_at, change_at + takes)
    draft.agents.append(
        Agent(
            "cutter",
            kind,
            size,
            lane.offset(offset),
            start,
            cutter,
            cutter,
            changes=(SpeedChange(when + 6.0, speed * float(rng.uniform(0.85, 1.0)), 1.0),),
            margin_s=0.2,
            variant=variant,
        )
    )
    draft.driver = DriverScript(BEHIND_M, start_mps, speed, headway_s=1.3, anticipates=("cutter",))
    if rng.uniform() < 0.6:
        # The reason: somebody slow in the cutter's lane.
        kind, size, variant = vehicle(rng)
        slow = cutter * float(rng.uniform(0.55, 0.75))
        ahead = (cutter - slow) * (when + takes / cutter) + 1.6 * cutter + 8.0
        draft.agents.append(
            Agent("slow", kind, size, lane, start + ahead + size[0] / 2 + 3, slow, slow, variant=variant)
        )
    oncoming_traffic(stage, count=3, first_m=60, spacing_m=80, speed_mps=speed)
    if rng.uniform() < 0.6:
        follower(stage, start_s_m=BEHIND_M, speed_mps=start_mps)
    draft.description = f"A {draft.agents[0].kind} cuts in from the {'right' if side > 0 else 'left'}."
    draft.events = ["cut_in", "slow"]
    draft.ends_ahead = "cutter"
    return draft


def queue(rng: Rng) -> Draft:
    """Draft standing vehicles in the lane; the ego stops behind them and follows when they move."""
    draft = new_draft(rng)
    speed = float(rng.uniform(9, 15))
    lanes = int(rng.integers(1, 3))
    stage = main_street(
        draft, gentle(rng, length_for(speed)), limit_mps=speed * 1.1, forward=lanes, backward=lanes
    )
    moves = bool(rng.uniform() < 0.75)
    moves_at = float(rng.uniform(8.0, 14.0)) if moves else 60.0
    away = speed**2 / (2 * 1.8) + float(rng.uniform(30, 70))
    for lane in range(lanes):
        path = stage.lane_path(lane)
        s = BEHIND_M + 3.9 + away + (0.0 if lane == stage.ego_lane else float(rng.uniform(-6, 12)))
        count = int(rng.integers(2, 6))
        line: list[Agent] = []
        for k in range(count):
            kind, size, variant = vehicle(rng)
            changes = (SpeedChange(moves_at, speed * float(rng.uniform(0.8, 0.95)), 1.4),)
            line.append(
                Agent(
                    f"queue_{lane}_{k}",
                    kind,
                    size,
                    path,
                    s + size[0] / 2,
                    0.0,
                    0.0 if k == count - 1 else speed,
                    changes=changes if k == count - 1 else (),
                    accel_mps2=float(rng.uniform(1.1, 1.6)),
                    variant=variant,
                )
            )
            s += size[0] + float(rng.uniform(2.7, 4.5))
        draft.agents.extend(line)
    draft.driver = DriverScript(BEHIND_M, speed * 0.95, speed)
    oncoming_traffic(stage, count=4, first_m=50, spacing_m=50, speed_mps=speed)
    if rng.uniform() < 0.6:
        follower(stage, start_s_m=BEHIND_M, speed_mps=draft.driver.start_mps)
    then = "it moves on" if moves else "it stays"
    draft.description = f"A queue stands {away:.0f} m ahead; {then}."
    draft.events = ["queue", "stop"]
    return draft
