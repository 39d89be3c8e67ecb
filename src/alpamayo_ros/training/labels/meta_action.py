"""The meta action: what the vehicle does, in three words of a closed vocabulary.

Alpamayo writes it between the special tokens at positions 10 and 11 (model/special_tokens.py), behind the
reasoning. The words along and across the road are those of its published labels; the third says what that is
to the lane. The text is the three by commas: "gentle_deceleration, go_straight, keep_lane".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.sim.planners.reasons import CHANGE_MPS, Cause
from alpamayo_ros.types import (
    NUM_WAYPOINTS,
    WAYPOINT_INTERVAL_S,
    Float32Array,
    InvalidInput,
    require_array,
    require_finite,
)

SOON_S = 3.0
"""What is judged: as in the reasoning, the next seconds."""
STOPPED_MPS = 0.5
"""Whoever is slower than this after SOON_S has stopped."""
STRONG_MPS2 = 3.0
"""Mean acceleration over some second from which a change of speed is a strong one."""
STEER_RAD = float(np.radians(3.0))
SHARP_STEER_RAD = float(np.radians(25.0))
"""Change of heading from which the vehicle steers, and sharply."""
TURN_RAD = float(np.radians(30.0))
ROUND_RAD = float(np.radians(60.0))
"""Change of heading at the end from which it turns where the route does, and from which it does anywhere."""

_SOON_STEPS = round(SOON_S / WAYPOINT_INTERVAL_S)
_SECOND_STEPS = round(1.0 / WAYPOINT_INTERVAL_S)
_Kind = TypeVar("_Kind", bound=Enum)


class Longitudinal(Enum):
    """What the vehicle does along its way. It never reverses: the safety gate refuses that."""

    STOP = "stop"
    STRONG_DECELERATION = "strong_deceleration"
    GENTLE_DECELERATION = "gentle_deceleration"
    MAINTAIN_SPEED = "maintain_speed"
    GENTLE_ACCELERATION = "gentle_acceleration"
    STRONG_ACCELERATION = "strong_acceleration"


class Lateral(Enum):
    """What it does across its way."""

    SHARP_STEER_LEFT = "sharp_steer_left"
    STEER_LEFT = "steer_left"
    GO_STRAIGHT = "go_straight"
    STEER_RIGHT = "steer_right"
    SHARP_STEER_RIGHT = "sharp_steer_right"


class Lane(Enum):
    """What that is to the lane. The simulated expert changes no lanes; other drivers and models do."""

    KEEP_LANE = "keep_lane"
    NUDGE_LEFT = "nudge_left"
    NUDGE_RIGHT = "nudge_right"
    TURN_LEFT = "turn_left"
    TURN_RIGHT = "turn_right"
    LANE_CHANGE_LEFT = "lane_change_left"
    LANE_CHANGE_RIGHT = "lane_change_right"


@dataclass(frozen=True)
class MetaAction:
    """One word of each kind."""

    longitudinal: Longitudinal
    lateral: Lateral
    lane: Lane

    def __str__(self) -> str:
        """Return the text that the model is to write."""
        return f"{self.longitudinal.value}, {self.lateral.value}, {self.lane.value}"

    @classmethod
    def parse(cls, text: str) -> MetaAction:
        """Return the meta action of a text; blanks around words, and capitals, do not matter.

        Raises:
            InvalidInput: for anything but one word of each kind, in this order.
        """
        words = [word.strip().lower() for word in text.split(",")]
        if len(words) != 3:
            raise InvalidInput(
                f"meta action: expected 3 words by commas (longitudinal, lateral, lane), got {text!r}"
            )
        return cls(
            _word(Longitudinal, words[0], text), _word(Lateral, words[1], text), _word(Lane, words[2], text)
        )


def meta_action_of(cause: Cause, xyz_in_rig_t0: Float32Array, rot_in_rig_t0: Float32Array) -> MetaAction:
    """Return the meta action of one plan.

    Along the way, over the next SOON_S: stopped by then, else the change of speed (none up to CHANGE_MPS),
    strong where some second of it is. Across, over all waypoints: sharp by the heading at the end, else to
    the side to which the heading leaves first. The lane: a nudge where the cause is one; a turn by the
    heading at the end, sooner where the route turns to that side: waypoints cannot tell a junction from a
    bend.

    Args:
        cause: what the plan is about.
        xyz_in_rig_t0: float32 [64, 3] m.
        rot_in_rig_t0: float32 [64, 3, 3].

    Raises:
        InvalidInput: on a wrong shape or dtype, or values that are not finite.
    """
    require_array("xyz_in_rig_t0", xyz_in_rig_t0, (NUM_WAYPOINTS, 3), np.float32)
    require_array("rot_in_rig_t0", rot_in_rig_t0, (NUM_WAYPOINTS, 3, 3), np.float32)
    require_finite("xyz_in_rig_t0", xyz_in_rig_t0)
    require_finite("rot_in_rig_t0", rot_in_rig_t0)
    speed_mps = _speed_mps(xyz_in_rig_t0)
    yaw_rad = np.unwrap(np.arctan2(rot_in_rig_t0[:, 1, 0], rot_in_rig_t0[:, 0, 0]).astype(np.float64))
    return MetaAction(_longitudinal(speed_mps), _lateral(yaw_rad), _lane(cause, float(yaw_rad[-1])))


def _speed_mps(xyz_in_rig_t0: Float32Array) -> NDArray[np.float64]:
    """Return the speed in each interval of the next SOON_S and the one after, [31]."""
    xy = np.concatenate([np.zeros((1, 2)), xyz_in_rig_t0[: _SOON_STEPS + 1, :2].astype(np.float64)])
    return np.asarray(np.linalg.norm(np.diff(xy, axis=0), axis=1) / WAYPOINT_INTERVAL_S)


def _longitudinal(speed_mps: NDArray[np.float64]) -> Longitudinal:
    if speed_mps[-1] < STOPPED_MPS:
        return Longitudinal.STOP
    change = float(speed_mps[-1] - speed_mps[0])
    accel = (speed_mps[_SECOND_STEPS:] - speed_mps[:-_SECOND_STEPS]) / 1.0
    if change > CHANGE_MPS:
        strong = accel.max() > STRONG_MPS2
        return Longitudinal.STRONG_ACCELERATION if strong else Longitudinal.GENTLE_ACCELERATION
    if change < -CHANGE_MPS:
        strong = accel.min() < -STRONG_MPS2
        return Longitudinal.STRONG_DECELERATION if strong else Longitudinal.GENTLE_DECELERATION
    return Longitudinal.MAINTAIN_SPEED


def _lateral(yaw_rad: NDArray[np.float64]) -> Lateral:
    if abs(yaw_rad[-1]) >= SHARP_STEER_RAD:
        return Lateral.SHARP_STEER_LEFT if yaw_rad[-1] > 0 else Lateral.SHARP_STEER_RIGHT
    steered = yaw_rad[np.abs(yaw_rad) >= STEER_RAD]
    if not len(steered):
        return Lateral.GO_STRAIGHT
    return Lateral.STEER_LEFT if steered[0] > 0 else Lateral.STEER_RIGHT


def _lane(cause: Cause, end_yaw_rad: float) -> Lane:
    if cause.goes_around and not cause.nudge_is_done:
        return Lane.NUDGE_LEFT if cause.nudge_side > 0 else Lane.NUDGE_RIGHT
    if cause.turn * end_yaw_rad > TURN_RAD or abs(end_yaw_rad) > ROUND_RAD:
        return Lane.TURN_LEFT if end_yaw_rad > 0 else Lane.TURN_RIGHT
    return Lane.KEEP_LANE


def _word(kind: type[_Kind], word: str, text: str) -> _Kind:
    try:
        return kind(word)
    except ValueError:
        words = ", ".join(str(each.value) for each in kind)
        raise InvalidInput(
            f"meta action: expected a {kind.__name__.lower()} of {words}, got {word!r} in {text!r}"
        ) from None
