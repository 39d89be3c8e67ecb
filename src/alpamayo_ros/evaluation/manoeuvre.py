"""What the vehicle did, by the drive alone: kinds to break figures down by.

Odometry tells stopping, moving off and turning. It does not tell a lane change from a bend, so that one is
only known where the navigation text asked for it.
"""

from __future__ import annotations

import numpy as np

from alpamayo_ros.evaluation.track import Future
from alpamayo_ros.safety.intent import Action, read_intents
from alpamayo_ros.types import WAYPOINT_INTERVAL_S

MANOEUVRES = (
    "stand",
    "go",
    "stop",
    "left",
    "right",
    "lane change left",
    "lane change right",
    "straight",
    "unknown",
)
STANDING_MPS = 0.5
_MOVED_M = 2.0
_TURN_RAD = np.radians(15.0)
_LEAST_WAYPOINTS = 30
"""Of a shorter future the manoeuvre is unknown."""
_SPEED_STEPS = 5

SPEED_EDGES_MPS = (STANDING_MPS, 5.0, 10.0, 15.0, 25.0)


def manoeuvre_of(driven: Future, *, speed_mps: float, instruction: str = "") -> str:
    """Return which of MANOEUVRES was driven.

    Args:
        driven: what followed t0.
        speed_mps: at t0.
        instruction: navigation text at t0; asks for a lane change, or not.

    Returns:
        unknown: fewer than 3 s are known. stand, go: it stood at t0 (below 0.5 m/s), and stayed within 2 m or
        did not. stop: it stands at the end. Then a lane change where the instruction asks for one; left,
        right: the heading turns by over 15 degrees, a bend or a junction alike; else straight.
    """
    if len(driven) < _LEAST_WAYPOINTS:
        return "unknown"
    xy = np.concatenate([np.zeros((1, 2)), driven.xyz_in_rig_t0[:, :2].astype(np.float64)])
    if speed_mps < STANDING_MPS:
        return "go" if np.linalg.norm(xy[-1]) > _MOVED_M else "stand"
    last_m = np.linalg.norm(np.diff(xy[-_SPEED_STEPS - 1 :], axis=0), axis=1).mean()
    if last_m / WAYPOINT_INTERVAL_S < STANDING_MPS:
        return "stop"
    for intent in read_intents(instruction):
        if intent.action is Action.CHANGE_LANE and not intent.negated and intent.side:
            return "lane change left" if intent.side > 0 else "lane change right"
    yaw = np.unwrap(np.arctan2(driven.rot_in_rig_t0[:, 1, 0], driven.rot_in_rig_t0[:, 0, 0]))
    if abs(yaw[-1]) > _TURN_RAD:
        return "left" if yaw[-1] > 0 else "right"
    return "straight"


def speed_band(speed_mps: float) -> str:
    """Return the band of a speed, as in "5-10 m/s"."""
    edges = SPEED_EDGES_MPS
    for low, high in zip((0.0, *edges), edges, strict=False):
        if speed_mps < high:
            return f"under {high:g} m/s" if low == 0.0 else f"{low:g}-{high:g} m/s"
    return f"over {edges[-1]:g} m/s"


def speed_bands() -> tuple[str, ...]:
    """Return all bands, the slowest first."""
    return tuple(speed_band(speed) for speed in (0.0, *SPEED_EDGES_MPS))
