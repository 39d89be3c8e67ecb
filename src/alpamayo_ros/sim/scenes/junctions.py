"""Junctions: arms that meet, the lanes through them, their stop lines, crossings and lights; roundabouts.

The line of an arm starts at the junction's mouth and leads away: forward lanes lead out, backward lanes in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from shapely.geometry import Point, Polygon

from alpamayo_ros.sim.roads import LightColour, StopSign, TrafficLight, Turn
from alpamayo_ros.sim.scene import Prop
from alpamayo_ros.sim.scenes.paths import Path, Pose, connect
from alpamayo_ros.sim.scenes.roadmap import MapBuilder, Street, StreetLanes, end_pose, start_pose

Programme = tuple[tuple[LightColour, float], ...]
TURN_LIMIT_MPS = 8.0
MOUTH_M = 17.0
"""From a junction's centre to the stop lines."""


@dataclass(frozen=True, eq=False)
class Arm:
    """An arm of a junction, with its lanes."""

    street: Street
    lanes: StreetLanes

    @property
    def inbound(self) -> list[str]:
        """The last lanes before the junction, from left to right."""
        return [ids[-1] for ids in self.lanes.backward]

    @property
    def outbound(self) -> list[str]:
        """The first lanes behind the junction, from left to right."""
        return [ids[0] for ids in self.lanes.forward]

    def way_in(self, index: int) -> list[str]:
        """All lanes that lead in, by place from the left."""
        return list(self.lanes.backward[index])

    def way_out(self, index: int) -> list[str]:
        """All lanes that lead out, by place from the left."""
        return list(self.lanes.forward[index])


@dataclass(frozen=True, eq=False)
class Junction:
    """Arms and the ids of the lanes that connect them: (from arm, lane, to arm) -> lane id."""

    arms: tuple[Arm, ...]
    connections: dict[tuple[int, int, int], str]

    def route(self, start: int, lane: int, end: int) -> list[str]:
        """Return the lanes from the far end of one arm through the junction to the far end of another."""
        through = self.connections[start, lane, end]
        out = through.split(">")[1]
        onward = next(list(ids) for ids in self.arms[end].lanes.forward if ids[0] == out)
        return [*self.arms[start].way_in(lane), through, *onward]


def turn_of(start: Pose, end: Pose) -> Turn:
    """Return which way it goes from one heading to another."""
    change = (end[2] - start[2] + np.pi) % (2 * np.pi) - np.pi
    return "straight" if abs(change) < np.radians(30) else "left" if change > 0 else "right"


def add_junction(builder: MapBuilder, centre: tuple[float, float], streets: Sequence[Street]) -> Junction:
    """Add arms and connect every way in with every way out, turns from the outer lanes only."""
    arms = tuple(Arm(street, builder.add_street(street)) for street in streets)
    for arm in arms:
        _fill(builder, centre, arm.street)
    connections: dict[tuple[int, int, int], str] = {}
    for i, start in enumerate(arms):
        for j, end in enumerate(arms):
            if i == j:
                continue
            ins, outs = start.inbound, end.outbound
            if not ins or not outs:
                continue
            turn = turn_of(end_pose(builder.paths[ins[0]]), start_pose(builder.paths[outs[0]]))
            if turn == "left":
                pairs = [(0, 0)]
            elif turn == "right":
                pairs = [(len(ins) - 1, len(outs) - 1)]
            else:
                pairs = [(k, k) for k in range(min(len(ins), len(outs)))]
            for a, b in pairs:
                limit = TURN_LIMIT_MPS if turn != "straight" else start.street.limit_mps
                lane_m = min(start.street.lane_m, end.street.lane_m)
                connections[i, a, j] = builder.connect(
                    ins[a], outs[b], turn=turn, limit_mps=limit, lane_m=lane_m
                )
    return Junction(arms, connections)


def _fill(builder: MapBuilder, centre: tuple[float, float], street: Street) -> None:
    """Pave the arm from its mouth to the junction's centre."""
    x, y, yaw = start_pose(street.line)
    left = np.array([-np.sin(yaw), np.cos(yaw)])
    mouth = np.array([x, y]) + 0.1 * np.array([np.cos(yaw), np.sin(yaw)])
    # From the mouth straight back to the foot of the centre on the arm's axis.
    foot = mouth + np.array([np.cos(yaw), np.sin(yaw)]) * float(
        (np.array(centre) - mouth) @ np.array([np.cos(yaw), np.sin(yaw)])
    )
    right_m, left_m = street.right_m, street.left_m
    corners = [mouth + left * left_m, foot + left * left_m, foot - left * right_m, mouth - left * right_m]
    builder.drivable_parts.append(Polygon(corners).buffer(0.01))


def mouth(centre: tuple[float, float], yaw_rad: float, distance_m: float = MOUTH_M) -> Pose:
    """Return the start of an arm's line: `distance_m` from the centre, looking away."""
    return (
        centre[0] + distance_m * float(np.cos(yaw_rad)),
        centre[1] + distance_m * float(np.sin(yaw_rad)),
        yaw_rad,
    )


def arm_crossing(builder: MapBuilder, street: Street, *, back_m: float = 3.2, length_m: float = 3.0) -> None:
    """Add a zebra crossing across an arm, inside of its stop line."""
    x, y, yaw = start_pose(street.line)
    across = street.left_m + street.right_m - 0.6
    side = (street.left_m - street.right_m) / 2
    centre = (
        x - back_m * float(np.cos(yaw)) - side * float(np.sin(yaw)),
        y - back_m * float(np.sin(yaw)) + side * float(np.cos(yaw)),
        yaw,
    )
    builder.crosswalk(centre, length_m=length_m, across_m=across)


def add_light(
    builder: MapBuilder,
    arm: Arm,
    light_id: str,
    *,
    programme: Programme,
    offset_s: float,
    far_m: float = 2 * MOUTH_M - 2.0,
) -> list[Prop]:
    """Put up lights for an arm: one at the near right, one beyond the junction; return their poles."""
    stop_line = builder.stop_line(arm.inbound)
    x, y, yaw = start_pose(arm.street.line)
    inward = yaw + np.pi
    forward = np.array([np.cos(inward), np.sin(inward)])
    right = np.array([np.sin(inward), -np.cos(inward)])
    near = np.array([x, y]) + right * (arm.street.left_m + 0.55) + forward * 0.5
    far = np.array([x, y]) + right * (arm.street.left_m + 0.6) + forward * far_m
    heads, poles = [], []
    for place, height in ((near, 3.4), (far, 4.6)):
        ground = float(builder.terrain.height_m(place))
        heads.append([place[0], place[1], ground + height, yaw])
        poles.append(Prop("pole", float(place[0]), float(place[1]), yaw, (0.2, 0.2, height)))
    builder.lights.append(
        TrafficLight(
            light_id,
            np.array(heads),
            stop_line,
            tuple(arm.inbound),
            programme,
            offset_s,
        )
    )
    return poles


def add_stop_sign(builder: MapBuilder, arm: Arm, sign_id: str) -> None:
    """Put a stop sign and line at the ways in of an arm."""
    stop_line = builder.stop_line(arm.inbound)
    x, y, yaw = start_pose(arm.street.line)
    inward = yaw + np.pi
    right = np.array([np.sin(inward), -np.cos(inward)])
    place = np.array([x, y]) + right * (arm.street.left_m + 0.55)
    ground = float(builder.terrain.height_m(place))
    builder.stop_signs.append(
        StopSign(sign_id, (float(place[0]), float(place[1]), ground, yaw), stop_line, tuple(arm.inbound))
    )


@dataclass(frozen=True, eq=False)
class Roundabout:
    """A roundabout with one lane; `routes[i, j]` are the lanes from arm i's far end to arm j's."""

    arms: tuple[Arm, ...]
    routes: dict[tuple[int, int], list[str]]


def add_roundabout(
    builder: MapBuilder,
    centre: tuple[float, float],
    streets: Sequence[Street],
    *,
    radius_m: float,
    lane_m: float = 4.5,
    reach_rad: float = 0.62,
) -> Roundabout:
    """Add a roundabout of a ring lane about `centre`; the streets' lines start at its mouths, in ccw order.

    A way in joins the ring `reach_rad` behind its arm's direction, a way out leaves it as much before.
    """
    arms = tuple(Arm(street, builder.add_street(street)) for street in streets)
    angles = [start_pose(street.line)[2] for street in streets]
    count = len(arms)
    ring: list[tuple[str, str]] = []  # per arm: the ring's lane past its mouth, the one on to the next arm
    for i, angle in enumerate(angles):
        following = angles[(i + 1) % count]
        gap = (following - angle) % (2 * np.pi)
        past, onward = f"ring_past_{i}", f"ring_to_{(i + 1) % count}"
        for lane_id, begin, sweep in (
            (past, angle - reach_rad, 2 * reach_rad),
            (onward, angle + reach_rad, gap - 2 * reach_rad),
        ):
            builder.add_path_lane(
                lane_id,
                _arc(centre, radius_m, begin, sweep),
                turn="left",
                limit_mps=TURN_LIMIT_MPS,
                lane_m=lane_m,
                shoulder_m=0.5,
            )
        ring.append((past, onward))
    for i in range(count):
        builder.link(ring[i][0], ring[i][1])
        builder.link(ring[i][1], ring[(i + 1) % count][0])
    entries, exits = [], []
    for i, (arm, angle) in enumerate(zip(arms, angles, strict=True)):
        joins = _on_ring(centre, radius_m, angle + reach_rad)
        leaves = _on_ring(centre, radius_m, angle - reach_rad)
        ins, outs = arm.inbound[-1], arm.outbound[-1]
        way_in = connect(end_pose(builder.paths[ins]), joins, end_curvature=1 / radius_m)
        way_out = connect(leaves, start_pose(builder.paths[outs]), start_curvature=1 / radius_m)
        entry, leave = f"entry_{i}", f"exit_{i}"
        for lane_id, path in ((entry, way_in), (leave, way_out)):
            builder.add_path_lane(
                lane_id,
                path,
                turn="right",
                limit_mps=TURN_LIMIT_MPS,
                lane_m=arm.street.lane_m,
                shoulder_m=arm.street.shoulder_m,
            )
        builder.give_way_line(entry, way_in, centre, radius_m + lane_m / 2 + 0.6)
        builder.link(ins, entry)
        builder.link(entry, ring[i][1])
        builder.link(ring[i - 1][1], leave)
        builder.link(leave, outs)
        entries.append(entry)
        exits.append(leave)
    builder.holes.append(Point(*centre).buffer(radius_m - lane_m / 2 - 0.4, 32))
    routes: dict[tuple[int, int], list[str]] = {}
    for i in range(count):
        for j in range(count):
            if i == j:
                continue
            lanes = [*arms[i].lanes.backward[-1], entries[i], ring[i][1]]
            k = (i + 1) % count
            while k != j:
                lanes += [ring[k][0], ring[k][1]]
                k = (k + 1) % count
            routes[i, j] = [*lanes, exits[j], *arms[j].lanes.forward[-1]]
    return Roundabout(arms, routes)


def _on_ring(centre: tuple[float, float], radius_m: float, angle: float) -> Pose:
    return (
        centre[0] + radius_m * float(np.cos(angle)),
        centre[1] + radius_m * float(np.sin(angle)),
        angle + np.pi / 2,
    )


def _arc(centre: tuple[float, float], radius_m: float, begin: float, sweep: float) -> Path:
    """Return a part of a circle, exact at both ends."""
    count = max(8, int(radius_m * sweep / 0.25))
    angle = begin + sweep * np.linspace(0.0, 1.0, count + 1)
    xy = np.array(centre) + radius_m * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    return Path(xy, angle + np.pi / 2, np.full(count + 1, 1 / radius_m), radius_m * sweep / count)
