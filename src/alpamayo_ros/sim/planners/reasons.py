"""What a plan of the expert is about: what governs it, and what the vehicle does.

Everything is read off the plan itself (causes.py): the leader that governed it, the line that it stops at,
the obstacle that it goes around. How it is said is in wording.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal

Governor = Literal["free", "leader", "light", "sign", "crossing", "oncoming", "bend", "collision"]

CHANGE_MPS = 0.7
"""A change of speed over 3 s up to this is none; the monitor (safety/monitor.py) objects from 1.5 m/s on."""
_CREEPING_MPS = 1.0
_STARTING_MPS = 0.5
_STOPPED_MPS = 0.5
_BRAKING_MPS2 = -1.0


class Component(Enum):
    """The critical component of a scene: what the plan is about. The value is the tag of a sample."""

    LEAD = "lead"
    BRAKING_LEAD = "braking_lead"
    CYCLIST = "cyclist"
    PEDESTRIAN = "pedestrian"
    CONES = "cones"
    PARKED = "parked"
    CROSSING_VEHICLE = "crossing_vehicle"
    ONCOMING = "oncoming"
    LIGHT = "light"
    STOP_SIGN = "stop_sign"
    CURVE = "curve"
    TURN = "turn"
    FREE = "free"


class Manoeuvre(Enum):
    """What the vehicle does along the road in the next 3 s."""

    HOLD = "hold"
    STOP = "stop"
    BRAKE = "brake"
    SLOW = "slow"
    CREEP = "creep"
    KEEP = "keep"
    START = "start"
    ACCELERATE = "accelerate"


@dataclass(frozen=True)
class Cause:
    """What a plan is about.

    Attributes:
        governor: what limits its speed in the next seconds.
        kind: kind of the road user or obstacle that does, of a light its colour now, "" if none.
        static: whether that one never moves.
        other_speed_mps, other_accel_mps2: of a leader, now along the route and over the next second.
        speed_change_mps: over the next 3 s.
        speed_mps: now.
        stands: whether the ego stands now.
        stops: whether the plan comes to a stand.
        nudge_side: +1 where it moves to the left around something in the next seconds, −1 right, 0 not.
        nudge_kind: around what.
        nudge_is_done: whether it is beside its line already, and only has to pass.
        turn: +1 where the route turns left in a junction soon, −1 right, 0 not.
        bend_side: +1 for a bend to the left.
    """

    governor: Governor
    kind: str = ""
    static: bool = False
    other_speed_mps: float = 0.0
    other_accel_mps2: float = 0.0
    speed_change_mps: float = 0.0
    speed_mps: float = 0.0
    stands: bool = False
    stops: bool = False
    nudge_side: int = 0
    nudge_kind: str = ""
    nudge_is_done: bool = False
    turn: int = 0
    bend_side: int = 0

    @property
    def component(self) -> Component:
        """The critical component: what governs the speed, else what is driven around, else the route."""
        if self.governor == "light":
            return Component.LIGHT
        if self.governor == "sign":
            return Component.STOP_SIGN
        if self.governor == "oncoming":
            return Component.ONCOMING
        if self.governor == "leader" and not self.static and self.kind not in ("pedestrian", "cyclist"):
            return Component.BRAKING_LEAD if self.lead_brakes else Component.LEAD
        if self.governor in ("leader", "crossing", "collision"):
            return _component_of_kind(self.kind, static=self.static or self.kind == "cone")
        if self.governor == "free" and self.goes_around:
            return _component_of_kind(self.nudge_kind, static=True)
        if self.governor == "bend" and self.bend_side != self.turn:
            return Component.CURVE  # in a roundabout the way to the right leads to the left first
        return Component.TURN if self.turn else Component.FREE

    @property
    def manoeuvre(self) -> Manoeuvre:
        """What the vehicle does along the road."""
        if self.stands and self.stops:
            return Manoeuvre.HOLD
        if self.governor == "collision":
            return Manoeuvre.BRAKE
        if self.stops:
            return Manoeuvre.STOP
        if self.speed_change_mps < -CHANGE_MPS:
            return Manoeuvre.SLOW
        if self.speed_change_mps > CHANGE_MPS:
            return Manoeuvre.START if self.speed_mps < _STARTING_MPS else Manoeuvre.ACCELERATE
        return Manoeuvre.CREEP if self.speed_mps < _CREEPING_MPS else Manoeuvre.KEEP

    @property
    def goes_around(self) -> bool:
        """Whether what it drives around is worth a word: not in a bend to the other side, which hides it.

        Nor where it stands, or has only to pass it and turns off.
        """
        if self.manoeuvre is Manoeuvre.HOLD or (self.nudge_is_done and self.turn):
            return False
        return self.nudge_side != 0 and -self.nudge_side not in (self.turn, self.bend_side)

    @property
    def lead_stands(self) -> bool:
        """Whether the leader stands."""
        return self.other_speed_mps < _STOPPED_MPS

    @property
    def lead_brakes(self) -> bool:
        """Whether the leader brakes."""
        return not self.lead_stands and self.other_accel_mps2 < _BRAKING_MPS2


def _component_of_kind(kind: str, *, static: bool) -> Component:
    if kind == "pedestrian":
        return Component.PEDESTRIAN
    if kind == "cyclist":
        return Component.CYCLIST
    if not static:
        return Component.CROSSING_VEHICLE
    return Component.CONES if kind == "cone" else Component.PARKED
