"""Navigation text for a place on the route, in the words that Alpamayo knows ("Turn left in 40m")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from alpamayo_ros.sim.navigation_text import BEGUN_RAD, STRAIGHT_TEXT, TURN_RAD, with_distance
from alpamayo_ros.sim.scenes.agents import TrafficScript

if TYPE_CHECKING:
    from alpamayo_ros.sim.scene import Scene

ANNOUNCE_M = 80.0
"""How far ahead a maneuver is announced: as long as AlpaSim's route."""
_ORDINALS = ("first", "second", "third", "fourth", "fifth")


@dataclass(frozen=True)
class Maneuver:
    """Something to do on the route: its text without a distance, the arc lengths where it begins and ends."""

    text: str
    begin_s_m: float
    end_s_m: float


def maneuvers_of(scene: Scene) -> tuple[Maneuver, ...]:
    """Return the maneuvers on a scene's route: turns of over 30° in junctions, straight on, roundabouts."""
    script, road = scene.extras["traffic"], scene.road
    assert isinstance(script, TrafficScript) and road is not None
    path = script.ego_path
    found: list[Maneuver] = []
    s = 0.0
    spans: list[tuple[list[str], float, float]] = []
    for lane_id in scene.route_lane_ids:
        lane = road.lane(lane_id)
        length = float(np.linalg.norm(np.diff(lane.centre[:, :2], axis=0), axis=1).sum())
        if lane.in_junction:
            if spans and spans[-1][2] > s - 0.5:
                spans[-1] = ([*spans[-1][0], lane_id], spans[-1][1], s + length)
            else:
                spans.append(([lane_id], s, s + length))
        s += length
    for lanes, begin, end in spans:
        ring = [lane_id for lane_id in lanes if lane_id.startswith("ring_past_")]
        if any(lane_id.startswith("entry_") for lane_id in lanes):
            text = f"Take the {_ORDINALS[min(len(ring), 4)]} exit"
            found.append(Maneuver(text, begin, end))
            continue
        stations = np.arange(begin, end + 0.5, 0.5)
        _, yaw, _ = path.sample(stations)
        change = yaw - yaw[0]
        if abs(change[-1]) <= TURN_RAD:
            found.append(Maneuver(STRAIGHT_TEXT, begin, end))
            continue
        begun = stations[int(np.argmax(np.abs(change) > BEGUN_RAD))]
        side: Literal["left", "right"] = "left" if change[-1] > 0 else "right"
        found.append(Maneuver(f"Turn {side}", float(begun), end))
    return tuple(found)


def instruction_at(maneuvers: tuple[Maneuver, ...], s_m: float) -> str:
    """Return the text at a place on the route: the next maneuver within ANNOUNCE_M, its distance to 5 m."""
    for maneuver in maneuvers:
        if s_m > maneuver.end_s_m:
            continue
        ahead = maneuver.begin_s_m - s_m
        if ahead > ANNOUNCE_M:
            return ""
        if maneuver.text == STRAIGHT_TEXT:
            return maneuver.text
        return with_distance(maneuver.text, ahead)
    return ""
