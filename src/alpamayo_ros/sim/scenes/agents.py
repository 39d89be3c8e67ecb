"""Road users that move by rule: where they go, how they like to drive, where they may have to stop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from alpamayo_ros.sim.roads import Float64Array, LightColour, TrafficLight
from alpamayo_ros.sim.scene import EGO_BOX_IN_RIG_M, ActorKind
from alpamayo_ros.sim.scenes.bodies import Bodies
from alpamayo_ros.sim.scenes.paths import Path


@dataclass(frozen=True)
class Trigger:
    """What makes an actor set off: time since the start, or the ego's distance along the route's path."""

    kind: Literal["time", "ego_s"] = "time"
    value: float = 0.0


@dataclass(frozen=True)
class SpeedChange:
    """From `time_s` on, the actor wants `speed_mps` and gets there with at most `rate_mps2`."""

    time_s: float
    speed_mps: float
    rate_mps2: float


@dataclass(frozen=True)
class StopPoint:
    """Where an actor's front stops: for a light (by id), or for `hold_s` at a stop sign."""

    s_m: float
    light_id: str = ""
    hold_s: float = 0.0


@dataclass(frozen=True, eq=False)
class Agent:
    """A road user that moves.

    Attributes:
        actor_id, kind, size_xyz_m, variant: as in ActorSpec.
        path: of its box's centre.
        start_s_m, start_mps: where on the path and how fast it is at the scene's start.
        cruise_mps: what it wants to drive.
        changes: later wishes, by time.
        trigger: None for one that moves from the start.
        stops: where it may have to stop.
        accel_mps2, decel_mps2: what it finds comfortable.
        headway_s, gap_m: how it follows.
        lateral_mps2: how fast it takes curves.
        yields_to_ego: whether it waits for an ego that is about to cross or join its way. One that does not
            has priority; it too stops for an ego that stands or drives in its way.
        margin_s: time by which it wants to be clear of those to whom it gives way.
    """

    actor_id: str
    kind: ActorKind
    size_xyz_m: tuple[float, float, float]
    path: Path
    start_s_m: float
    start_mps: float
    cruise_mps: float
    changes: tuple[SpeedChange, ...] = ()
    trigger: Trigger | None = None
    stops: tuple[StopPoint, ...] = ()
    accel_mps2: float = 1.5
    decel_mps2: float = 2.0
    headway_s: float = 1.4
    gap_m: float = 2.5
    lateral_mps2: float = 2.0
    yields_to_ego: bool = True
    margin_s: float = 1.0
    variant: int = 0

    @property
    def front_m(self) -> float:
        """From the box's centre to its front."""
        return self.size_xyz_m[0] / 2


@dataclass(frozen=True)
class EgoMotion:
    """What the traffic sees of the ego: rear axle's x, y, yaw, forward speed."""

    x_m: float
    y_m: float
    yaw_rad: float
    speed_mps: float

    @property
    def centre(self) -> Float64Array:
        """x, y of the box's centre."""
        reach = EGO_BOX_IN_RIG_M[0]
        return np.array([self.x_m + reach * np.cos(self.yaw_rad), self.y_m + reach * np.sin(self.yaw_rad)])


@dataclass(frozen=True, eq=False)
class TrafficScript:
    """All that moves in a scene and what it must know: made once a scene, shared by its rollouts."""

    agents: tuple[Agent, ...]
    lights: tuple[TrafficLight, ...]
    obstacles: Bodies
    ego_path: Path
    """The path of the route (rear axle at lane centre)."""

    def light_colour(self, light_id: str, time_s: float) -> LightColour:
        """Return a light's colour at a time since the scene's start."""
        for light in self.lights:
            if light.light_id == light_id:
                return light.colour_at(time_s)
        raise KeyError(light_id)
